//! Experiments: the measurements at each point of a sweep. A run of a point with one seed gives metrics, one line of
//! text each, so that the shares of a sweep from many machines can be concatenated.

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc};

use crate::{
    network::NetworkConfig,
    node::{Knowledge, Protocol},
    protocols::{ProtocolKind, SettingsError},
    runner::{Shard, run_all},
    scenario::{ConfigSettings, NetworkSettings},
    simulation::{Setup, Simulation},
};

mod bootstrap;
mod calm;
mod data;
mod detection;
mod gray;
mod leadership;
mod liars;
mod load;
mod mass;
mod messages;
mod partition;
mod pause;
mod rapid;
mod slow;
mod stalls;
mod survivors;

/// The time that the survivors have to learn of every death.
pub(crate) const PATIENCE_OF_SURVIVORS: std::time::Duration = survivors::PATIENCE;

/// The time in which all have to learn of a death that liars hide.
pub(crate) const PATIENCE_OF_LIARS: std::time::Duration = liars::PATIENCE;

/// The time in which all have to know of many deaths, or to be whole again after a split.
pub(crate) const PATIENCE_OF_MASS: std::time::Duration = mass::PATIENCE;

/// The length of trouble in milliseconds, which stands for what did not happen meanwhile.
pub(crate) const NEVER: f64 = gray::NEVER;

/// The experiments of a sweep.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, clap::ValueEnum)]
pub enum Experiment {
    /// Time until a death is known, by cluster size.
    Detection,
    /// The same, by packet loss.
    Loss,
    /// The same for phin with its LAN profile, beside the expected distribution.
    Distribution,
    /// Lifeguard's slow members.
    Slow,
    /// Paused processes and hosts.
    Pause,
    /// All members start at once.
    Bootstrap,
    /// A partition and its healing.
    Partition,
    /// Longer periods while nothing happens.
    Calm,
    /// All but a few members die at once.
    Survivors,
    /// Member data.
    Data,
    /// Messages to all members.
    Messages,
    /// Offices that one member holds.
    Leadership,
    /// Liars among the observers of a member.
    Liars,
    /// Members that stall while hosts die.
    Stalls,
    /// Many hosts die at once, or a cluster is split for a moment.
    Mass,
    /// Members in trouble that are not dead.
    Gray,
    /// Rapid's experiments.
    Rapid,
}

pub use data::DataCase;
pub use gray::GrayCase;
pub use leadership::LeaderCase;
pub use liars::LiarCase;
pub use mass::MassCase;
pub use messages::MessageCase;
pub use rapid::RapidCase;
pub use stalls::StallCase;

/// A cluster of the size of the point, on hosts that answer.
fn simulation(job: &Job, knowledge: Knowledge, network: NetworkConfig) -> Simulation {
    let nodes = job.point.count("n");
    let setup = Setup { seed: job.seed, nodes, knowledge, network, firewalled_every: 0 };
    Simulation::new(setup, job.make(nodes))
}

/// The network and the settings of phin in an experiment, if they differ from the defaults.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Conditions {
    /// The network, by default a LAN.
    pub network: NetworkSettings,
    /// The settings of phin, by default those of the protocol's profile.
    pub config: ConfigSettings,
}

impl Conditions {
    /// Whether all are the defaults, for which there are expected results.
    pub fn are_usual(&self) -> bool {
        *self == Self::default()
    }
}

/// The values of the varied parameters, by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Point(BTreeMap<String, f64>);

impl Point {
    /// Adds a value.
    pub fn with(mut self, name: &str, value: f64) -> Self {
        self.0.insert(name.to_owned(), value);
        self
    }

    /// The value with this name; NaN if there is none.
    pub fn get(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or(f64::NAN)
    }

    /// The value with this name, as a count.
    pub fn count(&self, name: &str) -> u32 {
        self.get(name) as u32
    }

    /// The values as a key to sort by.
    pub fn key(&self) -> Vec<u64> {
        self.0.values().map(|value| value.to_bits()).collect()
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<_> = self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        f.write_str(&parts.join(" "))
    }
}

impl FromStr for Point {
    type Err = MalformedLine;

    fn from_str(text: &str) -> Result<Self, MalformedLine> {
        let parts = text.split(' ').map(|part| {
            let (name, value) = part.split_once('=').ok_or(MalformedLine)?;
            Ok((name.to_owned(), value.parse().map_err(|_| MalformedLine)?))
        });
        parts.collect::<Result<_, _>>().map(Self)
    }
}

/// The results of one run, by the name of the metric.
pub type Metrics = BTreeMap<String, Vec<f64>>;

/// A run of an experiment.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// The experiment.
    pub experiment: Experiment,
    /// The protocol.
    pub protocol: ProtocolKind,
    /// The point of the sweep.
    pub point: Point,
    /// The seed.
    pub seed: u64,
    /// The network and settings.
    pub conditions: Conditions,
}

impl Job {
    fn network(&self) -> NetworkConfig {
        self.conditions.network.config()
    }

    fn make(&self, nodes: u32) -> Arc<dyn Protocol> {
        let made = self.protocol.make_with(&self.conditions.config, self.seed, nodes);
        made.expect("all jobs are checked before the first one runs")
    }
}

