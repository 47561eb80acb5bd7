//! Each node picks the live member with the lowest id as leader: `cargo run -p phin --example
//! leader`.
//!
//! This is an opinion, not an election: while the nodes' lists differ, two may name different
//! leaders.
#![expect(clippy::print_stdout, reason = "an example shows what happens")]

use std::error::Error;

use phin::{Cluster, ClusterKey, Members};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let key = ClusterKey::generate();
    let first = Cluster::builder().name("node-1").key(key.clone()).local().start().await?;
    let seed = first.local_addr();
    let mut nodes = vec![first];
    for number in 2..=3 {
        let builder = Cluster::builder().name(format!("node-{number}")).key(key.clone()).local();
        nodes.push(builder.seeds([seed]).start().await?);
    }
    for node in &nodes {
        let members = node.wait_until(|members| members.live_len() == nodes.len()).await?;
        println!("{} follows {}", node.name(), leader(&members));
    }
    Ok(())
}

fn leader(members: &Members) -> String {
    // One that comes and goes would have everybody follow now it, now another.
    let steady = members.live().filter(|member| members.suppressed_until(member.id()).is_none());
    let lowest = steady.min_by_key(|member| member.id());
    lowest.map_or_else(|| "nobody".to_owned(), |member| member.name().to_owned())
}
