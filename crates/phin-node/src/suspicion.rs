//! The reason for a member's state: the JSON of `why`, and its human-readable form.

use std::{net::SocketAddr, time::Duration};

use phin::{
    Cluster, Evidence, Member, MemberId, MemberInfo, MemberState, Members, Outcome, Report,
    ServingState, Silence,
};
use serde::{Deserialize, Serialize};

use crate::{
    events::{Failing, label, suppressed_until},
    table,
    text::{printable, printable_option, readable, readable_time, rfc3339, short},
};

/// The answer of `/v1/members/{name-or-id}/why`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Why {
    pub(crate) member: MemberInfo,
    /// When the member entered this state in this node's list.
    #[serde(deserialize_with = "printable")]
    pub(crate) since: String,
    /// The end of the suppression, if the member died and returned too often lately; else `null`.
    #[serde(default, deserialize_with = "printable_option")]
    pub(crate) suppressed_until: Option<String>,
    /// The flap penalty: 1 for each death that this node saw, halved in each half-life.
    #[serde(default)]
    pub(crate) flap_penalty: f64,
    /// The last suspicion, open or ended; `null` if this node never suspected the member.
    pub(crate) suspicion: Option<Report>,
    /// The observers that do not reach the member although it is live, as far as this node knows.
    #[serde(flatten)]
    pub(crate) failing: Failing,
    /// Why the last handshake between this node and the member was refused; absent if it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) refused: Option<Refused>,
    /// Only for the queried node itself: the address at which members see it, if it is behind a NAT and not reachable
    /// there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) nat_addr: Option<SocketAddr>,
    /// Other members that match the request, such as earlier runs with the same name; at most 8.
    #[serde(default)]
    pub(crate) others: Vec<MemberInfo>,
}

/// Creates the table of the votes.
type NewTable = fn(&[&str]) -> comfy_table::Table;

/// A handshake that one side refused.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Refused {
    /// The side that refused; `us` is the queried node.
    #[serde(deserialize_with = "printable")]
    pub(crate) by: String,
    #[serde(deserialize_with = "printable")]
    pub(crate) reason: String,
    pub(crate) addr: SocketAddr,
    #[serde(deserialize_with = "printable")]
    pub(crate) since: String,
}

impl Why {
    pub(crate) fn new(
        cluster: &Cluster,
        members: &Members,
        member: &Member,
        suspicion: Option<Report>,
        flap_penalty: f64,
    ) -> Self {
        Self {
            member: member.into(),
            since: rfc3339(cluster.wall_clock(member.since())),
            suppressed_until: suppressed_until(cluster, members, member),
            // Tenths are precise enough, and do not change from one request to the next.
            flap_penalty: (flap_penalty * 10.0).round() / 10.0,
            suspicion,
            failing: Failing::default(),
            refused: cluster.refusal(member.id()).map(Refused::new),
            nat_addr: cluster.nat_addr().filter(|_| member.id() == cluster.id()),
            others: Vec::new(),
        }
    }

    /// The human-readable answer, for standard output.
    pub(crate) fn to_text(&self) -> String {
        self.text_with(table::new)
    }

    /// The same without colours.
    pub(crate) fn to_plain_text(&self) -> String {
        self.text_with(table::plain)
    }

    fn text_with(&self, new_table: NewTable) -> String {
        let mut text = self.own_text(new_table);
        if !self.others.is_empty() {
            let shown = self.others.iter().map(|other| {
                format!("{} {} ({})", other.name, short(&other.id.to_string()), other.state)
            });
            let shown = shown.collect::<Vec<_>>().join(", ");
            text.push_str(&format!("Also matching: {shown}. Ask for one of them by its id.\n"));
        }
        text
    }

    fn own_text(&self, new_table: NewTable) -> String {
        let MemberInfo { id, name, state, .. } = &self.member;
        let (id, since) = (short(&id.to_string()), readable(&self.since));
        let mut text = match state {
            // The time is when this node learned it, which may be later than the departure.
            MemberState::Left => format!("{name} ({id}) is known to have left since {since}.\n"),
            MemberState::Alive | MemberState::Suspect | MemberState::Dead => {
                format!("{name} ({id}) is {state} since {since}.\n")
            }
        };
        if let Some(until) = &self.suppressed_until {
            text.push_str(&format!(
                "It died and returned too often lately (penalty {:.1}); it is suppressed until {}.\n",
                self.flap_penalty,
                readable(until)
            ));
        }
        if state.is_live() {
            text.push_str(&match &self.member.serving {
                ServingState::Serving => String::new(),
                ServingState::Draining => "It is draining: it takes no more work.\n".to_owned(),
                ServingState::NotServing(reason) => {
                    format!("It does not serve: {}.\n", reason.as_str())
                }
            });
        }
        text.push_str(&self.failing.to_text(self.member.flaws));
        if let Some(refused) = &self.refused {
            text.push_str(&refused.to_text());
        }
        if let Some(seen) = self.nat_addr {
            text.push_str(&format!(
                "It is behind a NAT: it advertises {}, and members see it at {seen}. If others do not reach it, \
                 set --advertise to the public address, with a port that is mapped to it.\n",
                self.member.addr
            ));
        }
        let Some(suspicion) = &self.suspicion else {
            text.push_str(match state {
                MemberState::Dead => {
                    "This node has no votes on it: it was dead when this node first heard of it.\n"
                }
                MemberState::Suspect => {
                    "Other members suspect it; this node has no evidence against it.\n"
                }
                MemberState::Alive | MemberState::Left => "It was never suspected here.\n",
            });
            return text;
        };
        let phin::Version { generation, incarnation, .. } = suspicion.version;
        let is_this_version =
            (generation, incarnation) == (self.member.generation, self.member.incarnation);
        let is_verdict = matches!(suspicion.outcome, Outcome::Dead(_));
        let is_dead = *state == MemberState::Dead;
        if is_dead && !(is_this_version && is_verdict) {
            text.push_str("This node has no votes on its death. ");
        }
        if is_verdict && !is_dead {
            text.push_str("It was declared dead before, and has returned since. ");
        }
        text.push_str(&report_text(suspicion, self.member.id, self.refused.is_some(), new_table));
        text
    }
}

