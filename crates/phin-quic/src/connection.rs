//! An established connection to a peer, until it is closed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use quinn::SendDatagramError;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit},
    time::Instant,
};

use crate::{
    budget::Budget,
    close::{CloseCode, DisconnectReason},
    identity::PeerId,
    peer::{Peer, canonical},
    precedence::Standing,
    stats::{Counters, add, count},
};

/// An established connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) quic: quinn::Connection,
    pub(crate) peer: Peer,
    standing: Standing,
    /// Limits the bytes of this peer's incoming streams that wait for the receiver.
    pub(crate) incoming: Budget,
    /// When a message was last sent or received, in milliseconds since the connection was established.
    last_message: AtomicU64,
    /// Another connection to the peer is used instead. This one only receives, until it is quiet.
    is_draining: AtomicBool,
    /// Notified when the time of the next check has changed.
    pub(crate) rescheduled: Notify,
    /// Streams in either direction that have not ended.
    open_streams: AtomicUsize,
    /// Whether a task already checks that this path to the peer still works.
    is_path_watched: AtomicBool,
    /// Bytes of outgoing streams that have not ended, without bulk messages.
    outgoing_bytes: AtomicUsize,
    /// Outgoing bulk messages that have not ended, and their bytes.
    bulk_streams: AtomicUsize,
    bulk_bytes: AtomicUsize,
    /// The place of an incoming connection among those allowed.
    _slot: Option<OwnedSemaphorePermit>,
}

/// Why a datagram was not sent.
pub(crate) enum NotSent {
    /// The payload is too long for a datagram.
    TooLong(Bytes),
    /// The connection is lost.
    Lost(Bytes),
}

impl Connection {
    pub(crate) fn new(
        quic: quinn::Connection,
        id: PeerId,
        standing: Standing,
        incoming: Budget,
        slot: Option<OwnedSemaphorePermit>,
    ) -> Self {
        let peer = Peer { id, addr: canonical(quic.remote_address()) };
        Self {
            quic,
            peer,
            standing,
            incoming,
            last_message: AtomicU64::new(0),
            is_draining: AtomicBool::new(false),
            rescheduled: Notify::new(),
            open_streams: AtomicUsize::new(0),
            is_path_watched: AtomicBool::new(false),
            outgoing_bytes: AtomicUsize::new(0),
            bulk_streams: AtomicUsize::new(0),
            bulk_bytes: AtomicUsize::new(0),
            _slot: slot,
        }
    }

    /// Whether to use this connection, which was established later, instead of `old`.
    pub(crate) fn supersedes(&self, old: &Self, own: PeerId, handshake_timeout: Duration) -> bool {
        old.is_closed()
            || self.standing.supersedes(&old.standing, own, self.peer.id, handshake_timeout)
    }

    /// Records that a message was sent or received.
    pub(crate) fn touch(&self) {
        self.last_message.fetch_max(self.age_ms(), Ordering::Relaxed);
    }

    /// Stops using the connection, or uses it again. Messages under way on it still arrive.
    pub(crate) fn set_draining(&self, is_draining: bool) {
        // The grace period begins now.
        self.touch();
        self.is_draining.store(is_draining, Ordering::Relaxed);
        self.rescheduled.notify_one();
    }

    /// The code with which to close the connection now; `None` if it is not due.
    pub(crate) fn overdue(&self, idle_timeout: Duration) -> Option<CloseCode> {
        let is_busy = self.open_streams.load(Ordering::Relaxed) > 0;
        if is_busy || Instant::now() < self.next_check(idle_timeout) {
            return None;
        }
        match self.is_draining.load(Ordering::Relaxed) {
            true => Some(CloseCode::SUPERSEDED),
            false => Some(CloseCode::IDLE),
        }
    }

    /// When to check next whether the connection is overdue.
    pub(crate) fn next_check(&self, idle_timeout: Duration) -> Instant {
        let last_message = Duration::from_millis(self.last_message.load(Ordering::Relaxed));
        let patience = match self.is_draining.load(Ordering::Relaxed) {
            true => DRAIN_GRACE,
            false => idle_timeout,
        };
        self.standing.established + last_message + patience
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.quic.close_reason().is_some()
    }

