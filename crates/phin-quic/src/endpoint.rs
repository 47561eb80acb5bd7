//! The QUIC endpoint: its socket and all QUIC settings.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use quinn::{
    ConnectionId, ConnectionIdGenerator, Endpoint, EndpointConfig, MtuDiscoveryConfig,
    NoneTokenStore, TokioRuntime, ValidationTokenConfig, VarInt,
};
use ring::hmac;
use socket2::{Domain, Protocol, Type};

use crate::{
    accept::MAX_HANDSHAKES,
    config::{ConfigError, Params},
    gate::VERSION,
    identity::Identity,
    secret::random,
    socket::Socket,
    tls::{CredentialsError, Tls},
};

/// Why [`Transport::bind`](crate::Transport::bind) failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// It was called outside a tokio runtime.
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
    /// The process is not permitted to use the address.
    #[error("not permitted to use {addr}")]
    NotPermitted {
        /// The address.
        addr: SocketAddr,
    },
    /// The system reported another error.
    #[error("cannot use {addr}")]
    Io {
        /// The address.
        addr: SocketAddr,
        /// The error of the system.
        source: io::Error,
    },
}

/// Binds the UDP socket.
pub(crate) fn bind_socket(addr: SocketAddr) -> Result<UdpSocket, BindError> {
    let bind = || {
        let (domain, protocol) = (Domain::for_address(addr), Some(Protocol::UDP));
        let socket = socket2::Socket::new(domain, Type::DGRAM, protocol)?;
        if addr.is_ipv6() {
            // IPv6 alone still works on systems that cannot serve both.
            let _ = socket.set_only_v6(false);
        }
        // Many nodes may join at once. A smaller buffer than requested is acceptable.
        let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
        socket.bind(&addr.into())?;
        Ok(UdpSocket::from(socket))
    };
    bind().map_err(|source| bind_failed(addr, source))
}

pub(crate) fn bind_failed(addr: SocketAddr, source: io::Error) -> BindError {
    match source.kind() {
        io::ErrorKind::AddrInUse => BindError::AddressInUse { addr },
        io::ErrorKind::AddrNotAvailable => BindError::AddressNotAvailable { addr },
        io::ErrorKind::PermissionDenied => BindError::NotPermitted { addr },
        _ => BindError::Io { addr, source },
    }
}

/// The QUIC settings of the two sides of a handshake.
pub(crate) struct QuicConfigs {
    pub(crate) server: quinn::ServerConfig,
    pub(crate) client: quinn::ClientConfig,
}

impl QuicConfigs {
    pub(crate) fn new(tls: &Tls, params: &Params) -> Self {
        let transport = Arc::new(quic_config(params));
        let mut tokens = ValidationTokenConfig::default();
        // Tokens would save a round trip only for clients that had to prove their address.
        tokens.sent(0);
        let mut server = quinn::ServerConfig::with_crypto(tls.server.clone());
        server
            .transport_config(transport.clone())
            .validation_token_config(tokens)
            // A node is reachable at the address that it announces. A peer whose address changes dials again.
            .migration(false)
            .max_incoming(MAX_HANDSHAKES)
            .incoming_buffer_size(MAX_INCOMING_BYTES)
            .incoming_buffer_size_total(MAX_INCOMING_BYTES_TOTAL);
        Self { server, client: Self::client(tls, transport) }
    }

    pub(crate) fn client(tls: &Tls, transport: Arc<quinn::TransportConfig>) -> quinn::ClientConfig {
        let mut client = quinn::ClientConfig::new(tls.client.clone());
        client.transport_config(transport).token_store(Arc::new(NoneTokenStore));
        client
    }
}

/// Opens the endpoint, which accepts over this socket. Each dial has its own configuration.
pub(crate) fn open_endpoint(
    identity: &Identity,
    server: quinn::ServerConfig,
    socket: Arc<Socket>,
) -> io::Result<Endpoint> {
    let (config, runtime) = (endpoint_config(identity), Arc::new(TokioRuntime));
    Endpoint::new_with_abstract_socket(config, Some(server), socket, runtime)
}

/// Opens an endpoint that only dials.
pub(crate) fn open_client(
    identity: &Identity,
    tls: &Tls,
    transport: quinn::TransportConfig,
    socket: Arc<Socket>,
) -> io::Result<Endpoint> {
    let client = QuicConfigs::client(tls, Arc::new(transport));
    let runtime = Arc::new(TokioRuntime);
    let config = endpoint_config(identity);
    let mut endpoint = Endpoint::new_with_abstract_socket(config, None, socket, runtime)?;
    endpoint.set_default_client_config(client);
    Ok(endpoint)
}

fn endpoint_config(identity: &Identity) -> EndpointConfig {
    let reset_key = hmac::Key::new(hmac::HMAC_SHA256, &*identity.reset_key());
    let mut config = EndpointConfig::new(Arc::new(reset_key));
    config.cid_generator(|| Box::new(RandomIds));
    config.supported_versions(vec![VERSION]);
    config
}

fn quic_config(params: &Params) -> quinn::TransportConfig {
    // QUIC's own idle timeout finds peers that are gone. Idle connections are closed earlier, with a reason: a
    // connection that ends silently costs the peer its next message.
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

/// Generates connection IDs from random bytes.
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

/// The receive buffer of the socket: room for a burst of packets from many peers.
const SOCKET_BUFFER_BYTES: usize = 2 * 1024 * 1024;
/// Five random bytes are enough: resets are limited to 50 per second, so an attacker obtains the reset tokens of only a
/// small share of all IDs. Each packet is three bytes shorter than with QUIC's usual eight.
const CONNECTION_ID_BYTES: usize = 5;
/// Bytes kept of an incoming handshake before it is admitted: a few packets.
const MAX_INCOMING_BYTES: u64 = 16 * 1024;
const MAX_INCOMING_BYTES_TOTAL: u64 = 1024 * 1024;
/// Bytes that a peer may send on one stream before they are read. A connection may hold four times as much.
const STREAM_WINDOW_BYTES: u32 = 128 * 1024;
/// Bytes of datagrams that wait on one connection, in each direction.
const DATAGRAM_BUFFER_BYTES: usize = 64 * 1024;
