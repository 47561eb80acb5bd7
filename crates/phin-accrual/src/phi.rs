//! The detector of the paper: phi from inter-arrival times.

use crate::{
    tail::log10_survival,
    window::{MAX_INTERVAL, Window},
};
use std::time::Duration;

/// Phi from the intervals between regular heartbeats, as in Hayashibara et al. (SRDS 2004, §5).
///
/// The detector assumes that intervals are normally distributed. Phi is `-log10` of the probability that an interval
/// is longer than the silence so far (§4.2). The crate page has an example.
#[derive(Clone, Debug)]
pub struct PhiAccrual {
    intervals: Window,
    /// Seconds.
    min_deviation: f64,
}

impl PhiAccrual {
    /// Creates a detector that remembers the last `capacity` intervals.
    ///
    /// - `capacity` is clamped to [`MIN_SAMPLES`](crate::MIN_SAMPLES) and [`MAX_SAMPLES`](crate::MAX_SAMPLES). The
    ///   paper uses 1,000. Each takes 8 bytes, allocated here.
    /// - `min_deviation` is the floor of [`deviation`](Self::deviation). A heartbeat that is late by less than a few
    ///   times this is never suspect, however regular the previous ones were. It is clamped to
    ///   [`MIN_INTERVAL_DEVIATION`] and [`MAX_INTERVAL`].
    /// - `first_interval` is the interval expected before there are samples. The window starts with one interval a
    ///   quarter below it and one a quarter above. A wrong estimate makes the detector slower until these two leave
    ///   the window.
    pub fn new(capacity: usize, min_deviation: Duration, first_interval: Duration) -> Self {
        let mut intervals = Window::new(capacity);
        let first_interval = first_interval.min(MAX_INTERVAL);
        intervals.record(first_interval - first_interval / 4);
        intervals.record(first_interval + first_interval / 4);
        let min_deviation = min_deviation.clamp(MIN_INTERVAL_DEVIATION, MAX_INTERVAL).as_secs_f64();
        Self { intervals, min_deviation }
    }

    /// Records the interval between the last two arrivals, at most [`MAX_INTERVAL`].
    pub fn record(&mut self, interval: Duration) {
        self.intervals.record(interval);
    }

    /// Returns phi, the suspicion level, when the last arrival was `elapsed` ago. It starts at 0, rises without
    /// limit, and is never infinite.
    pub fn phi(&self, elapsed: Duration) -> f64 {
        let deviations = (elapsed.as_secs_f64() - self.intervals.mean()) / self.floored_deviation();
        log10_survival(deviations).abs()
    }

    /// Returns the mean of the remembered intervals.
    pub fn mean(&self) -> Duration {
        Duration::from_secs_f64(self.intervals.mean())
    }

    /// Returns the standard deviation of the remembered intervals, or its floor if that is larger. [`phi`](Self::phi)
    /// uses it.
    pub fn deviation(&self) -> Duration {
        Duration::from_secs_f64(self.floored_deviation())
    }

    fn floored_deviation(&self) -> f64 {
        self.intervals.deviation().max(self.min_deviation)
    }
}

/// The smallest `min_deviation` of [`PhiAccrual::new`]. Below it, phi would measure the clock.
pub const MIN_INTERVAL_DEVIATION: Duration = Duration::from_micros(1);

#[cfg(test)]
mod tests;
