//! `phin key`: the shared secrets of a cluster.

mod status;

use std::{
    fs::File,
    io::{self, Write},
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
};

use clap::Subcommand;
use phin::AdminKey;

use crate::{failure::Failure, private_file};

/// Create the key that admits nodes to a cluster, an admin key, or a token for HTTP; show which member accepts which key
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
    /// Create an admin key, with which `phin expel` signs: a private file, and beside it FILE.pub with the public key
    ///
    /// Keep the private key off the nodes. Give each node the public key (phin run --admin-key). To replace a key, give the nodes both
    /// public keys, sign the expulsions that are to stay with the new one, and then remove the old one.
    #[command(after_help = "Example:\n  phin key admin --out admin.key\n  \
                            phin run --key-file cluster.key --admin-key admin.key.pub\n  \
                            phin expel n3 --admin-key-file admin.key")]
    Admin {
        /// Write the private key (PEM) to this new file, readable only by its owner, and the public key to FILE.pub
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    Status(status::Args),
}

pub(crate) fn key(args: &Args) -> Result<(), Failure> {
    let out = match &args.command {
        Command::New { out } | Command::Token { out } => out,
        Command::Admin { out } => return admin(out),
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

/// Creates an admin key, and prints its public half.
fn admin(out: &Path) -> Result<(), Failure> {
    let (key, public_path) = (AdminKey::generate(), out.with_added_extension("pub"));
    if public_path.exists() {
        return Err(Failure::not_created(&public_path, &io::ErrorKind::AlreadyExists.into()));
    }
    private_file::create(out, key.to_pem().as_bytes())
        .map_err(|error| Failure::not_created(out, &error))?;
    let public = format!("{}\n", key.public_key());
    let written = File::create_new(&public_path).and_then(|mut f| f.write_all(public.as_bytes()));
    written.map_err(|error| Failure::not_created(&public_path, &error))?;
    Ok(io::stdout().write_all(public.as_bytes())?)
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
