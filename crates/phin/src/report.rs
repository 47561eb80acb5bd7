//! [`Report`] and [`Unreached`]: what the core knows against a member, in wall-clock time and with the names of observers.

use std::time::{Duration, SystemTime};

use phin_swim::{Instant, MemberId, Members, Name, Silence, Version};

use crate::clock::Clock;

/// One suspicion of a member, from beginning to end: see [`Cluster::why`](crate::Cluster::why).
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[non_exhaustive]
pub struct Report {
    /// Which version of the member was suspected.
    #[cfg_attr(feature = "serde", serde(flatten))]
    pub version: Version,
    /// When the first ping was sent that was not answered, by this node or by an observer that voted.
    #[cfg_attr(feature = "serde", serde(with = "crate::json::time"))]
    pub began_at: SystemTime,
    /// When it ended; `None` while it is open.
    #[cfg_attr(feature = "serde", serde(with = "crate::json::time_option"))]
    pub ended_at: Option<SystemTime>,
    /// How long the silence lasted: from the first unanswered ping to the end, or until now.
    #[cfg_attr(feature = "serde", serde(rename = "silent_ms", with = "crate::json::millis"))]
    pub silent_for: Duration,
    /// How it ended.
    #[cfg_attr(feature = "serde", serde(flatten))]
    pub outcome: Outcome,
}

/// How a suspicion ended.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Deserialize, serde::Serialize),
    serde(tag = "outcome", rename_all = "kebab-case")
)]
#[non_exhaustive]
pub enum Outcome {
    /// It has not ended; this is the evidence so far.
    Open(Evidence),
    /// The member was declared dead on this evidence.
    Dead(Evidence),
    /// The member was heard.
    Cleared {
        /// The member that heard it; the member itself if it answered this node.
        #[cfg_attr(feature = "serde", serde(rename = "cleared_by"))]
        by: MemberRef,
    },
}

/// The evidence against a member.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[non_exhaustive]
pub struct Evidence {
    /// The kind of silence that the votes amount to.
    pub silence: Silence,
    /// The phi of the votes together.
    pub phi: f64,
    /// The votes of the observers; empty if this node knows none.
    pub votes: Vec<Vote>,
}

/// The evidence of one observer against a member.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[non_exhaustive]
pub struct Vote {
    /// The observer.
    pub observer: MemberRef,
    /// When it sent the first ping that was not answered.
    #[cfg_attr(feature = "serde", serde(with = "crate::json::time"))]
    pub silent_since: SystemTime,
    /// How many of its pings were not answered, up to 255.
    pub pings_missed: u8,
    /// The phi of its missed replies: −log10 of the probability that a live member would be as silent.
    pub phi: f64,
    /// The answer of the member's host to it.
    pub silence: Silence,
}

/// A member by its id, with its display name if the list still has it.
#[derive(Clone, Debug, Eq, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[non_exhaustive]
pub struct MemberRef {
    /// The id.
    pub id: MemberId,
    /// The name; `None` if the member is not in the list.
    pub name: Option<Name>,
}

/// A live member that some of its observers do not reach: see [`Cluster::unreached`](crate::Cluster::unreached).
#[derive(Clone, Debug, Eq, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[non_exhaustive]
pub struct Unreached {
    /// The member.
    pub id: MemberId,
    /// When this node learned that the member is degraded; `None` while it is not.
    #[cfg_attr(feature = "serde", serde(with = "crate::json::time_option"))]
    pub degraded_since: Option<SystemTime>,
    /// The links to it that fail, in the order of the ids of their observers.
    #[cfg_attr(feature = "serde", serde(rename = "failing_links"))]
    pub links: Vec<FailingLink>,
}

/// A link on which a live member is not reached.
#[derive(Clone, Debug, Eq, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[non_exhaustive]
pub struct FailingLink {
    /// The observer that does not reach the member.
    pub observer: MemberRef,
    /// When it sent the first ping that was not answered.
    #[cfg_attr(feature = "serde", serde(with = "crate::json::time"))]
    pub since: SystemTime,
    /// How many of its pings were not answered, up to 255.
    pub pings_missed: u8,
}

impl Report {
    /// The evidence, unless the suspicion was cleared.
    pub const fn evidence(&self) -> Option<&Evidence> {
        match &self.outcome {
            Outcome::Open(evidence) | Outcome::Dead(evidence) => Some(evidence),
            Outcome::Cleared { .. } => None,
        }
    }
}

/// How moments and members of the core are shown.
pub(crate) struct Shown<'a> {
    pub(crate) clock: &'a Clock,
    pub(crate) members: &'a Members,
}

impl Shown<'_> {
    pub(crate) fn report(&self, report: &phin_swim::Report) -> Report {
        let silence = report.silence().unwrap_or(Silence::Unknown);
        let (ended_at, outcome) = match &report.outcome {
            phin_swim::Outcome::Open { votes } => {
                (None, Outcome::Open(self.evidence(silence, votes)))
            }
            phin_swim::Outcome::Dead { votes } => {
                (Some(report.ended_at), Outcome::Dead(self.evidence(silence, votes)))
            }
            phin_swim::Outcome::Cleared { by } => {
                (Some(report.ended_at), Outcome::Cleared { by: self.member(*by) })
            }
        };
        // Another observer may have missed a reply before this node did.
        let votes = match &report.outcome {
            phin_swim::Outcome::Open { votes } | phin_swim::Outcome::Dead { votes } => &**votes,
            phin_swim::Outcome::Cleared { .. } => &[],
        };
        let earliest = votes.iter().map(|vote| vote.silent_since).min();
        let began_at = earliest.map_or(report.began_at, |earliest| earliest.min(report.began_at));
        Report {
            version: report.version,
            began_at: self.time(began_at),
            ended_at: ended_at.map(|at| self.time(at)),
            silent_for: report.ended_at.saturating_since(began_at),
            outcome,
        }
    }

    pub(crate) fn unreached(&self, unreached: &phin_swim::Unreached) -> Unreached {
        let links = unreached.links.iter().map(|link| FailingLink {
            observer: self.member(link.observer),
            since: self.time(link.since),
            pings_missed: link.attempts,
        });
        Unreached {
            id: unreached.id,
            degraded_since: unreached.degraded_since.map(|at| self.time(at)),
            links: links.collect(),
        }
    }

    fn evidence(&self, silence: Silence, votes: &[phin_swim::Vote]) -> Evidence {
        let shown = votes.iter().map(|vote| Vote {
            observer: self.member(vote.observer),
            silent_since: self.time(vote.silent_since),
            pings_missed: vote.attempts,
            phi: vote.phi,
            silence: vote.silence,
        });
        Evidence { silence, phi: votes.iter().map(|vote| vote.phi).sum(), votes: shown.collect() }
    }

    fn member(&self, id: MemberId) -> MemberRef {
        let name = self.members.get(id).and_then(|member| Name::try_from(member.name()).ok());
        MemberRef { id, name }
    }

    fn time(&self, at: Instant) -> SystemTime {
        self.clock.wall(at)
    }
}

#[cfg(test)]
mod tests;
