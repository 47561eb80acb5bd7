//! Measures the time until all lists are complete again after a partition into two halves has healed, without outside
//! help.

use super::{Job, Metrics, metrics, simulation};
use crate::{
    fault::Fault,
    network::RuleId,
    node::{Instant, Knowledge, NodeId, millis, secs},
    simulation::Simulation,
};

pub(super) fn run(job: &Job) -> Metrics {
    let point = &job.point;
    let nodes = point.count("n");
    let mut run = simulation(job, Knowledge::Everyone, job.network());
    let begins = Instant::START + secs(15);
    let lasts = secs(1).mul_f64(point.get("seconds"));
    let half: Vec<_> = (0..nodes / 2).map(NodeId).collect();
    let other: Vec<_> = (nodes / 2..nodes).map(NodeId).collect();
    run.schedule(begins, Fault::partition(RuleId(1), &[half, other], nodes, lasts));
    run.run_until(begins + lasts);
    let healed = run.now();
    let before = run.traffic().messages;
    let is_split = |run: &Simulation| {
        (0..nodes)
            .any(|node| run.process(NodeId(node)).is_none_or(|p| p.live_len() < nodes as usize))
    };
    run.run_while(healed + secs(1_800), millis(100), is_split);
    let heal = (run.now() - healed).as_secs_f64() * 1e3;
    let own_side = run.ledger().unexcused().count();
    metrics([
        ("healed", vec![heal]),
        ("false_positives_own_side", vec![own_side as f64]),
        ("messages", vec![(run.traffic().messages - before) as f64 / f64::from(nodes)]),
    ])
}
