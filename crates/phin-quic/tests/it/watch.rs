//! Watchers: clients that are no members.

use std::net::SocketAddr;

use phin_quic::{
    ClusterKey, Credentials, DialError, FrameReceiver, FrameSender, Identity, IncomingWatcher,
    NotServed, Refusal, RefusedBy, WatchClient, WatchError, Watchers, certificates::Validity,
};

use crate::support::{Node, ca, certified, certified_node, cluster, guard, pattern, with_key};

struct Served {
    node: Node,
    watchers: Watchers,
}

impl Served {
    fn new(credentials: &Credentials, places: usize) -> Self {
        let node = Node::with(credentials, |config| {
            config.max_watchers = places;
            config.stream_timeout = std::time::Duration::from_millis(300);
        });
        let watchers = node.transport.take_watchers().expect("it serves watchers");
        assert!(node.transport.take_watchers().is_none(), "there is one queue of them");
        Self { node, watchers }
    }

    async fn next(&mut self) -> IncomingWatcher {
        guard(self.watchers.next()).await.expect("the transport is open")
    }

    async fn accept(&mut self) -> FrameSender {
        guard(self.next().await.accept()).await.expect("the watcher is there")
    }
}

fn client(credentials: &Credentials) -> WatchClient {
    client_of(&Identity::generate(), credentials)
}

fn client_of(identity: &Identity, credentials: &Credentials) -> WatchClient {
    WatchClient::bind(identity, credentials, "127.0.0.1:0".parse().unwrap()).unwrap()
}

async fn connect(client: &WatchClient, addr: SocketAddr) -> FrameReceiver {
    guard(client.connect(addr, b"request")).await.unwrap()
}

/// Why a client does not get a stream, however late it learns that.
async fn error(client: &WatchClient, addr: SocketAddr, request: &[u8]) -> WatchError {
    let failed = async {
        match client.connect(addr, request).await {
            Ok(mut frames) => frames.next().await.unwrap_err(),
            Err(error) => error,
        }
    };
    guard(failed).await
}

#[tokio::test]
async fn a_watcher_sends_a_request_and_receives_frames() {
    let credentials = cluster();
    let mut served = Served::new(&credentials, 2);
    let identity = Identity::generate();
    let client = client_of(&identity, &credentials);
    let mut frames = connect(&client, served.node.addr()).await;
    assert_eq!((frames.id(), frames.addr()), (served.node.id, served.node.addr()));
    let watcher = served.next().await;
    assert_eq!((watcher.id(), watcher.request()), (identity.id(), &b"request"[..]));
    let mut sender = watcher.accept().await.unwrap();
    for length in [0, 1, 1_000, 64 * 1024] {
        let frame = pattern(length);
        let (sent, received) = tokio::join!(sender.send(&frame), guard(frames.next()));
        sent.unwrap();
        assert_eq!(received.unwrap(), frame);
    }
    let stats = served.node.stats();
    assert_eq!((stats.watchers, stats.watchers_accepted), (1, 1));
    assert_eq!((stats.connections, stats.connections_accepted), (0, 0), "it is no member");
    drop(frames);
    guard(sender.ended()).await;
    drop(sender);
    served.node.until(|stats| stats.watchers == 0).await;
}

#[tokio::test]
async fn a_certificate_of_the_ca_admits_a_watcher() {
    let ca = ca();
    let node = certified_node(&ca, Validity::days(1));
    let mut watchers = node.transport.take_watchers().unwrap();
    let identity = Identity::generate();
    let client = client_of(&identity, &certified(&ca, &identity, Validity::days(1)));
    let _frames = connect(&client, node.addr()).await;
    assert_eq!(guard(watchers.next()).await.unwrap().id(), identity.id());
}

#[tokio::test]
async fn watchers_and_members_have_places_of_their_own() {
    let credentials = cluster();
    let mut served = Served::new(&credentials, 1);
    let client = client(&credentials);
    let _first = connect(&client, served.node.addr()).await;
    let first = served.accept().await;
    assert_eq!(error(&client, served.node.addr(), b"request").await, WatchError::Full);
    assert_eq!(served.node.stats().watchers_refused, 1);
    let member = Node::new(&credentials);
    assert_eq!(guard(member.transport.dial(served.node.addr())).await, Ok(served.node.id));
    drop(first);
    served.node.until(|stats| stats.watchers == 0).await;
    let _second = connect(&client, served.node.addr()).await;
    served.accept().await;
}

