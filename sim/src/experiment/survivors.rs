//! Measures the time until every survivor knows of every death, and the load, after all but a few members die at once.

use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use super::{Job, Metrics, metrics, simulation};
use crate::{
    fault::Fault,
    node::{Instant, Knowledge, NodeId, millis, secs},
    simulation::Simulation,
    trace::mix,
};

pub(super) fn run(job: &Job) -> Metrics {
    let Job { point, seed, .. } = job;
    let seed = *seed;
    let nodes = point.count("n");
    let mut run = simulation(job, Knowledge::Everyone, job.network());
    let mut members: Vec<_> = (0..nodes).map(NodeId).collect();
    members.shuffle(&mut ChaCha8Rng::seed_from_u64(mix(seed)));
    let victims = members.split_off(point.count("survivors").min(nodes) as usize);
    let survivors = members;
    let at = Instant::START + secs(20) + millis(mix(seed) % 1_000);
    run.schedule(
        at,
        match point.count("kill") {
            0 => Fault::CrashHost(victims),
            _ => Fault::CrashProcess(victims),
        },
    );
    run.run_until(at);
    let sent = |run: &Simulation| -> u64 {
        survivors.iter().map(|&survivor| run.traffic().of(survivor).0).sum()
    };
    let before = sent(&run);
    let mut last = before;
    let mut peak = 0;
    while run.now() < at + PATIENCE && unknown(&run) > 0 {
        run.run_until(run.now() + secs(1));
        let now = sent(&run);
        (peak, last) = (peak.max(now - last), now);
    }
    let survivor_seconds = (run.now() - at).as_secs_f64() * survivors.len() as f64;
    let known = run.ledger().deaths.iter().filter_map(|death| death.learnt.last());
    let known_to_all = known.max().copied().unwrap_or(PATIENCE);
    let all = if unknown(&run) > 0 { PATIENCE } else { known_to_all };
    let isolated = run.ledger().isolated.iter().map(|(_, id)| *id);
    let isolated: std::collections::BTreeSet<_> = isolated.collect();
    metrics([
        ("all", vec![all.as_secs_f64() * 1e3]),
        ("unknown", vec![unknown(&run) as f64]),
        ("messages", vec![(last - before) as f64]),
        ("survivor_seconds", vec![survivor_seconds]),
        ("peak", vec![peak as f64 / survivors.len() as f64]),
        ("isolated", vec![isolated.len() as f64]),
        ("false_positives", vec![run.ledger().false_deaths.len() as f64]),
    ])
}

/// The number of unknown deaths, counted at each survivor.
fn unknown(run: &Simulation) -> usize {
    run.ledger().deaths.iter().map(|death| death.unaware).sum()
}

/// The longest wait for the survivors to know.
pub(super) const PATIENCE: std::time::Duration = secs(300);
