//! Peers that do not play by the rules, inside the cluster and outside.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use phin_quic::{
    Identity, TransportConfig,
    certificates::{CertificateAuthority, Validity, issue},
};
use quinn::{
    ClientConfig, Connection, Endpoint,
    crypto::rustls::QuicClientConfig,
    rustls::{
        self, DigitallySignedStruct, SignatureScheme,
        client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    },
};

use crate::support::{Node, ca, certified, connected, connected_peer, guard, pattern};

#[tokio::test]
async fn a_stream_that_never_ends_is_stopped_and_the_connection_stays() {
    let ca = ca();
    let mut node = node(&ca, |config| config.stream_timeout = Duration::from_millis(200));
    let intruder = Intruder::member(&ca, node.addr()).await;
    let mut endless = intruder.connection.open_uni().await.unwrap();
    endless.write_all(b"x").await.unwrap();
    assert_eq!(guard(endless.stopped()).await.unwrap(), Some(1_u32.into()));
    assert_eq!(node.stats().streams_timed_out, 1);
    intruder.send(b"whole").await;
    assert_eq!(node.message().await, b"whole");
    assert_eq!(node.stats().connections, 1);
}

#[tokio::test]
async fn a_stream_that_is_broken_off_is_not_delivered() {
    let ca = ca();
    let mut node = node(&ca, |config| config.stream_timeout = Duration::from_secs(10));
    let intruder = Intruder::member(&ca, node.addr()).await;
    let mut broken = intruder.connection.open_uni().await.unwrap();
    broken.write_all(&pattern(5000)).await.unwrap();
    broken.reset(9_u32.into()).unwrap();
    node.until(|stats| stats.streams_broken_off == 1).await;
    intruder.send(b"whole").await;
    assert_eq!(node.message().await, b"whole");
}

#[tokio::test]
async fn streams_beyond_the_limit_wait_at_the_peer() {
    let ca = ca();
    let node = node(&ca, |config| config.stream_timeout = Duration::from_secs(10));
    let intruder = Intruder::member(&ca, node.addr()).await;
    let mut open = Vec::new();
    let patience = Duration::from_millis(300);
    while let Ok(stream) = tokio::time::timeout(patience, intruder.connection.open_uni()).await {
        let mut stream = stream.unwrap();
        stream.write_all(b"x").await.unwrap();
        open.push(stream);
        assert!(open.len() <= 8);
    }
    // QUIC gives new credit not for every single stream (RFC 9000 §4.6).
    for mut stream in open.drain(..4) {
        stream.finish().unwrap();
    }
    guard(intruder.connection.open_uni()).await.unwrap();
    let bidirectional = intruder.connection.open_bi();
    assert!(tokio::time::timeout(patience, bidirectional).await.is_err());
}

#[tokio::test]
async fn a_watcher_that_sends_more_than_its_request_is_closed() {
    let ca = ca();
    let node = node(&ca, |_| {});
    let mut watchers = node.transport.take_watchers().unwrap();
    for sends_datagram in [false, true] {
        let (_endpoint, connection) =
            connect(Intruder::config(&ca), WATCH_PROTOCOL, node.addr()).await;
        let intruder = Intruder { connection: connection.unwrap(), _endpoint };
        intruder.send(b"request").await;
        let watcher = guard(watchers.next()).await.unwrap();
        assert_eq!(watcher.request(), b"request");
        let sender = watcher.accept().await.unwrap();
        match sends_datagram {
            true => intruder.connection.send_datagram(b"more".as_slice().into()).unwrap(),
            false => intruder.send(b"more").await,
        }
        guard(sender.ended()).await;
        guard(intruder.connection.closed()).await;
        assert_eq!(node.stats().watchers_misused, 1 + u64::from(sends_datagram));
    }
    // One that never sends a request gives its place back.
    let (_endpoint, _connection) =
        connect(Intruder::config(&ca), WATCH_PROTOCOL, node.addr()).await;
    node.until(|stats| stats.handshakes_abandoned == 1 && stats.watchers == 0).await;
}

#[tokio::test]
async fn a_flood_of_datagrams_is_bounded_and_counted() {
    let ca = ca();
    let mut node = node(&ca, |config| config.max_received_datagrams = 10);
    let intruder = Intruder::member(&ca, node.addr()).await;
    for _ in 0..5000 {
        intruder.connection.send_datagram_wait(vec![1; 1000].into()).await.unwrap();
    }
    // When the flood has passed, the last one is the newest.
    intruder.connection.send_datagram_wait("last".into()).await.unwrap();
    guard(async { while node.message().await != b"last" {} }).await;
    assert!(node.stats().datagrams_dropped_receive_queue > 0);
}

