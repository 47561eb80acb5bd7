//! Members that are neither well nor dead: paths that lose packets in one direction, most of them or long ones, hosts that
//! open no connections, and members that are blocked nearly always. Whether others report them, and whether healthy
//! members suffer.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{Job, Metrics, in_millis, load::LoadWatch, metrics, simulation};
use crate::{
    fault::Fault,
    ledger::FalseVerdict,
    network::{Hosts, Packets, Rule, RuleId},
    node::{Instant, Knowledge, NodeId, millis, secs},
    simulation::Simulation,
};

/// The trouble of some members.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum GrayCase {
    /// One in a hundred loses 80 % of what it sends.
    SendLoss,
    /// One in a hundred loses 80 % of what it should receive.
    ReceiveLoss,
    /// One in a hundred receives nothing for 20 s, everything for 20 s, and so on.
    FlipFlop,
    /// No connection can be opened with 12 of 128; 30 members join.
    NoConnections,
    /// Packets of more than 1,000 bytes to and from one member are lost; 30 members join.
    LargePackets,
    /// Half are blocked for 16 s, again and again after 1 ms.
    #[value(name = "slow-half-16s")]
    SlowHalf16,
    /// Half are blocked for 32 s, again and again after 1 ms.
    #[value(name = "slow-half-32s")]
    SlowHalf32,
    /// A quarter is blocked for 8 s, again and again after 64 ms.
    #[value(name = "slow-quarter-8s")]
    SlowQuarter8,
}

impl GrayCase {
    /// The case of this number in a point.
    pub(crate) fn of(number: f64) -> Option<Self> {
        super::numbered(number)
    }

    /// The cluster sizes that are measured by default.
    pub const fn sizes(self) -> &'static [u32] {
        match self {
            Self::SendLoss | Self::ReceiveLoss | Self::FlipFlop => &[128, 1_000],
            Self::NoConnections
            | Self::LargePackets
            | Self::SlowHalf16
            | Self::SlowHalf32
            | Self::SlowQuarter8 => &[128],
        }
    }

    pub(super) fn trouble(self, nodes: u32) -> Trouble {
        let all = Packets::All;
        match self {
            Self::SendLoss => {
                let lossy = last(nodes, nodes / 100);
                Trouble::new(&lossy, vec![lose(0, &lossy, Way::Sent, all, 0.8, LASTS)])
            }
            Self::ReceiveLoss => {
                let lossy = last(nodes, nodes / 100);
                Trouble::new(&lossy, vec![lose(0, &lossy, Way::Received, all, 0.8, LASTS)])
            }
            Self::FlipFlop => {
                let deaf = last(nodes, nodes / 100);
                let turns = (0..).map(|turn| FLIP * 2 * turn).take_while(|after| *after < LASTS);
                let faults = (0..).zip(turns).map(|(turn, after)| {
                    (after, lose(turn, &deaf, Way::Received, all, 1.0, FLIP).1)
                });
                Trouble::new(&deaf, faults.collect())
            }
            Self::NoConnections => {
                let closed = last(nodes, nodes * 12 / 128);
                let faults = [Way::Sent, Way::Received]
                    .into_iter()
                    .zip(0..)
                    .map(|(way, id)| lose(id, &closed, way, Packets::Handshakes, 1.0, LASTS));
                Trouble { newcomers: 30, ..Trouble::new(&closed, faults.collect()) }
            }
            Self::LargePackets => {
                let one = last(nodes, 1);
                let faults = [Way::Sent, Way::Received]
                    .into_iter()
                    .zip(0..)
                    .map(|(way, id)| lose(id, &one, way, Packets::Above(1_000), 1.0, LASTS));
                Trouble { newcomers: 30, ..Trouble::new(&one, faults.collect()) }
            }
            Self::SlowHalf16 => slow(nodes, nodes / 2, secs(16), millis(1)),
            Self::SlowHalf32 => slow(nodes, nodes / 2, secs(32), millis(1)),
            Self::SlowQuarter8 => slow(nodes, nodes / 4, secs(8), millis(64)),
        }
    }
}

/// The members with a fault, and the fault.
pub(super) struct Trouble {
    pub(super) gray: Vec<NodeId>,
    /// Each after so long.
    pub(super) faults: Vec<(Duration, Fault)>,
    /// How many members join meanwhile.
    newcomers: u32,
}

