//! The message `Suspect`: another member, or this one, found that a member does not answer (SWIM §4.2).
//!
//! A claim is accepted and passed on, or refuted where it is about this member. It is no vote: only the observers of the
//! suspect decide whether it is dead ([`suspicion`](crate::suspicion)).

use crate::{
    Change, Instant, MemberState, Swim,
    swim::Source,
    wire::{Claim, Part},
};

impl Swim {
    /// Accepts the claim that a member is suspect, and refutes it if that member is this one.
    pub(crate) fn handle_suspect(&mut self, now: Instant, source: Source, claim: Claim) {
        let subject = claim.subject;
        if subject == self.id() {
            self.refute(now, source, claim);
            return;
        }
        if self.state_claimed_of(claim) != Some(MemberState::Alive) {
            return;
        }
        // A member that refuted several times lately is alive: one more claim against it is ignored.
        if self.hearsay.is_worn_out(now, subject) {
            self.stats.hearsay_ignored += 1;
            // It may refute all the same now and then, for those that only hear others say that it lives.
            if self.hearsay.may_pass_on(now, subject)
                && self.is_connected(subject)
                && let Some(peer) = self.peer(subject)
            {
                self.send(peer, &Part::Suspect(claim));
            }
            return;
        }
        self.declare(now, subject, MemberState::Suspect, Change::Suspect, source);
    }

    /// The state of the member that a claim is about, if the claim is about the version of it that is known here.
    pub(crate) fn state_claimed_of(&mut self, claim: Claim) -> Option<MemberState> {
        let known = self.list.get(claim.subject).map(|known| (known.version(), known.state));
        match known {
            Some((version, state)) if version == claim.version => Some(state),
            Some((version, _)) if version > claim.version => None,
            _ => {
                self.stats.unknown_subjects += 1;
                None
            }
        }
    }
}
