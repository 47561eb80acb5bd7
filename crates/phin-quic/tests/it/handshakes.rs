//! Handshakes: which nodes are admitted, and the reasons that both sides learn.

use std::{
    collections::HashMap,
    net::UdpSocket,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use phin_quic::{
    AssignedIds, BindError, CloseReason, ClusterKey, Credentials, CredentialsError, DialError,
    DisconnectReason, Identity, Peer, Received, Refusal, RefusedBy, SendError, Transport,
    TransportStats, WatchClient, WatchError,
    certificates::{CertificateAuthority, Validity, create_ca},
};

use crate::{
    log,
    support::{
        Node, ca, certified, certified_node, cluster, config, connected, connected_peer, guard,
        with_key,
    },
};

/// The client is refused or refuses, for this reason, and both sides count and log it.
async fn assert_refused(
    mut client: Node,
    server: Node,
    refusal: Refusal,
    by: RefusedBy,
    counter: fn(&TransportStats) -> u64,
) {
    log::take();
    let expected = DialError::Refused { refusal: refusal.clone(), by };
    assert_eq!(guard(client.transport.dial(server.addr())).await, Err(expected.clone()));
    client.until(|stats| counter(stats) == 1).await;
    server.until(|stats| counter(stats) == 1).await;

    let text = log::take();
    let told = |by: &str| {
        text.lines().any(|line| {
            line.contains("WARN")
                && line.contains(&format!("reason={:?}", refusal.to_string()))
                && line.contains(&format!("refused_by={by}"))
        })
    };
    assert!(told("us") && told("peer"), "both sides log it:\n{text}");
    assert!(text.contains(&format!("peer_addr={}", server.addr())), "{text}");
    assert!(text.contains(&format!("peer_addr={}", client.addr())), "{text}");

    client.transport.send_datagram(server.peer(), "hello".into());
    assert_eq!(client.unreachable().await, expected);
    assert_eq!((client.stats().connections, server.stats().connections), (0, 0));
    assert_eq!(client.stats().datagrams_dropped_unreachable, 1);
}

#[tokio::test]
async fn another_key_is_refused() {
    let (client, server) = (Node::new(&cluster()), Node::new(&cluster()));
    let counter = |stats: &TransportStats| stats.refusals.wrong_key;
    assert_refused(client, server, Refusal::WrongKey, RefusedBy::Us, counter).await;
}

#[tokio::test]
async fn another_cluster_name_is_refused() {
    let key = ClusterKey::generate();
    let client = Node::new(&with_key("one", &key));
    let server = Node::new(&with_key("two", &key));
    let counter = |stats: &TransportStats| stats.refusals.other_cluster;
    assert_refused(client, server, Refusal::OtherCluster, RefusedBy::Peer, counter).await;
}

#[tokio::test]
async fn another_ca_is_refused_also_one_of_the_same_name() {
    for (one, two) in [(ca(), ca()), (ca(), create_ca("other", Validity::days(1)).unwrap())] {
        let client = certified_node(&one, Validity::days(1));
        let server = certified_node(&two, Validity::days(1));
        let counter = |stats: &TransportStats| stats.refusals.wrong_key;
        assert_refused(client, server, Refusal::WrongKey, RefusedBy::Us, counter).await;
    }
}

#[tokio::test]
async fn a_stranger_to_the_server_alone_learns_that_it_was_refused() {
    // The client trusts both CAs, so in its eyes the handshake is complete.
    let (one, two) = (ca(), ca());
    let identity = Identity::generate();
    let mut credentials = certified(&two, &identity, Validity::days(1));
    let Credentials::Certificates { ca_pem, .. } = &mut credentials else { unreachable!() };
    ca_pem.push_str(&one.certificate_pem);
    let client = Node::of(identity, &credentials, |_| {});
    let server = certified_node(&one, Validity::days(1));
    let counter = |stats: &TransportStats| stats.refusals.wrong_key;
    assert_refused(client, server, Refusal::WrongKey, RefusedBy::Peer, counter).await;
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    let counter = |stats: &TransportStats| stats.refusals.certificate_expired;
    for (client, server, by) in with_one_bad(&ca(), expired()) {
        assert_refused(client, server, Refusal::CertificateExpired, by, counter).await;
    }
}

#[tokio::test]
async fn a_certificate_of_the_future_is_refused() {
    let counter = |stats: &TransportStats| stats.refusals.certificate_not_yet_valid;
    for (client, server, by) in with_one_bad(&ca(), future()) {
        assert_refused(client, server, Refusal::CertificateNotYetValid, by, counter).await;
    }
}

#[tokio::test]
async fn an_expired_ca_is_refused() {
    let ca = create_ca("old", expired()).unwrap();
    let client = certified_node(&ca, Validity::days(1));
    let server = certified_node(&ca, Validity::days(1));
    let counter = |stats: &TransportStats| stats.refusals.certificate_expired;
    assert_refused(client, server, Refusal::CertificateExpired, RefusedBy::Us, counter).await;
}

#[tokio::test]
async fn certificates_of_one_ca_connect() {
    let ca = ca();
    let one = certified_node(&ca, Validity::days(1));
    let mut two = certified_node(&ca, Validity::days(1));
    one.transport.send_datagram(two.peer(), "hello".into());
    assert_eq!(two.message().await, b"hello");
}

#[tokio::test]
async fn a_ca_can_be_replaced_while_both_are_trusted() {
    let (old, new) = (ca(), ca());
    let bundle = CertificateAuthority::new(
        old.certificate_pem.clone() + &new.certificate_pem,
        old.key_pem.clone(),
    );
    let both = |own: &CertificateAuthority| {
        let identity = Identity::generate();
        let mut credentials = certified(own, &identity, Validity::days(1));
        let Credentials::Certificates { ca_pem, .. } = &mut credentials else { unreachable!() };
        ca_pem.clone_from(&bundle.certificate_pem);
        Node::of(identity, &credentials, |_| {})
    };
    let (one, mut two) = (both(&old), both(&new));
    one.transport.send_datagram(two.peer(), "hello".into());
    assert_eq!(two.message().await, b"hello");
}

#[tokio::test]
async fn a_key_can_be_replaced_while_both_are_admitted() {
    let [old, new] = [(); 2].map(|()| ClusterKey::generate().to_text());
    let node = |keys: &[&str]| {
        let keys = keys.join("\n").parse().unwrap();
        Node::new(&Credentials::ClusterKey { cluster: "test".parse().unwrap(), keys })
    };
    // The stages of a change, each beside the next.
    let stages = [&[&*old][..], &[&old, &new], &[&new, &old], &[&new]];
    for pair in stages.windows(2) {
        for (from, to) in [(pair[0], pair[1]), (pair[1], pair[0])] {
            let (one, mut two) = (node(from), node(to));
            one.transport.send_datagram(two.peer(), "hello".into());
            assert_eq!(two.message().await, b"hello");
        }
    }
    let counter = |stats: &TransportStats| stats.refusals.wrong_key;
    let (client, server) = (node(&[&new]), node(&[&old]));
    assert_refused(client, server, Refusal::WrongKey, RefusedBy::Us, counter).await;
}

#[tokio::test]
async fn credentials_that_cannot_work_are_refused_at_once() {
    let ca = ca();
    let (one, two) = (Identity::generate(), Identity::generate());
    let of_one = certified(&ca, &one, Validity::days(1));
    let bind = |identity: &Identity, credentials: &Credentials| {
        let identity = Identity::from_pem(&identity.to_pem()).unwrap();
        Transport::bind(Arc::new(identity), credentials.clone(), config()).map(|_| ())
    };
    assert!(bind(&one, &of_one).is_ok());
    let other = bind(&two, &of_one).unwrap_err();
    assert!(matches!(other, BindError::Credentials(CredentialsError::OtherKey)), "{other}");

    let ecdsa = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let ecdsa = rcgen::CertificateParams::default().self_signed(&ecdsa).unwrap();
    let with = |ca_pem: &str, cert_chain_pem: &str| Credentials::Certificates {
        cluster: "test".parse().unwrap(),
        ca_pem: ca_pem.to_owned(),
        cert_chain_pem: cert_chain_pem.to_owned(),
        crl_pem: None,
        assigned_ids: AssignedIds::Accept,
    };
    let refused = |credentials: &Credentials| match bind(&one, credentials) {
        Err(BindError::Credentials(error)) => error,
        other => panic!("{other:?}"),
    };
    let algorithm = refused(&with(&ca.certificate_pem, &ecdsa.pem()));
    assert_eq!(algorithm, CredentialsError::NotEd25519);
    assert!(matches!(refused(&with("", &ecdsa.pem())), CredentialsError::Ca(_)));
    let garbled = refused(&with(&ca.certificate_pem, "hello"));
    assert!(matches!(garbled, CredentialsError::Certificate(_)));
    let Credentials::Certificates { cert_chain_pem, .. } = &of_one else { unreachable!() };
    let of_another = refused(&with(&self::ca().certificate_pem, cert_chain_pem));
    assert_eq!(of_another, CredentialsError::OtherCa);
}

#[tokio::test]
async fn a_message_does_not_go_to_another_peer_at_the_address() {
    let credentials = cluster();
    let (mut one, mut two) = (Node::new(&credentials), Node::new(&credentials));
    let gone = Identity::generate().id();
    one.transport.send_datagram(Peer { id: gone, addr: two.addr() }, "for another".into());
    one.transport.send_stream(Peer { id: gone, addr: two.addr() }, "for another".into());
    let wrong = DialError::WrongPeer { expected: gone, found: two.id };
    assert_eq!(one.unreachable().await, wrong);
    let failed = one.send_failed().await;
    assert_eq!(failed, phin_quic::SendError::Unreachable(wrong));
    assert!(one.transport.is_connected(two.id) && !one.transport.is_connected(gone));
    one.transport.send_datagram(two.peer(), "for you".into());
    assert_eq!(two.message().await, b"for you");
}

#[tokio::test]
async fn a_node_does_not_connect_to_itself() {
    let node = Node::new(&cluster());
    assert_eq!(guard(node.transport.dial(node.addr())).await, Err(DialError::OwnIdentity));
    node.transport.send_datagram(node.peer(), "hello".into());
    assert_eq!(node.stats().datagrams_dropped_unreachable, 1);
    assert_eq!(node.stats().connections, 0);
}

#[tokio::test]
async fn an_address_in_use_is_said_to_be() {
    let credentials = cluster();
    let node = Node::new(&credentials);
    let mut config = config();
    config.bind = node.addr();
    let error = Transport::bind(Arc::new(Identity::generate()), credentials, config).unwrap_err();
    assert!(matches!(error, BindError::AddressInUse { addr } if addr == node.addr()), "{error}");
    assert!(error.to_string().contains(&node.addr().to_string()));
}

#[test]
fn outside_of_a_runtime_there_is_an_error_and_no_panic() {
    let identity = Arc::new(Identity::generate());
    let error = Transport::bind(identity, cluster(), config()).unwrap_err();
    assert!(matches!(error, BindError::NoRuntime));
}

#[tokio::test]
async fn a_seed_that_answers_nonsense_times_out() {
    let seed = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = seed.local_addr().unwrap();
    let answering = std::thread::spawn(move || {
        let mut buffer = [0; 2000];
        while let Ok((bytes, from)) = seed.recv_from(&mut buffer) {
            if bytes == 4 {
                return;
            }
            for length in [0, 1, 5, 20, 50, 1199] {
                // Also its own packet, cut.
                let _ = seed.send_to(&buffer[..length], from);
                let _ = seed.send_to(&vec![0xc3; length], from);
            }
        }
    });
    let node =
        Node::with(&cluster(), |config| config.handshake_timeout = Duration::from_millis(400));
    assert_eq!(guard(node.transport.dial(addr)).await, Err(DialError::TimedOut));
    assert_eq!(node.stats().dials_failed, 1);
    UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"stop", addr).unwrap();
    answering.join().unwrap();
}

