//! The transport: one UDP socket, and what its tasks share.

use std::{
    fmt,
    future::Future,
    io,
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use dashmap::DashMap;
use quinn::{
    ConnectionId, ConnectionIdGenerator, Endpoint, EndpointConfig, MtuDiscoveryConfig,
    NoneTokenStore, TokioRuntime, ValidationTokenConfig, VarInt,
};
use ring::hmac;
use socket2::{Domain, Protocol, Type};
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::{
    accept,
    budget::Budget,
    config::{ConfigError, Params, STREAM_OVERHEAD, TransportConfig},
    connection::{CloseCode, CloseReason, Connection, Peer},
    connections::{MAX_PATH_CHECKS, PeerState},
    dial::SeedDial,
    gate::{self, Gate},
    identity::{Identity, PeerId},
    pending::Message,
    queue::{Queue, Receiver},
    refusal::{DialError, Refusal, RefusalLog, RefusedBy},
    secret::random,
    socket::Socket,
    stats::{Counters, TransportStats, add, count},
    tls::{Credentials, CredentialsError, Tls},
};

/// The sending half, and the handle on everything: cloned at no cost.
///
/// No method waits for the network except [`dial`](Self::dial) and [`close`](Self::close). When
/// the last clone is dropped, everything is closed as by [`close`](Self::close), without waiting.
#[derive(Clone)]
pub struct Transport {
    handle: Arc<TransportHandle>,
}

impl Transport {
    /// Binds the UDP socket and starts to accept and to dial.
    ///
    /// # Errors
    /// When there is no tokio runtime with time and I/O, when the configuration or the
    /// credentials cannot be used, or when the system refuses the address.
    pub fn bind(
        identity: Arc<Identity>,
        credentials: Credentials,
        config: TransportConfig,
    ) -> Result<(Self, Receiver), BindError> {
        let runtime = Handle::try_current().map_err(|_| BindError::NoRuntime)?;
        let params = Params::try_from(config)?;
        let tls = Tls::new(&identity, &credentials)?;
        let socket = bind_socket(params.bind)?;
        let failed = |source| bind_failed(params.bind, source);
        let local_addr = socket.local_addr().map_err(failed)?;
        let counters = Arc::new(Counters::default());
        let gate = Gate::new(counters.clone());
        let socket = Socket::new(socket, gate.clone()).map_err(failed)?;
        let endpoint = open_endpoint(&identity, tls, &params, socket.clone()).map_err(failed)?;
        let queue = Arc::new(Queue::new(params.max_received_datagrams, counters.clone()));
        let shared = Arc::new(Shared {
            own_id: identity.id(),
            instance: u64::from_be_bytes(random()),
            local_addr,
            socket,
            gate,
            endpoint,
            peers: DashMap::new(),
            seed_dials: DashMap::new(),
            queue: queue.clone(),
            counters,
            refusal_log: RefusalLog::default(),
            incoming: Budget::new(params.max_received_stream_bytes),
            connection_slots: Arc::new(Semaphore::new(params.max_connections)),
            handshake_slots: Arc::new(Semaphore::new(accept::MAX_HANDSHAKES)),
            dial_slots: Arc::new(Semaphore::new(params.max_dials)),
            path_checks: Semaphore::new(MAX_PATH_CHECKS),
            next_attempt: AtomicU64::new(0),
            next_accepted: AtomicU64::new(0),
            is_closed: AtomicBool::new(false),
            params,
            runtime,
        });
        shared.runtime.spawn(accept::run(shared.clone()));
        let handle = Arc::new(TransportHandle { shared });
        Ok((Self { handle }, Receiver::new(queue)))
    }

    /// The address of the socket; the port is the one the system chose, if it was to choose.
    pub fn local_addr(&self) -> SocketAddr {
        self.shared().local_addr
    }

    /// Sends a message that may be lost. One that is too long for a datagram goes as a stream.
    ///
    /// Without a connection the message waits for a dial to the peer's address; with one, the
    /// address does not matter.
    pub fn send_datagram(&self, to: Peer, payload: Bytes) {
        self.shared().send(to, Message::Datagram(payload));
    }

    /// Sends a message that arrives whole at the peer's transport, or is reported by one
    /// [`Received::SendFailed`](crate::Received::SendFailed). In rare cases both: the peer had it,
    /// and the connection broke before it could say so.
    pub fn send_stream(&self, to: Peer, payload: Bytes) {
        self.shared().send(to, Message::Stream(payload));
    }

    /// Connects to whoever is at an address and tells who that is. The peer is then connected.
    ///
    /// Calls for one address share one dial, and it goes on when one of them is cancelled.
    ///
    /// # Errors
    /// When there is no connection: see [`DialError`].
    pub fn dial(
        &self,
        addr: SocketAddr,
    ) -> impl Future<Output = Result<PeerId, DialError>> + Send + 'static {
        self.shared().dial_seed(addr)
    }

    /// Whether there is a connection to this peer now.
    pub fn is_connected(&self, id: PeerId) -> bool {
        self.shared().is_connected(id)
    }

    /// Closes everything towards a peer at once: connections, dials, and what waits for them.
    pub fn close_peer(&self, id: PeerId, reason: CloseReason) {
        self.shared().close_peer(id, reason);
    }

    /// Gives up every connection to a peer that leads elsewhere than to `to.addr`, and dials there if none is left: for
    /// a way that was refused, or no longer leads to the peer.
    pub fn redial(&self, to: Peer) {
        self.shared().redial(to);
    }

    /// Gives up all connections, for the addresses of this host have changed. Messages dial anew.
    pub fn give_up_all(&self) {
        self.shared().give_up_all();
    }

    /// Closes everything, and waits until the peers should have been told, at most a second.
    /// The receiver ends when what it still has was taken.
    pub async fn close(&self) {
        self.shared().close();
        // Either the peers are told by then or they will not be.
        let _ = timeout(CLOSE_TIMEOUT, self.shared().endpoint.wait_idle()).await;
    }

    /// What was done so far.
    pub fn stats(&self) -> TransportStats {
        self.shared().stats()
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shared = self.shared();
        f.debug_struct("Transport")
            .field("id", &shared.own_id)
            .field("local_addr", &shared.local_addr)
            .finish_non_exhaustive()
    }
}

