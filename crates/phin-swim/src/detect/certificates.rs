//! Certificates: the signed votes of a verdict, sent once to few and named by their digest to all others.
//!
//! Each member would receive the same votes from most of its neighbours. So they are pushed to a few, and the others receive
//! a digest. A member that does not know the verdict asks for the votes. One that declared another dead before a majority had
//! signed adds the votes that come later, and spreads the verdict once more when they suffice.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    Claim, Instant, MemberId, MemberState, Part, Payload, Peer, SignedVotes, Source, Step, Version,
    detect::{
        reports::Reports,
        signed::{SignedVote, counted_observers},
        verdicts::Verdicts,
        view::View,
    },
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
        let is_recent = |at: &Instant| now - *at < apart;
        if self.0.len() >= MAX_ASKED {
            self.0.retain(|_, at| is_recent(at));
        }
        let may_ask = self.0.len() < MAX_ASKED && !self.0.get(&verdict).is_some_and(is_recent);
        self.0.extend(may_ask.then_some((verdict, now)));
        may_ask
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
        if self.is_open(source, claim) {
            self.ask_for_votes(from, claim, digest);
        }
    }

    /// Asks a member for its verdict with these votes, if it is to be asked.
    pub(crate) fn ask_for_votes(&mut self, from: Peer, claim: Claim, digest: u64) {
        let Claim { subject, version, .. } = claim;
        let (now, apart) = (self.ctx.now, self.ctx.params.period / 2);
        // One that invents digests uses up its own budget, and not the room for others.
        if self.own.hearsay.may_announce(now, from.id)
            && self.own.asked.may_ask(now, (subject, digest), apart)
        {
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
        let about = (body.subject, body.version);
        let lacking = majority_lacking(self.view(), &self.own.reports, (voter, signed), body);
        let Some(needed) = lacking else {
            return;
        };
        if !self.own.is_authentic(self.ctx, self.list, voter, (about, signed)) {
            return;
        }
        let (vote, reports) = (body.tally.vote_of(voter, self.ctx.now), &mut self.own.reports);
        if reports.add(about.0, vote, signed.clone()) == Some(needed) {
            self.ctx.then(Step::Spread(about.0));
        }
    }
}

/// The majority that this node's verdict on a member lacks, if this vote may add to it, its signature apart.
fn majority_lacking(
    view: View<'_>,
    reports: &Reports,
    (voter, vote): (MemberId, &SignedVote),
    body: &VoteBody,
) -> Option<usize> {
    let VoteBody { subject, version, tally, .. } = *body;
    let dead = view.list.get(subject).filter(|known| known.state == MemberState::Dead)?;
    let signed = reports.signed(subject, version)?;
    let observers = counted_observers(view, subject);
    let needed = observers.len() / 2 + 1;
    let counts = view.params.signed_votes != SignedVotes::Off;
    let lacks = counts && dead.version() == version && signed < needed;
    let is_meant = vote.voter == voter && vote.silence == tally.silence;
    (lacks && is_meant && vote.may_count(view, &observers)).then_some(needed)
}

/// For how many verdicts others are asked at once. Further ones are asked for when they are announced again.
const MAX_ASKED: usize = 4_096;

#[cfg(test)]
mod tests;
