//! The watcher's side: connects to one node after another, and receives frames.

use std::{future::pending, net::SocketAddr, sync::Arc, time::Duration};

use bytes::{Buf, Bytes, BytesMut};
use quinn::{ConnectionError, Endpoint, ReadError, RecvStream, VarInt};
use tokio::{
    sync::broadcast::{self, error::RecvError},
    task::AbortHandle,
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{MAX_FRAME_BYTES, MAX_SILENCE, WatchError};
use crate::{
    close::CloseCode,
    dial::port_closed,
    endpoint::{BindError, bind_failed, bind_socket, open_client},
    gate::Gate,
    identity::{Identity, PeerId},
    peer::canonical,
    refusal::{DialError, Refusal, RefusedBy},
    socket::{PortRefusal, Socket},
    stats::Counters,
    tls::{self, Credentials, Speaks, Tls},
};

/// Connects to nodes as a watcher: a client that is no member. Dropping it closes its connections.
#[derive(Debug)]
pub struct WatchClient {
    endpoint: Endpoint,
    protocol: Vec<u8>,
    /// Addresses whose host has refused the port, for the connections to them.
    refused: broadcast::Sender<SocketAddr>,
    reporting: AbortHandle,
}

impl WatchClient {
    /// Binds a UDP socket to dial from.
    ///
    /// # Errors
    /// If there is no tokio runtime with time and I/O, if the credentials cannot be used, or if the system refuses the
    /// address.
    pub fn bind(
        identity: &Identity,
        credentials: &Credentials,
        addr: SocketAddr,
    ) -> Result<Self, BindError> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| BindError::NoRuntime)?;
        let tls = Tls::new(identity, credentials, Speaks::Watches)?;
        tls.warn_if_not_valid();
        let failed = |source| bind_failed(addr, source);
        let gate = Gate::new(Arc::new(Counters::default()));
        let socket = Socket::new(bind_socket(addr)?, gate).map_err(failed)?;
        let protocol = tls.watch_protocol.clone();
        let endpoint =
            open_client(identity, &tls, quic_config(), socket.clone()).map_err(failed)?;
        let refused = broadcast::Sender::new(MAX_REFUSALS);
        let reporting = runtime.spawn(report_refusals(socket, refused.clone())).abort_handle();
        Ok(Self { endpoint, protocol, refused, reporting })
    }

    /// Connects to the node at an address, and sends it a request.
    ///
    /// A node that refuses this watcher may do so only later: then the error comes from [`FrameReceiver::next`].
    ///
    /// # Errors
    /// If the dial fails, or the node serves no watchers.
    pub async fn connect(
        &self,
        addr: SocketAddr,
        request: &[u8],
    ) -> Result<FrameReceiver, WatchError> {
        let addr = canonical(addr);
        let shaken = tokio::select! {
            shaken = timeout(HANDSHAKE_TIMEOUT, self.shake(addr, request)) => shaken,
            () = port_closed(addr) => return Err(DialError::PortClosed.into()),
        };
        let (quic, id) = shaken.map_err(|_elapsed| DialError::TimedOut)??;
        let refused = self.refused.subscribe();
        let (stream, arrived, heard_at) = (None, BytesMut::new(), Instant::now());
        Ok(FrameReceiver { quic, id, addr, stream, arrived, heard_at, refused })
    }

    async fn shake(
        &self,
        addr: SocketAddr,
        request: &[u8],
    ) -> Result<(quinn::Connection, PeerId), WatchError> {
        let connecting = self
            .endpoint
            .connect(addr, tls::SERVER_NAME)
            .map_err(|error| DialError::Unreachable { reason: error.to_string() })?;
        let quic = connecting.await.map_err(|error| DialError::from_connection_error(&error))?;
        if quic.handshake_data().and_then(tls::negotiated).as_ref() != Some(&self.protocol) {
            quic.close(CloseCode::WATCHED.0, b"");
            return Err(WatchError::NotServed);
        }
        let Some(id) = tls::peer_id(&quic) else {
            let (refusal, by) = (Refusal::NotPhin, RefusedBy::Us);
            return Err(DialError::Refused { refusal, by }.into());
        };
        let mut stream = quic.open_uni().await.map_err(|error| WatchError::of_ended(&error))?;
        // These fail if the connection ends, which the reader of frames notices.
        let _ = stream.write_all(request).await;
        let _ = stream.finish();
        Ok((quic, id))
    }

    /// Closes all connections, and waits at most a second until the nodes know it.
    pub async fn close(&self) {
        self.endpoint.close(CloseCode::WATCHED.0, b"");
        // After that time, waiting longer does not help.
        let _ = timeout(CLOSE_TIMEOUT, self.endpoint.wait_idle()).await;
    }
}

impl Drop for WatchClient {
    fn drop(&mut self) {
        // It holds the socket.
        self.reporting.abort();
        self.endpoint.close(CloseCode::WATCHED.0, b"");
    }
}

/// Receives the frames of one node. Dropping it closes the connection.
#[derive(Debug)]
pub struct FrameReceiver {
    quic: quinn::Connection,
    id: PeerId,
    addr: SocketAddr,
    /// `None` until the node has opened it.
    stream: Option<RecvStream>,
    /// Bytes of frames that are not complete.
    arrived: BytesMut,
    heard_at: Instant,
    refused: broadcast::Receiver<SocketAddr>,
}

