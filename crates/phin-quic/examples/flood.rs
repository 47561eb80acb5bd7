//! Floods a node on this machine with packets of clients that it does not know, to measure what that costs it.
//!
//! `cargo run --release -p phin-quic --example flood -- ADDR KIND SOURCES PER_SECOND SECONDS [CLUSTER]`
//!
//! - `ADDR`: the node's UDP address, on loopback.
//! - `KIND`: `initial` (well-formed, with another cluster key), `version` (an unknown QUIC version), `short` (of no
//!   connection), or `handshake` (whole handshakes with another cluster key, as many at a time as `SOURCES`).
//! - `SOURCES`: `1` socket; more are spread over 127.0.0.0/8, or with a leading `p` over ports of 127.0.0.1.
//! - `CLUSTER`: the name of the node's cluster, `phin` by default.

use std::{
    collections::BTreeSet,
    error::Error,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use phin_quic::{ClusterKey, Credentials, Identity, Transport, TransportConfig};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [addr, kind, sources, per_second, seconds, cluster @ ..] = &args[..] else {
        return Err("usage: flood ADDR KIND SOURCES PER_SECOND SECONDS [CLUSTER]".into());
    };
    let addr: SocketAddr = addr.parse()?;
    if !addr.ip().is_loopback() {
        return Err("only nodes on this machine can be flooded".into());
    }
    let cluster = cluster.first().map_or("phin", String::as_str);
    let end = Instant::now() + Duration::from_secs(seconds.parse::<u64>()?.min(MAX_SECONDS));
    flood(addr, kind, sources, per_second.parse()?, end, cluster).await
}

/// Floods this address until then.
pub(crate) async fn flood(
    addr: SocketAddr,
    kind: &str,
    sources: &str,
    per_second: u32,
    end: Instant,
    cluster: &str,
) -> Result<(), Box<dyn Error>> {
    let per_second = per_second.clamp(1, MAX_PER_SECOND);
    if kind == "handshake" {
        return handshakes(addr, cluster, sources.parse::<usize>()?.min(MAX_SOURCES), end).await;
    }
    let packets = packets(kind, cluster).await?;
    let (sockets, sent) = (sockets(sources)?, Instant::now());
    let (mut count, mut refused) = (0_u32, 0_u32);
    while Instant::now() < end {
        let due = sent.elapsed().as_secs_f64() * f64::from(per_second);
        while f64::from(count) < due {
            let (n, m) = (count as usize % packets.len(), count as usize % sockets.len());
            refused += u32::from(sockets[m].send_to(&packets[n], addr).is_err());
            count += 1;
        }
        thread::sleep(Duration::from_millis(1));
    }
    eprintln!(
        "sent {count} in {:.1} s; the system refused {refused}",
        sent.elapsed().as_secs_f64()
    );
    Ok(())
}

/// A transport that is not let in.
fn outsider(cluster: &str) -> Result<Transport, Box<dyn Error>> {
    let keys = ClusterKey::generate().into();
    let credentials = Credentials::ClusterKey { cluster: cluster.parse()?, keys };
    let config = TransportConfig::new("127.0.0.1:0".parse()?);
    Ok(Transport::bind(Arc::new(Identity::generate()), credentials, config)?.0)
}

async fn handshakes(
    addr: SocketAddr,
    cluster: &str,
    at_once: usize,
    end: Instant,
) -> Result<(), Box<dyn Error>> {
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..at_once {
        let transport = outsider(cluster)?;
        tasks.spawn(async move {
            let mut count = 0_u64;
            while Instant::now() < end {
                let _ = transport.dial(addr).await;
                count += 1;
            }
            count
        });
    }
    eprintln!("dialled {} times", tasks.join_all().await.iter().sum::<u64>());
    Ok(())
}

async fn packets(kind: &str, cluster: &str) -> Result<Vec<Vec<u8>>, Box<dyn Error>> {
    let (mut packets, mut ids, mut dialling) = (Vec::new(), BTreeSet::new(), Vec::new());
    let catcher = tokio::net::UdpSocket::bind("127.0.0.1:0").await?;
    while packets.len() < MAX_PACKETS {
        // Each transport dials one address once at a time. One that ended would send its end in an Initial, too.
        let transport = outsider(cluster)?;
        tokio::spawn(transport.dial(catcher.local_addr()?));
        dialling.push(transport);
        let mut buffer = [0; 2_000];
        let length = loop {
            let (length, _) = catcher.recv_from(&mut buffer).await?;
            // Besides, it asks whether the port is closed, and repeats itself.
            if length >= 1_200 && ids.insert(buffer[6..14].to_vec()) {
                break length;
            }
        };
        let mut packet = buffer[..length].to_vec();
        match kind {
            "initial" => {}
            "version" => packet[1..5].copy_from_slice(&[0x0a; 4]),
            "short" => packet[0] = 0x40 | (packet[0] & 0x3f),
            _ => return Err("KIND is initial, version, short or handshake".into()),
        }
        packets.push(packet);
    }
    Ok(packets)
}

fn sockets(sources: &str) -> Result<Vec<UdpSocket>, Box<dyn Error>> {
    let (of_ports, count) = match sources.strip_prefix('p') {
        Some(count) => (true, count.parse::<u16>()?),
        None => (false, sources.parse::<u16>()?),
    };
    let mut sockets = Vec::new();
    for n in 0..count.clamp(1, MAX_SOURCES as u16) {
        let [high, low] = n.to_be_bytes();
        let ip = if of_ports || count == 1 { [127, 0, 0, 1] } else { [127, 7, high, low] };
        sockets.push(UdpSocket::bind((IpAddr::V4(Ipv4Addr::from(ip)), 0))?);
    }
    Ok(sockets)
}

const MAX_PACKETS: usize = 400;
const MAX_SOURCES: usize = 900;
const MAX_PER_SECOND: u32 = 100_000;
const MAX_SECONDS: u64 = 60;
