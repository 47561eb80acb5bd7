//! The setting that takes most of the time until a death is known, the effect of halving it, and warnings about inputs beyond
//! what the settings are made for.

use std::time::Duration;

use phin_swim::{Config, SignedVotes};

use super::{
    Detection, Inputs, Kind, PerYear, calm_period, detect,
    evidence::Evidence,
    links::{Link, round_trip, unanswered},
    load::load,
    median,
    mistakes::mistakes,
    observers,
    text::one_in,
};
use crate::phin::Phin;

/// The setting that decides how soon one kind of death is known.
#[derive(Clone, Debug, PartialEq)]
pub struct Binding {
    /// The kind of silence.
    pub kind: Kind,
    /// The setting, or the property of the network.
    pub setting: &'static str,
    /// Its value in seconds, if it is a setting.
    pub value: Option<f64>,
    /// The share of the median time until all know that is spent on it.
    pub share: f64,
    /// The result of half of the value, if phin accepts it.
    pub halved: Option<WhatIf>,
}

/// The effect of another value.
#[derive(Clone, Debug, PartialEq)]
pub struct WhatIf {
    /// The value in seconds.
    pub value: f64,
    /// The median time until all know, in seconds.
    pub known_p50: f64,
    /// False deaths from stalls in a year, if a tolerance changes and something is known of stalls.
    pub false_deaths: Option<PerYear>,
    /// Messages of a member in a second, if they change.
    pub messages: Option<f64>,
}

/// The settings that can bind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Setting {
    Period,
    MaxPeriod,
    PauseTolerance,
    HangTolerance,
}

impl Setting {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Period => "period",
            Self::MaxPeriod => "max_period",
            Self::PauseTolerance => "pause_tolerance",
            Self::HangTolerance => "hang_tolerance",
        }
    }

    fn value(self, config: &Config) -> Duration {
        match self {
            Self::Period => config.period,
            Self::MaxPeriod => calm_period(config),
            Self::PauseTolerance => config.pause_tolerance,
            Self::HangTolerance => config.hang_tolerance,
        }
    }

    fn halve(self, config: &mut Config) {
        match self {
            Self::Period => {
                config.period /= 2;
                config.prior_round_trip = config.prior_round_trip.min(config.period / 4);
                config.push_delay = config.push_delay.min(config.period);
                config.data_delay = config.data_delay.min(config.period);
            }
            Self::MaxPeriod => {
                config.max_period = Some((calm_period(config) / 2).max(config.period));
            }
            Self::PauseTolerance => config.pause_tolerance /= 2,
            Self::HangTolerance => config.hang_tolerance /= 2,
        }
    }
}

/// The setting that decides how soon this kind of death is known.
pub(super) fn binding(inputs: &Inputs, kind: Kind) -> Binding {
    let Detection { terms: [wait, votes, tolerance, news], .. } = detect(inputs, kind);
    let all = wait + votes + tolerance + news;
    let is_calm = calm_period(&inputs.config) > inputs.config.period;
    let of_wait = if is_calm { Setting::MaxPeriod } else { Setting::Period };
    let of_tolerance =
        if kind == Kind::Hung { Setting::HangTolerance } else { Setting::PauseTolerance };
    // Votes come within the tolerance, so they cost no time while any of it is left.
    let (given, unavoidable) =
        if tolerance > 0.0 { (votes + tolerance, news) } else { (0.0, votes + news) };
    let (setting, seconds) = match (unavoidable > wait.max(given), given >= wait) {
        (true, _) => (None, unavoidable),
        (false, true) => (Some(of_tolerance), given),
        (false, false) => (Some(of_wait), wait),
    };
    Binding {
        kind,
        setting: setting.map_or("round trips and loss", Setting::as_str),
        value: setting.map(|setting| setting.value(&inputs.config).as_secs_f64()),
        share: seconds / all,
        halved: setting.and_then(|setting| halved(inputs, kind, setting)),
    }
}

