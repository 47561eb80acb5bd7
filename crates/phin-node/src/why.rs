//! `phin why`: shows the evidence against a member, as a running node has it.

use std::io::{self, Write};

use crate::{
    client::{Client, Target, member_path},
    failure::Failure,
    suspicion::Why,
};

/// Show why a member is dead, suspect or alive
///
/// Reports its last suspicion as this node knows it: which observers missed replies, since when, what the member's host
/// said, and how the suspicion ended. The kinds of silence:
///   gone     its process has ended: its port is refused, or another process answers there
///   hung     its host answers, but its process does not; it is stopped, swapping or starved, or
///            refuses handshakes
///   silent   its host used to answer and no longer does: host or network is down
///   unknown  nothing is known of its host: it was not asked, or never answered
#[derive(clap::Args)]
#[command(
    verbatim_doc_comment,
    after_help = "Example:\n  phin why n3 --http http://127.0.0.1:7647"
)]
pub(crate) struct Args {
    /// The member's name, its id, or the first 8 digits of its id or more
    #[arg(value_name = "NAME")]
    member: String,
    #[command(flatten)]
    target: Target,
    /// Print the answer of /v1/members/{member}/why as one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn why(args: &Args) -> Result<(), Failure> {
    let why: Why = Client::new(&args.target)?.get(&member_path(&args.member, "why"))?;
    let text = if args.json {
        let json = serde_json::to_string(&why).expect("an answer is plain data with text keys");
        format!("{json}\n")
    } else {
        why.to_text()
    };
    Ok(io::stdout().write_all(text.as_bytes())?)
}
