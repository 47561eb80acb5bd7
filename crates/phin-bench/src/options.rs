//! The options of a measurement.

use std::{path::PathBuf, time::Duration};

use clap::ValueEnum;

/// How a node is killed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Kill {
    /// Its process is killed with SIGKILL; its host lives, and refuses its port.
    Process,
    /// Its host falls silent: nothing answers for it any more.
    Silent,
}

impl Kill {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Silent => "silent",
        }
    }
}

/// The options of every measurement and of its report.
#[derive(Clone, Debug, clap::Args)]
pub struct Common {
    /// How long a calm cluster's cost is measured
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    pub idle: Duration,
    /// How long nodes are together before they are measured
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    pub settle: Duration,
    /// When to give up waiting for all to know
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = humantime::parse_duration)]
    pub patience: Duration,
    /// Print one JSON object with every sample, and nothing else
    #[arg(long)]
    pub json: bool,
    /// Write the report into this folder
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// The options of a measurement of deaths and starts, and of its reports.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Cluster sizes
    #[arg(long, value_delimiter = ',', default_value = "4,8,16,32,64,128",
        value_parser = clap::value_parser!(u16).range(3..=1024))]
    pub sizes: Vec<u16>,
    /// Deaths at each size
    #[arg(long, default_value_t = 20)]
    pub kills: usize,
    /// How nodes die
    #[arg(long, value_enum, default_value = "process")]
    pub kill: Kill,
    /// How often a cluster of each size is started, all nodes at once through one seed
    #[arg(long, default_value_t = 50)]
    pub bootstraps: usize,
    /// Processes that do nothing but keep a core busy, from when the nodes have settled
    #[arg(long, default_value_t = 0)]
    pub busy: usize,
    /// Those of every measurement.
    #[command(flatten)]
    pub common: Common,
    /// The simulator's CSV, for the plots' dashed curves
    #[arg(long, value_name = "FILE")]
    pub simulated: Option<PathBuf>,
}

impl Options {
    /// The stem of the file names of a report: the systems, the kind of death, and whether cores were busy.
    pub fn stem(&self, who: &str) -> String {
        let busy = if self.busy > 0 { "-busy" } else { "" };
        format!("{who}-{}{busy}", self.kill.as_str())
    }
}

/// A time that members wait between what they do.
pub(crate) fn parse_interval(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("members cannot write without a pause".to_owned()),
        Ok(interval) => Ok(interval),
        Err(error) => Err(error.to_string()),
    }
}
