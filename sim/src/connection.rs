//! What is between processes: QUIC connections as far as a membership protocol notices them, TCP and bare datagrams.
//!
//! A first contact costs a handshake of two one-way trips before the first message is sent. A peer that vanishes is
//! noticed by silence, one that restarted with its key by a stateless reset (RFC 9000 §10.3), one with another key at
//! the handshake. Two simultaneous dials give one connection of two ids. A stream is repeated until its connection ends.

use std::{sync::Arc, time::Duration};

use rand::RngExt;

use crate::{
    asking::Port,
    node::{
        Channel, Disconnection, HostId, Input, Instant, NodeId, Peer, Transport, Unreachable,
        millis, secs,
    },
    queue::Class,
    simulation::{Content, Event, HostState, Packet, Simulation},
    traffic::{PACKET_PAYLOAD, QUIC_HEADER, TCP_HEADER, UDP_HEADER},
};

/// One dial's connection; numbers are not used again.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct ConnectionId(pub(crate) u64);

/// Why one side closes a connection, as the transport's close codes say it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum CloseReason {
    /// No message was sent or received for the idle timeout.
    Idle,
    /// The core wants no connection to this member: it is dead, or has left.
    Unwanted,
    /// The process ends.
    Shutdown,
}

impl CloseReason {
    /// What the peer's core is told. As in the driver, only a process that shuts down is gone.
    const fn at_the_peer(self) -> Disconnection {
        match self {
            Self::Idle | Self::Unwanted => Disconnection::Idle,
            Self::Shutdown => Disconnection::Closed,
        }
    }
}

/// One side's state towards one peer.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    /// Open connections, more than one after simultaneous dials; the first is used.
    open: Vec<Open>,
    /// Handshakes answered; open once the peer uses them.
    accepted: Vec<ConnectionId>,
    dial: Option<Dial>,
    /// What is sent once a connection is open; at most [`MAX_WAITING`], the oldest is dropped.
    waiting: Vec<(Channel, Arc<[u8]>)>,
    last_used: Option<Instant>,
    /// Since when nothing came back of what was sent.
    unanswered_since: Option<Instant>,
}

/// An open connection: between two addresses, from which it does not move (phin's transport allows no migration).
#[derive(Clone, Copy, Debug)]
struct Open {
    id: ConnectionId,
    dialled_by: NodeId,
    /// Which run of the peer's process has it.
    run: u32,
    since: Instant,
    ours: HostId,
    theirs: HostId,
}

impl Open {
    /// Whether it is used rather than an older one. As in `phin_quic`: a process that was started anew has only the newer
    /// one, and so has who lost one that it made itself; of simultaneous dials both sides choose the same, and dials so far
    /// apart are not simultaneous.
    fn supersedes(&self, old: &Self) -> bool {
        self.run != old.run
            || self.dialled_by == old.dialled_by
            || self.since - old.since > 2 * DIAL_TIMEOUT
    }
}

#[derive(Clone, Copy, Debug)]
struct Dial {
    id: ConnectionId,
    ours: HostId,
    to: Peer,
    began: Instant,
    attempt: u32,
}

impl Connection {
    pub(crate) const fn is_open(&self) -> bool {
        !self.open.is_empty()
    }

    fn has(&self, id: ConnectionId) -> bool {
        self.open.iter().any(|open| open.id == id)
    }

    /// Whether a packet of this connection comes from where the peer was; others are dropped.
    fn is_from_peer(&self, id: ConnectionId, host: HostId) -> bool {
        self.open.iter().all(|open| open.id != id || open.theirs == host)
    }

    /// Whether the peer is thought at another address by now, and has not answered for a while at the one it had.
    fn is_stale(&self, advertised: HostId, now: Instant) -> bool {
        let is_elsewhere = self.open.first().is_some_and(|open| open.theirs != advertised);
        is_elsewhere && self.unanswered_since.is_some_and(|since| now - since >= UNANSWERED)
    }

    /// Where the peer is looked for at present.
    pub(crate) fn address(&self) -> Option<HostId> {
        let dialled = self.dial.map(|dial| dial.to.host);
        self.open.first().map(|open| open.theirs).or(dialled)
    }

