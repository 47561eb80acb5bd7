//! Starting, watching and killing the nodes of a test.
#![expect(clippy::unwrap_used, reason = "what helps a test may fail as a test does")]

use std::{future::Future, net::SocketAddr, time::Duration};

use phin::{Builder, Cluster, ClusterKey, MemberId, MemberState, Members};
use tokio::{runtime::Runtime, time::timeout};

use crate::log;

/// The nodes of one test: a key of their own, timing for one machine.
pub(crate) struct Nodes {
    pub(crate) key: ClusterKey,
}

impl Nodes {
    pub(crate) fn new() -> Self {
        log::listen();
        Self { key: ClusterKey::generate() }
    }

    pub(crate) fn builder(&self, name: &str) -> Builder {
        Cluster::builder().name(name).key(self.key.clone()).local()
    }

    /// Starts that many nodes, and waits until each knows all.
    pub(crate) async fn start(&self, count: usize) -> Vec<Cluster> {
        let mut nodes = vec![self.builder("node-1").start().await.unwrap()];
        let seed = nodes[0].local_addr();
        for number in 2..=count {
            let builder = self.builder(&format!("node-{number}")).seeds([seed]);
            nodes.push(builder.start().await.unwrap());
        }
        all_know(&nodes, count).await;
        nodes
    }
}

/// A node that can be ended at any point of its work: it has a runtime of its own, which ends.
pub(crate) struct Killable {
    pub(crate) cluster: Cluster,
    runtime: Runtime,
}

impl Killable {
    pub(crate) async fn start(builder: Builder) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let cluster = runtime.spawn(builder.start()).await.unwrap().unwrap();
        Self { cluster, runtime }
    }

    /// Ends the node, and waits until its address and data directory are free.
    pub(crate) async fn kill(self) {
        let Self { cluster, runtime } = self;
        drop(cluster);
        tokio::task::spawn_blocking(move || runtime.shutdown_timeout(GUARD)).await.unwrap();
    }
}

/// Fails where something takes forever.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match timeout(GUARD, future).await {
        Ok(value) => value,
        Err(_) => panic!("not within {GUARD:?}: {what}"),
    }
}

/// Waits until the node's list is as it should be.
pub(crate) async fn until(node: &Cluster, what: &str, condition: impl Fn(&Members) -> bool) {
    let reached = within(&format!("{what} at {}", node.name()), node.wait_until(condition)).await;
    reached.expect("the node runs");
}

pub(crate) async fn all_know(nodes: &[Cluster], live: usize) {
    for node in nodes {
        until(node, &format!("{live} live members"), |members| members.live_len() == live).await;
    }
}

pub(crate) async fn all_hold(nodes: &[Cluster], id: MemberId, state: MemberState) {
    for node in nodes {
        until(node, &format!("member {id} {state}"), |members| {
            state_of(members, id) == Some(state)
        })
        .await;
    }
}

pub(crate) fn state_of(members: &Members, id: MemberId) -> Option<MemberState> {
    members.get(id).map(|member| member.state())
}

/// An address of this machine at which nothing listens, most likely.
pub(crate) fn closed_addr() -> SocketAddr {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap()
}

/// Far longer than anything here takes, also on a busy machine.
pub(crate) const GUARD: Duration = Duration::from_secs(60);
