//! All members start at once, and know only three seeds.

use super::{Job, Metrics, metrics, simulation};
use crate::{
    fault::Fault,
    node::{Instant, Knowledge, NodeId, millis, secs},
    simulation::Simulation,
};

pub(super) fn run(job: &Job) -> Metrics {
    let point = &job.point;
    let nodes = point.count("n");
    let mut network = job.network();
    if network.bandwidth == 0 {
        network.bandwidth = GIGABIT;
    }
    let mut run = simulation(job, Knowledge::Itself, network);
    let seeds: Vec<_> = (0..nodes.min(3)).map(NodeId).collect();
    for number in 0..nodes {
        // Processes of a cluster start within a tenth of a second.
        let delay = millis(100).mul_f64(f64::from(number) / f64::from(nodes));
        let nodes = vec![NodeId(number)];
        let seek = Fault::Seek { nodes, seeds: seeds.clone(), delay: millis(200) };
        run.schedule(Instant::START + delay, seek);
    }
    let is_incomplete = |run: &Simulation| {
        (0..nodes)
            .any(|node| run.process(NodeId(node)).is_none_or(|p| p.live_len() < nodes as usize))
    };
    run.run_while(Instant::START + secs(120), millis(20), is_incomplete);
    let complete = (run.now() - Instant::START).as_secs_f64() * 1e3;
    metrics([
        ("complete", vec![complete]),
        ("messages", vec![run.traffic().messages as f64 / f64::from(nodes)]),
        ("bytes", vec![run.traffic().bytes as f64 / f64::from(nodes)]),
        ("false_positives", vec![run.ledger().false_deaths.len() as f64]),
    ])
}

/// Bytes per second that each member can send.
const GIGABIT: u64 = 125_000_000;
