//! `phin leave`: makes a running node leave its cluster and end.

use phin::Departure;

use crate::{
    client::{Client, Target},
    failure::Failure,
    show::Form,
};

/// Make a running node leave its cluster and exit
#[derive(clap::Args)]
#[command(after_help = "Example:\n  phin leave --http http://127.0.0.1:7647")]
pub(crate) struct Args {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    form: Form,
}

pub(crate) fn leave(args: &Args) -> Result<(), Failure> {
    let departure: Departure = Client::new(&args.target)?.post("/v1/leave")?;
    let Departure { confirmed, asked, .. } = departure;
    let text = format!("left; confirmed by {confirmed} of {asked} members");
    args.form.print(&departure, &text)
}
