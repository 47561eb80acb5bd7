//! A run as its user sees it: how it begins, how far it goes, and what came of it.

use std::{sync::Arc, time::Duration};

use crate::{
    fault::Fault,
    ledger::Ledger,
    network::NetworkConfig,
    node::{Generation, Instant, Knowledge, NodeId, Process, Protocol},
    oracle::{Oracle, Violation},
    trace::TraceHash,
    traffic::Traffic,
    truth::Truth,
    world::World,
};

/// How a run begins.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The seed of everything random in it.
    pub seed: u64,
    /// How many members there are at first, each on a host of its own.
    pub nodes: u32,
    /// What they know of one another.
    pub knowledge: Knowledge,
    /// The network between them.
    pub network: NetworkConfig,
    /// Every so many hosts, one answers no question about its ports (a firewall); 0 means that all answer.
    pub firewalled_every: u32,
}

/// A run under way.
pub struct Simulation {
    world: World,
    events: u64,
    max_events: u64,
}

impl Simulation {
    /// A run at its first moment: all members start in it.
    pub fn new(setup: Setup, protocol: Arc<dyn Protocol>) -> Self {
        let zones = setup.network.latency.len();
        let mut world = World::new(setup.seed, setup.network, protocol);
        for number in 0..setup.nodes {
            let answers = setup.firewalled_every == 0 || number % setup.firewalled_every != 0;
            let host = world.machines.add_host(number as usize % zones, answers);
            let node = world.machines.add_node(host);
            world.start_process(node, Generation(1), setup.knowledge);
        }
        Self { world, events: 0, max_events: u64::MAX }
    }

    /// Adds a watcher; it sees what happens from now on.
    pub fn watch(&mut self, oracle: Box<dyn Oracle>) {
        self.world.oracles.push(oracle);
    }

    /// Writes a line for each thing that happens.
    pub fn trace_to(&mut self, writer: Box<dyn std::io::Write + Send>) {
        self.world.trace.write_to(writer);
    }

    /// Lets something happen at that moment.
    pub fn schedule(&mut self, at: Instant, fault: Fault) {
        self.world.schedule(at, fault);
    }

    /// Runs until that moment.
    pub fn run_until(&mut self, until: Instant) {
        while self.events < self.max_events && self.world.step(until) {
            self.events += 1;
        }
        self.world.now = self.world.now.max(until);
    }

    /// Counts from now on what messages carry.
    pub const fn count_parts(&mut self) {
        self.world.counts_parts = true;
    }

    /// Ends the run after so many events: a storm is then a finding, and not an endless run.
    pub const fn limit_events(&mut self, max_events: u64) {
        self.max_events = max_events;
    }

    /// Whether the run was ended that way.
    pub const fn is_exhausted(&self) -> bool {
        self.events >= self.max_events
    }

    /// Runs until that moment, but stops at the end of the first step in which `is_done` holds.
    pub fn run_while(
        &mut self,
        until: Instant,
        step: Duration,
        mut goes_on: impl FnMut(&Self) -> bool,
    ) {
        while self.world.now < until && goes_on(self) {
            self.run_until((self.world.now + step).min(until));
        }
    }

    /// Asks every oracle for a last look, and returns what they found.
    pub fn finish(&mut self) -> Vec<Violation> {
        let mut oracles = std::mem::take(&mut self.world.oracles);
        oracles.iter_mut().for_each(|oracle| oracle.finish(self.world.view()));
        let found = oracles.iter_mut().flat_map(|oracle| oracle.take_violations()).collect();
        self.world.oracles = oracles;
        found
    }

    /// Lets every oracle look at the run as it is now.
    pub fn inspect(&mut self) {
        let mut oracles = std::mem::take(&mut self.world.oracles);
        oracles.iter_mut().for_each(|oracle| oracle.inspect(self.world.view()));
        self.world.oracles = oracles;
    }

    /// The moment the run has reached.
    pub const fn now(&self) -> Instant {
        self.world.now
    }

    /// The hash of everything delivered and told so far.
    pub const fn trace_hash(&self) -> TraceHash {
        self.world.trace.hash
    }

    /// How many events were handled.
    pub const fn events(&self) -> u64 {
        self.events
    }

    /// How many events are to come.
    pub fn pending_events(&self) -> usize {
        self.world.pending_events()
    }

    /// What is true.
    pub const fn truth(&self) -> &Truth {
        &self.world.truth
    }

    /// Who learnt what when.
    pub const fn ledger(&self) -> &Ledger {
        &self.world.ledger
    }

    /// The books, to be told how much to excuse.
    pub const fn ledger_mut(&mut self) -> &mut Ledger {
        &mut self.world.ledger
    }

    /// What was sent.
    pub const fn traffic(&self) -> &Traffic {
        &self.world.traffic
    }

    /// The process of a member, if it has one.
    pub fn process(&self, node: NodeId) -> Option<&dyn Process> {
        self.world.view().process(node)
    }
}
