//! The data of chitchat (the crate of Quickwit): each node gossips with some others once a second. It sends a digest with the
//! version of every node (`Syn`), receives theirs with what it lacks (`SynAck`), and answers with what they lack (`Ack`).
//!
//! Its failure detector is left out: all nodes count as live. Messages have the length of chitchat's, as its tests state it,
//! and its limit of one UDP datagram. That is lost or arrives as a whole.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Reader, version};
use crate::{
    node::{
        Action, Belief, Channel, DataLine, Generation, HostId, Input, Instant, Knowledge, Line,
        NodeId, Peer, Process, Protocol, Start, Transport, Usage, secs,
    },
    trace::TraceHash,
};

/// chitchat's way of spreading data.
#[derive(Clone, Copy, Debug)]
pub struct Chitchat {
    /// How many members there are at first.
    pub nodes: u32,
    /// How many keys each has at first.
    pub keys: usize,
    /// How many bytes each of their values has.
    pub bytes: usize,
}

impl Protocol for Chitchat {
    fn name(&self) -> &str {
        "chitchat"
    }

    fn transport(&self) -> Transport {
        Transport::Udp
    }

    fn start(&self, start: Start) -> Box<dyn Process> {
        let mut rng = ChaCha8Rng::seed_from_u64(start.rng_seed);
        let next_round = start.now + INTERVAL.mul_f64(rng.random());
        let mut states = BTreeMap::new();
        if start.knowledge == Knowledge::Everyone {
            let mut state = State::default();
            (0..self.keys).for_each(|key| state.put(&format!("k{key}"), &vec![0; self.bytes]));
            let state = Arc::new(state);
            states.extend((0..self.nodes).map(|node| (NodeId(node), Arc::clone(&state))));
        }
        states.entry(start.node).or_default();
        Box::new(Node { me: start.node, states, seeds: Vec::new(), next_round, rng })
    }
}

/// The known state of one node. Each write is a version.
#[derive(Clone, Debug, Default)]
struct State {
    version: u64,
    values: BTreeMap<Box<str>, (u64, Arc<[u8]>)>,
}

impl State {
    fn put(&mut self, key: &str, value: &[u8]) {
        self.version += 1;
        self.values.insert(key.into(), (self.version, value.into()));
    }
}

struct Node {
    me: NodeId,
    states: BTreeMap<NodeId, Arc<State>>,
    seeds: Vec<NodeId>,
    next_round: Instant,
    rng: ChaCha8Rng,
}

impl Node {
    fn gossip(&mut self, actions: &mut Vec<Action>) {
        let others: Vec<_> = self.states.keys().copied().filter(|&node| node != self.me).collect();
        let others = if others.is_empty() { std::mem::take(&mut self.seeds) } else { others };
        for _ in 0..GOSSIP_COUNT.min(others.len()) {
            let node = others[self.rng.random_range(0..others.len())];
            send(actions, node, [vec![SYN], self.digest()].concat());
        }
    }

    /// The version of every node.
    fn digest(&self) -> Vec<u8> {
        let mut digest = (self.states.len() as u32).to_le_bytes().to_vec();
        for (node, state) in &self.states {
            let end = digest.len() + DIGEST_BYTES;
            digest.extend(node.0.to_le_bytes());
            digest.extend(state.version.to_le_bytes());
            digest.resize(end, 0);
        }
        digest
    }

    /// The values that a node with this digest lacks, as far as they fit, beginning with a random node.
    fn delta(&mut self, digest: &BTreeMap<NodeId, u64>, max_bytes: usize) -> Vec<u8> {
        let mut delta = Vec::new();
        let first = NodeId(self.rng.random_range(0..self.states.len() as u32));
        let states = self.states.range(first..).chain(self.states.range(..first));
        for (node, state) in states {
            let known = digest.get(node).copied().unwrap_or(0);
            if state.version <= known {
                continue;
            }
            let mut values: Vec<_> =
                state.values.iter().filter(|(_, (version, _))| *version > known).collect();
            values.sort_by_key(|(_, (version, _))| *version);
            for (place, (key, (version, value))) in values.into_iter().enumerate() {
                let header = if place == 0 { DELTA_BYTES } else { 0 };
                let end = delta.len() + header + VALUE_BYTES + key.len() + value.len();
                if end > max_bytes {
                    return delta;
                }
                delta.extend(node.0.to_le_bytes());
                delta.extend(version.to_le_bytes());
                delta.push(key.len() as u8);
                delta.extend(key.as_bytes());
                delta.extend((value.len() as u32).to_le_bytes());
                delta.extend_from_slice(value);
                // The length of what follows the value is not written: the reader reckons it from these.
                delta.resize(end.max(delta.len()), 0);
            }
        }
        delta
    }

    fn take(&mut self, mut reader: Reader<'_>, actions: &mut Vec<Action>) {
        let mut last = None;
        let mut changed = Vec::new();
        while let Some(node) = reader.node() {
            let Some((version, key, value)) = reader.value(last != Some(node)) else {
                break;
            };
            last = Some(node);
            let state = self.states.entry(node).or_default();
            if node != self.me && version > state.version {
                let state = Arc::make_mut(state);
                state.version = version;
                state.values.insert(key.into(), (version, value.into()));
                changed.push(node);
            }
        }
        changed.dedup();
        let line = |node| Action::Data(node, self.data_of(node));
        actions.extend(changed.into_iter().map(line));
    }