#[tokio::test]
async fn a_member_without_a_certificate_is_refused() {
    let ca = ca();
    let node = node(&ca, |config| config.stream_timeout = Duration::from_secs(10));
    let config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(TrustAnybody))
        .with_no_client_auth();
    let (_endpoint, result) = connect(config, PROTOCOL, node.addr()).await;
    // In its own eyes the handshake may have succeeded.
    if let Ok(connection) = result {
        guard(connection.closed()).await;
    }
    node.until(|stats| stats.refusals.other == 1).await;
    assert_eq!(node.stats().connections_accepted, 0);
}

#[tokio::test]
async fn another_protocol_is_refused() {
    let ca = ca();
    let node = node(&ca, |config| config.stream_timeout = Duration::from_secs(10));
    let (_endpoint, result) = connect(Intruder::config(&ca), b"h3", node.addr()).await;
    assert!(result.is_err());
    node.until(|stats| stats.refusals.other_cluster == 1).await;
}

#[tokio::test]
async fn a_peer_that_reconnects_for_ever_holds_little() {
    let ca = ca();
    let mut node = node(&ca, |config| config.stream_timeout = Duration::from_secs(10));
    let config = Intruder::config(&ca);
    let mut held = Vec::new();
    for _ in 0..20 {
        let (endpoint, result) = connect(config.clone(), PROTOCOL, node.addr()).await;
        let intruder = Intruder { connection: result.unwrap(), _endpoint: endpoint };
        intruder.send(HELLO).await;
        held.push(intruder);
    }
    node.until(|stats| stats.connections_accepted == 20).await;
    assert!(node.stats().connections_draining <= 4, "{:?}", node.stats());
    assert_eq!(node.stats().connections, 1);
    for intruder in &held {
        if let Ok(mut stream) = intruder.connection.open_uni().await {
            let _ = stream.write_all(b"hello").await;
            let _ = stream.finish();
        }
    }
    assert_eq!(node.message().await, b"hello");
}

#[tokio::test]
async fn when_the_connection_in_use_ends_one_that_lost_to_it_is_used_again() {
    let ca = ca();
    let mut node = node(&ca, |config| config.stream_timeout = Duration::from_secs(10));
    let config = Intruder::config(&ca);
    let first = Intruder::with(config.clone(), node.addr()).await;
    let second = Intruder::with(config, node.addr()).await;
    node.until(|stats| stats.connections_draining == 1).await;
    let peer = node.expect(connected_peer).await;
    second.connection.close(0_u32.into(), b"");
    node.until(|stats| stats.connections_draining == 0).await;
    node.transport.send_datagram(peer, "hello".into());
    assert_eq!(guard(first.connection.read_datagram()).await.unwrap(), "hello");
    assert_eq!(node.receiver.try_receive(), None, "it never was disconnected");
    assert_eq!(node.stats().dials, 0);
}

