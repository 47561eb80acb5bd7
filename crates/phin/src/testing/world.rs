//! The network in memory, as a value: the processes that listen, what is on its way to each, and their connections.
//!
//! A packet takes [`DELAY`]. An address reacts to it as on a real network: the process there handles it when it next
//! runs; a host without a process refuses the port; a process that does not know the connection resets it; a host that
//! is cut off does not answer. As with `phin_quic`, there is one connection for a pair of nodes, a message without one
//! dials, and after a failed dial the next one waits.
//!
//! Not simulated: TLS (who is on the network is admitted), limits on peers, idle connections, NAT.

use std::{
    collections::{BTreeMap, VecDeque, btree_map::Entry},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use phin_quic::{
    CloseReason, DialError, DisconnectReason, HostAnswer, HostQuestion, Peer, PeerId, Received,
    SendError, TransportStats,
};
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

use crate::testing::cuts::Cuts;

/// Everything on the network.
#[derive(Debug, Default)]
pub(crate) struct World {
    cuts: Cuts,
    processes: BTreeMap<SocketAddr, Process>,
    /// The number of the next process, connection or packet.
    next: u64,
}

/// A process, by the address that it listens on; another one that listens there later has another number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Endpoint {
    pub(crate) addr: SocketAddr,
    process: Number,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Number(u64);

#[derive(Debug)]
struct Process {
    number: Number,
    id: PeerId,
    /// Packets under way, by the time at which they arrive and their source.
    inbox: BTreeMap<(Instant, SocketAddr, Number), Arrival>,
    /// Arrivals that were handled and wait for the driver.
    received: VecDeque<Received>,
    peers: BTreeMap<PeerId, Link>,
    /// Dials to an address where anybody may answer.
    dials: BTreeMap<SocketAddr, SeedDial>,
    /// Something is on its way.
    ready: Arc<Notify>,
    stats: TransportStats,
}

pub(crate) type DialResult = Result<PeerId, DialError>;

#[derive(Debug)]
struct SeedDial {
    connection: Number,
    waiting: Vec<oneshot::Sender<DialResult>>,
}

/// One side's state towards one peer.
#[derive(Debug)]
enum Link {
    Dialling {
        addr: SocketAddr,
        connection: Number,
        waiting: VecDeque<Message>,
        /// How long to back off if this dial fails.
        delay: Duration,
    },
    Connected {
        addr: SocketAddr,
        process: Number,
        /// More than one after simultaneous dials; the last is used, and all receive.
        connections: Vec<Number>,
    },
    BackingOff {
        addr: SocketAddr,
        until: Instant,
        next_delay: Duration,
    },
}

#[derive(Clone, Debug)]
pub(crate) enum Message {
    Datagram(Bytes),
    Stream(StreamMessage),
}

/// A message as a stream.
#[derive(Clone, Debug)]
pub(crate) struct StreamMessage {
    pub(crate) payload: Bytes,
    /// The number of a bulk message.
    pub(crate) bulk: Option<u64>,
}

#[derive(Debug)]
enum Arrival {
    Packet(Packet),
    /// The host says that nobody listens at the address.
    PortRefused,
    /// A dial has taken too long.
    DialTimeout(Number),
    /// A stream that was lost on its way is sent again.
    Resend {
        to: Peer,
        stream: StreamMessage,
        given_up: Instant,
    },
}

/// A packet from one process to another on a connection.
#[derive(Clone, Debug)]
struct Packet {
    connection: Number,
    from: PeerId,
    process: Number,
    body: Body,
}

#[derive(Clone, Debug)]
enum Body {
    /// Asks for the connection, offers it, and takes the offer.
    Hello,
    Welcome,
    Confirm,
    /// Instead of a welcome: the two have the same identity.
    IdentityInUse,
    Message(Message),
    Close(CloseReason),
    /// The connection is not known here.
    Reset,
}

/// The result of sending a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fate {
    OnItsWay,
    Lost,
}

/// The result when a process looks for something received.
#[derive(Debug)]
pub(crate) enum Next {
    Received(Received),
    /// Nothing yet; something arrives then.
    At(Option<Instant>),
    /// The process has ended.
    Ended,
}

impl World {
    pub(crate) fn new(cuts: Cuts) -> Self {
        Self { cuts, ..Self::default() }
    }

