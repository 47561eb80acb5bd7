//! Reads the time, the costs of processes, and the properties of the machine.

use std::fs;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// The monotonic clock in nanoseconds: the same in all processes.
pub(crate) fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or_default()
}

/// From one moment of [`now`] to a later one, in milliseconds.
pub(crate) fn millis_between(from: u64, to: u64) -> f64 {
    to.saturating_sub(from) as f64 / 1e6
}

/// How long these processes have been on a CPU, in milliseconds: all their threads that still run.
pub fn cpu_millis(processes: &[u32]) -> f64 {
    let threads = |pid: &u32| fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
    let schedules = processes.iter().flat_map(threads).filter_map(Result::ok);
    let nanos = schedules.filter_map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<f64>().ok()
    });
    nanos.sum::<f64>() / 1e6
}

/// How much memory of these processes is resident, in KiB; what processes share is counted for each.
pub(crate) fn resident_kib(processes: &[u32]) -> f64 {
    let resident = processes.iter().filter_map(|pid| {
        let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().strip_suffix(" kB")?.parse::<f64>().ok()
    });
    resident.sum()
}

/// The machine that measured, and how busy it was.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Machine {
    /// Processors that this process may use.
    pub cores: usize,
    /// The model of the processors.
    pub processor: String,
    /// Version of the kernel.
    pub kernel: String,
    /// When measuring began, in UTC.
    pub date: String,
    /// How many processes wanted a processor in the minute before, on average.
    pub load_before: String,
    /// The same at the end.
    pub load_after: String,
    /// Whether the nodes had a network to themselves; if not, packets and bytes are not known.
    pub own_network: bool,
    /// Whether this is a build that nobody should judge the cost by.
    pub is_debug_build: bool,
}

impl Machine {
    /// This machine, now.
    pub fn this(own_network: bool) -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let info = read("/proc/cpuinfo");
        let model =
            info.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
        Self {
            cores: cores(),
            processor: model.unwrap_or("unknown").to_owned(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            date: jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M").to_string(),
            load_before: load(),
            load_after: String::new(),
            own_network,
            is_debug_build: cfg!(debug_assertions),
        }
    }

    pub(crate) fn finish(&mut self) {
        self.load_after = load();
    }

    /// A sentence on the machine for readers of a report; `remark` follows the load.
    pub(crate) fn describe(&self, remark: &str) -> String {
        let network = match self.own_network {
            true => "",
            false => "; the network was shared, so traffic is not known",
        };
        let build = match self.is_debug_build {
            true => "; a debug build, by which nobody should judge the cost",
            false => "",
        };
        format!(
            "{} cores ({}), Linux {}, {} UTC, load {} before and {} after{remark}{network}{build}.\n",
            self.cores, self.processor, self.kernel, self.date, self.load_before, self.load_after,
        )
    }
}

/// Processors that this process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}
