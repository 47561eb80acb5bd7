//! Misses of several observers accrued into one phi.

/// What independent misses since the last sign of life say together.
///
/// A miss weighs `-log10` of its probability were the subject alive, as [`LinkEstimator::weight`]
/// gives it. Probabilities of independent events multiply, so weights add, and the sum reads as any
/// phi. Only the caller knows what is independent: misses on different links, on one link far
/// enough apart in time for a disturbance to have passed, or the phi of another observer's own
/// evidence, recorded as one weight. Asking twice over one link at once is one miss.
///
/// [`LinkEstimator::weight`]: crate::LinkEstimator::weight
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    phi: f64,
    misses: u32,
}

impl Evidence {
    /// Forgets everything: there was a sign of life.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Adds a miss. A weight that is negative or not a number counts as 0: a miss that says
    /// nothing.
    pub fn record(&mut self, weight: f64) {
        // `max` gives the other one of a NaN.
        self.phi = (self.phi + weight.max(0.0)).min(MAX_PHI);
        self.misses = self.misses.saturating_add(1);
    }

    /// The suspicion level, 0 to [`MAX_PHI`]; never falls but by [`clear`](Self::clear).
    pub fn phi(&self) -> f64 {
        self.phi
    }

    /// Whether nothing was missed since the last sign of life.
    pub fn is_empty(&self) -> bool {
        self.misses == 0
    }

    /// How many misses were recorded since the last sign of life, those that weigh nothing
    /// included.
    pub fn misses(&self) -> u32 {
        self.misses
    }
}

/// Where accrued evidence stops rising: far above any useful threshold, far below where sums lose
/// digits.
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
