//! Messages to all members: how soon they arrive and what they cost, with loss and deaths too; beside other ways; and deaths
//! while members publish as much as they may.

use std::time::Duration;

use super::{Job, Metrics, in_millis, metrics};
use crate::{
    fault::{Fault, Write},
    ledger::Published,
    measure::{Kill, Load, Measurement},
    network::NetworkConfig,
    node::{Instant, Knowledge, NodeId, millis, secs},
    simulation::{Setup, Simulation},
    trace::mix,
    traffic::PartBytes,
};

/// The case of messages to be measured.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum MessageCase {
    /// One member publishes 100 messages, one each 100 ms.
    One,
    /// Ten members do.
    Ten,
    /// The same with 10 % loss.
    Loss,
    /// The same, and a tenth of the members die in between.
    Deaths,
    /// Random members publish a message each 3 s, also in other ways.
    Spaced,
    /// Hosts die while members publish as much as they may, and while nobody does.
    Loaded,
    /// The same.
    Idle,
}

impl MessageCase {
    /// The case of this number in a point.
    pub(crate) fn of(number: f64) -> Option<Self> {
        super::numbered(number)
    }
}

pub(super) fn run(job: &Job) -> Metrics {
    match MessageCase::of(job.point.get("case")) {
        Some(MessageCase::One) => burst(job, &Burst { publishers: 1, loss: 0.0, dies: 0.0 }),
        Some(MessageCase::Ten) => burst(job, &Burst { publishers: 10, loss: 0.0, dies: 0.0 }),
        Some(MessageCase::Loss) => burst(job, &Burst { publishers: 10, loss: 0.1, dies: 0.0 }),
        Some(MessageCase::Deaths) => burst(job, &Burst { publishers: 10, loss: 0.0, dies: 0.1 }),
        Some(MessageCase::Spaced) => spaced(job),
        Some(MessageCase::Loaded) => deaths(job, true),
        Some(MessageCase::Idle) => deaths(job, false),
        None => Metrics::new(),
    }
}

/// Several members publish at once.
struct Burst {
    publishers: u32,
    loss: f64,
    /// The share of the members that dies in between.
    dies: f64,
}

/// The traffic until a moment.
type Spent = (u64, PartBytes);

fn simulation(job: &Job, loss: f64) -> Simulation {
    let nodes = job.point.count("n");
    let network = NetworkConfig { loss: loss.max(job.network().loss), ..job.network() };
    let (seed, knowledge) = (job.seed, Knowledge::Everyone);
    let setup = Setup { seed, nodes, knowledge, network, firewalled_every: 0 };
    let mut run = Simulation::new(setup, job.make(nodes));
    run.count_parts();
    run
}

fn publish() -> Write {
    Write::Publish { count: 1, topic: 0, bytes: BYTES, filter: String::new() }
}

fn spent_until(run: &mut Simulation, until: Instant) -> Spent {
    run.run_until(until);
    (run.traffic().bytes, run.traffic().parts)
}

/// Different members, beginning with a random one.
fn some(job: &Job, count: u32) -> Vec<NodeId> {
    let nodes = job.point.count("n");
    let first = mix(job.seed) as u32 % nodes;
    (0..count).map(|number| NodeId((first + number * (nodes / count).max(1)) % nodes)).collect()
}

fn burst(job: &Job, burst: &Burst) -> Metrics {
    let nodes = job.point.count("n");
    let mut run = simulation(job, burst.loss);
    let lasts = EVERY * MESSAGES;
    let calm = spent_until(&mut run, Instant::START + WARM_UP);
    let begins = run.now() + lasts;
    let begin = spent_until(&mut run, begins);
    schedule(&mut run, job, burst, begins);
    // Messages published just before have arrived by then.
    let first = spent_until(&mut run, begins + (EVERY - millis(1)));
    let half = spent_until(&mut run, begins + (lasts / 2 - millis(1)));
    let end = spent_until(&mut run, begins + (lasts - millis(1)));
    let settled = spent_until(&mut run, begins + lasts + PATIENCE);
    let idle = (begin.0 - calm.0) as f64 / lasts.as_secs_f64();
    let redundancy = |from: &Spent, to: &Spent, messages: u32| {
        let received = (to.1 - from.1).publications as f64;
        let expected = f64::from(messages * burst.publishers) * f64::from(nodes - 1);
        vec![received / expected - 1.0]
    };
    let per_message = |count: f64, messages: u32| {
        vec![count / f64::from(burst.publishers * messages) / f64::from(nodes)]
    };
    let bytes = |from: &Spent, to: &Spent, time: Duration| {
        (to.0 - from.0) as f64 - idle * time.as_secs_f64()
    };
    let controls = (settled.1 - begin.1).controls as f64;
    let mut all = arrivals(&run);
    all.extend(metrics([
        ("rmr_first", redundancy(&begin, &first, 1)),
        ("rmr", redundancy(&begin, &settled, MESSAGES)),
        ("rmr_steady", redundancy(&half, &end, MESSAGES / 2)),
        ("wire_bytes", per_message(bytes(&begin, &settled, lasts + PATIENCE), MESSAGES)),
        ("steady_bytes", per_message(bytes(&half, &end, lasts / 2), MESSAGES / 2)),
        ("controls", per_message(controls, MESSAGES)),
    ]));
    all
}

