use std::{net::SocketAddr, num::NonZeroUsize, time::SystemTime};

use phin_quic::{ClusterKey, Credentials, Identity, Transport, TransportConfig, WatchClient};
use phin_swim::{Config, Generation, Instant, Local, Output, Swim, WatchedList};
use tokio::task::yield_now;

use super::*;
use crate::{clock::Wall, feed::Publisher, keys::NodeKeys};

fn addr(number: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], number))
}

/// A node without a driver: its list changes when the test says so.
struct Node {
    swim: Swim,
    publisher: Publisher<Members, Published>,
    transport: Transport,
    counters: Arc<WatchCounters>,
    keys: Arc<NodeKeys>,
    client: WatchClient,
    _isolated: watch::Sender<bool>,
}

impl Node {
    fn start() -> Self {
        let identity = Arc::new(Identity::generate());
        let keys = Arc::new(NodeKeys::new(Arc::clone(&identity)));
        let local = Local::new("n1".try_into().unwrap(), vec![addr(1)], Generation(1));
        let swim = Swim::new(Instant::START, local, Config::lan(), keys.clone(), 1).unwrap();
        let publisher = Publisher::new(swim.members(), NonZeroUsize::new(16).unwrap());
        let credentials = Credentials::ClusterKey {
            cluster: "test".parse().unwrap(),
            keys: ClusterKey::generate().into(),
        };
        let bind = "127.0.0.1:0".parse().unwrap();
        let config = TransportConfig::new(bind);
        let (transport, _receiver) =
            Transport::bind(identity, credentials.clone(), config).unwrap();
        let client = WatchClient::bind(&Identity::generate(), &credentials, bind).unwrap();
        let counters = Arc::<WatchCounters>::default();
        let source = publisher.source();
        let (is_isolated, isolated) = watch::channel(false);
        let readiness = Readiness {
            joined: watch::channel(true).1,
            isolated,
            members: source.watch(),
            unmet: watch::channel(Vec::new()).1,
        };
        let clock = Clock::start(Wall::System);
        let service = WatchService { clock, source, readiness, counters: counters.clone() };
        tokio::spawn(service.run(transport.take_watchers().unwrap()));
        Self { swim, publisher, transport, counters, keys, client, _isolated: is_isolated }
    }

    /// The node announces another address: one change of its list.
    fn change(&mut self, number: u16) {
        self.swim.move_to(Instant::START, vec![addr(number)]);
        let mut changes = Vec::new();
        while let Some(output) = self.swim.poll_output() {
            if let Output::Event(event) = output {
                changes.push(Published { at: SystemTime::now(), event });
            }
        }
        assert_eq!(changes.len(), 1);
        self.publisher.publish_snapshot(self.swim.members());
        self.publisher.publish_changes(changes);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_that_reads_too_slowly_is_sent_a_fresh_list() {
    let mut node = Node::start();
    let request = WatchRequest::members().encode();
    let mut frames = node.client.connect(node.transport.local_addr(), &request).await.unwrap();
    let mut list = WatchedList::new(node.keys.clone(), 10);
    let mut reported = 0;
    let mut read = async |list: &mut WatchedList| {
        list.handle_frame(Instant::START, &frames.next().await.unwrap()).unwrap();
        while list.poll_event().is_some() {
            reported += 1;
        }
    };
    while !list.is_synced() {
        read(&mut list).await;
    }
    // Far more than what waits at both ends of a connection takes, if each is a frame.
    let last = 10_000;
    for number in 2..=last {
        node.change(number);
        yield_now().await;
    }
    let me = node.swim.id();
    while list.members().get(me).is_none_or(|member| member.addr() != addr(last)) {
        read(&mut list).await;
    }
    assert!(node.counters.resyncs.load(Ordering::Relaxed) >= 1);
    assert!(reported < usize::from(last), "{reported} changes");
    assert_eq!(list.members().fingerprint(), node.swim.members().fingerprint());
}
