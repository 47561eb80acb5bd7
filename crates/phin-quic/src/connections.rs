//! Chooses the connection for a message: one per peer, dialled when needed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use dashmap::{DashMap, Entry, OccupiedEntry};
use tokio::{task::AbortHandle, time::Instant};

use crate::{
    close::{CloseCode, CloseReason, DisconnectReason},
    config::Params,
    connection::Connection,
    identity::PeerId,
    peer::Peer,
    pending::{Message, Pending, Pushed},
    queue::{Queue, Received, SendError},
    refusal::DialError,
    socket::PortRefusal,
    stats::{Counters, TransportStats, add, count},
};

/// The connections to all peers, and the messages that wait for a dial.
pub(crate) struct Connections {
    own_id: PeerId,
    params: Arc<Params>,
    queue: Arc<Queue>,
    counters: Arc<Counters>,
    peers: DashMap<PeerId, PeerState>,
    next_attempt: AtomicU64,
}

/// Starts the dial to a peer with this attempt number, unless too many dials are under way.
pub(crate) type StartDial<'a> = &'a dyn Fn(Peer, u64) -> Option<AbortHandle>;

/// The connections or the dial to one peer.
#[derive(Debug)]
enum PeerState {
    /// Messages use `connection`. The others lost to it: they only receive, and replace `connection` if it breaks.
    Connected { connection: Arc<Connection>, draining: Vec<Arc<Connection>> },
    /// Messages wait for a dial.
    Dialling(Dialling),
    /// A dial failed. For a while, messages to that address fail immediately.
    BackingOff(BackOff),
}

#[derive(Debug)]
struct Dialling {
    peer: Peer,
    attempt: u64,
    pending: Pending,
    /// The back-off if this dial fails.
    delay: Duration,
    task: AbortHandle,
}

#[derive(Clone, Copy, Debug)]
struct BackOff {
    peer: Peer,
    until: Instant,
    /// The back-off if the next dial fails too.
    next_delay: Duration,
}

impl PeerState {
    fn peer(&self) -> Peer {
        match self {
            Self::Connected { connection, .. } => connection.peer,
            Self::Dialling(dialling) => dialling.peer,
            Self::BackingOff(back_off) => back_off.peer,
        }
    }
}

impl Connections {
    pub(crate) fn new(
        own_id: PeerId,
        params: Arc<Params>,
        queue: Arc<Queue>,
        counters: Arc<Counters>,
    ) -> Arc<Self> {
        let (peers, next_attempt) = (DashMap::new(), AtomicU64::new(0));
        Arc::new(Self { own_id, params, queue, counters, peers, next_attempt })
    }

    /// The connection for a message. Without one, the message waits for a dial, or has failed.
    pub(crate) fn route(
        &self,
        to: Peer,
        message: Message,
        start_dial: StartDial<'_>,
    ) -> Option<(Arc<Connection>, Message)> {
        if to.id == self.own_id {
            self.fail_message(to, message, DialError::OwnIdentity);
            return None;
        }
        let mut entry = match self.peers.entry(to.id) {
            Entry::Occupied(entry) => entry,
            Entry::Vacant(entry) => {
                match self.dial_for(to, message, self.params.min_backoff, start_dial) {
                    Ok(dialling) => drop(entry.insert(PeerState::Dialling(dialling))),
                    Err(message) => self.fail_message(to, message, DialError::TooManyDials),
                }
                return None;
            }
        };
        match entry.get_mut() {
            PeerState::Connected { connection, .. } => {
                // While the entry is locked, so that the connection is not found idle before the message is sent.
                connection.touch();
                return Some((connection.clone(), message));
            }
            PeerState::Dialling(dialling) => self.wait(to, message, &mut dialling.pending),
            PeerState::BackingOff(back_off) => {
                let is_elsewhere = back_off.peer.addr != to.addr;
                if !is_elsewhere && Instant::now() < back_off.until {
                    self.fail_message(to, message, DialError::BackingOff);
                    return None;
                }
                let delay =
                    if is_elsewhere { self.params.min_backoff } else { back_off.next_delay };
                match self.dial_for(to, message, delay, start_dial) {
                    Ok(dialling) => drop(entry.insert(PeerState::Dialling(dialling))),
                    Err(message) => self.fail_message(to, message, DialError::TooManyDials),
                }
            }
        }
        None
    }

