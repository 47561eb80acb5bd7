//! Flooding: each member passes each new message on to the next members in all rings. It is what a tree saves.
//!
//! There is no failure detector: all members count as live. Messages have the length of phin's.

use std::{collections::BTreeSet, time::Duration};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Event, Reader, version};
use crate::{
    keys::SimKeys,
    node::{
        Action, Belief, Channel, HostId, Input, Instant, Line, MessageNews, NodeId, Peer, Process,
        Protocol, Start, Transport, Usage, secs,
    },
    traffic::PartBytes,
};

/// Flooding on all rings.
#[derive(Clone, Copy, Debug)]
pub struct Flood {
    /// How many members there are.
    pub nodes: u32,
    /// The seed of the run, which decides the order of the rings.
    pub seed: u64,
}

impl Flood {
    /// The next member in each ring, as in phin.
    fn subjects(self, me: NodeId) -> Vec<NodeId> {
        let place = |node, rotation| {
            let id = SimKeys { node, seed: self.seed }.id();
            u128::from_be_bytes(id.0).rotate_left(rotation)
        };
        let mut subjects = Vec::new();
        for rotation in (0..RINGS).map(|ring| ring * 128 / RINGS) {
            let own = place(me, rotation);
            let others = (0..self.nodes).map(NodeId).filter(|&node| node != me);
            let next = others.min_by_key(|&node| place(node, rotation).wrapping_sub(own));
            subjects.extend(next.filter(|next| !subjects.contains(next)));
        }
        subjects
    }
}

impl Protocol for Flood {
    fn name(&self) -> &str {
        "flood"
    }

    fn transport(&self) -> Transport {
        Transport::Quic
    }

    fn parts(&self, payload: &[u8]) -> PartBytes {
        let publications = u64::from(payload.first() == Some(&EVENT));
        let published = publications * payload.len() as u64;
        PartBytes { publications, published, ..PartBytes::default() }
    }

    fn start(&self, start: Start) -> Box<dyn Process> {
        let mut rng = ChaCha8Rng::seed_from_u64(start.rng_seed);
        Box::new(Node {
            me: start.node,
            nodes: self.nodes,
            subjects: self.subjects(start.node),
            last: 0,
            seen: BTreeSet::new(),
            keep_alive_at: start.now + secs(1).mul_f64(rng.random()),
        })
    }
}

struct Node {
    me: NodeId,
    nodes: u32,
    subjects: Vec<NodeId>,
    /// The number of the last message of this member.
    last: u64,
    seen: BTreeSet<(NodeId, u64)>,
    /// When all connections are used next, so that they stay open.
    keep_alive_at: Instant,
}

impl Node {
    fn pass_on(&self, event: &Event<'_>, from: NodeId, actions: &mut Vec<Action>) {
        let payload = [&[EVENT][..], &event.encode(HEADER_BYTES)].concat();
        for &node in self.subjects.iter().filter(|&&node| node != from && node != event.from) {
            send(actions, node, Channel::Stream, payload.clone());
        }
    }
}

impl Process for Node {
    fn handle(&mut self, now: Instant, input: Input<'_>, actions: &mut Vec<Action>) {
        match input {
            Input::Message { from, payload, .. } if payload.first() == Some(&EVENT) => {
                let event = Event::decode(&mut Reader(&payload[1..]), HEADER_BYTES);
                if let Some(event) = event
                    && self.seen.insert((event.from, event.sequence))
                {
                    actions.push(Action::Message(MessageNews::Delivered(event.line())));
                    self.pass_on(&event.next_hop(), from.node, actions);
                }
            }
            Input::Publish { topic, body, .. } => {
                self.last += 1;
                let event = Event { from: self.me, sequence: self.last, hops: 0, topic, body };
                self.seen.insert((self.me, self.last));
                let line = event.line();
                actions.push(Action::Message(MessageNews::Published { line, is_filtered: false }));
                self.pass_on(&event, self.me, actions);
            }
            Input::Timeout if now >= self.keep_alive_at => {
                self.keep_alive_at = now + KEEP_ALIVE;
                for &node in &self.subjects {
                    send(actions, node, Channel::Datagram, vec![ALIVE]);
                }
            }
            // Members neither come nor go.
            Input::Message { .. }
            | Input::Timeout
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
        Some(self.keep_alive_at)
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
        Usage { members: self.nodes as usize, links: self.subjects.len() }
    }
}

/// In the simulation a member of this number has the host of the same number, as nobody moves.
fn send(actions: &mut Vec<Action>, node: NodeId, channel: Channel, payload: Vec<u8>) {
    let to = Peer { node, host: HostId(node.0) };
    actions.push(Action::Send { to, channel, payload });
}

const EVENT: u8 = 0;
const ALIVE: u8 = 1;
/// As in phin.
const RINGS: u32 = 8;
/// The bytes of phin's messages beside topic and content: identities, numbers and a signature.
const HEADER_BYTES: usize = 110;
/// Less than a connection stays open without use.
const KEEP_ALIVE: Duration = secs(10);
