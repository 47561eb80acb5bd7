//! Accrues misses of several observers into one phi.

/// The phi of independent misses since the last sign of life.
///
/// The weight of a miss is `-log10` of its probability if the subject is alive, from [`LinkEstimator::weight`].
/// Probabilities of independent events multiply, so their weights add up to a phi. The caller decides which misses
/// are independent:
///
/// - misses on different links
/// - misses on one link, far enough apart for a disturbance to pass; two pings at once are one miss
/// - the phi of another observer's evidence, recorded as one weight
///
/// ```
/// use phin_accrual::Evidence;
///
/// let mut evidence = Evidence::default();
/// evidence.record(1.5);
/// evidence.record(2.0);
/// assert_eq!((evidence.phi(), evidence.misses()), (3.5, 2));
/// evidence.clear();
/// assert!(evidence.is_empty());
/// ```
///
/// [`LinkEstimator::weight`]: crate::LinkEstimator::weight
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    phi: f64,
    misses: u32,
}

impl Evidence {
    /// Removes all misses, after a sign of life.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Adds a miss. A weight that is negative or not a number counts as 0.
    pub fn record(&mut self, weight: f64) {
        // `max` returns 0 for a NaN.
        self.phi = (self.phi + weight.max(0.0)).min(MAX_PHI);
        self.misses = self.misses.saturating_add(1);
    }

    /// Returns phi, from 0 to [`MAX_PHI`]. Only [`clear`](Self::clear) lowers it.
    pub fn phi(&self) -> f64 {
        self.phi
    }

    /// Returns whether there were no misses since the last sign of life.
    pub fn is_empty(&self) -> bool {
        self.misses == 0
    }

    /// Returns the number of misses since the last sign of life, including those of weight 0.
    pub fn misses(&self) -> u32 {
        self.misses
    }
}

/// The largest phi of [`Evidence`]: far above any useful threshold, and small enough that sums keep their digits.
pub const MAX_PHI: f64 = 1000.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_add_up_until_cleared() {
        let mut evidence = Evidence::default();
        assert!(evidence.is_empty());
        for weight in [0.5, 2.0, 3.0] {
            evidence.record(weight);
        }
        assert_eq!((evidence.phi(), evidence.misses()), (5.5, 3));
        assert!(!evidence.is_empty());
        evidence.clear();
        assert_eq!(evidence, Evidence::default());
        assert!(evidence.is_empty());
    }

    #[test]
    fn a_miss_that_says_nothing_is_still_a_miss() {
        let mut evidence = Evidence::default();
        evidence.record(0.0);
        assert_eq!((evidence.phi(), evidence.misses(), evidence.is_empty()), (0.0, 1, false));
    }

    #[test]
    fn any_weight_leaves_a_bounded_phi() {
        for weight in [f64::NAN, -1.0, f64::NEG_INFINITY, -0.0] {
            let mut evidence = Evidence::default();
            evidence.record(1.5);
            evidence.record(weight);
            assert_eq!(evidence.phi(), 1.5, "after {weight}");
        }
        for weight in [f64::INFINITY, f64::MAX] {
            let mut evidence = Evidence::default();
            evidence.record(weight);
            evidence.record(weight);
            assert_eq!(evidence.phi(), MAX_PHI, "after {weight}");
        }
    }

    #[test]
    fn millions_of_misses_are_bounded_too() {
        let mut evidence = Evidence { phi: 0.0, misses: u32::MAX - 1 };
        for _ in 0..2_000_000 {
            evidence.record(0.001);
        }
        assert_eq!((evidence.phi(), evidence.misses()), (MAX_PHI, u32::MAX));
    }
}
