//! Verdicts where signed votes are required: how many of the votes count here, and when they are enough.

use crate::{
    Claim, MemberId, Source, Timer,
    detect::{
        failing::Eviction,
        pending::{PendingVerdict, Stage},
        reports::Vote,
        signed::{Backing, SignedVote, countable},
        verdicts::Verdicts,
        view::View,
        weigh::credible_votes,
    },
};

/// The weight of the signed votes of a verdict: a majority only if nothing that this node knows contradicts it.
fn backing_of(view: View<'_>, subject: MemberId, verdict: &PendingVerdict) -> Backing {
    let credible = credible_votes(view, subject, &verdict.votes);
    let (counted, needed) = countable(view, subject, &verdict.signed);
    let is_credible = |id| credible.iter().any(|vote| vote.observer == id);
    let agreeing = counted.iter().filter(|vote| is_credible(vote.voter)).count();
    Backing::of(counted.len(), agreeing >= needed)
}

impl Verdicts<'_> {
    /// A verdict arrives, and signed votes are required: those of a majority are enough, and without them this node looks
    /// for itself.
    pub(crate) fn weigh_signed_verdict(
        &mut self,
        source: Source,
        claim: Claim,
        (votes, signed): (Vec<Vote>, Vec<SignedVote>),
    ) {
        let signed = self.authentic(source, claim, &signed);
        let mut verdict = PendingVerdict::new(claim.version, votes, source, Stage::Refutable);
        verdict.signed = signed;
        // Those who decided with fewer votes than a majority have not all the same ones.
        if let Some(known) = self.own.pending.on(claim.subject, claim.version) {
            verdict.add_votes_of(known);
        }
        verdict.backing = backing_of(self.view(), claim.subject, &verdict);
        let backing = verdict.backing;
        match self.is_backed_enough(claim.subject, backing) {
            true => self.accept_verdict(claim.subject, verdict),
            false => self.look_for_oneself(claim, verdict),
        }
    }

    /// Whether a verdict with this backing is accepted as it comes. A member that refuted its death lately has shown others
    /// wrong, so more of them lie or err than the rules allow for.
    fn is_backed_enough(&self, subject: MemberId, backing: Backing) -> bool {
        let has_refuted = self.own.hearsay.has_refuted_death(self.ctx.now, subject);
        let is_majority = backing == Backing::Majority;
        (is_majority && !has_refuted) || self.view().eviction(subject) != Eviction::No
    }

    /// The signed votes of a verdict that count. Signatures are checked last.
    fn authentic(
        &mut self,
        source: Source,
        claim: Claim,
        signed: &[SignedVote],
    ) -> Vec<SignedVote> {
        let subject = (claim.subject, claim.version);
        let (mut counted, _) = countable(self.view(), claim.subject, signed);
        let teller = source.teller().unwrap_or(claim.by);
        counted.retain(|vote| self.own.is_authentic(self.ctx, self.list, teller, (subject, vote)));
        counted
    }

    /// Another member died: fewer votes are a majority of those that observe members with it. Accepts the verdicts that this
    /// node looks into and that have enough now, and has its own cases judged again.
    pub(crate) fn weigh_signed_again(&mut self) {
        for (id, version) in self.own.cases.signed() {
            self.ctx.timers.set(self.ctx.now, Timer::Judge(id, version));
        }
        let is_enough = |(id, verdict): &(MemberId, &PendingVerdict)| {
            self.is_backed_enough(*id, backing_of(self.view(), *id, verdict))
        };
        let signed = self.own.pending.signed();
        let enough: Vec<_> = signed.filter(is_enough).map(|(id, _)| id).collect();
        enough.into_iter().for_each(|id| self.accept_pending(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        MemberState, SignedVotes,
        detect::{
            pending::PendingVerdicts,
            signed::tests::{of, rooms, signed, verdict},
        },
        member::record::tests::{id, version},
        testing::{Rooms, at, peer},
    };

    const ACCEPTED: &str = "apply n1 dead Gossip(n2)";

    /// A verdict with the signed votes of these nodes comes.
    fn receive(rooms: &mut Rooms, voters: &[u8]) -> Vec<String> {
        let votes = voters.iter().map(|&node| signed(node)).collect();
        rooms.verdicts().handle_dead(Source::Gossip(peer(2)), verdict(voters, votes));
        rooms.effects()
    }

    fn voters_kept(pending: &PendingVerdicts) -> usize {
        pending.on(id(1), version(0, 0)).map_or(0, |verdict| verdict.signed.len())
    }

    #[test]
    fn the_votes_of_several_verdicts_count_together() {
        let mut rooms = rooms();
        assert!(!receive(&mut rooms, &[2, 3]).contains(&ACCEPTED.to_owned()));
        assert!(receive(&mut rooms, &[3, 2]).is_empty());
        assert_eq!(voters_kept(&rooms.detector.pending), 2);
        assert_eq!(receive(&mut rooms, &[3, 4]), [ACCEPTED]);
    }

    #[test]
    fn a_death_makes_fewer_votes_enough() {
        let mut rooms = of(40, SignedVotes::Require);
        let observers = rooms.list.rings().observers(id(1));
        let mut nodes = (2..40).filter(|&node| observers.contains(&id(node))).collect::<Vec<_>>();
        let mut dead = nodes.split_off(3);
        dead.truncate(4);
        assert!(!receive(&mut rooms, &nodes).contains(&ACCEPTED.to_owned()), "three of eight");
        let others = (2..40).filter(|&node| !observers.contains(&id(node))).take(8);
        for node in others {
            rooms.detector.bereft.record_gone(at(10_000), &rooms.list, id(node));
        }
        let mut deaths = 0;
        while rooms.effects() != [ACCEPTED] {
            let node = dead.pop().expect("three of five are more than half");
            rooms.put(node, MemberState::Dead, 10_000);
            rooms.detector.bereft.record_gone(at(10_000), &rooms.list, id(node));
            rooms.verdicts().weigh_signed_again();
            deaths += 1;
        }
        assert_eq!(deaths, observers.len() - 5);
    }

    #[test]
    fn a_death_has_the_cases_with_signed_votes_judged_again() {
        for (is_signed, is_due) in [(true, true), (false, false)] {
            let mut rooms = rooms();
            let case = rooms.miss(1, &[9_000]);
            if is_signed {
                case.signed.insert(id(2), signed(2));
            }
            rooms.verdicts().weigh_signed_again();
            let due = rooms.ctx.timers.pop_due(at(10_000));
            assert_eq!(due == Some(Timer::Judge(id(1), version(0, 0))), is_due);
        }
    }
}
