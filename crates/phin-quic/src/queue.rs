//! The receive queue, between the tasks of a transport and its one [`Receiver`].

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::{
    budget::Reservation,
    close::DisconnectReason,
    identity::PeerId,
    peer::Peer,
    pending::StreamMessage,
    refusal::DialError,
    stats::{Counters, add},
};

/// A message or an event from a [`Receiver`].
///
/// For each peer, `Connected` and `Disconnected` alternate. The peer's messages lie between them, except for the last
/// datagrams and streams, which may follow `Disconnected`.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Received {
    /// A datagram arrived.
    Datagram {
        /// The sender, proved by the connection.
        from: Peer,
        /// The message.
        payload: Bytes,
    },
    /// A complete stream arrived.
    Stream {
        /// The sender, proved by the connection.
        from: Peer,
        /// The message.
        payload: Bytes,
    },
    /// A connection to the peer was established. Either side may have dialled.
    Connected {
        /// The peer, at its present address.
        peer: Peer,
    },
    /// The last connection to the peer ended. The next message to it dials.
    Disconnected {
        /// The peer, at its last address.
        peer: Peer,
        /// How the connection ended.
        reason: DisconnectReason,
    },
    /// A dial failed, and the messages that waited for it are dropped. A `SendFailed` follows for each stream among
    /// them.
    Unreachable {
        /// The intended peer.
        peer: Peer,
        /// The reason.
        error: DialError,
    },
    /// The host of a peer refused a packet: no process has the peer's port. Reported for each packet that the host
    /// refuses, with and without a connection, on Linux.
    PortRefused {
        /// The intended peer.
        peer: Peer,
    },
    /// A peer that this node dialled sees its packets come from this address: one of this host, or of a NAT. Not
    /// reported if it is the address that the transport is bound to.
    Observed {
        /// The peer.
        by: Peer,
        /// The source address of this node's packets, as the peer reports it.
        addr: SocketAddr,
    },
    /// Another process proved this node's own identity, so it has a copy of the key.
    IdentityInUse {
        /// The address of that process.
        addr: SocketAddr,
    },
    /// A peer refused this node, or ended a connection, because this node is expelled. The peer may be wrong, or lie: check the
    /// statement.
    Expelled {
        /// The address of the peer.
        addr: SocketAddr,
        /// The statement, as that peer was given it ([`Transport::set_expelled`](crate::Transport::set_expelled)).
        statement: Bytes,
    },
    /// A stream may not have reached the peer.
    SendFailed {
        /// The intended peer.
        peer: Peer,
        /// The reason.
        error: SendError,
        /// The length of the message in bytes.
        payload_bytes: usize,
        /// The number of a bulk message ([`Transport::send_bulk`](crate::Transport::send_bulk)).
        bulk: Option<u64>,
    },
}

/// Why a stream may not have reached the peer.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The message is longer than
    /// [`TransportConfig::max_stream_bytes`](crate::TransportConfig::max_stream_bytes).
    #[error("the message is longer than max_stream_bytes")]
    TooLarge,
    /// Too many streams to this peer are under way or wait.
    #[error("too many streams to this peer")]
    TooMany,
    /// The peer stopped the stream, because it was too long or too slow.
    #[error("the peer stopped the stream")]
    Stopped,
    /// The stream timed out.
    #[error("not delivered in time")]
    TimedOut,
    /// The connection ended before the peer confirmed the message.
    #[error("the connection was lost")]
    ConnectionLost,
    /// There was no connection, and dialling failed.
    #[error("no connection")]
    Unreachable(#[source] DialError),
}

/// The receiving half of a [`Transport`](crate::Transport): yields messages and events in order.
#[derive(Debug)]
pub struct Receiver {
    queue: Arc<Queue>,
}

impl Receiver {
    pub(crate) fn new(queue: Arc<Queue>) -> Self {
        Self { queue }
    }

    /// Waits for the next item. Returns `None` once the transport is closed and every item was taken.
    ///
    /// Cancel safe: a dropped future loses no item.
    pub async fn receive(&mut self) -> Option<Received> {
        loop {
            match self.queue.pop() {
                Popped::Item(received) => return Some(received),
                Popped::Closed => return None,
                Popped::Empty => self.queue.ready.notified().await,
            }
        }
    }

