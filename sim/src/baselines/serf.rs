//! serf's user events: each member gossips the events of late to three random ones each 200 ms, on datagrams, and each event
//! so often (memberlist's `TransmitLimitedQueue`).
//!
//! There is no failure detector: all members count as live. Events are taken from full-list exchanges too, each 30 s; that is
//! left out.

use std::{collections::BTreeSet, time::Duration};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Event, Reader, version};
use crate::{
    node::{
        Action, Belief, Channel, HostId, Input, Instant, Line, MessageNews, NodeId, Peer, Process,
        Protocol, Start, Transport, Usage, millis,
    },
    traffic::PartBytes,
};

/// serf's way of spreading events.
#[derive(Clone, Copy, Debug)]
pub struct Serf {
    /// How many members there are.
    pub nodes: u32,
}

impl Protocol for Serf {
    fn name(&self) -> &str {
        "serf"
    }

    fn transport(&self) -> Transport {
        Transport::Udp
    }

    fn parts(&self, payload: &[u8]) -> PartBytes {
        let mut reader = Reader(payload);
        let events = std::iter::from_fn(|| Event::decode(&mut reader, HEADER_BYTES));
        let (publications, published) = (events.count() as u64, payload.len() as u64);
        PartBytes { publications, published, ..PartBytes::default() }
    }

    fn start(&self, start: Start) -> Box<dyn Process> {
        let mut rng = ChaCha8Rng::seed_from_u64(start.rng_seed);
        let gossip_at = start.now + INTERVAL.mul_f64(rng.random());
        let (seen, queue) = Default::default();
        Box::new(Node { me: start.node, nodes: self.nodes, last: 0, seen, queue, gossip_at, rng })
    }
}

struct Node {
    me: NodeId,
    nodes: u32,
    /// The number of the last event of this member.
    last: u64,
    seen: BTreeSet<(NodeId, u64)>,
    /// The events to gossip, and how often each was sent.
    queue: Vec<(u32, Vec<u8>)>,
    gossip_at: Instant,
    rng: ChaCha8Rng,
}

impl Node {
    fn gossip(&mut self, actions: &mut Vec<Action>) {
        for _ in 0..FANOUT.min(self.nodes as usize - 1) {
            let payload = self.take();
            if payload.is_empty() {
                return;
            }
            let node = loop {
                let node = NodeId(self.rng.random_range(0..self.nodes));
                if node != self.me {
                    break node;
                }
            };
            // A member of this number has the host of the same number, as nobody moves.
            let to = Peer { node, host: HostId(node.0) };
            actions.push(Action::Send { to, channel: Channel::Datagram, payload });
        }
    }

    /// The events for one datagram: those sent least often first, as far as they fit.
    fn take(&mut self) -> Vec<u8> {
        let limit = RETRANSMIT_MULTIPLIER * f64::from(self.nodes + 1).log10().ceil() as u32;
        self.queue.sort_by_key(|(sent, _)| *sent);
        let mut payload = Vec::new();
        for (sent, event) in &mut self.queue {
            if payload.len() + event.len() <= MAX_DATAGRAM {
                payload.extend_from_slice(event);
                *sent += 1;
            }
        }
        self.queue.retain(|(sent, _)| *sent < limit);
        payload
    }
}

impl Process for Node {
    fn handle(&mut self, now: Instant, input: Input<'_>, actions: &mut Vec<Action>) {
        match input {
            Input::Message { payload, .. } => {
                let mut reader = Reader(payload);
                while let Some(event) = Event::decode(&mut reader, HEADER_BYTES) {
                    if self.seen.insert((event.from, event.sequence)) {
                        actions.push(Action::Message(MessageNews::Delivered(event.line())));
                        self.queue.push((0, event.next_hop().encode(HEADER_BYTES)));
                    }
                }
            }
            Input::Publish { topic, body, .. } => {
                self.last += 1;
                let event = Event { from: self.me, sequence: self.last, hops: 0, topic, body };
                self.seen.insert((self.me, self.last));
                self.queue.push((0, event.encode(HEADER_BYTES)));
                let line = event.line();
                actions.push(Action::Message(MessageNews::Published { line, is_filtered: false }));
            }
            Input::Timeout if now >= self.gossip_at => {
                self.gossip_at = now + INTERVAL;
                self.gossip(actions);
            }
            // Members neither come nor go.
            Input::Timeout
            | Input::Join(_)
            | Input::Leave
            | Input::Forget(_)
            | Input::Administer(_)
            | Input::Moved(_)
            | Input::Put { .. }
            | Input::Delete(_)
            | Input::Tag(_)
            | Input::Stand { .. }
            | Input::Resign(_)
            | Input::Serve(_)
            | Input::Connected(_)
            | Input::Disconnected(..)
            | Input::Unreachable(..)
            | Input::OtherMember { .. }
            | Input::HostAnswer { .. } => {}
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        Some(self.gossip_at)
    }

    fn fingerprint(&self) -> u64 {
        self.nodes.into()
    }

    fn belief(&self, node: NodeId) -> Option<Belief> {
        (node.0 < self.nodes).then_some(Belief::Alive)
    }

    fn live_len(&self) -> usize {
        self.nodes as usize
    }

    fn lines(&self) -> Vec<Line> {
        let line = |node| Line { node, belief: Belief::Alive, version: version(0) };
        (0..self.nodes).map(NodeId).map(line).collect()
    }

    fn usage(&self, _now: Instant) -> Usage {
        Usage { members: self.nodes as usize, links: 0 }
    }
}

/// memberlist's `GossipInterval`, `GossipNodes`, `RetransmitMult` and `UDPBufferSize`.
const INTERVAL: Duration = millis(200);
const FANOUT: usize = 3;
const RETRANSMIT_MULTIPLIER: u32 = 4;
const MAX_DATAGRAM: usize = 1_400;
/// The bytes of an event beside name and content: types, a Lamport time, names of fields.
const HEADER_BYTES: usize = 30;
