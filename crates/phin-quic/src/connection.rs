//! One connection to a peer, from the end of its handshake to its close.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use quinn::{ConnectionError, SendDatagramError, VarInt};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit},
    time::{Instant, sleep, sleep_until},
};

use crate::{
    budget::Budget,
    identity::PeerId,
    pending::Message,
    precedence::Standing,
    refusal::DialError,
    stats::{add, count},
    streams,
    transport::Shared,
};

/// The far end of a connection: which node, and where it is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Peer {
    /// The node, known by its key.
    pub id: PeerId,
    /// Its UDP address. An IPv4 address is never written as IPv6.
    pub addr: SocketAddr,
}

/// What a node says when it closes a connection.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum CloseReason {
    /// It stops: everything of this process is closed.
    Shutdown,
    /// It takes the peer to be dead.
    Dead,
    /// It knows that the peer has left.
    Left,
    /// It wants no connection to the peer.
    Unwanted,
    /// There is another connection between the two.
    Superseded,
    /// Something this release does not know.
    Other,
}

/// How a connection ended.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum DisconnectReason {
    /// No message for a while; either side may have closed it. Says nothing about the peer.
    Idle,
    /// The peer closed it. Only [`CloseReason::Shutdown`] means that the peer is gone.
    Closed(CloseReason),
    /// The peer's address answered with a stateless reset: the peer was started anew.
    Reset,
    /// Nothing came from the peer although something was due.
    TimedOut,
    /// This node gave up the way that the connection took, and looks for another. Says nothing about the peer.
    PathLost,
    /// This node closed it on request.
    Local,
    /// One side broke the rules of QUIC; the text says how.
    Error(String),
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
    /// The peer stopped the stream: it was too long for it, or too slow.
    #[error("the peer stopped the stream")]
    Stopped,
    /// It took too long.
    #[error("not delivered in time")]
    TimedOut,
    /// The connection ended before the peer confirmed.
    #[error("the connection was lost")]
    ConnectionLost,
    /// There is no connection, and none could be made.
    #[error("no connection")]
    Unreachable(#[source] DialError),
}

