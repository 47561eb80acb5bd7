//! The interface of a run: its setup, its progress and its results.

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

/// The setup of a run.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The seed of everything random in it.
    pub seed: u64,
    /// The number of members at the start, each on its own host.
    pub nodes: u32,
    /// The members that each member knows.
    pub knowledge: Knowledge,
    /// The network between them.
    pub network: NetworkConfig,
    /// The interval of hosts behind a firewall, which answer no questions about their ports; 0 means none.
    pub firewalled_every: u32,
}

/// A run under way.
pub struct Simulation {
    world: World,
    events: u64,
    max_events: u64,
}

impl Simulation {
    /// Creates a run and starts all members.
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

    /// Adds an oracle, which observes all events from now on.
    pub fn watch(&mut self, oracle: Box<dyn Oracle>) {
        self.world.oracles.push(oracle);
    }

    /// Writes a line for each event.
    pub fn trace_to(&mut self, writer: Box<dyn std::io::Write + Send>) {
        self.world.trace.write_to(writer);
    }

    /// Schedules a fault.
    pub fn schedule(&mut self, at: Instant, fault: Fault) {
        self.world.schedule(at, fault);
    }

    /// Runs until a moment.
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

    /// Ends the run after this many events, so that a message storm is a finding and not an endless run.
    pub const fn limit_events(&mut self, max_events: u64) {
        self.max_events = max_events;
    }

    /// Whether the limit of events ended the run.
    pub const fn is_exhausted(&self) -> bool {
        self.events >= self.max_events
    }

    /// Runs until a moment, or to the end of the first step after which `is_done` returns true.
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

    /// Lets all oracles finish, and returns their violations.
    pub fn finish(&mut self) -> Vec<Violation> {
        let mut oracles = std::mem::take(&mut self.world.oracles);
        oracles.iter_mut().for_each(|oracle| oracle.finish(self.world.view()));
        let found = oracles.iter_mut().flat_map(|oracle| oracle.take_violations()).collect();
        self.world.oracles = oracles;
        found
    }

    /// Lets all oracles inspect the present state.
    pub fn inspect(&mut self) {
        let mut oracles = std::mem::take(&mut self.world.oracles);
        oracles.iter_mut().for_each(|oracle| oracle.inspect(self.world.view()));
        self.world.oracles = oracles;
    }

    /// The present moment of the run.
    pub const fn now(&self) -> Instant {
        self.world.now
    }

    /// The hash of all deliveries and notices so far.
    pub const fn trace_hash(&self) -> TraceHash {
        self.world.trace.hash
    }

    /// The number of events handled.
    pub const fn events(&self) -> u64 {
        self.events
    }

    /// The number of pending events.
    pub fn pending_events(&self) -> usize {
        self.world.pending_events()
    }

    /// The truth about the members.
    pub const fn truth(&self) -> &Truth {
        &self.world.truth
    }

    /// The records of deaths and verdicts.
    pub const fn ledger(&self) -> &Ledger {
        &self.world.ledger
    }

    /// The records, to change what is excused.
    pub const fn ledger_mut(&mut self) -> &mut Ledger {
        &mut self.world.ledger
    }

    /// The counts of messages.
    pub const fn traffic(&self) -> &Traffic {
        &self.world.traffic
    }

    /// The process of a member, if it runs.
    pub fn process(&self, node: NodeId) -> Option<&dyn Process> {
        self.world.view().process(node)
    }
}
