//! Round-trip times and loss of one directed link, which give the weight of a missing reply and the time to wait for
//! it.

use crate::{
    elementary::{exp, ln, ln_1p},
    tail::{survival, upper_quantile},
};
use std::{
    f64::consts::{LN_10, LOG10_E},
    time::Duration,
};

/// Round-trip times and loss of the link from one observer to one subject, which answers pings.
///
/// A reply can be missing because a message was lost, because it is late, or because the subject is dead. The history
/// of the link gives the probability of the first two. So a miss after waiting `t` has the weight
///
/// ```text
/// weight(t) = −log10( loss + (1 − loss) · P(round trip > t) )
/// ```
///
/// This is the phi of the paper (SRDS 2004, §4), extended by loss. On a clean link one miss means much; on a link
/// that loses one message in four it means little. Independent misses add up in [`Evidence`]. The crate page has an
/// example.
///
/// **Round trips** are heavy-tailed: most are near the typical one, some take many times that, and few take much
/// less. So the estimator assumes that their logarithm is normally distributed, which makes "late" a factor and not a
/// difference.
///
/// **Memory**: a node keeps a link for each of thousands of members, and samples each link only occasionally. A
/// window would take kilobytes and reach back for hours. Exponentially weighted means take 40 bytes in total, and
/// remember the last few tens of samples. The first samples count in full (the k-th has a gain of at least 1/k), so a
/// link is usable from the first sample.
///
/// **Loss** has two memories, of some tens of messages ([`LOSS_GAIN`]) and of a few hundred ([`LONG_LOSS_GAIN`]). The
/// larger estimate counts. The short memory follows a link that begins to lose. The long one prevents that a link
/// that loses one message in fifty seems clean between two losses, which would make its misses weigh too much: with
/// the short memory alone, misses of weight 3 are four times too frequent. With both, a miss of weight `w` happens to
/// a living subject in at most 1.3 · 10^−w of the cases, at any constant rate of independent losses.
///
/// **Priors**: a new link starts with [`PRIOR_LOSS`] and [`PRIOR_LOG_DEVIATION`], which count as one sample and fade
/// as samples arrive.
///
/// [`Evidence`]: crate::Evidence
#[derive(Clone, Debug, PartialEq)]
pub struct LinkEstimator {
    /// The mean and variance of the natural logarithm of the round trip in seconds.
    mean: f64,
    variance: f64,
    /// The fraction lost recently.
    loss: f64,
    /// The fraction lost over a longer time, at most [`MAX_LONG_LOSS`].
    long_loss: f64,
    samples: u32,
    /// Messages known to be lost or answered.
    outcomes: u32,
}

impl LinkEstimator {
    /// Creates a link without measurements. Its round trip is assumed to be within a factor e of `prior_rtt` in two
    /// of three cases.
    pub fn new(prior_rtt: Duration) -> Self {
        Self {
            mean: ln_seconds(prior_rtt),
            variance: PRIOR_LOG_DEVIATION * PRIOR_LOG_DEVIATION,
            loss: PRIOR_LOSS,
            long_loss: MAX_LONG_LOSS,
            samples: 0,
            outcomes: 0,
        }
    }

    /// Returns the link with a loss of at least this fraction. Use it for a rarely measured link whose neighbours are
    /// known to lose more.
    #[must_use]
    pub fn with_loss_at_least(mut self, loss: f64) -> Self {
        if loss > self.loss {
            self.loss = loss.min(1.0);
        }
        self
    }

    /// Records a reply that arrived `round_trip` after its message. The time is clamped to [`MIN_ROUND_TRIP`] and
    /// [`MAX_ROUND_TRIP`].
    ///
    /// Record late replies too, if they can be matched to their message. Without them, the estimator does not notice
    /// that a link became slow.
    pub fn record_reply(&mut self, round_trip: Duration) {
        self.record_answered();
        let sample = ln_seconds(round_trip);
        self.samples = self.samples.saturating_add(1);
        if self.samples == 1 {
            // The first sample replaces the prior mean, but one sample says nothing about the variance.
            self.mean = sample;
            return;
        }
        let gain = (1.0 / f64::from(self.samples)).max(ROUND_TRIP_GAIN);
        let difference = sample - self.mean;
        let square = difference * difference;
        // A much faster reply than expected means that the earlier ones were slow, not that the link varies. The factor
        // keeps the variance of normally distributed samples unbiased.
        let square = if difference > 0.0 { square } else { 2.0 * square.min(self.variance) };
        self.mean += gain * difference;
        self.variance = (1.0 - gain) * (self.variance + gain * square);
    }

    /// Records an answered message whose round trip is not representative, for example because it includes a handshake.
    pub fn record_answered(&mut self) {
        self.record_outcome(0.0);
    }

