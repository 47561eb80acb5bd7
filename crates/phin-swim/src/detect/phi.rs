//! phi of a member as this one knows it, at any moment, and when it will come to a threshold.
//!
//! Between inputs phi never falls: each ping that waits for its reply weighs more the longer it waits. So what a
//! moment's phi is, and when a threshold is next reached, follow from what is known now.

use std::{collections::BTreeMap, time::Duration};

use phin_accrual::{Evidence, LinkEstimator, MAX_WAIT};

use crate::{Instant, MemberId, MemberState, Swim};

/// What there is against a member, as a function of time.
struct Doubt {
    /// What a reply's absence is worth on our own link, and when our pings were sent that have none. `None` where
    /// nothing of ours waits.
    unanswered: Option<(LinkEstimator, Vec<Instant>)>,
    /// The votes of other observers, as they were told.
    told: Evidence,
}

impl Doubt {
    fn phi(&self, now: Instant) -> f64 {
        let mut evidence = self.told.clone();
        if let Some((link, sent)) = &self.unanswered {
            sent.iter().for_each(|&sent_at| evidence.record(link.weight(now - sent_at)));
        }
        evidence.phi()
    }
}

impl Swim {
    /// How surprising a member's silence is, as −log10 of the probability that a live member would be as silent.
    ///
    /// Of a live member that this one observes: what its own unanswered pings are worth by now, overdue or not, and
    /// what other observers told of theirs; 0 while nothing waits. It rises steadily between pings, and any sign of
    /// life sets it to 0. Of a member that this one does not observe nothing is known but what others told, for
    /// instance in a verdict that was not believed as it came: `None` where they told nothing, as most of the time.
    /// Infinite for a dead member, whose verdict has been given; `None` for one that has left, for this one itself,
    /// and for one that is not in the list.
    pub fn phi(&self, now: Instant, id: MemberId) -> Option<f64> {
        match self.list.get(id)?.state() {
            MemberState::Alive | MemberState::Suspect => {
                let is_observed = self.list.rings().subjects(self.id()).contains(&id);
                let is_known = is_observed || self.cases.votes_of(id).next().is_some();
                is_known.then(|| self.doubt(id).phi(now))
            }
            MemberState::Dead => Some(f64::INFINITY),
            MemberState::Left => None,
        }
    }

    /// [`Swim::phi`] of each live member of which it is known: those observed, and those that others told of.
    pub fn phis(&self, now: Instant) -> BTreeMap<MemberId, f64> {
        let mut ids = self.list.rings().subjects(self.id());
        ids.extend(self.cases.open());
        let live =
            ids.into_iter().filter(|&id| self.list.get(id).is_some_and(|m| m.state.is_live()));
        live.filter_map(|id| Some((id, self.phi(now, id)?))).collect()
    }

    /// When [`Swim::phi`] of a member will be at least `threshold`, if nothing happens before: no input, no timer.
    /// `now` where it is already, `None` where it will not be, or only more than an hour from now.
    pub fn phi_reaches(&self, now: Instant, id: MemberId, threshold: f64) -> Option<Instant> {
        if self.phi(now, id)? >= threshold {
            return Some(now);
        }
        let doubt = self.doubt(id);
        if doubt.unanswered.is_none() || doubt.phi(now + MAX_WAIT) < threshold {
            return None;
        }
        let is_reached = |after: Duration| doubt.phi(now + after) >= threshold;
        let mut late = FINEST;
        while !is_reached(late) {
            late *= 2;
        }
        let mut early = Duration::ZERO;
        while late - early > FINEST {
            let middle = early + (late - early) / 2;
            if is_reached(middle) { late = middle } else { early = middle }
        }
        Some(now + late)
    }

    fn doubt(&self, id: MemberId) -> Doubt {
        let mut told = Evidence::default();
        self.cases.votes_of(id).for_each(|vote| told.record(vote.phi));
        let mut sent = self.cases.misses_of(id).to_vec();
        if sent.len() < self.max_misses() {
            sent.extend(self.waiting_since(id));
        }
        let link = self.estimate_of(id).filter(|_| !sent.is_empty());
        Doubt { unanswered: link.map(|link| (link, sent)), told }
    }
}

/// To how much a moment is found out. A timer is no more exact.
const FINEST: Duration = Duration::from_micros(100);
