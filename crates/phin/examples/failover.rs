//! A leader dies, a network splits and heals, in a cluster of real nodes in memory: `cargo run -p phin --example failover`.
//!
//! No real time passes, and each run prints the same.
#![expect(clippy::print_stdout, reason = "an example shows what happens")]

use phin::{Change, Cluster, Notice, testing::TestCluster};

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() {
    let mut cluster = TestCluster::start(5).await;
    let told = tokio::spawn(follow(cluster.node(1).clone()));
    cluster.kill(0);
    cluster.converged().await;
    cluster.partition([1, 2], [3, 4]);
    cluster.converged().await;
    cluster.heal();
    cluster.converged().await;
    cluster.restart(0).await;
    cluster.converged().await;
    println!("node-1 was told, within {:?}:", cluster.elapsed());
    drop(cluster);
    println!("{}", told.await.unwrap_or_default());
}

/// The changes that a node reports, each with the leader at that time: the live member with the lowest name.
async fn follow(node: Cluster) -> String {
    let mut told = String::new();
    let mut changes = node.subscribe();
    while let Some(notice) = changes.next().await {
        let Notice::Event { event, .. } = notice else { continue };
        if matches!(event.change, Change::Suspect) {
            continue;
        }
        let leader = node.members().live().map(|member| member.name().to_owned()).min();
        let (name, change) = (event.member.name(), event.change.as_str());
        told += &format!("{name} {change}; the leader is {}\n", leader.unwrap_or_default());
    }
    told
}