fn halved(inputs: &Inputs, kind: Kind, setting: Setting) -> Option<WhatIf> {
    let mut changed = inputs.clone();
    setting.halve(&mut changed.config);
    Phin::new("plan", changed.config.clone(), 0, 1).ok()?;
    let from_stalls = mistakes(&changed).from_stalls;
    let (false_deaths, messages) = match setting {
        Setting::HangTolerance => (from_stalls.map(|found| found.deaths_of_processes), None),
        Setting::PauseTolerance => (from_stalls.map(|found| found.deaths_of_hosts), None),
        Setting::Period | Setting::MaxPeriod => (None, Some(load(&changed).messages)),
    };
    Some(WhatIf {
        value: setting.value(&changed.config).as_secs_f64(),
        known_p50: detect(&changed, kind).known.p50,
        false_deaths,
        messages,
    })
}

/// Inputs beyond what the settings are made for, or beyond what was measured.
pub(super) fn warnings(inputs: &Inputs) -> Vec<String> {
    let mut warnings = of_network(inputs);
    warnings.extend(of_stalls(inputs));
    warnings.extend(of_size(inputs));
    warnings
}

fn of_network(inputs: &Inputs) -> Vec<String> {
    let Inputs { config, network, .. } = inputs;
    let mut warnings = Vec::new();
    let farthest = network.latency.iter().flatten().max_by_key(|latency| latency.median);
    if let Some(&farthest) = farthest {
        let (trip, prior) = (round_trip(farthest).0, config.prior_round_trip.as_secs_f64());
        if trip > prior {
            warnings.push(format!(
                "round trips of {:.0} ms are longer than the {:.0} ms that the profile assumes of a new member: \
                 consider --profile wan",
                trip * 1e3,
                prior * 1e3,
            ));
        }
        let overdue = Link::new(farthest, network.loss, config).overdue_after;
        if overdue >= config.period.as_secs_f64() / 2.0 {
            warnings.push(
                "replies can take longer than half a period: use a longer --period".to_owned(),
            );
        }
    }
    if farthest.is_some_and(|farthest| round_trip(*farthest).0 > HOST_QUESTION) {
        warnings.push(
            "beyond round trips of 50 ms, hosts are too far for the simulator's questions: with --check, it knows some silent \
             hosts later than real nodes, which wait for twice the assumed round trip"
                .to_owned(),
        );
    }
    let votes = median(&Evidence::of(inputs).votes(Kind::Silent));
    if votes > config.pause_tolerance.as_secs_f64() {
        warnings.push(format!(
            "a majority of votes takes {votes:.1} s, longer than the pause tolerance: a shorter one detects nothing sooner"
        ));
    }
    if network.loss > CHECKED_LOSS {
        warnings.push(format!(
            "a loss of {:.0} % is more than the {:.0} % up to which tests compare the model with simulations: use --check",
            network.loss * 100.0,
            CHECKED_LOSS * 100.0,
        ));
    }
    if calm_period(config) > config.period && network.loss > 0.0 {
        warnings.push(format!(
            "one probe in {:.0} fails, and makes the period short again: deaths are known sooner than stated",
            1.0 / unanswered(network.loss)
        ));
    }
    warnings
}

fn of_stalls(inputs: &Inputs) -> Vec<String> {
    let Some(stalls) = &inputs.stalls else {
        return Vec::new();
    };
    let pause = inputs.config.pause_tolerance.as_secs_f64();
    let mut warnings = Vec::new();
    let (_, longer) = stalls.longer_than(pause);
    if longer > MANY_STALLS {
        warnings.push(format!(
            "up to {} stalls are longer than the pause tolerance: if whole hosts stall, raise --pause-tolerance above the \
             longest stall",
            one_in(longer),
        ));
    }
    // protocol.md, "Stalls": P is at least twice the longest stall of the last 30 to 60 s.
    let (_, doubled) = stalls.longer_than(pause / 2.0);
    let recently = 1.0 - libm::exp(-doubled * stalls.per_hour * 45.0 / 3_600.0);
    if recently > 0.01 {
        warnings.push(format!(
            "up to {} members stalled for more than half of the pause tolerance within the last 45 s: their deaths, and those \
             that they judge, are known later than stated",
            one_in(recently),
        ));
    }
    warnings
}

