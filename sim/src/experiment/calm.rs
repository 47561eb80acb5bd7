//! Measures what longer periods save while nothing happens, and what they cost when a member dies.

use super::{Job, Metrics, in_millis, metrics, simulation};
use crate::{
    fault::Fault,
    network::NetworkConfig,
    node::{Instant, Knowledge, NodeId, millis, secs},
    simulation::Simulation,
    trace::mix,
};

pub(super) fn run(job: &Job) -> Metrics {
    let Job { point, seed, .. } = job;
    let seed = *seed;
    let nodes = point.count("n");
    let network = NetworkConfig { loss: point.get("loss"), ..job.network() };
    let mut run = simulation(job, Knowledge::Everyone, network);
    run.run_until(Instant::START + CALM);
    let before = (run.traffic().messages, run.traffic().bytes);
    run.run_until(run.now() + MEASURED);
    let after = (run.traffic().messages, run.traffic().bytes);
    // The first kill at a random phase of a period of any length; the second shortly after the first.
    let phase = mix(seed) % millis(8_192).as_millis() as u64;
    let mut at = run.now() + millis(phase);
    for victim in [0, nodes / 2] {
        run.schedule(at, Fault::CrashHost(vec![NodeId(victim)]));
        run.run_until(at);
        let is_open =
            |run: &Simulation| run.ledger().deaths.last().is_some_and(|death| death.unaware > 0);
        run.run_while(at + PATIENCE, millis(100), is_open);
        at = run.now() + secs(1) + millis(mix(phase) % 1_000);
    }
    let known: Vec<_> =
        run.ledger().deaths.iter().map(|death| death.all().unwrap_or(PATIENCE)).collect();
    let [first, second] = known[..] else {
        return Metrics::new();
    };
    metrics([
        ("messages", vec![(after.0 - before.0) as f64]),
        ("bytes", vec![(after.1 - before.1) as f64]),
        ("seconds", vec![MEASURED.as_secs_f64() * f64::from(nodes)]),
        ("first", in_millis(&[first])),
        ("second", in_millis(&[second])),
        ("false_positives", vec![run.ledger().false_deaths.len() as f64]),
    ])
}

/// Longer than the time until periods reach their maximum: eight each of 1, 2 and 4 s.
const CALM: std::time::Duration = secs(80);
const MEASURED: std::time::Duration = secs(64);
const PATIENCE: std::time::Duration = secs(120);
