//! Forged messages that a member's port is closed.

use std::{
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
};

use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    cluster::Cluster,
    lan::Family,
    node::{PATIENCE, PORT},
};

#[test]
fn refusals_that_somebody_forges_kill_nobody_who_answers() {
    let Some(cluster) = Cluster::start(Family::V4, 4, &["--profile", "local"]) else { return };
    let forger = Forger::on(&cluster, 4);
    assert!(forger.is_believed_by_the_kernel(&cluster, 1, 2), "the forgery must be a good one");

    let (mark, all, observers) = (cluster.mark(), cluster.all_but(&[]), [1, 3]);
    let missed = |number| cluster.metric(number, "phin_swim_pings_missed_total");
    let before = observers.map(missed);
    // Loss causes suspicions, so that hosts are asked.
    cluster.lan.lose(25);
    while observers.iter().zip(before).any(|(&number, before)| missed(number) < before + 10.0) {
        observers.iter().for_each(|&observer| forger.refuse_all(&cluster, observer, 2));
    }
    cluster.lan.heal();
    cluster.assert_never(&all, "dead", &all, &mark);
    for observer in observers {
        let count = |name: &str| cluster.metric(observer, &format!("phin_transport_{name}_total"));
        assert!(count("ports_refused_doubtful") > 0.0, "the node hears the forgeries");
        assert_eq!(count("ports_refused"), 0.0, "and takes none for a refusal");
    }
    cluster.await_equal_lists(&all);
}

struct Forger(Socket);

impl Forger {
    fn on(cluster: &Cluster, host: usize) -> Self {
        let raw = || Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4));
        Self(cluster.lan.host(host).run(raw).unwrap())
    }

    /// Sends forged refusals of the subject's port to each port that an observer may ask from, and to its own.
    fn refuse_all(&self, cluster: &Cluster, observer: usize, subject: usize) {
        let (from, to) = (v4(cluster.lan.ip(subject)), v4(cluster.lan.ip(observer)));
        // The ephemeral ports of Linux.
        (32_768..=60_999).chain([PORT]).for_each(|port| self.refuse(from, to, port));
    }

    /// Sends an ICMP *port unreachable* (RFC 792) about a datagram from `to` on `port` to `from` on the cluster's
    /// port. The quoted content is a guess.
    fn refuse(&self, from: Ipv4Addr, to: Ipv4Addr, port: u16) {
        let ip = [0x45, 0, 0, 28 + 32, 0, 0, 0x40, 0, 64, 17, 0, 0];
        let [port, closed] = [port, PORT].map(u16::to_be_bytes);
        let udp = [port[0], port[1], closed[0], closed[1], 0, 8 + 32, 0, 0];
        let [head, guess] = [&[3, 3, 0, 0, 0, 0, 0, 0][..], &[0x40; 32]];
        let mut message = [head, &ip, &to.octets(), &from.octets(), &udp, guess];
        let mut packet = message.concat();
        let sum = checksum(&packet).to_be_bytes();
        let head = [3, 3, sum[0], sum[1], 0, 0, 0, 0];
        message[0] = &head;
        packet = message.concat();
        // A packet that does not fit the queue is lost, as on a network.
        let _ = self.0.send_to(&packet, &SocketAddr::from((to, 0)).into());
    }

    fn is_believed_by_the_kernel(&self, cluster: &Cluster, asking: usize, asked: usize) -> bool {
        let (from, to) = (v4(cluster.lan.ip(asked)), v4(cluster.lan.ip(asking)));
        let socket = cluster.lan.host(asking).run(|| {
            let socket = UdpSocket::bind((to, 0)).unwrap();
            socket.connect((from, PORT)).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket
        });
        self.refuse(from, to, socket.local_addr().unwrap().port());
        let refused = socket.recv(&mut [0]).unwrap_err();
        refused.kind() == ErrorKind::ConnectionRefused
    }
}

fn v4(ip: IpAddr) -> Ipv4Addr {
    match ip {
        IpAddr::V4(ip) => ip,
        IpAddr::V6(ip) => panic!("{ip} is not IPv4"),
    }
}

/// The Internet checksum (RFC 1071).
fn checksum(packet: &[u8]) -> u16 {
    let words = packet.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap()
}
