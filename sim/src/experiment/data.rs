//! Member data: how soon a change is known to all and what it costs; the same after a split; a newcomer; and deaths while
//! everybody writes.

use std::{sync::Arc, time::Duration};

use super::{Job, Metrics, in_millis, metrics};
use crate::{
    baselines::Chitchat,
    fault::{Fault, Write},
    measure::{Kill, Load, Measurement},
    network::{NetworkConfig, RuleId},
    node::{Instant, Knowledge, NodeId, Protocol, millis, secs},
    phin::Phin,
    protocols::ProtocolKind,
    simulation::{Setup, Simulation},
    trace::mix,
    traffic::PartBytes,
};

/// The case of data to be measured.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum DataCase {
    /// Single changes of 200 bytes.
    Change,
    /// Two halves are split, write, and are one again.
    Heal,
    /// A member joins, where each has 16 KiB.
    Newcomer,
    /// Hosts die while every member changes 200 bytes each 5 s, and without.
    HostLoaded,
    /// The same.
    HostIdle,
    /// The same of processes.
    ProcessLoaded,
    /// The same.
    ProcessIdle,
}

impl DataCase {
    /// The case of this number in a point.
    pub(crate) fn of(number: f64) -> Option<Self> {
        super::numbered(number)
    }
}

pub(super) fn run(job: &Job) -> Metrics {
    match DataCase::of(job.point.get("case")) {
        Some(DataCase::Change) => change(job),
        Some(DataCase::Heal) => heal(job),
        Some(DataCase::Newcomer) => newcomer(job),
        Some(DataCase::HostLoaded) => deaths(job, Kill::Host, true),
        Some(DataCase::HostIdle) => deaths(job, Kill::Host, false),
        Some(DataCase::ProcessLoaded) => deaths(job, Kill::Process, true),
        Some(DataCase::ProcessIdle) => deaths(job, Kill::Process, false),
        None => Metrics::new(),
    }
}

/// A cluster in which each member has so many keys of so many bytes from the start.
fn simulation(job: &Job, keys: usize, bytes: usize, network: NetworkConfig) -> Simulation {
    let nodes = job.point.count("n");
    let protocol: Arc<dyn Protocol> = match job.protocol {
        ProtocolKind::Chitchat => Arc::new(Chitchat { nodes, keys, bytes }),
        kind => {
            let phin = Phin::of(kind, &job.conditions.config, job.seed, nodes);
            let phin = phin.expect("all jobs are checked before the first one runs");
            Arc::new(phin.with_data(keys, bytes))
        }
    };
    let (seed, knowledge) = (job.seed, Knowledge::Everyone);
    let setup = Setup { seed, nodes, knowledge, network, firewalled_every: 0 };
    Simulation::new(setup, protocol)
}

fn put(key: u32, bytes: usize) -> Write {
    Write::Put { keys: key..key + 1, bytes, time_to_live: None }
}

/// Members that have data for long change it, one after the other; the cost is what is sent more than while nobody does.
fn change(job: &Job) -> Metrics {
    let nodes = job.point.count("n");
    let mut run = simulation(job, 1, CHANGE_BYTES, job.network());
    run.count_parts();
    run.run_until(Instant::START + secs(20));
    let spent = |run: &Simulation| (run.traffic().bytes, run.traffic().parts);
    let measured = EVERY * CHANGES;
    let begin = spent(&run);
    run.run_until(run.now() + measured);
    let idle = spent(&run);
    for number in 0..CHANGES {
        let node = NodeId(mix(job.seed ^ u64::from(number)) as u32 % nodes);
        run.schedule(run.now() + EVERY * number, Fault::Write(vec![node], put(0, CHANGE_BYTES)));
    }
    run.run_until(run.now() + measured);
    let end = spent(&run);
    run.run_until(run.now() + PATIENCE);
    let all = run.ledger().data.publications.iter();
    let all: Vec<_> = all.map(|publication| publication.all().unwrap_or(PATIENCE)).collect();
    let per_change = |bytes: u64| vec![bytes as f64 / f64::from(CHANGES) / f64::from(nodes)];
    let wire = (end.0 - idle.0).saturating_sub(idle.0 - begin.0);
    let PartBytes { announced, asked, changes, fingerprints, pings, .. } = end.1 - idle.1;
    // The parts of chitchat are not counted.
    let counted = |bytes: u64| if pings == 0 { vec![f64::NAN] } else { per_change(bytes) };
    let seconds = measured.as_secs_f64() * f64::from(nodes);
    metrics([
        ("known", in_millis(&all)),
        ("wire_bytes", per_change(wire)),
        ("announced_bytes", counted(announced)),
        ("asked_bytes", counted(asked)),
        ("change_bytes", counted(changes)),
        ("fingerprint_bytes", vec![fingerprints as f64 / pings as f64]),
        ("idle_bytes", vec![(idle.0 - begin.0) as f64 / seconds]),
    ])
}