impl Trouble {
    pub(super) fn new(gray: &[NodeId], faults: Vec<(Duration, Fault)>) -> Self {
        Self { gray: gray.to_vec(), faults, newcomers: 0 }
    }
}

/// The direction in which packets of members are lost.
#[derive(Clone, Copy)]
enum Way {
    Sent,
    Received,
}

/// The last members, at least one. The first are the seeds of newcomers.
pub(super) fn last(nodes: u32, count: u32) -> Vec<NodeId> {
    (nodes - count.clamp(1, nodes)..nodes).map(NodeId).collect()
}

fn lose(
    id: u32,
    members: &[NodeId],
    way: Way,
    packets: Packets,
    loss: f64,
    lasts: Duration,
) -> (Duration, Fault) {
    // Members have the hosts of their numbers.
    let mut set = vec![false; members.iter().map(|member| member.index() + 1).max().unwrap_or(0)];
    members.iter().for_each(|member| set[member.index()] = true);
    let (own, all) = (Hosts::Only(set), Hosts::All);
    let (from, to) = match way {
        Way::Sent => (own, all),
        Way::Received => (all, own),
    };
    let rules = vec![Rule { from, to, packets, loss }];
    let (id, troubled, side_of) = (RuleId(id), members.to_vec(), Vec::new());
    (Duration::ZERO, Fault::Lose { id, rules, troubled, side_of, lasts })
}

fn slow(nodes: u32, count: u32, blocked: Duration, open: Duration) -> Trouble {
    let slow = last(nodes, count);
    let (nodes, until) = (slow.clone(), begins() + LASTS);
    Trouble::new(&slow, vec![(Duration::ZERO, Fault::Slow { nodes, blocked, open, until })])
}

pub(super) fn run(job: &Job) -> Metrics {
    match GrayCase::of(job.point.get("case")) {
        Some(case) => measure(job, &case.trouble(job.point.count("n"))),
        None => Metrics::new(),
    }
}

/// Watches a cluster in which some members are in trouble.
pub(super) fn measure(job: &Job, trouble: &Trouble) -> Metrics {
    let nodes = job.point.count("n");
    let mut run = simulation(job, Knowledge::Everyone, job.network());
    let begins = begins();
    for (after, fault) in &trouble.faults {
        run.schedule(begins + *after, fault.clone());
    }
    let (count, seeds) = (trouble.newcomers, (0..3).map(NodeId).collect());
    if count > 0 {
        run.schedule(begins + NEWCOMERS_AFTER, Fault::Join { count, seeds });
    }
    run.run_until(begins);
    let before = (run.traffic().messages, run.truth().lived(begins));
    let members: Vec<_> = (0..nodes).map(NodeId).collect();
    let mut load = LoadWatch::new(&run, members.clone());
    let (gray, healthy): (Vec<_>, Vec<_>) =
        members.into_iter().partition(|member| trouble.gray.contains(member));
    let mut newcomers = [Newcomers::wanted(count, gray), Newcomers::wanted(count, healthy)];
    let mut early_suspicions = 0;
    load.run_while(&mut run, begins + LASTS, |run| {
        let since = run.now() - begins;
        newcomers.iter_mut().for_each(|wanted| wanted.look(run, since));
        if since <= EARLY {
            early_suspicions = run.ledger().false_suspicions;
        }
        true
    });
    let lived = run.truth().lived(run.now()) - before.1;
    let suspicions = run.ledger().false_suspicions - early_suspicions;
    let [in_gray, in_healthy] = newcomers;
    let mut all = reports(job, &run, trouble);
    all.extend(verdicts(&run, trouble));
    all.extend(metrics([
        ("newcomers_gray", in_gray.known_after(count)),
        ("newcomers_healthy", in_healthy.known_after(count)),
        ("early_suspicions", vec![early_suspicions as f64]),
        ("late_suspicions", vec![suspicions as f64]),
        ("messages", vec![(run.traffic().messages - before.0) as f64]),
        ("seconds", vec![lived.as_secs_f64()]),
        ("load", vec![load.mean]),
        ("worst_load", vec![load.worst]),
        ("last_load", vec![load.present()]),
    ]));
    all
}

/// When newcomers are in the lists of some members.
struct Newcomers {
    in_lists_of: Vec<NodeId>,
    known: Option<Duration>,
}