    fn has_local_address(&self, is_ours: impl Fn(HostId) -> bool) -> bool {
        self.open.iter().all(|open| is_ours(open.ours))
    }
}

impl Simulation {
    pub(crate) fn send(&mut self, from: NodeId, to: Peer, channel: Channel, payload: Vec<u8>) {
        let payload: Arc<[u8]> = payload.into();
        match self.protocol.transport() {
            Transport::Quic => self.send_quic(from, to, channel, payload),
            Transport::Udp => self.send_udp(from, to, channel, payload),
        }
    }

    fn send_udp(&mut self, from: NodeId, to: Peer, channel: Channel, payload: Arc<[u8]>) {
        let header = if channel == Channel::Datagram { UDP_HEADER } else { TCP_HEADER };
        self.traffic.record(from, channel, payload.len(), header);
        let from = self.peer_of(from);
        let packet =
            Packet { from, to, content: Content::Message(ConnectionId(0), channel, payload) };
        match channel {
            Channel::Datagram => self.emit(packet),
            Channel::Stream => self.try_stream(packet, 0),
        }
    }

    fn send_quic(&mut self, from: NodeId, to: Peer, channel: Channel, payload: Arc<[u8]>) {
        // What does not fit a datagram goes by stream, never silently dropped.
        let is_too_long = payload.len() > self.network.config.max_datagram;
        let channel = if is_too_long { Channel::Stream } else { channel };
        let now = self.now;
        let connection = self.nodes[from.index()].connections.entry(to.node).or_default();
        let usable = connection.open.first().filter(|_| !connection.is_stale(to.host, now));
        let Some(&open) = usable else {
            if connection.waiting.len() == MAX_WAITING {
                connection.waiting.remove(0);
            }
            connection.waiting.push((channel, payload));
            if connection.dial.is_none() {
                self.dial(from, to);
            }
            return;
        };
        connection.last_used = Some(now);
        connection.unanswered_since.get_or_insert(now);
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
        let from = self.sender(from, open.ours);
        let to = Peer { node: to, host: open.theirs };
        let packet = Packet { from, to, content: Content::Message(open.id, channel, payload) };
        match channel {
            Channel::Datagram => self.emit(packet),
            Channel::Stream => self.try_stream(packet, 0),
        }
    }

    /// Dials a member at the address that it advertises. Another connection stays until the new one is used: what still
    /// comes on it must not be answered with a reset, which would look as if this process were another.
    pub(crate) fn dial_advertised(&mut self, from: NodeId, to: Peer) {
        let known = self.nodes[from.index()].connections.get(&to.node);
        let is_elsewhere = known.is_some_and(|known| known.address() != Some(to.host));
        if is_elsewhere && known.is_some_and(|known| known.dial.is_none()) {
            self.dial(from, to);
        }
    }

    fn dial(&mut self, from: NodeId, to: Peer) {
        self.last_connection.0 += 1;
        let id = self.last_connection;
        let began = self.now;
        let from_peer = self.dialler(from);
        let connection = self.nodes[from.index()].connections.entry(to.node).or_default();
        connection.dial = Some(Dial { id, ours: from_peer.host, to, began, attempt: 0 });
        self.traffic.record_handshake(from);
        self.emit(Packet { from: from_peer, to, content: Content::Hello(id) });
        self.queue.push(began + INITIAL_PTO, Class::Timer, Event::Redial(from, to.node, id));
    }

    /// A dial has had no answer for a while: repeats it, or gives up.
    pub(crate) fn redial(&mut self, from: NodeId, to: NodeId, id: ConnectionId) {
        let now = self.now;
        let is_stopped = self.is_stopped(from);
        let Some(connection) = self.nodes[from.index()].connections.get_mut(&to) else {
            return;
        };
        let Some(dial) = connection.dial.as_mut().filter(|dial| dial.id == id) else {
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
            let from_peer = self.sender(from, ours);
            self.emit(Packet { from: from_peer, to: to_peer, content: Content::Hello(id) });
            self.queue.push(next, Class::Timer, Event::Redial(from, to, id));
            return;
        }
        self.end_dial(from, to, Unreachable::NoAnswer);
    }

