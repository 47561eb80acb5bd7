//! Member data: read at once where it is written, soon by all, gone with its owner, and kept for the next run.

use std::{num::NonZeroUsize, time::Duration};

use phin::{
    DataError, DataNotice, DataSubscription, DataUpdate, MemberId, OwnerGone, PutDataError,
    testing::TestCluster,
};

use crate::nodes::{Nodes, within};

async fn next(changes: &mut DataSubscription) -> DataNotice {
    within("a notice", changes.next()).await.expect("the node runs")
}

async fn update(changes: &mut DataSubscription) -> (MemberId, DataUpdate) {
    match next(changes).await {
        DataNotice::Update { owner, update } => (owner, update),
        notice => panic!("a change, not {notice:?}"),
    }
}

fn put(key: &str, value: &str) -> DataUpdate {
    DataUpdate::Put { key: key.into(), value: value.as_bytes().into() }
}

#[tokio::test(start_paused = true)]
async fn what_is_written_is_read_at_once_here_and_soon_by_all() {
    let cluster = TestCluster::start(3).await;
    let [one, two] = [cluster.node(0), cluster.node(1)];
    one.put_data("port", "80").await.unwrap();
    assert_eq!(one.data().get(one.id(), "port").map(|value| &value[..]), Some(&b"80"[..]));
    one.set_load(2_000).await.unwrap();
    let mut changes = two.subscribe_data();
    assert!(
        matches!(next(&mut changes).await, DataNotice::Snapshot(data) if data.iter().count() == 0)
    );
    assert_eq!(update(&mut changes).await, (one.id(), put("load", "1000")));
    assert_eq!(update(&mut changes).await, (one.id(), put("port", "80")));
    assert_eq!(two.data().load(one.id()), Some(1_000));

    assert!(one.delete_data("port").await.unwrap());
    assert!(!one.delete_data("port").await.unwrap(), "it is gone already");
    assert_eq!(update(&mut changes).await.1, DataUpdate::Delete { key: "port".into() });
    one.put_data_for("lease", "mine", Duration::from_secs(3)).await.unwrap();
    assert_eq!(update(&mut changes).await.1, put("lease", "mine"));
    assert_eq!(update(&mut changes).await.1, DataUpdate::Expire { key: "lease".into() });
}

#[tokio::test(start_paused = true)]
async fn what_exceeds_a_limit_is_refused_at_the_call() {
    let cluster = TestCluster::start(1).await;
    let node = cluster.node(0);
    let refused = |result| match result {
        Err(PutDataError::Refused(error)) => error,
        result => panic!("refused, not {result:?}"),
    };
    let error = refused(node.put_data("a b", "").await);
    assert_eq!(error, DataError::KeyCharacter { character: ' ' });
    let error = refused(node.put_data("key", vec![0; 9_000]).await);
    assert_eq!(error, DataError::ValueTooLong { bytes: 9_000 });
    node.shutdown().await;
    assert!(matches!(node.put_data("key", "").await, Err(PutDataError::Stopped(_))));
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_sees_the_keys_and_the_members_it_asked_for() {
    let builder = TestCluster::builder().configure(|number, builder| {
        let mut config = phin::Config::lan();
        config.data_delay = Duration::ZERO;
        builder.name(format!("n{number}")).config(config).tag("rack", number.to_string())
    });
    let cluster = builder.start(3).await;
    let [watcher, web, db] = [0, 1, 2].map(|number| cluster.node(number));
    web.put_data("svc/a", "1").await.unwrap();
    web.put_data("other", "1").await.unwrap();
    let mut all = watcher.subscribe_data();
    while watcher.data().of(web.id()).is_none_or(|data| data.len() < 2) {
        next(&mut all).await;
    }
    let mut changes = watcher.subscribe_data().with_prefix("svc/");
    let mut of_one = watcher.subscribe_data().of_members("rack=1".parse().unwrap());
    let DataNotice::Snapshot(data) = next(&mut changes).await else {
        panic!("a snapshot is first")
    };
    let keys: Vec<_> = data.iter().flat_map(|(_, data)| data.iter()).map(|(key, _)| key).collect();
    assert_eq!(keys, ["svc/a"]);
    db.put_data("other", "2").await.unwrap();
    db.put_data("svc/b", "2").await.unwrap();
    assert_eq!(update(&mut changes).await, (db.id(), put("svc/b", "2")));
    within("leaving", web.leave(crate::nodes::GUARD)).await.unwrap();
    let gone = DataUpdate::OwnerGone(OwnerGone::Left);
    assert_eq!(update(&mut changes).await, (web.id(), gone.clone()));
    let DataNotice::Snapshot(data) = next(&mut of_one).await else { panic!("a snapshot is first") };
    assert_eq!(data.iter().map(|(owner, _)| owner).collect::<Vec<_>>(), [web.id()]);
    assert_eq!(update(&mut of_one).await, (web.id(), gone));

    // Nobody has this tag, so nothing is seen but by those who ask for all.
    let mut none = watcher.subscribe_data().of_members("role=web".parse().unwrap());
    assert!(
        matches!(next(&mut none).await, DataNotice::Snapshot(data) if data.iter().count() == 0)
    );
    db.put_data("svc/b", "3").await.unwrap();
    assert_eq!(update(&mut changes).await, (db.id(), put("svc/b", "3")));
    watcher.shutdown().await;
    assert!(within("the end", none.next()).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_that_falls_behind_learns_how_much_it_missed() {
    let two = NonZeroUsize::new(2).unwrap();
    let builder = TestCluster::builder().configure(move |_, builder| builder.event_buffer(two));
    let cluster = builder.start(1).await;
    let node = cluster.node(0);
    let mut changes = node.subscribe_data();
    for number in 0..9 {
        node.put_data("key", number.to_string()).await.unwrap();
    }
    assert!(matches!(next(&mut changes).await, DataNotice::Snapshot(_)));
    let DataNotice::Missed { events, data } = next(&mut changes).await else {
        panic!("nine changes do not fit a buffer of two")
    };
    assert_eq!((events, data.get(node.id(), "key").map(|v| v[0])), (9, Some(b'8')));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_node_says_its_data_again() {
    let (nodes, directory) = (Nodes::new(), tempfile::tempdir().unwrap());
    let start = || nodes.builder("kept").data_dir(directory.path()).start();
    let node = start().await.unwrap();
    node.put_data("port", "80").await.unwrap();
    node.put_data_for("short", "", Duration::from_millis(1)).await.unwrap();
    node.put_data_for("long", "", Duration::from_secs(3_600)).await.unwrap();
    node.put_data_for("renewed", "", Duration::from_millis(20)).await.unwrap();
    node.put_data_for("renewed", "", Duration::from_secs(3_600)).await.unwrap();
    node.put_data("deleted", "").await.unwrap();
    node.delete_data("deleted").await.unwrap();
    node.shutdown().await;
    let node = start().await.unwrap();
    let data = node.data();
    let keys: Vec<_> = data.of(node.id()).unwrap().iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["long", "port", "renewed"]);
    let other = nodes.builder("other").seeds([node.local_addr()]).start().await.unwrap();
    let mut changes = other.subscribe_data();
    while other.data().get(node.id(), "port").is_none() {
        next(&mut changes).await;
    }
}