    /// Starts a process, unless another one listens at the address.
    pub(crate) fn listen(&mut self, addr: SocketAddr, id: PeerId) -> Option<Endpoint> {
        let number = self.number();
        let Entry::Vacant(entry) = self.processes.entry(addr) else { return None };
        entry.insert(Process {
            number,
            id,
            inbox: BTreeMap::new(),
            received: VecDeque::new(),
            peers: BTreeMap::new(),
            dials: BTreeMap::new(),
            ready: Arc::default(),
            stats: TransportStats::default(),
        });
        Some(Endpoint { addr, process: number })
    }

    /// Ends a process without a word.
    pub(crate) fn kill(&mut self, at: Endpoint) {
        if self.process(at).is_some() {
            self.processes.remove(&at.addr);
        }
    }

    /// Ends a process, which closes its connections. Does nothing if it has ended.
    pub(crate) fn close(&mut self, now: Instant, at: Endpoint) {
        let Some(process) = self.process(at) else { return };
        let ids: Vec<_> = process.peers.keys().copied().collect();
        for id in ids {
            self.close_peer(now, at, id, CloseReason::Shutdown);
        }
        self.processes.remove(&at.addr);
    }

    /// Notified when something is on its way to the process.
    pub(crate) fn ready(&mut self, at: Endpoint) -> Option<Arc<Notify>> {
        self.process(at).map(|process| process.ready.clone())
    }

    pub(crate) fn stats(&mut self, at: Endpoint) -> TransportStats {
        let Some(process) = self.process(at) else { return TransportStats::default() };
        let is_connected = |link: &&Link| matches!(link, Link::Connected { .. });
        let connections = process.peers.values().filter(is_connected).count();
        let mut stats = process.stats.clone();
        stats.connections = u64::try_from(connections).unwrap_or(u64::MAX);
        stats
    }

    /// Handles what has arrived by now, until something is there for the driver.
    pub(crate) fn poll(&mut self, now: Instant, at: Endpoint) -> Next {
        loop {
            let Some(process) = self.process(at) else { return Next::Ended };
            if let Some(received) = process.received.pop_front() {
                return Next::Received(received);
            }
            match process.inbox.first_entry() {
                Some(entry) if entry.key().0 <= now => {
                    let ((_, from, _), arrival) = entry.remove_entry();
                    self.handle(now, at, from, arrival);
                }
                Some(entry) => return Next::At(Some(entry.key().0)),
                None => return Next::At(None),
            }
        }
    }

    /// Sends a message over the connection to a peer, or lets it wait for one.
    pub(crate) fn send(&mut self, now: Instant, at: Endpoint, to: Peer, message: Message) {
        let Some(process) = self.process(at) else { return };
        if to.id == process.id {
            return process.fail(to, message, &DialError::OwnIdentity);
        }
        let delay = match process.peers.get_mut(&to.id) {
            Some(Link::Connected { .. }) => return self.send_connected(now, at, to.id, message),
            Some(Link::Dialling { waiting, .. }) => return wait(waiting, message),
            Some(Link::BackingOff { addr, until, next_delay }) => match *addr == to.addr {
                true if now < *until => {
                    return process.fail(to, message, &DialError::BackingOff);
                }
                true if now < *until + MAX_BACKOFF => *next_delay,
                _ => MIN_BACKOFF,
            },
            None => MIN_BACKOFF,
        };
        self.dial_peer(now, at, to, delay);
        if let Some(Link::Dialling { waiting, .. }) =
            self.process(at).and_then(|process| process.peers.get_mut(&to.id))
        {
            wait(waiting, message);
        }
    }

    /// Connects to the node at the address.
    pub(crate) fn dial(
        &mut self,
        now: Instant,
        at: Endpoint,
        addr: SocketAddr,
    ) -> oneshot::Receiver<DialResult> {
        let (sender, result) = oneshot::channel();
        if addr == at.addr {
            // An error means that nobody waits any more.
            let _ = sender.send(Err(DialError::OwnIdentity));
            return result;
        }
        let connection = self.number();
        // Dropped with the sender, the result is that the process has ended.
        let Some(process) = self.process(at) else { return result };
        match process.dials.entry(addr) {
            Entry::Occupied(mut entry) => entry.get_mut().waiting.push(sender),
            Entry::Vacant(entry) => {
                entry.insert(SeedDial { connection, waiting: vec![sender] });
                self.start_dial(now, at, addr, connection);
            }
        }
        result
    }