    /// Starts a dial for a message, or returns the message.
    fn dial_for(
        &self,
        to: Peer,
        message: Message,
        delay: Duration,
        start_dial: StartDial<'_>,
    ) -> Result<Dialling, Message> {
        let Some(mut dialling) = self.dial(to, delay, start_dial) else { return Err(message) };
        self.wait(to, message, &mut dialling.pending);
        Ok(dialling)
    }

    fn dial(&self, to: Peer, delay: Duration, start_dial: StartDial<'_>) -> Option<Dialling> {
        let attempt = self.next_attempt.fetch_add(1, Ordering::Relaxed);
        let task = start_dial(to, attempt)?;
        Some(Dialling { peer: to, attempt, pending: Pending::default(), delay, task })
    }

    fn wait(&self, to: Peer, message: Message, pending: &mut Pending) {
        let (dropped, refused) = match pending.push(message, &self.params) {
            Pushed::Waits { dropped_datagrams } => (dropped_datagrams, None),
            Pushed::NoRoom { message, dropped_datagrams } => (dropped_datagrams, Some(message)),
        };
        add(&self.counters.datagrams_dropped_pending, dropped);
        match refused {
            None => {}
            Some(Message::Datagram(_)) => add(&self.counters.datagrams_dropped_pending, 1),
            Some(Message::Stream(stream)) => {
                self.queue.push_send_failed(to, SendError::TooMany, &stream);
            }
        }
    }

    /// Gives up every connection to a peer at an address other than `to.addr`. If none is left, dials `to.addr`.
    pub(crate) fn redial(&self, to: Peer, start_dial: StartDial<'_>) {
        let Entry::Occupied(mut entry) = self.peers.entry(to.id) else { return };
        let PeerState::Connected { connection, draining } = entry.get_mut() else { return };
        draining.push(connection.clone());
        let leads_there =
            |other: &Arc<Connection>| other.peer.addr == to.addr && !other.is_closed();
        let (mut kept, given_up): (Vec<_>, Vec<_>) = draining.drain(..).partition(leads_there);
        given_up.iter().for_each(|other| other.close(CloseCode::SUPERSEDED));
        let left = connection.peer;
        if let Some(next) = kept.pop() {
            next.set_draining(false);
            (*connection, *draining) = (next, kept);
            return;
        }
        add(&self.counters.paths_lost, 1);
        match self.dial(to, self.params.min_backoff, start_dial) {
            Some(dialling) => drop(entry.insert(PeerState::Dialling(dialling))),
            None => drop(entry.remove()),
        }
        let reason = DisconnectReason::PathLost;
        self.queue.push_event(Received::Disconnected { peer: left, reason });
    }

    /// Gives up a connection that stayed silent while another one to the same peer was established.
    pub(crate) fn replaced(&self, silent: &Arc<Connection>) {
        add(&self.counters.paths_lost, 1);
        silent.close(CloseCode::SUPERSEDED);
        self.lost(silent, DisconnectReason::PathLost);
    }

    /// Gives up all connections. None of them works after this host's address has changed.
    pub(crate) fn give_up_all(&self) {
        let peers: Vec<PeerId> = self.peers.iter().map(|state| *state.key()).collect();
        for id in peers {
            let Entry::Occupied(entry) = self.peers.entry(id) else { continue };
            let PeerState::Connected { connection, draining } = entry.get() else { continue };
            draining
                .iter()
                .chain([connection])
                .for_each(|connection| connection.close(CloseCode::SUPERSEDED));
            add(&self.counters.paths_lost, 1);
            let (peer, reason) = (connection.peer, DisconnectReason::PathLost);
            entry.remove();
            self.queue.push_event(Received::Disconnected { peer, reason });
        }
    }

