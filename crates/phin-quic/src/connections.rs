//! Which connection a message to a peer goes over: one per peer, dialled when needed.

use std::{sync::Arc, time::Duration};

use dashmap::{Entry, OccupiedEntry};
use tokio::{task::AbortHandle, time::Instant};

use crate::{
    connection::{self, CloseCode, CloseReason, Connection, DisconnectReason, Peer, SendError},
    identity::PeerId,
    pending::{Message, Pending, Pushed},
    queue::Received,
    refusal::DialError,
    socket::PortRefusal,
    stats::add,
    transport::Shared,
};

/// What there is towards one peer.
#[derive(Debug)]
pub(crate) enum PeerState {
    /// Messages go over `connection`. The others lost to it and are used no more, but still heard; they
    /// are also what is left should `connection` break.
    Connected { connection: Arc<Connection>, draining: Vec<Arc<Connection>> },
    /// Messages wait for a dial.
    Dialling(Dialling),
    /// A dial failed; until a moment, messages to that address fail at once.
    BackingOff(BackOff),
}

#[derive(Debug)]
pub(crate) struct Dialling {
    peer: Peer,
    attempt: u64,
    pending: Pending,
    /// How long to back off if this dial fails.
    delay: Duration,
    task: AbortHandle,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct BackOff {
    peer: Peer,
    until: Instant,
    /// How long to back off if the next dial fails, too.
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

/// Where a message goes.
enum Route {
    Over(Arc<Connection>, Message),
    /// It waits or has failed.
    Settled,
}

impl Shared {
    /// Sends a message over the connection to the peer, or lets it wait for one.
    pub(crate) fn send(self: &Arc<Self>, to: Peer, mut message: Message) {
        if self.is_closed() {
            add(&self.counters.dropped_after_close, 1);
            return;
        }
        if to.id == self.own_id {
            return self.fail_message(to, message, DialError::OwnIdentity);
        }
        // The connection may turn out to be lost; then the second round dials.
        for _ in 0..2 {
            let Route::Over(connection, routed) = self.route(to, message) else { return };
            match connection.send(self, routed) {
                Ok(()) => return connection.watch_path(self, to),
                Err(returned) => message = returned,
            }
            self.lost(&connection, end_of(&connection));
        }
        match message {
            Message::Datagram(_) => add(&self.counters.datagrams_dropped_connection_lost, 1),
            Message::Stream(payload) => {
                self.stream_failed(to, SendError::ConnectionLost, payload.len());
            }
        }
    }

    fn route(self: &Arc<Self>, to: Peer, message: Message) -> Route {
        let mut entry = match self.peers.entry(to.id) {
            Entry::Occupied(entry) => entry,
            Entry::Vacant(entry) => {
                match self.start_dial(to, message, self.params.min_backoff) {
                    Ok(dialling) => drop(entry.insert(PeerState::Dialling(dialling))),
                    Err(message) => self.fail_message(to, message, DialError::TooManyDials),
                }
                return Route::Settled;
            }
        };
        match entry.get_mut() {
            PeerState::Connected { connection, .. } => {
                // While the entry is locked, so that it cannot be found idle before the message
                // is on its way.
                connection.touch();
                return Route::Over(connection.clone(), message);
            }
            PeerState::Dialling(dialling) => self.wait(to, message, &mut dialling.pending),
            PeerState::BackingOff(back_off) => {
                let back_off = *back_off;
                self.dial_again(to, message, back_off, &mut entry);
            }
        }
        Route::Settled
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
            Some(Message::Stream(payload)) => {
                self.stream_failed(to, SendError::TooMany, payload.len());
            }
        }
    }

    fn dial_again(
        self: &Arc<Self>,
        to: Peer,
        message: Message,
        back_off: BackOff,
        entry: &mut OccupiedEntry<'_, PeerId, PeerState>,
    ) {
        let is_elsewhere = back_off.peer.addr != to.addr;
        if !is_elsewhere && Instant::now() < back_off.until {
            return self.fail_message(to, message, DialError::BackingOff);
        }
        let delay = if is_elsewhere { self.params.min_backoff } else { back_off.next_delay };
        match self.start_dial(to, message, delay) {
            Ok(dialling) => drop(entry.insert(PeerState::Dialling(dialling))),
            Err(message) => self.fail_message(to, message, DialError::TooManyDials),
        }
    }

    fn start_dial(
        self: &Arc<Self>,
        to: Peer,
        message: Message,
        delay: Duration,
    ) -> Result<Dialling, Message> {
        let Some(mut dialling) = self.dial_for_nothing(to, delay) else { return Err(message) };
        self.wait(to, message, &mut dialling.pending);
        Ok(dialling)
    }

    /// Dials a peer before a message waits for it, unless too many dials are under way.
    fn dial_for_nothing(self: &Arc<Self>, to: Peer, delay: Duration) -> Option<Dialling> {
        let slot = self.dial_slot()?;
        let attempt = self.next_attempt();
        let task = self.runtime.spawn(self.clone().dial_peer(to, attempt, slot)).abort_handle();
        Some(Dialling { peer: to, attempt, pending: Pending::default(), delay, task })
    }

    /// Gives up every connection to a peer that leads elsewhere than to `to.addr`. If none is left, dials there at once.
    pub(crate) fn redial(self: &Arc<Self>, to: Peer) {
        let Entry::Occupied(mut entry) = self.peers.entry(to.id) else { return };
        let PeerState::Connected { connection, draining } = entry.get_mut() else { return };
        draining.push(connection.clone());
        let (mut kept, given_up): (Vec<_>, Vec<_>) = draining
            .drain(..)
            .partition(|connection| connection.peer.addr == to.addr && !connection.is_closed());
        given_up.iter().for_each(|connection| connection.close(CloseCode::SUPERSEDED));
        let left = connection.peer;
        if let Some(next) = kept.pop() {
            next.set_draining(false);
            (*connection, *draining) = (next, kept);
            return;
        }
        add(&self.counters.paths_lost, 1);
        match self.dial_for_nothing(to, self.params.min_backoff) {
            Some(dialling) => drop(entry.insert(PeerState::Dialling(dialling))),
            None => drop(entry.remove()),
        }
        let reason = DisconnectReason::PathLost;
        self.queue.push_event(Received::Disconnected { peer: left, reason });
    }

    /// Makes another connection beside one that is silent, and gives that one up if the new one comes about. If none does,
    /// nothing is reported.
    pub(crate) async fn replace_if_silent(
        self: &Arc<Self>,
        silent: &Arc<Connection>,
        to: Peer,
        received: u64,
    ) {
        // On a starved machine all connections seem silent: handshakes must not add to its load.
        let (Ok(_permit), Some(_slot)) = (self.path_checks.try_acquire(), self.dial_slot()) else {
            return;
        };
        if self.establish(to.addr).await == Ok(to.id) && silent.packets_received() == received {
            add(&self.counters.paths_lost, 1);
            silent.close(CloseCode::SUPERSEDED);
            self.lost(silent, DisconnectReason::PathLost);
        }
    }

    /// Gives up all connections: none of them works any more when this host's address has changed.
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

    /// The dial for waiting messages failed. Another connection may have come about meanwhile;
    /// then they went over it, and there is nothing to do.
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

    /// Takes up a connection whose handshake is complete, whoever dialled.
    pub(crate) fn register(self: &Arc<Self>, connection: Arc<Connection>) {
        let waiting = self.take_up(&connection);
        self.runtime.spawn(connection::run(self.clone(), connection.clone()));
        for message in waiting.into_messages() {
            self.send(connection.peer, message);
        }
        // Closing all connections may have missed one that came up at that moment.
        if self.is_closed() {
            connection.close(CloseCode::SHUTDOWN);
        }
    }

    /// Puts a connection in its place, and returns the messages that waited for one.
    fn take_up(&self, connection: &Arc<Connection>) -> Pending {
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
                // A dial still under way ends by itself, in a connection that loses or wins.
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

    /// Of two connections to a peer, uses one and drains the other.
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
            // A peer that connects again and again gains nothing but this.
            draining.remove(0).close(CloseCode::SUPERSEDED);
        }
        draining.push(loser);
    }