    /// Gives up connections to a peer that lead elsewhere than to `to.addr`, and dials there instead.
    pub(crate) fn redial(&mut self, now: Instant, at: Endpoint, to: Peer) {
        if self.give_up(now, at, to.id, Some(to.addr)) {
            self.dial_peer(now, at, to, MIN_BACKOFF);
        }
    }

    pub(crate) fn give_up_all(&mut self, now: Instant, at: Endpoint) {
        let Some(process) = self.process(at) else { return };
        let ids: Vec<_> = process.peers.keys().copied().collect();
        for id in ids {
            self.give_up(now, at, id, None);
        }
    }

    /// Closes everything towards a peer.
    pub(crate) fn close_peer(
        &mut self,
        now: Instant,
        at: Endpoint,
        id: PeerId,
        reason: CloseReason,
    ) {
        let Some(process) = self.process(at) else { return };
        match process.peers.remove(&id) {
            Some(Link::Connected { addr, connections, .. }) => {
                let (peer, local) = (Peer { id, addr }, DisconnectReason::Local);
                process.received.push_back(Received::Disconnected { peer, reason: local });
                self.send_close(now, at, addr, &connections, reason);
            }
            Some(Link::Dialling { addr, waiting, .. }) => {
                for message in waiting {
                    process.fail(Peer { id, addr }, message, &DialError::GivenUp);
                }
            }
            Some(Link::BackingOff { .. }) | None => {}
        }
    }

    /// The answer of the host at an address.
    pub(crate) fn host_answer(
        &self,
        from: SocketAddr,
        host: SocketAddr,
        question: HostQuestion,
    ) -> HostAnswer {
        if self.cuts.is_cut(from, host) {
            return HostAnswer::Nothing;
        }
        match question {
            HostQuestion::IsPeerThere if !self.processes.contains_key(&host) => {
                HostAnswer::PortRefused
            }
            _ => HostAnswer::IsThere,
        }
    }

    fn handle(&mut self, now: Instant, at: Endpoint, from: SocketAddr, arrival: Arrival) {
        match arrival {
            Arrival::Packet(packet) => self.handle_packet(now, at, from, packet),
            Arrival::PortRefused => {
                let Some(process) = self.process(at) else { return };
                process.stats.ports_refused += 1;
                process.end_dial(from, None, Err(DialError::PortClosed));
                let refused = process.peers.iter().filter(|(_, link)| link.addr() == from);
                let refused = refused.map(|(&id, _)| Peer { id, addr: from });
                let events = refused.map(|peer| Received::PortRefused { peer });
                process.received.extend(events);
            }
            Arrival::DialTimeout(connection) => {
                let Some(process) = self.process(at) else { return };
                process.end_dial(from, Some(connection), Err(DialError::TimedOut));
                process.peer_dial_failed(now, connection, DialError::TimedOut);
            }
            Arrival::Resend { to, stream, given_up } => {
                let Some(process) = self.process(at) else { return };
                let error = match process.peers.get(&to.id) {
                    Some(Link::Connected { .. }) if now < given_up => {
                        return self.send_stream(now, at, to, stream, given_up);
                    }
                    Some(Link::Connected { .. }) => SendError::TimedOut,
                    _ => SendError::ConnectionLost,
                };
                process.stream_failed(to, error, &stream);
            }
        }
    }

