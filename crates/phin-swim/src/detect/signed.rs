//! Signed votes: an observer that would declare a member dead by its own evidence signs that, so that a verdict shows the
//! votes of others and nobody can invent them.
//!
//! The signed bytes name the cluster, the subject and its version, the voter and its run, the round, and the kind of
//! silence. A vote therefore counts for one version of its subject, and for a window of rounds: it cannot be kept for later.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    Generation, Instant, Keys, MemberId, Part, PublicKey, Round, Signature, SignedVotes, Silence,
    Timer, Version,
    detect::{
        accuse::vote_body,
        case::Case,
        judge::{ACCUSE_PHI, may_judge, tolerance},
        rules::Detect,
        view::View,
    },
    wire::{Payload, field},
};

/// The word of one observer: "I would declare this member dead".
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct SignedVote {
    pub(crate) voter: MemberId,
    /// Which run of the voter's process signed.
    pub(crate) generation: Generation,
    /// The voter's protocol period when it signed.
    pub(crate) round: Round,
    #[serde(with = "field::silence")]
    pub(crate) silence: Silence,
    #[serde(with = "field::signature")]
    pub(crate) signature: Signature,
}

/// The version of a member that votes are about.
pub(crate) type Subject = (MemberId, Version);

impl SignedVote {
    /// Signs a vote of this node.
    pub(crate) fn sign(
        keys: &dyn Keys,
        subject: Subject,
        (voter, generation): (MemberId, Generation),
        (round, silence): (Round, Silence),
    ) -> Self {
        let signature = Signature([0; 64]);
        let vote = Self { voter, generation, round, silence, signature };
        let signature = keys.sign(&vote.statement(keys, subject));
        Self { signature, ..vote }
    }

    /// The bytes that are signed. They begin with a text that no other signed bytes begin with.
    fn statement(&self, keys: &dyn Keys, (subject, version): Subject) -> Vec<u8> {
        let Self { voter, generation, round, silence, signature: _ } = self;
        [
            b"phin vote 1\0".as_slice(),
            &keys.cluster_tag(),
            &subject.0,
            &version.generation.0.to_be_bytes(),
            &version.incarnation.0.to_be_bytes(),
            &voter.0,
            &generation.0.to_be_bytes(),
            &round.0.to_be_bytes(),
            &[field::silence::code(*silence)],
        ]
        .concat()
    }

    /// Whether the voter signed this vote with this key.
    pub(crate) fn is_authentic(&self, keys: &dyn Keys, subject: Subject, key: &PublicKey) -> bool {
        keys.verify(key, &self.statement(keys, subject), &self.signature)
    }

    /// A number that tells these votes from others on the same version of a member, in any order.
    pub(crate) fn digest(votes: &[Self]) -> u64 {
        let first = |vote: &Self| {
            vote.signature.0.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
        };
        votes.iter().map(first).fold(0, |sum, each| sum ^ each)
    }

    /// Whether the vote was signed so recently that it still counts, and not in a round to come.
    fn is_recent(&self, now: Round) -> bool {
        (-MAX_ROUNDS_AHEAD..=MAX_ROUNDS).contains(&now.ahead_of(self.round))
    }

    /// Whether the vote may count by what this node knows, its signature apart: its voter is one of these observers and
    /// alive, and signed in this run and lately.
    pub(crate) fn may_count(&self, view: View<'_>, observers: &[MemberId]) -> bool {
        let voter = view.list.live(self.voter);
        observers.contains(&self.voter)
            && self.is_recent(view.rounds.round())
            && voter.is_some_and(|voter| voter.generation() == self.generation)
    }
}

/// The moment from which on this node's own evidence suffices for a verdict, and the kind of silence.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Conclusion {
    pub(crate) at: Instant,
    pub(crate) silence: Silence,
}

/// When this node concludes by its own evidence that a member is dead. Others can shorten the silence that it has seen
/// itself by a quarter of the pause tolerance at most.
pub(crate) fn conclusion(case: &Case, view: View<'_>, subject: MemberId) -> Option<Conclusion> {
    let silence = case.silence;
    let is_enough = view.own_phi(subject) >= ACCUSE_PHI
        && (silence == Silence::Gone || case.misses.len() >= 2)
        && may_judge(case, view, subject);
    let at = silence_began(case, view, subject)? + tolerance(case, view, subject, silence);
    is_enough.then_some(Conclusion { at, silence })
}

/// When the silence of a member began that this node vouches for.
pub(crate) fn silence_began(case: &Case, view: View<'_>, subject: MemberId) -> Option<Instant> {
    let own = *case.misses.first()?;
    let told = case.silent_since().unwrap_or(own);
    let earliest = own.saturating_sub(view.params.pause_tolerance / MAX_SHORTENING);
    Some(told.max(earliest).max(view.links.known_alive_at(subject).unwrap_or(told)))
}

/// How the voters that have signed, and this node, see a silence.
pub(crate) struct Agreed {
    pub(crate) votes: usize,
    /// How many votes there can be: a member that is said to be suspect still counts, or suspicions would make the votes
    /// of those who spread them a majority. Only where most subjects of this node are silent, those count that it hears.
    pub(crate) able: usize,
    gone: usize,
    /// Whether others alone are a majority of those. Any receiver of their votes believes them.
    is_certified: bool,
}

impl Agreed {
    pub(crate) fn on(case: &Case, view: View<'_>, subject: MemberId) -> Self {
        let voters = match view.may_be_deaf(subject) {
            true => view.voters(subject),
            false => counted_observers(view, subject),
        };
        let others = case.signed.values().filter(|vote| vote.voter != view.me());
        let others = others.filter(|vote| voters.contains(&vote.voter));
        let silences: Vec<_> = others.map(|vote| vote.silence).chain([case.silence]).collect();
        let gone = silences.iter().filter(|&&silence| silence == Silence::Gone).count();
        let (votes, able) = (silences.len(), voters.len().max(silences.len()));
        Self { votes, able, gone, is_certified: votes - 1 > able / 2 }
    }