/// Why a transport could not be bound.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// It was called outside of a tokio runtime.
    #[error("there is no tokio runtime here")]
    NoRuntime,
    /// The configuration cannot be used.
    #[error("the configuration cannot be used")]
    Config(#[from] ConfigError),
    /// The credentials cannot be used.
    #[error("the credentials cannot be used")]
    Credentials(#[from] CredentialsError),
    /// Another socket has the address.
    #[error("{addr} is in use by another process")]
    AddressInUse {
        /// The address.
        addr: SocketAddr,
    },
    /// The address is not one of this host.
    #[error("{addr} is not an address of this host")]
    AddressNotAvailable {
        /// The address.
        addr: SocketAddr,
    },
    /// This process may not use the address.
    #[error("not permitted to use {addr}")]
    NotPermitted {
        /// The address.
        addr: SocketAddr,
    },
    /// The system refused for another reason.
    #[error("cannot use {addr}")]
    Io {
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// What clones of a [`Transport`] have in common, and its tasks have not: its end is theirs.
struct TransportHandle {
    shared: Arc<Shared>,
}

impl Drop for TransportHandle {
    fn drop(&mut self) {
        self.shared.close();
    }
}

/// What the tasks of a transport share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) own_id: PeerId,
    /// This run of this process: see [`Hello`](crate::hello::Hello).
    pub(crate) instance: u64,
    pub(crate) local_addr: SocketAddr,
    pub(crate) socket: Arc<Socket>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) endpoint: Endpoint,
    pub(crate) params: Params,
    pub(crate) peers: DashMap<PeerId, PeerState>,
    pub(crate) seed_dials: DashMap<SocketAddr, SeedDial>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) counters: Arc<Counters>,
    refusal_log: RefusalLog,
    /// Bytes of incoming streams that are held for the receiver.
    pub(crate) incoming: Budget,
    pub(crate) connection_slots: Arc<Semaphore>,
    pub(crate) handshake_slots: Arc<Semaphore>,
    dial_slots: Arc<Semaphore>,
    pub(crate) path_checks: Semaphore,
    next_attempt: AtomicU64,
    next_accepted: AtomicU64,
    is_closed: AtomicBool,
    pub(crate) runtime: Handle,
}

