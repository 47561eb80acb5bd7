//! Reads in the metrics of a live node what they say of its cluster and its network (docs/reference/metrics.md).

use std::time::Duration;

use super::stalls::Stalls;

/// The inputs that the metrics of a node have.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LiveNode {
    /// Live members in its list.
    pub members: Option<u32>,
    /// The loss of packets one way, from the median of its links; 0 where the estimate is at its floor.
    pub loss: Option<f64>,
    /// The median round trip of its links.
    pub round_trip: Option<Duration>,
    /// The stalls of its process.
    pub stalls: Option<Stalls>,
    /// How the stalls were found, as readable text.
    pub stalls_from: String,
}

/// Why metrics cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MetricsError {
    /// There is too much of it.
    #[error("more than {} MiB are no metrics of phin", MAX_BYTES / 1_024 / 1_024)]
    TooLong,
    /// A metric has no number.
    #[error("line {0}: {1} has no number")]
    NoNumber(usize, String),
    /// Nothing in it comes from phin.
    #[error("these are no metrics of phin: no line begins with phin_")]
    NotPhin,
}

/// The metrics that are used.
#[derive(Default)]
struct Found {
    members: Option<f64>,
    round_trips: Vec<f64>,
    losses: Vec<f64>,
    pauses: Option<f64>,
    max_lag: Option<f64>,
    pings: Option<f64>,
}

impl LiveNode {
    /// Reads the text of `GET /metrics` of a node with this period.
    ///
    /// # Errors
    /// If it is too long, has none of phin's metrics, or has one without a number.
    pub fn parse(text: &str, period: Duration) -> Result<Self, MetricsError> {
        if text.len() > MAX_BYTES {
            return Err(MetricsError::TooLong);
        }
        let (mut found, mut is_phin) = (Found::default(), false);
        for (number, line) in text.lines().enumerate() {
            let Some(line) = line.trim().strip_prefix("phin_") else {
                continue;
            };
            is_phin = true;
            let end = line.find(['{', ' ']).unwrap_or(line.len());
            let (name, rest) = line.split_at(end);
            let (labels, value) = match rest.rsplit_once('}') {
                Some((labels, value)) => (labels, value),
                None => ("", rest),
            };
            if !USED.contains(&name) {
                continue;
            }
            let value = value.split_whitespace().next().and_then(|value| value.parse().ok());
            let value: f64 = value
                .filter(|value: &f64| value.is_finite() && *value >= 0.0)
                .ok_or_else(|| MetricsError::NoNumber(number + 1, format!("phin_{name}")))?;
            found.record(name, labels, value);
        }
        match is_phin {
            true => Ok(found.evaluate(period)),
            false => Err(MetricsError::NotPhin),
        }
    }
}

impl Found {
    fn record(&mut self, name: &str, labels: &str, value: f64) {
        match name {
            "members" if labels.contains("\"alive\"") || labels.contains("\"suspect\"") => {
                self.members = Some(self.members.unwrap_or(0.0) + value);
            }
            "probe_round_trip_seconds" => self.round_trips.push(value),
            "probe_loss_ratio" => self.losses.push(value),
            "driver_pauses_total" => self.pauses = Some(value),
            "driver_max_lag_seconds" => self.max_lag = Some(value),
            "swim_pings_sent_total" => self.pings = Some(value),
            _dead_or_left => {}
        }
    }

    fn evaluate(mut self, period: Duration) -> LiveNode {
        let (stalls, stalls_from) = self.stalls(period).unzip();
        let round_trip = median(&mut self.round_trips).filter(|seconds| *seconds > 0.0);
        let round_trip = round_trip.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        // A probe is lost if either of two packets is.
        let loss = median(&mut self.losses).map(|lost| match lost <= LOSS_FLOOR {
            true => 0.0,
            false => 1.0 - (1.0 - lost.min(1.0)).sqrt(),
        });
        LiveNode {
            members: self.members.map(|members| members.min(1e9) as u32),
            loss,
            round_trip,
            stalls,
            stalls_from: stalls_from.unwrap_or_default(),
        }
    }

