//! Pauses of this process or its machine: after one, timers wait for what arrived meanwhile.
//!
//! The transport's own tasks have yet to read it, and a reply that has arrived is no miss.

use std::time::Duration;

use phin_swim::Instant;
use tracing::warn;

use crate::DriverStats;

/// Notices pauses by how late the driver is. A pause can fall into its wait or into its work.
#[derive(Debug, Default)]
pub(crate) struct Pauses {
    /// Until when timers wait for the transport to hand over what arrived during a pause.
    settling: Option<Instant>,
}

impl Pauses {
    /// When to wake for what is due at `due`.
    pub(crate) fn wake_at(&self, due: Instant) -> Instant {
        self.settling.map_or(due, |settled| due.max(settled))
    }

    /// Notes that the driver woke at `now`, though it would have at `deadline` at the latest.
    pub(crate) fn woke(
        &mut self,
        now: Instant,
        deadline: Option<Instant>,
        stats: &mut DriverStats,
    ) {
        stats.wakes += 1;
        let lag = deadline.map_or(Duration::ZERO, |deadline| now.saturating_since(deadline));
        stats.total_lag = stats.total_lag.saturating_add(lag);
        self.note(now, lag, stats);
    }

    /// Whether timers may fire at `now`; the first of them was due at `due`.
    pub(crate) fn may_fire(
        &mut self,
        now: Instant,
        due: Option<Instant>,
        stats: &mut DriverStats,
    ) -> bool {
        match self.settling {
            Some(settled) if now < settled => return false,
            Some(_) => self.settling = None,
            None => {
                let lag = due.map_or(Duration::ZERO, |due| now.saturating_since(due));
                self.note(now, lag, stats);
            }
        }
        self.settling.is_none()
    }

    /// Whether what arrived during the last pause has been handled.
    pub(crate) const fn are_over(&self) -> bool {
        self.settling.is_none()
    }

    fn note(&mut self, now: Instant, lag: Duration, stats: &mut DriverStats) {
        stats.max_lag = stats.max_lag.max(lag);
        if lag < PAUSE || self.settling.is_some() {
            return;
        }
        stats.pauses += 1;
        self.settling = Some(now + SETTLING_TIME);
        if lag >= LONG_PAUSE {
            warn!(seconds = (lag.as_secs_f64() * 10.0).round() / 10.0, "this node did not run");
        }
    }
}

/// Being this late is a pause.
const PAUSE: Duration = Duration::from_millis(50);
/// Being this late is worth a line in the log: others may have noticed, too.
const LONG_PAUSE: Duration = Duration::from_secs(1);
/// How long after a pause timers wait for what arrived during it.
const SETTLING_TIME: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::START + Duration::from_millis(millis)
    }

    #[test]
    fn after_a_pause_timers_wait_once_wherever_the_driver_was_paused() {
        let mut stats = DriverStats::default();
        // (what it was at, woke for what was due, was done with the inputs)
        for (is_waiting, woke, worked) in [(true, 5_000, 5_001), (false, 1_000, 5_001)] {
            let mut pauses = Pauses::default();
            let due = Some(at(1_000));
            pauses.woke(at(woke), due, &mut stats);
            assert!(!pauses.may_fire(at(worked), due, &mut stats), "waiting: {is_waiting}");

            let settled = pauses.wake_at(at(1_000));
            assert!(at(5_010) <= settled && settled <= at(5_011), "{settled:?}");
            // A message that arrived meanwhile wakes it, too.
            pauses.woke(at(5_005), Some(settled), &mut stats);
            assert!(!pauses.may_fire(at(5_005), due, &mut stats));
            pauses.woke(settled, Some(settled), &mut stats);
            assert!(pauses.may_fire(settled, due, &mut stats));
            assert_eq!(pauses.wake_at(at(6_000)), at(6_000));
        }
        assert_eq!(stats.pauses, 2);
        assert_eq!(stats.max_lag, Duration::from_millis(4_001));
    }

    #[test]
    fn a_driver_that_is_somewhat_late_fires_at_once() {
        let mut stats = DriverStats::default();
        let mut pauses = Pauses::default();
        pauses.woke(at(1_049), Some(at(1_000)), &mut stats);
        assert!(pauses.may_fire(at(1_049), Some(at(1_000)), &mut stats));
        assert_eq!((stats.wakes, stats.pauses), (1, 0));
        assert_eq!(stats.total_lag, Duration::from_millis(49));
    }
}