    /// Records that a message or its reply was lost while the subject was alive. Call it only once that is certain: a
    /// miss before a death says nothing about the link.
    pub fn record_miss(&mut self) {
        self.record_outcome(1.0);
    }

    /// Takes a recorded miss back: its reply arrived late. Exact if nothing was recorded since; otherwise the loss is somewhat
    /// lower than without the miss.
    pub fn retract_miss(&mut self) {
        if self.outcomes == 0 {
            return;
        }
        let gain = 1.0 / (f64::from(self.outcomes) + 1.0);
        let without = |loss: f64, gain: f64| ((loss - gain) / (1.0 - gain)).max(0.0);
        self.loss = without(self.loss, gain.max(LOSS_GAIN));
        self.long_loss = without(self.long_loss, gain.max(LONG_LOSS_GAIN));
        self.outcomes -= 1;
    }

    /// Returns the number of recorded round trips, at most `u32::MAX`.
    pub fn samples(&self) -> u32 {
        self.samples
    }

    /// Returns the probability that a message or its reply is lost, from [`MIN_LOSS`] to 1. A new link has
    /// [`PRIOR_LOSS`].
    pub fn loss(&self) -> f64 {
        self.loss.max(self.long_loss).clamp(MIN_LOSS, 1.0)
    }

    /// Returns the typical (median) round trip; `None` before the first sample.
    pub fn round_trip(&self) -> Option<Duration> {
        (self.samples > 0).then(|| Duration::from_secs_f64(exp(self.mean)))
    }

    /// Returns the round trip that this fraction of replies does not exceed, as estimated from the samples; `None` before
    /// the first sample. Use it to show a link: it has neither [`TIMER_JITTER`] nor [`MIN_LOG_DEVIATION`], which
    /// [`late_after`](Self::late_after) adds for safety. Returns zero for a quantile of 0 or less, and
    /// [`MAX_ROUND_TRIP`] for 1 or more, or if it is not a number.
    pub fn round_trip_quantile(&self, quantile: f64) -> Option<Duration> {
        if self.samples == 0 {
            return None;
        }
        if quantile <= 0.0 {
            return Some(Duration::ZERO);
        }
        if quantile.is_nan() || quantile >= 1.0 {
            return Some(MAX_ROUND_TRIP);
        }
        let deviations = upper_quantile(1.0 - quantile);
        let seconds = exp(self.mean + deviations * self.variance.sqrt());
        Some(Duration::from_secs_f64(seconds.min(MAX_ROUND_TRIP.as_secs_f64())))
    }

    /// Returns the weight of a reply that is missing after this wait, as a phi. It starts at 0 and never falls. It is
    /// at most [`MAX_WEIGHT`] and at most `−log10 loss`, where a loss above [`MAX_LOSS`] counts as [`MAX_LOSS`].
    pub fn weight(&self, waited: Duration) -> f64 {
        let on_the_way = waited.saturating_sub(TIMER_JITTER);
        if on_the_way.is_zero() {
            return 0.0;
        }
        let deviations = (ln(on_the_way.as_secs_f64()) - self.mean) / self.log_deviation();
        // The complement of the argument in the formula above, which keeps its digits if weights are small.
        let replied = (1.0 - self.loss().min(MAX_LOSS)) * survival(-deviations);
        (-ln_1p(-replied) * LOG10_E).min(MAX_WEIGHT)
    }

    /// Returns the shortest wait after which a miss has the weight `phi`, to the accuracy of floats. Returns `None`
    /// if no wait up to [`MAX_WAIT`] has that weight on this link, or if `phi` is not a number. Returns zero if `phi`
    /// is 0 or less.
    pub fn deadline(&self, phi: f64) -> Option<Duration> {
        if phi.is_nan() || self.weight(MAX_WAIT) < phi {
            return None;
        }
        if phi <= 0.0 {
            return Some(Duration::ZERO);
        }
        // The weight's formula solved for the wait.
        let loss = self.loss().min(MAX_LOSS);
        let still_to_come = ((exp(-phi * LN_10) - loss) / (1.0 - loss)).max(LEAST_REMAINDER);
        let mut wait = self.wait_of(upper_quantile(still_to_come));
        // Rounding may have made the wait slightly too short.
        let mut step = Duration::from_nanos(1);
        while self.weight(wait) < phi {
            wait = (wait + step).min(MAX_WAIT);
            step *= 2;
        }
        Some(wait)
    }

