//! `phin members`: the membership list of a running node.

use std::io::{self, Write};

use crate::{
    client::{Client, Target},
    events::{DetailedMember, MemberList},
    failure::Failure,
    table,
};

/// Show the members that a running node knows
#[derive(clap::Args)]
#[command(after_help = "Example:\n  phin members --http http://127.0.0.1:7647")]
pub(crate) struct Args {
    #[command(flatten)]
    target: Target,
    /// Print one JSON object: self, version, fingerprint, members
    #[arg(long)]
    json: bool,
}

pub(crate) fn members(args: &Args) -> Result<(), Failure> {
    let mut list: MemberList = Client::new(&args.target)?.get("/v1/members")?;
    if args.json {
        let json = serde_json::to_string(&list).expect("a list is plain data with text keys");
        return Ok(io::stdout().write_all(format!("{json}\n").as_bytes())?);
    }
    list.members.sort_by(|a, b| {
        let key = |member: &DetailedMember| {
            (member.listed.member.name.clone(), member.listed.member.id.clone())
        };
        key(a).cmp(&key(b))
    });
    let columns =
        ["NAME", "STATE", "ADDRESS", "SINCE", "PHI", "RTT", "GENERATION", "INCARNATION", "ID"];
    let mut shown = table::new(&columns);
    for member in &list.members {
        shown.add_row(row(member, &list.me));
    }
    Ok(io::stdout().write_all(table::text(&shown).as_bytes())?)
}

fn row(detailed: &DetailedMember, me: &str) -> Vec<comfy_table::Cell> {
    let member = &detailed.listed.member;
    let is_me = if member.id == me { " (self)" } else { "" };
    let is_unique = if detailed.namesakes.is_empty() { "" } else { " (not unique)" };
    let is_held = if detailed.held_back_until.is_some() { " (held back)" } else { "" };
    let phi = detailed.phi.map_or("-".into(), |phi| format!("{phi:.1}"));
    let round_trip = detailed.rtt_ms.map_or("-".into(), |rtt| format!("{rtt:.1} ms"));
    vec![
        format!("{}{is_me}{is_unique}{is_held}", member.name).into(),
        table::state(&detailed.listed.state),
        member.addr.into(),
        since(&detailed.since).into(),
        phi.into(),
        round_trip.into(),
        member.generation.into(),
        member.incarnation.into(),
        short(&member.id).into(),
    ]
}

/// As much of an id as people compare; programs read the whole of it with `--json`.
pub(crate) fn short(id: &str) -> String {
    id.chars().take(8).collect()
}

/// To the second: the rest is for programs.
fn since(at: &str) -> String {
    match at.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => at.to_owned(),
    }
}
