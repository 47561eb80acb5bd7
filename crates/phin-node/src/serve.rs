//! `phin drain` and `phin serve`: say of a running node whether it takes work.

use phin::{Reason, ServingState};

use crate::{
    client::{Client, Target},
    failure::Failure,
    show::Form,
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
    #[command(flatten)]
    form: Form,
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
    #[arg(long, value_name = "REASON", value_parser = reason)]
    not: Option<Reason>,
    #[command(flatten)]
    form: Form,
}

pub(crate) fn drain(args: &DrainArgs) -> Result<(), Failure> {
    set(&args.target, args.form, &ServingState::Draining)
}

pub(crate) fn serve(args: &ServeArgs) -> Result<(), Failure> {
    let serving = match &args.not {
        None => ServingState::Serving,
        Some(reason) => ServingState::NotServing(reason.clone()),
    };
    set(&args.target, args.form, &serving)
}

fn set(target: &Target, form: Form, serving: &ServingState) -> Result<(), Failure> {
    let serving: ServingState = Client::new(target)?.put("/v1/serving", serving)?;
    form.print(&serving, &serving.to_string())
}

fn reason(text: &str) -> Result<Reason, phin::ReasonError> {
    Reason::try_from(text)
}
