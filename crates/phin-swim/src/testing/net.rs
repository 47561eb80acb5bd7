//! A network of whole nodes in one thread, for tests of what several of them do together.

use std::{sync::Arc, time::Duration};

use crate::{
    Config, DataUpdate, Generation, Instant, Local, MemberId, Message, Name, Office, OfficeEvent,
    Output, PathPing, QueryAnswer, QueryOutcome, QueryToken, Route, Stats, Swim, Term,
    member::record::tests::{TestKeys, addr, id},
    testing::{at, ms, peer},
    wire::{Part, decode},
};

/// Whether a payload from one node to another is lost.
pub(crate) type Loss = dyn FnMut(u8, u8, &[u8]) -> bool;

/// Nodes on a network that delivers after a millisecond what a test does not drop.
pub(crate) struct Net {
    pub(crate) now: Instant,
    pub(crate) nodes: Vec<Swim>,
    /// When it arrives, from which node, to which, and whether by stream.
    pub(crate) in_flight: Vec<(Instant, u8, u8, bool, Vec<u8>)>,
    /// Whether a payload from one node to another is lost.
    pub(crate) is_lost: Box<Loss>,
    /// The changes of data, and the nodes that reported them.
    pub(crate) events: Vec<(u8, DataUpdate)>,
    /// The messages that applications received: receiver, sender, number, and text.
    pub(crate) messages: Vec<(u8, u8, u64, String)>,
    /// At which node how many publications of which are missing.
    pub(crate) missed: Vec<(u8, u8, u64)>,
    /// The queries to applications: at which node, and its name in an answer.
    pub(crate) asked: Vec<(u8, QueryToken)>,
    /// The immediate answers of applications; none at first.
    pub(crate) answer: Box<dyn FnMut(u8) -> Option<QueryAnswer>>,
    /// The outcomes of queries: the asker, the number, and the member.
    pub(crate) outcomes: Vec<(u8, u64, u8, QueryOutcome)>,
    /// When which queries of which nodes ended.
    pub(crate) ended: Vec<(u8, u64, Instant)>,
    /// The outcomes of pings for operators, and the nodes that sent them.
    pub(crate) pinged: Vec<(u8, Vec<PathPing>)>,
    /// The events of offices: when, at which node.
    pub(crate) offices: Vec<(Instant, u8, OfficeEvent)>,
    /// The promises to be kept.
    pub(crate) unkept: Vec<(u8, Office, Term)>,
    /// Whether they are kept, at once.
    pub(crate) keeps: bool,
    pub(crate) bytes: usize,
}

impl Net {
    /// The number of nodes that have joined the first.
    pub(crate) fn new(nodes: u8) -> Self {
        Self::with(nodes, &Config::lan())
    }

    pub(crate) fn with(nodes: u8, config: &Config) -> Self {
        let mut net = Self {
            now: at(0),
            nodes: Vec::new(),
            in_flight: Vec::new(),
            is_lost: Box::new(|_, _, _| false),
            events: Vec::new(),
            messages: Vec::new(),
            missed: Vec::new(),
            asked: Vec::new(),
            answer: Box::new(|_| None),
            outcomes: Vec::new(),
            ended: Vec::new(),
            pinged: Vec::new(),
            offices: Vec::new(),
            unkept: Vec::new(),
            keeps: true,
            bytes: 0,
        };
        (0..nodes).for_each(|_| net.add(0, config));
        net.run(ms(3_000));
        assert!(net.nodes.iter().all(|node| node.members().live_len() == usize::from(nodes)));
        net
    }

    /// One more node, which joins the first in this run.
    pub(crate) fn add(&mut self, generation: u32, config: &Config) {
        let node = u8::try_from(self.nodes.len()).unwrap();
        let swim = self.start(node, generation, config);
        self.nodes.push(swim);
        if node > 0 {
            self.nodes[usize::from(node)].join(self.now, peer(0));
        }
        self.drain(node);
    }

    pub(crate) fn start(&self, node: u8, generation: u32, config: &Config) -> Swim {
        let name = Name::try_from(format!("n{node}").as_str()).unwrap();
        let local = Local::new(name, vec![addr(node)], Generation(generation));
        let keys = Arc::new(TestKeys(node.into()));
        Swim::new(self.now, local, config.clone(), keys, node.into()).unwrap()
    }

