//! The transport between processes: QUIC connections as far as they affect a membership protocol, TCP, and bare
//! datagrams.
//!
//! A first contact costs a handshake of two one-way trips before the first message. A peer that vanished is noticed
//! by its silence, one that restarted with its key by a stateless reset (RFC 9000 §10.3), and one with another key at
//! the handshake. Two simultaneous dials give one connection with two ids. A stream is repeated until its connection
//! ends.

use std::{sync::Arc, time::Duration};

use super::{Event, World};
use crate::{
    connection::{CloseReason, ConnectionId, DIAL_TIMEOUT, Dial, Open},
    network::Kind,
    node::{Channel, Disconnection, Input, NodeId, Peer, Transport, Unreachable, millis, secs},
    packet::{Content, Packet},
    queue::Class,
    traffic::{QUIC_HEADER, TCP_HEADER, UDP_HEADER},
};

impl World {
    pub(super) fn send(&mut self, from: NodeId, to: Peer, channel: Channel, payload: Vec<u8>) {
        let payload: Arc<[u8]> = payload.into();
        match self.protocol.transport() {
            Transport::Quic => self.send_quic(from, to, channel, payload),
            Transport::Udp => self.send_udp(from, to, channel, payload),
        }
    }

    fn send_udp(&mut self, from: NodeId, to: Peer, channel: Channel, payload: Arc<[u8]>) {
        let header = if channel == Channel::Datagram { UDP_HEADER } else { TCP_HEADER };
        self.traffic.record(from, channel, payload.len(), header);
        if self.counts_parts {
            self.traffic.parts += self.protocol.parts(&payload);
        }
        let from = self.machines.peer_of(from);
        let packet =
            Packet { from, to, content: Content::Message(ConnectionId(0), channel, payload) };
        match channel {
            Channel::Datagram => self.emit(packet),
            Channel::Stream => self.try_stream(packet, 0),
        }
    }

    fn send_quic(&mut self, from: NodeId, to: Peer, channel: Channel, payload: Arc<[u8]>) {
        // A payload too long for a datagram is sent as a stream, and never silently dropped.
        let is_too_long = payload.len() > self.network.config.max_datagram;
        let channel = if is_too_long { Channel::Stream } else { channel };
        let now = self.now;
        let connection = self.machines.connection_mut(from, to.node);
        let Some(open) = connection.use_towards(to.host, now) else {
            connection.wait(channel, payload);
            if !connection.is_dialled() {
                self.dial(from, to);
            }
            return;
        };
        self.transmit(from, to.node, open, channel, payload);
    }

    fn transmit(
        &mut self,
        from: NodeId,
        to: NodeId,
        open: Open,
        channel: Channel,
        payload: Arc<[u8]>,
    ) {
        self.traffic.record(from, channel, payload.len(), QUIC_HEADER);
        if self.counts_parts {
            self.traffic.parts += self.protocol.parts(&payload);
        }
        let from = self.machines.sender(from, open.ours);
        let to = Peer { node: to, host: open.theirs };
        let packet = Packet { from, to, content: Content::Message(open.id, channel, payload) };
        match channel {
            Channel::Datagram => self.emit(packet),
            Channel::Stream => self.try_stream(packet, 0),
        }
    }

    /// Dials a member at its advertised address. An old connection stays until the new one is used: packets that
    /// still arrive on it must not be answered with a reset, which would look like a restart of this process.
    pub(super) fn dial_advertised(&mut self, from: NodeId, to: Peer) {
        let known = self.machines[from].connections.get(&to.node);
        let is_elsewhere = known.is_some_and(|known| known.address() != Some(to.host));
        if is_elsewhere && known.is_some_and(|known| !known.is_dialled()) {
            self.dial(from, to);
        }
    }

    fn dial(&mut self, from: NodeId, to: Peer) {
        self.last_connection.0 += 1;
        let id = self.last_connection;
        let began = self.now;
        let from_peer = self.machines.dialler(from);
        let dial = Dial { id, ours: from_peer.host, to, began, attempt: 0 };
        self.machines.connection_mut(from, to.node).begin_dial(dial);
        self.traffic.record_handshake(from);
        self.emit(Packet { from: from_peer, to, content: Content::Hello(id) });
        self.queue.push(began + INITIAL_PTO, Class::Timer, Event::Redial(from, to.node, id));
    }