    /// Returns the next item if there is one, without waiting.
    pub fn try_receive(&mut self) -> Option<Received> {
        match self.queue.pop() {
            Popped::Item(received) => Some(received),
            Popped::Closed | Popped::Empty => None,
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.queue.close();
        self.queue.clear();
    }
}

/// Datagrams, of which the oldest is dropped beyond a limit, and streams and events, which are not. Streams are
/// limited by their reservations, events by [`MAX_EVENTS`].
#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    ready: Notify,
    max_datagrams: usize,
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct State {
    datagrams: VecDeque<(u64, Peer, Bytes)>,
    /// The number of waiting datagrams of each peer.
    shares: HashMap<PeerId, usize>,
    others: VecDeque<(u64, Received, Reservation)>,
    next_number: u64,
    is_closed: bool,
}

enum Popped {
    Item(Received),
    Empty,
    Closed,
}

impl Queue {
    pub(crate) fn new(max_datagrams: usize, counters: Arc<Counters>) -> Self {
        Self { state: Mutex::default(), ready: Notify::new(), max_datagrams, counters }
    }

    pub(crate) fn push_datagram(&self, from: Peer, payload: Bytes) {
        let Some((mut state, number)) = self.open() else { return };
        if state.datagrams.len() >= self.max_datagrams {
            state.drop_datagram();
            add(&self.counters.datagrams_dropped_receive_queue, 1);
        }
        state.datagrams.push_back((number, from, payload));
        *state.shares.entry(from.id).or_default() += 1;
        drop(state);
        self.ready.notify_one();
    }

    /// Adds a stream. Its reservation is released when the receiver takes it.
    pub(crate) fn push_stream(&self, from: Peer, payload: Bytes, reserved: Reservation) {
        let Some((mut state, number)) = self.open() else { return };
        state.others.push_back((number, Received::Stream { from, payload }, reserved));
        drop(state);
        self.ready.notify_one();
    }

    pub(crate) fn push_event(&self, event: Received) {
        let Some((mut state, number)) = self.open() else { return };
        if state.others.len() >= MAX_EVENTS {
            add(&self.counters.events_dropped, 1);
            return;
        }
        state.others.push_back((number, event, Reservation::default()));
        drop(state);
        self.ready.notify_one();
    }

    /// Counts and reports a stream that may not have reached the peer.
    pub(crate) fn push_send_failed(&self, peer: Peer, error: SendError, stream: &StreamMessage) {
        add(&self.counters.streams_failed, 1);
        let (payload_bytes, bulk) = (stream.payload.len(), stream.bulk);
        self.push_event(Received::SendFailed { peer, error, payload_bytes, bulk });
    }

    /// Accepts no further items. The receiver can still take those that wait.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
        self.ready.notify_one();
    }

    fn clear(&self) {
        let mut state = self.lock();
        state.datagrams.clear();
        state.shares.clear();
        state.others.clear();
    }

    fn pop(&self) -> Popped {
        let mut state = self.lock();
        let datagram = state.datagrams.front().map(|(number, ..)| *number);
        let other = state.others.front().map(|(number, ..)| *number);
        let is_datagram_next = match (datagram, other) {
            (Some(datagram), Some(other)) => datagram < other,
            (Some(_), None) => true,
            (None, _) => false,
        };
        let item = match is_datagram_next {
            true => state.take_datagram(0),
            false => state.others.pop_front().map(|(_, received, _reserved)| received),
        };
        match item {
            Some(received) => Popped::Item(received),
            None if state.is_closed => Popped::Closed,
            None => Popped::Empty,
        }
    }

    /// Locks the state and numbers the next item; `None` if the queue is closed.
    fn open(&self) -> Option<(MutexGuard<'_, State>, u64)> {
        let mut state = self.lock();
        if state.is_closed {
            add(&self.counters.dropped_after_close, 1);
            return None;
        }
        let number = state.next_number;
        state.next_number += 1;
        Some((state, number))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Drops the oldest datagram. If one peer has more than half of them, drops the oldest of that peer, so that one
    /// peer cannot displace the others.
    fn drop_datagram(&mut self) {
        let half = self.datagrams.len() / 2;
        let flooding = self.shares.iter().find(|(_, share)| **share > half).map(|(id, _)| *id);
        let oldest = |id| self.datagrams.iter().position(|(_, from, _)| from.id == id);
        let position = flooding.and_then(oldest).unwrap_or_default();
        self.take_datagram(position);
    }

    fn take_datagram(&mut self, position: usize) -> Option<Received> {
        let (_, from, payload) = self.datagrams.remove(position)?;
        if let Some(share) = self.shares.get_mut(&from.id) {
            *share -= 1;
            if *share == 0 {
                self.shares.remove(&from.id);
            }
        }
        Some(Received::Datagram { from, payload })
    }
}

/// Streams and events that wait. Further events are dropped: a receiver that is so far behind must ask for the state
/// again anyway.
const MAX_EVENTS: usize = 65_536;

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::budget::Budget;

