//! `phin reload`: has a running node read its settings and credentials again.

use std::io::{self, Write};

use crate::{
    client::{Client, Target},
    failure::Failure,
    run::Reloaded,
};

/// Have a running node read its settings file, keys, certificates and revocation lists again
///
/// The node checks everything first. If something cannot be used, nothing changes, and the exit code is 1. Otherwise it prints
/// which settings are in effect, and which need a restart. Flags and variables of the node stay as they were at its start.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  phin reload --http http://127.0.0.1:7647")]
pub(crate) struct Args {
    #[command(flatten)]
    target: Target,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn reload(args: &Args) -> Result<(), Failure> {
    let reloaded: Reloaded = Client::new(&args.target)?.post("/v1/reload")?;
    let text = match args.json {
        true => serde_json::to_string(&reloaded).expect("it is plain data") + "\n",
        false => text(&reloaded),
    };
    Ok(io::stdout().write_all(text.as_bytes())?)
}

fn text(reloaded: &Reloaded) -> String {
    let Reloaded { applied, needs_restart, connections_closed } = reloaded;
    let mut text = String::new();
    let lines = [("applied", applied), ("needs a restart", needs_restart)];
    for (what, settings) in lines.into_iter().filter(|(_, settings)| !settings.is_empty()) {
        text.push_str(&format!("{what}: {}\n", settings.join(" ")));
    }
    if *connections_closed > 0 {
        let closed = "connections closed, because their credentials are accepted no longer";
        text.push_str(&format!("{connections_closed} {closed}\n"));
    }
    if text.is_empty() { "nothing has changed\n".to_owned() } else { text }
}
