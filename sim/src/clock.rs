//! The clock of a host, which may drift and jump.

use std::time::Duration;

use crate::node::Instant;

/// A clock that shows the time since its host started, at its own rate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// The true and the shown moment at which the present rate began.
    anchor: (Instant, Instant),
    /// The difference to the true rate in millionths; negative if slower.
    drift: i32,
}

impl Default for Clock {
    fn default() -> Self {
        Self { anchor: (Instant::START, Instant::START), drift: 0 }
    }
}

impl Clock {
    /// The moment that it shows at this true moment.
    pub(crate) fn local(&self, global: Instant) -> Instant {
        if self.drift == 0 {
            return self.anchor.1 + (global - self.anchor.0);
        }
        self.anchor.1 + scale(global - self.anchor.0, MILLION + i128::from(self.drift), MILLION)
    }

    /// The first true moment at which it shows this one.
    pub(crate) fn global(&self, local: Instant) -> Instant {
        if self.drift == 0 {
            return self.anchor.0 + (local - self.anchor.1);
        }
        let rounded_up = Duration::from_nanos(1);
        self.anchor.0
            + scale(local - self.anchor.1, MILLION, MILLION + i128::from(self.drift))
            + rounded_up
    }

    /// Changes the rate from now on, without a jump.
    pub(crate) fn set_drift(&mut self, now: Instant, drift: i32) {
        self.anchor = (now, self.local(now));
        self.drift = drift;
    }

    /// Skips ahead, as after a suspend.
    pub(crate) fn jump(&mut self, now: Instant, by: Duration) {
        self.anchor = (now, self.local(now) + by);
    }
}

fn scale(duration: Duration, numerator: i128, denominator: i128) -> Duration {
    let nanos = duration.as_nanos() as i128 * numerator / denominator;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

const MILLION: i128 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::{millis, secs};

    #[test]
    fn a_deadline_on_the_clock_is_met_at_the_moment_it_names() {
        let mut clock = Clock::default();
        let at = |seconds| Instant::START + secs(seconds);
        clock.set_drift(at(10), 500);
        assert_eq!(clock.local(at(10)), at(10));
        assert_eq!(clock.local(at(1_010)), at(1_010) + millis(500));
        for nanos in [1, 999, 1_000_001, 123_456_789_123] {
            let deadline = at(10) + Duration::from_nanos(nanos);
            assert!(clock.local(clock.global(deadline)) >= deadline);
        }
        clock.jump(at(1_010), secs(60));
        assert_eq!(clock.local(at(1_010)), at(1_070) + millis(500));
    }
}