    /// A connection has ended. Calling it twice is harmless.
    pub(crate) fn lost(&self, lost: &Arc<Connection>, reason: DisconnectReason) {
        if let Entry::Occupied(entry) = self.peers.entry(lost.peer.id) {
            self.forget(entry, lost, reason);
        }
    }

    /// Closes a connection on which nothing has happened for too long.
    pub(crate) fn close_if_overdue(&self, connection: &Arc<Connection>) {
        let Entry::Occupied(entry) = self.peers.entry(connection.peer.id) else { return };
        // Looked at again while the entry is locked: a message may have come in between.
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

    /// Closes everything towards a peer, at once.
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

    /// A packet to some address was refused: who was there is there no longer.
    pub(crate) fn port_refused(&self, refusal: PortRefusal) {
        let PortRefusal::Of(addr) = refusal else {
            return add(&self.counters.ports_refused_doubtful, 1);
        };
        add(&self.counters.ports_refused, 1);
        let peers = self.peers.iter().map(|state| state.peer());
        // Told when no entry is locked.
        for peer in peers.filter(|peer| peer.addr == addr).collect::<Vec<_>>() {
            self.queue.push_event(Received::PortRefused { peer });
        }
    }

    pub(crate) fn is_connected(&self, id: PeerId) -> bool {
        self.peers.get(&id).is_some_and(|state| matches!(*state, PeerState::Connected { .. }))
    }

    /// Forgets back-offs so old that the next failure would begin anew.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        let forget_after = self.params.max_backoff;
        self.peers.retain(|_, state| match state {
            PeerState::BackingOff(back_off) => now < back_off.until + forget_after,
            PeerState::Connected { .. } | PeerState::Dialling(_) => true,
        });
    }

    /// Every connection that is in use or drained.
    pub(crate) fn for_each_connection(&self, mut visit: impl FnMut(&Arc<Connection>)) {
        for state in &self.peers {
            if let PeerState::Connected { connection, draining } = state.value() {
                visit(connection);
                draining.iter().for_each(&mut visit);
            }
        }
    }

    /// How many peers there is a connection to.
    pub(crate) fn connected_peers(&self) -> usize {
        let is_connected = |state: &PeerState| matches!(state, PeerState::Connected { .. });
        self.peers.iter().filter(|state| is_connected(state.value())).count()
    }

    pub(crate) fn stream_failed(&self, peer: Peer, error: SendError, payload_bytes: usize) {
        add(&self.counters.streams_failed, 1);
        self.queue.push_event(Received::SendFailed { peer, error, payload_bytes });
    }

    fn fail_message(&self, peer: Peer, message: Message, error: DialError) {
        match message {
            Message::Datagram(_) => add(&self.counters.datagrams_dropped_unreachable, 1),
            Message::Stream(payload) => {
                self.stream_failed(peer, SendError::Unreachable(error), payload.len());
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

fn end_of(connection: &Connection) -> DisconnectReason {
    let reason = connection.quic.close_reason();
    reason.as_ref().map_or(DisconnectReason::Local, DisconnectReason::from)
}

/// How many silent connections may be replaced at once; further ones wait for their next message.
pub(crate) const MAX_PATH_CHECKS: usize = 4;
/// Superseded connections kept to one peer; the oldest is closed first.
const MAX_DRAINING: usize = 4;
