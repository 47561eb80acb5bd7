//! The knowledge that an observer has of a settled link, and the pings that it sends on it to a dead member.

use std::time::Duration;

use phin_accrual::LinkEstimator;
use phin_swim::Config;

use crate::latency::Latency;

/// A link in use for long, as the estimator of `phin-accrual` sees it.
#[derive(Clone, Debug)]
pub(super) struct Link {
    estimator: LinkEstimator,
    /// The wait for a reply before it is a miss, in seconds.
    pub(super) overdue_after: f64,
}

/// The unanswered pings of one observer, in seconds since the first.
#[derive(Clone, Debug)]
pub(super) struct Misses {
    link: Link,
    /// When each was sent and when it was overdue.
    pings: Vec<(f64, f64)>,
}

impl Link {
    /// The link over this one-way delay, where this share of packets is lost.
    pub(super) fn new(latency: Latency, loss: f64, config: &Config) -> Self {
        let mut estimator = LinkEstimator::new(config.prior_round_trip);
        for seconds in round_trips(latency) {
            estimator.record_reply(Duration::from_secs_f64(seconds));
        }
        let estimator = estimator.with_loss_at_least(estimated_loss(unanswered(loss)));
        // protocol.md, "ProbeTimeout".
        let overdue = estimator.deadline(OVERDUE_PHI);
        let overdue = overdue.unwrap_or_else(|| estimator.late_after(0.99));
        let overdue = overdue.clamp(MIN_OVERDUE, (config.period / 2).max(MIN_OVERDUE));
        Self { estimator, overdue_after: overdue.as_secs_f64() }
    }

    fn weight(&self, seconds: f64) -> f64 {
        self.estimator.weight(Duration::from_secs_f64(seconds.max(0.0)))
    }

    /// The pings that an observer sends, by the rules of `Retry` in protocol.md.
    pub(super) fn misses(&self, pause: f64) -> Misses {
        let mut misses = Misses { link: self.clone(), pings: Vec::new() };
        let mut sent = 0.0;
        while misses.pings.len() < MAX_MISSES {
            let overdue = sent + self.overdue_after;
            misses.pings.push((sent, overdue));
            sent = overdue + misses.gap(overdue, pause);
        }
        misses
    }
}

impl Misses {
    /// The evidence of the overdue pings.
    pub(super) fn phi(&self, at: f64) -> f64 {
        let overdue = self.pings.iter().take_while(|(_, overdue)| *overdue <= at + EPSILON);
        overdue.map(|(sent, _)| self.link.weight(at - sent)).sum()
    }

    /// When so many pings are overdue and worth this phi.
    pub(super) fn reach(&self, count: usize, phi: f64) -> f64 {
        let moments = self.pings.iter().skip(count.saturating_sub(1));
        let found = moments.map(|&(_, overdue)| overdue).find(|&at| self.phi(at) >= phi);
        found.unwrap_or(f64::INFINITY)
    }

    /// When each ping is overdue.
    pub(super) fn overdue(&self) -> impl Iterator<Item = f64> {
        self.pings.iter().map(|&(_, overdue)| overdue)
    }

    /// How many pings were sent by then.
    pub(super) fn sent_by(&self, at: f64) -> usize {
        self.pings.iter().filter(|(sent, _)| *sent <= at).count()
    }

    /// The time from a miss to the next ping.
    fn gap(&self, at: f64, pause: f64) -> f64 {
        match self.pings.len() {
            0 | 1 => 0.0,
            few if few < 8 && self.phi(at) < ACCUSE_PHI => pause / 16.0,
            _ if at < 2.0 * pause => pause / 4.0,
            _ => pause,
        }
    }
}

/// The share of pings without a reply, if this share of packets is lost.
pub(super) fn unanswered(loss: f64) -> f64 {
    1.0 - (1.0 - loss) * (1.0 - loss)
}

/// The loss that an observer assumes on average: the larger of two estimates over 24 and 128 pings, at least one in a
/// thousand. The larger of two correlated normal variables with these variances exceeds their mean by so much (Clark, 1961).
pub(super) fn estimated_loss(unanswered: f64) -> f64 {
    (unanswered + 0.044 * (unanswered * (1.0 - unanswered)).sqrt()).max(phin_accrual::MIN_LOSS)
}

