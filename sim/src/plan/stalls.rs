//! How long members stall, and how often: what is stated of it, and what that leaves open.

use std::str::FromStr;

use crate::settings::Span;

/// The stalls of a member: how often, and some quantiles of their length.
#[derive(Clone, Debug, PartialEq)]
pub struct Stalls {
    /// How many stalls a member has in an hour.
    pub per_hour: f64,
    /// Shares of stalls and the length that they do not exceed, in seconds; ascending, and not empty.
    points: Vec<(f64, f64)>,
}

/// Why stalls cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum StallsError {
    /// A part is no quantile.
    #[error("{0:?} is no quantile of stalls: write p99=300ms, several separated by commas")]
    NoQuantile(String),
    /// The share is not between 0 and 100.
    #[error("{0:?} is no quantile: from p0.001 to p99.9999999")]
    Share(String),
    /// A length is wrong.
    #[error("{0}")]
    Length(String),
    /// A larger share has a shorter stall, or the same share comes twice.
    #[error("quantiles of stalls must rise: each larger share needs a longer stall")]
    Order,
    /// There are no quantiles.
    #[error("stalls need at least one quantile, such as p99=300ms")]
    Empty,
}

impl Stalls {
    /// Stalls that occur so often, with these quantiles: shares between 0 and 1, and lengths in seconds.
    ///
    /// # Errors
    /// If there is none, or if they do not rise.
    pub fn new(per_hour: f64, points: Vec<(f64, f64)>) -> Result<Self, StallsError> {
        let rise = |pair: &[(f64, f64)]| pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1;
        let are_sound = points.iter().all(|&(share, length)| {
            (0.0..1.0).contains(&share) && length > 0.0 && length.is_finite()
        });
        match (points.is_empty(), are_sound && points.windows(2).all(rise)) {
            (true, _) => Err(StallsError::Empty),
            (_, false) => Err(StallsError::Order),
            (false, true) => Ok(Self { per_hour, points }),
        }
    }

    /// The quantiles.
    pub fn points(&self) -> &[(f64, f64)] {
        &self.points
    }

    /// The share of stalls that are longer than so many seconds: the least and the most that the quantiles allow for.
    ///
    /// Between quantiles it is interpolated. Beyond the last one they say nothing: the least is an exponential tail, and the
    /// most a power law, both with the slope of the last two quantiles. With one quantile, the power law is 1/length.
    pub fn longer_than(&self, seconds: f64) -> (f64, f64) {
        let survival = |(share, length): (f64, f64)| (1.0 - share, length);
        let mut before = (1.0, 0.0);
        for point in self.points.iter().copied().map(survival) {
            if seconds <= point.1 {
                let place = (seconds - before.1) / (point.1 - before.1);
                let share = before.0 * libm::pow(point.0 / before.0, place.max(0.0));
                return (share, share);
            }
            before = point;
        }
        let last = before;
        let earlier = match self.points.len() {
            0 | 1 => (1.0, 0.0),
            count => survival(self.points[count - 2]),
        };
        let fall = libm::log(earlier.0 / last.0);
        let least = last.0 * libm::exp(-fall * (seconds - last.1) / (last.1 - earlier.1));
        let power = match earlier.1 > 0.0 {
            true => fall / libm::log(last.1 / earlier.1),
            false => 1.0,
        };
        let most = last.0 * libm::pow(last.1 / seconds, power);
        (least.min(most), most.max(least))
    }

    /// The share of stalls that last from a ping, which comes at a random moment of the period, for longer than `tolerance`.
    pub(super) fn outlast(&self, tolerance: f64, period: f64) -> (f64, f64) {
        let steps = 128;
        let (mut least, mut most) = (0.0, 0.0);
        for step in 0..steps {
            let wait = period * (f64::from(step) + 0.5) / f64::from(steps);
            let (low, high) = self.longer_than(tolerance + wait);
            least += low / f64::from(steps);
            most += high / f64::from(steps);
        }
        (least, most)
    }
}

/// Quantiles such as `p50=20ms,p99=300ms`, of sixty stalls an hour until stated otherwise.
impl FromStr for Stalls {
    type Err = StallsError;

    fn from_str(text: &str) -> Result<Self, StallsError> {
        let mut points = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let no_quantile = || StallsError::NoQuantile(part.to_owned());
            let (name, length) = part.split_once('=').ok_or_else(no_quantile)?;
            let percent = name.trim().strip_prefix('p').and_then(|number| number.parse().ok());
            let percent: f64 = percent.ok_or_else(no_quantile)?;
            if !(0.001..=99.999_999_9).contains(&percent) {
                return Err(StallsError::Share(part.to_owned()));
            }
            let Span(length) = length.parse().map_err(StallsError::Length)?;
            points.push((percent / 100.0, length.as_secs_f64()));
        }
        points.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        Self::new(DEFAULT_PER_HOUR, points)
    }
}

/// How many stalls a member has in an hour, if only their length is known: one in a minute.
pub(super) const DEFAULT_PER_HOUR: f64 = 60.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn stalls(text: &str) -> Stalls {
        text.parse().unwrap()
    }

    #[test]
    fn quantiles_are_kept_and_the_tail_is_open() {
        let stalls = stalls("p50=20ms, p99=300ms,p99.9=1s");
        let near = |(low, high): (f64, f64), expected: f64| {
            assert!((low / expected - 1.0).abs() < 1e-6 && (high / expected - 1.0).abs() < 1e-6);
        };
        near(stalls.longer_than(0.02), 0.5);
        near(stalls.longer_than(0.3), 0.01);
        near(stalls.longer_than(1.0), 0.001);
        near(stalls.longer_than(0.0), 1.0);
        let (least, most) = stalls.longer_than(2.0);
        assert!(least < most && most < 0.001 && least > 0.0, "{least} {most}");
        // The power law goes on with the slope of the last two quantiles.
        let slope = libm::log(10.0) / libm::log(1.0 / 0.3);
        assert!((most - 0.001 * libm::pow(0.5, slope)).abs() < 1e-9, "{most}");
    }

    #[test]
    fn one_quantile_says_little() {
        let (least, most) = stalls("p99=300ms").longer_than(1.0);
        assert!((most - 0.003).abs() < 1e-9, "1/length: {most}");
        assert!((least - libm::pow(0.01, 1.0 / 0.3)).abs() < 1e-9, "exponential: {least}");
    }

    #[test]
    fn a_stall_counts_from_the_first_ping_in_it() {
        // Every stall takes nearly 2 s: with a tolerance of 1 s and a period of 1 s, most outlast it.
        let stalls = stalls("p1=1.9s,p99.9=2s");
        let (least, most) = stalls.outlast(1.0, 1.0);
        assert!(least > 0.85 && most < 1.0, "{least} {most}");
        let (_, most) = stalls.outlast(2.0, 1.0);
        assert!(most < 0.01, "{most}");
    }

    #[test]
    fn slips_are_named() {
        let cases = [
            ("", "at least one"),
            ("300ms", "no quantile"),
            ("99=300ms", "no quantile"),
            ("p100=1s", "p99.9999999"),
            ("p99=soon", "span of time"),
            ("p99=300ms,p50=400ms", "must rise"),
            ("p99=300ms,p99=400ms", "must rise"),
            ("p99=0ms", "must rise"),
        ];
        for (text, expected) in cases {
            let error = text.parse::<Stalls>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