    /// Fails the messages that wait for a dial. Does nothing if they were sent over another connection meanwhile.
    pub(crate) fn dial_failed(&self, peer: Peer, attempt: u64, error: DialError) {
        let Entry::Occupied(mut entry) = self.peers.entry(peer.id) else { return };
        let PeerState::Dialling(dialling) = entry.get_mut() else { return };
        if dialling.attempt != attempt {
            return;
        }
        let pending = std::mem::take(&mut dialling.pending);
        let back_off = BackOff {
            peer,
            until: Instant::now() + dialling.delay,
            next_delay: (2 * dialling.delay).min(self.params.max_backoff),
        };
        entry.insert(PeerState::BackingOff(back_off));
        self.queue.push_event(Received::Unreachable { peer, error: error.clone() });
        self.fail_pending(peer, pending, &error);
    }

    /// Registers a connection, and returns the messages that waited for one.
    pub(crate) fn take_up(&self, connection: &Arc<Connection>) -> Pending {
        let mut entry = match self.peers.entry(connection.peer.id) {
            Entry::Occupied(entry) => entry,
            Entry::Vacant(entry) => {
                drop(entry.insert(connected(connection)));
                self.queue.push_event(Received::Connected { peer: connection.peer });
                return Pending::default();
            }
        };
        match entry.get_mut() {
            PeerState::Connected { connection: current, draining } => {
                self.choose(current, draining, connection);
                Pending::default()
            }
            PeerState::Dialling(dialling) => {
                // A dial still under way ends by itself, with a connection that wins or loses against this one.
                let pending = std::mem::take(&mut dialling.pending);
                entry.insert(connected(connection));
                self.queue.push_event(Received::Connected { peer: connection.peer });
                pending
            }
            PeerState::BackingOff(_) => {
                entry.insert(connected(connection));
                self.queue.push_event(Received::Connected { peer: connection.peer });
                Pending::default()
            }
        }
    }

    /// Chooses one of two connections to a peer, and drains the other.
    fn choose(
        &self,
        current: &mut Arc<Connection>,
        draining: &mut Vec<Arc<Connection>>,
        new: &Arc<Connection>,
    ) {
        add(&self.counters.connections_superseded, 1);
        let loser = match new.supersedes(current, self.own_id, self.params.handshake_timeout) {
            true => std::mem::replace(current, new.clone()),
            false => new.clone(),
        };
        loser.set_draining(true);
        if draining.len() >= MAX_DRAINING {
            // Limits a peer that connects again and again.
            draining.remove(0).close(CloseCode::SUPERSEDED);
        }
        draining.push(loser);
    }

    /// Closes the connections that are accepted no longer, and returns their number.
    pub(crate) fn disown(&self, is_accepted: impl Fn(&Connection) -> bool) -> usize {
        // Collected first, so that no entry is locked while certificates are checked.
        let mut all = Vec::new();
        for state in &self.peers {
            if let PeerState::Connected { connection, draining } = state.value() {
                all.extend(draining.iter().chain([connection]).cloned());
            }
        }
        all.retain(|connection| !is_accepted(connection));
        for connection in &all {
            self.disown_one(connection);
        }
        all.len()
    }

    /// Closes a connection that is accepted no longer. The peer may have other credentials by now, and dial again.
    pub(crate) fn disown_one(&self, connection: &Arc<Connection>) {
        add(&self.counters.connections_disowned, 1);
        connection.close(CloseCode::CREDENTIALS);
        self.lost(connection, DisconnectReason::Local);
    }

    /// Removes a connection that has ended. Calling it twice is harmless.
    pub(crate) fn lost(&self, lost: &Arc<Connection>, reason: DisconnectReason) {
        if let Entry::Occupied(entry) = self.peers.entry(lost.peer.id) {
            self.forget(entry, lost, reason);
        }
    }

    /// Closes a connection that was idle for too long.
    pub(crate) fn close_if_overdue(&self, connection: &Arc<Connection>) {
        let Entry::Occupied(entry) = self.peers.entry(connection.peer.id) else { return };
        // Check again while the entry is locked: a message may have arrived in between.
        if let Some(code) = connection.overdue(self.params.idle_timeout) {
            connection.close(code);
            self.forget(entry, connection, DisconnectReason::Idle);
        }
    }

