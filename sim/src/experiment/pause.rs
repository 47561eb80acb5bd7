//! Measures suspicions and verdicts on members that stop for a while.

use std::time::Duration;

use super::{Job, Metrics, metrics, simulation};
use crate::{
    fault::{Fault, Scope},
    node::{Belief, Instant, Knowledge, NodeId, secs},
    simulation::Simulation,
    trace::mix,
};

pub(super) fn run(job: &Job) -> Metrics {
    let Job { point, seed, .. } = job;
    let seed = *seed;
    let nodes = point.count("n");
    let mut run = simulation(job, Knowledge::Everyone, job.network());
    // Not a whole number of periods, so that seeds begin at different phases of them.
    let begins = Instant::START + secs(20) + Duration::from_millis(mix(seed) % 1_000);
    let lasts = secs(1).mul_f64(point.get("seconds"));
    let scope = if point.count("host") == 1 { Scope::Host } else { Scope::Process };
    let victim = NodeId(0);
    run.schedule(begins, Fault::Pause { nodes: vec![victim], scope, lasts });
    run.run_until(begins + lasts);
    let suspected = run.ledger().first_suspected.iter().find(|(_, node)| *node == victim);
    let suspected: Vec<_> =
        suspected.map(|(at, _)| (*at - begins).as_secs_f64() * 1e3).into_iter().collect();
    let declared = run.ledger().false_deaths.iter().any(|verdict| verdict.subject == victim);
    let wakes = run.now();
    let is_held_otherwise = |run: &Simulation| {
        (1..nodes).any(|node| {
            run.process(NodeId(node)).and_then(|p| p.belief(victim)) != Some(Belief::Alive)
        })
    };
    run.run_while(wakes + secs(60), secs(1) / 20, is_held_otherwise);
    let back = (run.now() - wakes).as_secs_f64() * 1e3;
    let others = run.ledger().false_deaths.iter().filter(|v| v.subject != victim).count();
    metrics([
        ("suspected", suspected),
        ("declared", vec![f64::from(u8::from(declared))]),
        ("back", vec![back]),
        ("others_declared", vec![others as f64]),
    ])
}
