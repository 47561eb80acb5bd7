//! Why a member is in its state: the JSON of `why`, and its human-readable form.

use std::{net::SocketAddr, time::SystemTime};

use phin::{Cluster, Member, Members, Outcome, Report, ServingState, Silence};
use serde::{Deserialize, Serialize};

use crate::{
    events::{Failing, ListedMember, Someone, listed_member, suppressed_until},
    table,
    text::{printable, printable_option, readable, rfc3339, short},
};

/// The answer of `/v1/members/{name-or-id}/why`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Why {
    pub(crate) member: ListedMember,
    /// Since when it has had this state here.
    #[serde(deserialize_with = "printable")]
    pub(crate) since: String,
    /// Until when it is suppressed, because it died and returned too often lately; else `null`.
    #[serde(default, deserialize_with = "printable_option")]
    pub(crate) suppressed_until: Option<String>,
    /// How often it died lately, as far as this node saw: one for each death, halved in each half life.
    #[serde(default)]
    pub(crate) flap_penalty: f64,
    /// Its last suspicion, open or ended; `null` if it was never suspected here.
    pub(crate) suspicion: Option<Suspicion>,
    /// Which of its observers do not reach it, though it lives, as far as this node knows.
    #[serde(flatten)]
    pub(crate) failing: Failing,
    /// Why the last handshake of this node with it was refused; left out if it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) refused: Option<Refused>,
    /// Of the asked node itself: where members see it, if that is behind a NAT and not where it can be reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) nat_addr: Option<SocketAddr>,
    /// Other members that the request fits, such as earlier runs with the same name; at most 8.
    #[serde(default)]
    pub(crate) others: Vec<ListedMember>,
}

/// A handshake that one side refused.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Refused {
    /// Which side refused the other: `us` is the asked node.
    #[serde(deserialize_with = "printable")]
    pub(crate) by: String,
    #[serde(deserialize_with = "printable")]
    pub(crate) reason: String,
    pub(crate) addr: SocketAddr,
    #[serde(deserialize_with = "printable")]
    pub(crate) since: String,
}

/// One suspicion, from the first ping that was not answered.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Suspicion {
    /// Which version of the member was suspected.
    pub(crate) generation: u32,
    pub(crate) incarnation: u32,
    /// When the first ping was sent that was not answered.
    #[serde(deserialize_with = "printable")]
    pub(crate) began_at: String,
    /// `null` while it is open.
    #[serde(deserialize_with = "printable_option")]
    pub(crate) ended_at: Option<String>,
    /// From the first unanswered ping to the end, or until now.
    pub(crate) silent_ms: u64,
    #[serde(flatten)]
    pub(crate) outcome: Ending,
}

/// How a suspicion ended; the tag is the field `outcome`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
pub(crate) enum Ending {
    Open(Evidence),
    Dead(Evidence),
    Cleared { cleared_by: Someone },
}

/// What there is against a member.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Evidence {
    /// What kind of silence the votes amount to: gone, hung, silent, unknown.
    #[serde(deserialize_with = "printable")]
    pub(crate) silence: String,
    /// What the votes are worth together.
    pub(crate) phi: f64,
    pub(crate) votes: Vec<Ballot>,
}

/// One observer's vote.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Ballot {
    pub(crate) observer: Someone,
    /// When it sent the first ping that was not answered.
    #[serde(deserialize_with = "printable")]
    pub(crate) silent_since: String,
    /// How many of its pings were not answered.
    pub(crate) pings_missed: u8,
    pub(crate) phi: f64,
    /// What the member's host said to it: gone, hung, silent, unknown.
    #[serde(deserialize_with = "printable")]
    pub(crate) silence: String,
}

impl Why {
    pub(crate) fn new(
        cluster: &Cluster,
        members: &Members,
        member: &Member,
        report: Option<&Report>,
        flap_penalty: f64,
    ) -> Self {
        let wall = |at| cluster.wall_clock(at);
        Self {
            member: listed_member(member),
            since: rfc3339(wall(member.since())),
            suppressed_until: suppressed_until(cluster, members, member),
            // Tenths are precise enough to read, and stay the same from one call to the next.
            flap_penalty: (flap_penalty * 10.0).round() / 10.0,
            suspicion: report.map(|report| Suspicion::new(report, members, wall)),
            failing: Failing::default(),
            refused: cluster.refusal(member.id()).map(Refused::new),
            nat_addr: cluster.nat_addr().filter(|_| member.id() == cluster.id()),
            others: Vec::new(),
        }
    }