#[tokio::test]
async fn a_seed_that_echoes_is_recognised() {
    let seed = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = seed.local_addr().unwrap();
    let echoing = std::thread::spawn(move || {
        let mut buffer = [0; 2000];
        while let Ok((bytes, from)) = seed.recv_from(&mut buffer) {
            if bytes == 4 {
                return;
            }
            let _ = seed.send_to(&buffer[..bytes], from);
        }
    });
    // The node ends up in a handshake with itself.
    let node = Node::new(&cluster());
    assert_eq!(guard(node.transport.dial(addr)).await, Err(DialError::OwnIdentity));
    UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"stop", addr).unwrap();
    echoing.join().unwrap();
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_seed_with_nobody_on_the_port_is_said_to_be_so() {
    let node = Node::with(&cluster(), |config| config.handshake_timeout = Duration::from_secs(50));
    // An address of its own, so that no other test can get the port meanwhile.
    let addr = UdpSocket::bind("127.0.0.77:0").unwrap().local_addr().unwrap();
    assert_eq!(guard(node.transport.dial(addr)).await, Err(DialError::PortClosed));
}

#[tokio::test]
async fn an_address_that_cannot_be_is_refused_at_once() {
    let node = Node::new(&cluster());
    // The last is reserved for documentation (RFC 5737), and not reached from loopback.
    for addr in ["127.0.0.1:0", "0.0.0.0:1", "[::1]:1", "198.51.100.1:1"] {
        let result = guard(node.transport.dial(addr.parse().unwrap())).await;
        assert!(matches!(result, Err(DialError::Unreachable { .. })), "{addr}: {result:?}");
    }
    let node = Node::with(&cluster(), |config| config.bind = "[::1]:0".parse().unwrap());
    let result = guard(node.transport.dial("127.0.0.1:1".parse().unwrap())).await;
    assert!(matches!(result, Err(DialError::Unreachable { .. })), "{result:?}");
}

