//! Nodes, credentials and waiting.

use std::{
    future::Future,
    net::{SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use phin_quic::{
    AssignedIds, ClusterKey, Credentials, Identity, Peer, PeerId, Received, Receiver, Transport,
    TransportConfig, TransportStats,
    certificates::{CertificateAuthority, Validity, create_ca, issue},
};

use crate::log;

/// A transport, its receiver, and who it is.
pub(crate) struct Node {
    pub(crate) transport: Transport,
    pub(crate) receiver: Receiver,
    pub(crate) id: PeerId,
}

impl Node {
    pub(crate) fn new(credentials: &Credentials) -> Self {
        Self::with(credentials, |_| {})
    }

    pub(crate) fn with(
        credentials: &Credentials,
        change: impl FnOnce(&mut TransportConfig),
    ) -> Self {
        Self::of(Identity::generate(), credentials, change)
    }

    pub(crate) fn of(
        identity: Identity,
        credentials: &Credentials,
        change: impl FnOnce(&mut TransportConfig),
    ) -> Self {
        log::listen();
        let mut config = config();
        change(&mut config);
        let id = credentials.peer_id(&identity).unwrap();
        let bound = Transport::bind(Arc::new(identity), credentials.clone(), config);
        let (transport, receiver) = bound.unwrap();
        Self { transport, receiver, id }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.transport.local_addr()
    }

    pub(crate) fn peer(&self) -> Peer {
        Peer { id: self.id, addr: self.addr() }
    }

    pub(crate) fn stats(&self) -> TransportStats {
        self.transport.stats()
    }

    /// The next item that `pick` accepts; those before it are skipped.
    pub(crate) async fn expect<T>(&mut self, pick: impl Fn(&Received) -> Option<T>) -> T {
        guard(async {
            loop {
                let received = self.receiver.receive().await.expect("the transport is open");
                if let Some(picked) = pick(&received) {
                    return picked;
                }
            }
        })
        .await
    }

    /// The next message, however it came.
    pub(crate) async fn message(&mut self) -> Vec<u8> {
        self.expect(payload).await
    }

    pub(crate) async fn disconnected(&mut self) -> phin_quic::DisconnectReason {
        self.expect(|received| match received {
            Received::Disconnected { reason, .. } => Some(reason.clone()),
            _ => None,
        })
        .await
    }

    pub(crate) async fn unreachable(&mut self) -> phin_quic::DialError {
        self.expect(|received| match received {
            Received::Unreachable { error, .. } => Some(error.clone()),
            _ => None,
        })
        .await
    }

    pub(crate) async fn send_failed(&mut self) -> phin_quic::SendError {
        self.expect(|received| match received {
            Received::SendFailed { error, .. } => Some(error.clone()),
            _ => None,
        })
        .await
    }

    /// Waits until the counters are as they should be.
    pub(crate) async fn until(&self, holds: impl Fn(&TransportStats) -> bool) {
        let polled = async {
            while !holds(&self.stats()) {
                // tidy: allow sleep: counters tell nobody when they change
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, polled).await.is_err() {
            panic!("never came: {:#?}", self.stats());
        }
    }
}

pub(crate) fn payload(received: &Received) -> Option<Vec<u8>> {
    match received {
        Received::Datagram { payload, .. } | Received::Stream { payload, .. } => {
            Some(payload.to_vec())
        }
        _ => None,
    }
}

pub(crate) fn connected_peer(received: &Received) -> Option<Peer> {
    match received {
        Received::Connected { peer } => Some(*peer),
        _ => None,
    }
}

pub(crate) fn config() -> TransportConfig {
    TransportConfig::new("127.0.0.1:0".parse().unwrap())
}

/// Fails rather than hangs.
pub(crate) async fn guard<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it happens in time")
}

pub(crate) fn with_key(cluster: &str, key: &ClusterKey) -> Credentials {
    Credentials::ClusterKey { cluster: cluster.parse().unwrap(), keys: key.clone().into() }
}

/// A new cluster.
pub(crate) fn cluster() -> Credentials {
    with_key("test", &ClusterKey::generate())
}

pub(crate) fn ca() -> CertificateAuthority {
    create_ca("test CA", Validity::days(1)).unwrap()
}

/// A certificate from the CA for this identity.
pub(crate) fn certified(
    ca: &CertificateAuthority,
    identity: &Identity,
    validity: Validity,
) -> Credentials {
    Credentials::Certificates {
        cluster: "test".parse().unwrap(),
        ca_pem: ca.certificate_pem.clone(),
        cert_chain_pem: issue(ca, "node", &identity.public_key(), validity).unwrap(),
        crl_pem: None,
        assigned_ids: AssignedIds::Accept,
    }
}

/// A node with a certificate from the CA.
pub(crate) fn certified_node(ca: &CertificateAuthority, validity: Validity) -> Node {
    let identity = Identity::generate();
    let credentials = certified(ca, &identity, validity);
    Node::of(identity, &credentials, |_| {})
}

/// Two nodes of a cluster, with a connection that the first one made.
pub(crate) async fn connected() -> (Node, Node) {
    connected_with(|_| {}).await
}

pub(crate) async fn connected_with(change: impl Fn(&mut TransportConfig)) -> (Node, Node) {
    let credentials = cluster();
    let (one, two) = (Node::with(&credentials, &change), Node::with(&credentials, &change));
    assert_eq!(guard(one.transport.dial(two.addr())).await, Ok(two.id));
    two.until(|stats| stats.connections == 1).await;
    (one, two)
}

/// An address where nobody answers, for as long as the socket is kept.
pub(crate) fn silent() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = socket.local_addr().unwrap();
    (socket, addr)
}

/// Bytes that are not all alike.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|n| u8::try_from(n * 31 % 251).unwrap()).collect()
}

const PATIENCE: Duration = Duration::from_secs(60);