    /// Takes what a node has to say, and has its application answer.
    pub(crate) fn drain(&mut self, node: u8) {
        let before = self.asked.len();
        self.take_outputs(node);
        while let Some((node, office, term)) = self.unkept.pop_if(|_| self.keeps) {
            self.nodes[usize::from(node)].leading(self.now).handle_kept(&office, term);
            self.take_outputs(node);
        }
        for (node, token) in self.asked.split_off(before) {
            match (self.answer)(node) {
                Some(answer) => {
                    self.nodes[usize::from(node)].querying(self.now).reply(token, answer).unwrap();
                    self.take_outputs(node);
                }
                None => self.asked.push((node, token)),
            }
        }
    }

    fn take_outputs(&mut self, node: u8) {
        let number = |id: MemberId| {
            (0..=u8::MAX).find(|&node| crate::member::record::tests::id(node) == id).unwrap()
        };
        while let Some(output) = self.nodes[usize::from(node)].poll_output() {
            let (to, payload, is_stream) = match output {
                Output::Datagram { to, payload } => (number(to.id), payload, false),
                Output::Stream { to, payload } => (number(to.id), payload, true),
                Output::Data(event) => {
                    self.events.push((node, event.update));
                    continue;
                }
                Output::Message(message) => {
                    self.record_message(node, &message);
                    continue;
                }
                Output::MessagesMissed { from, count } => {
                    self.missed.push((node, number(from), count));
                    continue;
                }
                Output::Query { token, .. } => {
                    self.asked.push((node, token));
                    continue;
                }
                Output::QueryOutcome { id, member, outcome } => {
                    self.outcomes.push((node, id.0, number(member), outcome));
                    continue;
                }
                Output::KeepPromise { office, term } => {
                    self.unkept.push((node, office, term));
                    continue;
                }
                Output::Office(event) => {
                    self.offices.push((self.now, node, event));
                    continue;
                }
                Output::Pinged { paths, .. } => {
                    self.pinged.push((node, paths));
                    continue;
                }
                Output::QueryEnded { id } => {
                    self.ended.push((node, id.0, self.now));
                    continue;
                }
                _ => continue,
            };
            if usize::from(to) < self.nodes.len() && !(self.is_lost)(node, to, &payload) {
                self.in_flight.push((self.now + ms(1), node, to, is_stream, payload));
            }
        }
    }

    fn record_message(&mut self, node: u8, message: &Message) {
        let from = (0..=u8::MAX).find(|&from| id(from) == message.from).unwrap();
        let sequence = match message.route {
            Route::Published { sequence, .. } => sequence,
            Route::Sent => 0,
        };
        let text = String::from_utf8_lossy(&message.body).into_owned();
        self.messages.push((node, from, sequence, text));
    }

    /// Runs for so long.
    pub(crate) fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.now < end {
            self.now = self.now + ms(1);
            let (due, later) = self.in_flight.drain(..).partition(|(at, ..)| *at <= self.now);
            self.in_flight = later;
            let due: Vec<_> = due;
            for (_, from, to, is_stream, payload) in due {
                self.bytes += payload.len();
                let swim = &mut self.nodes[usize::from(to)];
                match is_stream {
                    true => swim.handle_stream(self.now, peer(from), &payload),
                    false => swim.handle_datagram(self.now, peer(from), &payload),
                }
                self.drain(to);
            }
            for node in 0..self.nodes.len() {
                if self.nodes[node].poll_timeout().is_some_and(|at| at <= self.now) {
                    self.nodes[node].handle_timeout(self.now);
                    self.drain(node as u8);
                }
            }
        }
    }

    /// Loses everything between these nodes and the others.
    pub(crate) fn split(&mut self, nodes: &'static [u8]) {
        self.is_lost = Box::new(|from, to, _| nodes.contains(&from) != nodes.contains(&to));
    }

    pub(crate) fn heal(&mut self) {
        self.is_lost = Box::new(|_, _, _| false);
    }

    pub(crate) fn stats(&self, node: u8) -> Stats {
        *self.nodes[usize::from(node)].stats()
    }
}

pub(crate) fn is_part(payload: &[u8], is: impl Fn(&Part) -> bool) -> bool {
    decode(payload, &TestKeys(0)).unwrap().parts.iter().any(is)
}