#[tokio::test]
async fn dials_to_one_address_share_the_work_and_survive_cancelling() {
    let credentials = cluster();
    let (one, two) = (Node::new(&credentials), Node::new(&credentials));
    let (first, second) = (one.transport.dial(two.addr()), one.transport.dial(two.addr()));
    drop(first);
    assert_eq!(guard(second).await, Ok(two.id));
    assert_eq!(one.stats().dials, 1);
    assert_eq!(guard(one.transport.dial(two.addr())).await, Ok(two.id));
    assert_eq!(one.stats().dials, 2, "a later dial is a new one");
}

#[tokio::test]
async fn a_full_node_turns_others_away() {
    let credentials = cluster();
    let (one, two) = (Node::new(&credentials), Node::new(&credentials));
    let mut full = Node::with(&credentials, |config| config.max_connections = 1);
    assert_eq!(guard(one.transport.dial(full.addr())).await, Ok(full.id));
    let refused = DialError::Refused { refusal: Refusal::Full, by: RefusedBy::Peer };
    assert_eq!(guard(two.transport.dial(full.addr())).await, Err(refused));
    assert_eq!(full.stats().connections_turned_away, 1);
    full.transport.close_peer(one.id, phin_quic::CloseReason::Unwanted);
    full.disconnected().await;
    // The place is free once the connection's task has ended.
    guard(async { while two.transport.dial(full.addr()).await.is_err() {} }).await;
}

