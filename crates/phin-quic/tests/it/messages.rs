//! Datagrams and streams between peers.

use std::time::Duration;

use bytes::Bytes;
use phin_quic::{Received, SendError};

use crate::support::{Node, cluster, connected, connected_peer, connected_with, guard, pattern};

#[tokio::test]
async fn datagrams_arrive_in_both_directions() {
    let (mut one, mut two) = connected().await;
    for length in [0, 1, 50, 1000] {
        one.transport.send_datagram(two.peer(), pattern(length).into());
        let (from, payload) = two.expect(datagram).await;
        assert_eq!((from, payload), (one.peer(), pattern(length)));
        two.transport.send_datagram(one.peer(), pattern(length).into());
        let (from, payload) = one.expect(datagram).await;
        assert_eq!((from, payload), (two.peer(), pattern(length)));
    }
    let stats = one.stats();
    assert_eq!((stats.datagrams_sent, stats.datagrams_received), (4, 4));
    assert_eq!((stats.datagram_bytes_sent, stats.datagram_bytes_received), (1051, 1051));
}

#[tokio::test]
async fn streams_arrive_whole() {
    let (one, mut two) = connected().await;
    for length in [0, 1, 1200, 5 * 1024 * 1024] {
        one.transport.send_stream(two.peer(), pattern(length).into());
        let (from, payload) = two.expect(stream).await;
        assert_eq!(from, one.peer());
        assert!(payload == pattern(length), "{length} bytes arrive as they are");
    }
    assert_eq!((one.stats().streams_sent, two.stats().streams_received), (4, 4));
    assert_eq!(one.stats().streams_failed, 0);
}

#[tokio::test]
async fn the_first_message_dials() {
    let credentials = cluster();
    let (one, mut two) = (Node::new(&credentials), Node::new(&credentials));
    one.transport.send_stream(two.peer(), "stream".into());
    one.transport.send_datagram(two.peer(), "datagram".into());
    let mut messages = [two.message().await, two.message().await];
    messages.sort();
    assert_eq!(messages, [&b"datagram"[..], b"stream"]);
    assert_eq!(one.stats().dials, 1);
    assert!(one.transport.is_connected(two.id) && two.transport.is_connected(one.id));
}

#[tokio::test]
async fn connected_comes_before_messages() {
    let credentials = cluster();
    let (one, mut two) = (Node::new(&credentials), Node::new(&credentials));
    one.transport.send_datagram(two.peer(), "datagram".into());
    let first = guard(two.receiver.receive()).await;
    assert_eq!(first, Some(Received::Connected { peer: one.peer() }));
}

#[test]
fn what_came_before_a_close_is_told_before_it() {
    // Tasks of these run only while something is waited for on them.
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (here, there) = (runtime(), runtime());
    let credentials = cluster();
    let one = here.block_on(async { Node::new(&credentials) });
    let mut two = there.block_on(async { Node::new(&credentials) });
    let (addr, peer) = (two.addr(), two.peer());
    std::thread::scope(|scope| {
        scope.spawn(|| there.block_on(two.expect(connected_peer)));
        here.block_on(guard(one.transport.dial(addr))).unwrap();
    });
    // All of this arrives while the other side does not read.
    here.block_on(async {
        let before = one.stats().udp_packets_sent;
        for number in 0..COUNT {
            one.transport.send_datagram(peer, vec![number].into());
        }
        one.until(|stats| stats.udp_packets_sent > before).await;
        guard(one.transport.close()).await;
    });
    let told = there.block_on(guard(async {
        let mut told = Vec::new();
        loop {
            let received = two.receiver.receive().await.expect("the transport is open");
            if let Received::Disconnected { .. } = received {
                break told;
            }
            told.extend(datagram(&received).map(|(_, payload)| payload[0]));
        }
    }));
    assert_eq!(told, (0..COUNT).collect::<Vec<_>>());
    const COUNT: u8 = 20;
}

