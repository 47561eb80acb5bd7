//! `phin rtt`: the round trips that a running node has measured.

use std::io::{self, Write};

use phin::{MemberId, MemberInfo};
use serde::Serialize;

use crate::{
    brief::BriefMember,
    client::{Client, Target, member_path},
    failure::Failure,
    info::{self, MemberCounts, NodeInfo},
    links::{KnownLink, LinkList},
    rings::MemberRings,
    table,
    text::short,
};

/// Show the round trips that a running node has measured to members
///
/// A node measures only the members that it observes: all others in a small cluster, else as many as there are rings. For the
/// round trips to another member, ask one of its observers.
///
/// RTT is the typical round trip: half of the replies are faster. One reply in a hundred takes longer than P99, as estimated from
/// the last few tens of replies. LOSS is the share of pings that are lost, with their replies.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  phin rtt\n  phin rtt n3 --http http://127.0.0.1:7647")]
pub(crate) struct Args {
    /// Only this member: its name, its id, or the first 8 digits of its id or more
    #[arg(value_name = "NAME")]
    member: Option<String>,
    #[command(flatten)]
    target: Target,
    /// Print one JSON object: links, unmeasured; or with NAME its link
    #[arg(long)]
    json: bool,
}

/// A link that was measured.
#[derive(Clone, Debug, Serialize)]
struct Measured {
    member: BriefMember,
    rtt_ms: f64,
    rtt_p99_ms: Option<f64>,
    rtt_samples: Option<u32>,
    loss: Option<f64>,
}

/// The links of a node, the slowest first.
#[derive(Clone, Debug, Serialize)]
struct Links {
    links: Vec<Measured>,
    /// How many other live members the node has no measurement of.
    unmeasured: usize,
}

pub(crate) fn rtt(args: &Args) -> Result<(), Failure> {
    let client = Client::new(&args.target)?;
    let text = match &args.member {
        Some(member) => of_member(&client, member, args.json)?,
        None => {
            let known: LinkList = client.get(LINKS)?;
            let node: NodeInfo = client.get(info::PATH)?;
            let links = Links::of(known, node.members);
            if args.json { to_json(&links) } else { links.to_text() }
        }
    };
    Ok(io::stdout().write_all(text.as_bytes())?)
}

fn to_json(answer: &impl Serialize) -> String {
    let json = serde_json::to_string(answer).expect("an answer is plain data with text keys");
    format!("{json}\n")
}

/// The link to one member. It is an error if there is none.
fn of_member(client: &Client, member: &str, is_json: bool) -> Result<String, Failure> {
    // The node finds the member, by the same rules as for `phin why`.
    let rings: MemberRings = client.get(&member_path(member, "rings"))?;
    let known: LinkList = client.get(LINKS)?;
    let found = known.links.into_iter().find(|link| link.member.id == rings.member.id);
    match found.and_then(Measured::of) {
        Some(link) if is_json => Ok(to_json(&link)),
        Some(link) => Ok(link.to_text()),
        None => {
            let node: NodeInfo = client.get(info::PATH)?;
            Err(Failure::Runtime(unmeasured(&rings, node.id)))
        }
    }
}

/// Why there is no measurement of a member at this node, and which member to ask.
fn unmeasured(rings: &MemberRings, me: MemberId) -> String {
    let MemberInfo { name, id, state, .. } = &rings.member;
    if *id == me {
        return format!("{name} is the queried node itself");
    }
    if !state.is_live() {
        return format!("{name} is {state}: only members that are live are measured");
    }
    if rings.observers.iter().any(|observer| observer.member.id == me) {
        return format!("{name} is observed by this node, but has not answered a ping of it yet");
    }
    let observers: Vec<_> = rings.observers.iter().map(|next| next.member.label()).collect();
    let observers = observers.join(", ");
    format!(
        "this node has no measurement of {name}, because it does not observe it; ask one of its observers: {observers}"
    )
}

impl Links {
    fn of(known: LinkList, members: MemberCounts) -> Self {
        let mut links: Vec<_> = known.links.into_iter().filter_map(Measured::of).collect();
        links.sort_by(|a, b| b.rtt_ms.total_cmp(&a.rtt_ms));
        // Without the node itself.
        let others = (members.alive + members.suspect).saturating_sub(1);
        let unmeasured = others.saturating_sub(links.len());
        Self { links, unmeasured }
    }