/// Both halves write while they are split: how long after its end everybody has everything.
fn heal(job: &Job) -> Metrics {
    let nodes = job.point.count("n");
    let mut run = simulation(job, 1, CHANGE_BYTES, job.network());
    let (begins, lasts) = (Instant::START + secs(15), secs(30));
    let half: Vec<_> = (0..nodes / 2).map(NodeId).collect();
    let other: Vec<_> = (nodes / 2..nodes).map(NodeId).collect();
    run.schedule(begins, Fault::partition(RuleId(1), &[half, other], nodes, lasts));
    for number in 0..nodes {
        let at = begins + secs(5) + millis(u64::from(number % 20_000));
        run.schedule(at, Fault::Write(vec![NodeId(number)], put(0, CHANGE_BYTES)));
    }
    let healed = begins + lasts;
    run.run_until(healed);
    let before = run.traffic().bytes;
    let is_list_split = |run: &Simulation| {
        (0..nodes)
            .any(|node| run.process(NodeId(node)).is_none_or(|p| p.live_len() < nodes as usize))
    };
    run.run_while(healed + PATIENCE_HEAL, millis(50), is_list_split);
    let list = run.now() - healed;
    run.run_while(healed + PATIENCE_HEAL, millis(50), |run| !run.ledger().data.is_equal());
    let bytes = (run.traffic().bytes - before) as f64 / f64::from(nodes);
    metrics([
        ("list", in_millis(&[list])),
        ("known", in_millis(&[run.now() - healed])),
        ("wire_bytes", vec![bytes]),
    ])
}

/// One more member: when it has the list, and when all data, over links of 1 Gbit/s.
fn newcomer(job: &Job) -> Metrics {
    let nodes = job.point.count("n");
    let network = NetworkConfig { bandwidth: 125_000_000, ..job.network() };
    let mut run = simulation(job, 4, NEWCOMER_BYTES / 4 - 2, network);
    // By then all have their connections, and the newcomer's news causes no handshakes among them.
    let begins = Instant::START + secs(20) + millis(mix(job.seed) % 1_000);
    run.schedule(begins, Fault::Join { count: 1, seeds: (0..3).map(NodeId).collect() });
    run.run_until(begins);
    let before = run.traffic().bytes;
    let new = NodeId(nodes);
    let lacks_members = |run: &Simulation| {
        run.process(new).is_none_or(|process| process.live_len() <= nodes as usize)
    };
    run.run_while(begins + PATIENCE_HEAL, millis(10), lacks_members);
    let list = run.now() - begins;
    let lacks_data = |run: &Simulation| {
        run.process(new)
            .is_none_or(|process| (0..nodes).any(|owner| process.data_of(NodeId(owner)).is_none()))
    };
    run.run_while(begins + PATIENCE_HEAL, millis(50), lacks_data);
    metrics([
        ("list", in_millis(&[list])),
        ("known", in_millis(&[run.now() - begins])),
        ("wire_bytes", vec![(run.traffic().bytes - before) as f64]),
    ])
}

fn deaths(job: &Job, kill: Kill, is_loaded: bool) -> Metrics {
    let nodes = job.point.count("n");
    let load = is_loaded.then(|| Load { write: put(0, CHANGE_BYTES), every: secs(5), by: nodes });
    let measurement = Measurement {
        nodes,
        network: job.network(),
        warm_up: secs(20),
        kills: job.point.count("kills"),
        kill,
        patience: secs(60),
        load,
        faults: Vec::new(),
    };
    let measured = measurement.run(job.seed, job.make(nodes));
    metrics([
        ("known", in_millis(&measured.all)),
        ("idle_bytes", vec![measured.idle.1 as f64 / measured.idle.2]),
        ("false_positives", vec![measured.false_positives as f64]),
    ])
}

/// How long a value is, and the data of each member that a newcomer meets.
const CHANGE_BYTES: usize = 200;
const NEWCOMER_BYTES: usize = 16 * 1_024;
/// How many changes are measured in one run, and how long after each the next comes.
const CHANGES: u32 = 30;
const EVERY: Duration = millis(1_037);
/// How long a change is given to be known to all.
const PATIENCE: Duration = secs(30);
const PATIENCE_HEAL: Duration = secs(120);
