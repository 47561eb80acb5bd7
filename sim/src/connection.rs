//! One member's side of its connection to a peer.

use std::{sync::Arc, time::Duration};

use crate::node::{Channel, Disconnection, HostId, Instant, NodeId, Peer, millis, secs};

/// The number of a dial and its connection. Numbers are not reused.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct ConnectionId(pub(crate) u64);

/// The reason for closing a connection, like the close codes of the transport.
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
    /// The disconnection that the peer's core receives. As in the driver, only a process that shuts down is gone.
    pub(crate) const fn at_the_peer(self) -> Disconnection {
        match self {
            Self::Idle | Self::Unwanted => Disconnection::Idle,
            Self::Shutdown => Disconnection::Closed,
        }
    }
}

/// The state of one side of the connections to a peer.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    /// Open connections, more than one after simultaneous dials; the first is used.
    open: Vec<Open>,
    /// Handshakes answered; open once the peer uses them.
    accepted: Vec<ConnectionId>,
    dial: Option<Dial>,
    /// The messages to send once a connection is open. Beyond [`MAX_WAITING`], the oldest is dropped.
    waiting: Vec<(Channel, Arc<[u8]>)>,
    last_used: Option<Instant>,
    /// When the first message without any reply was sent.
    unanswered_since: Option<Instant>,
}

/// An open connection between two fixed addresses, because phin's transport allows no migration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Open {
    pub(crate) id: ConnectionId,
    pub(crate) dialled_by: NodeId,
    /// The run of the peer's process.
    pub(crate) run: u32,
    pub(crate) since: Instant,
    pub(crate) ours: HostId,
    pub(crate) theirs: HostId,
}

impl Open {
    /// Whether to use this connection instead of an older one, as in `phin_quic`. A process that restarted has only
    /// the newer one, and so has a process that lost one that it dialled itself. Of simultaneous dials, both sides
    /// choose the same. Dials that are this far apart are not simultaneous.
    fn supersedes(&self, old: &Self) -> bool {
        self.run != old.run
            || self.dialled_by == old.dialled_by
            || self.since - old.since > 2 * DIAL_TIMEOUT
    }
}

/// A handshake without an answer yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dial {
    pub(crate) id: ConnectionId,
    pub(crate) ours: HostId,
    pub(crate) to: Peer,
    pub(crate) began: Instant,
    pub(crate) attempt: u32,
}

impl Connection {
    /// Records that a handshake is answered.
    pub(crate) fn accept(&mut self, id: ConnectionId) {
        if !self.accepted.contains(&id) && !self.has(id) {
            self.accepted.push(id);
            self.accepted.drain(..self.accepted.len().saturating_sub(MAX_ACCEPTED));
        }
    }

    /// Ends the handshake of this number, at the first use of its connection. Returns whether there was one.
    pub(crate) fn take_accepted(&mut self, id: ConnectionId) -> bool {
        let place = self.accepted.iter().position(|&accepted| accepted == id);
        place.map(|place| self.accepted.remove(place)).is_some()
    }

    pub(crate) fn begin_dial(&mut self, dial: Dial) {
        self.dial = Some(dial);
    }

    pub(crate) fn dial_mut(&mut self, id: ConnectionId) -> Option<&mut Dial> {
        self.dial.as_mut().filter(|dial| dial.id == id)
    }

    /// Ends the dial of this number, which was answered.
    pub(crate) fn take_dial(&mut self, id: ConnectionId) -> Option<Dial> {
        self.dial.take_if(|dial| dial.id == id)
    }

    /// Gives up the dial, and drops the messages that waited for it.
    pub(crate) fn end_dial(&mut self) {
        self.dial = None;
        self.waiting.clear();
    }

    /// Keeps a message until a connection is open.
    pub(crate) fn wait(&mut self, channel: Channel, payload: Arc<[u8]>) {
        if self.waiting.len() == MAX_WAITING {
            self.waiting.remove(0);
        }
        self.waiting.push((channel, payload));
    }

    /// Adds an open connection. Returns the messages that waited for one.
    pub(crate) fn add(&mut self, open: Open) -> Vec<(Channel, Arc<[u8]>)> {
        let place = match self.open.first() {
            Some(used) if !open.supersedes(used) => self.open.partition_point(|o| o.id < open.id),
            _ => 0,
        };
        self.open.insert(place, open);
        self.last_used = Some(open.since);
        std::mem::take(&mut self.waiting)
    }

    /// Ends the connection of this number. Returns whether it was the last open one.
    pub(crate) fn end(&mut self, id: ConnectionId) -> bool {
        let was_open = self.is_open();
        self.open.retain(|open| open.id != id);
        self.accepted.retain(|&accepted| accepted != id);
        let has_ended = was_open && !self.is_open();
        if has_ended {
            self.unanswered_since = None;
        }
        has_ended
    }