/// The deviation of the estimate over about 24 pings.
pub(super) fn loss_deviation(unanswered: f64) -> f64 {
    (unanswered * (1.0 - unanswered) / 47.0).sqrt()
}

/// The median of the sum of two such delays, and the deviation of its logarithm (Fenton, 1960).
pub(super) fn round_trip(latency: Latency) -> (f64, f64) {
    let square = latency.sigma * latency.sigma;
    let sigma_squared = libm::log(1.0 + (libm::exp(square) - 1.0) / 2.0);
    let mean = 2.0 * latency.median.as_secs_f64() * libm::exp(square / 2.0);
    (mean / libm::exp(sigma_squared / 2.0), sigma_squared.sqrt())
}

/// Round trips with the quantiles of their distribution, in an order in which no part of them differs from the whole.
fn round_trips(latency: Latency) -> impl Iterator<Item = f64> {
    let (median, sigma) = round_trip(latency);
    let samples = 64_u32;
    (0..samples).map(move |number| {
        let place = number.reverse_bits() >> 26;
        let share = (f64::from(place) + 0.5) / f64::from(samples);
        median * libm::exp(sigma * normal_quantile(share))
    })
}

/// The quantile of the standard normal distribution (Abramowitz and Stegun 26.2.23, to 4.5e-4).
fn normal_quantile(share: f64) -> f64 {
    let tail = share.min(1.0 - share);
    let t = (-2.0 * libm::log(tail)).sqrt();
    let upper = 2.515_517 + t * (0.802_853 + t * 0.010_328);
    let lower = 1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308));
    let distance = t - upper / lower;
    if share < 0.5 { -distance } else { distance }
}

/// The probability that a standard normal variable is at most this.
pub(super) fn normal_at_most(x: f64) -> f64 {
    0.5 * libm::erfc(-x / std::f64::consts::SQRT_2)
}

/// The phi from which on an observer accuses, and votes.
pub(super) const ACCUSE_PHI: f64 = 2.0;
/// A reply is overdue when its absence weighs this much.
const OVERDUE_PHI: f64 = 2.0;
/// The shortest wait for a reply.
const MIN_OVERDUE: Duration = Duration::from_millis(1);
/// The misses of a case that are kept (protocol.md, "Limits").
const MAX_MISSES: usize = 65;
/// The difference between moments that are the same but for rounding.
const EPSILON: f64 = 1e-9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clean_link_takes_two_misses_and_a_lossy_one_more() {
        let config = Config::lan();
        let reach = |loss| {
            let misses = Link::new(Latency::LAN, loss, &config).misses(1.0);
            (1..=65).find(|&count| misses.reach(count, 0.0) >= misses.reach(2, ACCUSE_PHI))
        };
        // detector.md, "The weight of a miss": 2 misses at 1 %, 3 from 5 % or 10 % on, 6 at 25 %.
        assert_eq!([0.0, 0.01, 0.1, 0.25].map(reach), [Some(2), Some(2), Some(3), Some(6)]);
    }

    #[test]
    fn replies_are_overdue_after_a_few_round_trips() {
        let after = |latency, config: &Config| Link::new(latency, 0.0, config).overdue_after;
        let lan = after(Latency::LAN, &Config::lan());
        assert!((0.002..0.005).contains(&lan), "{lan}");
        let wan = after(Latency::WAN, &Config::wan());
        assert!((0.12..0.2).contains(&wan), "{wan}");
        // Never later than half a period.
        let slow = Latency { median: Duration::from_secs(2), sigma: 0.1 };
        assert_eq!(after(slow, &Config::lan()), 0.5);
    }

    #[test]
    fn quantiles_of_the_normal_distribution_are_those_of_tables() {
        for (share, expected) in [(0.5, 0.0), (0.975, 1.96), (0.01, -2.326)] {
            assert!((normal_quantile(share) - expected).abs() < 1e-3, "{share}");
            assert!((normal_at_most(expected) - share).abs() < 1e-3, "{share}");
        }
    }
}