#[tokio::test]
async fn a_node_that_shuts_down_answers_newcomers_no_more() {
    let credentials = cluster();
    let server = Node::new(&credentials);
    guard(server.transport.close()).await;
    let client =
        Node::with(&credentials, |config| config.handshake_timeout = Duration::from_millis(200));
    assert_eq!(guard(client.transport.dial(server.addr())).await, Err(DialError::TimedOut));
    assert_eq!(client.stats().refusals, server.stats().refusals);
    assert_eq!(client.stats().refusals, Default::default());
}

#[tokio::test]
async fn both_sides_are_told_of_the_connection() {
    let (mut one, mut two) = connected().await;
    assert_eq!(one.expect(connected_peer).await, two.peer());
    assert_eq!(two.expect(connected_peer).await, one.peer());
}

/// A bad client with a good server, and the other way round; and who then refuses.
fn with_one_bad(ca: &CertificateAuthority, bad: Validity) -> [(Node, Node, RefusedBy); 2] {
    let good = Validity::days(1);
    [
        (certified_node(ca, bad), certified_node(ca, good), RefusedBy::Peer),
        (certified_node(ca, good), certified_node(ca, bad), RefusedBy::Us),
    ]
}

fn expired() -> Validity {
    let hours = |n: u64| SystemTime::now() - Duration::from_secs(n * 3600);
    Validity { not_before: hours(48), not_after: hours(24) }
}

fn future() -> Validity {
    let hours = |n: u64| SystemTime::now() + Duration::from_secs(n * 3600);
    Validity { not_before: hours(24), not_after: hours(48) }
}

#[tokio::test]
async fn a_client_learns_where_it_is_seen_unless_it_is_bound_there() {
    let credentials = cluster();
    let (mut client, mut server) = (Node::new(&credentials), Node::new(&credentials));
    let (direct, behind) = (Node::new(&credentials), Node::new(&credentials));
    let [front, back] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    let [inside, outside] = [&front, &back].map(|socket| socket.local_addr().unwrap());
    tokio::spawn(translate(front, back, behind.addr()));

    // Nothing is told of the first one, where the address is the same.
    assert_eq!(guard(client.transport.dial(direct.addr())).await, Ok(direct.id));
    assert_eq!(guard(client.transport.dial(inside)).await, Ok(behind.id));
    let observed = client.expect(|received| match received {
        Received::Observed { by, addr } => Some((*by, *addr)),
        _ => None,
    });
    assert_eq!(observed.await, (Peer { id: behind.id, addr: inside }, outside));
    // Nor to the accepting side.
    assert_eq!(guard(client.transport.dial(server.addr())).await, Ok(server.id));
    server.expect(connected_peer).await;
    assert_eq!(server.receiver.try_receive(), None);
}

