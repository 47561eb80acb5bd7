//! Measures how quickly deaths become known: several kills per run, with one protocol, size and network.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{
    fault::{Fault, Write},
    network::NetworkConfig,
    node::{Instant, Knowledge, NodeId, Protocol, millis, secs},
    simulation::{Setup, Simulation},
    trace::mix,
};

/// The parameters of one run.
#[derive(Clone, Debug)]
pub struct Measurement {
    /// The number of members.
    pub nodes: u32,
    /// The network between them.
    pub network: NetworkConfig,
    /// The time before the first kill, in which members learn their links and the idle load is measured.
    pub warm_up: Duration,
    /// The number of kills, one after the other.
    pub kills: u32,
    /// The kind of kill.
    pub kill: Kill,
    /// The longest wait for all members to know of a kill.
    pub patience: Duration,
    /// The writes of members meanwhile.
    pub load: Option<Load>,
    /// Faults from the start on.
    pub faults: Vec<Fault>,
}

/// The writes of members while hosts die.
#[derive(Clone, Debug)]
pub struct Load {
    /// The write of each.
    pub write: Write,
    /// How often.
    pub every: Duration,
    /// How many of the members do, the first ones.
    pub by: u32,
}

/// The kind of kill.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Kill {
    /// The whole host, which then answers nothing.
    Host,
    /// The process, whose host then refuses its port.
    Process,
    /// The whole host of a member behind a firewall, which never answered questions.
    Firewalled,
}

/// The results of one run.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// For each kill that a member noticed, the time until the first knew.
    pub first: Vec<Duration>,
    /// The times until half of the members knew.
    pub median: Vec<Duration>,
    /// The times until all knew, or the longest wait if they did not.
    pub all: Vec<Duration>,
    /// The times from the first to the last member that knew, if all knew.
    pub spread: Vec<Duration>,
    /// The times until a member first suspected it.
    pub suspected: Vec<Duration>,
    /// Kills that some members did not know of in time.
    pub unnoticed: u32,
    /// Messages in the first half of the warm-up, and the member-seconds of that time.
    pub early: (u64, f64),
    /// Messages and bytes while nothing happened, and the member-seconds of that time.
    pub idle: (u64, u64, f64),
    /// Messages while members died, and the member-seconds of that time.
    pub busy: (u64, f64),
    /// False verdicts, counted at each member.
    pub false_positives: u64,
    /// Living members that were declared dead.
    pub wrongly_dead: u64,
    /// Suspicions of healthy members, counted at each member.
    pub false_suspicions: u64,
    /// Events handled.
    pub events: u64,
}

impl Measured {
    /// Adds the results of another run.
    pub fn merge(&mut self, other: Self) {
        self.first.extend(other.first);
        self.median.extend(other.median);
        self.all.extend(other.all);
        self.spread.extend(other.spread);
        self.suspected.extend(other.suspected);
        self.unnoticed += other.unnoticed;
        let (messages, bytes, seconds) = other.idle;
        self.idle = (self.idle.0 + messages, self.idle.1 + bytes, self.idle.2 + seconds);
        self.early = (self.early.0 + other.early.0, self.early.1 + other.early.1);
        self.busy = (self.busy.0 + other.busy.0, self.busy.1 + other.busy.1);
        self.false_positives += other.false_positives;
        self.wrongly_dead += other.wrongly_dead;
        self.false_suspicions += other.false_suspicions;
        self.events += other.events;
    }
}

impl Measurement {
    /// Runs it with this seed.
    pub fn run(&self, seed: u64, protocol: Arc<dyn Protocol>) -> Measured {
        let setup = Setup {
            seed,
            nodes: self.nodes,
            knowledge: Knowledge::Everyone,
            network: self.network.clone(),
            firewalled_every: u32::from(self.kill == Kill::Firewalled),
        };
        let mut run = Simulation::new(setup, protocol);
        let mut rng = ChaCha8Rng::seed_from_u64(mix(seed));
        self.schedule_writes(&mut run);
        for fault in &self.faults {
            run.schedule(Instant::START, fault.clone());
        }
        // The first half of the warm-up opens connections; the second shows the load of a calm cluster.
        run.run_until(Instant::START + self.warm_up / 2);
        let before = (run.traffic().messages, run.traffic().bytes);
        run.run_until(Instant::START + self.warm_up);
        let after = (run.traffic().messages, run.traffic().bytes);
        let seconds = (self.warm_up / 2).as_secs_f64() * f64::from(self.nodes);
        let lived = run.truth().lived(run.now());
        let mut measured = Measured {
            early: (before.0, seconds),
            idle: (after.0 - before.0, after.1 - before.1, seconds),
            ..Measured::default()
        };
        let mut victims: Vec<_> = (0..self.nodes).map(NodeId).collect();
        for _ in 0..self.kills.min(self.nodes.saturating_sub(2)) {
            let victim = victims.swap_remove(rng.random_range(0..victims.len()));
            let at = run.now() + secs(1).mul_f64(rng.random::<f64>());
            run.schedule(
                at,
                match self.kill {
                    Kill::Host | Kill::Firewalled => Fault::CrashHost(vec![victim]),
                    Kill::Process => Fault::CrashProcess(vec![victim]),
                },
            );
            run.run_until(at);
            let is_open = |run: &Simulation| {
                run.ledger().deaths.last().is_some_and(|death| death.unaware > 0)
            };
            run.run_while(at + self.patience, millis(100), is_open);
            // Effects still under way, such as the end of a connection, must not affect the next kill.
            run.run_until(run.now() + PAUSE);
        }
        let lived = run.truth().lived(run.now()) - lived;
        measured.busy = (run.traffic().messages - after.0, lived.as_secs_f64());
        for death in &run.ledger().deaths {
            measured.first.extend(death.first());
            measured.median.extend(death.median());
            measured.spread.extend(death.first().zip(death.all()).map(|(first, all)| all - first));
            measured.suspected.extend(death.suspected);
            measured.all.push(death.all().unwrap_or(self.patience));
            measured.unnoticed += u32::from(death.all().is_none());
        }
        let verdicts = &run.ledger().false_deaths;
        measured.false_positives = verdicts.len() as u64;
        let subjects: BTreeSet<_> = verdicts.iter().map(|verdict| verdict.subject).collect();
        measured.wrongly_dead = subjects.len() as u64;
        measured.false_suspicions = run.ledger().false_suspicions;
        measured.events = run.events();
        measured
    }

    /// The members' turns are spread over the time between two writes of one.
    fn schedule_writes(&self, run: &mut Simulation) {
        let Some(Load { write, every, by }) = &self.load else {
            return;
        };
        let (lasts, between) = (self.warm_up + WRITES_AFTER_KILL * self.kills, *every / *by);
        let moments = (0..).map(|turn| between * turn).take_while(|after| *after < lasts);
        for (turn, after) in (0_u32..).zip(moments) {
            let writers = vec![NodeId(turn % by)];
            run.schedule(Instant::START + after, Fault::Write(writers, write.clone()));
        }
    }
}

/// For how long after each kill members write at least.
const WRITES_AFTER_KILL: Duration = secs(8);
/// The pause between the end of one kill and the next.
const PAUSE: Duration = secs(3);
