//! The duration of a suspicion: SWIM's fixed time, or Lifeguard's, which independent confirmations shorten.

use std::{collections::BTreeSet, time::Duration};

use super::config::SuspicionRule;
use crate::node::{Instant, NodeId};

/// A suspicion under way.
#[derive(Debug)]
pub(super) struct Suspicion {
    began: Instant,
    min: Duration,
    max: Duration,
    /// The number of confirmations that shorten it to the minimum.
    expected: usize,
    accusers: BTreeSet<NodeId>,
}

impl Suspicion {
    pub(super) fn new(
        rule: SuspicionRule,
        now: Instant,
        members: usize,
        period: Duration,
        by: NodeId,
    ) -> Self {
        let (min, max, expected) = match rule {
            SuspicionRule::None => (Duration::ZERO, Duration::ZERO, 0),
            SuspicionRule::Fixed { multiplier } => {
                let periods = f64::from(multiplier) * libm::ceil(libm::log(members as f64 + 1.0));
                (period.mul_f64(periods), period.mul_f64(periods), 0)
            }
            SuspicionRule::Lifeguard { multiplier, max_multiplier } => {
                // memberlist, suspicionTimeout and newSuspicion (util.go, suspicion.go).
                let scale = libm::log10((members as f64).max(1.0)).max(1.0);
                let min = period.mul_f64(f64::from(multiplier) * scale);
                let expected = (multiplier as usize).saturating_sub(2);
                let expected = if members < expected + 2 { 0 } else { expected };
                let max = if expected == 0 { min } else { min * max_multiplier };
                (min, max, expected)
            }
        };
        Self { began: now, min, max, expected, accusers: BTreeSet::from([by]) }
    }

    /// Records a confirmation by another member. Returns whether it is new.
    pub(super) fn confirm(&mut self, by: NodeId) -> bool {
        self.accusers.len() <= self.expected && self.accusers.insert(by)
    }

    /// When it ends: max − (max − min) · log(c + 1) / log(k + 1), with c of k confirmations (Lifeguard §IV.B).
    pub(super) fn ends_at(&self) -> Instant {
        let confirmations = (self.accusers.len() - 1) as f64;
        if self.expected == 0 {
            return self.began + self.min;
        }
        let share = libm::log(confirmations + 1.0) / libm::log(self.expected as f64 + 1.0);
        let shortened = (self.max - self.min).mul_f64(share.min(1.0));
        self.began + (self.max - shortened).max(self.min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::secs;

    const LIFEGUARD: SuspicionRule = SuspicionRule::Lifeguard { multiplier: 4, max_multiplier: 6 };

    #[test]
    fn lifeguards_minimum_is_four_times_the_logarithm_and_its_maximum_six_times_that() {
        for (members, min) in [(10, 4.0), (100, 8.0), (128, 8.428), (1_000, 12.0)] {
            let began = Instant::START;
            let mut suspicion = Suspicion::new(LIFEGUARD, began, members, secs(1), NodeId(1));
            let lasts = |suspicion: &Suspicion| (suspicion.ends_at() - began).as_secs_f64();
            assert!((lasts(&suspicion) - 6.0 * min).abs() < 0.01);
            assert!(!suspicion.confirm(NodeId(1)), "the same accuser twice is no confirmation");
            assert!(suspicion.confirm(NodeId(2)));
            assert!(lasts(&suspicion) < 6.0 * min && lasts(&suspicion) > min);
            assert!(suspicion.confirm(NodeId(3)));
            assert!((lasts(&suspicion) - min).abs() < 0.01, "{members}");
            assert!(!suspicion.confirm(NodeId(4)), "two confirmations are enough");
        }
    }

    #[test]
    fn swims_is_three_times_the_logarithm_in_periods() {
        let rule = SuspicionRule::Fixed { multiplier: 3 };
        let suspicion = Suspicion::new(rule, Instant::START, 56, secs(2), NodeId(1));
        assert_eq!(suspicion.ends_at() - Instant::START, secs(2 * 3 * 5));
    }
}
