//! Round-trip times and loss of one directed link: what a missing reply is worth, and how long to
//! wait for it.

use crate::{
    elementary::{exp, ln, ln_1p},
    tail::{survival, upper_quantile},
};
use std::{
    f64::consts::{LN_10, LOG10_E},
    time::Duration,
};

/// One observer's estimate of its link to one subject, which answers when asked.
///
/// A reply can be missing because a message was lost, because it is late, or because nobody is
/// there. The first two have a probability that the link's past tells, so that a miss after waiting
/// `t` is worth
///
/// ```text
/// weight(t) = −log10( loss + (1 − loss) · P(round trip > t) )
/// ```
///
/// which is the phi of the paper (SRDS 2004, §4) with loss taken into account: on a clean link one
/// miss says much, on one that loses one message in four it says little. Misses that are
/// independent add up in [`Evidence`].
///
/// **Round trips** are heavy-tailed: most are near the typical one, some take many times that, few
/// take much less. So it is the logarithm that is taken for normal, which makes "late" a factor and
/// not a difference.
///
/// **Memory**: a node keeps a link for each of thousands of members, and each link is sampled only
/// now and then. A window would take kilobytes and reach hours back; means weighted exponentially
/// take 40 bytes in all, remember the last few tens of samples and forget smoothly. The first
/// samples count in full (the k-th has a gain of at least 1/k), so a link is usable from the first
/// one on.
///
/// **Loss** is remembered twice, for some tens of messages ([`LOSS_GAIN`]) and for a few hundred
/// ([`LONG_LOSS_GAIN`]), and the larger counts. The short memory follows a link that begins to
/// lose; the long one keeps a link that loses one message in fifty from passing for clean between
/// two losses, which would make its misses weigh too much (with the short memory alone, four times
/// as many would weigh 3 as should). With both, a miss of weight `w` happens to a living subject no
/// more than 1.3 · 10^−w of the time, at any constant rate of independent losses.
///
/// **Priors**: a new link is trusted little. One sample's worth of [`PRIOR_LOSS`] and
/// [`PRIOR_LOG_DEVIATION`] is there from the start and fades as samples come.
///
/// [`Evidence`]: crate::Evidence
#[derive(Clone, Debug, PartialEq)]
pub struct LinkEstimator {
    /// Mean and variance of the natural logarithm of the round trip in seconds.
    mean: f64,
    variance: f64,
    /// Fraction lost lately.
    loss: f64,
    /// Fraction lost over a longer time, at most [`MAX_LONG_LOSS`].
    long_loss: f64,
    samples: u32,
    /// Messages whose fate is known, lost or answered.
    outcomes: u32,
}

impl LinkEstimator {
    /// A link never measured, whose round trip is within a factor e of `prior_rtt` in two cases of
    /// three.
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

    /// The same link, believed to lose at least this share of messages: for one seldom measured, whose surroundings are
    /// known to lose more.
    #[must_use]
    pub fn with_loss_at_least(mut self, loss: f64) -> Self {
        if loss > self.loss {
            self.loss = loss.min(1.0);
        }
        self
    }

    /// A reply arrived `round_trip` after its message, which was not lost. Clamped to
    /// [`MIN_ROUND_TRIP`] and [`MAX_ROUND_TRIP`].
    ///
    /// A late reply is a sample too, if it can be tied to its message: without the late ones a link
    /// that became slow is never found out.
    pub fn record_reply(&mut self, round_trip: Duration) {
        self.record_answered();
        let sample = ln_seconds(round_trip);
        self.samples = self.samples.saturating_add(1);
        if self.samples == 1 {
            // A guess has no say in what is typical once there is a sample, but one sample tells
            // nothing of the spread.
            self.mean = sample;
            return;
        }
        let gain = (1.0 / f64::from(self.samples)).max(ROUND_TRIP_GAIN);
        let difference = sample - self.mean;
        let square = difference * difference;
        // Far sooner than expected means that what came before was slow, not that the link scatters. With the factor,
        // normal deviations have their own variance all the same.
        let square = if difference > 0.0 { square } else { 2.0 * square.min(self.variance) };
        self.mean += gain * difference;
        self.variance = (1.0 - gain) * (self.variance + gain * square);
    }

    /// A message was answered, in a time that says nothing of the link (a handshake was part of
    /// it).
    pub fn record_answered(&mut self) {
        self.record_outcome(0.0);
    }

    /// A message or its reply was certainly lost, while the subject was alive. Known only
    /// afterwards: a miss during a silence that ends in death says nothing about the link.
    pub fn record_miss(&mut self) {
        self.record_outcome(1.0);
    }

    /// How many round trips were recorded, as far as a `u32` counts.
    pub fn samples(&self) -> u32 {
        self.samples
    }

    /// Probability that a message or its reply is lost, from [`MIN_LOSS`] to 1. [`PRIOR_LOSS`] on a
    /// new link.
    pub fn loss(&self) -> f64 {
        self.loss.max(self.long_loss).clamp(MIN_LOSS, 1.0)
    }

    /// The typical (median) round trip; `None` before the first sample.
    pub fn round_trip(&self) -> Option<Duration> {
        (self.samples > 0).then(|| Duration::from_secs_f64(exp(self.mean)))
    }