    fn handle_packet(&mut self, now: Instant, at: Endpoint, from: SocketAddr, packet: Packet) {
        let Some(process) = self.process(at) else { return };
        let Packet { connection, from: id, process: number, body } = packet;
        let peer = Peer { id, addr: from };
        match body {
            Body::Hello if id == process.id => {
                process.received.push_back(Received::IdentityInUse { addr: from });
                self.transmit(now, at, from, connection, Body::IdentityInUse);
            }
            Body::Hello => drop(self.transmit(now, at, from, connection, Body::Welcome)),
            Body::Welcome => self.handle_welcome(now, at, peer, number, connection),
            Body::Confirm => {
                process.stats.connections_accepted += 1;
                self.connect(now, at, peer, number, connection);
            }
            Body::IdentityInUse => {
                process.received.push_back(Received::IdentityInUse { addr: from });
                process.end_dial(from, Some(connection), Err(DialError::IdentityInUse));
                process.peer_dial_failed(now, connection, DialError::IdentityInUse);
            }
            Body::Message(message) => match process.peers.get(&id) {
                Some(Link::Connected { addr, connections, .. })
                    if connections.contains(&connection) =>
                {
                    let from = Peer { id, addr: *addr };
                    process.receive(from, message);
                }
                _ => drop(self.transmit(now, at, from, connection, Body::Reset)),
            },
            Body::Close(reason) => {
                process.disconnect(from, connection, DisconnectReason::Closed(reason));
            }
            Body::Reset => process.disconnect(from, connection, DisconnectReason::Reset),
        }
    }

    /// The peer at an address that was dialled has answered.
    fn handle_welcome(
        &mut self,
        now: Instant,
        at: Endpoint,
        peer: Peer,
        number: Number,
        connection: Number,
    ) {
        let Some(process) = self.process(at) else { return };
        let is_seed = process.dials.get(&peer.addr).is_some_and(|d| d.connection == connection);
        let expected = process.dialled_as(connection);
        if !is_seed && expected.is_none() {
            // It comes too late.
            return;
        }
        process.stats.connections_dialled += 1;
        self.transmit(now, at, peer.addr, connection, Body::Confirm);
        self.connect(now, at, peer, number, connection);
        let Some(process) = self.process(at) else { return };
        if let Some(expected) = expected.filter(|expected| *expected != peer.id) {
            let error = DialError::WrongPeer { expected, found: peer.id };
            process.peer_dial_failed(now, connection, error);
        }
        process.end_dial(peer.addr, Some(connection), Ok(peer.id));
    }

    /// Takes up a connection that either side dialled.
    fn connect(
        &mut self,
        now: Instant,
        at: Endpoint,
        peer: Peer,
        number: Number,
        connection: Number,
    ) {
        let Some(known) = self.process(at) else { return };
        if let Some(Link::Connected { addr, process, connections }) = known.peers.get_mut(&peer.id)
        {
            if *process != number {
                connections.clear();
            }
            (*addr, *process) = (peer.addr, number);
            connections.push(connection);
            connections.drain(..connections.len().saturating_sub(MAX_CONNECTIONS));
            return;
        }
        let connections = vec![connection];
        let link = Link::Connected { addr: peer.addr, process: number, connections };
        let before = known.peers.insert(peer.id, link);
        known.received.push_back(Received::Connected { peer });
        if let Some(Link::Dialling { waiting, .. }) = before {
            for message in waiting {
                self.send_connected(now, at, peer.id, message);
            }
        }
    }

    fn send_connected(&mut self, now: Instant, at: Endpoint, id: PeerId, message: Message) {
        let Some(process) = self.process(at) else { return };
        let Some((addr, connection)) = process.connection(id) else { return };
        match message {
            Message::Datagram(payload) => {
                process.stats.datagrams_sent += 1;
                process.stats.datagram_bytes_sent += bytes(&payload);
                let body = Body::Message(Message::Datagram(payload));
                self.transmit(now, at, addr, connection, body);
            }
            Message::Stream(stream) => {
                process.stats.streams_sent += 1;
                process.stats.stream_bytes_sent += bytes(&stream.payload);
                self.send_stream(now, at, Peer { id, addr }, stream, now + STREAM_TIMEOUT);
            }
        }
    }

    /// Sends a stream, and again if it is lost.
    fn send_stream(
        &mut self,
        now: Instant,
        at: Endpoint,
        to: Peer,
        stream: StreamMessage,
        given_up: Instant,
    ) {
        let Some((addr, connection)) = self.process(at).and_then(|p| p.connection(to.id)) else {
            return;
        };
        let body = Body::Message(Message::Stream(stream.clone()));
        if self.transmit(now, at, addr, connection, body) == Fate::Lost {
            let resend = Arrival::Resend { to, stream, given_up };
            self.arrive(now + RESEND_INTERVAL, at.addr, at.addr, resend);
        }
    }

