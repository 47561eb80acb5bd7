//! `phin members`: the membership list of a running node.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use phin::{Filter, MemberId, MemberState, ServingState};

use crate::{
    client::{Client, Target, filtered},
    events::{DetailedMember, MemberList, degraded},
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
    /// Terms with commas between them must all hold: KEY=VALUE, KEY!=VALUE, or several values with | between them. Each value
    /// of role counts.
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
    const fn state(self) -> MemberState {
        match self {
            Self::Alive => MemberState::Alive,
            Self::Suspect => MemberState::Suspect,
            Self::Dead => MemberState::Dead,
            Self::Left => MemberState::Left,
        }
    }
}

pub(crate) fn members(args: &Args) -> Result<(), Failure> {
    let mut list: MemberList =
        Client::new(&args.target)?.get(&filtered("/v1/members", &args.filter))?;
    if !args.state.is_empty() {
        let is_wanted = |state| args.state.iter().any(|wanted| wanted.state() == state);
        list.members.retain(|member| is_wanted(member.member.state));
    }
    if args.json {
        let json = serde_json::to_string(&list).expect("a list is plain data with text keys");
        return Ok(io::stdout().write_all(format!("{json}\n").as_bytes())?);
    }
    list.members.sort_by(|a, b| {
        let [a, b] = [a, b].map(|member| (&member.member.name, member.member.id));
        a.cmp(&b)
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
        shown.add_row(row(member, list.me).into_iter().chain(tags));
    }
    let mut text = table::text(&shown);
    for member in list.members.iter().filter(|member| !member.failing.failing_links.is_empty()) {
        text.push_str(&format!(
            "\n{}: {}",
            member.member.name,
            member.failing.to_text(member.member.flaws)
        ));
    }
    text.push_str(&reasons(&list));
    if hidden > 0 {
        text.push_str(&format!(
            "\n{hidden} earlier runs of these members are not shown; use --all\n"
        ));
    }
    Ok(io::stdout().write_all(text.as_bytes())?)
}

/// Removes the members that died or left and whose name a live or later member has. Returns their number.
fn hide_earlier(list: &mut MemberList) -> usize {
    let before = list.members.len();
    let mut are_earlier = earlier_runs(&list.members).into_iter();
    list.members.retain(|_| !are_earlier.next().expect("there is one for each member"));
    before - list.members.len()
}

/// For each member, whether it died or left, and a live or later member has its name.
pub(crate) fn earlier_runs(members: &[DetailedMember]) -> Vec<bool> {
    // For each name, keep the live members, or else the one that died or left last.
    let rank = |member: &DetailedMember| {
        let is_live = member.member.state.is_live();
        // Texts of times in one format sort by time.
        (is_live, if is_live { String::new() } else { member.since.clone() })
    };
    let mut latest = BTreeMap::<_, (bool, String)>::new();
    for member in members {
        let latest = latest.entry(member.member.name.as_str()).or_default();
        *latest = rank(member).max(std::mem::take(latest));
    }
    members.iter().map(|member| rank(member) != latest[member.member.name.as_str()]).collect()
}

/// Why live members do not serve, a line for each.
fn reasons(list: &MemberList) -> String {
    let reason = |member: &DetailedMember| {
        let member = &member.member;
        Some(format!("\n{} does not serve: {}", member.name, member.serving.reason()?))
    };
    let reasons: String =
        list.members.iter().filter(|m| m.member.state.is_live()).filter_map(reason).collect();
    if reasons.is_empty() { reasons } else { format!("{reasons}\n") }
}

fn tags(member: &DetailedMember) -> String {
    member.member.tags.to_string()
}

fn row(detailed: &DetailedMember, me: MemberId) -> Vec<comfy_table::Cell> {
    let member = &detailed.member;
    let is_me = if member.id == me { " (self)" } else { "" };
    let is_unique = if detailed.namesakes.is_empty() { "" } else { " (not unique)" };
    let is_held = if detailed.suppressed_until.is_some() { " (suppressed)" } else { "" };
    let phi = detailed.phi.map_or("-".into(), |phi| format!("{phi:.1}"));
    let round_trip = detailed.rtt_ms.map_or("-".into(), |rtt| format!("{rtt:.1} ms"));
    let is_degraded = detailed.failing.degraded_since.is_some();
    let degraded = degraded(is_degraded, member.flaws).map_or(String::new(), |d| format!(", {d}"));
    let is_working = member.serving == ServingState::Serving || !member.state.is_live();
    let serving = member.serving.as_str();
    let serving = if is_working { String::new() } else { format!(", {serving}") };
    let state = format!("{}{degraded}{serving}", member.state);
    vec![
        format!("{}{is_me}{is_unique}{is_held}", member.name).into(),
        table::state(&state),
        member.addr.into(),
        since(&detailed.since).into(),
        phi.into(),
        round_trip.into(),
        member.generation.0.into(),
        member.incarnation.0.into(),
        short(&member.id.to_string()).into(),
    ]
}

/// A time to the second. Programs get all digits from JSON.
fn since(at: &str) -> String {
    match at.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => at.to_owned(),
    }
}
