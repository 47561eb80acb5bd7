//! The wait of a member that fell silent for its next ping (detector.md, "The wait for the next ping").

use super::{Inputs, RANDOM_PING, calm_period, is_complete};

/// The distribution of the wait.
///
/// Exactly one observer pings a member in each period, always at the same point of it, so the gap between two pings is T. One
/// turn in 128 goes to a random member instead, which makes the gap 2 T. A death comes at any moment, so the wait is the
/// residual of the gap: uniform over T, and longer than T with a probability of 1/128.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wait {
    period: f64,
    skipped: f64,
}

impl Wait {
    pub(super) fn of(inputs: &Inputs) -> Self {
        let skipped = if is_complete(inputs) { 0.0 } else { RANDOM_PING };
        Self { period: calm_period(&inputs.config).as_secs_f64(), skipped }
    }

    /// The probability that the wait is at most so many seconds.
    pub(super) fn at_most(self, seconds: f64) -> f64 {
        if seconds <= 0.0 {
            return 0.0;
        }
        let periods = seconds / self.period;
        let whole = libm::floor(periods).min(MAX_PERIODS);
        let skipped = libm::pow(self.skipped, whole);
        let longer = (1.0 - self.skipped) * skipped * (whole + 1.0 - periods).max(0.0)
            + skipped * self.skipped;
        1.0 - longer
    }

    /// The wait that is not exceeded with this probability.
    pub(super) fn quantile(self, share: f64) -> f64 {
        let (mut low, mut high) = (0.0, self.period * MAX_PERIODS);
        for _ in 0..60 {
            let middle = (low + high) / 2.0;
            match self.at_most(middle) < share {
                true => low = middle,
                false => high = middle,
            }
        }
        high
    }
}

/// Gaps of more turns than this do not occur: 1/128 to this power.
const MAX_PERIODS: f64 = 8.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_is_uniform_but_for_turns_that_go_to_random_members() {
        let all = Wait { period: 2.0, skipped: 0.0 };
        for (share, expected) in [(0.1, 0.2), (0.5, 1.0), (0.99, 1.98)] {
            assert!((all.quantile(share) - expected).abs() < 1e-9, "{share}");
        }
        let some = Wait { period: 1.0, skipped: RANDOM_PING };
        let longer = 1.0 - some.at_most(1.0);
        assert!((longer - RANDOM_PING).abs() < 1e-9, "{longer}");
        // Half of the waits beyond a period end in the first half of the next.
        let longer = 1.0 - some.at_most(1.5);
        assert!((longer - RANDOM_PING / 2.0).abs() < 1e-4, "{longer}");
        assert_eq!(some.at_most(0.0), 0.0);
        assert_eq!(some.at_most(1e9), 1.0);
    }
}
