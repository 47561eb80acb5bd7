//! The driver's clock: moments since the start, and what the wall clock said of them.

use std::time::{Duration, SystemTime};

use phin_swim::Instant;
use tokio::time;

/// Measures from the start of one driver, by tokio's clock, so that tests can stop it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: time::Instant,
    start_on_wall: SystemTime,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { start: time::Instant::now(), start_on_wall: SystemTime::now() }
    }

    pub(crate) fn now(&self) -> Instant {
        Instant::START + self.start.elapsed()
    }

    /// Ends at `deadline`, or never where there is none.
    pub(crate) async fn sleep_until(&self, deadline: Option<Instant>) {
        let deadline = deadline.and_then(|at| self.start.checked_add(at.since_start()));
        match deadline {
            Some(deadline) => time::sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    }

    /// The wall clock's time at `at`. One moment gives one time, until the wall clock is found to
    /// have been set or the machine to have slept; from then on it is counted back from the
    /// present.
    pub(crate) fn wall(&self, at: Instant) -> SystemTime {
        let by_start = self.start_on_wall + at.since_start();
        let now = self.now();
        let (age, ahead) = (now.saturating_since(at), at.saturating_since(now));
        let Some(by_now) = (SystemTime::now() + ahead).checked_sub(age) else {
            return by_start;
        };
        let difference = by_now
            .duration_since(by_start)
            .or_else(|_| by_start.duration_since(by_now))
            .unwrap_or_default();
        if difference < MAX_DRIFT { by_start } else { by_now }
    }
}

/// By how much the two clocks may come apart before the wall clock counts as set.
const MAX_DRIFT: Duration = Duration::from_millis(500);
