//! Measurements of real nodes: the processor time and memory of a process, and when a death is known.

use std::{
    thread,
    time::{Duration, Instant, SystemTime},
};

use rustix::process::Pid;
use serde_json::Value;

use crate::{MAX_WAIT, cluster::Cluster};

/// When each of these knows of a death, as far as they know in time.
pub(crate) fn known_after(
    cluster: &Cluster,
    killed: usize,
    by: &[usize],
    at: SystemTime,
) -> Vec<Duration> {
    let name = format!("n{killed}");
    let is_it = |event: &Value| event["event"] == "dead" && event["member"]["name"] == *name;
    let knows = |&number: &usize| {
        let events = cluster.events(number);
        let event = events.iter().find(|event| is_it(event) && moment(event) >= at)?;
        moment(event).duration_since(at).ok()
    };
    let start = Instant::now();
    loop {
        let known: Vec<_> = by.iter().filter_map(knows).collect();
        if known.len() == by.len() || start.elapsed() > MAX_WAIT {
            return known;
        }
        thread::sleep(Duration::from_millis(100));
    }
}

/// The processor time of a process so far.
pub(crate) fn cpu_time(pid: Pid) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap();
    let fields: Vec<_> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks = |field: usize| fields[field].parse::<u64>().unwrap();
    // Fields 14 and 15 of proc(5), in hundredths of a second.
    Duration::from_millis(10 * (ticks(11) + ticks(12)))
}

/// The memory of a process that is in use, in MiB.
pub(crate) fn resident_mib(pid: Pid) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim_end_matches("kB").trim().parse::<f64>().unwrap() / 1_024.0
}

/// The time of an event by the clock of this machine.
pub(crate) fn moment(event: &Value) -> SystemTime {
    let at: jiff::Timestamp = event["at"].as_str().unwrap().parse().unwrap();
    at.into()
}
