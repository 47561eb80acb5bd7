//! The options of a measurement of member data.

use std::time::Duration;

use crate::{Common, options::parse_interval};

/// The options of a measurement of member data, and of its report.
#[derive(Clone, Debug, clap::Args)]
pub struct DataOptions {
    /// Cluster sizes
    #[arg(long, value_delimiter = ',', default_value = "32",
        value_parser = clap::value_parser!(u16).range(3..=1024))]
    pub sizes: Vec<u16>,
    /// Length of the value that each member has, in bytes
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u16).range(16..=8192))]
    pub bytes: u16,
    /// Single changes at each size, each after the one before is known to all
    #[arg(long, default_value_t = 40)]
    pub changes: usize,
    /// How long all members write; 0s for not at all
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    pub load: Duration,
    /// How often each member writes meanwhile
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_interval)]
    pub every: Duration,
    /// Those of every measurement.
    #[command(flatten)]
    pub common: Common,
}
