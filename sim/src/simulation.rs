//! The run itself: events in order, hosts, processes, and what is between them.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::{
    asking::{Asking, Port, Quota},
    clock::Clock,
    connection::{CloseReason, Connection, ConnectionId},
    fault::Fault,
    ledger::Ledger,
    network::{Network, NetworkConfig},
    node::{
        Action, Channel, Generation, HostId, Input, Instant, Knowledge, NodeId, Notice, Peer,
        Process, Protocol, Start,
    },
    oracle::{Oracle, Violation},
    queue::{Class, Queue},
    trace::{Trace, TraceHash, mix},
    traffic::Traffic,
    truth::{Life, TrueNode, Truth},
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
    pub(crate) now: Instant,
    pub(crate) queue: Queue<Event>,
    pub(crate) rng: ChaCha8Rng,
    pub(crate) network: Network,
    pub(crate) hosts: Vec<Host>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) protocol: Arc<dyn Protocol>,
    pub(crate) truth: Truth,
    pub(crate) ledger: Ledger,
    pub(crate) traffic: Traffic,
    pub(crate) trace: Trace,
    pub(crate) last_connection: ConnectionId,
    pub(crate) last_question: u64,
    oracles: Vec<Box<dyn Oracle>>,
    seed: u64,
    events: u64,
    max_events: u64,
}

/// A machine.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) zone: usize,
    pub(crate) state: HostState,
    /// How many faults pause it.
    pub(crate) pauses: u32,
    /// Whether its kernel answers for closed ports, when it is up.
    pub(crate) answers: bool,
    /// The host behind, where this is an address that a gateway gives to what that host dials, and knows the way back.
    pub(crate) forwards_to: Option<HostId>,
    /// Whose process has the port.
    pub(crate) occupant: Option<NodeId>,
    /// By sending host: how many more refusals it gets.
    pub(crate) refusals: BTreeMap<HostId, Quota>,
    /// By host: how often it may still be asked from here.
    pub(crate) asks: BTreeMap<HostId, Quota>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum HostState {
    Up,
    Down,
}

/// An identity and the process that has it.
pub(crate) struct Node {
    pub(crate) host: HostId,
    /// From where its dials are seen to come, if it is behind a gateway.
    pub(crate) mapped: Option<HostId>,
    pub(crate) process: Option<Box<dyn Process>>,
    /// How many faults pause it.
    pub(crate) pauses: u32,
    /// Lifeguard's slow member: until when nothing it sends leaves it and nothing it receives reaches it.
    pub(crate) blocked_until: Option<Instant>,
    pub(crate) generation: Generation,
    pub(crate) clock: Clock,
    pub(crate) connections: BTreeMap<NodeId, Connection>,
    /// What arrived while it was paused or blocked.
    pub(crate) held: VecDeque<Packet>,
    /// What it sent while it was blocked.
    pub(crate) unsent: Vec<Action>,
    pub(crate) questions: BTreeMap<u64, Asking>,
    wake_at: Option<Instant>,
}

/// What is to happen.
#[derive(Debug)]
pub(crate) enum Event {
    Arrival(Box<Packet>),
    Wake(NodeId),
    /// A dial has had no answer for a while.
    Redial(NodeId, NodeId, ConnectionId),
    /// A connection may have been idle, or its peer silent, for too long.
    CheckConnection(NodeId, NodeId, ConnectionId),
    /// A stream that did not get through tries again.
    Retry(Box<Packet>, u32),
    /// A question has had no answer for long enough.
    AskTimeout(NodeId, u64),
    Unblock(NodeId),
    Fault(Box<Fault>),
}

/// What travels between hosts.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) from: Peer,
    pub(crate) to: Peer,
    pub(crate) content: Content,
}

#[derive(Clone, Debug)]
pub(crate) enum Content {
    Hello(ConnectionId),
    Accept(ConnectionId),
    WrongIdentity(ConnectionId),
    Close(ConnectionId, CloseReason),
    Reset(ConnectionId),
    Message(ConnectionId, Channel, Arc<[u8]>),
    /// A datagram to the member's own port, or to a closed one.
    Knock(u64, Port),
    Refusal(u64),
    /// To whom a packet of another kind was refused.
    PortRefused,
}

impl Simulation {
    /// A run at its first moment: all members start in it.
    pub fn new(setup: Setup, protocol: Arc<dyn Protocol>) -> Self {
        let mut simulation = Self {
            now: Instant::START,
            queue: Queue::new(),
            rng: ChaCha8Rng::seed_from_u64(setup.seed),
            network: Network::new(setup.network),
            hosts: Vec::new(),
            nodes: Vec::new(),
            protocol,
            truth: Truth::default(),
            ledger: Ledger::default(),
            traffic: Traffic::default(),
            trace: Trace::default(),
            last_connection: ConnectionId(0),
            last_question: 0,
            oracles: Vec::new(),
            seed: setup.seed,
            events: 0,
            max_events: u64::MAX,
        };
        let zones = simulation.network.config.latency.len();
        for number in 0..setup.nodes {
            let answers = setup.firewalled_every == 0 || number % setup.firewalled_every != 0;
            let host = simulation.add_host(number as usize % zones, answers);
            let node = simulation.add_node(host);
            simulation.start_process(node, Generation(1), setup.knowledge);
        }
        simulation
    }