#[tokio::test]
async fn a_datagram_that_is_too_long_for_one_goes_as_a_stream() {
    let (one, mut two) = connected().await;
    one.transport.send_datagram(two.peer(), pattern(10_000).into());
    let (_, payload) = two.expect(stream).await;
    assert_eq!(payload, pattern(10_000));
    let stats = one.stats();
    assert_eq!((stats.datagrams_sent_as_streams, stats.datagrams_sent), (1, 0));
}

#[tokio::test]
async fn a_stream_longer_than_we_may_send_fails_here() {
    let (mut one, two) = connected_with(|config| config.max_stream_bytes = 1000).await;
    one.transport.send_stream(two.peer(), pattern(1001).into());
    assert_eq!(one.send_failed().await, SendError::TooLarge);
    assert_eq!((one.stats().streams_sent, one.stats().streams_failed), (0, 1));
}

#[tokio::test]
async fn a_stream_longer_than_the_peer_takes_is_stopped_and_nothing_else_is() {
    let credentials = cluster();
    let mut one = Node::new(&credentials);
    let mut two = Node::with(&credentials, |config| config.max_stream_bytes = 1000);
    // Longer than the flow control window, so that it cannot all be on its way already.
    one.transport.send_stream(two.peer(), pattern(1_000_000).into());
    assert_eq!(one.send_failed().await, SendError::Stopped);
    assert_eq!((two.stats().streams_too_long, two.stats().streams_received), (1, 0));
    one.transport.send_stream(two.peer(), pattern(1000).into());
    assert_eq!(two.expect(stream).await.1, pattern(1000));
    assert_eq!((one.stats().dials, two.stats().connections_accepted), (1, 1));
}

#[tokio::test]
async fn bulk_messages_have_limits_of_their_own_and_a_number() {
    let (mut one, mut two) = connected_with(|config| config.max_stream_bytes = 1000).await;
    for (number, bytes) in [(1, 600), (2, 400), (3, 1), (4, 1001)] {
        one.transport.send_bulk(two.peer(), pattern(bytes).into(), number);
    }
    one.transport.send_stream(two.peer(), pattern(999).into());
    let failed = |received: &Received| match received {
        Received::SendFailed { error, bulk, payload_bytes, .. } => {
            Some((*bulk, *payload_bytes, error.clone()))
        }
        _ => None,
    };
    assert_eq!(one.expect(failed).await, (Some(3), 1, SendError::TooMany));
    assert_eq!(one.expect(failed).await, (Some(4), 1001, SendError::TooLarge));
    let mut lengths = Vec::new();
    for _ in 0..3 {
        lengths.push(two.expect(stream).await.1.len());
    }
    lengths.sort_unstable();
    assert_eq!(lengths, [400, 600, 999]);
    // Confirmed messages make room.
    one.until(|stats| stats.streams_failed == 2).await;
}

#[tokio::test]
async fn bulk_messages_wait_for_a_dial_and_say_if_it_fails() {
    let credentials = cluster();
    let mut one = Node::new(&credentials);
    let two = Node::new(&credentials);
    let absent = two.peer();
    two.transport.close().await;
    drop(two);
    one.transport.send_bulk(absent, pattern(10).into(), 9);
    let failed = one.expect(|received| match received {
        Received::SendFailed { error: SendError::Unreachable(_), bulk, .. } => Some(*bulk),
        _ => None,
    });
    assert_eq!(failed.await, Some(9));
}

#[tokio::test]
async fn a_slow_receiver_keeps_the_newest_datagrams() {
    let credentials = cluster();
    let one = Node::new(&credentials);
    let mut two = Node::with(&credentials, |config| config.max_received_datagrams = 4);
    for n in 0..20_u8 {
        one.transport.send_datagram(two.peer(), Bytes::copy_from_slice(&[n]));
        two.until(|stats| stats.datagrams_received == u64::from(n) + 1).await;
    }
    two.until(|stats| stats.datagrams_dropped_receive_queue == 16).await;
    for n in 16..20 {
        assert_eq!(two.message().await, [n]);
    }
    assert_eq!(two.receiver.try_receive(), None);
}