    fn to_text(&self) -> String {
        let Self { links, unmeasured } = self;
        let mut shown = table::new(&["NAME", "RTT", "P99", "SAMPLES", "LOSS", "ID"]);
        for link in links {
            shown.add_row(vec![
                link.member.label(),
                milliseconds(Some(link.rtt_ms)),
                milliseconds(link.rtt_p99_ms),
                link.rtt_samples.map_or("-".into(), |samples| samples.to_string()),
                percent(link.loss),
                short(&link.member.id.to_string()),
            ]);
        }
        let mut text = if links.is_empty() { String::new() } else { table::text(&shown) };
        if let (Some(slowest), Some(fastest)) = (links.first(), links.last()) {
            let median = &links[links.len() / 2];
            text.push_str(&format!(
                "\n{} measured: fastest {}, median {}, slowest {}\n",
                links.len(),
                milliseconds(Some(fastest.rtt_ms)),
                milliseconds(Some(median.rtt_ms)),
                milliseconds(Some(slowest.rtt_ms)),
            ));
        }
        if *unmeasured > 0 {
            text.push_str(&format!(
                "not measured: {unmeasured}, because a node measures only the members that it observes\n"
            ));
        } else if links.is_empty() {
            text.push_str("no other member is live\n");
        }
        text
    }
}

impl Measured {
    fn of(link: KnownLink) -> Option<Self> {
        let KnownLink { member, rtt_ms, rtt_p99_ms, rtt_samples, loss, .. } = link;
        Some(Self { member, rtt_ms: rtt_ms?, rtt_p99_ms, rtt_samples, loss })
    }

    fn to_text(&self) -> String {
        let Self { member, rtt_ms, rtt_p99_ms, rtt_samples, loss } = self;
        let samples = rtt_samples.map_or("-".into(), |samples| samples.to_string());
        format!(
            "{} ({})\ntypical   {}\np99       {} (estimate)\nsamples   {samples}\nloss      {}\n",
            member.label(),
            short(&member.id.to_string()),
            milliseconds(Some(*rtt_ms)),
            milliseconds(*rtt_p99_ms),
            percent(*loss),
        )
    }
}

/// A time with as many digits as are of use.
pub(crate) fn milliseconds(time: Option<f64>) -> String {
    match time {
        None => "-".into(),
        Some(time) if time < 10.0 => format!("{time:.2} ms"),
        Some(time) if time < 1_000.0 => format!("{time:.1} ms"),
        Some(time) => format!("{:.1} s", time / 1e3),
    }
}

pub(crate) fn percent(share: Option<f64>) -> String {
    share.map_or("-".into(), |share| format!("{:.1} %", share * 100.0))
}

/// The path of all links.
pub(crate) const LINKS: &str = "/v1/links";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::brief::member_info;

    fn id(number: usize) -> String {
        format!("{number:032x}")
    }

    fn known(rtts: &[Option<f64>]) -> LinkList {
        let link = |(number, rtt): (usize, &Option<f64>)| {
            serde_json::json!({
                "member": { "id": id(number), "name": format!("n{number}") },
                "observed": true, "phi": 0, "rtt_ms": rtt, "loss": 0.001,
            })
        };
        let links: Vec<_> = rtts.iter().enumerate().map(link).collect();
        serde_json::from_value(serde_json::json!({ "links": links })).unwrap()
    }

    #[test]
    fn the_slowest_link_is_first_and_the_unmeasured_are_counted() {
        let known = known(&[None, Some(0.5), None, Some(1_500.0), Some(20.0)]);
        let members = MemberCounts { alive: 5, suspect: 1, dead: 3, left: 2 };
        let links = Links::of(known, members);
        let order: Vec<_> = links.links.iter().map(|link| link.member.label()).collect();
        assert_eq!((&order[..], links.unmeasured), (&["n3", "n4", "n1"].map(String::from)[..], 2));
        let text = links.to_text();
        let summary = "3 measured: fastest 0.50 ms, median 20.0 ms, slowest 1.5 s";
        assert!(text.contains(summary), "{text}");
        assert!(text.contains("\nnot measured: 2,"), "{text}");
    }

    #[test]
    fn a_node_that_is_alone_has_no_table() {
        let alone = MemberCounts { alive: 1, ..MemberCounts::default() };
        assert_eq!(Links::of(known(&[]), alone).to_text(), "no other member is live\n");
    }

    #[test]
    fn a_member_without_a_measurement_has_a_reason() {
        let rings = |number: usize, state: &str, observers: &[usize]| {
            let observer = |&number: &usize| {
                let name = format!("n{number}");
                serde_json::json!({ "id": id(number), "name": name, "state": "alive", "rings": [] })
            };
            let rings = serde_json::json!({
                "member": member_info(&format!("n{number}"), &id(number), state),
                "rings": 8, "live": 20, "subjects": [],
                "observers": observers.iter().map(observer).collect::<Vec<_>>(),
            });
            serde_json::from_value::<MemberRings>(rings).unwrap()
        };
        for (rings, reason) in [
            (rings(0, "alive", &[1]), "n0 is the queried node itself"),
            (rings(1, "dead", &[]), "n1 is dead: only members that are live are measured"),
            (
                rings(1, "alive", &[0]),
                "n1 is observed by this node, but has not answered a ping of it yet",
            ),
            (
                rings(1, "alive", &[2, 3]),
                "this node has no measurement of n1, because it does not observe it; ask one of its observers: n2, n3",
            ),
        ] {
            assert_eq!(unmeasured(&rings, id(0).parse().unwrap()), reason);
        }
    }
}
