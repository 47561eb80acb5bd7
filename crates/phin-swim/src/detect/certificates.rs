//! Certificates: the signed votes of a verdict, sent once to few and named by their digest to all others.
//!
//! Each member would receive the same votes from most of its neighbours. So they are pushed to a few, and the others receive
//! a digest. Who does not know the verdict asks for the votes. A member that declared another dead before a majority had signed
//! adds the votes that come later, and spreads the verdict once more when they suffice.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    Claim, Instant, MemberId, MemberState, Part, Payload, Peer, Source, Step, Version,
    detect::{signed::SignedVote, verdicts::Verdicts},
    wire::VoteBody,
};

/// The verdicts that others were asked for, by subject and digest of their votes, and when.
#[derive(Debug, Default)]
pub(crate) struct Asked(BTreeMap<(MemberId, u64), Instant>);

impl Asked {
    /// Whether to ask for a verdict; not again within this time.
    pub(crate) fn may_ask(
        &mut self,
        now: Instant,
        verdict: (MemberId, u64),
        apart: Duration,
    ) -> bool {
        if self.0.get(&verdict).is_some_and(|&at| now - at < apart) {
            return false;
        }
        if self.0.len() >= MAX_ASKED {
            self.0.retain(|_, at| now - *at < apart);
        }
        let has_room = self.0.len() < MAX_ASKED;
        if has_room {
            self.0.insert(verdict, now);
        }
        has_room
    }
}

impl Verdicts<'_> {
    /// Another member has a verdict with signed votes, and sends their digest in place of them. If the verdict is not known
    /// here, it is asked for.
    pub(crate) fn handle_certified(
        &mut self,
        from: Peer,
        source: Source,
        claim: Claim,
        digest: u64,
    ) {
        let Claim { subject, version, .. } = claim;
        if subject == self.list.me().id() {
            return self.ctx.then(Step::RefuteDeath { source, claim });
        }
        let known = self.state_claimed(claim);
        if !known.is_some_and(MemberState::is_live) {
            return self.note_repeated(source, subject, known == Some(MemberState::Dead));
        }
        let apart = self.ctx.params.period / 2;
        if self.own.asked.may_ask(self.ctx.now, (subject, digest), apart) {
            self.ctx.stats.verdicts_requested += 1;
            self.ctx.send_stream(from, Payload::of(&Part::VerdictWant { subject, version }));
        }
    }

    /// Sends a verdict of this node to a member that has only its digest.
    pub(crate) fn handle_verdict_want(&mut self, from: Peer, subject: MemberId, version: Version) {
        let now = self.ctx.now;
        let known = self.list.get(subject).filter(|known| known.version() == version);
        let verdict = known.and_then(|_| self.own.reports.update(now, self.list, subject));
        if let Some(verdict @ Part::Dead(_)) = verdict
            && self.own.hearsay.may_show(now, from.id)
        {
            self.ctx.send_stream(from, Payload::of(&verdict));
        }
    }

    /// A vote arrives on a member that this node has declared dead: it is added to the votes of the verdict if they are no
    /// majority yet. The verdict is spread again when they are.
    pub(crate) fn complete(&mut self, voter: MemberId, body: &VoteBody, signed: &SignedVote) {
        let (subject, version) = (body.subject, body.version);
        let known = self.list.get(subject);
        let is_dead = known
            .is_some_and(|known| known.state == MemberState::Dead && known.version() == version);
        let view = self.view();
        let observers = view.list.rings().observers(subject);
        let needed = observers.len() / 2 + 1;
        let has_too_few = self.own.reports.signed(subject, version).is_some_and(|n| n < needed);
        let is_due = is_dead
            && has_too_few
            && signed.voter == voter
            && signed.silence == body.tally.silence
            && signed.may_count(view, &observers);
        let about = (subject, version);
        if !is_due || !self.own.is_authentic(self.ctx, self.list, voter, (about, signed)) {
            return;
        }
        let vote = body.tally.vote_of(voter, self.ctx.now);
        let reports = &mut self.own.reports;
        if reports.add(subject, vote, signed.clone())
            && reports.signed(subject, version) == Some(needed)
        {
            self.ctx.then(Step::Spread(subject));
        }
    }
}

/// For how many verdicts others are asked at once. Further ones are asked for when they are announced again.
const MAX_ASKED: usize = 1_024;

#[cfg(test)]
mod tests;