impl Shared {
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::SeqCst)
    }

    pub(crate) fn dial_slot(&self) -> Option<OwnedSemaphorePermit> {
        self.dial_slots.clone().try_acquire_owned().ok()
    }

    pub(crate) fn next_attempt(&self) -> u64 {
        self.next_attempt.fetch_add(1, Ordering::Relaxed)
    }

    /// The number of the next connection that a peer makes to this node.
    pub(crate) fn next_accepted(&self) -> u64 {
        self.next_accepted.fetch_add(1, Ordering::Relaxed)
    }

    /// A peer may hold a quarter of what all may hold, but at least one message.
    pub(crate) fn incoming_of_peer(&self) -> Budget {
        let message = self.params.max_stream_bytes + STREAM_OVERHEAD;
        Budget::new(message.max(self.params.max_received_stream_bytes / 4))
    }

    /// Counts and logs a refusal.
    pub(crate) fn refused(&self, addr: SocketAddr, refusal: &Refusal, by: RefusedBy) {
        self.counters.record_refusal(refusal);
        self.refusal_log.log(addr, refusal, by, Instant::now());
    }

    /// Keeps what a connection sent and received in all, when it has ended.
    pub(crate) fn add_udp_stats(&self, connection: &Connection) {
        let stats = connection.quic.stats();
        add(&self.counters.udp_packets_sent, stats.udp_tx.datagrams);
        add(&self.counters.udp_bytes_sent, stats.udp_tx.bytes);
        add(&self.counters.udp_packets_received, stats.udp_rx.datagrams);
        add(&self.counters.udp_bytes_received, stats.udp_rx.bytes);
    }

    fn stats(&self) -> TransportStats {
        let mut all = self.counters.snapshot();
        let mut total = 0;
        self.for_each_connection(|connection| {
            total += 1;
            let stats = connection.quic.stats();
            all.udp_packets_sent += stats.udp_tx.datagrams;
            all.udp_bytes_sent += stats.udp_tx.bytes;
            all.udp_packets_received += stats.udp_rx.datagrams;
            all.udp_bytes_received += stats.udp_rx.bytes;
        });
        all.connections = count(self.connected_peers());
        all.connections_draining = u64::saturating_sub(total, all.connections);
        all
    }

    fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        // A closed endpoint would turn newcomers away as a full one does. To hear nothing is nearer to
        // the truth, and lets a dial that is under way reach the process that is started here next.
        self.endpoint.set_server_config(None);
        self.endpoint.close(CloseCode::SHUTDOWN.0, b"");
    }
}

fn bind_socket(addr: SocketAddr) -> Result<UdpSocket, BindError> {
    let bind = || {
        let (domain, protocol) = (Domain::for_address(addr), Some(Protocol::UDP));
        let socket = socket2::Socket::new(domain, Type::DGRAM, protocol)?;
        if addr.is_ipv6() {
            // Where the system cannot do it, IPv6 alone is still of use.
            let _ = socket.set_only_v6(false);
        }
        // When many join at once, their packets come at once; what the system grants will do.
        let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
        socket.bind(&addr.into())?;
        Ok(UdpSocket::from(socket))
    };
    bind().map_err(|source| bind_failed(addr, source))
}

fn bind_failed(addr: SocketAddr, source: io::Error) -> BindError {
    match source.kind() {
        io::ErrorKind::AddrInUse => BindError::AddressInUse { addr },
        io::ErrorKind::AddrNotAvailable => BindError::AddressNotAvailable { addr },
        io::ErrorKind::PermissionDenied => BindError::NotPermitted { addr },
        _ => BindError::Io { addr, source },
    }
}