    /// The connection for a message to a peer that advertises this address; `None` if the message must wait for one.
    pub(crate) fn use_towards(&mut self, advertised: HostId, now: Instant) -> Option<Open> {
        let &open = self.open.first().filter(|_| !self.is_stale(advertised, now))?;
        self.last_used = Some(now);
        self.unanswered_since.get_or_insert(now);
        Some(open)
    }

    pub(crate) fn record_use(&mut self, now: Instant) {
        self.last_used = Some(now);
    }

    pub(crate) fn record_answer(&mut self) {
        self.unanswered_since = None;
    }

    pub(crate) fn open(&self) -> &[Open] {
        &self.open
    }

    pub(crate) const fn is_open(&self) -> bool {
        !self.open.is_empty()
    }

    pub(crate) const fn is_dialled(&self) -> bool {
        self.dial.is_some()
    }

    /// Whether the dial of this number is under way.
    pub(crate) fn is_dialled_as(&self, id: ConnectionId) -> bool {
        self.dial.is_some_and(|dial| dial.id == id)
    }

    /// Whether there is no connection and no dial.
    pub(crate) const fn is_over(&self) -> bool {
        !self.is_open() && !self.is_dialled() && self.accepted.is_empty()
    }

    pub(crate) fn has(&self, id: ConnectionId) -> bool {
        self.open.iter().any(|open| open.id == id)
    }

    /// Whether a packet of this connection comes from the address of the peer. Others are dropped.
    pub(crate) fn is_from_peer(&self, id: ConnectionId, host: HostId) -> bool {
        self.open.iter().all(|open| open.id != id || open.theirs == host)
    }

    /// The present address of the peer.
    pub(crate) fn address(&self) -> Option<HostId> {
        let dialled = self.dial.map(|dial| dial.to.host);
        self.open.first().map(|open| open.theirs).or(dialled)
    }

    /// When the connection will have been idle, or the peer silent, for `idle_timeout`.
    pub(crate) fn due(&self, idle_timeout: Duration, now: Instant) -> Instant {
        let last_used = self.last_used.unwrap_or(now);
        self.unanswered_since.unwrap_or(last_used).min(last_used) + idle_timeout
    }

    /// Whether the peer has been silent for `idle_timeout`.
    pub(crate) fn is_lost(&self, idle_timeout: Duration, now: Instant) -> bool {
        self.unanswered_since.is_some_and(|since| since + idle_timeout <= now)
    }

    /// Whether the peer advertises another address, and has not answered for a while at the old one.
    fn is_stale(&self, advertised: HostId, now: Instant) -> bool {
        let is_elsewhere = self.open.first().is_some_and(|open| open.theirs != advertised);
        is_elsewhere && self.unanswered_since.is_some_and(|since| now - since >= UNANSWERED)
    }
}

/// Messages that wait for a handshake.
const MAX_WAITING: usize = 64;
/// Handshakes answered and not yet used, for each peer.
const MAX_ACCEPTED: usize = 4;
/// The time after which a dial fails.
pub(crate) const DIAL_TIMEOUT: Duration = secs(5);
/// How long a connection to a former address of a peer may stay unanswered before the peer is dialled again.
const UNANSWERED: Duration = millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_connections_both_sides_use_the_same() {
        let [a, b] = [NodeId(0), NodeId(1)];
        let open = |id, dialled_by, run, at| Open {
            id: ConnectionId(id),
            dialled_by,
            run,
            since: Instant::START + secs(at),
            ours: HostId(0),
            theirs: HostId(1),
        };
        let cases = [
            ("simultaneous dials", open(2, b, 1, 1), 1),
            ("simultaneous dials, the first is known later", open(0, b, 1, 1), 0),
            ("dials too far apart", open(2, b, 1, 11), 2),
            ("a second dial of the same side", open(2, a, 1, 1), 2),
            ("a restart of the peer", open(2, b, 2, 1), 2),
        ];
        for (name, second, used) in cases {
            let mut connection = Connection::default();
            connection.wait(Channel::Stream, Arc::new([1]));
            assert_eq!(connection.add(open(1, a, 1, 0)).len(), 1, "{name}");
            assert_eq!(connection.add(second).len(), 0, "{name}");
            assert_eq!(connection.open()[0].id, ConnectionId(used), "{name}");
            assert!(!connection.end(ConnectionId(1)), "{name}: another is open");
            assert!(connection.end(second.id) && connection.is_over(), "{name}");
        }
    }
}