fn of_size(inputs: &Inputs) -> Vec<String> {
    let Inputs { members, config, .. } = inputs;
    let mut warnings = Vec::new();
    if observers(inputs) < 3 {
        warnings.push(format!(
            "a member has {} other observers than the one that notices: without all their votes, tolerances are up to six \
             times as long",
            observers(inputs) - 1
        ));
    }
    if *members as usize > config.max_members {
        warnings.push(format!(
            "{members} members are more than max_members, {}: further ones are refused",
            config.max_members
        ));
    } else if *members > SIMULATED_MEMBERS {
        warnings.push(format!("no committed simulation has more than {SIMULATED_MEMBERS} members"));
    }
    if config.signed_votes == SignedVotes::Require {
        warnings.push(
            "with --signed-votes require, a majority signs each verdict: killed processes are known later than stated"
                .to_owned(),
        );
    }
    warnings
}

/// The largest loss at which tests compare the model with simulations.
const CHECKED_LOSS: f64 = 0.01;
/// How long the simulator waits for the answer of a host, in seconds.
const HOST_QUESTION: f64 = 0.05;
/// The largest cluster in docs/benchmarks.
const SIMULATED_MEMBERS: u32 = 8_192;
/// The share of stalls beyond the tolerance that is warned of.
const MANY_STALLS: f64 = 1e-3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::NetworkConfig;

    fn inputs() -> Inputs {
        let stalls = Some("p50=5ms,p99=100ms".parse().unwrap());
        Inputs { members: 500, config: Config::lan(), network: NetworkConfig::lan(), stalls }
    }

    #[test]
    fn tolerances_bind_silent_hosts_and_the_period_killed_processes() {
        let bound = Kind::ALL.map(|kind| binding(&inputs(), kind));
        let settings = bound.clone().map(|binding| binding.setting);
        assert_eq!(settings, ["period", "pause_tolerance", "hang_tolerance", "pause_tolerance"]);
        let [gone, silent, ..] = bound;
        let halved = silent.halved.unwrap();
        assert_eq!(halved.value, 0.5);
        assert!((0.95..1.3).contains(&halved.known_p50), "{halved:?}");
        let more = halved.false_deaths.unwrap();
        assert!(more.most > mistakes(&inputs()).from_stalls.unwrap().deaths_of_hosts.most);
        assert_eq!(gone.halved.unwrap().messages.map(f64::round), Some(4.0));
    }

    #[test]
    fn a_value_that_phin_refuses_is_not_suggested() {
        let mut short = inputs();
        short.config.pause_tolerance = short.config.period / 10;
        assert!(halved(&short, Kind::Silent, Setting::PauseTolerance).is_none());
    }

    #[test]
    fn what_a_profile_is_not_made_for_is_warned_of() {
        assert!(warnings(&inputs()).is_empty(), "{:?}", warnings(&inputs()));
        let warns = |change: fn(&mut Inputs), expected: &str| {
            let mut inputs = inputs();
            change(&mut inputs);
            let found = warnings(&inputs).join("\n");
            assert!(found.contains(expected), "{expected}: {found}");
        };
        warns(|i| i.network = NetworkConfig { loss: 0.2, ..NetworkConfig::lan() }, "20 %");
        warns(|i| i.network = NetworkConfig::wan(), "--profile wan");
        warns(|i| i.stalls = Some("p90=2s".parse().unwrap()), "--pause-tolerance");
        warns(|i| i.stalls = Some("p90=700ms,p99.9=800ms".parse().unwrap()), "last 45 s");
        warns(|i| i.members = 3, "six times");
        warns(|i| i.members = 100_000, "max_members");
        warns(|i| i.members = 20_000, "8192");
        warns(|i| i.config.signed_votes = SignedVotes::Require, "signed-votes");
    }
}