    /// How long the silence is given: none where a majority of those able was refused, or signed besides this node, as each
    /// of them has given it all its time; otherwise as long as this node's own evidence asks for, and a moment for a majority to
    /// agree where three were refused.
    pub(crate) fn tolerance(
        &self,
        case: &Case,
        of: impl Fn(Silence) -> Duration,
    ) -> (Silence, Duration) {
        let pause = of(Silence::Silent);
        match case.silence {
            _ if self.gone > self.able / 2 => (Silence::Gone, Duration::ZERO),
            silence if self.is_certified => (silence, Duration::ZERO),
            Silence::Gone if self.gone >= MIN_REFUSED => (Silence::Gone, pause / 4),
            Silence::Gone => (Silence::Silent, pause),
            silence => (silence, of(silence)),
        }
    }
}

/// The observers of a member, a majority of which decides: by this node's own list, and without those that took the places of
/// dead ones just now.
pub(crate) fn counted_observers(view: View<'_>, subject: MemberId) -> Vec<MemberId> {
    let time = view.params.period * PERIODS_TO_VOTE;
    view.bereft.standing_observers((view.now, time), view.list.rings(), subject)
}

/// The votes of a verdict that count here, their signatures apart, each once; and how many are needed: more than half of the
/// [`counted_observers`].
pub(crate) fn countable(
    view: View<'_>,
    subject: MemberId,
    votes: &[SignedVote],
) -> (Vec<SignedVote>, usize) {
    let observers = counted_observers(view, subject);
    let needed = observers.len() / 2 + 1;
    let mut seen = BTreeSet::new();
    let counted = votes.iter().filter(|vote| vote.may_count(view, &observers));
    let counted = counted.filter(|vote| seen.insert(vote.voter));
    (counted.cloned().collect(), needed)
}

/// How many of the observers of a member have signed a verdict on it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Backing {
    None,
    /// At least two, and no majority.
    Several,
    Majority,
}

impl Backing {
    pub(crate) const fn of(signed: usize, is_majority: bool) -> Self {
        match signed {
            _ if is_majority => Self::Majority,
            2.. => Self::Several,
            _ => Self::None,
        }
    }
}

/// Signatures that were checked, good or bad: each is checked once.
#[derive(Debug, Default)]
pub(crate) struct Checked(BTreeMap<(Subject, MemberId, [u8; 64]), bool>);

impl Checked {
    /// The result for a signature that was checked before.
    pub(crate) fn known(&self, subject: Subject, vote: &SignedVote) -> Option<bool> {
        self.0.get(&(subject, vote.voter, vote.signature.0)).copied()
    }

    pub(crate) fn record(&mut self, subject: Subject, vote: &SignedVote, is_authentic: bool) {
        if self.0.len() >= MAX_CHECKED {
            // Any one: it is checked again if it comes again.
            self.0.pop_first();
        }
        self.0.insert((subject, vote.voter, vote.signature.0), is_authentic);
    }
}

impl Detect<'_> {
    /// Signs the vote of this node once its own evidence suffices for a verdict, and sends it to the members that collect
    /// votes.
    pub(crate) fn conclude(&mut self, subject: MemberId) {
        if self.ctx.params.signed_votes == SignedVotes::Off {
            return;
        }
        let view = self.view();
        let case = view.case(subject);
        let concluded = case.and_then(|case| Some((case, conclusion(case, view, subject)?)));
        let Some((case, Conclusion { at, silence })) = concluded else {
            return;
        };
        let (me, version) = (view.me(), case.version);
        if at > view.now {
            return self.ctx.timers.set(at, Timer::Judge(subject, version));
        }
        if case.signed.get(&me).is_some_and(|signed| signed.silence == silence) {
            return;
        }
        let body = vote_body(view, subject, view.own_phi(subject), false);
        let collectors: Vec<_> = case.accusers.iter().copied().collect();
        let (run, round) = (self.list.me().generation(), view.rounds.round());
        let keys = &*self.ctx.keys;
        let signed = SignedVote::sign(keys, (subject, version), (me, run), (round, silence));
        self.ctx.stats.votes_signed += 1;
        if let Some(case) = self.own.cases.get_mut(subject) {
            case.signed.insert(me, signed.clone());
        }
        // A lost signature would cost the cluster more time than one stream costs this node.
        let part = body.map(|body| Part::SignedVote(body, signed));
        let payload = part.map(|part| Payload::of(&part));
        for to in self.list.peers(collectors) {
            payload.iter().for_each(|payload| self.ctx.send_stream(to, payload.clone()));
        }
    }
}

/// After how many protocol periods a new observer of a dead member has found out that it is silent, and voted.
const PERIODS_TO_VOTE: u32 = 4;
/// For how many protocol periods a signed vote counts.
const MAX_ROUNDS: i16 = 30;
/// How many protocol periods the clock of a voter may be ahead.
const MAX_ROUNDS_AHEAD: i16 = 2;
/// Others shorten the silence that this node has seen itself by this part of the pause tolerance at most.
const MAX_SHORTENING: u32 = 4;
/// This many refusals, this node's own among them, are enough where some observers get no answers of the host.
const MIN_REFUSED: usize = 3;
/// How many results of checks are remembered.
const MAX_CHECKED: usize = 4_096;

#[cfg(test)]
pub(crate) mod tests;
