//! Measures what floods cost one of sixteen real nodes, and whether a real death is known as early meanwhile: floods of requests
//! by a member that holds the cluster key, and of packets by strangers. Prints a table.
//!
//! `cargo bench -p phin-node --bench floods -- --seconds 20`

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a program of its own")]

#[path = "../tests/lies/cluster.rs"]
mod cluster;
#[path = "../../phin-quic/examples/flood.rs"]
#[expect(dead_code, reason = "a program of its own")]
mod flood;
#[path = "../tests/binary/harness.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod harness;
#[path = "../examples/liar/liar.rs"]
mod liar;
#[path = "../examples/liar/lie.rs"]
mod lie;
#[path = "lies/measure.rs"]
mod measure;

use std::{
    thread,
    time::{Duration, Instant, SystemTime},
};

use phin_report::Samples;
use phin_swim::{Config, SignedVotes};
use rustix::process::Signal;

use crate::{
    cluster::{Cluster, SIZE},
    lie::Lie,
    measure::{cpu_time, known_after, resident_mib},
};

/// A flood of one node or of all.
#[derive(Clone, Copy)]
enum Flood {
    None,
    /// A member sends this to all, 200 payloads a second to each.
    OfMember(Lie),
    /// Strangers with another cluster key send this to one node: the kind, the sources, and packets a second.
    OfStrangers(&'static str, &'static str, u32),
}

const FLOODS: [(&str, Flood); 7] = [
    ("none", Flood::None),
    ("a member asks for lists", Flood::OfMember(Lie::Requests)),
    ("a member asks for pings", Flood::OfMember(Lie::PingRequests)),
    ("first packets, one address", Flood::OfStrangers("initial", "1", 10_000)),
    ("first packets, 900 addresses", Flood::OfStrangers("initial", "900", 10_000)),
    ("packets of no connection", Flood::OfStrangers("short", "900", 10_000)),
    ("refused handshakes, 16 at once", Flood::OfStrangers("handshake", "16", 1)),
];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let seconds = arguments.iter().position(|argument| argument == "--seconds");
    let seconds = seconds.and_then(|at| arguments.get(at + 1));
    let lasts = Duration::from_secs(seconds.map_or(20, |text| text.parse().unwrap()));
    println!("{HEAD}");
    for (name, flood) in FLOODS {
        println!("| {name} | {} |", trial(flood, lasts));
    }
}

/// One row: a flood for so long, and then a member's death while it goes on.
fn trial(flood: Flood, lasts: Duration) -> String {
    let cluster = Cluster::start(SignedVotes::Off, &["--profile", "lan"], Config::lan());
    let others = cluster.all_but(&[FLOODED]);
    let cpu_of = |number: &usize| cpu_time(cluster.node(*number).pid());
    let memory_before = resident_mib(cluster.node(FLOODED).pid());
    let cpu_before = (cpu_of(&FLOODED), others.iter().map(cpu_of).sum::<Duration>());
    let ends = Instant::now() + lasts + MAX_WAIT;
    match flood {
        Flood::None => {}
        Flood::OfMember(lie) => cluster.lie(lie, KILLED),
        Flood::OfStrangers(kind, sources, per_second) => {
            let target = cluster.node(FLOODED).addr.parse().unwrap();
            thread::spawn(move || {
                let runtime = tokio::runtime::Runtime::new().unwrap();
                let flood = flood::flood(target, kind, sources, per_second, ends, "phin");
                runtime.block_on(flood).unwrap();
            });
        }
    }
    thread::sleep(lasts);
    let share = |cpu: Duration| 100.0 * cpu.as_secs_f64() / lasts.as_secs_f64();
    let flooded = share(cpu_of(&FLOODED) - cpu_before.0);
    let of_others = share(others.iter().map(cpu_of).sum::<Duration>() - cpu_before.1);
    let memory = resident_mib(cluster.node(FLOODED).pid());
    let read = cluster.lies_read(FLOODED) / lasts.as_secs_f64();

    let at = SystemTime::now();
    cluster.node(KILLED).signal(Signal::KILL);
    let witnesses = cluster.all_but(&[KILLED]);
    let known = known_after(&cluster, KILLED, &witnesses, at);
    let at_flooded = known_after(&cluster, KILLED, &[FLOODED], at);
    let millis = Samples::of_millis(known.iter().copied());
    let killed = format!("n{KILLED}");
    let is_false = |number: &usize| cluster.deaths(*number).iter().any(|name| *name != killed);
    [
        format!("{read:.0}"),
        format!("{flooded:.1} %"),
        format!("{:.1} %", of_others / others.len() as f64),
        format!("{memory_before:.1}"),
        format!("{memory:.1}"),
        format!("{:.0} ms", millis.quantile(0.5)),
        format!("{:.0} ms", at_flooded.first().map_or(f64::NAN, |at| at.as_secs_f64() * 1e3)),
        format!("{} of {}", known.len(), witnesses.len()),
        witnesses.iter().filter(|number| is_false(number)).count().to_string(),
    ]
    .join(" | ")
}

const FLOODED: usize = 2;
const KILLED: usize = 7;
/// How long nodes are given to know of a death; the flood goes on meanwhile.
const MAX_WAIT: Duration = Duration::from_secs(15);
const HEAD: &str = "\
| flood | payloads of the member read in a second | CPU of the flooded node | CPU of another | its memory before, MiB | after, MiB | real death known, median | by the flooded node | known to | nodes with a false death |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |";
const _: () = assert!(SIZE == 16);
