//! One connection per pair: how it comes about, and how it ends.

use std::time::Duration;

use phin_quic::{
    CloseReason, DialError, DisconnectReason, Identity, Peer, PeerId, Received, SendError,
};

use crate::support::{
    Node, cluster, connected, connected_peer, connected_with, guard, payload, silent,
};

#[tokio::test]
async fn simultaneous_dials_end_in_one_connection_and_lose_nothing() {
    let rounds: Vec<_> = (0..40).map(|_| tokio::spawn(simultaneous_round())).collect();
    let mut superseded = 0;
    for round in rounds {
        superseded += guard(round).await.unwrap();
    }
    assert!(superseded > 0, "some dials were simultaneous");
}

/// The same with threads, where the order is less regular.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn simultaneous_dials_on_threads() {
    let rounds: Vec<_> = (0..40).map(|_| tokio::spawn(simultaneous_round())).collect();
    for round in rounds {
        guard(round).await.unwrap();
    }
}

async fn simultaneous_round() -> u64 {
    let credentials = cluster();
    let (mut one, mut two) = (Node::new(&credentials), Node::new(&credentials));
    for n in 0..10_u8 {
        one.transport.send_datagram(two.peer(), vec![n].into());
        two.transport.send_datagram(one.peer(), vec![n].into());
        one.transport.send_stream(two.peer(), vec![100 + n; 2000].into());
        two.transport.send_stream(one.peer(), vec![100 + n; 2000].into());
    }
    for node in [&mut one, &mut two] {
        let mut messages = Vec::new();
        while messages.len() < 20 {
            messages.push(node.message().await[0]);
        }
        messages.sort_unstable();
        assert!(messages.into_iter().eq((0..10).chain(100..110)), "each message once");
    }
    let superseded = one.stats().connections_superseded;
    for node in [&one, &two] {
        node.until(|stats| stats.connections == 1 && stats.connections_draining == 0).await;
    }
    // Had the two chosen differently, each would have closed the other's choice by now.
    one.transport.send_datagram(two.peer(), "still".into());
    two.transport.send_datagram(one.peer(), "still".into());
    for node in [&mut one, &mut two] {
        let next = guard(node.receiver.receive()).await;
        assert_eq!(next.as_ref().and_then(payload).as_deref(), Some(&b"still"[..]), "{next:?}");
        assert_eq!(node.stats().dials, 1);
        assert_eq!(node.stats().datagrams_dropped_connection_lost, 0);
    }
    superseded
}