#[tokio::test]
async fn a_slow_receiver_holds_streams_back_and_loses_none() {
    let credentials = cluster();
    let one = Node::new(&credentials);
    let mut two = Node::with(&credentials, |config| {
        config.max_stream_bytes = 1000;
        config.max_received_stream_bytes = 1300;
    });
    for n in 0..20_u8 {
        one.transport.send_stream(two.peer(), vec![n; 1000].into());
    }
    two.until(|stats| stats.streams_received >= 1).await;
    // Later messages overtake the waiting streams, so these had time to be accepted.
    for n in 1..=20 {
        one.transport.send_datagram(two.peer(), "after".into());
        two.until(|stats| stats.datagrams_received == n).await;
    }
    assert!(two.stats().streams_received <= 2, "the budget and one more");
    let mut messages = Vec::new();
    for _ in 0..20 {
        messages.push(two.expect(stream).await.1[0]);
    }
    messages.sort_unstable();
    assert!(messages.into_iter().eq(0..20));
}

#[tokio::test]
async fn streams_held_back_for_too_long_fail() {
    let credentials = cluster();
    let mut one =
        Node::with(&credentials, |config| config.stream_timeout = Duration::from_millis(500));
    let mut two = Node::with(&credentials, |config| {
        config.max_stream_bytes = 1_000_000;
        config.max_received_stream_bytes = 1_000_256;
        config.stream_timeout = Duration::from_millis(1000);
    });
    assert_eq!(guard(one.transport.dial(two.addr())).await, Ok(two.id));
    for _ in 0..3 {
        one.transport.send_stream(two.peer(), pattern(1_000_000).into());
    }
    // Nobody takes what arrives, so at least one of them stays longer than it may.
    assert_eq!(one.send_failed().await, SendError::TimedOut);
    two.until(|stats| stats.streams_broken_off + stats.streams_timed_out >= 1).await;
    while let Some(received) = two.receiver.try_receive() {
        let whole = stream(&received).is_none_or(|(_, payload)| payload == pattern(1_000_000));
        assert!(whole, "never a part of a message");
    }
    one.transport.send_stream(two.peer(), pattern(2).into());
    assert_eq!(two.expect(stream).await.1, pattern(2));
}

#[tokio::test]
async fn ipv4_and_ipv6_meet_on_one_socket() {
    let credentials = cluster();
    let mut one = Node::new(&credentials);
    let mut two = Node::with(&credentials, |config| config.bind = "[::]:0".parse().unwrap());
    let mut two_peer = two.peer();
    two_peer.addr = ([127, 0, 0, 1], two.addr().port()).into();
    one.transport.send_datagram(two_peer, "ping".into());
    let (from, _) = two.expect(datagram).await;
    assert_eq!(from, one.peer(), "an IPv4 address is written as one");
    two.transport.send_datagram(from, "ack".into());
    assert_eq!(one.expect(datagram).await.0, two_peer);
    two.transport.close_peer(one.id, phin_quic::CloseReason::Unwanted);
    one.disconnected().await;
    two.transport.send_datagram(from, "dialled from IPv6".into());
    assert_eq!(one.message().await, b"dialled from IPv6");
}

fn datagram(received: &Received) -> Option<(phin_quic::Peer, Vec<u8>)> {
    match received {
        Received::Datagram { from, payload } => Some((*from, payload.to_vec())),
        _ => None,
    }
}

fn stream(received: &Received) -> Option<(phin_quic::Peer, Vec<u8>)> {
    match received {
        Received::Stream { from, payload } => Some((*from, payload.to_vec())),
        _ => None,
    }
}
