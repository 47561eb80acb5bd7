//! Many hosts die at the same moment, or a cluster is split in halves for a few seconds: how soon all members know what
//! there is to know, and what that costs them.

use std::time::Duration;

use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use super::{
    Job, Metrics, in_millis,
    load::{LoadWatch, WINDOW},
    metrics, simulation,
};
use crate::{
    fault::Fault,
    network::RuleId,
    node::{Instant, Knowledge, NodeId, millis, secs},
    simulation::Simulation,
    trace::mix,
};

/// The event that strikes a cluster at one moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum MassCase {
    /// A third of the hosts go down.
    Third,
    /// Half of the hosts go down.
    Half,
    /// The network is cut in two halves for 5 s.
    Split,
}

impl MassCase {
    /// The case of this number in a point.
    pub(crate) fn of(number: f64) -> Option<Self> {
        super::numbered(number)
    }
}

pub(super) fn run(job: &Job) -> Metrics {
    let nodes = job.point.count("n");
    match MassCase::of(job.point.get("case")) {
        Some(MassCase::Third) => deaths(job, nodes / 3),
        Some(MassCase::Half) => deaths(job, nodes / 2),
        Some(MassCase::Split) => split(job),
        None => Metrics::new(),
    }
}

/// Not a whole number of periods, so that seeds begin at different phases of them.
fn begins(job: &Job) -> Instant {
    Instant::START + secs(20) + millis(mix(job.seed) % 1_000)
}

/// So many random hosts go down.
fn deaths(job: &Job, count: u32) -> Metrics {
    let mut run = simulation(job, Knowledge::Everyone, job.network());
    let mut survivors: Vec<_> = (0..job.point.count("n")).map(NodeId).collect();
    survivors.shuffle(&mut ChaCha8Rng::seed_from_u64(mix(job.seed)));
    let victims = survivors.split_off(survivors.len() - count as usize);
    let at = begins(job);
    run.schedule(at, Fault::CrashHost(victims));
    run.run_until(at);
    let mut load = LoadWatch::new(&run, survivors);
    let unknown = |run: &Simulation| run.ledger().deaths.iter().any(|death| death.unaware > 0);
    load.run_while(&mut run, at + WINDOW, |_| true);
    let first_load = load.present();
    load.run_while(&mut run, at + PATIENCE, unknown);
    load.run_while(&mut run, at + AT_LEAST, |_| true);
    let deaths = &run.ledger().deaths;
    let known: Vec<_> = deaths.iter().map(|death| death.all().unwrap_or(PATIENCE)).collect();
    let first: Vec<_> = deaths.iter().filter_map(|death| death.first()).collect();
    let last = known.iter().max().copied().unwrap_or(PATIENCE);
    let mut measured = metrics([
        ("first", in_millis(&first)),
        ("all", in_millis(&known)),
        ("last", in_millis(&[last])),
        ("first_load", vec![first_load]),
        ("unnoticed", vec![deaths.iter().filter(|death| death.unaware > 0).count() as f64]),
    ]);
    measured.extend(common(&run, &load));
    measured
}

/// Two halves cannot reach each other for a while.
fn split(job: &Job) -> Metrics {
    let nodes = job.point.count("n");
    let mut run = simulation(job, Knowledge::Everyone, job.network());
    let all: Vec<_> = (0..nodes).map(NodeId).collect();
    let mut mixed = all.clone();
    mixed.shuffle(&mut ChaCha8Rng::seed_from_u64(mix(job.seed)));
    let half = mixed.split_off(mixed.len() / 2);
    let at = begins(job);
    run.schedule(at, Fault::partition(RuleId(1), &[half, mixed], nodes, SPLIT_FOR));
    run.run_until(at);
    let mut load = LoadWatch::new(&run, all.clone());
    load.run_while(&mut run, at + SPLIT_FOR, |_| true);
    let healed = run.now();
    let lacking = |run: &Simulation| -> usize {
        let missing = |&id: &NodeId| {
            let listed = run.process(id).map_or(0, |process| process.live_len());
            (nodes as usize).saturating_sub(listed)
        };
        all.iter().map(missing).sum()
    };
    // The share of the other side that a member holds for dead, in the mean.
    let removed = lacking(&run) as f64 / f64::from(nodes) / f64::from(nodes / 2).max(1.0);
    let mut whole = None;
    let mut is_split = |run: &Simulation| {
        if whole.is_none() && lacking(run) == 0 {
            whole = Some(run.now() - healed);
        }
        whole.is_none()
    };
    load.run_while(&mut run, healed + WINDOW, |run| {
        is_split(run);
        true
    });
    let first_load = load.present();
    load.run_while(&mut run, healed + PATIENCE, is_split);
    let whole = whole.unwrap_or(PATIENCE);
    load.run_while(&mut run, healed + AT_LEAST, |_| true);
    let mut measured = metrics([
        ("whole", in_millis(&[whole])),
        ("removed", vec![100.0 * removed]),
        ("first_load", vec![first_load]),
    ]);
    measured.extend(common(&run, &load));
    measured
}

fn common(run: &Simulation, load: &LoadWatch) -> Metrics {
    metrics([
        ("load", vec![load.mean]),
        ("worst_load", vec![load.worst]),
        ("false_positives", vec![run.ledger().unexcused().count() as f64]),
    ])
}

/// How long a split lasts.
pub(crate) const SPLIT_FOR: Duration = secs(5);
/// The longest wait for all to know, or for the halves to be whole again.
pub(crate) const PATIENCE: Duration = secs(120);
/// The load is watched for at least so long, also where all is known sooner.
const AT_LEAST: Duration = secs(15);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        experiment::{Conditions, Experiment, Point},
        protocols::ProtocolKind,
    };

    fn job(case: MassCase, protocol: ProtocolKind) -> Job {
        let point = Point::default().with("n", 12.0).with("case", f64::from(case as u8));
        let (experiment, conditions) = (Experiment::Mass, Conditions::default());
        Job { experiment, protocol, point, seed: 1, conditions }
    }

    #[test]
    fn every_death_is_measured_at_every_survivor() {
        for (case, dead) in [(MassCase::Third, 4), (MassCase::Half, 6)] {
            let measured = run(&job(case, ProtocolKind::Phin));
            assert_eq!(measured["all"].len(), dead, "{measured:?}");
            let longest = measured["all"].iter().copied().fold(0.0, f64::max);
            assert_eq!(measured["last"], [longest]);
            assert!((1_000.0..20_000.0).contains(&longest), "{measured:?}");
            // A cluster in which nothing happens sends two messages a second.
            let (load, worst) = (measured["load"][0], measured["worst_load"][0]);
            assert!(2.5 < load && load < worst, "{measured:?}");
            assert_eq!((measured["unnoticed"][0], measured["false_positives"][0]), (0.0, 0.0));
        }
    }

    #[test]
    fn a_split_removes_the_other_side_from_lists_and_is_whole_again() {
        let measured = run(&job(MassCase::Split, ProtocolKind::Phin));
        assert_eq!(measured["removed"], [100.0], "{measured:?}");
        assert!((1.0..30_000.0).contains(&measured["whole"][0]), "{measured:?}");
        assert!(measured["worst_load"][0] > measured["load"][0], "{measured:?}");
        // Lifeguard's suspicion outlasts the split.
        let patient = run(&job(MassCase::Split, ProtocolKind::Lifeguard));
        assert!(patient["removed"][0] < 100.0, "{patient:?}");
    }
}
