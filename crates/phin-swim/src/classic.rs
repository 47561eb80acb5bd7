//! Classic SWIM, for comparison: every member is probed in turn, and one that does not answer has a while to refute
//! before it is declared dead, less when more members find the same (SWIM §4.2, §4.3; Lifeguard §IV.B).
//!
//! What is said of suspects and the dead arrives here under either detector.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rand::seq::SliceRandom;

use crate::{
    Change, Instant, MemberId, MemberState, Swim, Version,
    swim::{Source, Timer},
    wire::Claim,
};

/// The suspicions under way: one for each suspect of the list, so bounded by it.
#[derive(Debug, Default)]
pub(crate) struct Suspicions(BTreeMap<MemberId, Suspicion>);

#[derive(Debug)]
struct Suspicion {
    version: Version,
    started_at: Instant,
    ends_at: Instant,
    /// Who found it, each once: independent confirmations.
    accusers: BTreeSet<MemberId>,
    latest_accuser: MemberId,
}

impl Suspicions {
    pub(crate) fn clear(&mut self, id: MemberId) -> bool {
        self.0.remove(&id).is_some()
    }

    /// Who is to be named as the one who found it.
    pub(crate) fn accuser(&self, id: MemberId) -> Option<MemberId> {
        self.0.get(&id).map(|suspicion| suspicion.latest_accuser)
    }
}

impl Swim {
    /// Somebody, perhaps we ourselves, found that a member does not answer.
    pub(crate) fn handle_suspect(&mut self, now: Instant, source: Source, claim: Claim) {
        let Claim { subject, version, by } = claim;
        if subject == self.id() {
            self.refute(now, source, claim);
            return;
        }
        let Some(state) = self.state_claimed_of(claim) else {
            return;
        };
        match state {
            // Its observers decide. What it refuted several times is no news.
            MemberState::Alive if !self.is_classic() && self.hearsay.is_worn_out(now, subject) => {
                self.stats.hearsay_ignored += 1;
            }
            // The observers decide; we only pass on that they doubt.
            MemberState::Alive if !self.is_classic() => {
                self.declare(now, subject, MemberState::Suspect, Change::Suspect, source);
            }
            MemberState::Alive => {
                let accusers = BTreeSet::from([by]);
                let ends_at = now + self.suspicion_timeout(accusers.len());
                let suspicion =
                    Suspicion { version, started_at: now, ends_at, accusers, latest_accuser: by };
                self.suspicions.0.insert(subject, suspicion);
                self.timers.set(ends_at, Timer::Suspicion(subject, version));
                self.declare(now, subject, MemberState::Suspect, Change::Suspect, source);
            }
            MemberState::Suspect => self.confirm_suspicion(now, source, claim),
            MemberState::Dead | MemberState::Left => {}
        }
    }

    /// Classic only: the period of a probe is over without any ack.
    pub(crate) fn end_classic_probe(&mut self, now: Instant, target: MemberId, sent_at: Instant) {
        if self.link_heard_at(target).is_some_and(|heard| heard >= sent_at) {
            return;
        }
        if let Some(member) = self.list.get(target) {
            let (subject, version) = (target, member.version());
            let by = self.id();
            self.handle_suspect(now, Source::Ourselves, Claim { subject, version, by });
        }
    }

    /// Classic only: the next member in a random order of all, each once before any comes again (SWIM §4.3).
    pub(crate) fn next_in_turn(&mut self) -> Option<MemberId> {
        loop {
            if let Some(id) = self.probes.turns.pop() {
                if self.list.get(id).is_some_and(|member| member.state.is_live()) {
                    return Some(id);
                }
                continue;
            }
            let me = self.id();
            let live = self.list.snapshot().live();
            self.probes.turns = live.map(|member| member.id()).filter(|&id| id != me).collect();
            if self.probes.turns.is_empty() {
                return None;
            }
            self.probes.turns.shuffle(&mut self.rng);
        }
    }

    /// The time to refute is over.
    pub(crate) fn end_suspicion(&mut self, now: Instant, id: MemberId, version: Version) {
        let suspicion = self.suspicions.0.get(&id);
        if suspicion.is_some_and(|s| s.version == version && s.ends_at <= now) {
            self.bury(now, id, Source::Ourselves);
        }
    }

    /// Takes a member for dead, and forgets what was under way about it.
    pub(crate) fn bury(&mut self, now: Instant, id: MemberId, source: Source) {
        self.suspicions.clear(id);
        self.cases.close(id);
        self.doubts.end(id);
        self.forget_probes_of(id);
        self.declare(now, id, MemberState::Dead, Change::Dead, source);
    }

    /// A further member found the same by itself, so less time to refute is needed.
    fn confirm_suspicion(&mut self, now: Instant, source: Source, claim: Claim) {
        let expected = self.expected_confirmations();
        let Some(suspicion) = self.suspicions.0.get_mut(&claim.subject) else {
            return;
        };
        if suspicion.accusers.len() > expected || !suspicion.accusers.insert(claim.by) {
            return;
        }
        suspicion.latest_accuser = claim.by;
        let (accusers, started_at) = (suspicion.accusers.len(), suspicion.started_at);
        let ends_at = started_at + self.suspicion_timeout(accusers);
        if let Some(suspicion) = self.suspicions.0.get_mut(&claim.subject) {
            suspicion.ends_at = ends_at;
        }
        self.timers.set(ends_at, Timer::Suspicion(claim.subject, claim.version));
        self.spread(now, claim.subject, source);
    }

    /// The state of the member that a claim is about, if it is about the version of it that we know.
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

    /// Lifeguard's timeout: from its maximum with one accuser down to its minimum when as many as can be expected agree.
    fn suspicion_timeout(&self, accusers: usize) -> Duration {
        let members = self.list.snapshot().live_len().max(2) as f64;
        let min = (self.params.protocol_period)
            .mul_f64(f64::from(self.params.suspicion_multiplier) * members.log10().max(1.0));
        let expected = self.expected_confirmations();
        if expected == 0 {
            return min;
        }
        let max = min * self.params.max_suspicion_multiplier.into();
        let confirmations = accusers.saturating_sub(1) as f64;
        let agreed = (confirmations + 1.0).ln() / (expected as f64 + 1.0).ln();
        max - (max - min).mul_f64(agreed.min(1.0))
    }

    /// How many others can be expected to find the same: as many as are asked to help, or as there are.
    fn expected_confirmations(&self) -> usize {
        let others = self.list.snapshot().live_len().saturating_sub(2);
        others.min(usize::from(self.params.indirect_probes))
    }
}
