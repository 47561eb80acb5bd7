//! When a service that a balancer dropped is inserted again.

use std::time::Duration;

/// How long a failed service stays out at first.
pub const MIN_BACKOFF: Duration = Duration::from_millis(100);
/// How long a service that fails again and again stays out at most.
pub const MAX_BACKOFF: Duration = Duration::from_secs(10);

/// How often a member's services failed in a row.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Counts the failure of a service that lasted so long. Returns how long the member is to stay out.
    pub(crate) fn fail(&mut self, lasted: Duration) -> Duration {
        if lasted >= MAX_BACKOFF {
            self.failures = 0;
        }
        let doubled = 2_u32.saturating_pow(self.failures);
        self.failures = self.failures.saturating_add(1);
        MIN_BACKOFF.saturating_mul(doubled).min(MAX_BACKOFF)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_until_a_service_lasts() {
        let mut backoff = Backoff::default();
        let mut fail = |lasted| backoff.fail(Duration::from_millis(lasted)).as_millis();
        let delays: Vec<_> = (0..9).map(|_| fail(0)).collect();
        assert_eq!(delays, [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);
        assert_eq!([fail(9_999), fail(10_000), fail(0)], [10_000, 100, 200]);
        let mut worn = Backoff { failures: u32::MAX };
        assert_eq!(worn.fail(Duration::ZERO), MAX_BACKOFF);
    }
}