    fn forget(
        &self,
        mut entry: OccupiedEntry<'_, PeerId, PeerState>,
        lost: &Arc<Connection>,
        reason: DisconnectReason,
    ) {
        let PeerState::Connected { connection, draining } = entry.get_mut() else { return };
        draining.retain(|other| !Arc::ptr_eq(other, lost) && !other.is_closed());
        if !Arc::ptr_eq(connection, lost) {
            return;
        }
        if let Some(next) = draining.pop() {
            next.set_draining(false);
            *connection = next;
            return;
        }
        entry.remove();
        self.queue.push_event(Received::Disconnected { peer: lost.peer, reason });
    }

    /// Closes the connections and the dial to a peer immediately.
    pub(crate) fn close_peer(&self, id: PeerId, reason: CloseReason) {
        let Entry::Occupied(entry) = self.peers.entry(id) else { return };
        match entry.get() {
            PeerState::Connected { connection, draining } => {
                for connection in draining.iter().chain([connection]) {
                    connection.close(reason.into());
                }
                let (peer, reason) = (connection.peer, DisconnectReason::Local);
                self.queue.push_event(Received::Disconnected { peer, reason });
                entry.remove();
            }
            PeerState::Dialling(dialling) => {
                dialling.task.abort();
                if let PeerState::Dialling(Dialling { peer, pending, .. }) = entry.remove() {
                    self.fail_pending(peer, pending, &DialError::GivenUp);
                }
            }
            PeerState::BackingOff(_) => drop(entry.remove()),
        }
    }

    /// Closes the connections and the dial to a peer that is expelled. Returns the number of the former.
    pub(crate) fn expel(&self, id: PeerId, statement: &[u8]) -> usize {
        let mut closed = 0;
        if let Some(state) = self.peers.get(&id)
            && let PeerState::Connected { connection, draining } = state.value()
        {
            for connection in draining.iter().chain([connection]) {
                connection.quic.close(CloseCode::EXPELLED.0, statement);
                closed += 1;
            }
        }
        self.close_peer(id, CloseReason::Expelled);
        closed
    }

    /// Reports a refused port to the receiver: the process that had it has ended.
    pub(crate) fn port_refused(&self, refusal: PortRefusal) {
        let PortRefusal::Of(addr) = refusal else {
            return add(&self.counters.ports_refused_doubtful, 1);
        };
        add(&self.counters.ports_refused, 1);
        let peers = self.peers.iter().map(|state| state.peer());
        // Collected first, so that no entry is locked while reporting.
        for peer in peers.filter(|peer| peer.addr == addr).collect::<Vec<_>>() {
            self.queue.push_event(Received::PortRefused { peer });
        }
    }

    pub(crate) fn is_connected(&self, id: PeerId) -> bool {
        self.peers.get(&id).is_some_and(|state| matches!(*state, PeerState::Connected { .. }))
    }

    /// Removes back-offs so old that the next failure would start from the beginning.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        let forget_after = self.params.max_backoff;
        self.peers.retain(|_, state| match state {
            PeerState::BackingOff(back_off) => now < back_off.until + forget_after,
            PeerState::Connected { .. } | PeerState::Dialling(_) => true,
        });
    }

    /// Adds the traffic of the present connections to that of the ended ones.
    pub(crate) fn add_to(&self, all: &mut TransportStats) {
        let mut draining_connections = 0;
        for state in &self.peers {
            let PeerState::Connected { connection, draining } = state.value() else { continue };
            for connection in draining.iter().chain([connection]) {
                all.add_udp(&connection.quic.stats());
            }
            all.connections += 1;
            draining_connections += draining.len();
        }
        all.connections_draining = count(draining_connections);
    }

    pub(crate) fn fail_message(&self, peer: Peer, message: Message, error: DialError) {
        match message {
            Message::Datagram(_) => add(&self.counters.datagrams_dropped_unreachable, 1),
            Message::Stream(stream) => {
                self.queue.push_send_failed(peer, SendError::Unreachable(error), &stream);
            }
        }
    }

    fn fail_pending(&self, peer: Peer, pending: Pending, error: &DialError) {
        for message in pending.into_messages() {
            self.fail_message(peer, message, error.clone());
        }
    }
}

fn connected(connection: &Arc<Connection>) -> PeerState {
    PeerState::Connected { connection: connection.clone(), draining: Vec::new() }
}

/// Superseded connections kept per peer. Beyond it, the oldest is closed.
const MAX_DRAINING: usize = 4;