#[tokio::test]
async fn garbage_from_strangers_changes_nothing() {
    let (one, mut two) = connected().await;
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..2000_u64 {
        let length = usize::try_from(random() % 1400).unwrap();
        let mut packet: Vec<u8> = (0..length).map(|_| random().to_le_bytes()[0]).collect();
        // Half of it begins like a QUIC version 1 Initial with ids of any length.
        if round % 2 == 0 && length > 60 {
            packet[0] |= 0xc0;
            packet[1..5].copy_from_slice(&[0, 0, 0, 1]);
            packet[5] %= 24;
        }
        let _ = stranger.send_to(&packet, two.addr());
        if round % 50 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let _ = stranger.send_to(&[], two.addr());
    one.transport.send_stream(two.peer(), "still here".into());
    assert_eq!(two.message().await, b"still here");
    assert_eq!(two.stats().connections, 1);
}

#[tokio::test]
async fn a_hello_that_is_none_is_refused() {
    let ca = ca();
    let node = node(&ca, |config| config.stream_timeout = Duration::from_secs(10));
    for (n, hello) in [&b""[..], b"hello", &[0; 17], &[1; 10_000]].into_iter().enumerate() {
        let (endpoint, result) = connect(Intruder::config(&ca), PROTOCOL, node.addr()).await;
        let intruder = Intruder { connection: result.unwrap(), _endpoint: endpoint };
        intruder.send(hello).await;
        guard(intruder.connection.closed()).await;
        assert_eq!(node.stats().refusals.not_phin, u64::try_from(n).unwrap() + 1);
    }
    assert_eq!(node.stats().connections_accepted, 0);
}

#[tokio::test]
async fn a_member_that_never_says_hello_is_let_go() {
    let ca = ca();
    let node = node(&ca, |config| {
        config.handshake_timeout = Duration::from_millis(300);
        config.idle_timeout = Duration::from_secs(3600);
        config.max_connections = 1;
    });
    let (_endpoint, result) = connect(Intruder::config(&ca), PROTOCOL, node.addr()).await;
    guard(result.unwrap().closed()).await;
    node.until(|stats| stats.handshakes_abandoned == 1).await;
    Intruder::member(&ca, node.addr()).await;
}

#[tokio::test]
async fn handshakes_that_are_only_begun_hold_their_place_for_a_while_only() {
    let ca = ca();
    let node = node(&ca, |config| {
        config.handshake_timeout = Duration::from_millis(500);
        config.idle_timeout = Duration::from_secs(3600);
        config.max_connections = 4;
    });
    for _ in 0..4 {
        let packet = first_packet(&ca).await;
        UdpSocket::bind("127.0.0.1:0").unwrap().send_to(&packet, node.addr()).unwrap();
    }
    node.until(|stats| stats.handshakes_abandoned == 4).await;
    Intruder::member(&ca, node.addr()).await;
}

#[tokio::test]
async fn when_many_handshakes_are_under_way_strangers_must_prove_their_address() {
    let ca = ca();
    let node = node(&ca, |config| {
        config.handshake_timeout = Duration::from_secs(50);
    });
    for _ in 0..64 {
        let packet = first_packet(&ca).await;
        UdpSocket::bind("127.0.0.1:0").unwrap().send_to(&packet, node.addr()).unwrap();
    }
    // A member proves it and is let in.
    Intruder::member(&ca, node.addr()).await;
    assert!(node.stats().retries_demanded >= 1);
}

#[tokio::test]
async fn a_newcomer_is_let_in_while_others_flood_with_first_packets() {
    let ca = ca();
    let node = node(&ca, |_| {});
    let flood = Flood::start(&ca, node.addr(), 1).await;
    node.until(|stats| stats.first_packets_dropped_unproven >= 1_000).await;
    Intruder::member(&ca, node.addr()).await;
    let dropped = node.stats().first_packets_dropped_unproven;
    node.until(|stats| stats.first_packets_dropped_unproven > dropped).await;
    // One address begins no more handshakes than its burst, and then 16 a second.
    assert!(node.stats().retries_demanded < 1_000, "{:?}", node.stats());
    flood.end().await;
}

#[tokio::test]
async fn a_member_comes_back_while_many_addresses_flood() {
    let ca = ca();
    let mut node = node(&ca, |_| {});
    let identity = Identity::generate();
    let credentials = certified(&ca, &identity, Validity::days(1));
    let member = Node::of(identity, &credentials, |_| {});
    member.transport.send_datagram(node.peer(), "one".into());
    assert_eq!(node.message().await, b"one");
    let flood = Flood::start(&ca, node.addr(), 250).await;
    node.until(|stats| stats.first_packets_dropped_unproven >= 1_000).await;
    member.transport.close_peer(node.id, phin_quic::CloseReason::Shutdown);
    node.until(|stats| stats.connections == 0).await;
    member.transport.send_stream(node.peer(), "two".into());
    assert_eq!(node.message().await, b"two");
    assert_eq!(node.stats().first_packets_dropped_known, 0);
    flood.end().await;
}

#[tokio::test]
async fn refused_handshakes_exhaust_a_budget_that_members_do_not_need() {
    let ca = ca();
    let node = node(&ca, |_| {});
    let config = Intruder::config(&ca);
    let mut other_protocol = client_config(config.clone(), b"h3");
    let mut transport = quinn::TransportConfig::default();
    transport.max_idle_timeout(Some(Duration::from_secs(1).try_into().unwrap()));
    other_protocol.transport_config(Arc::new(transport));
    let mut dials = Vec::new();
    for _ in 0..200 {
        let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        let dial = endpoint.connect_with(other_protocol.clone(), node.addr(), "phin").unwrap();
        dials.push((dial, endpoint));
    }
    for (dial, _endpoint) in dials {
        assert!(guard(dial).await.is_err());
    }
    // Each sent few packets, so it is the handshakes of the network that are too many: first of unproven addresses,
    // then, as those must prove theirs, of proven ones.
    let stats = node.stats();
    assert!(stats.retries_demanded > 0, "{stats:?}");
    assert!(stats.handshakes_over_budget > 0, "{stats:?}");
    assert_eq!(stats.first_packets_dropped_unproven, 0, "{stats:?}");
    Intruder::with(config, node.addr()).await;
}

/// First packets of clients that never go on, sent again and again.
struct Flood {
    is_over: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<()>,
}

impl Flood {
    async fn start(ca: &CertificateAuthority, to: SocketAddr, sources: u8) -> Self {
        let mut packets = Vec::new();
        for _ in 0..200 {
            packets.push(first_packet(ca).await);
        }
        let bind = |n| UdpSocket::bind(SocketAddr::from(([127, 0, 0, n], 0))).unwrap();
        let sockets: Vec<_> = (1..=sources).map(bind).collect();
        let is_over = Arc::new(AtomicBool::new(false));
        let ended = is_over.clone();
        let thread = std::thread::spawn(move || {
            for n in 0..MAX_FLOOD {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                let _ = sockets[n % sockets.len()].send_to(&packets[n % packets.len()], to);
                if n % 100 == 0 {
                    // tidy: allow sleep: bounds the rate, and nothing waits for it
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
        });
        Self { is_over, thread }
    }

    async fn end(self) {
        self.is_over.store(true, Ordering::Relaxed);
        tokio::task::spawn_blocking(|| self.thread.join().unwrap()).await.unwrap();
    }
}

/// The first packet of a client, captured on its way.
async fn first_packet(ca: &CertificateAuthority) -> Vec<u8> {
    let catcher = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    endpoint.set_default_client_config(client_config(Intruder::config(ca), PROTOCOL));
    let connecting = endpoint.connect(catcher.local_addr().unwrap(), "phin").unwrap();
    let mut buffer = [0; 2000];
    let (length, _) = guard(catcher.recv_from(&mut buffer)).await.unwrap();
    drop(connecting);
    buffer[..length].to_vec()
}

/// A member of the cluster with an implementation of its own.
struct Intruder {
    connection: Connection,
    _endpoint: Endpoint,
}

impl Intruder {
    async fn member(ca: &CertificateAuthority, addr: SocketAddr) -> Self {
        Self::with(Self::config(ca), addr).await
    }

    async fn with(config: rustls::ClientConfig, addr: SocketAddr) -> Self {
        let (endpoint, connection) = connect(config, PROTOCOL, addr).await;
        let intruder = Self { connection: connection.unwrap(), _endpoint: endpoint };
        intruder.send(HELLO).await;
        let mut answer = guard(intruder.connection.accept_uni()).await.unwrap();
        // The same, and the IPv4 address that it is seen at.
        assert_eq!(guard(answer.read_to_end(100)).await.unwrap().len(), HELLO.len() + 7);
        intruder
    }

    fn config(ca: &CertificateAuthority) -> rustls::ClientConfig {
        let identity = Identity::generate();
        let pem = issue(ca, "intruder", &identity.public_key(), Validity::days(1)).unwrap();
        let chain = vec![CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(identity.to_pem().as_bytes()).unwrap();
        rustls::ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(TrustAnybody))
            .with_client_auth_cert(chain, key)
            .unwrap()
    }

    async fn send(&self, message: &[u8]) {
        let mut stream = guard(self.connection.open_uni()).await.unwrap();
        stream.write_all(message).await.unwrap();
        stream.finish().unwrap();
    }
}

async fn connect(
    config: rustls::ClientConfig,
    protocol: &[u8],
    addr: SocketAddr,
) -> (Endpoint, Result<Connection, quinn::ConnectionError>) {
    let mut endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    endpoint.set_default_client_config(client_config(config, protocol));
    let connecting = endpoint.connect(addr, "phin").unwrap();
    let result = guard(connecting).await;
    (endpoint, result)
}

fn client_config(mut config: rustls::ClientConfig, protocol: &[u8]) -> ClientConfig {
    config.alpn_protocols = vec![protocol.to_vec()];
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(config).unwrap()));
    // No connection here ends because it is idle.
    let mut transport = quinn::TransportConfig::default();
    transport.max_idle_timeout(None);
    config.transport_config(Arc::new(transport));
    config
}

fn node(ca: &CertificateAuthority, adjust: impl FnOnce(&mut TransportConfig)) -> Node {
    let identity = Identity::generate();
    let credentials = certified(ca, &identity, Validity::days(1));
    Node::of(identity, &credentials, adjust)
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

#[derive(Debug)]
struct TrustAnybody;

impl ServerCertVerifier for TrustAnybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

/// More than is sent before any of the tests gives up.
const MAX_FLOOD: usize = 5_000_000;
const HELLO: &[u8] = &[1, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0];
/// `phin/1/` and the first 16 hexadecimal digits of the SHA-256 of the cluster's name, `test`.
const PROTOCOL: &[u8] = b"phin/1/9f86d081884c7d65";
const WATCH_PROTOCOL: &[u8] = b"phin-watch/1/9f86d081884c7d65";
