//! Verdicts of others that are not accepted yet.
//!
//! A pending verdict costs time and no pings but those of observers, and always ends.

use std::collections::BTreeMap;

use crate::{
    Instant, MemberId, Silence, Source, Version,
    detect::{
        reports::Vote,
        signed::{Backing, SignedVote},
    },
};

/// The pending verdicts: one for each subject, at most [`MAX_PENDING`].
#[derive(Debug, Default)]
pub(crate) struct PendingVerdicts(BTreeMap<MemberId, PendingVerdict>);

/// A verdict on one version of a member, and from whom it came.
#[derive(Debug)]
pub(crate) struct PendingVerdict {
    pub(crate) version: Version,
    pub(crate) votes: Vec<Vote>,
    /// The votes among them that are signed, and what they amount to.
    pub(crate) signed: Vec<SignedVote>,
    pub(crate) backing: Backing,
    pub(crate) source: Source,
    pub(crate) stage: Stage,
    /// The answer of the member's host since this node looks for itself.
    pub(crate) host: Silence,
    /// Whether the member was alive since then. The contacts remember too few members for all that a liar accuses at once.
    pub(crate) has_lived: bool,
}

impl PendingVerdict {
    pub(crate) fn new(version: Version, votes: Vec<Vote>, source: Source, stage: Stage) -> Self {
        let (signed, backing) = (Vec::new(), Backing::None);
        let (host, has_lived) = (Silence::Unknown, false);
        Self { version, votes, signed, backing, source, stage, host, has_lived }
    }

    /// Adds the signed votes of another verdict on the same version that this one does not have.
    pub(crate) fn add_votes_of(&mut self, other: &Self) {
        for signed in &other.signed {
            let is_same = |vote: &&Vote| vote.observer == signed.voter;
            if self.signed.iter().all(|vote| vote.voter != signed.voter) {
                self.signed.push(signed.clone());
                self.votes.extend(other.votes.iter().find(is_same));
            }
        }
    }

    /// The same verdict with these signed votes.
    pub(crate) fn signed_by(self, signed: Vec<SignedVote>, backing: Backing) -> Self {
        Self { signed, backing, ..self }
    }
}

/// The next stage that a pending verdict waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stage {
    /// The member is suspect, and has its time to refute.
    Refutable,
    /// That time was over, and since then the member was asked once more.
    Asked(Instant),
    /// Since then this node pings the member itself, as claims of others are not enough. Until that is over the member
    /// is alive.
    Examined(Instant),
}

impl Stage {
    /// The stage of a verdict that takes the place of one in this stage: its subject is asked once more only once.
    const fn replaced(self) -> Self {
        match self {
            Self::Asked(at) => Self::Asked(at),
            Self::Refutable | Self::Examined(_) => Self::Refutable,
        }
    }
}

impl PendingVerdicts {
    /// The pending verdict on this version of a member.
    pub(crate) fn on(&self, id: MemberId, version: Version) -> Option<&PendingVerdict> {
        self.0.get(&id).filter(|verdict| verdict.version == version)
    }

    /// Whether one more verdict, on this member, can be kept.
    pub(crate) fn has_room(&self, id: MemberId) -> bool {
        self.0.len() < MAX_PENDING || self.0.contains_key(&id)
    }

    /// Since when this node looks for itself.
    pub(crate) fn examined_since(&self, id: MemberId) -> Option<Instant> {
        match self.0.get(&id)?.stage {
            Stage::Examined(since) => Some(since),
            Stage::Refutable | Stage::Asked(_) => None,
        }
    }

    /// For a member that this node looks at: the answer of its host with the most information, and what the signed votes of
    /// the verdict amount to.
    pub(crate) fn look_at(&self, id: MemberId) -> (Silence, Backing) {
        let verdict = self.0.get(&id);
        verdict.map_or((Silence::Unknown, Backing::None), |verdict| (verdict.host, verdict.backing))
    }

    /// The host of a member answered while this node looks at it.
    pub(crate) fn record_host(&mut self, id: MemberId, silence: Silence) {
        if let Some(verdict) = self.0.get_mut(&id) {
            verdict.host = verdict.host.max(silence);
        }
    }

    /// A member was alive at `at`: a look at it that began before has shown that it lives.
    pub(crate) fn record_alive(&mut self, id: MemberId, at: Instant) {
        if let Some(verdict) = self.0.get_mut(&id)
            && let Stage::Examined(since) = verdict.stage
        {
            verdict.has_lived |= at >= since;
        }
    }

    /// The verdicts with signed votes that this node looks into.
    pub(crate) fn signed(&self) -> impl Iterator<Item = (MemberId, &PendingVerdict)> {
        let signed = self.0.iter().filter(|(_, verdict)| !verdict.signed.is_empty());
        signed.map(|(&id, verdict)| (id, verdict))
    }

    /// Further votes came for a verdict that this node looks into.
    pub(crate) fn replace_votes(&mut self, id: MemberId, with: PendingVerdict) {
        if let Some(verdict) = self.0.get_mut(&id) {
            let PendingVerdict { votes, signed, backing, .. } = with;
            (verdict.votes, verdict.signed, verdict.backing) = (votes, signed, backing);
        }
    }