    /// Repeats a dial that had no answer for a while, or gives up.
    pub(super) fn redial(&mut self, from: NodeId, to: NodeId, id: ConnectionId) {
        let now = self.now;
        let is_stopped = self.machines.is_stopped(from);
        let connection = self.machines[from].connections.get_mut(&to);
        let Some(dial) = connection.and_then(|connection| connection.dial_mut(id)) else {
            return;
        };
        if is_stopped {
            self.queue.push(now + INITIAL_PTO, Class::Timer, Event::Redial(from, to, id));
            return;
        }
        if now - dial.began < DIAL_TIMEOUT {
            dial.attempt += 1;
            let (to_peer, next) = (dial.to, INITIAL_PTO * 2_u32.pow(dial.attempt.min(4)));
            let next = (now + next).min(dial.began + DIAL_TIMEOUT).max(now + millis(1));
            let ours = dial.ours;
            let from_peer = self.machines.sender(from, ours);
            self.emit(Packet { from: from_peer, to: to_peer, content: Content::Hello(id) });
            self.queue.push(next, Class::Timer, Event::Redial(from, to, id));
            return;
        }
        self.end_dial(from, to, Unreachable::NoAnswer);
    }

    fn end_dial(&mut self, from: NodeId, to: NodeId, reason: Unreachable) {
        let Some(connection) = self.machines[from].connections.get_mut(&to) else {
            return;
        };
        connection.end_dial();
        if connection.is_open() {
            return;
        }
        self.machines.forget_over(from, to);
        self.input(from, Input::Unreachable(to, reason));
    }

    /// Delivers a packet to a running process.
    pub(super) fn receive(&mut self, id: NodeId, packet: Packet) {
        let Packet { from, to, content } = packet;
        let me = Peer { node: id, host: to.host };
        let is_from_peer = |connection| {
            let known = self.machines[id].connections.get(&from.node);
            known.is_none_or(|known| known.is_from_peer(connection, from.host))
        };
        match content {
            // The packet of a connection does not come from its peer's address.
            Content::Close(connection, _)
            | Content::Reset(connection)
            | Content::Message(connection, ..)
                if !is_from_peer(connection) => {}
            Content::Hello(connection) => {
                let answer = if to.node == id {
                    self.machines.connection_mut(id, from.node).accept(connection);
                    Content::Accept(connection)
                } else {
                    Content::WrongIdentity(connection)
                };
                self.emit(Packet { from: me, to: from, content: answer });
            }
            Content::Accept(connection) => self.accepted(id, from, connection),
            Content::WrongIdentity(connection) => {
                let ours = self.machines[id].connections.iter();
                let dialled = ours.filter(|(_, ours)| ours.is_dialled_as(connection));
                let dialled: Vec<_> = dialled.map(|(&peer, _)| peer).collect();
                for sought in dialled {
                    self.end_dial(id, sought, Unreachable::OtherIdentity);
                    self.input(id, Input::OtherMember { sought, found: from });
                }
            }
            Content::Close(connection, reason) => {
                self.end_connection(id, from.node, connection, reason.at_the_peer());
            }
            Content::Reset(connection) => {
                self.end_connection(id, from.node, connection, Disconnection::Reset);
            }
            Content::Message(connection, channel, payload) => {
                if connection == ConnectionId(0) || self.is_known(id, from, to, connection) {
                    self.deliver(id, from, channel, &payload);
                }
            }
            Content::Refusal(number) => self.refused(id, number),
            Content::PortRefused => self.port_refused(id, from),
            // Shorter than any QUIC packet, so a process ignores it.
            Content::Knock(..) => {}
        }
    }

    fn deliver(&mut self, id: NodeId, from: Peer, channel: Channel, payload: &[u8]) {
        let hash = &mut self.trace.hash;
        hash.word(self.now.since_start().as_nanos() as u64);
        hash.word(u64::from(from.node.0) << 32 | u64::from(id.0));
        hash.word(channel as u64);
        hash.bytes(payload);
        if self.trace.is_read() {
            let text = self.protocol.describe(payload);
            self.say(format_args!("{} → {id} {channel:?}: {text}", from.node));
        }
        self.input(id, Input::Message { from, channel, payload });
    }

    /// Handles the answer to a dial of ours.
    fn accepted(&mut self, id: NodeId, from: Peer, connection: ConnectionId) {
        let ours = self.machines[id].connections.get_mut(&from.node);
        let Some(dial) = ours.and_then(|ours| ours.take_dial(connection)) else {
            return;
        };
        let (since, ours, theirs) = (self.now, dial.ours, dial.to.host);
        let run = self.run_of(from.node);
        self.open(id, from, Open { id: connection, dialled_by: id, run, since, ours, theirs });
    }