    fn end_dial(&mut self, from: NodeId, to: NodeId, reason: Unreachable) {
        let Some(connection) = self.nodes[from.index()].connections.get_mut(&to) else {
            return;
        };
        connection.dial = None;
        connection.waiting.clear();
        if connection.is_open() {
            return;
        }
        if connection.accepted.is_empty() {
            self.nodes[from.index()].connections.remove(&to);
        }
        self.input(from, Input::Unreachable(to, reason));
    }

    /// Puts a packet on the wire: it arrives, or is lost, comes twice, or late.
    pub(crate) fn emit(&mut self, packet: Packet) {
        let (from, to) = (packet.from.host, packet.to.host);
        // A hostile message, or a liar, can name an address where nothing is.
        if to.index() >= self.hosts.len() {
            return;
        }
        let (channel, bytes) = match &packet.content {
            Content::Message(_, channel, payload) => (*channel, payload.len()),
            Content::Hello(_)
            | Content::Accept(_)
            | Content::WrongIdentity(_)
            | Content::Close(..)
            | Content::Reset(_) => (Channel::Stream, 0),
            Content::Knock(..) | Content::Refusal(_) | Content::PortRefused => {
                (Channel::Datagram, 0)
            }
        };
        let departs = self.network.depart(self.now.since_start(), from, channel, bytes);
        let Some(mut delay) = self.pass(from, to, channel) else {
            self.traffic.lost += 1;
            return;
        };
        let config = &self.network.config;
        if channel == Channel::Datagram {
            let (duplicate, reorder, hostile) = (config.duplicate, config.reorder, config.hostile);
            let reorder_by = config.reorder_by;
            if reorder > 0.0 && self.rng.random::<f64>() < reorder {
                delay += reorder_by.mul_f64(self.rng.random());
            }
            if duplicate > 0.0 && self.rng.random::<f64>() < duplicate {
                let second = delay + reorder_by.mul_f64(self.rng.random());
                self.arrive_in(departs + second, packet.clone());
            }
            if hostile > 0.0 && self.rng.random::<f64>() < hostile {
                let forged = self.forge(&packet);
                self.arrive_in(departs + delay, forged);
            }
        }
        self.arrive_in(departs + delay, packet);
    }

    fn arrive_in(&mut self, delay: Duration, packet: Packet) {
        self.queue.push(self.now + delay, Class::Arrival, Event::Arrival(Box::new(packet)));
    }

    fn pass(&mut self, from: HostId, to: HostId, channel: Channel) -> Option<Duration> {
        let zone = |host: HostId| (host, self.hosts[host.index()].zone);
        self.network.pass(&mut self.rng, zone(from), zone(to), channel)
    }

    /// A copy with one to four bytes changed.
    fn forge(&mut self, packet: &Packet) -> Packet {
        let mut forged = packet.clone();
        if let Content::Message(_, _, payload) = &mut forged.content {
            let mut bytes = payload.to_vec();
            for _ in 0..self.rng.random_range(1..=4_u32) {
                if !bytes.is_empty() {
                    let place = self.rng.random_range(0..bytes.len());
                    bytes[place] = self.rng.random();
                }
            }
            *payload = bytes.into();
        }
        forged
    }