#[tokio::test]
async fn a_second_dial_by_the_same_side_disturbs_nothing() {
    let (mut one, mut two) = connected().await;
    one.take_connected().await;
    two.take_connected().await;
    for n in 0..5_u8 {
        assert_eq!(guard(one.transport.dial(two.addr())).await, Ok(two.id));
        one.transport.send_datagram(two.peer(), vec![n].into());
        let next = guard(two.receiver.receive()).await;
        assert_eq!(next.as_ref().and_then(payload), Some(vec![n]), "{next:?}");
        two.transport.send_datagram(one.peer(), vec![n].into());
        let next = guard(one.receiver.receive()).await;
        assert_eq!(next.as_ref().and_then(payload), Some(vec![n]), "{next:?}");
    }
    for node in [&one, &two] {
        node.until(|stats| stats.connections == 1 && stats.connections_draining == 0).await;
    }
    assert_eq!((one.receiver.try_receive(), two.receiver.try_receive()), (None, None));
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_the_next_message_dials() {
    let (mut one, mut two) =
        connected_with(|config| config.idle_timeout = Duration::from_millis(300)).await;
    assert_eq!(one.disconnected().await, DisconnectReason::Idle);
    assert_eq!(two.disconnected().await, DisconnectReason::Idle);
    assert!(!one.transport.is_connected(two.id) && !two.transport.is_connected(one.id));
    two.transport.send_datagram(one.peer(), "again".into());
    assert_eq!(one.message().await, b"again");
}

#[tokio::test]
async fn the_side_that_waits_longer_learns_that_it_was_for_quiet() {
    let credentials = cluster();
    let one = Node::with(&credentials, |config| config.idle_timeout = Duration::from_secs(3600));
    let mut one = one;
    let mut two =
        Node::with(&credentials, |config| config.idle_timeout = Duration::from_millis(300));
    one.transport.send_datagram(two.peer(), "hello".into());
    assert_eq!(one.disconnected().await, DisconnectReason::Idle);
    assert_eq!(two.disconnected().await, DisconnectReason::Idle);
    one.transport.send_stream(two.peer(), "again".into());
    assert_eq!(two.message().await, b"again");
}

#[tokio::test]
async fn streams_lose_nothing_to_idle_closing() {
    // The peer closes at about the moment when the next stream is sent, again and again.
    let (mut one, mut two) =
        connected_with(|config| config.idle_timeout = Duration::from_millis(20)).await;
    for n in 0..60_u8 {
        one.transport.send_stream(two.peer(), vec![n].into());
        assert_eq!(two.message().await, [n]);
        // tidy: allow sleep: the time between messages is what is tested
        tokio::time::sleep(
            Duration::from_millis(19) + Duration::from_micros(100 * u64::from(n % 20)),
        )
        .await;
    }
    while let Some(received) = one.receiver.try_receive() {
        assert!(!matches!(received, Received::SendFailed { .. }), "{received:?}");
    }
}

#[tokio::test]
async fn closing_a_peer_is_immediate_and_not_for_ever() {
    let (mut one, mut two) = connected().await;
    one.transport.close_peer(two.id, CloseReason::Dead);
    assert!(!one.transport.is_connected(two.id));
    assert_eq!(one.disconnected().await, DisconnectReason::Local);
    assert_eq!(two.disconnected().await, DisconnectReason::Closed(CloseReason::Dead));
    two.transport.send_datagram(one.peer(), "not dead".into());
    assert_eq!(one.message().await, b"not dead");
}

#[tokio::test]
async fn closing_a_peer_ends_its_dial() {
    let (_silent, addr) = silent();
    let peer = Peer { id: PeerId::from_bytes([7; 16]), addr };
    let mut one = Node::new(&cluster());
    one.transport.send_stream(peer, "hello".into());
    one.transport.close_peer(peer.id, CloseReason::Dead);
    assert_eq!(one.send_failed().await, SendError::Unreachable(DialError::GivenUp));
    one.transport.close_peer(peer.id, CloseReason::Dead);
}

#[tokio::test]
async fn closing_the_transport_tells_the_peers_and_ends_the_receiver() {
    let (mut one, mut two) = connected().await;
    one.transport.send_datagram(two.peer(), "last".into());
    assert_eq!(two.message().await, b"last");
    guard(one.transport.close()).await;
    assert_eq!(two.disconnected().await, DisconnectReason::Closed(CloseReason::Shutdown));
    guard(async { while one.receiver.receive().await.is_some() {} }).await;
    one.transport.send_datagram(two.peer(), "too late".into());
    assert!(one.stats().dropped_after_close >= 1);
    assert_eq!(guard(one.transport.dial(two.addr())).await, Err(DialError::GivenUp));
}

#[tokio::test]
async fn dropping_the_transport_tells_the_peers() {
    let (one, mut two) = connected().await;
    drop(one.transport);
    assert_eq!(two.disconnected().await, DisconnectReason::Closed(CloseReason::Shutdown));
    drop(one.receiver);
}

#[test]
fn a_restarted_peer_resets_old_connections() {
    let runtime = || tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (first_life, survivor) = (runtime(), runtime());
    let (credentials, pem) = (cluster(), Identity::generate().to_pem());
    let identity = || Identity::from_pem(&pem).unwrap();
    let old = first_life.block_on(async { Node::of(identity(), &credentials, |_| {}) });
    let peer = old.peer();
    let mut one = survivor.block_on(async { Node::new(&credentials) });
    survivor.block_on(guard(one.transport.dial(peer.addr))).unwrap();
    // The tasks vanish without a word, as in a crash; then the socket.
    drop(first_life);
    drop(old);
    survivor.block_on(async {
        let mut again =
            guard(async { Node::of(identity(), &credentials, |config| config.bind = peer.addr) })
                .await;
        assert_eq!(again.id, peer.id);
        one.transport.send_datagram(peer, vec![1; 100].into());
        assert_eq!(one.disconnected().await, DisconnectReason::Reset);
        one.transport.send_datagram(peer, "hello".into());
        // If a retransmission provoked the reset, the first message was sent anew too.
        while again.message().await != b"hello" {}
    });
}

#[test]
fn a_restarted_peer_is_connected_whoever_dials() {
    let runtime = || tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let survivor = runtime();
    let (credentials, pem) = (cluster(), Identity::generate().to_pem());
    let identity = || Identity::from_pem(&pem).unwrap();
    let mut one = survivor.block_on(async { Node::new(&credentials) });
    for life in 0..16 {
        // Each life ends in a crash; the next one connects within the time of simultaneous dials.
        let runtime = runtime();
        let mut two = runtime.block_on(async { Node::of(identity(), &credentials, |_| {}) });
        runtime.block_on(async {
            if life % 2 == 0 {
                assert_eq!(guard(one.transport.dial(two.addr())).await, Ok(two.id));
                one.transport.send_stream(two.peer(), "there again?".into());
                assert_eq!(two.message().await, b"there again?");
            }
            two.transport.send_stream(one.peer(), "here again".into());
            assert_eq!(one.message().await, b"here again");
            one.transport.send_stream(two.peer(), "welcome".into());
            assert_eq!(two.message().await, b"welcome");
        });
        drop(runtime);
        drop(two);
    }
}

#[tokio::test]
async fn an_unreachable_peer_is_not_dialled_again_at_once() {
    let mut one = Node::with(&cluster(), |config| {
        config.handshake_timeout = Duration::from_millis(100);
        config.min_backoff = Duration::from_secs(3600);
        config.max_backoff = Duration::from_secs(3600);
        config.max_pending_messages = 4;
    });
    let (_silent, addr) = silent();
    let peer = Peer { id: PeerId::from_bytes([7; 16]), addr };
    for _ in 0..100 {
        one.transport.send_datagram(peer, "hello".into());
    }
    assert_eq!(one.stats().datagrams_dropped_pending, 96);
    assert_eq!(one.unreachable().await, DialError::TimedOut);
    assert_eq!(one.stats().datagrams_dropped_unreachable, 4);
    for _ in 0..100 {
        one.transport.send_datagram(peer, "hello".into());
    }
    one.transport.send_stream(peer, "hello".into());
    assert_eq!(one.send_failed().await, SendError::Unreachable(DialError::BackingOff));
    assert_eq!(one.stats().datagrams_dropped_unreachable, 104);
    assert_eq!((one.stats().dials, one.stats().dials_failed), (1, 1));
    // Somewhere else it may be reachable.
    let (_silent, addr) = silent();
    one.transport.send_datagram(Peer { addr, ..peer }, "hello".into());
    one.until(|stats| stats.dials == 2).await;
}

#[tokio::test]
async fn after_backing_off_the_next_message_dials() {
    let mut one = Node::with(&cluster(), |config| {
        config.handshake_timeout = Duration::from_millis(50);
        config.min_backoff = Duration::from_millis(1);
        config.max_backoff = Duration::from_millis(4);
    });
    let (_silent, addr) = silent();
    let peer = Peer { id: PeerId::from_bytes([7; 16]), addr };
    guard(async {
        while one.stats().dials < 4 {
            one.transport.send_datagram(peer, "hello".into());
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(one.unreachable().await, DialError::TimedOut);
}

#[tokio::test]
async fn a_peer_that_connects_ends_backing_off() {
    let credentials = cluster();
    let mut one = Node::with(&credentials, |config| {
        config.handshake_timeout = Duration::from_millis(500);
        config.min_backoff = Duration::from_secs(3600);
        config.max_backoff = Duration::from_secs(3600);
    });
    let mut two = Node::new(&credentials);
    let (_silent, addr) = silent();
    let absent = Peer { id: two.id, addr };
    one.transport.send_datagram(absent, "hello".into());
    assert_eq!(one.unreachable().await, DialError::TimedOut);
    two.transport.send_datagram(one.peer(), "here".into());
    assert_eq!(one.message().await, b"here");
    one.transport.send_datagram(absent, "there you are".into());
    assert_eq!(two.message().await, b"there you are");
}

#[tokio::test]
async fn a_dial_holds_up_nobody_else() {
    let credentials = cluster();
    let mut one = Node::with(&credentials, |config| config.max_dials = 2);
    let mut two = Node::new(&credentials);
    let (_silent, addr) = silent();
    one.transport.send_stream(Peer { id: PeerId::from_bytes([7; 16]), addr }, "hello".into());
    one.transport.send_datagram(two.peer(), "hello".into());
    assert_eq!(two.message().await, b"hello");
    one.until(|stats| stats.connections_dialled == 1).await;
    // The dial to the silent one is still under way; one more may begin, a third may not.
    for n in [8, 9] {
        one.transport.send_stream(Peer { id: PeerId::from_bytes([n; 16]), addr }, "hello".into());
    }
    assert_eq!(one.send_failed().await, SendError::Unreachable(DialError::TooManyDials));
}

impl Node {
    /// Takes the event that tells of the connection.
    async fn take_connected(&mut self) {
        let first = guard(self.receiver.receive()).await;
        assert!(matches!(first, Some(Received::Connected { .. })), "{first:?}");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_is_sent_to_a_process_that_has_ended_is_refused_and_told() {
    for bind in ["127.0.0.78:0", "[::1]:0", "[::]:0"] {
        let bind: std::net::SocketAddr = bind.parse().unwrap();
        let credentials = cluster();
        // Both sides are bound alike, so that a wildcard has IPv4 go through a socket of IPv6.
        let mut node = Node::with(&credentials, |config| config.bind = bind);
        let (peer, ended) = Ending::start(&credentials, bind);
        node.transport.send_datagram(peer, "first".into());
        assert_eq!(node.expect(connected_peer).await, peer, "{bind}");
        ended.end();
        assert_eq!(node.stats().ports_refused, 0);
        node.transport.send_datagram(peer, "to nobody".into());
        assert_eq!(node.expect(refused_peer).await, peer, "{bind}");
        assert_eq!(node.stats().ports_refused_doubtful, 0);
        // The connection stays: the refusal may come of a process that is being replaced.
        assert!(node.transport.is_connected(peer.id));
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_refused_dial_is_told_and_other_traffic_is_not_disturbed() {
    let (mut one, mut two) = connected().await;
    // An address of its own, so that no other test can get the port meanwhile.
    let addr = std::net::UdpSocket::bind("127.0.0.79:0").unwrap().local_addr().unwrap();
    let nobody = Peer { id: Identity::generate().id(), addr };
    one.transport.send_datagram(nobody, "hello".into());
    assert_eq!(one.expect(refused_peer).await, nobody);
    // The kernel tells of a refused packet in place of sending the next one, which is then sent again.
    for n in 0..100_u8 {
        one.transport.send_datagram(Peer { id: Identity::generate().id(), addr }, "x".into());
        one.transport.send_datagram(two.peer(), vec![n].into());
    }
    for n in 0..100 {
        assert_eq!(two.message().await, [n]);
    }
}

#[cfg(target_os = "linux")]
fn refused_peer(received: &Received) -> Option<Peer> {
    match received {
        Received::PortRefused { peer } => Some(*peer),
        _ => None,
    }
}

/// A node that ends as a process that is killed does: without a word.
#[cfg(target_os = "linux")]
struct Ending(tokio::runtime::Runtime, Node);

#[cfg(target_os = "linux")]
impl Ending {
    /// The node, where IPv4 reaches it if it may.
    fn start(credentials: &phin_quic::Credentials, bind: std::net::SocketAddr) -> (Peer, Self) {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
        let node = {
            let _guard = runtime.enter();
            Node::with(credentials, |config| config.bind = bind)
        };
        let mut peer = node.peer();
        if peer.addr.ip().is_unspecified() {
            peer.addr.set_ip([127, 0, 0, 1].into());
        }
        (peer, Self(runtime, node))
    }

    fn end(self) {
        let Self(runtime, node) = self;
        // Its tasks first: nothing is left that could say farewell.
        std::thread::spawn(move || drop(runtime)).join().unwrap();
        drop(node);
    }
}
