//! Services announce a role and a port as tags, and a client lists those that take work: `cargo run -p phin --example
//! service`.
#![expect(clippy::print_stdout, reason = "an example shows what happens")]

use std::{error::Error, net::SocketAddr};

use phin::{Cluster, ClusterKey, Filter, MemberState, Members, ServingState};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let key = ClusterKey::generate();
    let node = |name: &str| Cluster::builder().name(name).key(key.clone()).local();
    let client = node("client").start().await?;
    let seed = client.local_addr().to_string();
    let service = |name, port| node(name).seeds([&*seed]).tag("role", "web").tag("port", port);
    let first = service("web-1", "8081").start().await?;
    let _second = service("web-2", "8082").start().await?;

    let web: Filter = "role=web".parse()?;
    until(&client, |members| services(members, &web).len() == 2).await;
    println!("two services: {:?}", services(&client.members(), &web));
    first.set_serving(ServingState::Draining).await?;
    until(&client, |members| services(members, &web).len() == 1).await;
    println!("while the first one drains: {:?}", services(&client.members(), &web));
    Ok(())
}

/// The addresses of the services that take work now.
fn services(members: &Members, filter: &Filter) -> Vec<SocketAddr> {
    let alive = members.matching(filter).filter(|member| member.state() == MemberState::Alive);
    let serving = alive.filter(|member| member.serving() == ServingState::Serving);
    let port = |tag: Option<&str>| tag?.parse().ok();
    serving.filter_map(|m| Some(SocketAddr::new(m.addr().ip(), port(m.tag("port"))?))).collect()
}

/// Waits until the node's list is as wanted.
async fn until(node: &Cluster, is_wanted: impl Fn(&Members) -> bool) {
    let mut changes = node.subscribe();
    while !is_wanted(&node.members()) {
        changes.next().await;
    }
}
