//! Liars among the observers of one member: for how long it is missing from the lists of others, or how late they know of
//! its death, by the number of liars.

use std::time::Duration;

use phin_swim::SignedVotes;
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use super::{Job, Metrics, metrics, simulation};
use crate::{
    fault::Fault,
    lie::{Lie, Lies},
    network::NetworkConfig,
    node::{Belief, Instant, Knowledge, NodeId, Protocol, millis, secs},
    simulation::Simulation,
    trace::mix,
};

/// The lie of all liars of a run.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum LiarCase {
    /// Forged verdicts on a living member.
    Verdict,
    /// Verdicts with the valid signatures of all liars.
    SignedVerdict,
    /// Accusations and votes.
    Vote,
    /// Signed votes.
    SignedVote,
    /// Suspicions in the name of an observer.
    Suspect,
    /// Records and summaries that list the member as dead.
    List,
    /// All these at once.
    Accusations,
    /// `Clear` of a member that dies.
    Clear,
    /// Answers in place of a member that dies.
    Ack,
    /// `Abstain` about a member that dies.
    Abstain,
    /// These three at once.
    SignsOfLife,
}

impl LiarCase {
    /// The case of this number in a point.
    pub(crate) fn of(number: f64) -> Option<Self> {
        super::numbered(number)
    }

    /// Whether the lie hides a death.
    pub fn hides(self) -> bool {
        self.lie().hides()
    }

    /// The lie.
    pub const fn lie(self) -> Lie {
        match self {
            Self::Verdict => Lie::Verdict,
            Self::SignedVerdict => Lie::SignedVerdict,
            Self::Vote => Lie::Vote,
            Self::SignedVote => Lie::SignedVote,
            Self::Suspect => Lie::Suspect,
            Self::List => Lie::List,
            Self::Accusations => Lie::Accusations,
            Self::Clear => Lie::Clear,
            Self::Ack => Lie::Ack,
            Self::Abstain => Lie::Abstain,
            Self::SignsOfLife => Lie::SignsOfLife,
        }
    }

    /// The number of observers that the victim has in a cluster of this size: all others in a small one, in others the
    /// number that members have in the mean, as one may precede them in several rings.
    pub fn observers(nodes: u32, rings: u8) -> u32 {
        let others = nodes.saturating_sub(1);
        if others <= u32::from(rings) {
            return others;
        }
        let missed = (1.0 - 1.0 / f64::from(others)).powi(rings.into());
        (f64::from(others) * (1.0 - missed)).round() as u32
    }
}

/// Some observers of a member lie. If the lie hides a death, the member dies meanwhile.
pub(super) fn run(job: &Job) -> Metrics {
    let mut job = job.clone();
    let signed = job.point.count("signed") == 1;
    let mode = if signed { SignedVotes::Require } else { SignedVotes::Off };
    job.conditions.config.signed_votes = Some(mode);
    let (point, seed) = (&job.point, job.seed);
    let case = LiarCase::of(point.get("case")).unwrap_or(LiarCase::Verdict);
    let nodes = point.count("n");
    let all: Vec<_> = (0..nodes).map(NodeId).collect();
    let (victim, mut liars) = victim(&*job.make(nodes), &all, point.count("observers"));
    liars.shuffle(&mut ChaCha8Rng::seed_from_u64(mix(seed)));
    liars.truncate(point.count("liars") as usize);
    let network = NetworkConfig { loss: point.get("loss"), ..job.network() };
    let mut run = simulation(&job, Knowledge::Everyone, network);
    let begins = Instant::START + secs(15) + millis(mix(seed) % 1_000);
    let (about, every, lasts) = (vec![victim], millis(50), secs(600));
    let lies = Lies { lie: case.lie(), liars: liars.clone(), about, every, count: 0, lasts };
    run.schedule(begins, Fault::Lie(liars.clone(), lies));
    run.run_until(begins);
    let healthy: Vec<_> =
        all.into_iter().filter(|id| *id != victim && !liars.contains(id)).collect();
    let mut measured = match case.hides() {
        true => hidden(&mut run, victim, point.count("kill") == 0),
        false => accused(&mut run, victim, &healthy),
    };
    let verdicts = run.ledger().false_deaths.iter();
    let verdicts = verdicts.filter(|verdict| healthy.contains(&verdict.observer));
    let subjects: Vec<_> = verdicts.map(|verdict| verdict.subject).collect();
    let on_victim = subjects.iter().filter(|&&subject| subject == victim).count();
    measured.extend(metrics([
        ("false_deaths", vec![on_victim as f64]),
        ("others_declared", vec![(subjects.len() - on_victim) as f64]),
    ]));
    measured
}

