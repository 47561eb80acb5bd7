//! Subscriptions: the list, then every change in order; or how many were missed.

use std::{num::NonZeroUsize, time::Duration};

use phin::{Cluster, Notice, Subscription, testing::TestCluster};
use tokio::task::JoinSet;

use crate::nodes::within;

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
        assert!(node.members().version() >= version, "the list is there before the change is told");
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

const COUNT: usize = 12;
