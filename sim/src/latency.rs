//! The delay of packets: log-normal, like measured network delays.
//!
//! Logarithms and exponentials are those of `libm`, which give the same bits on every machine.

use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// One-way delays between two places: log-normal around a median.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latency {
    /// The median delay.
    pub median: Duration,
    /// The deviation of the delay's logarithm: at 0.5, one packet in a hundred takes 3.2 times the median.
    pub sigma: f64,
}

impl Latency {
    /// One data centre: 0.25 ms one way.
    pub const LAN: Self = Self { median: Duration::from_micros(250), sigma: 0.5 };
    /// Between continents: 40 ms one way, with little jitter, because distance is most of it.
    pub const WAN: Self = Self { median: Duration::from_millis(40), sigma: 0.1 };
    /// One machine: 30 µs.
    pub const LOCAL: Self = Self { median: Duration::from_micros(30), sigma: 0.5 };

    /// The delay of one packet.
    pub fn sample(&self, rng: &mut ChaCha8Rng) -> Duration {
        let factor = libm::exp(self.sigma * standard_normal(rng));
        let nanos = self.median.as_nanos() as f64 * factor;
        // Between a nanosecond and an hour, so that the conversion is exact on every machine.
        Duration::from_nanos(nanos.clamp(1.0, 3.6e12) as u64)
    }
}

/// One sample of the standard normal distribution (Box and Muller, 1958).
fn standard_normal(rng: &mut ChaCha8Rng) -> f64 {
    let uniform: f64 = 1.0 - rng.random::<f64>();
    let angle: f64 = rng.random::<f64>() * std::f64::consts::TAU;
    libm::sqrt(-2.0 * libm::log(uniform)) * libm::cos(angle)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn samples_have_the_median_and_the_tail_of_the_distribution() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut samples: Vec<_> = (0..100_000).map(|_| Latency::LAN.sample(&mut rng)).collect();
        samples.sort_unstable();
        let median = samples[50_000].as_secs_f64();
        assert!((median / 250e-6 - 1.0).abs() < 0.02, "{median}");
        // The 99th percentile is exp(2.326 sigma) medians.
        let p99 = samples[99_000].as_secs_f64();
        assert!((p99 / (250e-6 * 3.2) - 1.0).abs() < 0.05, "{p99}");
    }
}