impl Newcomers {
    const fn wanted(count: u32, in_lists_of: Vec<NodeId>) -> Self {
        // Without any, there is nothing to wait for.
        let known = if count == 0 { Some(Duration::ZERO) } else { None };
        Self { in_lists_of, known }
    }

    fn look(&mut self, run: &Simulation, since: Duration) {
        if self.known.is_some() || since <= NEWCOMERS_AFTER {
            return;
        }
        let live = run.truth().running().count();
        let has_all = |id: &NodeId| run.process(*id).is_some_and(|own| own.live_len() >= live);
        if self.in_lists_of.iter().all(has_all) {
            self.known = Some(since - NEWCOMERS_AFTER);
        }
    }

    fn known_after(&self, count: u32) -> Vec<f64> {
        match count {
            0 => Vec::new(),
            _ => vec![self.known.unwrap_or(LASTS).as_secs_f64() * 1e3],
        }
    }
}

/// Which members were reported as degraded, after how long, and how often reports ended too soon.
fn reports(job: &Job, run: &Simulation, trouble: &Trouble) -> Metrics {
    let nodes = job.point.count("n");
    let all: Vec<_> = (0..nodes).map(NodeId).collect();
    let protocol = job.make(nodes);
    let is_gray = |node: &NodeId| trouble.gray.contains(node);
    // The reports of a member on itself do not help the others.
    let of_others = |reports: &[(Instant, NodeId, NodeId)]| -> Vec<(f64, NodeId, NodeId)> {
        let others = reports.iter().filter(|(_, by, about)| by != about);
        others.map(|&(at, by, about)| (after_begin(at), by, about)).collect()
    };
    let degraded = of_others(&run.ledger().degraded);
    let recovered = of_others(&run.ledger().recovered);
    let mut by_pair = BTreeMap::new();
    for &(at, by, about) in &degraded {
        by_pair.entry((about, by)).or_insert(at);
    }
    let when = |about: NodeId, by: NodeId| by_pair.get(&(about, by)).copied().unwrap_or(NEVER);
    let [mut first, mut by_observers, mut by_all] = [const { Vec::new() }; 3];
    for &subject in &trouble.gray {
        let others = || all.iter().copied().filter(|by| !is_gray(by));
        let observers = protocol.observers(&all, subject).into_iter().filter(|by| !is_gray(by));
        let latest = |at: Option<f64>| at.unwrap_or(NEVER);
        first.push(others().map(|by| when(subject, by)).fold(NEVER, f64::min));
        by_observers.push(latest(observers.map(|by| when(subject, by)).reduce(f64::max)));
        by_all.push(latest(others().map(|by| when(subject, by)).reduce(f64::max)));
    }
    let pairs = by_pair.keys().filter(|(about, _)| is_gray(about)).count();
    let ended = recovered.iter().filter(|(.., about)| is_gray(about)).count();
    let wrongly: BTreeSet<_> = by_pair.keys().map(|pair| pair.0).filter(|n| !is_gray(n)).collect();
    metrics([
        ("degraded_first", first),
        ("degraded_observers", by_observers),
        ("degraded_all", by_all),
        ("flaps", vec![ended as f64 / pairs.max(1) as f64]),
        ("healthy_degraded", vec![wrongly.len() as f64]),
    ])
}

/// Which members were declared dead, by members that are not in trouble.
fn verdicts(run: &Simulation, trouble: &Trouble) -> Metrics {
    let is_gray = |node: &NodeId| trouble.gray.contains(node);
    let verdicts = &run.ledger().false_deaths;
    let (on_gray, on_healthy): (Vec<&FalseVerdict>, Vec<_>) = (verdicts.iter())
        .filter(|verdict| !is_gray(&verdict.observer))
        .partition(|verdict| is_gray(&verdict.subject));
    let removed: BTreeSet<_> = on_healthy.iter().map(|verdict| verdict.subject).collect();
    let anywhere = verdicts.iter().filter(|verdict| !is_gray(&verdict.subject));
    let mut gray_after = BTreeMap::new();
    for verdict in &on_gray {
        gray_after.entry(verdict.subject).or_insert_with(|| after_begin(verdict.at));
    }
    let lists = run.truth().running().filter(|node| !is_gray(node)).count().max(1) as f64;
    let gray = trouble.gray.len() as f64;
    let known = run.ledger().deaths.iter().map(|death| death.all().unwrap_or(LASTS));
    metrics([
        ("removed", vec![removed.len() as f64]),
        ("verdicts", vec![anywhere.count() as f64]),
        ("gray", vec![gray]),
        ("gray_removed", vec![gray_after.len() as f64]),
        ("gray_removed_after", gray_after.into_values().collect()),
        ("gray_removals", vec![on_gray.len() as f64 / lists / gray]),
        ("known", in_millis(&known.collect::<Vec<_>>())),
    ])
}