/// One metric of one run.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleLine {
    /// The experiment.
    pub experiment: String,
    /// The protocol.
    pub protocol: String,
    /// The point of the sweep.
    pub point: Point,
    /// The seed.
    pub seed: u64,
    /// The name of the metric.
    pub metric: String,
    /// The values of the metric.
    pub values: Vec<f64>,
}

impl fmt::Display for SampleLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { experiment, protocol, point, seed, metric, values } = self;
        let values: Vec<_> = values.iter().map(f64::to_string).collect();
        let values = values.join(";");
        write!(f, "{experiment},{protocol},{point},{seed},{metric},{values}")
    }
}

impl FromStr for SampleLine {
    type Err = MalformedLine;

    fn from_str(line: &str) -> Result<Self, MalformedLine> {
        let fields: Vec<_> = line.trim_end().split(',').collect();
        let &[experiment, protocol, point, seed, metric, values] = fields.as_slice() else {
            return Err(MalformedLine);
        };
        let values = values.split(';').filter(|value| !value.is_empty());
        Ok(Self {
            experiment: experiment.to_owned(),
            protocol: protocol.to_owned(),
            point: point.parse()?,
            seed: seed.parse().map_err(|_| MalformedLine)?,
            metric: metric.to_owned(),
            values: values.map(str::parse).collect::<Result<_, _>>().map_err(|_| MalformedLine)?,
        })
    }
}

/// The error for a line that is not a sample.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a line of samples: experiment,protocol,point,seed,metric,values")]
pub struct MalformedLine;

impl Experiment {
    /// The name in file names.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Detection => "detection",
            Self::Loss => "loss",
            Self::Distribution => "distribution",
            Self::Slow => "slow",
            Self::Pause => "pause",
            Self::Bootstrap => "bootstrap",
            Self::Partition => "partition",
            Self::Calm => "calm",
            Self::Survivors => "survivors",
            Self::Data => "data",
            Self::Messages => "messages",
            Self::Leadership => "leadership",
            Self::Liars => "liars",
            Self::Stalls => "stalls",
            Self::Mass => "mass",
            Self::Gray => "gray",
            Self::Rapid => "rapid",
        }
    }

    /// The experiment with this name.
    pub fn of(name: &str) -> Option<Self> {
        <Self as clap::ValueEnum>::value_variants().iter().copied().find(|e| e.as_str() == name)
    }

    fn run(self, job: &Job) -> Metrics {
        match self {
            Self::Detection | Self::Loss | Self::Distribution => detection::run(job),
            Self::Slow => slow::run(job),
            Self::Pause => pause::run(job),
            Self::Bootstrap => bootstrap::run(job),
            Self::Partition => partition::run(job),
            Self::Calm => calm::run(job),
            Self::Survivors => survivors::run(job),
            Self::Data => data::run(job),
            Self::Messages => messages::run(job),
            Self::Leadership => leadership::run(job),
            Self::Liars => liars::run(job),
            Self::Stalls => stalls::run(job),
            Self::Mass => mass::run(job),
            Self::Gray => gray::run(job),
            Self::Rapid => rapid::run(job),
        }
    }
}

/// Runs one machine's share of the jobs, the longest first.
///
/// # Errors
/// If a protocol does not support the settings of its job.
pub fn run_jobs(
    mut jobs: Vec<Job>,
    shard: Shard,
    threads: usize,
) -> Result<Vec<SampleLine>, SettingsError> {
    for job in &jobs {
        job.protocol.make_with(&job.conditions.config, job.seed, 1)?;
    }
    let mut number = 0;
    jobs.retain(|_| {
        number += 1;
        shard.has(number - 1)
    });
    jobs.sort_by(|a, b| b.point.get("n").total_cmp(&a.point.get("n")));
    let title = jobs.first().map_or("", |job| job.experiment.as_str());
    let results = run_all(&jobs, threads, title, |job| job.experiment.run(job));
    let lines = jobs.into_iter().zip(results).flat_map(|(job, metrics)| {
        metrics.into_iter().map(move |(metric, values)| SampleLine {
            experiment: job.experiment.as_str().to_owned(),
            protocol: job.protocol.as_str().to_owned(),
            point: job.point.clone(),
            seed: job.seed,
            metric,
            values,
        })
    });
    Ok(lines.collect())
}

fn metrics(entries: impl IntoIterator<Item = (&'static str, Vec<f64>)>) -> Metrics {
    entries.into_iter().map(|(name, values)| (name.to_owned(), values)).collect()
}

fn in_millis(durations: &[std::time::Duration]) -> Vec<f64> {
    durations.iter().map(|duration| duration.as_secs_f64() * 1e3).collect()
}

/// The case of this number, as points name it.
fn numbered<C: clap::ValueEnum + Copy>(number: f64) -> Option<C> {
    let mut numbered = C::value_variants().iter().zip(0_u8..);
    numbered.find(|&(_, case)| f64::from(case) == number).map(|(&case, _)| case)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_back() {
        let line = "detection,phin,loss=0.05 n=128,7,first,1.5;2;3.25";
        let parsed: SampleLine = line.parse().unwrap();
        assert_eq!(parsed.to_string(), line);
        assert_eq!(parsed.point.count("n"), 128);
        assert_eq!("detection,phin".parse::<SampleLine>(), Err(MalformedLine));
    }
}