impl Refused {
    fn new(refused: phin::RefusedHandshake) -> Self {
        let phin::RefusedHandshake { refusal, by, addr, since, .. } = refused;
        let (by, reason) = (by.to_string(), refusal.to_string());
        Self { by, reason, addr, since: rfc3339(since) }
    }

    fn to_text(&self) -> String {
        let Self { by, reason, addr, since } = self;
        let sides = match by.as_str() {
            "us" => "this node refuses it",
            _ => "it refuses this node",
        };
        let since = readable(since);
        format!("Handshakes at {addr} fail since {since}: {sides} ({reason}).\n")
    }
}

/// A suspicion of the member with this id.
fn report_text(report: &Report, id: MemberId, is_refused: bool, new_table: NewTable) -> String {
    let began_at = readable_time(report.began_at);
    let ended_at = report.ended_at.map_or("now".into(), readable_time);
    let silent = seconds(report.silent_for);
    match &report.outcome {
        Outcome::Cleared { by, .. } if by.id == id => format!(
            "Its last suspicion is cleared: it did not answer from {began_at} on, and did {silent} later, at \
             {ended_at}.\n"
        ),
        Outcome::Cleared { by, .. } => format!(
            "Its last suspicion is cleared: it did not answer from {began_at} on; {} heard it, and said so \
             {silent} later, at {ended_at}.\n",
            label(by)
        ),
        Outcome::Dead(evidence) => format!(
            "It did not answer from {began_at} on. {}Declared dead {silent} later, at {ended_at}. {}",
            explanation(evidence, is_refused),
            evidence_text(evidence, new_table)
        ),
        Outcome::Open(evidence) => format!(
            "It has not answered since {began_at}, {silent} ago. {}\
             No verdict yet: one answer to anyone clears it. {}",
            explanation(evidence, is_refused),
            evidence_text(evidence, new_table)
        ),
        _ => "Its last suspicion ended in a way that this release does not know.\n".to_owned(),
    }
}

/// A line on the votes, such as "3 observers voted, with phi 9.1 together".
pub(crate) fn summary(evidence: &Evidence) -> String {
    let observers = match evidence.votes.len() {
        1 => "1 observer".to_owned(),
        several => format!("{several} observers"),
    };
    format!("{observers} voted, with phi {:.1} together", evidence.phi)
}

/// Explains the kind of silence, also for a member whose handshakes with this node are refused.
pub(crate) fn explanation(evidence: &Evidence, is_refused: bool) -> String {
    let silence = evidence.silence;
    let is_unconfirmed = silence == Silence::Silent
        && evidence.votes.iter().any(|vote| vote.silence == Silence::Gone);
    let meaning = match silence {
        _ if is_unconfirmed => "one observer found it gone, and no second one confirms that",
        Silence::Hung if is_refused => {
            "a process answers there, but handshakes with it are refused"
        }
        silence => meaning(silence),
    };
    format!("{silence}: {meaning}.\n")
}

fn evidence_text(evidence: &Evidence, new_table: NewTable) -> String {
    if evidence.votes.is_empty() {
        return "No observer's vote is known here.\n".to_owned();
    }
    let mut shown = new_table(&["OBSERVER", "ID", "MISSED SINCE", "PINGS", "PHI", "ITS HOST SAYS"]);
    for vote in &evidence.votes {
        shown.add_row(vec![
            vote.observer.name.as_ref().map_or_else(|| "-".into(), ToString::to_string),
            short(&vote.observer.id.to_string()),
            readable_time(vote.silent_since),
            vote.pings_missed.to_string(),
            format!("{:.1}", vote.phi),
            vote.silence.to_string(),
        ]);
    }
    format!("{}:\n{}", summary(evidence), table::text(&shown))
}

/// Explains a kind of silence in words.
const fn meaning(silence: Silence) -> &'static str {
    match silence {
        Silence::Gone => {
            "its port is refused, or another process answers there; its process has ended"
        }
        Silence::Hung => {
            "its host answers, but its process does not; it is stopped, swapping or starved, or refuses handshakes"
        }
        Silence::Silent => "its host used to answer and no longer does; host or network is down",
        Silence::Unknown => "nothing is known of its host; it was not asked, or never answered",
        _ => "a kind that this release does not know",
    }
}

fn seconds(time: Duration) -> String {
    match time.as_millis() {
        milliseconds @ 0..1_000 => format!("{milliseconds} ms"),
        _ => format!("{:.1} s", time.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests;