    /// Phi worth of no reply after waiting: 0 for no wait, never falling, at most [`MAX_WEIGHT`] or
    /// what the link's loss allows, `−log10 loss`, where loss beyond [`MAX_LOSS`] counts as that.
    pub fn weight(&self, waited: Duration) -> f64 {
        let on_the_way = waited.saturating_sub(TIMER_JITTER);
        if on_the_way.is_zero() {
            return 0.0;
        }
        let deviations = (ln(on_the_way.as_secs_f64()) - self.mean) / self.log_deviation();
        // The complement of the argument in the formula above, which keeps its digits where weights
        // are small.
        let replied = (1.0 - self.loss().min(MAX_LOSS)) * survival(-deviations);
        (-ln_1p(-replied) * LOG10_E).min(MAX_WEIGHT)
    }

    /// The smallest wait that makes a miss worth `phi`, to the accuracy of floats. `None` if no
    /// wait up to [`MAX_WAIT`] is worth that much on this link, or `phi` is not a number; zero if
    /// `phi` is 0 or less.
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
        // Rounding may have left the wait a little short.
        let mut step = Duration::from_nanos(1);
        while self.weight(wait) < phi {
            wait = (wait + step).min(MAX_WAIT);
            step *= 2;
        }
        Some(wait)
    }

    /// The wait by which this fraction of the replies that come at all have come, [`TIMER_JITTER`]
    /// included. Zero for a quantile of 0 or less, [`MAX_WAIT`] for 1 or more and for what is not a
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

    /// Standard deviation of the logarithm of the round trip, with its floor.
    fn log_deviation(&self) -> f64 {
        self.variance.sqrt().max(MIN_LOG_DEVIATION)
    }

    /// The wait for a reply whose round trip is this many deviations above the typical one, up to
    /// [`MAX_WAIT`].
    fn wait_of(&self, deviations: f64) -> Duration {
        let seconds = exp(self.mean + deviations * self.log_deviation());
        let on_the_way = Duration::from_secs_f64(seconds.min(MAX_WAIT.as_secs_f64()));
        (on_the_way + TIMER_JITTER).min(MAX_WAIT)
    }
}

/// Natural logarithm of a round trip in seconds, clamped to what is plausible.
fn ln_seconds(round_trip: Duration) -> f64 {
    ln(round_trip.clamp(MIN_ROUND_TRIP, MAX_ROUND_TRIP).as_secs_f64())
}

/// The most one miss is worth, so that phi 8 takes at least three of them: `−log10` of
/// [`MIN_LOSS`].
pub const MAX_WEIGHT: f64 = 3.0;
/// The least loss believed of any link: no history rules out that one message in a thousand is
/// lost.
pub const MIN_LOSS: f64 = 1e-3;
/// The most loss that counts: a link that was cut for long would else expect nothing, and what is
/// missed on it would never say that the subject died. A miss weighs 1/8 at least.
pub const MAX_LOSS: f64 = 0.75;
/// The loss believed of a new link, counted as one outcome. A single miss on it is worth no more
/// than 1.
pub const PRIOR_LOSS: f64 = 0.1;
/// The least gain of an outcome on the loss. After 40 messages on a link that began to lose, 82 %
/// of the new loss is known; the estimate of a true 25 % scatters by 6 points.
pub const LOSS_GAIN: f64 = 1.0 / 24.0;
/// The least gain of an outcome on the longer memory of loss. A clean link that lost one message is
/// believed to lose less than 3 in a thousand again after 140 answers.
pub const LONG_LOSS_GAIN: f64 = 1.0 / 128.0;
/// The most that the longer memory holds: beyond, the short one is right by itself, and a link that
/// was cut for hours is trusted again soon after it answers.
pub const MAX_LONG_LOSS: f64 = 0.05;
/// The least gain of a sample on mean and variance of the logarithms. After 40 samples 92 % of a
/// change is known; the deviation scatters by an eighth of itself.
pub const ROUND_TRIP_GAIN: f64 = 1.0 / 16.0;
/// The deviation of the natural logarithm of the round trip on a new link: a factor e up or down.
pub const PRIOR_LOG_DEVIATION: f64 = 1.0;
/// The least deviation of the natural logarithm of the round trip: a reply that takes twice as long
/// as the typical one is then one in a hundred, however steady the link has been.
pub const MIN_LOG_DEVIATION: f64 = 0.3;
/// Taken off every wait before it is judged, and added to every deadline: what timers and
/// schedulers on both sides add to a round trip is a difference, not a factor, and on a short link
/// it is more than the link itself.
pub const TIMER_JITTER: Duration = Duration::from_millis(2);
/// The shortest round trip believed.
pub const MIN_ROUND_TRIP: Duration = Duration::from_micros(1);
/// The longest round trip believed: a single absurd sample may widen an estimate only so far.
pub const MAX_ROUND_TRIP: Duration = Duration::from_secs(60);
/// The longest wait that [`LinkEstimator::deadline`] and [`LinkEstimator::late_after`] give.
pub const MAX_WAIT: Duration = Duration::from_secs(3600);

/// Replies still to come that are too few to change the weight's last digit: 8.5 deviations.
const LEAST_REMAINDER: f64 = 1e-17;

#[cfg(test)]
mod tests;
