//! A bounded sample of durations with a running mean and variance that do not drift.

use std::time::Duration;

/// The last samples, up to a fixed number.
///
/// The sums are integers: a sample is subtracted exactly as it was added. So mean and variance are exact after any
/// number of updates. Running sums of floats drift, and so does Welford's method with removal.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    /// Nanoseconds, as a ring buffer. Its length is the capacity.
    samples: Box<[u64]>,
    len: usize,
    /// The index of the next sample.
    next: usize,
    sum: u128,
    sum_of_squares: u128,
}

impl Window {
    /// Creates an empty window. The capacity is clamped to [`MIN_SAMPLES`] and [`MAX_SAMPLES`].
    pub(crate) fn new(capacity: usize) -> Self {
        let capacity = capacity.clamp(MIN_SAMPLES, MAX_SAMPLES);
        Self {
            samples: vec![0; capacity].into_boxed_slice(),
            len: 0,
            next: 0,
            sum: 0,
            sum_of_squares: 0,
        }
    }

    /// Adds a sample of at most [`MAX_INTERVAL`]. A full window drops its oldest sample.
    pub(crate) fn record(&mut self, sample: Duration) {
        let nanos =
            u64::try_from(sample.as_nanos()).map_or(MAX_NANOS, |nanos| nanos.min(MAX_NANOS));
        if self.len == self.samples.len() {
            let oldest = u128::from(self.samples[self.next]);
            self.sum -= oldest;
            self.sum_of_squares -= oldest * oldest;
        } else {
            self.len += 1;
        }
        self.samples[self.next] = nanos;
        self.next = (self.next + 1) % self.samples.len();
        self.sum += u128::from(nanos);
        self.sum_of_squares += u128::from(nanos) * u128::from(nanos);
    }

    /// The mean in seconds; 0 if empty.
    pub(crate) fn mean(&self) -> f64 {
        self.sum as f64 / self.len.max(1) as f64 / NANOS_PER_SECOND
    }

    /// The standard deviation of the samples in seconds, as a whole population; 0 if empty.
    pub(crate) fn deviation(&self) -> f64 {
        let len = self.len.max(1) as u128;
        // Never negative (Cauchy–Schwarz), and below 2¹²⁸ by MAX_SAMPLES and MAX_INTERVAL.
        let variance_times_len_squared = len * self.sum_of_squares - self.sum * self.sum;
        (variance_times_len_squared as f64).sqrt() / len as f64 / NANOS_PER_SECOND
    }
}

/// The longest interval, about 3.26 days. It keeps `MAX_SAMPLES² · MAX_INTERVAL²` below 2¹²⁸.
pub const MAX_INTERVAL: Duration = Duration::from_nanos(MAX_NANOS);
/// The smallest capacity of a window. With fewer samples there is no deviation.
pub const MIN_SAMPLES: usize = 2;
/// The largest capacity of a window. Each sample takes 8 bytes.
pub const MAX_SAMPLES: usize = 1 << 16;
const MAX_NANOS: u64 = (1 << 48) - 1;
const NANOS_PER_SECOND: f64 = 1e9;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lcg::Lcg;
    use std::collections::VecDeque;

    #[test]
    fn millions_of_updates_leave_no_drift() {
        let mut lcg = Lcg::new(2);
        let mut window = Window::new(100);
        let mut held = VecDeque::new();
        for update in 0..3_000_000_u32 {
            // Hours and microseconds in turns: the worst case for sums that round.
            let scale = if update % 1000 < 500 { 4_000_000_000_000 } else { 1_000 };
            let nanos = scale + lcg.below(1000);
            window.record(Duration::from_nanos(nanos));
            held.push_back(nanos);
            if held.len() > 100 {
                held.pop_front();
            }
            if update % 4999 == 0 {
                assert_is_of(&window, &held);
            }
        }
        assert_is_of(&window, &held);
    }

    #[test]
    fn constant_samples_have_exactly_no_deviation() {
        let mut window = Window::new(10);
        for _ in 0..1_000 {
            window.record(Duration::from_nanos(123_456_789));
            assert_eq!(window.deviation(), 0.0);
            assert_eq!(window.mean(), 0.123_456_789);
        }
    }

    #[test]
    fn extremes_fit() {
        let mut window = Window::new(usize::MAX);
        assert_eq!((window.mean(), window.deviation()), (0.0, 0.0));
        for update in 0..2 * MAX_SAMPLES + 1 {
            window.record(if update % 2 == 0 { Duration::MAX } else { Duration::ZERO });
        }
        let half = MAX_INTERVAL.as_secs_f64() / 2.0;
        assert!((window.mean() / half - 1.0).abs() < 1e-12);
        assert!((window.deviation() / half - 1.0).abs() < 1e-12);
        for _ in 0..MAX_SAMPLES {
            window.record(Duration::MAX);
        }
        assert_eq!((window.mean(), window.deviation()), (2.0 * half, 0.0));
    }

    #[test]
    fn capacity_has_a_least() {
        let mut window = Window::new(0);
        for seconds in [9, 1, 3] {
            window.record(Duration::from_secs(seconds));
        }
        assert_eq!((window.mean(), window.deviation()), (2.0, 1.0));
    }

    /// Compares with mean and deviation computed afresh, in two passes.
    fn assert_is_of(window: &Window, held: &VecDeque<u64>) {
        let len = held.len() as f64;
        let shift = held[0];
        let offsets = || held.iter().map(|&nanos| nanos as f64 - shift as f64);
        let mean = offsets().sum::<f64>() / len;
        let variance = offsets().map(|offset| (offset - mean).powi(2)).sum::<f64>() / len;
        let (mean, deviation) = ((mean + shift as f64) / 1e9, variance.sqrt() / 1e9);
        assert!((window.mean() / mean - 1.0).abs() < 1e-12);
        assert!((window.deviation() - deviation).abs() <= 1e-9 * deviation);
    }
}