impl FrameReceiver {
    /// The node that sends the frames.
    pub fn id(&self) -> PeerId {
        self.id
    }

    /// The address of the node.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Waits for the next frame. Dropping the future loses nothing.
    ///
    /// # Errors
    /// The node closed the connection, is gone or silent, or sent a frame that is too long.
    pub async fn next(&mut self) -> Result<Bytes, WatchError> {
        let mut deadline = self.heard_at + MAX_SILENCE;
        loop {
            if let Some(frame) = self.take_frame()? {
                return Ok(frame);
            }
            tokio::select! {
                // Bytes that have arrived count before the clock.
                biased;
                read = read(&self.quic, &mut self.stream) => {
                    self.arrived.extend_from_slice(&read?);
                    self.heard_at = Instant::now();
                    deadline = self.heard_at + MAX_SILENCE;
                }
                () = port_refused(&mut self.refused, self.addr) => return Err(WatchError::Lost),
                () = sleep_until(deadline) => {
                    let now = Instant::now();
                    // This process did not run for a while: what arrived meanwhile has yet to be read.
                    match now.saturating_duration_since(deadline) > MAX_LAG {
                        true => deadline = now + SETTLING_TIME,
                        false => return Err(WatchError::Silent),
                    }
                }
            }
        }
    }

    fn take_frame(&mut self) -> Result<Option<Bytes>, WatchError> {
        let Some(length) = self.arrived.first_chunk() else { return Ok(None) };
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if length > MAX_FRAME_BYTES {
            return Err(self.reject(format!("a frame of {length} bytes")));
        }
        if self.arrived.len() < LENGTH_BYTES + length {
            return Ok(None);
        }
        self.arrived.advance(LENGTH_BYTES);
        Ok(Some(self.arrived.split_to(length).freeze()))
    }

    /// Closes the connection because a frame cannot be used, and returns the error.
    pub fn reject(&self, reason: String) -> WatchError {
        self.quic.close(CloseCode::MISUSED.0, b"");
        WatchError::NotUnderstood { reason }
    }
}

impl Drop for FrameReceiver {
    fn drop(&mut self) {
        self.quic.close(CloseCode::WATCHED.0, b"");
    }
}

/// Reads what has arrived. Cancel safe.
async fn read(
    quic: &quinn::Connection,
    stream: &mut Option<RecvStream>,
) -> Result<Bytes, WatchError> {
    let ended = |error: ConnectionError| WatchError::of_ended(&error);
    let stream = match stream {
        Some(stream) => stream,
        None => stream.insert(quic.accept_uni().await.map_err(ended)?),
    };
    match stream.read_chunk(MAX_FRAME_BYTES, true).await {
        Ok(Some(chunk)) => Ok(chunk.bytes),
        Err(ReadError::ConnectionLost(error)) => Err(ended(error)),
        // A stream has no end but that of its connection.
        Ok(None) | Err(_) => Err(WatchError::Closed),
    }
}

/// Returns when the host at the address has refused the port.
async fn port_refused(refused: &mut broadcast::Receiver<SocketAddr>, addr: SocketAddr) {
    loop {
        match refused.recv().await {
            Ok(refused) if refused == addr => return,
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => pending().await,
        }
    }
}

/// Passes refusals on until it is aborted.
async fn report_refusals(socket: Arc<Socket>, refused: broadcast::Sender<SocketAddr>) {
    loop {
        match socket.refusal().await {
            Ok(PortRefusal::Of(addr)) => {
                // An error means that there is no connection.
                let _ = refused.send(addr);
            }
            Ok(PortRefusal::Doubtful) => {}
            // Without refusals, silence shows later that a node is gone.
            Err(_) => sleep(ERROR_PAUSE).await,
        }
    }
}

fn quic_config() -> quinn::TransportConfig {
    let mut config = quinn::TransportConfig::default();
    config
        // A node learns soon that a watcher is gone.
        .max_idle_timeout(Some(IDLE_TIMEOUT.into()))
        // Sent only if the node is silent. The host of a node that was killed refuses it at once.
        .keep_alive_interval(Some(KEEP_ALIVE_INTERVAL))
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(1))
        .stream_receive_window(VarInt::from_u32(WINDOW_BYTES))
        .receive_window(VarInt::from_u32(WINDOW_BYTES))
        .datagram_receive_buffer_size(None)
        .initial_rtt(INITIAL_RTT)
        .mtu_discovery_config(None);
    config
}

const LENGTH_BYTES: usize = 4;
/// Refusals that wait for a connection; it misses the oldest beyond them, and notices the silence instead.
const MAX_REFUSALS: usize = 64;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
const ERROR_PAUSE: Duration = Duration::from_secs(1);
const INITIAL_RTT: Duration = Duration::from_millis(100);
/// In milliseconds.
const IDLE_TIMEOUT: VarInt = VarInt::from_u32(5_000);
/// A little longer than the interval in which nodes send something.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_millis(300);
/// Bytes that a node may send before they are read: a few frames.
const WINDOW_BYTES: u32 = 4 * MAX_FRAME_BYTES as u32;
/// A timer that fires this much late means that this process did not run.
const MAX_LAG: Duration = Duration::from_millis(50);
/// How long what arrived meanwhile is waited for.
const SETTLING_TIME: Duration = Duration::from_millis(100);