    /// A stream under way: repeated with growing pauses while nothing passes, until its connection ends.
    pub(crate) fn try_stream(&mut self, mut packet: Packet, attempt: u32) {
        packet.from = self.sender(packet.from.node, packet.from.host);
        let (from, to) = (packet.from, packet.to);
        let Content::Message(id, channel, ref payload) = packet.content else {
            return;
        };
        let is_tcp = id == ConnectionId(0);
        let sender = &self.nodes[from.node.index()];
        let is_kept = sender.connections.get(&to.node).is_some_and(|c| c.has(id));
        if sender.process.is_none() || !is_tcp && !is_kept || is_tcp && attempt > MAX_TCP_ATTEMPTS {
            return;
        }
        let there = self.network.loss(from.host, to.host, channel);
        let back = self.network.loss(to.host, from.host, channel);
        let zones = (self.hosts[from.host.index()].zone, self.hosts[to.host.index()].zone);
        let round_trip = self.network.latency(zones.0, zones.1).median * 2;
        if there >= 1.0 || back >= 1.0 {
            let pause =
                ((round_trip * 3 + MAX_ACK_DELAY) * 2_u32.pow(attempt.min(10))).min(secs(2));
            let retry = Event::Retry(Box::new(packet), attempt + 1);
            self.queue.push(self.now + pause, Class::Timer, retry);
            return;
        }
        let bytes = payload.len();
        let packets = bytes.div_ceil(PACKET_PAYLOAD).max(1);
        let mut rounds = slow_start_rounds(packets);
        if is_tcp {
            rounds += 1;
        }
        let lost_rounds = self.lost_rounds(packets, there);
        let departs = self.network.depart(self.now.since_start(), from.host, channel, bytes);
        let sample = self.network.latency(zones.0, zones.1).sample(&mut self.rng);
        let recovery = (round_trip + MAX_ACK_DELAY) * lost_rounds;
        self.arrive_in(departs + sample + round_trip * rounds + recovery, packet);
    }

    /// In how many rounds of repetition some packet of these is lost again.
    fn lost_rounds(&mut self, packets: usize, loss: f64) -> u32 {
        if loss <= 0.0 {
            return 0;
        }
        let uniform: f64 = self.rng.random();
        let mut rounds = 0;
        let mut still_lost = loss;
        while libm::pow(1.0 - still_lost, packets as f64) < uniform && rounds < 50 {
            still_lost *= loss;
            rounds += 1;
        }
        rounds
    }