fn open_endpoint(
    identity: &Identity,
    tls: Tls,
    params: &Params,
    socket: Arc<Socket>,
) -> io::Result<Endpoint> {
    let transport = Arc::new(quic_config(params));
    let mut tokens = ValidationTokenConfig::default();
    // They save a round trip only to clients that were asked for a proof of their address.
    tokens.sent(0);
    let mut server = quinn::ServerConfig::with_crypto(tls.server);
    server
        .transport_config(transport.clone())
        .validation_token_config(tokens)
        // A node is found at the address it announces; a peer that moves dials anew.
        .migration(false)
        .max_incoming(accept::MAX_HANDSHAKES)
        .incoming_buffer_size(MAX_INCOMING_BYTES)
        .incoming_buffer_size_total(MAX_INCOMING_BYTES_TOTAL);
    let mut client = quinn::ClientConfig::new(tls.client);
    client.transport_config(transport).token_store(Arc::new(NoneTokenStore));

    let reset_key = hmac::Key::new(hmac::HMAC_SHA256, &*identity.reset_key());
    let mut config = EndpointConfig::new(Arc::new(reset_key));
    config.cid_generator(|| Box::new(RandomIds));
    config.supported_versions(vec![gate::VERSION]);
    let runtime = Arc::new(TokioRuntime);
    let mut endpoint = Endpoint::new_with_abstract_socket(config, Some(server), socket, runtime)?;
    endpoint.set_default_client_config(client);
    Ok(endpoint)
}

fn quic_config(params: &Params) -> quinn::TransportConfig {
    // QUIC's own idle timeout is for peers that are gone. Quiet connections are closed before, by
    // us, in words: a connection that ends silently costs the peer the next message.
    let quic_idle = params.idle_timeout + params.handshake_timeout;
    let quic_idle = u32::try_from(quic_idle.as_millis()).unwrap_or(u32::MAX);
    let discovery = params.max_discovered_mtu.map(|limit| {
        let mut discovery = MtuDiscoveryConfig::default();
        discovery.upper_bound(limit);
        discovery
    });
    let mut config = quinn::TransportConfig::default();
    config
        .max_idle_timeout(Some(VarInt::from_u32(quic_idle).into()))
        .keep_alive_interval(None)
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(params.max_streams_per_peer))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(4 * STREAM_WINDOW_BYTES))
        .send_window(u64::from(4 * STREAM_WINDOW_BYTES))
        .datagram_receive_buffer_size(Some(DATAGRAM_BUFFER_BYTES))
        .datagram_send_buffer_size(DATAGRAM_BUFFER_BYTES)
        .initial_rtt(params.initial_rtt)
        .initial_mtu(params.initial_mtu)
        .mtu_discovery_config(discovery);
    config
}

/// Connection ids that are random in every bit.
struct RandomIds;

impl ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> ConnectionId {
        ConnectionId::new(&random::<CONNECTION_ID_BYTES>())
    }

    fn cid_len(&self) -> usize {
        CONNECTION_ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// Enough for a burst of packets from many peers.
const SOCKET_BUFFER_BYTES: usize = 2 * 1024 * 1024;
/// Five random bytes: an attacker cannot ask for the reset tokens of more than a sliver of all
/// ids, because resets are limited to 50 per second; and each packet is three bytes shorter than
/// with QUIC's usual eight.
const CONNECTION_ID_BYTES: usize = 5;
/// What is kept of a handshake that waits to be looked at: a few packets.
const MAX_INCOMING_BYTES: u64 = 16 * 1024;
const MAX_INCOMING_BYTES_TOTAL: u64 = 1024 * 1024;
/// What a peer may send of one stream before it is read. Four times as much for all streams of a
/// connection is what a peer can make us hold.
const STREAM_WINDOW_BYTES: u32 = 128 * 1024;
/// Datagrams of one connection that wait to be sent, or to be read by our own task.
const DATAGRAM_BUFFER_BYTES: usize = 64 * 1024;
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
