//! Capacity planning: what a cluster will do on a network, by arithmetic. [`plan()`] computes it, and [`check()`] measures the
//! same in simulations.
//!
//! The time until a death is known is a sum, and each term has its own file:
//!
//! | Term | File | Source |
//! |---|---|---|
//! | the wait for the next ping of the member | `wait` | detector.md, "The wait for the next ping" |
//! | misses, accusation and votes | `evidence` | protocol.md, "How a death becomes known" |
//! | the tolerance for the kind of silence | `evidence` | protocol.md, "Tolerance" |
//! | the hops of the news along the rings | `evidence` | protocol.md, "Dissemination" |
//!
//! Traffic, CPU time and memory are in `load`, and mistakes about stalled members in `stalls`. Constants there come from
//! measurements in `docs/benchmarks`, where arithmetic gives no answer.

use std::time::Duration;

use phin_swim::{Config, ConfigError};

use crate::{network::NetworkConfig, phin::Phin};

mod binding;
mod check;
mod evidence;
mod json;
mod links;
mod load;
mod metrics;
mod mistakes;
mod stalls;
mod text;
mod wait;

pub use binding::{Binding, WhatIf};
pub use check::{CheckSettings, Checked, Comparison, Deviation, check};
pub use load::{Cost, Load, Range};
pub use metrics::{LiveNode, MetricsError};
pub use mistakes::{FromStalls, Mistakes, PerYear};
pub use stalls::{Stalls, StallsError};

use evidence::Evidence;
use wait::Wait;

/// The conditions of a plan.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// The number of members.
    pub members: u32,
    /// The settings of all members.
    pub config: Config,
    /// The network between them.
    pub network: NetworkConfig,
    /// The stalls of members, if anything is known of them.
    pub stalls: Option<Stalls>,
}

/// The kind of silence of a dead member.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// The process was killed, and its host refuses the port.
    Gone,
    /// The host is silent too. It answered before.
    Silent,
    /// The process is there and does not answer.
    Hung,
    /// The host never answered a question, for example behind a firewall.
    Unknown,
}

impl Kind {
    /// All kinds, in the order of tables.
    pub const ALL: [Self; 4] = [Self::Gone, Self::Silent, Self::Hung, Self::Unknown];

    /// The name, as in the glossary.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Silent => "silent",
            Self::Hung => "hung",
            Self::Unknown => "unknown",
        }
    }

    /// The fate of the member.
    pub const fn explained(self) -> &'static str {
        match self {
            Self::Gone => "process killed, host answers",
            Self::Silent => "host silent",
            Self::Hung => "process stopped",
            Self::Unknown => "host silent, never answered",
        }
    }

    /// How long this silence is given with a majority of votes, in seconds (protocol.md, "Tolerance").
    fn tolerance(self, config: &Config) -> f64 {
        match self {
            Self::Gone => 0.0,
            Self::Silent => config.pause_tolerance.as_secs_f64(),
            Self::Hung => config.hang_tolerance.as_secs_f64(),
            Self::Unknown => 3.0 * config.pause_tolerance.as_secs_f64(),
        }
    }
}

/// The quantiles of a time, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantiles {
    /// The median.
    pub p50: f64,
    /// 90 in 100 are at most this.
    pub p90: f64,
    /// 99 in 100 are at most this.
    pub p99: f64,
}

/// How soon one kind of death becomes known.
#[derive(Clone, Debug, PartialEq)]
pub struct Detection {
    /// The kind of silence.
    pub kind: Kind,
    /// The time until a member first suspects it; `None` if it is declared dead before it could be suspect.
    pub suspected: Option<Quantiles>,
    /// The time until the last member knows.
    pub known: Quantiles,
    /// The terms of the median, in order: the wait for the next ping, votes, the rest of the tolerance, and dissemination.
    pub terms: [f64; 4],
}

impl Detection {
    /// The names of [`Detection::terms`].
    pub const TERMS: [&'static str; 4] = ["next ping", "votes", "tolerance", "dissemination"];
}

/// The expected behaviour of a cluster.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The conditions that it was computed for.
    pub inputs: Inputs,
    /// How soon deaths are known, by kind of silence.
    pub detection: Vec<Detection>,
    /// Messages, bytes, CPU time and memory of a member.
    pub load: Load,
    /// Live members that are suspected or declared dead.
    pub mistakes: Mistakes,
    /// The setting that most of the time to a verdict is spent on, for each kind of silence.
    pub bindings: Vec<Binding>,
    /// Inputs beyond what the settings are made for, or beyond what was measured.
    pub warnings: Vec<String>,
}

