//! `phin live` and `phin ready`: the probes of a container, as commands.

use std::io::{self, Write};

use crate::{
    client::{Client, Target},
    failure::Failure,
};

/// Check that a running node works: exit code 0 if it does, 1 if not
///
/// Use it as a liveness probe where probes are commands. It asks GET /livez.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  phin live --http http://127.0.0.1:7647")]
pub(crate) struct LiveArgs {
    #[command(flatten)]
    target: Target,
}

/// Check that a running node is ready: exit code 0 if it takes part in its cluster, 1 with the reason if not
///
/// Use it as a readiness probe where probes are commands. It asks GET /readyz.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  phin ready --http http://127.0.0.1:7647")]
pub(crate) struct ReadyArgs {
    #[command(flatten)]
    target: Target,
}

pub(crate) fn live(args: &LiveArgs) -> Result<(), Failure> {
    probe(&args.target, "/livez")
}

pub(crate) fn ready(args: &ReadyArgs) -> Result<(), Failure> {
    probe(&args.target, "/readyz")
}

fn probe(target: &Target, path: &str) -> Result<(), Failure> {
    let answer: serde_json::Value = Client::new(target)?.get(path)?;
    let status = answer["status"].as_str().unwrap_or("ok");
    Ok(io::stdout().write_all(format!("{status}\n").as_bytes())?)
}
