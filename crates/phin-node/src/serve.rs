//! `phin drain` and `phin serve`: say of a running node whether it takes work.

use std::io::{self, Write};

use crate::{
    client::{Client, Target},
    failure::Failure,
    profile::ServingInfo,
};

/// Announce that a running node finishes its work and takes no more
///
/// The node stays a live member: all others know that it is draining, and /readyz answers 503, so that load balancers send
/// it nothing new. Do this before you stop the service beside it; `phin serve` takes it back. A node that is started again
/// serves (see phin run --serving).
#[derive(clap::Args)]
#[command(after_help = "Example:\n  phin drain --http http://127.0.0.1:7647")]
pub(crate) struct DrainArgs {
    #[command(flatten)]
    target: Target,
}

/// Announce that a running node takes work, or with --not that it cannot
///
/// The node stays a live member either way. All others know its state and the reason, and /readyz answers 503 while it does
/// not serve.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  phin serve\n  phin serve --not 'disk full'")]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    target: Target,
    /// It cannot work, for this reason: 1 to 64 bytes
    #[arg(long, value_name = "REASON")]
    not: Option<String>,
}

pub(crate) fn drain(args: &DrainArgs) -> Result<(), Failure> {
    set(&args.target, &ServingInfo::Draining {})
}

pub(crate) fn serve(args: &ServeArgs) -> Result<(), Failure> {
    let serving = match &args.not {
        None => ServingInfo::Serving {},
        Some(reason) => ServingInfo::NotServing { reason: reason.clone() },
    };
    set(&args.target, &serving)
}

fn set(target: &Target, serving: &ServingInfo) -> Result<(), Failure> {
    let serving: ServingInfo = Client::new(target)?.put("/v1/serving", serving)?;
    let reason = serving.reason().map_or(String::new(), |reason| format!(": {reason}"));
    let text = format!("{}{reason}\n", serving.as_words());
    Ok(io::stdout().write_all(text.as_bytes())?)
}
