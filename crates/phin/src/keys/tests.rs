//! Ends real connections in every way, and compares what is reported to the core with what the simulator reports.

use std::{collections::BTreeMap, future::Future, net::SocketAddr, time::Duration};

use phin_quic::{
    ClusterKey, Credentials, Peer, Received, Receiver, RefusedBy, Transport, TransportConfig,
    TransportStats,
};
use tokio::runtime::{Builder, Runtime};

use super::*;

/// A transport that can vanish as a killed process does.
struct Node {
    runtime: Runtime,
    transport: Transport,
    receiver: Receiver,
    peer: Peer,
}

impl Node {
    fn start(pem: &str, key: &ClusterKey, bind: SocketAddr, idle: Duration) -> Self {
        Self::start_in("test", pem, key, bind, idle)
    }

    fn start_in(
        cluster: &str,
        pem: &str,
        key: &ClusterKey,
        bind: SocketAddr,
        idle: Duration,
    ) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let credentials =
            Credentials::ClusterKey { cluster: cluster.parse().unwrap(), keys: key.clone().into() };
        let identity = Identity::from_pem(pem).unwrap();
        let id = identity.id();
        let mut config = TransportConfig::new(bind);
        config.idle_timeout = idle;
        config.handshake_timeout = Duration::from_secs(2);
        let _guard = runtime.enter();
        let (transport, receiver) =
            Transport::bind(Arc::new(identity), credentials, config).unwrap();
        let peer = Peer { id, addr: transport.local_addr() };
        drop(_guard);
        Self { runtime, transport, receiver, peer }
    }

    fn send(&self, to: Peer) {
        self.transport.send_stream(to, vec![1].into());
    }

    fn wait<T>(&self, what: impl Future<Output = T>) -> T {
        self.runtime.block_on(async { tokio::time::timeout(PATIENCE, what).await.unwrap() })
    }

    fn receive(&mut self) -> Received {
        let next = async { tokio::time::timeout(PATIENCE, self.receiver.receive()).await };
        self.runtime.block_on(next).unwrap().unwrap()
    }

    /// Waits for a message.
    fn message(&mut self) {
        while !matches!(self.receive(), Received::Stream { .. }) {}
    }

    /// Waits for the end of a connection, and returns what is reported to the core.
    fn told(&mut self) -> String {
        loop {
            if let Received::Disconnected { reason, .. } = self.receive() {
                return format!("{:?}", disconnection(&reason));
            }
        }
    }

    /// Whether nothing has been said of any connection's end.
    fn told_nothing(&mut self) -> String {
        while let Some(received) = self.receiver.try_receive() {
            assert!(!matches!(received, Received::Disconnected { .. }), "{received:?}");
        }
        "-".to_owned()
    }

    fn until(&self, holds: impl Fn(&TransportStats) -> bool) {
        self.wait(async {
            while !holds(&self.transport.stats()) {
                // tidy: allow sleep: counters tell nobody when they change
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
    }

    /// Ends its tasks first: nothing is left that could say farewell. Its port stays taken.
    fn vanish(self) -> (Transport, Receiver) {
        drop(self.runtime);
        (self.transport, self.receiver)
    }
}

/// Two nodes with a connection that the first has made.
fn connected(idle: Duration) -> (Node, Node, impl Fn(SocketAddr) -> Node) {
    let key = ClusterKey::generate();
    let pems = [Identity::generate().to_pem(), Identity::generate().to_pem()];
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let a = Node::start(&pems[0], &key, any, idle);
    let mut b = Node::start(&pems[1], &key, any, idle);
    a.send(b.peer);
    b.message();
    let b_again = move |addr| Node::start(&pems[1], &key, addr, idle);
    (a, b, b_again)
}

#[test]
fn the_core_is_told_what_the_simulator_tells_it() {
    let long = Duration::from_secs(3_600);
    let mut found: BTreeMap<&str, [String; 2]> = BTreeMap::new();

    let (mut a, mut b, _) = connected(Duration::from_millis(300));
    found.insert("idle", [a.told(), b.told()]);

    for reason in [CloseReason::Dead, CloseReason::Left, CloseReason::Unwanted] {
        let (mut a, mut b, _) = connected(long);
        a.transport.close_peer(b.peer.id, reason);
        let told = [a.told(), b.told()];
        let known = found.entry("closed by a").or_insert(told.clone());
        assert_eq!(*known, told, "{reason:?}");
    }

    let key = ClusterKey::generate();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let [mut a, mut b] =
        [(); 2].map(|()| Node::start(&Identity::generate().to_pem(), &key, any, long));
    a.send(b.peer);
    b.send(a.peer);
    a.message();
    b.message();
    for node in [&a, &b] {
        node.until(|stats| stats.connections == 1 && stats.connections_draining == 0);
    }
    found.insert("dialled by both", [a.told_nothing(), b.told_nothing()]);

    let (a, mut b, _) = connected(long);
    a.wait(a.transport.close());
    // The driver has ended by then, and with it whoever could be told on this side.
    found.insert("a shuts down", ["-".to_owned(), b.told()]);

    let (mut a, b, b_again) = connected(long);
    let addr = b.peer.addr;
    drop(b.vanish());
    let mut b = b_again(addr);
    a.send(b.peer);
    found.insert("b restarts", [a.told(), b.told_nothing()]);

    let (mut a, b, _) = connected(Duration::from_millis(300));
    let addressed = b.peer;
    let _port = b.vanish();
    a.send(addressed);
    found.insert("b is silent", [a.told(), "-".to_owned()]);

    let table = include_str!("../../../phin-swim/tests/closes.txt");
    let rows = table.lines().filter(|line| !line.starts_with('#'));
    let expected: BTreeMap<&str, [String; 2]> = rows
        .map(|row| {
            let (situation, sides) = row.split_at(17);
            let mut sides = sides.split_whitespace().map(str::to_owned);
            (situation.trim(), [sides.next().unwrap(), sides.next().unwrap()])
        })
        .collect();
    assert_eq!(found, expected);
}

/// A process that is not the member answers where the member says that it is.
#[test]
fn another_key_cluster_or_member_at_a_members_address_means_that_it_is_gone() {
    let [ours, theirs] = [(); 2].map(|()| ClusterKey::generate());
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let pem = || Identity::generate().to_pem();
    let hour = Duration::from_secs(3_600);
    for (cluster, key) in [("test", &theirs), ("elsewhere", &ours), ("test", &ours)] {
        let mut a = Node::start(&pem(), &ours, any, hour);
        let other = Node::start_in(cluster, &pem(), key, any, hour);
        a.send(Peer { id: Identity::generate().id(), addr: other.peer.addr });
        let error = loop {
            if let Received::Unreachable { error, .. } = a.receive() {
                break error;
            }
        };
        assert_eq!(unreachable(&error), Unreachable::OtherIdentity, "{cluster}: {error}");
    }
}

/// The member itself refuses, or is refused: it is there.
#[test]
fn a_refusal_for_another_reason_does_not_mean_that_a_member_is_gone() {
    for refusal in [
        Refusal::CertificateExpired,
        Refusal::CertificateNotYetValid,
        Refusal::Full,
        Refusal::NotPhin,
        Refusal::Other(String::new()),
    ] {
        for by in [RefusedBy::Us, RefusedBy::Peer] {
            let error = DialError::Refused { refusal: refusal.clone(), by };
            assert_eq!(unreachable(&error), Unreachable::NotAdmitted, "{error}");
        }
    }
}

/// Fails rather than hangs.
const PATIENCE: Duration = Duration::from_secs(60);
