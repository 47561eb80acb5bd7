//! Starting with unusable settings, and stopping.

use std::{error::Error, net::SocketAddr, time::Duration};

use phin::{Cluster, ClusterKey, Config, JoinError, Notice, StartError, Stopped};

use crate::nodes::{GUARD, Nodes, within};

#[tokio::test]
async fn unusable_settings_are_named() {
    let start = |builder: phin::Builder| async { builder.start().await.unwrap_err() };
    let nodes = Nodes::new();
    let error = start(Cluster::builder()).await;
    assert!(matches!(error, StartError::NoCredentials), "{error}");
    let error = start(nodes.builder("two words")).await;
    assert!(matches!(error, StartError::Name(_)), "{error}");
    let error = start(nodes.builder("a").cluster("a/b")).await;
    assert!(matches!(error, StartError::ClusterName(_)), "{error}");
    for seed in ["", "host:", ":1", "host:0", "host:70000"] {
        let error = start(nodes.builder("a").seeds([seed])).await;
        assert!(matches!(&error, StartError::Seed { seed: named } if named == seed), "{error}");
    }
    let mut config = Config::lan();
    config.rings = 0;
    let error = start(nodes.builder("a").config(config)).await;
    assert!(matches!(error, StartError::Config(_)) && error.source().is_some(), "{error}");
    for change in [
        |config: &mut Config| config.period = Duration::MAX,
        |config: &mut Config| config.prior_round_trip = Duration::MAX,
    ] {
        let mut config = Config::lan();
        change(&mut config);
        let error = start(nodes.builder("a").config(config)).await;
        assert!(matches!(error, StartError::Config(_)), "{error}");
    }
    let short = nodes.builder("a").retention(Duration::from_secs(1));
    let cause = start(short).await.source().expect("it has a cause").to_string();
    assert_eq!(cause, "retention is 1s; allowed is at least 2s", "it is called as it was set");
    let wildcard: SocketAddr = "0.0.0.0:1".parse().unwrap();
    let error = start(nodes.builder("a").advertise(wildcard)).await;
    assert!(matches!(error, StartError::Advertise { .. }), "{error}");
    let error = start(Cluster::builder().certificates("no CA", "no certificate", "no key")).await;
    assert!(matches!(error, StartError::Identity(_)), "{error}");
}

#[tokio::test]
async fn the_longest_periods_can_be_used() {
    let mut config = Config::lan();
    config.period = Duration::from_secs(600);
    config.pause_tolerance = config.period / 10;
    config.hang_tolerance = config.pause_tolerance;
    config.max_period = Some(config.period * 64);
    let node = Nodes::new().builder("a").config(config).start().await.unwrap();
    node.shutdown().await;
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let bind = taken.local_addr().unwrap();
    let error = Nodes::new().builder("a").bind(bind).start().await.unwrap_err();
    assert!(matches!(&error, StartError::Bind { addr, .. } if *addr == bind));
    let cause = error.source().expect("it has a cause").to_string();
    assert_eq!(cause, format!("{bind} is in use by another process"));
}

#[tokio::test]
async fn a_node_without_a_name_is_called_by_its_id() {
    let node = Cluster::builder().key(ClusterKey::generate()).start().await.unwrap();
    assert_eq!(node.name(), format!("node-{}", &node.id().to_string()[..8]));
    assert_eq!(node.members().me().name(), node.name());
    assert!(node.is_joined(), "no seeds, nobody to let it in");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_shutdown_all_is_released() {
    let nodes = Nodes::new();
    let dir = tempfile::tempdir().unwrap();
    let other = nodes.builder("other").start().await.unwrap();
    let node = nodes.builder("node").data_dir(dir.path()).start().await.unwrap();
    within("joining", node.join(other.local_addr())).await.unwrap();
    let mut changes = node.subscribe();
    let handle = node.clone();
    within("both shutdowns", async { tokio::join!(node.shutdown(), handle.shutdown()) }).await;

    assert_eq!(node.members().live_len(), 2, "the last list remains");
    let last = node.wait_until(|members| members.live_len() == 2).await.unwrap();
    assert_eq!(last.version(), node.members().version());
    assert_eq!(within("an error", node.wait_until(|_| false)).await.unwrap_err(), Stopped);
    assert_eq!(node.stats().await.unwrap_err(), Stopped);
    assert_eq!(node.links().await.unwrap_err(), Stopped);
    let seed = other.local_addr().to_string();
    assert!(matches!(node.join(&seed).await, Err(JoinError::Stopped(_))));
    assert!(matches!(changes.next().await, Some(Notice::Snapshot(_))));
    assert!(within("the end of the changes", changes.next()).await.is_none());
    let mut late = node.subscribe();
    assert!(matches!(late.next().await, Some(Notice::Snapshot(_))));
    assert!(late.next().await.is_none());

    // Address and directory are free, although handles remain.
    let builder = nodes.builder("node").bind(node.local_addr()).data_dir(dir.path());
    let again = builder.start().await.unwrap();
    assert_eq!((again.id(), again.local_addr()), (node.id(), node.local_addr()));
}

#[tokio::test]
async fn a_node_ends_with_its_last_handle() {
    let nodes = Nodes::new();
    // A seed that never answers: what tries it must not keep the node alive.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let seed = silent.local_addr().unwrap().to_string();
    let node = nodes.builder("node").seeds([seed]).start().await.unwrap();
    let mut changes = node.subscribe();
    let (handle, weak) = (node.clone(), node.downgrade());
    drop(node);
    let upgraded = weak.upgrade().expect("a handle is left");
    within("an answer", handle.stats()).await.unwrap();
    drop(handle);
    within("an answer", upgraded.stats()).await.unwrap();
    drop(upgraded);
    assert!(weak.upgrade().is_none());
    assert!(matches!(changes.next().await, Some(Notice::Snapshot(_))));
    assert!(within("the end", changes.next()).await.is_none());
    assert_eq!(changes.members().live_len(), 1, "the last list remains");
}

#[tokio::test]
async fn leaving_after_a_shutdown_says_so() {
    let node = Nodes::new().builder("node").start().await.unwrap();
    within("the shutdown", node.shutdown()).await;
    within("the second shutdown", node.shutdown()).await;
    assert!(node.leave(GUARD).await.is_err());
    assert!(!node.is_joined() || node.joined().await.is_ok());
}