/// An established connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) quic: quinn::Connection,
    pub(crate) peer: Peer,
    standing: Standing,
    /// Bytes of incoming streams of this peer that are held for the receiver.
    pub(crate) incoming: Budget,
    /// When a message was last sent or received, in milliseconds since the connection came up.
    last_message: AtomicU64,
    /// Another connection to the peer is used instead; this one only receives, until it is quiet.
    is_draining: AtomicBool,
    /// The time to look at the connection again has changed.
    rescheduled: Notify,
    /// Streams in either direction that have not ended.
    open_streams: AtomicUsize,
    /// Whether somebody waits to see that this way to the peer still works.
    is_path_watched: AtomicBool,
    /// Bytes of outgoing streams that have not ended.
    pub(crate) outgoing_bytes: AtomicUsize,
    /// For an incoming connection, its share of those allowed.
    _slot: Option<OwnedSemaphorePermit>,
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
            _slot: slot,
        }
    }

    /// Whether this connection, which came up later, is to be used rather than `old`.
    pub(crate) fn supersedes(&self, old: &Self, own: PeerId, handshake_timeout: Duration) -> bool {
        old.is_closed()
            || self.standing.supersedes(&old.standing, own, self.peer.id, handshake_timeout)
    }

    /// Notes that a message was sent or received.
    pub(crate) fn touch(&self) {
        self.last_message.fetch_max(self.age_ms(), Ordering::Relaxed);
    }

    /// Stop using the connection, or use it after all. What is under way on it still arrives.
    pub(crate) fn set_draining(&self, is_draining: bool) {
        // The wait begins now.
        self.touch();
        self.is_draining.store(is_draining, Ordering::Relaxed);
        self.rescheduled.notify_one();
    }

    /// Why the connection is to be closed now, if it is.
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

    pub(crate) fn is_closed(&self) -> bool {
        self.quic.close_reason().is_some()
    }

    pub(crate) fn close(&self, code: CloseCode) {
        self.quic.close(code.0, b"");
    }

    /// Hands a message to QUIC, or gives it back when the connection is lost.
    pub(crate) fn send(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        message: Message,
    ) -> Result<(), Message> {
        match message {
            Message::Datagram(payload) => self.send_datagram(shared, payload),
            Message::Stream(payload) if !self.is_closed() => {
                streams::send(shared, self, payload);
                Ok(())
            }
            Message::Stream(_) => Err(message),
        }
    }

    fn send_datagram(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        payload: Bytes,
    ) -> Result<(), Message> {
        let counters = &shared.counters;
        let bytes = payload.len();
        let has_space = bytes <= self.quic.datagram_send_buffer_space();
        match self.quic.send_datagram(payload.clone()) {
            Ok(()) => {
                add(&counters.datagrams_sent, 1);
                add(&counters.datagram_bytes_sent, count(bytes));
                add(&counters.datagrams_dropped_send_buffer, u64::from(!has_space));
                Ok(())
            }
            Err(SendDatagramError::ConnectionLost(_)) => Err(Message::Datagram(payload)),
            Err(
                SendDatagramError::TooLarge
                | SendDatagramError::UnsupportedByPeer
                | SendDatagramError::Disabled,
            ) => {
                add(&counters.datagrams_sent_as_streams, 1);
                streams::send(shared, self, payload);
                Ok(())
            }
        }
    }

    /// After a message was sent: if nothing at all comes back, the advertised address is dialled. QUIC acknowledges every
    /// message, so silence means a silent peer, or a way that is lost although both ends live: a gateway on it forgot
    /// the flow, and nobody says so.
    pub(crate) fn watch_path(self: &Arc<Self>, shared: &Arc<Shared>, to: Peer) {
        if self.is_path_watched.swap(true, Ordering::Relaxed) {
            return;
        }
        let received = self.packets_received();
        let is_elsewhere = self.peer.addr != to.addr;
        // This wait must not keep the socket of a closed transport open.
        let (connection, waiting) = (Arc::downgrade(self), Arc::downgrade(shared));
        shared.runtime.spawn(async move {
            sleep(if is_elsewhere { PATH_PATIENCE } else { ADVERTISED_PATH_PATIENCE }).await;
            let (Some(connection), Some(shared)) = (connection.upgrade(), waiting.upgrade()) else {
                return;
            };
            if connection.packets_received() == received && !connection.is_closed() {
                match is_elsewhere {
                    true => shared.redial(to),
                    false => shared.replace_if_silent(&connection, to, received).await,
                }
            }
            connection.is_path_watched.store(false, Ordering::Relaxed);
        });
    }

    pub(crate) fn packets_received(&self) -> u64 {
        self.quic.stats().udp_rx.datagrams
    }

    /// A stream counts as open until the guard is dropped.
    pub(crate) fn open_stream(self: &Arc<Self>) -> OpenStream {
        self.open_streams.fetch_add(1, Ordering::Relaxed);
        OpenStream { connection: self.clone() }
    }

    pub(crate) fn open_streams(&self) -> usize {
        self.open_streams.load(Ordering::Relaxed)
    }

    fn next_check(&self, idle_timeout: Duration) -> Instant {
        let last_message = Duration::from_millis(self.last_message.load(Ordering::Relaxed));
        let patience = match self.is_draining.load(Ordering::Relaxed) {
            true => DRAIN_GRACE,
            false => idle_timeout,
        };
        self.standing.established + last_message + patience
    }

    fn age_ms(&self) -> u64 {
        u64::try_from(self.standing.established.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Marks one stream of a connection as under way.
#[derive(Debug)]
pub(crate) struct OpenStream {
    pub(crate) connection: Arc<Connection>,
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.connection.touch();
        self.connection.open_streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Receives on a connection until it ends, and closes it when it is idle.
pub(crate) async fn run(shared: Arc<Shared>, connection: Arc<Connection>) {
    let idle_timeout = shared.params.idle_timeout;
    let mut datagrams = 0_u64;
    let mut take = |payload: Bytes| {
        datagrams += 1;
        connection.touch();
        add(&shared.counters.datagrams_received, 1);
        add(&shared.counters.datagram_bytes_received, count(payload.len()));
        shared.queue.push_datagram(connection.peer, payload);
    };
    let check = sleep_until(connection.next_check(idle_timeout));
    tokio::pin!(check);
    let error = loop {
        tokio::select! {
            datagram = connection.quic.read_datagram() => match datagram {
                Ok(payload) => take(payload),
                Err(error) => break error,
            },
            stream = connection.quic.accept_uni() => match stream {
                Ok(stream) => {
                    connection.touch();
                    tokio::spawn(streams::receive(shared.clone(), connection.open_stream(), stream));
                }
                Err(error) => break error,
            },
            () = connection.rescheduled.notified() => {
                check.as_mut().reset(connection.next_check(idle_timeout));
            }
            () = &mut check => {
                shared.close_if_overdue(&connection);
                let soonest = Instant::now() + MIN_CHECK_INTERVAL;
                check.as_mut().reset(connection.next_check(idle_timeout).max(soonest));
            }
        }
    };
    // Whatever came before the end is told before it: a peer that leaves and closes has left.
    while let Ok(payload) = connection.quic.read_datagram().await {
        take(payload);
    }
    shared.lost(&connection, DisconnectReason::from(&error));
    shared.add_udp_stats(&connection);
    let arrived = connection.quic.stats().frame_rx.datagram;
    let dropped = arrived.saturating_sub(datagrams);
    add(&shared.counters.datagrams_dropped_receive_buffer, dropped);
}

/// An application error code of QUIC, as phin uses them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct CloseCode(pub(crate) VarInt);

impl CloseCode {
    pub(crate) const IDLE: Self = Self(VarInt::from_u32(1));
    pub(crate) const SUPERSEDED: Self = Self(VarInt::from_u32(2));
    pub(crate) const SHUTDOWN: Self = Self(VarInt::from_u32(3));
    const DEAD: Self = Self(VarInt::from_u32(4));
    const LEFT: Self = Self(VarInt::from_u32(5));
    const UNWANTED: Self = Self(VarInt::from_u32(6));
    pub(crate) const OWN_IDENTITY: Self = Self(VarInt::from_u32(7));
    pub(crate) const IDENTITY_IN_USE: Self = Self(VarInt::from_u32(8));
    const OTHER: Self = Self(VarInt::from_u32(0));
}

impl From<CloseReason> for CloseCode {
    fn from(reason: CloseReason) -> Self {
        match reason {
            CloseReason::Shutdown => Self::SHUTDOWN,
            CloseReason::Dead => Self::DEAD,
            CloseReason::Left => Self::LEFT,
            CloseReason::Unwanted => Self::UNWANTED,
            CloseReason::Superseded => Self::SUPERSEDED,
            CloseReason::Other => Self::OTHER,
        }
    }
}

impl From<&ConnectionError> for DisconnectReason {
    fn from(error: &ConnectionError) -> Self {
        match error {
            ConnectionError::ApplicationClosed(close) => Self::from(CloseCode(close.error_code)),
            ConnectionError::Reset => Self::Reset,
            ConnectionError::TimedOut => Self::TimedOut,
            ConnectionError::LocallyClosed => Self::Local,
            ConnectionError::TransportError(_)
            | ConnectionError::ConnectionClosed(_)
            | ConnectionError::VersionMismatch
            | ConnectionError::CidsExhausted => {
                Self::Error(crate::refusal::readable(&error.to_string()))
            }
        }
    }
}

impl From<CloseCode> for DisconnectReason {
    fn from(code: CloseCode) -> Self {
        if code == CloseCode::IDLE {
            return Self::Idle;
        }
        let reasons = [
            CloseReason::Shutdown,
            CloseReason::Dead,
            CloseReason::Left,
            CloseReason::Unwanted,
            CloseReason::Superseded,
        ];
        let known = reasons.into_iter().find(|reason| CloseCode::from(*reason) == code);
        Self::Closed(known.unwrap_or(CloseReason::Other))
    }
}

/// The address with IPv4 written as IPv4, also when it came through an IPv6 socket.
pub(crate) fn canonical(addr: SocketAddr) -> SocketAddr {
    match addr {
        SocketAddr::V6(v6) if v6.ip().to_ipv4_mapped().is_some() => {
            SocketAddr::new(addr.ip().to_canonical(), addr.port())
        }
        SocketAddr::V4(_) | SocketAddr::V6(_) => addr,
    }
}

/// How long a superseded connection is kept after the last message on it: longer than a message
/// is on its way, and than the two ends can differ in noticing which connection won.
const DRAIN_GRACE: Duration = Duration::from_secs(1);
/// How long a connection to an address that is not the advertised one may be silent after a message: QUIC repeats an
/// unanswered probe several times in it, unless the round trip is very long. A mistake costs one handshake.
const PATH_PATIENCE: Duration = Duration::from_secs(1);
/// The same at the advertised address, where most often the peer is what is silent.
const ADVERTISED_PATH_PATIENCE: Duration = Duration::from_secs(3);
/// While streams keep an overdue connection open.
const MIN_CHECK_INTERVAL: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_survives_its_code() {
        for reason in [
            CloseReason::Shutdown,
            CloseReason::Dead,
            CloseReason::Left,
            CloseReason::Unwanted,
            CloseReason::Superseded,
            CloseReason::Other,
        ] {
            let code = CloseCode::from(reason);
            assert_eq!(DisconnectReason::from(code), DisconnectReason::Closed(reason));
        }
        assert_eq!(DisconnectReason::from(CloseCode::IDLE), DisconnectReason::Idle);
        let unknown = CloseCode(VarInt::MAX);
        assert_eq!(DisconnectReason::from(unknown), DisconnectReason::Closed(CloseReason::Other));
    }

    #[test]
    fn ipv4_is_written_as_ipv4() {
        let addr = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert_eq!(canonical(addr("[::ffff:10.0.0.1]:5")), addr("10.0.0.1:5"));
        assert_eq!(canonical(addr("[::1]:5")), addr("[::1]:5"));
        assert_eq!(canonical(addr("10.0.0.1:5")), addr("10.0.0.1:5"));
    }
}
