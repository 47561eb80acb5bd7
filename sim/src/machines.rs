//! The hosts of a run and the processes on them.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::{Index, IndexMut},
};

use crate::{
    asking::{Asking, Quota},
    clock::Clock,
    connection::Connection,
    node::{Action, Generation, HostId, Instant, NodeId, Peer, Process, Promises},
    packet::Packet,
};

/// All hosts and all members of a run, by number.
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
    /// The number of faults that pause it.
    pub(crate) pauses: u32,
    /// Whether its kernel refuses packets to closed ports while it is up.
    pub(crate) answers: bool,
    /// The host behind this address, if it is one that a gateway uses for that host's dials and still knows.
    pub(crate) forwards_to: Option<HostId>,
    /// The member whose process has the port.
    pub(crate) occupant: Option<NodeId>,
    /// The refusals left for each sending host.
    pub(crate) refusals: BTreeMap<HostId, Quota>,
    /// The questions left to each host.
    pub(crate) asks: BTreeMap<HostId, Quota>,
}

/// Whether a host runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum HostState {
    Up,
    Down,
}

/// A member and its process.
pub(crate) struct Node {
    pub(crate) host: HostId,
    /// The source address of its dials, if it is behind a gateway.
    pub(crate) mapped: Option<HostId>,
    pub(crate) process: Option<Box<dyn Process>>,
    /// The number of faults that pause it.
    pub(crate) pauses: u32,
    /// The end of a slow member's block (Lifeguard), during which nothing leaves or reaches it.
    pub(crate) blocked_until: Option<Instant>,
    pub(crate) generation: Generation,
    pub(crate) clock: Clock,
    pub(crate) connections: BTreeMap<NodeId, Connection>,
    /// The packets that arrived while it was paused or blocked.
    pub(crate) held: VecDeque<Packet>,
    /// The actions of the time while it was blocked.
    pub(crate) unsent: Vec<Action>,
    pub(crate) questions: BTreeMap<u64, Asking>,
    /// The votes on its disk.
    pub(crate) promises: Promises,
    /// The statements of the administrator on its disk.
    pub(crate) statements: Vec<Vec<u8>>,
    /// When it is due to be called next, if at all.
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
            promises: Promises::default(),
            statements: Vec::new(),
            wake_at: None,
        });
        NodeId(self.nodes.len() as u32 - 1)
    }

    /// Gives the member's host another address. The old one reaches no process. Does nothing if another member has
    /// the port.
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

    /// Makes a gateway use an address of its own for the member's dials.
    pub(crate) fn map(&mut self, id: NodeId) {
        let host = self[id].host;
        let mapped = self.add_host(self[host].zone, true);
        self[mapped].forwards_to = Some(host);
        self[id].mapped = Some(mapped);
    }

    /// Removes the process from its host, with its queued packets.
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

    /// Removes the state of a peer without connections and dials.
    pub(crate) fn forget_over(&mut self, id: NodeId, peer: NodeId) {
        if self[id].connections.get(&peer).is_some_and(Connection::is_over) {
            self[id].connections.remove(&peer);
        }
    }

    /// Whether the process cannot run: it or its host is paused, or gone.
    pub(crate) fn is_stopped(&self, id: NodeId) -> bool {
        let node = &self[id];
        let host = &self[node.host];
        node.process.is_none() || node.pauses + host.pauses > 0 || host.state == HostState::Down
    }

    /// The address of a member, if it exists.
    pub(crate) fn peer(&self, node: NodeId) -> Option<Peer> {
        Some(Peer { node, host: self.nodes.get(node.index())?.host })
    }

    /// The address of a member.
    pub(crate) fn peer_of(&self, node: NodeId) -> Peer {
        Peer { node, host: self[node].host }
    }

    /// The source address of its dials: its own, or that of a gateway.
    pub(crate) fn dialler(&self, node: NodeId) -> Peer {
        let known = &self[node];
        Peer { node, host: known.mapped.unwrap_or(known.host) }
    }

    /// The source address of packets that it sends from an address: another one if it no longer has it.
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