    /// Returns the wait after which this fraction of all replies that arrive have arrived, including
    /// [`TIMER_JITTER`]. Returns zero for a quantile of 0 or less, and [`MAX_WAIT`] for 1 or more, or if it is not a
    /// number.
    pub fn late_after(&self, quantile: f64) -> Duration {
        if quantile <= 0.0 {
            return Duration::ZERO;
        }
        if quantile.is_nan() || quantile >= 1.0 {
            return MAX_WAIT;
        }
        self.wait_of(upper_quantile(1.0 - quantile))
    }

    fn record_outcome(&mut self, lost: f64) {
        self.outcomes = self.outcomes.saturating_add(1);
        // The prior counts as one outcome.
        let gain = 1.0 / (f64::from(self.outcomes) + 1.0);
        self.loss += gain.max(LOSS_GAIN) * (lost - self.loss);
        self.long_loss += gain.max(LONG_LOSS_GAIN) * (lost - self.long_loss);
        self.long_loss = self.long_loss.min(MAX_LONG_LOSS);
    }

    /// The standard deviation of the logarithm of the round trip, or its floor.
    fn log_deviation(&self) -> f64 {
        self.variance.sqrt().max(MIN_LOG_DEVIATION)
    }

    /// The wait for a reply whose round trip is this many deviations above the typical one, at most [`MAX_WAIT`].
    fn wait_of(&self, deviations: f64) -> Duration {
        let seconds = exp(self.mean + deviations * self.log_deviation());
        let on_the_way = Duration::from_secs_f64(seconds.min(MAX_WAIT.as_secs_f64()));
        (on_the_way + TIMER_JITTER).min(MAX_WAIT)
    }
}

/// The natural logarithm of a round trip in seconds, clamped to plausible values.
fn ln_seconds(round_trip: Duration) -> f64 {
    ln(round_trip.clamp(MIN_ROUND_TRIP, MAX_ROUND_TRIP).as_secs_f64())
}

/// The largest weight of one miss, `−log10` of [`MIN_LOSS`]. So phi 8 takes at least three misses.
pub const MAX_WEIGHT: f64 = 3.0;
/// The smallest loss of any link. No history rules out that one message in a thousand is lost.
pub const MIN_LOSS: f64 = 1e-3;
/// The largest loss that weights take into account. Without it, a link that was interrupted for long would expect no
/// replies, and its misses would never show that the subject died. So a late miss weighs at least 1/8.
pub const MAX_LOSS: f64 = 0.75;
/// The loss of a new link, which counts as one outcome. A single miss on it weighs at most 1.
pub const PRIOR_LOSS: f64 = 0.1;
/// The smallest gain of an outcome on the short memory of loss. 40 messages after a link begins to lose, the estimate
/// has 82 % of the new loss. The estimate of a true 25 % has a standard deviation of 6 points.
pub const LOSS_GAIN: f64 = 1.0 / 24.0;
/// The smallest gain of an outcome on the long memory of loss. A clean link that lost one message has an estimate
/// below 3 in a thousand again after 140 answers.
pub const LONG_LOSS_GAIN: f64 = 1.0 / 128.0;
/// The largest loss in the long memory. Above it, the short memory is sufficient, and a link that was interrupted for
/// hours is trusted again soon after it answers.
pub const MAX_LONG_LOSS: f64 = 0.05;
/// The smallest gain of a sample on mean and variance of the logarithms. After 40 samples the estimate has 92 % of a
/// change. The deviation has a relative error of one eighth.
pub const ROUND_TRIP_GAIN: f64 = 1.0 / 16.0;
/// The deviation of the natural logarithm of the round trip on a new link: a factor e in both directions.
pub const PRIOR_LOG_DEVIATION: f64 = 1.0;
/// The smallest deviation of the natural logarithm of the round trip. So on the steadiest link, one reply in a
/// hundred may take twice as long as the typical one.
pub const MIN_LOG_DEVIATION: f64 = 0.3;
/// The delay of timers and schedulers on both sides, subtracted from every wait and added to every deadline. It is a
/// difference, not a factor, and on a short link it is longer than the round trip itself.
pub const TIMER_JITTER: Duration = Duration::from_millis(2);
/// The shortest round trip. Shorter ones count as this.
pub const MIN_ROUND_TRIP: Duration = Duration::from_micros(1);
/// The longest round trip. Longer ones count as this, which limits the effect of a single absurd sample.
pub const MAX_ROUND_TRIP: Duration = Duration::from_secs(60);
/// The longest wait that [`LinkEstimator::deadline`] and [`LinkEstimator::late_after`] return.
pub const MAX_WAIT: Duration = Duration::from_secs(3600);

/// A fraction of outstanding replies too small to change the last digit of a weight: 8.5 deviations.
const LEAST_REMAINDER: f64 = 1e-17;

#[cfg(test)]
mod tests;
