//! The options of a measurement of messages.

use clap::ValueEnum;

use crate::{Common, Kill};

/// When members die that a query asks.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum When {
    /// Just before it.
    Before,
    /// Meanwhile: those that will die do not reply, and die at random moments of the second after it was asked.
    Meanwhile,
}

/// The options of a measurement of messages, and of its report.
#[derive(Clone, Debug, clap::Args)]
pub struct MessageOptions {
    /// Cluster sizes
    #[arg(long, value_delimiter = ',', default_value = "32",
        value_parser = clap::value_parser!(u16).range(3..=1024))]
    pub sizes: Vec<u16>,
    /// Length of each message, query and reply, in bytes
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(16..=1024))]
    pub bytes: u16,
    /// Messages to all at each size, each after all have the one before
    #[arg(long, default_value_t = 40)]
    pub messages: usize,
    /// Queries that all members answer
    #[arg(long, default_value_t = 20)]
    pub queries: usize,
    /// Queries amid deaths
    #[arg(long, default_value_t = 10)]
    pub amid: usize,
    /// How many members die with each of them
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=8))]
    pub deaths: u16,
    /// When they die
    #[arg(long, value_enum, default_value = "before")]
    pub when: When,
    /// How they die
    #[arg(long, value_enum, default_value = "process")]
    pub kill: Kill,
    /// Those of every measurement.
    #[command(flatten)]
    pub common: Common,
}
