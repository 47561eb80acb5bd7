//! Reports of suspicions: how each ended, and on which votes.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use crate::{
    Claim, Entry, Instant, MemberId, MemberState, MembershipList, Part, Tally, Verdict, Version,
    detect::signed::SignedVote, limit::make_room, wire::MAX_VOTES,
};

/// The kind of a member's silence, by what its host says.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Deserialize, serde::Serialize),
    serde(rename_all = "kebab-case")
)]
#[non_exhaustive]
pub enum Silence {
    /// The host was not asked, or never answered: a firewall, or a platform that cannot ask.
    Unknown,
    /// The host used to answer, and no longer does.
    Silent,
    /// The host answers, the process does not.
    Hung,
    /// The process is not there: its port is refused, or another process answers there.
    Gone,
}

impl Silence {
    /// The kind's name in logs, metrics and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Silent => "silent",
            Self::Hung => "hung",
            Self::Gone => "gone",
        }
    }

    /// The common finding of several observers: *gone* if two of them agree, as a forged refusal reaches only one;
    /// *hung* if any received an answer from the host; *silent* if any knows that it no longer answers.
    pub(crate) fn of(votes: &[Vote]) -> Self {
        let count = |kind| votes.iter().filter(|vote| vote.silence == kind).count();
        match (count(Self::Gone), count(Self::Hung), count(Self::Silent)) {
            (2.., _, _) => Self::Gone,
            (_, 1.., _) => Self::Hung,
            (0, _, 0) => Self::Unknown,
            _ => Self::Silent,
        }
    }
}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The evidence of one observer against a member.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Vote {
    /// The observer.
    pub observer: MemberId,
    /// The phi of its missed replies: −log10 of the probability that a live member would be as silent.
    pub phi: f64,
    /// When the first ping was sent that was not answered.
    pub silent_since: Instant,
    /// The answer of the member's host to this observer.
    pub silence: Silence,
    /// How many pings were not answered, up to 255.
    pub attempts: u8,
}

/// How a suspicion ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It has not ended.
    Open {
        /// The evidence so far.
        votes: Arc<[Vote]>,
    },
    /// The member was heard.
    Cleared {
        /// The member that heard it; the member itself if it answered this node.
        by: MemberId,
    },
    /// The member was declared dead.
    Dead {
        /// On this evidence.
        votes: Arc<[Vote]>,
    },
}

/// One suspicion of a member, from beginning to end.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Which version of the member was suspected.
    pub version: Version,
    /// When the first ping was sent that was not answered, as far as this node knows.
    pub began_at: Instant,
    /// When it ended; now if it has not.
    pub ended_at: Instant,
    /// How it ended.
    pub outcome: Outcome,
}

impl Report {
    /// The kind of silence that the votes amount to.
    pub fn silence(&self) -> Option<Silence> {
        match &self.outcome {
            Outcome::Open { votes } | Outcome::Dead { votes } => Some(Silence::of(votes)),
            Outcome::Cleared { .. } => None,
        }
    }

    /// How long the silence lasted.
    pub fn duration(&self) -> Duration {
        self.ended_at - self.began_at
    }
}

/// The last report on each member, of at most [`MAX_REPORTS`] members.
#[derive(Debug, Default)]
pub(crate) struct Reports(BTreeMap<MemberId, Kept>);

/// A report, and the signed votes that show it to others.
#[derive(Debug)]
struct Kept {
    report: Report,
    signed: Vec<SignedVote>,
}

impl Reports {
    pub(crate) fn keep(&mut self, id: MemberId, report: Report, signed: Vec<SignedVote>) {
        // The one that ended longest ago is the one least likely asked for.
        make_room(&mut self.0, id, MAX_REPORTS, |kept| kept.report.ended_at);
        self.0.insert(id, Kept { report, signed });
    }

    /// How many signed votes the verdict on this version has.
    pub(crate) fn signed(&self, id: MemberId, version: Version) -> Option<usize> {
        self.votes(id, version).map(|(_, signed)| signed.len())
    }

    /// Adds a signed vote to a verdict, if it is new and there is room; returns how many are signed then.
    pub(crate) fn add(&mut self, id: MemberId, vote: Vote, signed: SignedVote) -> Option<usize> {
        let Kept { report, signed: kept } = self.0.get_mut(&id)?;
        let Outcome::Dead { votes } = &mut report.outcome else {
            return None;
        };
        if kept.len() >= MAX_VOTES || kept.iter().any(|known| known.voter == signed.voter) {
            return None;
        }
        // The later vote of its observer: the signature is over the kind of silence that it states.
        let others = votes.iter().filter(|known| known.observer != vote.observer).copied();
        *votes = [vote].into_iter().chain(others).collect();
        kept.push(signed);
        Some(kept.len())
    }

    pub(crate) fn get(&self, id: MemberId) -> Option<&Report> {
        self.0.get(&id).map(|kept| &kept.report)
    }

    /// The list's present entry of a member, with the votes behind it if that is dead.
    pub(crate) fn update(&self, now: Instant, list: &MembershipList, id: MemberId) -> Option<Part> {
        let member = list.get(id)?;
        let claim = Claim { subject: id, version: member.version(), by: list.me().id() };
        Some(match member.state {
            MemberState::Alive | MemberState::Left => Part::Entry(Entry::of(member)),
            MemberState::Suspect => Part::Suspect(claim),
            MemberState::Dead => Part::Dead(self.verdict(now, claim)),
        })
    }

    /// A verdict with as many of the votes that it rests on as a message takes.
    fn verdict(&self, now: Instant, claim: Claim) -> Verdict {
        let Some((votes, signed)) = self.votes(claim.subject, claim.version) else {
            return Verdict::unsigned(claim, Vec::new());
        };
        let votes = votes.iter().take(MAX_VOTES);
        let votes = votes.map(|vote| (vote.observer, Tally::of(vote, now))).collect();
        Verdict { claim, votes, signed: signed.to_vec() }
    }

    /// The votes that a verdict on this version rests on, and those that are signed.
    fn votes(&self, id: MemberId, version: Version) -> Option<(&[Vote], &[SignedVote])> {
        let kept = self.0.get(&id).filter(|kept| kept.report.version == version)?;
        match &kept.report.outcome {
            Outcome::Dead { votes } => Some((votes, &kept.signed)),
            Outcome::Open { .. } | Outcome::Cleared { .. } => None,
        }
    }
}

/// For how many members the last report is kept.
const MAX_REPORTS: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    fn votes(kinds: &[Silence]) -> Vec<Vote> {
        let vote = |&silence| Vote {
            observer: MemberId([0; 16]),
            phi: 3.0,
            silent_since: Instant::START,
            silence,
            attempts: 1,
        };
        kinds.iter().map(vote).collect()
    }

    #[test]
    fn one_refusal_is_not_enough_to_be_gone_and_one_answer_is_enough_to_be_hung() {
        use Silence::{Gone, Hung, Silent, Unknown};
        assert_eq!(Silence::of(&votes(&[Gone, Gone, Hung])), Gone);
        assert_eq!(Silence::of(&votes(&[Gone, Hung, Silent, Silent])), Hung);
        assert_eq!(Silence::of(&votes(&[Gone, Unknown])), Silent);
        assert_eq!(Silence::of(&votes(&[Silent, Unknown, Unknown])), Silent);
        assert_eq!(Silence::of(&votes(&[Unknown, Unknown])), Unknown);
        assert_eq!(Silence::of(&[]), Unknown);
    }
}
