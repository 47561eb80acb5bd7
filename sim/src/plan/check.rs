//! Measures in simulations what a plan states: members of settled clusters die in every way, at moments spread evenly over a
//! period.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use phin_report::Samples;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Kind, Plan, Quantiles, calm_period};
use crate::{
    fault::{Fault, Scope},
    node::{Instant, Knowledge, NodeId},
    phin::Phin,
    runner::run_all,
    simulation::{Setup, Simulation},
    trace::mix,
};

/// How much is simulated.
#[derive(Clone, Copy, Debug)]
pub struct CheckSettings {
    /// Deaths of each kind, at least.
    pub deaths: u32,
    /// The first seed.
    pub seed: u64,
    /// Simulations at once.
    pub threads: usize,
}

/// A quantile of the plan beside the measured one, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Deviation {
    /// The share of deaths.
    pub share: f64,
    /// The quantile by the plan.
    pub model: f64,
    /// The measured quantile.
    pub measured: f64,
    /// The 95 % confidence interval of the measured quantile.
    pub interval: (f64, f64),
}

impl Deviation {
    fn of(share: f64, model: f64, samples: &Samples) -> Self {
        // Between the samples on both sides: deaths are spread evenly, so that one side alone is too early.
        let next = samples.quantile(share + 1.0 / samples.len() as f64);
        let measured = f64::midpoint(samples.quantile(share), next);
        Self { share, model, measured, interval: samples.interval(share) }
    }

    /// How much longer the measured time is, relative to the plan.
    pub fn relative(&self) -> f64 {
        self.measured / self.model - 1.0
    }

    /// The least deviation of any value in the confidence interval.
    pub fn at_least(&self) -> f64 {
        let (low, high) = self.interval;
        self.model.clamp(low, high.max(low)) / self.model - 1.0
    }
}

/// The plan beside the measurement, for one kind of silence.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// The kind of silence.
    pub kind: Kind,
    /// How many members died.
    pub deaths: usize,
    /// How many deaths not all others knew of in time; they count as the longest time waited for.
    pub unnoticed: usize,
    /// Quantiles of the first suspicion: none if the plan states that there is none.
    pub suspected: Vec<Deviation>,
    /// Quantiles of the time until all know.
    pub known: Vec<Deviation>,
    /// Messages of a member because of a death: by the plan, and measured.
    pub messages: (f64, f64),
}

/// The results of a check.
#[derive(Clone, Debug)]
pub struct Checked {
    /// Each kind of silence.
    pub comparisons: Vec<Comparison>,
    /// Messages of a calm member in a second: by the plan, and measured.
    pub messages: (f64, f64),
    /// Bytes, as the simulator counts them.
    pub bytes: (f64, f64),
    /// Simulated hours of members, all together.
    pub member_hours: f64,
    /// Live members declared dead.
    pub false_deaths: u64,
    /// Suspicions of live members, counted at each member that learned of them.
    pub false_suspicions: u64,
}

impl Checked {
    /// False deaths in a year of the planned cluster of which so few were seen: at most so many, with 95 % confidence. Without
    /// any, this is the rule of three.
    pub fn most_false_deaths(&self, plan: &Plan) -> f64 {
        let seen = self.false_deaths as f64;
        // An upper limit of a Poisson mean: exactly 3.0 for none, and close to it for more.
        let most = seen + 3.0 + 1.65 * seen.sqrt();
        most / self.member_hours * f64::from(plan.inputs.members) * super::mistakes::HOURS_OF_YEAR
    }
}

/// One simulation: a cluster, the part of the period in which its members die, and how.
struct Run {
    group: u64,
    part: u32,
    kinds: Vec<Kind>,
}

/// The result of one simulation.
#[derive(Default)]
struct Found {
    deaths: Vec<Measured>,
    idle: (u64, u64, f64),
    member_seconds: f64,
    false_deaths: u64,
    false_suspicions: u64,
}

struct Measured {
    kind: Kind,
    suspected: Option<f64>,
    known: Option<f64>,
    waited: f64,
    messages: f64,
}

/// Simulates the cluster of a plan.
pub fn check(plan: &Plan, settings: CheckSettings) -> Checked {
    let runs = runs(plan, settings.deaths.max(1));
    let found = run_all(&runs, settings.threads, "check", |run| run.measure(plan, settings.seed));
    compare(plan, &found)
}