    /// Adds a watcher; it sees what happens from now on.
    pub fn watch(&mut self, oracle: Box<dyn Oracle>) {
        self.oracles.push(oracle);
    }

    /// Writes a line for each thing that happens.
    pub fn trace_to(&mut self, writer: Box<dyn std::io::Write + Send>) {
        self.trace.write_to(writer);
    }

    /// Lets something happen at that moment.
    pub fn schedule(&mut self, at: Instant, fault: Fault) {
        self.queue.push(at, Class::Timer, Event::Fault(Box::new(fault)));
    }

    /// Runs until that moment.
    pub fn run_until(&mut self, until: Instant) {
        while self.events < self.max_events
            && let Some((at, event)) = self.queue.pop_until(until)
        {
            debug_assert!(at >= self.now, "time runs forwards");
            self.now = at;
            self.events += 1;
            self.handle_event(event);
        }
        self.now = self.now.max(until);
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
        while self.now < until && goes_on(self) {
            self.run_until((self.now + step).min(until));
        }
    }

    /// Asks every oracle for a last look, and returns what they found.
    pub fn finish(&mut self) -> Vec<Violation> {
        let mut oracles = std::mem::take(&mut self.oracles);
        oracles.iter_mut().for_each(|oracle| oracle.finish(self));
        let found = oracles.iter_mut().flat_map(|oracle| oracle.take_violations()).collect();
        self.oracles = oracles;
        found
    }

    /// Lets every oracle look at the run as it is now.
    pub fn inspect(&mut self) {
        let mut oracles = std::mem::take(&mut self.oracles);
        oracles.iter_mut().for_each(|oracle| oracle.inspect(self));
        self.oracles = oracles;
    }

    /// The moment the run has reached.
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// The hash of everything delivered and told so far.
    pub const fn trace_hash(&self) -> TraceHash {
        self.trace.hash
    }

    /// How many events were handled.
    pub const fn events(&self) -> u64 {
        self.events
    }

    /// How many events are to come.
    pub fn pending_events(&self) -> usize {
        self.queue.len()
    }

    /// What is true.
    pub const fn truth(&self) -> &Truth {
        &self.truth
    }

    /// Who learnt what when.
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The books, to be told how much to excuse.
    pub const fn ledger_mut(&mut self) -> &mut Ledger {
        &mut self.ledger
    }

    /// What was sent.
    pub const fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// The process of a member, if it has one.
    pub fn process(&self, node: NodeId) -> Option<&dyn Process> {
        self.nodes.get(node.index())?.process.as_deref()
    }

    /// The moment on a member's own clock.
    pub fn local_now(&self, node: NodeId) -> Instant {
        self.nodes.get(node.index()).map_or(self.now, |node| node.clock.local(self.now))
    }

    /// How many connections a member has open.
    pub fn open_connections(&self, node: NodeId) -> usize {
        let node = self.nodes.get(node.index());
        node.map_or(0, |node| node.connections.values().filter(|c| c.is_open()).count())
    }

    /// Where a member is.
    pub fn peer(&self, node: NodeId) -> Option<Peer> {
        Some(Peer { node, host: self.nodes.get(node.index())?.host })
    }

    pub(crate) fn add_host(&mut self, zone: usize, answers: bool) -> HostId {
        let state = HostState::Up;
        self.hosts.push(Host {
            zone,
            state,
            pauses: 0,
            answers,
            forwards_to: None,
            occupant: None,
            refusals: BTreeMap::new(),
            asks: BTreeMap::new(),
        });
        HostId(self.hosts.len() as u32 - 1)
    }

    pub(crate) fn add_node(&mut self, host: HostId) -> NodeId {
        self.nodes.push(Node {
            host,
            mapped: None,
            process: None,
            pauses: 0,
            blocked_until: None,
            generation: Generation(0),
            clock: Clock::default(),
            connections: BTreeMap::new(),
            held: VecDeque::new(),
            unsent: Vec::new(),
            questions: BTreeMap::new(),
            wake_at: None,
        });
        NodeId(self.nodes.len() as u32 - 1)
    }

