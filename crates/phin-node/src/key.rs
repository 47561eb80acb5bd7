//! `phin key`: the shared secrets of a cluster.

mod status;

use std::{
    io::{self, Write},
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::PathBuf,
};

use clap::Subcommand;

use crate::{failure::Failure, private_file};

/// Create the key that admits nodes to a cluster, or a token for HTTP; show which member accepts which key
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  phin key new --out cluster.key\n  phin key status")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Create a key: 32 random bytes as 64 hexadecimal digits
    ///
    /// Every holder of the key can join the cluster, under any number of identities, and read the list and all gossip.
    #[command(after_help = "Example:\n  phin key new --out cluster.key\n  \
                            phin run --key-file cluster.key")]
    New {
        /// Write the key to this new file, readable only by its owner, instead of standard output
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Create a token that admits requests to the HTTP interface of nodes: 64 random hexadecimal digits
    ///
    /// Every holder of the token can read all that a node knows and, on its machine, change the node and make it leave.
    #[command(after_help = "Example:\n  phin key token --out http.token\n  \
                            phin run --key-file cluster.key --http 127.0.0.1:7647 --http-token-file http.token\n  \
                            phin members --token-file http.token")]
    Token {
        /// Write the token to this new file, readable only by its owner, instead of standard output
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    Status(status::Args),
}

pub(crate) fn key(args: &Args) -> Result<(), Failure> {
    let out = match &args.command {
        Command::New { out } | Command::Token { out } => out,
        Command::Status(args) => return status::status(args),
    };
    // Both are 32 random bytes.
    let line = format!("{}\n", phin::ClusterKey::generate().to_text().as_str());
    let Some(path) = out else {
        io::stdout().write_all(line.as_bytes())?;
        warn_if_exposed();
        return Ok(());
    };
    private_file::create(path, line.as_bytes()).map_err(|error| Failure::not_created(path, &error))
}

/// Warns if standard output is a file that others can read, as shells create them: `phin run` would refuse it.
fn warn_if_exposed() {
    let stdout = io::stdout().as_fd().try_clone_to_owned().map(std::fs::File::from);
    let Ok(metadata) = stdout.and_then(|file| file.metadata()) else {
        return;
    };
    if metadata.is_file() && metadata.mode() & private_file::OTHERS != 0 {
        let warning = "warning: other users can read the file with the secret; \
                       `chmod 600` it, or use --out\n";
        let _ = io::stderr().write_all(warning.as_bytes());
    }
}