    /// Whether this connection exists here. Opens it at its first use. Otherwise sends a reset to the peer.
    fn is_known(&mut self, id: NodeId, from: Peer, to: Peer, connection: ConnectionId) -> bool {
        let now = self.now;
        let me = Peer { node: id, host: to.host };
        let run = self.run_of(from.node);
        let ours = self.machines.connection_mut(id, from.node);
        if ours.take_accepted(connection) {
            let (dialled_by, ours, theirs) = (from.node, to.host, from.host);
            let since = now;
            self.open(id, from, Open { id: connection, dialled_by, run, since, ours, theirs });
        } else if !ours.has(connection) {
            self.machines.forget_over(id, from.node);
            // The reset of another identity is ignored, because its tokens come from another key.
            if to.node == id {
                self.emit(Packet { from: me, to: from, content: Content::Reset(connection) });
            }
            return false;
        } else {
            ours.record_use(now);
        }
        if let Some(ours) = self.machines[id].connections.get_mut(&from.node) {
            ours.record_answer();
        }
        // QUIC acknowledges automatically, unless the way back is cut.
        if !self.network.is_cut(me.host, from.host, Kind::SHORT)
            && let Some(theirs) = self.machines[from.node].connections.get_mut(&id)
        {
            theirs.record_answer();
        }
        true
    }

    fn open(&mut self, id: NodeId, peer: Peer, open: Open) {
        let ours = self.machines.connection_mut(id, peer.node);
        let is_first = !ours.is_open();
        let waiting = ours.add(open);
        if is_first {
            let check = Event::CheckConnection(id, peer.node, open.id);
            self.queue.push(self.now + self.protocol.idle_timeout(), Class::Timer, check);
            self.input(id, Input::Connected(peer));
        }
        for (channel, payload) in waiting {
            self.transmit(id, peer.node, open, channel, payload);
        }
    }

    fn end_connection(
        &mut self,
        id: NodeId,
        peer: NodeId,
        connection: ConnectionId,
        reason: Disconnection,
    ) {
        let ours = self.machines[id].connections.get_mut(&peer);
        if ours.is_some_and(|ours| ours.end(connection)) {
            self.machines.forget_over(id, peer);
            self.input(id, Input::Disconnected(peer, reason));
        }
    }

    /// Closes the connection at the core's request, or because it is idle, and reports it to the core.
    pub(super) fn disconnect(&mut self, id: NodeId, peer: NodeId, reason: CloseReason) {
        if self.close(id, peer, reason) {
            self.input(id, Input::Disconnected(peer, Disconnection::Idle));
        }
    }

    /// Closes the connection on this side and sends the reason to the peer. Returns whether it was open.
    pub(super) fn close(&mut self, id: NodeId, peer: NodeId, reason: CloseReason) -> bool {
        let Some(connection) = self.machines[id].connections.remove(&peer) else {
            return false;
        };
        for open in connection.open() {
            let (from, to) =
                (self.machines.sender(id, open.ours), Peer { node: peer, host: open.theirs });
            self.emit(Packet { from, to, content: Content::Close(open.id, reason) });
        }
        connection.is_open()
    }

    /// Closes a connection that was unused for long, and gives up a peer that was silent for long (RFC 9000 §10.1).
    pub(super) fn check_connection(&mut self, id: NodeId, peer: NodeId, connection: ConnectionId) {
        let now = self.now;
        let is_stopped = self.machines.is_stopped(id);
        let idle_timeout = self.protocol.idle_timeout();
        let ours = self.machines[id].connections.get(&peer);
        let Some(ours) = ours.filter(|ours| ours.is_open()) else {
            return;
        };
        let due = ours.due(idle_timeout, now);
        if due > now || is_stopped {
            let check = Event::CheckConnection(id, peer, connection);
            self.queue.push(due.max(now + secs(1)), Class::Timer, check);
        } else if ours.is_lost(idle_timeout, now) {
            for open in ours.open().to_vec() {
                self.end_connection(id, peer, open.id, Disconnection::Lost);
            }
        } else {
            self.disconnect(id, peer, CloseReason::Idle);
        }
    }

    fn run_of(&self, node: NodeId) -> u32 {
        self.truth.node(node).map_or(0, |node| node.starts)
    }

    /// Closes the connections of a member from former addresses, without notice to the peers.
    pub(super) fn close_where_it_was(&mut self, id: NodeId) {
        let connections = self.machines[id].connections.iter();
        let is_stale = |open: &Open| !self.machines.is_at(id, open.ours);
        let stale = connections.filter(|(_, ours)| ours.open().iter().any(is_stale));
        for peer in stale.map(|(&peer, _)| peer).collect::<Vec<_>>() {
            self.disconnect(id, peer, CloseReason::Unwanted);
        }
    }
}

/// When a first packet is repeated (RFC 9002 §6.2.2: three times an initial round trip of 333 ms).
const INITIAL_PTO: Duration = millis(999);
