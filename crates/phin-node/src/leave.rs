//! `phin leave`: makes a running node leave its cluster and end.

use std::io::{self, Write};

use phin::Departure;

use crate::{
    client::{Client, Target},
    failure::Failure,
};

/// Make a running node leave its cluster and exit
#[derive(clap::Args)]
#[command(after_help = "Example:\n  phin leave --http http://127.0.0.1:7647")]
pub(crate) struct Args {
    #[command(flatten)]
    target: Target,
}

pub(crate) fn leave(args: &Args) -> Result<(), Failure> {
    let Departure { confirmed, asked, .. } = Client::new(&args.target)?.post("/v1/leave")?;
    let text = format!("left; confirmed by {confirmed} of {asked} members\n");
    Ok(io::stdout().write_all(text.as_bytes())?)
}
