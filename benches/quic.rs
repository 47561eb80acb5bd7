//! Measures the cost of QUIC on loopback: a ping and its answer on a warm connection, compared with plain UDP; a
//! handshake; and the bytes of both on the wire. Nothing is resumed: each handshake authenticates both ends.
#![expect(clippy::print_stdout, reason = "packets and bytes are measured, too")]

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use phin_quic::{
    ClusterKey, Credentials, Identity, Peer, Received, Receiver, Transport, TransportConfig,
};
use tokio::{net::UdpSocket, runtime::Runtime, time::sleep};

/// As long as a ping usually is.
const PAYLOAD: [u8; 50] = [7; 50];
/// Headers of IPv4 and UDP, which the transport's counters leave out.
const HEADER_BYTES: u64 = 28;

fn ping(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime can start");
    let mut group = criterion.benchmark_group("ping and answer");
    group.bench_function("QUIC, warm connection", |bencher| {
        bencher.to_async(&runtime).iter_custom(|rounds| async move {
            let mut pair = Pair::new();
            pair.ping().await;
            let began = Instant::now();
            for _ in 0..rounds {
                pair.ping().await;
            }
            began.elapsed()
        });
    });
    group.bench_function("plain UDP", |bencher| {
        bencher.to_async(&runtime).iter_custom(plain_udp);
    });
    group.finish();
}

fn handshake(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime can start");
    criterion.bench_function("handshake, cold", |bencher| {
        bencher.to_async(&runtime).iter_custom(|rounds| async move {
            let credentials = credentials();
            let (server, _receiver, _) = bind(&credentials);
            let mut spent = Duration::ZERO;
            for _ in 0..rounds {
                let (client, _client_receiver, _) = bind(&credentials);
                let began = Instant::now();
                client.dial(server.local_addr()).await.expect("the key is the same");
                spent += began.elapsed();
                client.close().await;
            }
            spent
        });
    });
}

/// How many packets and bytes a ping and its answer are, both directions together, when nothing else happens: with time
/// for what QUIC sends afterwards.
fn wire(_: &mut Criterion) {
    const PINGS: u32 = 20;
    let runtime = Runtime::new().expect("a runtime can start");
    runtime.block_on(async {
        let mut pair = Pair::new();
        pair.ping().await;
        sleep(AFTERWARDS * 4).await;
        let (packets, bytes) = pair.sent();
        println!(
            "connection and first ping: {packets} packets, {} bytes with headers",
            bytes + packets * HEADER_BYTES
        );
        for _ in 0..PINGS {
            pair.ping().await;
            sleep(AFTERWARDS).await;
        }
        let (packets_after, bytes_after) = pair.sent();
        let each = |amount: u64| amount as f64 / f64::from(PINGS);
        let (packets, bytes) = (packets_after - packets, bytes_after - bytes);
        println!(
            "ping and answer of {} bytes each: {:.2} packets, {:.1} bytes with headers",
            PAYLOAD.len(),
            each(packets),
            each(bytes + packets * HEADER_BYTES),
        );
    });
}

/// Two transports, the second of which sends back whatever it receives.
struct Pair {
    near: Transport,
    receiver: Receiver,
    far: Transport,
    far_peer: Peer,
}

impl Pair {
    fn new() -> Self {
        let credentials = credentials();
        let (near, receiver, _) = bind(&credentials);
        let (far, mut far_receiver, far_peer) = bind(&credentials);
        let echo = far.clone();
        tokio::spawn(async move {
            while let Some(received) = far_receiver.receive().await {
                if let Received::Datagram { from, payload } = received {
                    echo.send_datagram(from, payload);
                }
            }
        });
        Self { near, receiver, far, far_peer }
    }

    async fn ping(&mut self) {
        self.near.send_datagram(self.far_peer, Bytes::from_static(&PAYLOAD));
        while let Some(received) = self.receiver.receive().await {
            if matches!(received, Received::Datagram { .. }) {
                return;
            }
        }
    }

    /// Packets and bytes that both have sent.
    fn sent(&self) -> (u64, u64) {
        let (near, far) = (self.near.stats(), self.far.stats());
        (near.udp_packets_sent + far.udp_packets_sent, near.udp_bytes_sent + far.udp_bytes_sent)
    }
}

async fn plain_udp(rounds: u64) -> Duration {
    let bind = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0));
    let (near, far) = (bind().await.expect("a free port"), bind().await.expect("a free port"));
    let far_addr = far.local_addr().expect("it is bound");
    let echo = tokio::spawn(async move {
        let mut buffer = [0; 1_200];
        while let Ok((length, from)) = far.recv_from(&mut buffer).await {
            if far.send_to(&buffer[..length], from).await.is_err() {
                break;
            }
        }
    });
    let mut buffer = [0; 1_200];
    let began = Instant::now();
    for _ in 0..rounds {
        near.send_to(&PAYLOAD, far_addr).await.expect("loopback takes it");
        near.recv_from(&mut buffer).await.expect("loopback brings it");
    }
    let elapsed = began.elapsed();
    echo.abort();
    elapsed
}

fn credentials() -> Credentials {
    let cluster = "bench".parse().expect("a short name");
    Credentials::ClusterKey { cluster, keys: ClusterKey::generate().into() }
}

fn bind(credentials: &Credentials) -> (Transport, Receiver, Peer) {
    let identity = Identity::generate();
    let id = identity.id();
    let config = TransportConfig::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let (transport, receiver) = Transport::bind(Arc::new(identity), credentials.clone(), config)
        .expect("loopback has a free port");
    let peer = Peer { id, addr: transport.local_addr() };
    (transport, receiver, peer)
}

/// Longer than QUIC delays an acknowledgement.
const AFTERWARDS: Duration = Duration::from_millis(100);

criterion_group!(benches, ping, handshake, wire);
criterion_main!(benches);
