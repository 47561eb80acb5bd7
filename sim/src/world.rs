//! The state of a run: hosts and processes, the network between them, the events to come, and the records.
//!
//! The files below have the rules, one group each. They call each other: a process that receives a message sends
//! others, and the end of a connection at the request of a process is reported to that process immediately.

use std::{collections::BTreeMap, sync::Arc};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::{
    connection::ConnectionId,
    fault::Fault,
    ledger::Ledger,
    machines::Machines,
    network::{Network, NetworkConfig},
    node::{Instant, NodeId, Protocol},
    oracle::{Oracle, View},
    packet::Packet,
    queue::{Class, Queue},
    trace::Trace,
    traffic::Traffic,
    truth::Truth,
};

mod connections;
mod faults;
mod processes;
mod questions;
mod wire;

/// A run at one moment.
pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) network: Network,
    pub(crate) machines: Machines,
    pub(crate) truth: Truth,
    pub(crate) ledger: Ledger,
    pub(crate) traffic: Traffic,
    pub(crate) trace: Trace,
    pub(crate) oracles: Vec<Box<dyn Oracle>>,
    queue: Queue<Event>,
    rng: ChaCha8Rng,
    seed: u64,
    protocol: Arc<dyn Protocol>,
    last_connection: ConnectionId,
    last_question: u64,
    /// The members that were ever expelled: the statement that did it first, and whether they still are.
    expelled: BTreeMap<NodeId, (Vec<u8>, bool)>,
    /// How many values were written: each is another one.
    last_written: u64,
    /// Whether what messages carry is counted.
    pub(crate) counts_parts: bool,
}

/// A pending event.
#[derive(Debug)]
enum Event {
    Arrival(Box<Packet>),
    Wake(NodeId),
    /// A dial has had no answer for a while.
    Redial(NodeId, NodeId, ConnectionId),
    /// A connection may have been idle, or its peer silent, for too long.
    CheckConnection(NodeId, NodeId, ConnectionId),
    /// A stream that was lost is sent again.
    Retry(Box<Packet>, u32),
    /// A question has had no answer for long enough.
    AskTimeout(NodeId, u64),
    Unblock(NodeId),
    Fault(Box<Fault>),
}

impl World {
    /// A world without hosts.
    pub(crate) fn new(seed: u64, network: NetworkConfig, protocol: Arc<dyn Protocol>) -> Self {
        Self {
            now: Instant::START,
            network: Network::new(network),
            machines: Machines::default(),
            truth: Truth::default(),
            ledger: Ledger::default(),
            traffic: Traffic::default(),
            trace: Trace::default(),
            oracles: Vec::new(),
            queue: Queue::new(),
            rng: ChaCha8Rng::seed_from_u64(seed),
            seed,
            protocol,
            last_connection: ConnectionId(0),
            last_question: 0,
            expelled: BTreeMap::new(),
            last_written: 0,
            counts_parts: false,
        }
    }

    /// Schedules a fault.
    pub(crate) fn schedule(&mut self, at: Instant, fault: Fault) {
        self.queue.push(at, Class::Timer, Event::Fault(Box::new(fault)));
    }

    /// Handles the next event if it is not after `until`. Returns whether there was one.
    pub(crate) fn step(&mut self, until: Instant) -> bool {
        let Some((at, event)) = self.queue.pop_until(until) else {
            return false;
        };
        debug_assert!(at >= self.now, "time runs forwards");
        self.now = at;
        self.handle_event(event);
        true
    }

    /// The number of pending events.
    pub(crate) fn pending_events(&self) -> usize {
        self.queue.len()
    }

    /// The state of the run for oracles.
    pub(crate) const fn view(&self) -> View<'_> {
        let Self { now, machines, truth, ledger, traffic, .. } = self;
        View { now: *now, machines, truth, ledger, traffic }
    }

    fn handle_event(&mut self, event: Event) {
        match event {
            Event::Arrival(packet) => self.arrive(*packet),
            Event::Wake(id) => self.wake(id),
            Event::Redial(from, to, connection) => self.redial(from, to, connection),
            Event::CheckConnection(from, to, connection) => {
                self.check_connection(from, to, connection);
            }
            Event::Retry(packet, attempt) => self.try_stream(*packet, attempt),
            Event::AskTimeout(asker, number) => self.end_question(asker, number),
            Event::Unblock(id) => self.unblock(id),
            Event::Fault(fault) => self.apply(*fault),
        }
    }

    fn is_expelled(&self, id: NodeId) -> bool {
        self.expelled.get(&id).is_some_and(|(_, is_expelled)| *is_expelled)
    }

    fn say(&mut self, text: std::fmt::Arguments<'_>) {
        self.trace.line(self.now, text);
    }
}
