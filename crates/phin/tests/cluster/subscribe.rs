//! Subscriptions: the list, then every change in order; or how many were missed.

use std::{
    future::poll_fn,
    num::NonZeroUsize,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_core::Stream;
use phin::{Cluster, Notice, Subscription, testing::TestCluster};
use tokio::task::JoinSet;

use crate::nodes::{Nodes, within};

async fn next(changes: &mut Subscription) -> Notice {
    within("a notice", changes.next()).await.expect("the node runs")
}

#[tokio::test(start_paused = true)]
async fn every_change_follows_the_snapshot_once_and_in_order() {
    let mut cluster = TestCluster::start(1).await;
    // Subscriptions begin at every moment of a busy time, and all end with the same list.
    let mut watches = JoinSet::new();
    for _ in 2..=COUNT {
        cluster.add(|builder| builder).await;
        for _ in 0..8 {
            watches.spawn(follow(cluster.node(0).clone()));
            // tidy: allow sleep: the next one is to begin at another moment
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    let checked = within("all watches", watches.join_all()).await;
    assert_eq!(checked.len(), 8 * (COUNT - 1));
}

/// Checks each notice against the one before, until all members are there.
async fn follow(node: Cluster) {
    let mut changes = node.subscribe();
    let Notice::Snapshot(members) = next(&mut changes).await else {
        panic!("the first notice is not a snapshot");
    };
    let (mut version, mut live) = (members.version(), members.live_len());
    while live < COUNT {
        let Notice::Event { event, .. } = next(&mut changes).await else {
            panic!("neither another snapshot nor a gap is due");
        };
        assert_eq!(event.version, version + 1);
        version = event.version;
        live += usize::from(event.change == phin::Change::Joined);
        assert!(changes.members().version() >= version, "the list is published before the change");
    }
}

#[tokio::test(start_paused = true)]
async fn who_does_not_read_is_told_how_much_was_missed() {
    let two = NonZeroUsize::new(2).unwrap();
    let builder = TestCluster::builder().configure(move |_, builder| builder.event_buffer(two));
    let mut cluster = builder.start(1).await;
    let watcher = cluster.node(0).clone();
    let mut changes = watcher.subscribe();
    for _ in 1..=6 {
        cluster.add(|builder| builder).await;
    }
    cluster.converged().await;

    let Notice::Snapshot(members) = next(&mut changes).await else {
        panic!("the first notice is not a snapshot");
    };
    assert_eq!((members.version(), members.live_len()), (0, 1));
    let Notice::Missed { events, members } = next(&mut changes).await else {
        panic!("six changes do not fit a buffer of two");
    };
    assert_eq!((events, members.version(), members.live_len()), (6, 6, 7));
    let stats = watcher.stats().await.unwrap();
    assert_eq!(stats.driver.events_missed, events, "nobody else watches");

    // From there it goes on without a gap.
    cluster.add(|builder| builder).await;
    let Notice::Event { event, .. } = next(&mut changes).await else {
        panic!("the next change fits the buffer");
    };
    assert_eq!(event.version, members.version() + 1);
    // Nobody else was held up.
    cluster.converged().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscriptions_are_streams() {
    let nodes = Nodes::new();
    let node = nodes.builder("node").start().await.unwrap();
    let mut changes = node.subscribe();
    let mut crossings = node.subscribe_phi(node.id(), 1.0).await.unwrap();
    let snapshot = within("the list", next_of(&mut changes)).await;
    assert!(matches!(snapshot, Some(Notice::Snapshot(_))), "{snapshot:?}");
    // A wait that is given up loses nothing.
    assert!(poll_once(changes.next()).is_none());
    let other = nodes.builder("other").seeds([node.local_addr()]).start().await.unwrap();
    within("joining", other.joined()).await.unwrap();
    let joined = within("the change", next_of(&mut changes)).await;
    assert!(matches!(joined, Some(Notice::Event { event, .. }) if event.member.id() == other.id()));
    node.shutdown().await;
    while within("the rest", next_of(&mut changes)).await.is_some() {}
    for _ in 0..2 {
        assert!(within("the end", next_of(&mut changes)).await.is_none(), "it stays the end");
        assert!(within("the end", next_of(&mut crossings)).await.is_none(), "it stays the end");
    }
}

/// The next item, by nothing but what a stream has.
async fn next_of<S: Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    poll_fn(|context| Pin::new(&mut *stream).poll_next(context)).await
}

/// The future's result, if it is ready at once.
fn poll_once<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

const COUNT: usize = 12;