/// Milliseconds since the trouble began.
fn after_begin(at: Instant) -> f64 {
    at.saturating_since(begins()).as_secs_f64() * 1e3
}

/// When the trouble begins: links have been used by then.
fn begins() -> Instant {
    Instant::START + secs(30)
}

/// How long it lasts.
const LASTS: Duration = secs(120);
/// In milliseconds, what did not happen meanwhile.
pub(crate) const NEVER: f64 = 120_000.0;
/// Suspicions up to this time after its begin are early.
const EARLY: Duration = secs(60);
/// When newcomers come, after the begin.
const NEWCOMERS_AFTER: Duration = secs(10);
/// How long members receive nothing, and everything, in turn.
const FLIP: Duration = secs(20);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        experiment::{Conditions, Experiment, Point},
        protocols::ProtocolKind,
    };

    fn measured(case: GrayCase, protocol: ProtocolKind, nodes: u32) -> Metrics {
        let point = Point::default().with("n", nodes.into()).with("case", f64::from(case as u8));
        let (experiment, conditions) = (Experiment::Gray, Conditions::default());
        run(&Job { experiment, protocol, point, seed: 1, conditions })
    }

    #[test]
    fn a_member_that_receives_nothing_is_removed() {
        let found = measured(GrayCase::FlipFlop, ProtocolKind::Swim, 16);
        assert_eq!((found["gray"][0], found["gray_removed"][0]), (1.0, 1.0), "{found:?}");
        let after = found["gray_removed_after"][0];
        assert!((1_000.0..20_000.0).contains(&after), "{found:?}");
        // Each of the others removes it once: SWIM never takes it back.
        assert_eq!((found["gray_removals"][0], found["removed"][0]), (1.0, 0.0), "{found:?}");
        assert_eq!(found["verdicts"][0], 15.0, "deaf, it holds all others for dead: {found:?}");
        let all_life = found["seconds"][0];
        assert_eq!(all_life, 16.0 * 120.0);
        let rate = found["messages"][0] / all_life;
        let (mean, worst) = (found["load"][0], found["worst_load"][0]);
        assert!(1.5 < rate && rate < mean && mean < worst, "{found:?}");
        assert_eq!((found["degraded_all"][0], found["newcomers_gray"].len()), (NEVER, 0));
    }

    #[test]
    fn a_member_that_loses_most_of_what_it_sends_stays_or_is_evicted_without_harm_to_others() {
        for protocol in [ProtocolKind::Phin, ProtocolKind::PhinEvict] {
            let found = measured(GrayCase::SendLoss, protocol, 16);
            assert_eq!((found["removed"][0], found["verdicts"][0]), (0.0, 0.0), "{found:?}");
            assert!(found["degraded_first"][0] <= found["degraded_observers"][0], "{found:?}");
            assert!(found["degraded_observers"][0] <= found["degraded_all"][0], "{found:?}");
        }
    }

    #[test]
    fn a_member_whose_large_packets_are_lost_is_reported_and_knows_newcomers() {
        let found = measured(GrayCase::LargePackets, ProtocolKind::Phin, 16);
        let (gray, healthy) = (found["newcomers_gray"][0], found["newcomers_healthy"][0]);
        assert!(0.0 < healthy && healthy < gray && gray < NEVER, "{found:?}");
        assert!(found["degraded_all"][0] < NEVER, "{found:?}");
        assert_eq!(found["healthy_degraded"][0], 0.0, "{found:?}");
    }

    #[test]
    fn members_that_can_open_no_connection_keep_those_they_have() {
        let found = measured(GrayCase::NoConnections, ProtocolKind::Phin, 24);
        assert_eq!((found["gray"][0], found["gray_removed"][0]), (2.0, 0.0), "{found:?}");
        assert!(found["newcomers_healthy"][0] < NEVER, "{found:?}");
        let suspicions = found["early_suspicions"][0] + found["late_suspicions"][0];
        assert!(suspicions > 0.0, "those in trouble cannot reach newcomers: {found:?}");
    }
}