    /// How the connection ended.
    pub(crate) fn end(&self) -> DisconnectReason {
        let reason = self.quic.close_reason();
        reason.as_ref().map_or(DisconnectReason::Local, DisconnectReason::of)
    }

    pub(crate) fn close(&self, code: CloseCode) {
        self.quic.close(code.0, b"");
    }

    /// Passes a datagram to QUIC, or returns it.
    pub(crate) fn send_datagram(&self, payload: Bytes, counters: &Counters) -> Result<(), NotSent> {
        let bytes = payload.len();
        let has_space = bytes <= self.quic.datagram_send_buffer_space();
        match self.quic.send_datagram(payload.clone()) {
            Ok(()) => {
                add(&counters.datagrams_sent, 1);
                add(&counters.datagram_bytes_sent, count(bytes));
                add(&counters.datagrams_dropped_send_buffer, u64::from(!has_space));
                Ok(())
            }
            Err(SendDatagramError::ConnectionLost(_)) => Err(NotSent::Lost(payload)),
            Err(
                SendDatagramError::TooLarge
                | SendDatagramError::UnsupportedByPeer
                | SendDatagramError::Disabled,
            ) => Err(NotSent::TooLong(payload)),
        }
    }

    pub(crate) fn packets_received(&self) -> u64 {
        self.quic.stats().udp_rx.datagrams
    }

    /// Claims the check of this path, until [`end_path_watch`](Self::end_path_watch). Returns `false` if another task
    /// has claimed it.
    pub(crate) fn begin_path_watch(&self) -> bool {
        !self.is_path_watched.swap(true, Ordering::Relaxed)
    }

    pub(crate) fn end_path_watch(&self) {
        self.is_path_watched.store(false, Ordering::Relaxed);
    }

    /// Counts a stream as open until the guard is dropped.
    pub(crate) fn open_stream(self: &Arc<Self>) -> OpenStream {
        self.open_streams.fetch_add(1, Ordering::Relaxed);
        OpenStream { connection: self.clone(), outgoing_bytes: 0, bulk_bytes: None }
    }

    /// Opens a stream for a message of this length, unless a limit is reached. The bytes count until the guard is
    /// dropped.
    pub(crate) fn open_outgoing(
        self: &Arc<Self>,
        bytes: usize,
        max_streams: usize,
        max_bytes: usize,
    ) -> Option<OpenStream> {
        let queued = self.outgoing_bytes.fetch_add(bytes, Ordering::Relaxed);
        if self.open_streams.load(Ordering::Relaxed) >= max_streams || queued + bytes > max_bytes {
            self.outgoing_bytes.fetch_sub(bytes, Ordering::Relaxed);
            return None;
        }
        let mut open = self.open_stream();
        open.outgoing_bytes = bytes;
        Some(open)
    }

    /// Opens a stream for a bulk message of this length, unless a limit of bulk messages is reached.
    pub(crate) fn open_bulk(
        self: &Arc<Self>,
        bytes: usize,
        max_streams: usize,
        max_bytes: usize,
    ) -> Option<OpenStream> {
        let (streams, queued) = (&self.bulk_streams, &self.bulk_bytes);
        // The guard takes back what is counted here.
        let before = streams.fetch_add(1, Ordering::Relaxed);
        let bytes_before = queued.fetch_add(bytes, Ordering::Relaxed);
        let mut open = self.open_stream();
        open.bulk_bytes = Some(bytes);
        (before < max_streams && bytes_before + bytes <= max_bytes).then_some(open)
    }

    fn age_ms(&self) -> u64 {
        u64::try_from(self.standing.established.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Counts one stream of a connection as under way.
#[derive(Debug)]
pub(crate) struct OpenStream {
    pub(crate) connection: Arc<Connection>,
    outgoing_bytes: usize,
    /// The length of a bulk message.
    bulk_bytes: Option<usize>,
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        if let Some(bytes) = self.bulk_bytes {
            self.connection.bulk_streams.fetch_sub(1, Ordering::Relaxed);
            self.connection.bulk_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        self.connection.outgoing_bytes.fetch_sub(self.outgoing_bytes, Ordering::Relaxed);
        self.connection.touch();
        self.connection.open_streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How long a superseded connection is kept after its last message. Longer than a message takes to arrive, and than the
/// time between the two ends noticing which connection wins.
const DRAIN_GRACE: Duration = Duration::from_secs(1);