    fn dial_peer(&mut self, now: Instant, at: Endpoint, to: Peer, delay: Duration) {
        let connection = self.number();
        let Some(process) = self.process(at) else { return };
        let waiting = VecDeque::new();
        let dialling = Link::Dialling { addr: to.addr, connection, waiting, delay };
        process.peers.insert(to.id, dialling);
        self.start_dial(now, at, to.addr, connection);
    }

    fn start_dial(&mut self, now: Instant, at: Endpoint, addr: SocketAddr, connection: Number) {
        if let Some(process) = self.process(at) {
            process.stats.dials += 1;
        }
        self.transmit(now, at, addr, connection, Body::Hello);
        self.arrive(now + DIAL_TIMEOUT, addr, at.addr, Arrival::DialTimeout(connection));
    }

    /// Gives up the connections to a peer, unless they lead to the address `but`. Returns whether there were any.
    fn give_up(&mut self, now: Instant, at: Endpoint, id: PeerId, but: Option<SocketAddr>) -> bool {
        let Some(process) = self.process(at) else { return false };
        let Entry::Occupied(entry) = process.peers.entry(id) else { return false };
        let Link::Connected { addr, connections, .. } = entry.get() else { return false };
        if but == Some(*addr) {
            return false;
        }
        let (addr, connections) = (*addr, connections.clone());
        entry.remove();
        process.stats.paths_lost += 1;
        let (peer, reason) = (Peer { id, addr }, DisconnectReason::PathLost);
        process.received.push_back(Received::Disconnected { peer, reason });
        self.send_close(now, at, addr, &connections, CloseReason::Superseded);
        true
    }

    fn send_close(
        &mut self,
        now: Instant,
        at: Endpoint,
        to: SocketAddr,
        connections: &[Number],
        reason: CloseReason,
    ) {
        for &connection in connections {
            self.transmit(now, at, to, connection, Body::Close(reason));
        }
    }

    /// Sends a packet.
    fn transmit(
        &mut self,
        now: Instant,
        at: Endpoint,
        to: SocketAddr,
        connection: Number,
        body: Body,
    ) -> Fate {
        if self.cuts.is_cut(at.addr, to) {
            return Fate::Lost;
        }
        let Some(sender) = self.process(at) else { return Fate::Lost };
        let packet = Packet { connection, from: sender.id, process: sender.number, body };
        match self.processes.get_mut(&to) {
            None => self.arrive(now + 2 * DELAY, to, at.addr, Arrival::PortRefused),
            Some(process) if process.inbox.len() >= MAX_INBOX => {
                process.stats.datagrams_dropped_receive_queue += 1;
                return Fate::Lost;
            }
            Some(_) => self.arrive(now + DELAY, at.addr, to, Arrival::Packet(packet)),
        }
        Fate::OnItsWay
    }

    /// Has something arrive at a process, if there is one.
    fn arrive(&mut self, due: Instant, from: SocketAddr, to: SocketAddr, arrival: Arrival) {
        let number = self.number();
        if let Some(process) = self.processes.get_mut(&to) {
            process.inbox.insert((due, from, number), arrival);
            process.ready.notify_one();
        }
    }

    fn process(&mut self, at: Endpoint) -> Option<&mut Process> {
        self.processes.get_mut(&at.addr).filter(|process| process.number == at.process)
    }

    fn number(&mut self) -> Number {
        self.next += 1;
        Number(self.next)
    }
}

impl Process {
    fn receive(&mut self, from: Peer, message: Message) {
        let received = match message {
            Message::Datagram(payload) => {
                self.stats.datagrams_received += 1;
                self.stats.datagram_bytes_received += bytes(&payload);
                Received::Datagram { from, payload }
            }
            Message::Stream(StreamMessage { payload, .. }) => {
                self.stats.streams_received += 1;
                self.stats.stream_bytes_received += bytes(&payload);
                Received::Stream { from, payload }
            }
        };
        self.received.push_back(received);
    }

    /// The connection in use to a peer, and where it leads.
    fn connection(&self, id: PeerId) -> Option<(SocketAddr, Number)> {
        match self.peers.get(&id)? {
            Link::Connected { addr, connections, .. } => Some((*addr, *connections.last()?)),
            Link::Dialling { .. } | Link::BackingOff { .. } => None,
        }
    }

