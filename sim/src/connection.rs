//! What one side of a connection knows of it.

use std::{sync::Arc, time::Duration};

use crate::node::{Channel, Disconnection, HostId, Instant, NodeId, Peer, millis, secs};

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
    pub(crate) const fn at_the_peer(self) -> Disconnection {
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
    pub(crate) open: Vec<Open>,
    /// Handshakes answered; open once the peer uses them.
    pub(crate) accepted: Vec<ConnectionId>,
    pub(crate) dial: Option<Dial>,
    /// What is sent once a connection is open; at most [`MAX_WAITING`], the oldest is dropped.
    pub(crate) waiting: Vec<(Channel, Arc<[u8]>)>,
    pub(crate) last_used: Option<Instant>,
    /// Since when nothing came back of what was sent.
    pub(crate) unanswered_since: Option<Instant>,
}

/// An open connection: between two addresses, from which it does not move (phin's transport allows no migration).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Open {
    pub(crate) id: ConnectionId,
    pub(crate) dialled_by: NodeId,
    /// Which run of the peer's process has it.
    pub(crate) run: u32,
    pub(crate) since: Instant,
    pub(crate) ours: HostId,
    pub(crate) theirs: HostId,
}

impl Open {
    /// Whether it is used rather than an older one. As in `phin_quic`: a process that was started anew has only the newer
    /// one, and so has who lost one that it made itself; of simultaneous dials both sides choose the same, and dials so far
    /// apart are not simultaneous.
    pub(crate) fn supersedes(&self, old: &Self) -> bool {
        self.run != old.run
            || self.dialled_by == old.dialled_by
            || self.since - old.since > 2 * DIAL_TIMEOUT
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Dial {
    pub(crate) id: ConnectionId,
    pub(crate) ours: HostId,
    pub(crate) to: Peer,
    pub(crate) began: Instant,
    pub(crate) attempt: u32,
}

impl Connection {
    pub(crate) const fn is_open(&self) -> bool {
        !self.open.is_empty()
    }

    pub(crate) fn has(&self, id: ConnectionId) -> bool {
        self.open.iter().any(|open| open.id == id)
    }

    /// Whether a packet of this connection comes from where the peer was; others are dropped.
    pub(crate) fn is_from_peer(&self, id: ConnectionId, host: HostId) -> bool {
        self.open.iter().all(|open| open.id != id || open.theirs == host)
    }

    /// Whether the peer is thought at another address by now, and has not answered for a while at the one it had.
    pub(crate) fn is_stale(&self, advertised: HostId, now: Instant) -> bool {
        let is_elsewhere = self.open.first().is_some_and(|open| open.theirs != advertised);
        is_elsewhere && self.unanswered_since.is_some_and(|since| now - since >= UNANSWERED)
    }

    /// Where the peer is looked for at present.
    pub(crate) fn address(&self) -> Option<HostId> {
        let dialled = self.dial.map(|dial| dial.to.host);
        self.open.first().map(|open| open.theirs).or(dialled)
    }

    pub(crate) fn has_local_address(&self, is_ours: impl Fn(HostId) -> bool) -> bool {
        self.open.iter().all(|open| is_ours(open.ours))
    }
}

/// What waits for a handshake, at most.
pub(crate) const MAX_WAITING: usize = 64;
/// When a dial is given up.
pub(crate) const DIAL_TIMEOUT: Duration = secs(5);
/// How long a peer may not answer on a connection to an address that is not its own any more, before it is dialled anew.
const UNANSWERED: Duration = millis(250);
