//! The detection of deaths while all members publish, beside that while nobody does, in the same cluster.

mod experiment;
mod report;

pub use experiment::measure_load;
pub use report::LoadReport;

use serde::{Deserialize, Serialize};

use crate::{Common, Kill};

/// The options of a measurement of deaths under load, and of its report.
#[derive(Clone, Debug, clap::Args)]
pub struct LoadOptions {
    /// Cluster sizes
    #[arg(long, value_delimiter = ',', default_value = "32",
        value_parser = clap::value_parser!(u16).range(3..=1024))]
    pub sizes: Vec<u16>,
    /// Deaths at each size while all publish, and as many while nobody does, in turn
    #[arg(long, default_value_t = 20)]
    pub kills: usize,
    /// How nodes die
    #[arg(long, value_enum, default_value = "process")]
    pub kill: Kill,
    /// Length of each message, in bytes; 256 of 4096 a second are all that a node may publish
    #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(u16).range(1..))]
    pub bytes: u16,
    /// Messages a second of each node; without it, the most that needs no more of the machine than `--cpu` says
    #[arg(long)]
    pub rate: Option<f64>,
    /// How much of all cores the nodes may use, in percent
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u8).range(1..=100))]
    pub cpu: u8,
    /// Those of every measurement.
    #[command(flatten)]
    pub common: Common,
}

/// The detection of deaths in one cluster, with and without load. Times are milliseconds.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct LoadRow {
    /// The system's name.
    pub system: String,
    /// How many members the cluster had.
    pub members: usize,
    /// How the rate was found.
    pub steps: Vec<Step>,
    /// Messages a second of each node that were asked for.
    pub rate: f64,
    /// Deaths while all published.
    pub loaded: Detection,
    /// Deaths while nobody published.
    pub idle: Detection,
    /// How often a node declared a living one dead.
    pub false_deaths: u64,
    /// Why less was measured than was asked for.
    pub failure: Option<String>,
}

/// The machine's work while all nodes published so much.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Step {
    /// Messages a second of each node that were asked for.
    pub rate: f64,
    /// Messages a second of each node that were published.
    pub published: f64,
    /// Messages that were refused because of a limit.
    pub refused: u64,
    /// The share of all messages that reached the application of each member, those on the way at the end included.
    pub delivered: f64,
    /// The share of all cores that the nodes used.
    pub cpu: f64,
}

/// Deaths under one load.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Detection {
    /// For each death: until the first of the living knew.
    pub first_ms: Vec<f64>,
    /// For each death that all the living knew of in time: until the last of them did.
    pub all_ms: Vec<f64>,
    /// Deaths that not all the living knew of in time.
    pub unnoticed: usize,
    /// For each death: the share of all cores that the nodes used before.
    pub cpu: Vec<f64>,
    /// For each death: messages a second of each node that were published.
    pub published: Vec<f64>,
}
