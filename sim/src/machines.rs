//! The hosts of a run and the processes on them.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::{Index, IndexMut},
};

use crate::{
    asking::{Asking, Quota},
    clock::Clock,
    connection::Connection,
    node::{Action, Generation, HostId, Instant, NodeId, Peer, Process},
    packet::Packet,
};

/// Every host and every member there ever was, by number.
#[derive(Default)]
pub(crate) struct Machines {
    pub(crate) hosts: Vec<Host>,
    pub(crate) nodes: Vec<Node>,
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

/// Whether a host runs.
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
    /// When it is next to be called, as far as that is asked for.
    pub(crate) wake_at: Option<Instant>,
}

impl Machines {
    pub(crate) fn add_host(&mut self, zone: usize, answers: bool) -> HostId {
        self.hosts.push(Host {
            zone,
            state: HostState::Up,
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

    /// Gives the member's host another address; the old one reaches nobody. Does nothing if another member has the port.
    pub(crate) fn readdress(&mut self, id: NodeId) -> Option<HostId> {
        let old = self[id].host;
        if self[old].occupant != Some(id) {
            return None;
        }
        let new = self.add_host(self[old].zone, self[old].answers);
        self[new].occupant = Some(id);
        self[new].pauses = self[old].pauses;
        self[old].occupant = None;
        self[old].state = HostState::Down;
        self[id].host = new;
        if let Some(mapped) = self[id].mapped {
            self[mapped].forwards_to = Some(new);
        }
        Some(new)
    }

    /// Makes a gateway give an address to the dials of the member.
    pub(crate) fn map(&mut self, id: NodeId) {
        let host = self[id].host;
        let mapped = self.add_host(self[host].zone, true);
        self[mapped].forwards_to = Some(host);
        self[id].mapped = Some(mapped);
    }

    /// Removes the process from its host, with everything that was kept for it.
    pub(crate) fn remove_process(&mut self, id: NodeId) {
        let node = &mut self[id];
        node.process = None;
        node.pauses = 0;
        node.blocked_until = None;
        node.connections.clear();
        node.held.clear();
        node.unsent.clear();
        node.questions.clear();
        node.wake_at = None;
        let host = node.host;
        let host = &mut self[host];
        if host.occupant == Some(id) {
            host.occupant = None;
        }
    }

    /// One side of the connection between two members.
    pub(crate) fn connection_mut(&mut self, id: NodeId, peer: NodeId) -> &mut Connection {
        self[id].connections.entry(peer).or_default()
    }

    /// Forgets a connection that is neither open nor about to be.
    pub(crate) fn forget_over(&mut self, id: NodeId, peer: NodeId) {
        if self[id].connections.get(&peer).is_some_and(Connection::is_over) {
            self[id].connections.remove(&peer);
        }
    }

    /// Whether the process does nothing at present: it or its host is paused, or gone.
    pub(crate) fn is_stopped(&self, id: NodeId) -> bool {
        let node = &self[id];
        let host = &self[node.host];
        node.process.is_none() || node.pauses + host.pauses > 0 || host.state == HostState::Down
    }

    /// Where a member is, if there is one of this number.
    pub(crate) fn peer(&self, node: NodeId) -> Option<Peer> {
        Some(Peer { node, host: self.nodes.get(node.index())?.host })
    }

    /// Where a member is.
    pub(crate) fn peer_of(&self, node: NodeId) -> Peer {
        Peer { node, host: self[node].host }
    }

    /// From where its dials are seen to come: its own address, or one that a gateway gives it.
    pub(crate) fn dialler(&self, node: NodeId) -> Peer {
        let known = &self[node];
        Peer { node, host: known.mapped.unwrap_or(known.host) }
    }

    /// From where packets are seen to come that it sends from an address: another, if it has that one no more.
    pub(crate) fn sender(&self, node: NodeId, host: HostId) -> Peer {
        if self.is_at(node, host) { Peer { node, host } } else { self.dialler(node) }
    }

    /// Whether packets to this address reach the member.
    pub(crate) fn is_at(&self, node: NodeId, host: HostId) -> bool {
        let own = self[node].host;
        host == own || self[host].forwards_to == Some(own)
    }
}

impl Index<HostId> for Machines {
    type Output = Host;

    fn index(&self, host: HostId) -> &Host {
        &self.hosts[host.index()]
    }
}

impl IndexMut<HostId> for Machines {
    fn index_mut(&mut self, host: HostId) -> &mut Host {
        &mut self.hosts[host.index()]
    }
}

impl Index<NodeId> for Machines {
    type Output = Node;

    fn index(&self, node: NodeId) -> &Node {
        &self.nodes[node.index()]
    }
}

impl IndexMut<NodeId> for Machines {
    fn index_mut(&mut self, node: NodeId) -> &mut Node {
        &mut self.nodes[node.index()]
    }
}