    /// Whether this node looks at a member that has not shown itself since.
    pub(crate) fn is_looked_for(&self, id: MemberId) -> bool {
        self.examined_since(id).is_some() && !self.has_lived(id)
    }

    /// Whether a member that this node looks at was alive since then.
    pub(crate) fn has_lived(&self, id: MemberId) -> bool {
        self.0.get(&id).is_some_and(|verdict| verdict.has_lived)
    }

    /// Whether another verdict can be examined, of at most so many at once.
    pub(crate) fn may_examine(&self, max: usize) -> bool {
        let examined = self.0.values().filter(|v| matches!(v.stage, Stage::Examined(_)));
        examined.count() < max
    }

    pub(crate) fn insert(&mut self, id: MemberId, verdict: PendingVerdict) {
        self.0.insert(id, verdict);
    }

    /// Keeps a verdict whose subject has time to refute, unless one of as many votes on the same version is kept.
    pub(crate) fn keep(
        &mut self,
        id: MemberId,
        version: Version,
        votes: Vec<Vote>,
        source: Source,
    ) {
        let known = self.on(id, version);
        let is_better = known.is_none_or(|known| known.votes.len() < votes.len());
        let stage = known.map_or(Stage::Refutable, |known| known.stage.replaced());
        if is_better {
            self.insert(id, PendingVerdict::new(version, votes, source, stage));
        }
    }

    /// The member is asked once more: returns since when, and whether it is so for the first time.
    pub(crate) fn ask(&mut self, now: Instant, id: MemberId) -> Option<(Instant, bool)> {
        let verdict = self.0.get_mut(&id)?;
        if let Stage::Asked(at) = verdict.stage {
            return Some((at, false));
        }
        verdict.stage = Stage::Asked(now);
        Some((now, true))
    }

    pub(crate) fn end(&mut self, id: MemberId) -> Option<PendingVerdict> {
        self.0.remove(&id)
    }
}

/// How many verdicts can be pending; further ones are heard of again when lists are compared.
const MAX_PENDING: usize = 4_096;
/// How many members are looked at together before a verdict on them is accepted.
pub(crate) const MAX_EXAMINED: usize = 32;
/// While fewer members than this are looked at where verdicts are to be signed, helpers are asked, and each is pinged more often.
pub(crate) const MAX_HELPED: usize = 8;
/// The same where verdicts are to be signed, and those on members that died with many others cannot be.
pub(crate) const MAX_LOOKS: usize = 128;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Generation, Incarnation, Silence};

    fn id(number: usize) -> MemberId {
        MemberId::from_u128(number as u128)
    }

    fn version(incarnation: u32) -> Version {
        Version { generation: Generation(0), incarnation: Incarnation(incarnation) }
    }

    fn votes(count: usize) -> Vec<Vote> {
        let (phi, silent_since, silence, attempts) = (3.0, Instant::START, Silence::Silent, 2);
        (0..count).map(|n| Vote { observer: id(n), phi, silent_since, silence, attempts }).collect()
    }

    #[test]
    fn of_two_verdicts_on_one_version_the_one_of_more_votes_is_kept() {
        // The votes of each verdict in turn and the incarnation it is about, and the votes kept in the end.
        let cases: [(&[(usize, u32)], usize); 4] = [
            (&[(2, 0)], 2),
            (&[(2, 0), (3, 0)], 3),
            (&[(3, 0), (2, 0)], 3),
            (&[(3, 0), (1, 1)], 1),
        ];
        for (verdicts, kept) in cases {
            let mut pending = PendingVerdicts::default();
            for &(count, incarnation) in verdicts {
                pending.keep(id(1), version(incarnation), votes(count), Source::Ourselves);
            }
            assert_eq!(pending.0.get(&id(1)).map(|v| v.votes.len()), Some(kept), "{verdicts:?}");
        }
    }

    #[test]
    fn a_member_is_asked_once_and_the_time_counts_from_then() {
        let at = |seconds| Instant::START + Duration::from_secs(seconds);
        let mut pending = PendingVerdicts::default();
        assert_eq!(pending.ask(at(0), id(1)), None);
        pending.keep(id(1), version(0), votes(1), Source::Ourselves);
        assert_eq!(pending.ask(at(1), id(1)), Some((at(1), true)));
        assert_eq!(pending.ask(at(2), id(1)), Some((at(1), false)));
        // A verdict with more votes does not restart that time.
        pending.keep(id(1), version(0), votes(2), Source::Ourselves);
        assert_eq!(pending.ask(at(3), id(1)), Some((at(1), false)));
    }

    #[test]
    fn verdicts_kept_and_examined_have_limits() {
        let mut pending = PendingVerdicts::default();
        for number in 0..MAX_EXAMINED {
            assert!(pending.may_examine(MAX_EXAMINED));
            let stage = Stage::Examined(Instant::START);
            let (version, votes, source) = (version(0), votes(1), Source::Ourselves);
            pending.insert(id(number), PendingVerdict::new(version, votes, source, stage));
        }
        assert!(!pending.may_examine(MAX_EXAMINED));
        for number in MAX_EXAMINED..MAX_PENDING {
            pending.keep(id(number), version(0), votes(1), Source::Ourselves);
        }
        assert!(!pending.has_room(id(MAX_PENDING)) && pending.has_room(id(0)));
    }
}