/// Why nothing can be planned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// A cluster has two members or more.
    #[error("a cluster of {0} has no deaths to detect: from 2 to {max} members", max = MAX_MEMBERS)]
    Members(u32),
    /// So much loss leaves nothing to compute.
    #[error("a loss of {0} is more than the model covers: at most 0.5")]
    Loss(f64),
    /// phin does not accept the settings.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// Computes what a cluster will do.
///
/// # Errors
/// If phin refuses the settings, or if the inputs are outside of what the model covers.
pub fn plan(inputs: &Inputs) -> Result<Plan, PlanError> {
    let Inputs { members, config, network, .. } = inputs;
    if !(2..=MAX_MEMBERS).contains(members) {
        return Err(PlanError::Members(*members));
    }
    if network.loss > MAX_LOSS {
        return Err(PlanError::Loss(network.loss));
    }
    Phin::new("plan", config.clone(), 0, 1)?;
    let detection: Vec<_> = Kind::ALL.iter().map(|&kind| detect(inputs, kind)).collect();
    let load = load::load(inputs);
    let mistakes = mistakes::mistakes(inputs);
    let bindings = Kind::ALL.iter().map(|&kind| binding::binding(inputs, kind)).collect();
    let warnings = binding::warnings(inputs);
    Ok(Plan { inputs: inputs.clone(), detection, load, mistakes, bindings, warnings })
}

/// How soon one kind of death becomes known.
fn detect(inputs: &Inputs, kind: Kind) -> Detection {
    let (wait, evidence) = (Wait::of(inputs), Evidence::of(inputs));
    let news = evidence.news_takes();
    let verdict = evidence.verdict(kind);
    let suspicion = evidence.suspicion(kind);
    let is_suspect_first = median(&suspicion) < median(&verdict);
    let suspected = is_suspect_first.then(|| quantiles(&wait, &suspicion, 0.0));
    let (votes, decided) = (median(&evidence.votes(kind)), median(&verdict));
    let votes = votes.min(decided);
    Detection {
        kind,
        suspected,
        known: quantiles(&wait, &verdict, news),
        terms: [wait.quantile(0.5), votes, decided - votes, news],
    }
}

/// A time that takes one of several values, in seconds: the value and its probability, in ascending order.
pub(crate) type Steps = Vec<(f64, f64)>;

fn quantiles(wait: &Wait, steps: &Steps, fixed: f64) -> Quantiles {
    let quantile = |share: f64| fixed + quantile_of_sum(wait, steps, share);
    Quantiles { p50: quantile(0.5), p90: quantile(0.9), p99: quantile(0.99) }
}

/// The quantile of a wait and a further time, by bisection on their common distribution.
fn quantile_of_sum(wait: &Wait, steps: &Steps, share: f64) -> f64 {
    let at_most = |x: f64| -> f64 {
        steps.iter().map(|&(time, probability)| probability * wait.at_most(x - time)).sum()
    };
    let longest = steps.last().map_or(0.0, |&(time, _)| time);
    let (mut low, mut high) = (0.0, longest + wait.quantile(0.9999));
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        match at_most(middle) < share {
            true => low = middle,
            false => high = middle,
        }
    }
    high
}

fn median(steps: &Steps) -> f64 {
    let mut sum = 0.0;
    let found = steps.iter().find(|&&(_, probability)| {
        sum += probability;
        sum >= 0.5
    });
    found.or(steps.last()).map_or(f64::INFINITY, |&(time, _)| time)
}

/// The longest period: `max_period` in a calm cluster.
fn calm_period(config: &Config) -> Duration {
    config.max_period.unwrap_or(config.period).max(config.period)
}

/// The observers of a member: one in each ring, as many of them as are different, or all others.
fn observers(inputs: &Inputs) -> u32 {
    let (rings, others) = (f64::from(inputs.config.rings), f64::from(inputs.members - 1));
    match is_complete(inputs) {
        true => inputs.members - 1,
        false => (others * (1.0 - libm::pow(1.0 - 1.0 / others, rings))).round() as u32,
    }
}

/// Whether all members observe each other, so that no ping goes to a random member (protocol.md, "Rings").
fn is_complete(inputs: &Inputs) -> bool {
    inputs.members - 1 <= u32::from(inputs.config.rings)
}

/// The share of pings that go to a random member, if not all members observe each other.
const RANDOM_PING: f64 = 1.0 / 128.0;
/// The largest cluster that can be planned.
const MAX_MEMBERS: u32 = 1 << 20;
/// The largest loss of packets that can be planned for.
const MAX_LOSS: f64 = 0.5;

#[cfg(test)]
mod tests;