/// The member whose number of observers comes next to the wanted one, and its observers.
fn victim(protocol: &dyn Protocol, all: &[NodeId], wanted: u32) -> (NodeId, Vec<NodeId>) {
    let observed = all.iter().map(|&node| (node, protocol.observers(all, node)));
    let nearest = observed.min_by_key(|(_, by)| (by.len() as u32).abs_diff(wanted));
    nearest.expect("a cluster has members")
}

/// The shares of the time in which the victim is missing from the lists of healthy members.
fn accused(run: &mut Simulation, victim: NodeId, healthy: &[NodeId]) -> Metrics {
    let begins = run.now();
    let mut missing = vec![0_u32; healthy.len()];
    let mut looks = 0;
    while run.now() < begins + ACCUSED_FOR {
        // Not in time with the lies.
        run.run_until(run.now() + millis(37));
        looks += 1;
        for (&observer, missing) in healthy.iter().zip(&mut missing) {
            let belief = run.process(observer).and_then(|process| process.belief(victim));
            *missing += u32::from(!belief.is_some_and(Belief::is_live));
        }
    }
    let share = |count: u32| 100.0 * f64::from(count) / f64::from(looks);
    let worst = missing.iter().copied().max().unwrap_or_default();
    let mean = share(missing.iter().sum()) / healthy.len().max(1) as f64;
    metrics([("missing_mean", vec![mean]), ("missing_worst", vec![share(worst)])])
}

/// The time until all healthy members know of the death of the victim.
fn hidden(run: &mut Simulation, victim: NodeId, is_host: bool) -> Metrics {
    let at = run.now() + secs(5);
    run.schedule(
        at,
        match is_host {
            true => Fault::CrashHost(vec![victim]),
            false => Fault::CrashProcess(vec![victim]),
        },
    );
    run.run_until(at);
    let known = |run: &Simulation| run.ledger().deaths.first().and_then(|death| death.all());
    run.run_while(at + PATIENCE, millis(100), |run| known(run).is_none());
    let all = known(run).unwrap_or(PATIENCE);
    metrics([("known", vec![all.as_secs_f64() * 1e3])])
}

/// For how long a living member is accused.
const ACCUSED_FOR: Duration = secs(60);
/// The longest wait for all to know of a hidden death.
pub(super) const PATIENCE: Duration = secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        experiment::{Conditions, Experiment, Point},
        protocols::ProtocolKind,
    };

    fn job(case: LiarCase, liars: u32, signed: bool) -> Job {
        let point = Point::default().with("n", 9.0).with("observers", 8.0).with("loss", 0.01);
        let point = point.with("case", f64::from(case as u8)).with("liars", liars.into());
        Job {
            experiment: Experiment::Liars,
            protocol: ProtocolKind::Phin,
            point: point.with("signed", f64::from(u8::from(signed))).with("kill", 0.0),
            seed: 1,
            conditions: Conditions::default(),
        }
    }

    #[test]
    fn liars_short_of_a_majority_achieve_nothing_where_votes_are_signed() {
        let missing = |liars, signed| run(&job(LiarCase::Accusations, liars, signed));
        let first = |metrics: &Metrics, name: &str| metrics[name][0];
        let (off, four, five) = (missing(4, false), missing(4, true), missing(5, true));
        assert!(first(&off, "missing_mean") > 0.0, "{off:?}");
        assert!(first(&off, "missing_worst") >= first(&off, "missing_mean"), "{off:?}");
        assert!(first(&off, "false_deaths") >= 1.0, "{off:?}");
        assert_eq!(first(&four, "missing_worst"), 0.0, "{four:?}");
        assert_eq!(first(&four, "false_deaths"), 0.0, "{four:?}");
        assert!(first(&five, "false_deaths") >= 1.0, "{five:?}");
    }

    #[test]
    fn a_hidden_death_is_known_sooner_where_votes_are_signed() {
        let known = |liars, signed| run(&job(LiarCase::Clear, liars, signed))["known"][0];
        let (calm, off, required) = (known(0, false), known(4, false), known(4, true));
        assert!(calm < 3_000.0 && required < off, "{calm} {off} {required}");
    }

    #[test]
    fn the_victim_has_as_many_observers_as_members_have_in_the_mean() {
        assert_eq!(LiarCase::observers(2, 8), 1);
        assert_eq!(LiarCase::observers(5, 8), 4);
        assert_eq!(LiarCase::observers(9, 8), 8);
        assert_eq!(LiarCase::observers(16, 8), 6);
        assert_eq!(LiarCase::observers(64, 8), 8);
        for (nodes, seed) in [(16, 1), (16, 2), (64, 1), (64, 2)] {
            let protocol = ProtocolKind::Phin.make(seed, nodes);
            let all: Vec<_> = (0..nodes).map(NodeId).collect();
            let wanted = LiarCase::observers(nodes, 8);
            let (victim, observers) = victim(&*protocol, &all, wanted);
            assert_eq!(observers.len(), wanted as usize, "{nodes} {seed}");
            assert!(!observers.contains(&victim));
        }
    }
}