    /// The peer for which this connection was dialled, if the dial is still under way.
    fn dialled_as(&self, wanted: Number) -> Option<PeerId> {
        self.peers.iter().find_map(|(&id, link)| match link {
            Link::Dialling { connection, .. } if *connection == wanted => Some(id),
            Link::Dialling { .. } | Link::Connected { .. } | Link::BackingOff { .. } => None,
        })
    }

    /// Ends the dial to an address, or only the one of this connection.
    fn end_dial(&mut self, addr: SocketAddr, connection: Option<Number>, result: DialResult) {
        let Entry::Occupied(entry) = self.dials.entry(addr) else { return };
        if connection.is_some_and(|connection| connection != entry.get().connection) {
            return;
        }
        self.stats.dials_failed += u64::from(result.is_err());
        for waiting in entry.remove().waiting {
            // An error means that it does not wait any more.
            let _ = waiting.send(result.clone());
        }
    }

    fn peer_dial_failed(&mut self, now: Instant, connection: Number, error: DialError) {
        let Some(id) = self.dialled_as(connection) else { return };
        let Some(Link::Dialling { addr, waiting, delay, .. }) = self.peers.remove(&id) else {
            return;
        };
        let next_delay = (2 * delay).min(MAX_BACKOFF);
        self.peers.insert(id, Link::BackingOff { addr, until: now + delay, next_delay });
        self.stats.dials_failed += 1;
        let peer = Peer { id, addr };
        self.received.push_back(Received::Unreachable { peer, error: error.clone() });
        for message in waiting {
            self.fail(peer, message, &error);
        }
    }

    /// Drops a message, and reports it if it is a stream.
    fn fail(&mut self, peer: Peer, message: Message, error: &DialError) {
        match message {
            Message::Datagram(_) => self.stats.datagrams_dropped_unreachable += 1,
            Message::Stream(stream) => {
                self.stream_failed(peer, SendError::Unreachable(error.clone()), &stream);
            }
        }
    }

    fn stream_failed(&mut self, peer: Peer, error: SendError, stream: &StreamMessage) {
        self.stats.streams_failed += 1;
        let (payload_bytes, bulk) = (stream.payload.len(), stream.bulk);
        self.received.push_back(Received::SendFailed { peer, error, payload_bytes, bulk });
    }

    /// A connection has ended at its far end.
    fn disconnect(&mut self, from: SocketAddr, ended: Number, reason: DisconnectReason) {
        let links = self.peers.iter_mut();
        let left = links.filter(|(_, link)| link.addr() == from).find_map(|(&id, link)| {
            let Link::Connected { connections, .. } = link else { return None };
            let place = connections.iter().position(|connection| *connection == ended)?;
            connections.remove(place);
            connections.is_empty().then_some(id)
        });
        if let Some(id) = left {
            self.peers.remove(&id);
            let peer = Peer { id, addr: from };
            self.received.push_back(Received::Disconnected { peer, reason });
        }
    }
}

impl Link {
    const fn addr(&self) -> SocketAddr {
        match self {
            Self::Dialling { addr, .. }
            | Self::Connected { addr, .. }
            | Self::BackingOff { addr, .. } => *addr,
        }
    }
}

/// Lets a message wait for a dial; the oldest one makes room.
fn wait(waiting: &mut VecDeque<Message>, message: Message) {
    if waiting.len() >= MAX_WAITING {
        waiting.pop_front();
    }
    waiting.push_back(message);
}

fn bytes(payload: &Bytes) -> u64 {
    u64::try_from(payload.len()).unwrap_or(u64::MAX)
}

/// How long a packet takes from one node to another: tokio's timers count milliseconds.
pub(crate) const DELAY: Duration = Duration::from_millis(1);
/// How many packets wait for a process that does not run; further ones are lost.
const MAX_INBOX: usize = 4_096;
/// How many messages wait for a dial.
const MAX_WAITING: usize = 64;
/// How many connections there are to one peer; the oldest is forgotten first.
const MAX_CONNECTIONS: usize = 4;
/// As `phin_quic::TransportConfig` has them by default.
const DIAL_TIMEOUT: Duration = Duration::from_secs(3);
const STREAM_TIMEOUT: Duration = Duration::from_secs(10);
const MIN_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(5);
/// How soon a lost stream is sent again.
const RESEND_INTERVAL: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests;