#[tokio::test]
async fn a_watcher_learns_why_it_is_not_served() {
    let key = ClusterKey::generate();
    let credentials = with_key("test", &key);
    let node = Node::with(&credentials, |config| config.max_watchers = 0);
    assert!(node.transport.take_watchers().is_none());
    assert_eq!(error(&client(&credentials), node.addr(), b"x").await, WatchError::NotServed);

    let refused = |refusal, by| WatchError::Dial(DialError::Refused { refusal, by });
    let other = client(&with_key("other", &key));
    let expected = refused(Refusal::OtherCluster, RefusedBy::Peer);
    assert_eq!(error(&other, node.addr(), b"x").await, expected);
    let wrong = client(&with_key("test", &ClusterKey::generate()));
    let expected = refused(Refusal::WrongKey, RefusedBy::Us);
    assert_eq!(error(&wrong, node.addr(), b"x").await, expected);

    let mut served = Served::new(&credentials, 9);
    let client = client(&credentials);
    for (why, expected) in [
        (NotServed::NotReady, WatchError::NotReady),
        (
            NotServed::NotUnderstood,
            WatchError::NotUnderstood { reason: "the node refused what this watcher sent".into() },
        ),
    ] {
        let mut frames = connect(&client, served.node.addr()).await;
        served.next().await.refuse(why);
        assert_eq!(guard(frames.next()).await, Err(expected));
    }
}

#[tokio::test]
async fn a_node_that_is_gone_silent_or_shut_down_is_noticed() {
    let credentials = cluster();
    let client = client(&credentials);
    let closed = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let expected = WatchError::Dial(DialError::PortClosed);
    assert_eq!(error(&client, closed, b"request").await, expected);

    let mut served = Served::new(&credentials, 9);
    let mut frames = connect(&client, served.node.addr()).await;
    let _sender = served.accept().await;
    assert_eq!(guard(frames.next()).await, Err(WatchError::Silent));

    let mut frames = connect(&client, served.node.addr()).await;
    let mut sender = served.accept().await;
    sender.send(b"frame").await.unwrap();
    assert_eq!(guard(frames.next()).await.unwrap(), &b"frame"[..]);
    served.node.transport.close().await;
    assert_eq!(guard(frames.next()).await, Err(WatchError::Closed));
}

#[tokio::test]
async fn a_watcher_that_does_not_read_is_closed() {
    let credentials = cluster();
    let mut served = Served::new(&credentials, 9);
    let client = client(&credentials);
    let mut frames = connect(&client, served.node.addr()).await;
    let mut sender = served.accept().await;
    let frame = pattern(64 * 1024);
    let mut sent = 0;
    while guard(sender.send(&frame)).await.is_ok() {
        sent += 1;
    }
    // The resources of one connection at both ends.
    assert!(sent < 8, "{sent} frames");
    assert_eq!(served.node.stats().watchers_stalled, 1);
    let mut read = 0;
    let end = loop {
        match guard(frames.next()).await {
            Ok(_) => read += 1,
            Err(error) => break error,
        }
    };
    assert!(read <= sent);
    assert_eq!(end, WatchError::Stalled);
}

#[tokio::test]
async fn a_request_that_is_too_long_or_never_comes_takes_no_place() {
    let credentials = cluster();
    let served = Served::new(&credentials, 9);
    let client = client(&credentials);
    let too_long = error(&client, served.node.addr(), &pattern(100_000)).await;
    assert!(matches!(too_long, WatchError::NotUnderstood { .. }), "{too_long}");
    served.node.until(|stats| stats.watchers_misused == 1 && stats.watchers == 0).await;
}

#[tokio::test]
async fn many_watchers_at_once_are_served_or_refused() {
    let credentials = cluster();
    let mut served = Served::new(&credentials, 10);
    let client = std::sync::Arc::new(client(&credentials));
    let (addr, mut tries) = (served.node.addr(), tokio::task::JoinSet::new());
    for _ in 0..100 {
        let client = client.clone();
        tries.spawn(async move {
            let mut frames = client.connect(addr, b"request").await?;
            frames.next().await.map(|_| frames)
        });
    }
    tokio::spawn(async move {
        let mut senders = Vec::new();
        while let Some(watcher) = served.watchers.next().await {
            let mut sender = watcher.accept().await.unwrap();
            sender.send(b"frame").await.unwrap();
            senders.push(sender);
            assert!(senders.len() <= 10);
        }
    });
    let results = guard(tries.join_all()).await;
    assert!(results.iter().filter(|result| result.is_ok()).count() <= 10);
    let is_told = |result: &&Result<FrameReceiver, WatchError>| {
        matches!(result, Ok(_) | Err(WatchError::Full | WatchError::Dial(_) | WatchError::Silent))
    };
    assert_eq!(results.iter().filter(is_told).count(), 100);
}