    /// The human-readable answer.
    pub(crate) fn to_text(&self) -> String {
        let mut text = self.own_text();
        if !self.others.is_empty() {
            let shown = self.others.iter().map(|other| {
                format!("{} {} ({})", other.member.name, short(&other.member.id), other.state)
            });
            let shown = shown.collect::<Vec<_>>().join(", ");
            text.push_str(&format!("Also matching: {shown}. Ask for one of them by its id.\n"));
        }
        text
    }

    fn own_text(&self) -> String {
        let ListedMember { member, state } = &self.member;
        let name = &member.name;
        let (id, since) = (short(&member.id), readable(&self.since));
        let mut text = match state.as_str() {
            // The moment is this node's: it may have started, or heard of it, later.
            "left" => format!("{name} ({id}) is known to have left since {since}.\n"),
            _ => format!("{name} ({id}) is {state} since {since}.\n"),
        };
        if let Some(until) = &self.suppressed_until {
            text.push_str(&format!(
                "It died and returned too often lately (penalty {:.1}); its comings and goings are not told until {}.\n",
                self.flap_penalty,
                readable(until)
            ));
        }
        if matches!(state.as_str(), "alive" | "suspect") {
            text.push_str(&match &member.profile.serving {
                ServingState::Serving => String::new(),
                ServingState::Draining => "It is draining: it takes no more work.\n".to_owned(),
                ServingState::NotServing(reason) => {
                    format!("It does not serve: {}.\n", reason.as_str())
                }
            });
        }
        text.push_str(&self.failing.to_text());
        if let Some(refused) = &self.refused {
            text.push_str(&refused.to_text());
        }
        if let Some(seen) = self.nat_addr {
            text.push_str(&format!(
                "It is behind a NAT: it advertises {}, and members see it at {seen}. If others do not reach it, \
                 set --advertise to the public address, with a port that is mapped to it.\n",
                member.addr
            ));
        }
        let Some(suspicion) = &self.suspicion else {
            text.push_str(match state.as_str() {
                "dead" => {
                    "This node has no votes on it: it was dead when this node first heard of it.\n"
                }
                "suspect" => "Others suspect it; this node has nothing against it.\n",
                _ => "It was never suspected here.\n",
            });
            return text;
        };
        let is_this_version = (suspicion.generation, suspicion.incarnation)
            == (member.generation, member.incarnation);
        let is_verdict = matches!(suspicion.outcome, Ending::Dead(_));
        if state == "dead" && !(is_this_version && is_verdict) {
            text.push_str("This node has no votes on its death. ");
        }
        if is_verdict && state != "dead" {
            text.push_str("It was declared dead before, and has returned since. ");
        }
        text.push_str(&suspicion.to_text(&member.id, self.refused.is_some()));
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

impl Suspicion {
    fn new(
        report: &Report,
        members: &Members,
        wall: impl Fn(phin::Instant) -> SystemTime + Copy,
    ) -> Self {
        let evidence = |votes: &[phin::Vote]| Evidence {
            silence: report.silence().unwrap_or(Silence::Unknown).as_str().to_owned(),
            phi: votes.iter().map(|vote| vote.phi).sum(),
            votes: votes.iter().map(|vote| Ballot::new(vote, members, wall)).collect(),
        };
        let (ended_at, outcome) = match &report.outcome {
            Outcome::Open { votes } => (None, Ending::Open(evidence(votes))),
            Outcome::Dead { votes } => (Some(report.ended_at), Ending::Dead(evidence(votes))),
            Outcome::Cleared { by } => {
                let cleared_by = Someone::new(*by, members);
                (Some(report.ended_at), Ending::Cleared { cleared_by })
            }
        };
        // Another observer may have missed a reply before this node did.
        let began_at = votes_of(&report.outcome).iter().map(|vote| vote.silent_since).min();
        let began_at = began_at.map_or(report.began_at, |earliest| earliest.min(report.began_at));
        let silent = report.ended_at.saturating_since(began_at);
        Self {
            generation: report.version.generation.0,
            incarnation: report.version.incarnation.0,
            began_at: rfc3339(wall(began_at)),
            ended_at: ended_at.map(|at| rfc3339(wall(at))),
            silent_ms: u64::try_from(silent.as_millis()).unwrap_or(u64::MAX),
            outcome,
        }
    }

    fn to_text(&self, id: &str, is_refused: bool) -> String {
        let began_at = readable(&self.began_at);
        let ended_at = self.ended_at.as_deref().map_or("now".into(), readable);
        let silent = seconds(self.silent_ms);
        match &self.outcome {
            Ending::Cleared { cleared_by } if cleared_by.id == id => format!(
                "Its last suspicion is cleared: it did not answer from {began_at} on, and did {silent} later, at \
                 {ended_at}.\n"
            ),
            Ending::Cleared { cleared_by } => format!(
                "Its last suspicion is cleared: it did not answer from {began_at} on; {} heard it, and said so \
                 {silent} later, at {ended_at}.\n",
                cleared_by.label()
            ),
            Ending::Open(evidence) => format!(
                "It has not answered since {began_at}, {silent} ago. {}\
                 No verdict yet: one answer to anyone clears it. {}",
                evidence.explanation(is_refused),
                evidence.to_text()
            ),
            Ending::Dead(evidence) => format!(
                "It did not answer from {began_at} on. {}Declared dead {silent} later, at {ended_at}. {}",
                evidence.explanation(is_refused),
                evidence.to_text()
            ),
        }
    }
}

impl Evidence {
    /// A line on the votes, such as "3 observers voted, with phi 9.1 together".
    pub(crate) fn summary(&self) -> String {
        let observers = match self.votes.len() {
            1 => "1 observer".to_owned(),
            several => format!("{several} observers"),
        };
        format!("{observers} voted, with phi {:.1} together", self.phi)
    }

    /// What the kind of silence means, also of a member whose handshakes with this node are refused.
    pub(crate) fn explanation(&self, is_refused: bool) -> String {
        let is_unconfirmed =
            self.silence == "silent" && self.votes.iter().any(|vote| vote.silence == "gone");
        let meaning = match self.silence.as_str() {
            _ if is_unconfirmed => "one observer found it gone, and no second one confirms that",
            "hung" if is_refused => "a process answers there, but handshakes with it are refused",
            silence => meaning(silence),
        };
        format!("{}: {meaning}.\n", self.silence)
    }

    fn to_text(&self) -> String {
        if self.votes.is_empty() {
            return "No observer's vote is known here.\n".to_owned();
        }
        let mut shown =
            table::new(&["OBSERVER", "ID", "MISSED SINCE", "PINGS", "PHI", "ITS HOST SAYS"]);
        for vote in &self.votes {
            shown.add_row(vec![
                vote.observer.name.clone().unwrap_or_else(|| "-".into()),
                short(&vote.observer.id),
                readable(&vote.silent_since),
                vote.pings_missed.to_string(),
                format!("{:.1}", vote.phi),
                vote.silence.clone(),
            ]);
        }
        format!("{}:\n{}", self.summary(), table::text(&shown))
    }
}

impl Ballot {
    fn new(
        vote: &phin::Vote,
        members: &Members,
        wall: impl Fn(phin::Instant) -> SystemTime,
    ) -> Self {
        Self {
            observer: Someone::new(vote.observer, members),
            silent_since: rfc3339(wall(vote.silent_since)),
            pings_missed: vote.attempts,
            phi: vote.phi,
            silence: vote.silence.as_str().to_owned(),
        }
    }
}

fn votes_of(outcome: &Outcome) -> &[phin::Vote] {
    match outcome {
        Outcome::Open { votes } | Outcome::Dead { votes } => votes,
        Outcome::Cleared { .. } => &[],
    }
}

/// What a kind of silence says of a member, in words.
fn meaning(silence: &str) -> &'static str {
    match silence {
        "gone" => "its port is refused, or another process answers there; its process has ended",
        "hung" => {
            "its host answers, but its process does not; it is stopped, swapping or starved, or refuses handshakes"
        }
        "silent" => "its host used to answer and does no longer; host or network is down",
        "unknown" => "nothing is known of its host; it was not asked, or never answered",
        _ => "a kind that this release does not know",
    }
}

fn seconds(milliseconds: u64) -> String {
    match milliseconds {
        0..1_000 => format!("{milliseconds} ms"),
        _ => format!("{:.1} s", std::time::Duration::from_millis(milliseconds).as_secs_f64()),
    }
}

#[cfg(test)]
mod tests;