/// Passes packets on as a NAT does: the server sees all of them come from the back.
async fn translate(front: UdpSocket, back: UdpSocket, server: std::net::SocketAddr) {
    let [front, back] = [front, back].map(|socket| {
        socket.set_nonblocking(true).unwrap();
        tokio::net::UdpSocket::from_std(socket).unwrap()
    });
    let (mut client, mut there, mut here) = (None, [0; 2_048], [0; 2_048]);
    loop {
        tokio::select! {
            Ok((length, from)) = front.recv_from(&mut there) => {
                client = Some(from);
                back.send_to(&there[..length], server).await.unwrap();
            }
            Ok((length, _)) = back.recv_from(&mut here) => {
                let client = client.expect("the client spoke first");
                front.send_to(&here[..length], client).await.unwrap();
            }
        }
    }
}

fn told(received: &Received) -> Option<Bytes> {
    match received {
        Received::Expelled { statement, .. } => Some(statement.clone()),
        _ => None,
    }
}

#[tokio::test]
async fn an_expelled_node_is_cut_off_refused_by_either_side_and_told_why() {
    let credentials = cluster();
    let (one, mut two, mut expelled) =
        (Node::new(&credentials), Node::new(&credentials), Node::new(&credentials));
    assert_eq!(guard(two.transport.dial(one.addr())).await, Ok(one.id));
    assert_eq!(guard(expelled.transport.dial(one.addr())).await, Ok(one.id));
    one.until(|stats| stats.connections == 2).await;
    let statement = Bytes::from(vec![7; 200]);
    let table = HashMap::from([(expelled.id, statement.clone())]);
    assert_eq!(one.transport.set_expelled(table), 1);
    assert_eq!(expelled.expect(told).await, statement);
    let closed = DisconnectReason::Closed(CloseReason::Expelled);
    assert_eq!(expelled.disconnected().await, closed);

    let by = |by| DialError::Refused { refusal: Refusal::Expelled, by };
    let refused = guard(expelled.transport.dial(one.addr())).await.unwrap_err();
    assert_eq!(refused, by(RefusedBy::Peer));
    assert_eq!(expelled.expect(told).await, statement);
    let dialled = guard(one.transport.dial(expelled.addr())).await.unwrap_err();
    assert_eq!(dialled, by(RefusedBy::Us));
    assert_eq!(expelled.expect(told).await, statement);
    one.until(|stats| stats.refusals.expelled == 2).await;
    // Nothing is sent to it, and the others stay.
    one.transport.send_stream(expelled.peer(), "text".into());
    let mut one = one;
    assert_eq!(one.send_failed().await, SendError::Unreachable(by(RefusedBy::Us)));
    one.transport.send_stream(two.peer(), "text".into());
    assert_eq!(two.message().await, b"text");
    assert_eq!(one.stats().connections, 1);

    one.transport.set_expelled(HashMap::new());
    assert_eq!(guard(expelled.transport.dial(one.addr())).await, Ok(one.id));
}

#[tokio::test]
async fn an_expelled_watcher_is_refused() {
    let ca = ca();
    let identity = Identity::generate();
    let credentials = certified(&ca, &identity, Validity::days(1));
    let node = {
        let identity = Identity::generate();
        let credentials = certified(&ca, &identity, Validity::days(1));
        Node::of(identity, &credentials, |config| config.max_watchers = 1)
    };
    let table = HashMap::from([(identity.id(), Bytes::from_static(b"statement"))]);
    node.transport.set_expelled(table);
    let client = WatchClient::bind(&identity, &credentials, "127.0.0.1:0".parse().unwrap());
    let client = client.unwrap();
    let failed = match guard(client.connect(node.addr(), b"request")).await {
        Ok(mut frames) => guard(frames.next()).await.unwrap_err(),
        Err(error) => error,
    };
    let (refusal, by) = (Refusal::Expelled, RefusedBy::Peer);
    assert_eq!(failed, WatchError::Dial(DialError::Refused { refusal, by }));
    node.until(|stats| stats.refusals.expelled == 1).await;
}
