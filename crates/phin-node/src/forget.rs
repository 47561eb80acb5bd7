//! `phin forget`: makes a running node, and with it the cluster, forget a member that died or left.

use crate::{
    client::{Client, Target, member_path},
    events::Forgotten,
    failure::Failure,
    show::Form,
    text::short,
};

/// Make the cluster forget a member that died or left
///
/// Other members forget it too if it has left, if its host refuses its port, or if a second node is asked to forget it:
/// a single node cannot hide a dead member. Otherwise they forget it after their own `phin run --retention`. Members that
/// are alive or suspect are refused, since they would be back at once. A member that returns is new.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  phin forget n3 --http http://127.0.0.1:7647")]
pub(crate) struct Args {
    /// The member's name, its id, or the first 8 digits of its id or more
    #[arg(value_name = "NAME")]
    member: String,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    form: Form,
}

pub(crate) fn forget(args: &Args) -> Result<(), Failure> {
    let path = member_path(&args.member, "forget");
    let answer: Forgotten = Client::new(&args.target)?.post(&path)?;
    let forgotten = &answer.forgotten;
    let id = short(&forgotten.id.to_string());
    let text = format!("forgot {} ({id}), {}", forgotten.name, forgotten.state);
    args.form.print(&answer, &text)
}
