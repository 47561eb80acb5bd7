//! Floods of first packets (QUIC Initials) from unknown addresses.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use crate::{
    cluster::Cluster,
    lan::Family,
    namespace::Namespace,
    node::{KEY, Node, PATIENCE, PORT},
};

/// Packets with another cluster key, half of them from many addresses and half from one.
#[test]
fn a_flood_of_first_packets_disturbs_nobody() {
    let Some(mut cluster) = Cluster::start(Family::V4, 3, &["--profile", "lan"]) else { return };
    for _ in 0..2 {
        cluster.lan.add_host().unwrap();
    }
    let target = SocketAddr::from((cluster.lan.ip(1), PORT));
    let packets = first_packets(cluster.lan.host(5));
    let sockets = strangers(cluster.lan.host(5));
    let (mark, is_over) = (cluster.mark(), AtomicBool::new(false));
    thread::scope(|scope| {
        let over = Over(&is_over);
        scope.spawn(|| flood(&sockets, &packets, target, &is_over));
        let dropped = || cluster.metric(1, "phin_transport_first_packets_dropped_unproven_total");
        cluster.until("flooded", &[1], |_| dropped() > 1_000.0);

        // A newcomer with the key joins through the flooded node, its only seed.
        let newcomer = cluster.process(4, KEY);
        for member in ["n1", "n2", "n3"] {
            newcomer.event_of(0, "joined", member);
        }
        // Long enough for every member to be probed several times.
        let pings = || cluster.metric(1, "phin_swim_pings_sent_total");
        let (dropped_before, pings_before) = (dropped(), pings());
        cluster.until("flooded on", &[1], |_| {
            for path in ["/livez", "/readyz", "/metrics"] {
                let (status, body) = cluster.get(1, path);
                assert_eq!(status, 200, "{path}: {body}");
            }
            dropped() > dropped_before + 10_000.0 && pings() > pings_before + 10.0
        });
        drop(over);
        for number in [1, 2, 3] {
            for event in ["suspect", "dead"] {
                cluster.assert_never(&[number], event, &[1, 2, 3, 4], &mark);
            }
        }
        let told = newcomer.since(0);
        let is_bad =
            |line: &serde_json::Value| line["event"] == "suspect" || line["event"] == "dead";
        assert!(!told.iter().any(is_bad), "{told:?}");
    });
}

/// Ends the flood on drop, even if the test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The first packets of a node with another key, captured at the ports that it dials.
fn first_packets(host: &Namespace) -> Vec<Vec<u8>> {
    let catchers: Vec<UdpSocket> =
        host.run(|| (0..PACKETS).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect());
    let seeds: Vec<String> =
        catchers.iter().map(|catcher| catcher.local_addr().unwrap().to_string()).collect();
    let key = KEY.replace('0', "1");
    let arguments = ["--join", &seeds.join(",")];
    let _stranger = Node::start(host, [127, 0, 0, 1].into(), "stranger", &key, &arguments);
    let mut ids = BTreeSet::new();
    let packets = catchers.iter().map(|catcher| {
        catcher.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut buffer = [0; 2_000];
        loop {
            // It also asks whether the port is closed.
            let length = catcher.recv(&mut buffer).unwrap();
            if length >= 1_200 && ids.insert(buffer[6..14].to_vec()) {
                return buffer[..length].to_vec();
            }
        }
    });
    packets.collect()
}

/// Sockets of many addresses, one each.
fn strangers(host: &Namespace) -> Vec<UdpSocket> {
    let addrs: Vec<IpAddr> = (1..=ADDRESSES).map(|n| [10, 77, 200, n].into()).collect();
    let batch: String = addrs.iter().map(|addr| format!("addr add {addr}/16 dev eth0\n")).collect();
    host.command("ip", &["-batch", "-"], &batch);
    host.run(|| addrs.iter().map(|addr| UdpSocket::bind((*addr, 0)).unwrap()).collect())
}

fn flood(sockets: &[UdpSocket], packets: &[Vec<u8>], to: SocketAddr, is_over: &AtomicBool) {
    // Every other packet from one address.
    let sockets = sockets.iter().flat_map(|socket| [socket, &sockets[0]]).cycle();
    let mut flood = sockets.zip(packets.iter().cycle());
    while !is_over.load(Ordering::Relaxed) {
        for (socket, packet) in flood.by_ref().take(BURST) {
            // This fails if the system's buffers are full.
            let _ = socket.send_to(packet, to);
        }
        // tidy: allow sleep: the rate of the flood
        thread::sleep(Duration::from_millis(1));
    }
}

const PACKETS: usize = 240;
const ADDRESSES: u8 = 100;
/// Packets per millisecond: about 40,000 per second, if the machine can.
const BURST: usize = 50;