    /// A packet for a process that runs.
    pub(crate) fn receive(&mut self, id: NodeId, packet: Packet) {
        let Packet { from, to, content } = packet;
        let me = Peer { node: id, host: to.host };
        let is_from_peer = |connection| {
            let known = self.nodes[id.index()].connections.get(&from.node);
            known.is_none_or(|known| known.is_from_peer(connection, from.host))
        };
        match content {
            // Of a connection that does not come from there.
            Content::Close(connection, _)
            | Content::Reset(connection)
            | Content::Message(connection, ..)
                if !is_from_peer(connection) => {}
            Content::Hello(connection) => {
                let answer = if to.node == id {
                    let ours = self.nodes[id.index()].connections.entry(from.node).or_default();
                    if !ours.accepted.contains(&connection) && !ours.has(connection) {
                        ours.accepted.push(connection);
                        ours.accepted.drain(..ours.accepted.len().saturating_sub(MAX_ACCEPTED));
                    }
                    Content::Accept(connection)
                } else {
                    Content::WrongIdentity(connection)
                };
                self.emit(Packet { from: me, to: from, content: answer });
            }
            Content::Accept(connection) => self.accepted(id, from, connection),
            Content::WrongIdentity(connection) => {
                let ours = self.nodes[id.index()].connections.iter();
                let dialled =
                    ours.filter(|(_, c)| c.dial.is_some_and(|dial| dial.id == connection));
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
            // One of no QUIC packet's length: nobody takes notice.
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

    /// Our dial was answered.
    fn accepted(&mut self, id: NodeId, from: Peer, connection: ConnectionId) {
        let Some(ours) = self.nodes[id.index()].connections.get_mut(&from.node) else {
            return;
        };
        let Some(dial) = ours.dial.filter(|dial| dial.id == connection) else {
            return;
        };
        ours.dial = None;
        let (since, ours, theirs) = (self.now, dial.ours, dial.to.host);
        let run = self.run_of(from.node);
        self.open(id, from, Open { id: connection, dialled_by: id, run, since, ours, theirs });
    }

    /// Whether this connection is ours; opens it if this is its first use, and says so to the peer if it is not.
    fn is_known(&mut self, id: NodeId, from: Peer, to: Peer, connection: ConnectionId) -> bool {
        let now = self.now;
        let me = Peer { node: id, host: to.host };
        let run = self.run_of(from.node);
        let ours = self.nodes[id.index()].connections.entry(from.node).or_default();
        if let Some(place) = ours.accepted.iter().position(|&accepted| accepted == connection) {
            ours.accepted.remove(place);
            let (dialled_by, ours, theirs) = (from.node, to.host, from.host);
            let since = now;
            self.open(id, from, Open { id: connection, dialled_by, run, since, ours, theirs });
        } else if !ours.has(connection) {
            if !ours.is_open() && ours.dial.is_none() && ours.accepted.is_empty() {
                self.nodes[id.index()].connections.remove(&from.node);
            }
            // Another identity's reset would not be believed: its tokens come from another key.
            if to.node == id {
                self.emit(Packet { from: me, to: from, content: Content::Reset(connection) });
            }
            return false;
        } else {
            ours.last_used = Some(now);
        }
        if let Some(ours) = self.nodes[id.index()].connections.get_mut(&from.node) {
            ours.unanswered_since = None;
        }
        // QUIC acknowledges by itself, unless nothing gets back.
        if !self.network.is_cut(me.host, from.host, Channel::Stream)
            && let Some(theirs) = self.nodes[from.node.index()].connections.get_mut(&id)
        {
            theirs.unanswered_since = None;
        }
        true
    }

    fn open(&mut self, id: NodeId, peer: Peer, open: Open) {
        let now = self.now;
        let ours = self.nodes[id.index()].connections.entry(peer.node).or_default();
        let is_first = !ours.is_open();
        let place = match ours.open.first() {
            Some(used) if !open.supersedes(used) => ours.open.partition_point(|o| o.id < open.id),
            _ => 0,
        };
        ours.open.insert(place, open);
        ours.last_used = Some(now);
        let waiting = std::mem::take(&mut ours.waiting);
        if is_first {
            let check = Event::CheckConnection(id, peer.node, open.id);
            self.queue.push(now + self.protocol.idle_timeout(), Class::Timer, check);
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
        let Some(ours) = self.nodes[id.index()].connections.get_mut(&peer) else {
            return;
        };
        let was_open = ours.is_open();
        ours.open.retain(|open| open.id != connection);
        ours.accepted.retain(|&accepted| accepted != connection);
        if !was_open || ours.is_open() {
            return;
        }
        ours.unanswered_since = None;
        if ours.dial.is_none() && ours.accepted.is_empty() {
            self.nodes[id.index()].connections.remove(&peer);
        }
        self.input(id, Input::Disconnected(peer, reason));
    }

    /// Closes the connection at the core's request, or because it is idle, and reports it to the core.
    pub(crate) fn disconnect(&mut self, id: NodeId, peer: NodeId, reason: CloseReason) {
        if self.close(id, peer, reason) {
            self.input(id, Input::Disconnected(peer, Disconnection::Idle));
        }
    }

    /// Closes the connection on this side and sends the reason to the peer. Returns whether it was open.
    pub(crate) fn close(&mut self, id: NodeId, peer: NodeId, reason: CloseReason) -> bool {
        let Some(connection) = self.nodes[id.index()].connections.remove(&peer) else {
            return false;
        };
        for open in &connection.open {
            let (from, to) = (self.sender(id, open.ours), Peer { node: peer, host: open.theirs });
            self.emit(Packet { from, to, content: Content::Close(open.id, reason) });
        }
        connection.is_open()
    }

    /// Closes what nobody used for long, and gives up on a peer that was silent for long (RFC 9000 §10.1).
    pub(crate) fn check_connection(&mut self, id: NodeId, peer: NodeId, connection: ConnectionId) {
        let now = self.now;
        let is_stopped = self.is_stopped(id);
        let idle_timeout = self.protocol.idle_timeout();
        let Some(ours) = self.nodes[id.index()].connections.get_mut(&peer) else {
            return;
        };
        if !ours.is_open() {
            return;
        }
        let idle_at = ours.last_used.unwrap_or(now) + idle_timeout;
        let lost_at = ours.unanswered_since.map_or(idle_at, |since| since + idle_timeout);
        let due = idle_at.min(lost_at);
        if due > now || is_stopped {
            let check = Event::CheckConnection(id, peer, connection);
            self.queue.push(due.max(now + secs(1)), Class::Timer, check);
        } else if lost_at <= now && ours.unanswered_since.is_some() {
            let ids = ours.open.clone();
            for open in ids {
                self.end_connection(id, peer, open.id, Disconnection::Lost);
            }
        } else {
            self.disconnect(id, peer, CloseReason::Idle);
        }
    }

    /// A packet reaches a host: its kernel answers, its process gets it, or it waits.
    pub(crate) fn arrive(&mut self, packet: Packet) {
        let mut host = &self.hosts[packet.to.host.index()];
        if host.state == HostState::Down {
            return;
        }
        if let Some(behind) = host.forwards_to {
            host = &self.hosts[behind.index()];
            if host.state == HostState::Down {
                return;
            }
        }
        let is_to_closed_port = matches!(packet.content, Content::Knock(_, Port::Closed));
        let Some(occupant) = host.occupant.filter(|_| !is_to_closed_port) else {
            return self.refuse(&packet);
        };
        let is_paused = host.pauses > 0;
        let node = &mut self.nodes[occupant.index()];
        if is_paused || node.pauses > 0 || node.blocked_until.is_some() {
            // A socket's buffer has an end: what comes later is lost.
            if node.held.len() < MAX_HELD {
                node.held.push_back(packet);
            }
            return;
        }
        self.receive(occupant, packet);
    }

    pub(crate) fn peer_of(&self, node: NodeId) -> Peer {
        Peer { node, host: self.nodes[node.index()].host }
    }

    fn run_of(&self, node: NodeId) -> u32 {
        self.truth.node(node).map_or(0, |node| node.starts)
    }

    /// From where its dials are seen to come: its own address, or one that a gateway gives it.
    fn dialler(&self, node: NodeId) -> Peer {
        let known = &self.nodes[node.index()];
        Peer { node, host: known.mapped.unwrap_or(known.host) }
    }

    /// From where packets are seen to come that it sends from an address: another, if it has that one no more.
    fn sender(&self, node: NodeId, host: HostId) -> Peer {
        if self.is_at(node, host) { Peer { node, host } } else { self.dialler(node) }
    }

    /// Whether packets to this address reach the member.
    fn is_at(&self, node: NodeId, host: HostId) -> bool {
        let own = self.nodes[node.index()].host;
        host == own || self.hosts[host.index()].forwards_to == Some(own)
    }

    /// Closes the connections of a member from addresses that it has no more: the peers cannot hear of it.
    pub(crate) fn close_where_it_was(&mut self, id: NodeId) {
        let connections = self.nodes[id.index()].connections.iter();
        let stale = connections.filter(|(_, c)| !c.has_local_address(|host| self.is_at(id, host)));
        for peer in stale.map(|(&peer, _)| peer).collect::<Vec<_>>() {
            self.disconnect(id, peer, CloseReason::Unwanted);
        }
    }
}

/// Slow start: 10 packets go in the first round trip, twice as many in each further one (RFC 9002 §7.2).
fn slow_start_rounds(packets: usize) -> u32 {
    packets.div_ceil(10).next_power_of_two().trailing_zeros()
}

/// What waits for a handshake, at most.
const MAX_WAITING: usize = 64;
/// Handshakes answered and not used, at most, for each peer.
const MAX_ACCEPTED: usize = 4;
/// What waits for a process that is paused, at most: about what a socket buffer holds.
const MAX_HELD: usize = 4_096;
/// When a first packet is repeated (RFC 9002 §6.2.2: three times an initial round trip of 333 ms).
const INITIAL_PTO: Duration = millis(999);
/// When a dial is given up.
const DIAL_TIMEOUT: Duration = secs(5);
/// How long a peer may not answer on a connection to an address that is not its own any more, before it is dialled anew.
const UNANSWERED: Duration = millis(250);
/// What a receiver may wait before it acknowledges (RFC 9000 §18.2), so what repeating costs beside a round trip.
const MAX_ACK_DELAY: Duration = millis(25);
/// After how many tries without any answer a TCP connection is given up.
const MAX_TCP_ATTEMPTS: u32 = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_start_doubles() {
        let rounds = [(1, 0), (10, 0), (11, 1), (20, 1), (21, 2), (40, 2), (2_000, 8)];
        for (packets, expected) in rounds {
            assert_eq!(slow_start_rounds(packets), expected, "{packets} packets");
        }
    }
}
