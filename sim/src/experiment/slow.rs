//! Lifeguard's experiment (Dadgar, Phillips, Currey, DSN 2018, §V): some members are blocked again and again, and
//! healthy members must not be declared dead.

use std::collections::BTreeSet;

use super::{Job, Metrics, metrics, simulation};
use crate::{
    fault::Fault,
    node::{Instant, Knowledge, NodeId, secs},
};

pub(super) fn run(job: &Job) -> Metrics {
    let point = &job.point;
    let nodes = point.count("n");
    let mut run = simulation(job, Knowledge::Everyone, job.network());
    let begins = Instant::START + secs(15);
    let ends = begins + secs(120);
    // All members are alike, so take the first.
    let slow: Vec<_> = (0..point.count("c")).map(NodeId).collect();
    let (blocked, open) = (secs(1).mul_f64(point.get("d")), secs(1).mul_f64(point.get("i")));
    run.schedule(begins, Fault::Slow { nodes: slow.clone(), blocked, open, until: ends });
    run.run_until(begins);
    let before = run.traffic().messages;
    run.run_until(ends);
    let messages = run.traffic().messages - before;
    let verdicts = &run.ledger().false_deaths;
    let is_slow = |node: NodeId| slow.contains(&node);
    let on_healthy = || verdicts.iter().filter(|verdict| !is_slow(verdict.subject));
    let at_healthy = on_healthy().filter(|verdict| !is_slow(verdict.observer)).count();
    let members: BTreeSet<_> = on_healthy().map(|verdict| verdict.subject).collect();
    metrics([
        ("false_positives", vec![on_healthy().count() as f64]),
        ("false_positives_at_healthy", vec![at_healthy as f64]),
        ("members_declared", vec![members.len() as f64]),
        ("slow_declared", vec![(verdicts.len() - on_healthy().count()) as f64]),
        ("messages", vec![messages as f64]),
        ("seconds", vec![f64::from(nodes) * 120.0]),
    ])
}