    fn hear(&mut self, from: NodeId, payload: &[u8], actions: &mut Vec<Action>) {
        let mut reader = Reader(payload);
        match reader.byte() {
            Some(SYN) => {
                let digest = reader.digest();
                let ours = self.digest();
                let delta = self.delta(&digest, MAX_BYTES - ours.len().min(MAX_BYTES));
                send(actions, from, [vec![SYN_ACK], ours, delta].concat());
            }
            Some(SYN_ACK) => {
                let digest = reader.digest();
                self.take(reader, actions);
                let delta = self.delta(&digest, MAX_BYTES);
                send(actions, from, [vec![ACK], delta].concat());
            }
            Some(ACK) => self.take(reader, actions),
            _ => {}
        }
    }
}

impl Process for Node {
    fn handle(&mut self, now: Instant, input: Input<'_>, actions: &mut Vec<Action>) {
        match input {
            Input::Message { from, payload, .. } => self.hear(from.node, payload, actions),
            Input::Timeout if now >= self.next_round => {
                self.next_round = now + INTERVAL;
                self.gossip(actions);
            }
            Input::Put { key, value, .. } => {
                Arc::make_mut(self.states.entry(self.me).or_default()).put(key, value);
                actions.push(Action::Data(self.me, self.data_of(self.me)));
            }
            Input::Join(peers) => self.seeds = peers.iter().map(|peer| peer.node).collect(),
            // Neither deletions nor departures are compared.
            Input::Timeout
            | Input::Leave
            | Input::Forget(_)
            | Input::Administer(_)
            | Input::Moved(_)
            | Input::Delete(_)
            | Input::Tag(_)
            | Input::Stand { .. }
            | Input::Resign(_)
            | Input::Serve(_)
            | Input::Publish { .. }
            | Input::Connected(_)
            | Input::Disconnected(..)
            | Input::Unreachable(..)
            | Input::OtherMember { .. }
            | Input::HostAnswer { .. } => {}
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        Some(self.next_round)
    }

    fn fingerprint(&self) -> u64 {
        self.states.len() as u64
    }

    fn belief(&self, node: NodeId) -> Option<Belief> {
        self.states.contains_key(&node).then_some(Belief::Alive)
    }

    fn live_len(&self) -> usize {
        self.states.len()
    }

    fn lines(&self) -> Vec<Line> {
        let line = |&node| Line { node, belief: Belief::Alive, version: version(0) };
        self.states.keys().map(line).collect()
    }

    fn data_of(&self, owner: NodeId) -> Option<DataLine> {
        let state = self.states.get(&owner).filter(|state| state.version > 0)?;
        let mut content = TraceHash::default();
        for (key, (_, value)) in &state.values {
            content.bytes(key.as_bytes());
            content.bytes(value);
        }
        let bytes = state.values.iter().map(|(key, (_, value))| key.len() + value.len()).sum();
        let (keys, content) = (state.values.len(), content.value());
        Some(DataLine { generation: Generation(1), revision: state.version, keys, bytes, content })
    }

    fn usage(&self, _now: Instant) -> Usage {
        Usage { members: self.states.len(), links: 0 }
    }
}

impl<'a> Reader<'a> {
    fn digest(&mut self) -> BTreeMap<NodeId, u64> {
        let count = self.number().unwrap_or(0);
        let entry = |_| {
            let entry = (self.node()?, self.long()?);
            self.bytes(DIGEST_BYTES - 12)?;
            Some(entry)
        };
        (0..count).map_while(entry).collect()
    }

    /// The version, key and value that follow the number of a node, the first of it or not.
    fn value(&mut self, is_first: bool) -> Option<(u64, &'a str, &'a [u8])> {
        let version = self.long()?;
        let key_len = self.byte()?;
        let key = std::str::from_utf8(self.bytes(key_len.into())?).ok()?;
        let len = self.number()? as usize;
        let value = self.bytes(len)?;
        let header = if is_first { DELTA_BYTES } else { 0 };
        self.bytes(header + VALUE_BYTES - WRITTEN_BYTES)?;
        Some((version, key, value))
    }
}

/// In the simulation a member of this number has the host of the same number, as nobody moves.
fn send(actions: &mut Vec<Action>, node: NodeId, payload: Vec<u8>) {
    let to = Peer { node, host: HostId(node.0) };
    actions.push(Action::Send { to, channel: Channel::Datagram, payload });
}

const SYN: u8 = 0;
const SYN_ACK: u8 = 1;
const ACK: u8 = 2;
/// How often a node gossips, and with how many others.
const INTERVAL: Duration = secs(1);
const GOSSIP_COUNT: usize = 3;
/// chitchat's largest payload of a datagram.
const MAX_BYTES: usize = 65_507;
/// An entry of a digest; what a delta has for each node, and for each value beside it and its key.
const DIGEST_BYTES: usize = 43;
const DELTA_BYTES: usize = 37;
const VALUE_BYTES: usize = 21;
/// The bytes of a value beside it and its key: node, version and both lengths.
const WRITTEN_BYTES: usize = 17;