    pub(crate) fn start_process(
        &mut self,
        id: NodeId,
        generation: Generation,
        knowledge: Knowledge,
    ) {
        let node = &mut self.nodes[id.index()];
        node.generation = generation;
        let host = node.host;
        let rng_seed =
            mix(mix(self.seed ^ 0x5eed) ^ (u64::from(id.0) << 32 | u64::from(generation.0)));
        let now = node.clock.local(self.now);
        let start = Start { node: id, host, generation, now, rng_seed, knowledge };
        node.process = Some(self.protocol.start(start));
        self.hosts[host.index()].occupant = Some(id);
        let troubles = self.truth.node(id).map_or(0, |node| node.troubles);
        let trouble_ended = self.truth.node(id).and_then(|node| node.trouble_ended);
        let starts = self.truth.node(id).map_or(0, |node| node.starts) + 1;
        let (life, since) = (Life::Running, self.now);
        self.truth.set(
            id,
            TrueNode {
                host,
                life,
                since,
                generation,
                former: Generation(0),
                starts,
                troubles,
                trouble_ended,
            },
        );
        self.trace.line(self.now, format_args!("{id} starts, generation {}", generation.0));
        self.reschedule(id);
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

    fn wake(&mut self, id: NodeId) {
        let node = &mut self.nodes[id.index()];
        // A later call for an earlier deadline has made this one stale, or the process is gone or stopped.
        if node.wake_at != Some(self.now) || self.is_stopped(id) {
            return;
        }
        self.nodes[id.index()].wake_at = None;
        self.input(id, Input::Timeout);
    }

    /// Whether the process does nothing at present: it or its host is paused, or gone.
    pub(crate) fn is_stopped(&self, id: NodeId) -> bool {
        let node = &self.nodes[id.index()];
        let host = &self.hosts[node.host.index()];
        node.process.is_none() || node.pauses + host.pauses > 0 || host.state == HostState::Down
    }

    /// Hands an input to a process and does what it asks for.
    pub(crate) fn input(&mut self, id: NodeId, input: Input<'_>) {
        let node = &mut self.nodes[id.index()];
        let Some(process) = &mut node.process else {
            return;
        };
        let now = node.clock.local(self.now);
        let mut actions = Vec::new();
        process.handle(now, input, &mut actions);
        for action in actions {
            self.act(id, action);
        }
        self.reschedule(id);
    }

    pub(crate) fn reschedule(&mut self, id: NodeId) {
        let node = &mut self.nodes[id.index()];
        let Some(deadline) = node.process.as_ref().and_then(|process| process.next_deadline())
        else {
            return;
        };
        let at = node.clock.global(deadline).max(self.now);
        if node.wake_at.is_none_or(|wake_at| at < wake_at || wake_at < self.now) {
            node.wake_at = Some(at);
            self.queue.push(at, Class::Timer, Event::Wake(id));
        }
    }

    /// Forgets the wake that was asked for, because the clock or the process is another now.
    pub(crate) fn forget_wake(&mut self, id: NodeId) {
        self.nodes[id.index()].wake_at = None;
    }

    pub(crate) fn act(&mut self, id: NodeId, action: Action) {
        if self.nodes[id.index()].blocked_until.is_some() && is_sent(&action) {
            self.nodes[id.index()].unsent.push(action);
            return;
        }
        match action {
            Action::Send { to, channel, payload } => self.send(id, to, channel, payload),
            Action::Disconnect(peer) => self.disconnect(id, peer, CloseReason::Unwanted),
            Action::AskHost { about, question } => self.ask_host(id, about, question),
            Action::Notice(notice) => self.note(id, notice),
            Action::Isolated(is_isolated) => {
                self.say(format_args!("{id} is isolated: {is_isolated}"));
                if is_isolated {
                    self.ledger.isolated.push((self.now, id));
                }
            }
            Action::Degraded(subject, is_degraded) => {
                self.say(format_args!("{id} finds {subject} degraded: {is_degraded}"));
                if is_degraded {
                    self.ledger.degraded.push((self.now, id, subject));
                }
            }
            Action::Generation(generation) => {
                self.nodes[id.index()].generation = generation;
                self.truth.set_generation(id, generation);
            }
        }
    }

    fn note(&mut self, observer: NodeId, notice: Notice) {
        let Notice { subject, belief, version } = notice;
        let (generation, incarnation) = (version.generation.0, version.incarnation.0);
        let hash = &mut self.trace.hash;
        hash.word(self.now.since_start().as_nanos() as u64);
        hash.word(u64::from(observer.0) << 32 | u64::from(subject.0));
        hash.word(belief as u64);
        hash.word(u64::from(generation) << 32 | u64::from(incarnation));
        self.trace.line(
            self.now,
            format_args!("{observer} holds {subject} ({generation}.{incarnation}) for {belief}"),
        );
        self.ledger.record(&self.truth, self.now, observer, notice);
        for oracle in &mut self.oracles {
            oracle.observe(&self.truth, self.now, observer, notice);
        }
    }

    pub(crate) fn say(&mut self, text: std::fmt::Arguments<'_>) {
        self.trace.line(self.now, text);
    }
}

/// Whether this leaves the host, and so waits while a slow member is blocked.
const fn is_sent(action: &Action) -> bool {
    match action {
        Action::Send { .. } | Action::AskHost { .. } | Action::Disconnect(_) => true,
        Action::Notice(_) | Action::Isolated(_) | Action::Degraded(..) | Action::Generation(_) => {
            false
        }
    }
}
