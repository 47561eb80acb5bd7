//! Measures what the lies of a member that holds the cluster key do to sixteen real nodes, with votes signed and without: for
//! which share of the time the victim is considered dead, what the lies cost, and when a real death is known. Prints a table.
//!
//! `cargo bench -p phin-node --bench lies -- --seconds 60 --lies verdict,clear`

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a program of its own")]

#[path = "../tests/lies/cluster.rs"]
mod cluster;
#[path = "../tests/binary/harness.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod harness;
#[path = "../examples/liar/liar.rs"]
mod liar;
#[path = "../examples/liar/lie.rs"]
mod lie;
#[path = "lies/measure.rs"]
#[expect(dead_code, reason = "the measurement of floods uses the rest")]
mod measure;

use std::{
    thread,
    time::{Duration, SystemTime},
};

use phin_report::Samples;
use phin_swim::{Config, SignedVotes};
use rustix::process::Signal;
use serde_json::Value;

use crate::{
    cluster::{Cluster, SIZE},
    lie::Lie,
    measure::{cpu_time, known_after, moment},
};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let value_of = |flag: &str| {
        let at = arguments.iter().position(|argument| argument == flag)?;
        arguments.get(at + 1)
    };
    let lasts = Duration::from_secs(value_of("--seconds").map_or(60, |text| text.parse().unwrap()));
    let lies: Vec<Option<Lie>> = match value_of("--lies") {
        Some(names) => names.split(',').map(|name| name.parse().ok()).collect(),
        None => [None]
            .into_iter()
            .chain(Lie::OF_DEATH.map(Some))
            .chain(Lie::OF_LIFE.map(Some))
            .collect(),
    };
    println!("{HEAD}");
    for lie in lies {
        for mode in [SignedVotes::Off, SignedVotes::Require] {
            println!("{}", trial(lie, mode, lasts));
        }
    }
}

/// One row: a lie for so long, and a member's death at its end.
fn trial(lie: Option<Lie>, mode: SignedVotes, lasts: Duration) -> String {
    // A member dies more often than flap suppression allows.
    let arguments = ["--profile", "lan", "--flap-suppress", "off"];
    let cluster = Cluster::start(mode, &arguments, Config::lan());
    // Those about to be killed are alive so far: that is no lie yet.
    let victim = if lie.is_some_and(|lie| Lie::OF_LIFE.contains(&lie)) { KILLED } else { VICTIM };
    let told = cluster.all_but(&[victim]);
    let cpu_of = |number: &usize| cpu_time(cluster.node(*number).pid());
    let read_by = |number: &usize| cluster.lies_read(*number);
    let (since, cpu_before) = (SystemTime::now(), told.iter().map(cpu_of).sum::<Duration>());
    lie.into_iter().for_each(|lie| cluster.lie(lie, victim));
    thread::sleep(lasts);
    let until = SystemTime::now();
    let cpu = told.iter().map(cpu_of).sum::<Duration>() - cpu_before;
    let read = told.iter().map(read_by).sum::<f64>() / told.len() as f64;
    let dead: Vec<f64> = told
        .iter()
        .map(|&number| dead_for(&cluster.events(number), victim, since, until).as_secs_f64())
        .collect();
    let is_deceived = |seconds: &&f64| **seconds > 0.0;
    let deceived = dead.iter().filter(is_deceived).count();
    let whole = lasts.as_secs_f64() * told.len() as f64;
    let others = |number: &usize| {
        let deaths = cluster.deaths(*number);
        deaths.iter().filter(|name| **name != format!("n{victim}")).count()
    };
    let false_deaths: usize = told.iter().map(others).sum();

    let at = SystemTime::now();
    cluster.node(KILLED).signal(Signal::KILL);
    let known = known_after(&cluster, KILLED, &cluster.all_but(&[KILLED]), at);
    let millis = Samples::of_millis(known.iter().copied());
    let cells = [
        lie.map_or("none", Lie::as_str).to_owned(),
        mode.to_string(),
        format!("{read:.0}"),
        format!("{:.2} %", 100.0 * dead.iter().sum::<f64>() / whole),
        deceived.to_string(),
        false_deaths.to_string(),
        format!("{:.1} %", 100.0 * cpu.as_secs_f64() / whole),
        format!("{:.0} ms", millis.quantile(0.5)),
        format!("{:.0} ms", millis.max()),
        known.len().to_string(),
    ];
    format!("| {} |", cells.join(" | "))
}

/// How long a node considered the victim dead.
fn dead_for(events: &[Value], victim: usize, since: SystemTime, until: SystemTime) -> Duration {
    let name = format!("n{victim}");
    let of_victim = events.iter().filter(|line| line["member"]["name"] == *name);
    let (mut dead_since, mut sum) = (None, Duration::ZERO);
    for event in of_victim.filter(|event| (since..until).contains(&moment(event))) {
        match event["event"].as_str() {
            Some("dead") => dead_since = dead_since.or(Some(moment(event))),
            Some("alive" | "joined") => {
                let from = dead_since.take();
                sum += from.map_or(Duration::ZERO, |at| moment(event).duration_since(at).unwrap());
            }
            _ => {}
        }
    }
    sum + dead_since.map_or(Duration::ZERO, |at| until.duration_since(at).unwrap_or_default())
}

const VICTIM: usize = 2;
const KILLED: usize = 7;
/// How long nodes are given to know of a death.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// The processor time is that of a node, as a share of one processor.
const HEAD: &str = "\
| lie | signed votes | lies read by each node | victim dead, of the time of all | nodes that had it dead | other false deaths | CPU of a node | real death known, median | known to all | of 15 |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |";
const _: () = assert!(SIZE == 16);
