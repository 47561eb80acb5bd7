//! Delivery of messages while the network loses packets.

mod experiment;
mod report;

pub use experiment::measure_loss;
pub use report::LossReport;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Common, Faults, Spread, options::parse_interval};

/// The options of a measurement of messages while packets are lost, and of its report.
#[derive(Clone, Debug, clap::Args)]
pub struct LossOptions {
    /// Cluster sizes
    #[arg(long, value_delimiter = ',', default_value = "32",
        value_parser = clap::value_parser!(u16).range(3..=1024))]
    pub sizes: Vec<u16>,
    /// The percentage of all packets that is lost
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u8).range(0..=50))]
    pub percent: u8,
    /// Members that publish
    #[arg(long, default_value_t = 10)]
    pub publishers: usize,
    /// Messages of each of them
    #[arg(long, default_value_t = 100)]
    pub messages: u32,
    /// How often each of them publishes
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = parse_interval)]
    pub every: Duration,
    /// Length of each message, in bytes
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u16).range(16..))]
    pub bytes: u16,
    /// Those of every measurement.
    #[command(flatten)]
    pub common: Common,
}

/// The messages of one cluster. Times are milliseconds.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct LossRow {
    /// The system's name.
    pub system: String,
    /// How many members the cluster had.
    pub members: usize,
    /// The share of all packets that was lost.
    pub lost: f64,
    /// The messages, and when all had them.
    pub spread: Spread,
    /// Until one member had a message, of all messages and members: the median, the 90th, 99th and 99.9th percentile, and the
    /// longest.
    pub deliveries_ms: Vec<f64>,
    /// How many deliveries are missing, of all messages and members.
    pub missing: usize,
    /// Faults of messages that must not occur.
    pub faults: Faults,
    /// How often a node declared a living one dead.
    pub false_deaths: u64,
    /// Why less was measured than was asked for.
    pub failure: Option<String>,
}