/// Has members publish from a moment on, and others die in the middle.
fn schedule(run: &mut Simulation, job: &Job, burst: &Burst, begins: Instant) {
    let nodes = job.point.count("n");
    let publishers = some(job, burst.publishers);
    for (place, &publisher) in (0..).zip(&publishers) {
        for number in 0..MESSAGES {
            let at = begins + EVERY * number + EVERY * place / burst.publishers;
            run.schedule(at, Fault::Write(vec![publisher], publish()));
        }
    }
    let victims = (f64::from(nodes) * burst.dies) as usize;
    if victims > 0 {
        let others = (0..nodes).map(NodeId).filter(|node| !publishers.contains(node));
        let mut others: Vec<_> = others.collect();
        others.sort_by_key(|node| mix(job.seed ^ u64::from(node.0)));
        others.truncate(victims);
        run.schedule(begins + EVERY * MESSAGES / 2, Fault::CrashHost(others));
    }
}

/// When messages arrived, at whom, and over how many members.
fn arrivals(run: &Simulation) -> Metrics {
    let published = &run.ledger().messages.published;
    let lacking = |message: &Published| message.lacking(run.truth()).count();
    let time = |message: &Published| match lacking(message) {
        0 => message.last,
        _ => PATIENCE,
    };
    let readers: usize = published.iter().map(|message| message.readers).sum();
    let within: usize = published.iter().map(|message| message.within_second).sum();
    let delivered: usize = published.iter().map(|message| message.delivered).sum();
    // The first hop is the one from the publisher.
    let hops = published.iter().map(|message| f64::from(message.last_hop) + 1.0).collect();
    metrics([
        ("all", in_millis(&published.iter().map(time).collect::<Vec<_>>())),
        ("last_hop", hops),
        ("within_second", vec![within as f64]),
        ("delivered", vec![delivered as f64]),
        ("readers", vec![readers as f64]),
        ("lacking", vec![published.iter().map(lacking).sum::<usize>() as f64]),
        ("reported", vec![run.ledger().messages.missed.values().sum::<u64>() as f64]),
        ("false_positives", vec![run.ledger().false_deaths.len() as f64]),
    ])
}

/// One message after the other, each of a random member.
fn spaced(job: &Job) -> Metrics {
    let nodes = job.point.count("n");
    let mut run = simulation(job, 0.0);
    let calm = spent_until(&mut run, Instant::START + WARM_UP);
    let lasts = SPACED_EVERY * SPACED;
    let begins = run.now() + lasts;
    let begin = spent_until(&mut run, begins);
    for number in 0..SPACED {
        let publisher = NodeId(mix(job.seed ^ u64::from(number)) as u32 % nodes);
        run.schedule(begins + SPACED_EVERY * number, Fault::Write(vec![publisher], publish()));
    }
    let end = spent_until(&mut run, begins + lasts);
    let messages = f64::from(SPACED);
    let wire = (end.0 - begin.0) as f64 - (begin.0 - calm.0) as f64;
    let received = (end.1 - begin.1).publications as f64;
    let mut all = arrivals(&run);
    all.extend(metrics([
        ("rmr", vec![received / messages / f64::from(nodes - 1) - 1.0]),
        ("wire_bytes", vec![wire / messages / f64::from(nodes)]),
        ("controls", vec![(end.1 - begin.1).controls as f64 / messages / f64::from(nodes)]),
    ]));
    all
}

/// Hosts die while members publish as much as they may: all of a small cluster, ten of a larger one.
fn deaths(job: &Job, is_loaded: bool) -> Metrics {
    let nodes = job.point.count("n");
    let by = if nodes <= MAX_ALL_PUBLISH { nodes } else { 10 };
    let load = is_loaded.then(|| Load { write: publish(), every: secs(1) / LIMIT, by });
    let measurement = Measurement {
        nodes,
        network: NetworkConfig { bandwidth: 125_000_000, ..job.network() },
        warm_up: secs(20),
        kills: job.point.count("kills"),
        kill: Kill::Host,
        patience: secs(60),
        load,
        faults: Vec::new(),
    };
    let measured = measurement.run(job.seed, job.make(nodes));
    metrics([
        ("all", in_millis(&measured.all)),
        ("wire_bytes", vec![measured.idle.1 as f64 / measured.idle.2]),
        ("false_positives", vec![measured.false_positives as f64]),
        ("publishers", vec![f64::from(if is_loaded { by } else { 0 })]),
    ])
}

/// The length of the content of each message.
const BYTES: usize = 1_024;
/// How many messages each publisher publishes, and how often.
const MESSAGES: u32 = 100;
const EVERY: Duration = millis(100);
/// How many messages are measured one by one, and how long after each the next comes.
const SPACED: u32 = 20;
const SPACED_EVERY: Duration = secs(3);
/// By then all connections are open.
const WARM_UP: Duration = secs(20);
/// How long a message is given to reach all.
const PATIENCE: Duration = secs(15);
/// The limit of a member's publications in a second.
const LIMIT: u32 = 256;
/// The largest cluster of which all members publish.
const MAX_ALL_PUBLISH: u32 = 50;
