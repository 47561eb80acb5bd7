//! [`Outcomes`]: the latest outcomes of one kind on a link, and the odds that it is flawed.

use std::f64::consts::LN_2;

use phin_accrual::ln;

/// The latest outcomes of one kind: whether each was bad, the latest in the lowest bit.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outcomes {
    pub(super) bad: u64,
    pub(super) count: u32,
}

impl Outcomes {
    pub(super) fn push(&mut self, is_bad: bool) {
        self.bad = (self.bad << 1) | u64::from(is_bad);
        self.count = (self.count + 1).min(u64::BITS);
    }

    /// Takes back the bad outcome after which so many others followed.
    pub(super) fn retract(&mut self, later: usize) {
        let mut places = (0..u64::BITS).filter(|place| self.bad >> place & 1 == 1);
        if let Some(place) = places.nth(later) {
            let newer = (1 << place) - 1;
            self.bad = (self.bad >> 1 & !newer) | (self.bad & newer);
            self.count -= 1;
        }
    }

    pub(super) const fn is_empty(self) -> bool {
        self.count == 0
    }

    /// Whether the latest was bad.
    pub(super) const fn is_last_bad(self) -> bool {
        self.bad & 1 == 1
    }

    /// The share of bad ones among the latest, however few there are; `None` without any.
    pub(super) fn share(self) -> Option<f64> {
        let count = self.count.min(LATELY);
        let bad = (self.bad & ((1 << count) - 1)).count_ones();
        (count > 0).then(|| f64::from(bad) / f64::from(count))
    }

    /// The share of bad ones among the latest, zero while there are fewer.
    pub(super) fn lately(self) -> f64 {
        let bad = (self.bad & ((1 << LATELY) - 1)).count_ones();
        if self.count < LATELY { 0.0 } else { f64::from(bad) / f64::from(LATELY) }
    }

    /// The logarithm of the odds that the link is flawed, against a link on which this share of outcomes is bad.
    ///
    /// A flaw is assumed to spoil half of the outcomes that were good: then each good one halves the odds.
    pub(super) fn excess(self, usual: f64) -> f64 {
        let bad = ln((1.0 + usual) / (2.0 * usual));
        (0..self.count).rev().fold(0.0, |sum: f64, place| match self.bad >> place & 1 {
            1 => (sum + bad).min(ALARM),
            _ => (sum - LN_2).max(0.0),
        })
    }
}

/// The link has a flaw once the odds are e^8, or 3,000 to 1. Larger odds are not counted, so that it recovers as soon as any.
pub(super) const ALARM: f64 = 8.0;
/// The latest outcomes: as many as come in about a minute.
const LATELY: u32 = 8;