    fn peer() -> Peer {
        Peer { id: PeerId::from_bytes([1; 16]), addr: ([127, 0, 0, 1], 1).into() }
    }

    fn queue(max_datagrams: usize) -> (Arc<Queue>, Receiver, Arc<Counters>) {
        let counters = Arc::new(Counters::default());
        let queue = Arc::new(Queue::new(max_datagrams, counters.clone()));
        (queue.clone(), Receiver::new(queue), counters)
    }

    fn text(received: Option<Received>) -> String {
        match received {
            Some(Received::Datagram { payload, .. } | Received::Stream { payload, .. }) => {
                String::from_utf8(payload.to_vec()).unwrap()
            }
            other => format!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn the_oldest_datagram_goes_and_the_order_stays() {
        let (queue, mut receiver, counters) = queue(2);
        let (of_peer, of_all) = (Budget::new(1000), Budget::new(10));
        let (mut first, mut second) = (Reservation::default(), Reservation::default());
        first.add(10, &of_peer, &of_all).await;
        // Only by going over the budget.
        second.add(10, &of_peer, &of_all).await;
        queue.push_datagram(peer(), "1".into());
        queue.push_datagram(peer(), "2".into());
        queue.push_stream(peer(), "3".into(), first);
        queue.push_datagram(peer(), "4".into());
        queue.push_stream(peer(), "5".into(), second);
        assert_eq!(counters.datagrams_dropped_receive_queue.load(Ordering::Relaxed), 1);
        for expected in ["2", "3", "4", "5"] {
            assert_eq!(text(receiver.try_receive()), expected);
        }
        assert_eq!(receiver.try_receive(), None);
        // Items that are taken make room.
        let (mut first, mut second) = (Reservation::default(), Reservation::default());
        first.add(10, &of_peer, &of_all).await;
        second.add(10, &of_peer, &of_all).await;
    }

    #[test]
    fn a_peer_that_floods_drops_its_own() {
        let (queue, mut receiver, counters) = queue(6);
        let other = Peer { id: PeerId::from_bytes([2; 16]), ..peer() };
        queue.push_datagram(other, "a".into());
        for n in 0..20 {
            queue.push_datagram(peer(), n.to_string().into());
        }
        queue.push_datagram(other, "b".into());
        let left: Vec<_> =
            std::iter::from_fn(|| receiver.try_receive()).map(Some).map(text).collect();
        assert_eq!(left, ["a", "16", "17", "18", "19", "b"]);
        assert_eq!(counters.datagrams_dropped_receive_queue.load(Ordering::Relaxed), 16);
        assert!(queue.lock().shares.is_empty());
    }

    #[test]
    fn events_are_bounded() {
        let (queue, mut receiver, counters) = queue(1);
        for _ in 0..MAX_EVENTS + 3 {
            queue.push_event(Received::Connected { peer: peer() });
        }
        assert_eq!(counters.events_dropped.load(Ordering::Relaxed), 3);
        assert_eq!(std::iter::from_fn(|| receiver.try_receive()).count(), MAX_EVENTS);
    }

    #[tokio::test]
    async fn a_closed_queue_is_emptied_and_then_ends() {
        let (queue, mut receiver, counters) = queue(2);
        queue.push_datagram(peer(), "1".into());
        queue.close();
        queue.push_datagram(peer(), "2".into());
        assert_eq!(counters.dropped_after_close.load(Ordering::Relaxed), 1);
        assert_eq!(text(receiver.receive().await), "1");
        assert_eq!(receiver.receive().await, None);
        assert_eq!(receiver.receive().await, None);
    }
}
