//! Quantiles of samples, with how sure they are.

use std::time::Duration;

/// Samples in order.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// Sorts them.
    pub fn new(mut samples: Vec<f64>) -> Self {
        samples.sort_unstable_by(f64::total_cmp);
        Self(samples)
    }

    /// Durations as milliseconds.
    pub fn of_millis(durations: impl IntoIterator<Item = Duration>) -> Self {
        Self::new(durations.into_iter().map(|d| d.as_secs_f64() * 1e3).collect())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The smallest sample that this share of all is not above (nearest rank); not a number where there is none.
    pub fn quantile(&self, share: f64) -> f64 {
        self.at_rank((share * self.0.len() as f64).ceil())
    }

    /// The largest sample.
    pub fn max(&self) -> f64 {
        self.0.last().copied().unwrap_or(f64::NAN)
    }

    /// The mean.
    pub fn mean(&self) -> f64 {
        self.0.iter().sum::<f64>() / self.0.len() as f64
    }

    /// Between which samples the quantile of the whole distribution lies with 95 % confidence, by the binomial
    /// distribution of ranks (its normal approximation); needs no assumption about the distribution.
    pub fn interval(&self, share: f64) -> (f64, f64) {
        let n = self.0.len() as f64;
        let spread = 1.96 * (n * share * (1.0 - share)).sqrt();
        (
            self.at_rank((n * share - spread).floor()),
            self.at_rank((n * share + spread).ceil() + 1.0),
        )
    }

    fn at_rank(&self, rank: f64) -> f64 {
        let last = self.0.len().saturating_sub(1);
        let index = (rank - 1.0).max(0.0) as usize;
        self.0.get(index.min(last)).copied().unwrap_or(f64::NAN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_samples_and_intervals_hold_them() {
        let samples = Samples::new((1..=100).rev().map(f64::from).collect());
        assert_eq!(samples.quantile(0.5), 50.0);
        assert_eq!(samples.quantile(0.99), 99.0);
        assert_eq!(samples.max(), 100.0);
        assert_eq!(samples.interval(0.5), (40.0, 61.0));
        assert!(Samples::default().quantile(0.5).is_nan());
    }
}
