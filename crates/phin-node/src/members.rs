//! `phin members`: the membership list of a running node.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use phin::{Filter, ServingState};

use crate::{
    client::{Client, Target, filtered},
    events::{DetailedMember, MemberList},
    failure::Failure,
    table,
    text::short,
};

/// Show the members that a running node knows
///
/// Earlier runs of a member are omitted: members that died or left, and whose name a live or later member has.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  phin members --http http://127.0.0.1:7647\n  \
                        phin members --state dead,left\n  \
                        phin members --filter 'role=web,zone!=b'")]
pub(crate) struct Args {
    #[command(flatten)]
    target: Target,
    /// Include earlier runs of members
    #[arg(long)]
    all: bool,
    /// Show only members in these states: alive, suspect, dead, left
    #[arg(long, value_name = "STATE[,STATE]", value_delimiter = ',')]
    state: Vec<State>,
    /// Show only members with these tags, such as role=web|api,zone!=b
    ///
    /// Terms with commas between them must all hold: KEY=VALUE, KEY!=VALUE, or several values with | between them. Of role,
    /// each of the roles of a member counts.
    #[arg(long, value_name = "FILTER", default_value = "", hide_default_value = true)]
    filter: Filter,
    /// Print one JSON object with all fields: self, version, fingerprint, converged, members
    ///
    /// Without --state it has all members, earlier runs included.
    #[arg(long)]
    json: bool,
}

/// A state to show.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
enum State {
    Alive,
    Suspect,
    Dead,
    Left,
}

impl State {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Suspect => "suspect",
            Self::Dead => "dead",
            Self::Left => "left",
        }
    }
}

pub(crate) fn members(args: &Args) -> Result<(), Failure> {
    let mut list: MemberList =
        Client::new(&args.target)?.get(&filtered("/v1/members", &args.filter))?;
    if !args.state.is_empty() {
        let is_wanted = |state: &str| args.state.iter().any(|wanted| wanted.as_str() == state);
        list.members.retain(|member| is_wanted(&member.listed.state));
    }
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
    let hidden = if args.all || !args.state.is_empty() { 0 } else { hide_earlier(&mut list) };
    // Last, because it has no width of its own.
    let has_tags = list.members.iter().any(|member| !tags(member).is_empty());
    let mut columns =
        vec!["NAME", "STATE", "ADDRESS", "SINCE", "PHI", "RTT", "GENERATION", "INCARNATION", "ID"];
    columns.extend(has_tags.then_some("TAGS"));
    let mut shown = table::new(&columns);
    for member in &list.members {
        let tags = has_tags.then(|| tags(member).into());
        shown.add_row(row(member, &list.me).into_iter().chain(tags));
    }
    let mut text = table::text(&shown);
    for member in list.members.iter().filter(|member| !member.failing.failing_links.is_empty()) {
        text.push_str(&format!("\n{}: {}", member.listed.member.name, member.failing.to_text()));
    }
    text.push_str(&reasons(&list));
    if hidden > 0 {
        text.push_str(&format!(
            "\n{hidden} earlier runs of these members are not shown; use --all\n"
        ));
    }
    Ok(io::stdout().write_all(text.as_bytes())?)
}

/// Takes away the members that died or left and whose name a live or a later member has; returns how many they were.
fn hide_earlier(list: &mut MemberList) -> usize {
    // For each name its live members, or else the one that died or left last.
    let rank = |member: &DetailedMember| {
        let is_live = is_live(member);
        // Times in one format are in the order of their texts.
        (is_live, if is_live { String::new() } else { member.since.clone() })
    };
    let mut latest = BTreeMap::new();
    for member in &list.members {
        let name = member.listed.member.name.clone();
        let latest = latest.entry(name).or_insert_with(|| rank(member));
        *latest = rank(member).max(latest.clone());
    }
    let before = list.members.len();
    list.members.retain(|member| rank(member) == latest[&member.listed.member.name]);
    before - list.members.len()
}

/// Why live members do not serve, a line for each.
fn reasons(list: &MemberList) -> String {
    let reason = |member: &DetailedMember| {
        let said = &member.listed.member;
        Some(format!("\n{} does not serve: {}", said.name, said.profile.serving.reason()?))
    };
    let reasons: String = list.members.iter().filter(|m| is_live(m)).filter_map(reason).collect();
    if reasons.is_empty() { reasons } else { format!("{reasons}\n") }
}

fn is_live(member: &DetailedMember) -> bool {
    matches!(member.listed.state.as_str(), "alive" | "suspect")
}

fn tags(member: &DetailedMember) -> String {
    member.listed.member.profile.tags.to_string()
}

fn row(detailed: &DetailedMember, me: &str) -> Vec<comfy_table::Cell> {
    let member = &detailed.listed.member;
    let is_me = if member.id == me { " (self)" } else { "" };
    let is_unique = if detailed.namesakes.is_empty() { "" } else { " (not unique)" };
    let is_held = if detailed.suppressed_until.is_some() { " (suppressed)" } else { "" };
    let phi = detailed.phi.map_or("-".into(), |phi| format!("{phi:.1}"));
    let round_trip = detailed.rtt_ms.map_or("-".into(), |rtt| format!("{rtt:.1} ms"));
    let is_degraded = detailed.failing.degraded_since.is_some();
    let degraded = if is_degraded { ", degraded" } else { "" };
    let is_working = member.profile.serving == ServingState::Serving || !is_live(detailed);
    let serving = member.profile.serving.as_str();
    let serving = if is_working { String::new() } else { format!(", {serving}") };
    let state = format!("{}{degraded}{serving}", detailed.listed.state);
    vec![
        format!("{}{is_me}{is_unique}{is_held}", member.name).into(),
        table::state(&state),
        member.addr.into(),
        since(&detailed.since).into(),
        phi.into(),
        round_trip.into(),
        member.generation.into(),
        member.incarnation.into(),
        short(&member.id).into(),
    ]
}

/// To the second: the rest is for programs.
fn since(at: &str) -> String {
    match at.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => at.to_owned(),
    }
}
