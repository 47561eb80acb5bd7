//! The detector of the paper: phi over the times between arrivals.

use crate::{
    tail::log10_survival,
    window::{MAX_INTERVAL, Window},
};
use std::time::Duration;

/// Phi-accrual over inter-arrival times, as Hayashibara et al. describe it (SRDS 2004, §5).
///
/// For anything that arrives regularly. The intervals between the last arrivals are taken for
/// normally distributed; phi is `-log10` of the probability that the next interval is longer than
/// the silence so far (§4.2).
#[derive(Clone, Debug)]
pub struct PhiAccrual {
    intervals: Window,
    /// Seconds.
    min_deviation: f64,
}

impl PhiAccrual {
    /// A detector that remembers the last `capacity` intervals ([`MIN_SAMPLES`](crate::MIN_SAMPLES)
    /// to [`MAX_SAMPLES`](crate::MAX_SAMPLES); the paper uses 1,000). All memory, 8 bytes each, is
    /// taken here.
    ///
    /// `min_deviation` is the floor of [`deviation`](Self::deviation): a heartbeat late by less
    /// than a few of it is never suspect, however regular the ones before were.
    /// [`MIN_INTERVAL_DEVIATION`] to [`MAX_INTERVAL`].
    ///
    /// `first_interval` stands for experience until there is some: the window starts with two
    /// intervals a quarter below and above it, which leave it as the oldest. A wrong estimate only
    /// makes the detector patient for as long.
    pub fn new(capacity: usize, min_deviation: Duration, first_interval: Duration) -> Self {
        let mut intervals = Window::new(capacity);
        let first_interval = first_interval.min(MAX_INTERVAL);
        intervals.record(first_interval - first_interval / 4);
        intervals.record(first_interval + first_interval / 4);
        let min_deviation = min_deviation.clamp(MIN_INTERVAL_DEVIATION, MAX_INTERVAL).as_secs_f64();
        Self { intervals, min_deviation }
    }

    /// Adds the interval between the last two arrivals, at most [`MAX_INTERVAL`].
    pub fn record(&mut self, interval: Duration) {
        self.intervals.record(interval);
    }

    /// The suspicion level when the last arrival was `elapsed` ago: 0 and more, rising without end
    /// and never infinite.
    pub fn phi(&self, elapsed: Duration) -> f64 {
        let deviations = (elapsed.as_secs_f64() - self.intervals.mean()) / self.floored_deviation();
        log10_survival(deviations).abs()
    }

    /// Mean of the intervals remembered.
    pub fn mean(&self) -> Duration {
        Duration::from_secs_f64(self.intervals.mean())
    }

    /// Standard deviation of the intervals remembered, not below the floor: what [`phi`](Self::phi)
    /// reckons with.
    pub fn deviation(&self) -> Duration {
        Duration::from_secs_f64(self.floored_deviation())
    }

    fn floored_deviation(&self) -> f64 {
        self.intervals.deviation().max(self.min_deviation)
    }
}

/// The least floor under [`PhiAccrual::deviation`]: below it, phi would measure the clock.
pub const MIN_INTERVAL_DEVIATION: Duration = Duration::from_micros(1);

#[cfg(test)]
mod tests;