/// The runs: a group has one seed, and one run for each part of the period, so that the same members die at moments that are
/// spread evenly over it.
fn runs(plan: &Plan, deaths: u32) -> Vec<Run> {
    let config = &plan.inputs.config;
    // After the first death, periods are short again.
    let is_calm = calm_period(config) > config.period;
    let most = if is_calm { 1 } else { (plan.inputs.members / 4).clamp(1, MAX_KILLS) };
    let of_each = deaths.div_ceil(PARTS);
    let all: Vec<_> = (0..of_each).flat_map(|_| Kind::ALL).collect();
    let groups = all.chunks(most as usize).zip(0..);
    let runs = groups.flat_map(|(kinds, group)| {
        (0..PARTS).map(move |part| Run { group, part, kinds: kinds.to_vec() })
    });
    runs.collect()
}

impl Run {
    fn measure(&self, plan: &Plan, seed: u64) -> Found {
        let inputs = &plan.inputs;
        let (members, period) = (inputs.members, calm_period(&inputs.config));
        let seed = mix(seed ^ self.group);
        let protocol = Phin::new("plan", inputs.config.clone(), seed, members);
        let protocol = protocol.expect("the plan was made with these settings");
        let setup = Setup {
            seed,
            nodes: members,
            knowledge: Knowledge::Everyone,
            network: inputs.network.clone(),
            firewalled_every: FIREWALLED_EVERY,
        };
        let mut run = Simulation::new(setup, Arc::new(protocol));
        let warm_up = period * (SETTLED_TURNS * u32::from(inputs.config.rings))
            + if period > inputs.config.period { period * 32 } else { Duration::ZERO };
        run.run_until(Instant::START + warm_up / 2);
        let before = (run.traffic().messages, run.traffic().bytes);
        run.run_until(Instant::START + warm_up);
        let seconds = (warm_up / 2).as_secs_f64() * f64::from(members);
        let idle = (run.traffic().messages - before.0, run.traffic().bytes - before.1, seconds);
        let mut found = Found { idle, ..Found::default() };
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (mut victims, mut begins) = (BTreeSet::new(), Instant::START + warm_up);
        for &kind in &self.kinds {
            let candidates: Vec<_> = (0..members)
                .filter(|number| (kind == Kind::Unknown) == (number % FIREWALLED_EVERY == 0))
                .map(NodeId)
                .filter(|node| !victims.contains(node))
                .collect();
            if candidates.is_empty() || victims.len() as u32 + 2 > members {
                continue;
            }
            let victim = candidates[rng.random_range(0..candidates.len())];
            victims.insert(victim);
            let place = (f64::from(self.part) + rng.random::<f64>()) / f64::from(PARTS);
            let lasts = patience(plan, kind);
            let at = begins + period.mul_f64(place);
            let observers = members as usize - victims.len();
            let moments = (at, begins + lasts);
            found.deaths.push(kill(&mut run, observers, (victim, kind), moments, idle));
            begins = begins + lasts;
        }
        found.member_seconds = (begins - Instant::START).as_secs_f64() * f64::from(members);
        let wrong = run.ledger().false_deaths.iter().map(|verdict| verdict.subject);
        let wrong: BTreeSet<_> = wrong.filter(|subject| !victims.contains(subject)).collect();
        found.false_deaths = wrong.len() as u64;
        found.false_suspicions = run.ledger().false_suspicions;
        found
    }
}