    /// A node pings at least once in a period, which tells how long it has run. If it has paused c times, its longest pause is
    /// the best guess of the quantile c/(c + 1). If it has not, the rule of three bounds how often it does.
    fn stalls(&self, period: Duration) -> Option<(Stalls, String)> {
        let (pauses, max_lag, pings) = (self.pauses?, self.max_lag?, self.pings?);
        let hours = pings * period.as_secs_f64() / 3_600.0;
        if hours <= 0.0 {
            return None;
        }
        let longest = max_lag.max(LEAST_LAG);
        let (per_hour, points) = match (pauses > 0.0, longest > PAUSE * 1.01) {
            (false, _) => (3.0 / hours, vec![(0.5, longest)]),
            (true, false) => (pauses / hours, vec![(pauses / (pauses + 1.0), longest)]),
            (true, true) => {
                (pauses / hours, vec![(0.001, PAUSE), (pauses / (pauses + 1.0), longest)])
            }
        };
        let from = match pauses > 0.0 {
            true => format!(
                "{pauses:.0} pauses of 50 ms or more in about {hours:.1} h, the longest {:.0} ms",
                longest * 1e3
            ),
            false => format!(
                "no pause of 50 ms or more in about {hours:.1} h: at most three in that time (rule of three), lag at most \
                 {:.0} ms",
                longest * 1e3
            ),
        };
        Some((Stalls::new(per_hour, points).ok()?, from))
    }
}

fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

const USED: [&str; 6] = [
    "members",
    "probe_round_trip_seconds",
    "probe_loss_ratio",
    "driver_pauses_total",
    "driver_max_lag_seconds",
    "swim_pings_sent_total",
];
/// The longest text of metrics.
pub(super) const MAX_BYTES: usize = 16 * 1_024 * 1_024;
/// The estimate of a link that lost nothing, and a little more.
const LOSS_FLOOR: f64 = phin_accrual::MIN_LOSS * 1.1;
/// From which lag on the driver counts a pause, in seconds.
const PAUSE: f64 = 0.05;
/// A lag of less is no stall.
const LEAST_LAG: f64 = 1e-3;

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"# HELP phin_members Members in the list, by state.
# TYPE phin_members gauge
phin_members{state="alive"} 41
phin_members{state="suspect"} 1
phin_members{state="dead"} 7
phin_members_serving{state="serving"} 42
phin_probe_round_trip_seconds{member="00",name="a b"} 0.0004
phin_probe_round_trip_seconds{member="01",name="} 9"} 0.0006
phin_probe_round_trip_seconds{member="02",name="c"} 0.08
phin_probe_loss_ratio{member="00",name="a"} 0.001
phin_probe_loss_ratio{member="01",name="b"} 0.0199
phin_probe_loss_ratio{member="02",name="c"} 0.3
phin_driver_pauses_total 9
phin_driver_max_lag_seconds 0.4
phin_swim_pings_sent_total 36000
other_metric 7
# EOF
"#;

    #[test]
    fn what_metrics_have_is_taken() {
        let found = LiveNode::parse(TEXT, Duration::from_secs(1)).unwrap();
        assert_eq!(found.members, Some(42));
        assert_eq!(found.round_trip, Some(Duration::from_micros(600)));
        assert!((found.loss.unwrap() - 0.01).abs() < 1e-4, "{found:?}");
        let stalls = found.stalls.unwrap();
        assert!((stalls.per_hour - 0.9).abs() < 1e-9);
        assert_eq!(stalls.points().last(), Some(&(0.9, 0.4)));
        assert!(found.stalls_from.contains("9 pauses"), "{}", found.stalls_from);
    }

    #[test]
    fn what_they_lack_is_left_open() {
        let found = LiveNode::parse("phin_joined 1\n", Duration::from_secs(1)).unwrap();
        assert_eq!(found, LiveNode::default());
        let calm = TEXT.replace("pauses_total 9", "pauses_total 0").replace("} 0.3", "} 0.001");
        let calm = calm.replace("} 0.0199", "} 0.001").replace("seconds 0.4", "seconds 0.01");
        let found = LiveNode::parse(&calm, Duration::from_secs(1)).unwrap();
        assert_eq!(found.loss, Some(0.0));
        // Nothing in ten hours: at most three in that time.
        assert!((found.stalls.unwrap().per_hour - 0.3).abs() < 1e-9);
        assert!(found.stalls_from.contains("rule of three"), "{}", found.stalls_from);
    }

    #[test]
    fn slips_are_named() {
        let parse = |text: &str| LiveNode::parse(text, Duration::from_secs(1)).unwrap_err();
        assert_eq!(parse("<html></html>"), MetricsError::NotPhin);
        assert_eq!(parse(""), MetricsError::NotPhin);
        for value in ["", "many", "NaN", "-1", "+Inf"] {
            let error = parse(&format!("\nphin_driver_pauses_total {value}\n"));
            assert_eq!(error.to_string(), "line 2: phin_driver_pauses_total has no number");
        }
        assert_eq!(parse(&"x".repeat(MAX_BYTES + 1)), MetricsError::TooLong);
    }
}