/// Lets a member die at a moment, and measures until another one. Members that hang run on, but learn nothing.
fn kill(
    run: &mut Simulation,
    observers: usize,
    (victim, kind): (NodeId, Kind),
    (at, until): (Instant, Instant),
    (idle, _, member_seconds): (u64, u64, f64),
) -> Measured {
    let fault = match kind {
        Kind::Gone => Fault::CrashProcess(vec![victim]),
        Kind::Silent | Kind::Unknown => Fault::CrashHost(vec![victim]),
        Kind::Hung => Fault::Pause {
            nodes: vec![victim],
            scope: Scope::Process,
            lasts: Duration::from_secs(365 * 24 * 3_600),
        },
    };
    run.schedule(at, fault);
    run.run_until(at);
    let messages = run.traffic().messages;
    run.run_until(until);
    let ledger = run.ledger();
    let (known, suspected): (Vec<Duration>, _) = match kind {
        Kind::Hung => {
            let verdicts = ledger.false_deaths.iter().filter(|verdict| verdict.subject == victim);
            let first = ledger.first_suspected.iter().find(|(_, node)| *node == victim);
            (verdicts.map(|verdict| verdict.at - at).collect(), first.map(|(when, _)| *when - at))
        }
        Kind::Gone | Kind::Silent | Kind::Unknown => {
            let death = ledger.deaths.iter().rev().find(|death| death.subject == victim);
            death.map_or((Vec::new(), None), |death| (death.learnt.clone(), death.suspected))
        }
    };
    let waited = (until - at).as_secs_f64();
    let expected = idle as f64 / member_seconds * waited;
    let sent = (run.traffic().messages - messages) as f64 / observers as f64;
    Measured {
        kind,
        suspected: suspected.map(|duration| duration.as_secs_f64()),
        known: known.get(observers - 1).map(Duration::as_secs_f64),
        waited,
        messages: sent - expected,
    }
}

/// How long a death may take to be known, in whole periods: twice what the plan states, and then some time to settle.
fn patience(plan: &Plan, kind: Kind) -> Duration {
    let period = calm_period(&plan.inputs.config);
    let stated = plan.detection.iter().find(|detection| detection.kind == kind);
    let seconds = stated.map_or(0.0, |detection| detection.known.p99 * 1.25);
    let periods = libm::ceil(seconds / period.as_secs_f64()).min(1e6) as u32;
    let settling = period.max(MIN_SETTLING);
    period * (periods + libm::ceil(settling.as_secs_f64() / period.as_secs_f64()) as u32)
}

fn compare(plan: &Plan, found: &[Found]) -> Checked {
    let sum = |value: fn(&Found) -> f64| found.iter().map(value).sum::<f64>();
    let seconds = sum(|found| found.idle.2);
    let comparisons = plan.detection.iter().map(|detection| {
        let kind = detection.kind;
        let deaths = || found.iter().flat_map(|f| &f.deaths).filter(move |d| d.kind == kind);
        let known = Samples::new(deaths().map(|d| d.known.unwrap_or(d.waited)).collect());
        let suspected = Samples::new(deaths().filter_map(|d| d.suspected).collect());
        let messages: f64 = deaths().map(|death| death.messages).sum();
        let cost = plan.load.deaths.iter().find(|cost| cost.kind == kind);
        Comparison {
            kind,
            deaths: known.len(),
            unnoticed: deaths().filter(|death| death.known.is_none()).count(),
            suspected: detection.suspected.map_or(Vec::new(), |q| deviations(q, &suspected)),
            known: deviations(detection.known, &known),
            messages: (cost.map_or(0.0, |cost| cost.messages), messages / known.len() as f64),
        }
    });
    Checked {
        comparisons: comparisons.collect(),
        messages: (plan.load.messages, sum(|found| found.idle.0 as f64) / seconds),
        bytes: (plan.load.simulated_bytes, sum(|found| found.idle.1 as f64) / seconds),
        member_hours: sum(|found| found.member_seconds) / 3_600.0,
        false_deaths: found.iter().map(|found| found.false_deaths).sum(),
        false_suspicions: found.iter().map(|found| found.false_suspicions).sum(),
    }
}

fn deviations(quantiles: Quantiles, samples: &Samples) -> Vec<Deviation> {
    if samples.is_empty() {
        return Vec::new();
    }
    let Quantiles { p50, p90, p99 } = quantiles;
    let stated = [(0.5, p50), (0.9, p90), (0.99, p99)];
    stated.map(|(share, model)| Deviation::of(share, model, samples)).to_vec()
}

/// The parts of a period: one death in each.
const PARTS: u32 = 8;
/// The most deaths in one run: each changes the observers of others, whose links are new.
const MAX_KILLS: u32 = 8;
/// How many times each link was used before the first death. The prior of a link fades over ten answers (detector.md).
const SETTLED_TURNS: u32 = 12;
/// Each of so many hosts is behind a firewall.
const FIREWALLED_EVERY: u32 = 4;
/// The shortest pause between two deaths.
const MIN_SETTLING: Duration = Duration::from_secs(3);
