//! Nodes find each other, and find out who died.

use std::time::Duration;

use phin::{Change, MemberState, Notice, Outcome};
use tokio::{task::JoinSet, time::timeout};

use crate::nodes::{Killable, Nodes, all_hold, all_know, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_start_together_find_each_other() {
    let nodes = Nodes::new();
    let first = nodes.builder("node-1").start().await.unwrap();
    let seed = first.local_addr().to_string();
    let mut starts = JoinSet::new();
    for number in 2..=COUNT {
        starts.spawn(nodes.builder(&format!("node-{number}")).seeds([&*seed]).start());
    }
    let mut all = vec![first];
    for started in starts.join_all().await {
        all.push(started.unwrap());
    }
    all_know(&all, COUNT).await;
    for node in &all {
        within("being in", node.joined()).await.unwrap();
        let members = node.members();
        assert_eq!(members.len(), COUNT);
        assert_eq!(members.me().id(), node.id());
        assert_eq!(members.me().addr(), node.advertised());
    }
    let links = within("links", all[0].links()).await.unwrap();
    assert!(links.len() < COUNT, "a node observes some members, never all");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_is_dead_everywhere() {
    let nodes = Nodes::new();
    let survivors = nodes.start(4).await;
    let seed = survivors[1].local_addr().to_string();
    let victim = Killable::start(nodes.builder("victim").seeds([seed])).await;
    all_know(&survivors, 5).await;
    let id = victim.cluster.id();
    let mut changes = survivors[0].subscribe();
    victim.kill().await;
    all_hold(&survivors, id, MemberState::Dead).await;
    all_know(&survivors, 4).await;
    let told = async {
        loop {
            match changes.next().await {
                Some(Notice::Event { event, .. }) if event.change == Change::Dead => return event,
                Some(_) => {}
                None => panic!("the node runs"),
            }
        }
    };
    let event = within("the event", told).await;
    assert_eq!((event.member.id(), event.member.name()), (id, "victim"));
    let report = within("the reason", survivors[0].why(id)).await.unwrap().expect("there is one");
    assert!(matches!(report.outcome, Outcome::Dead { .. }), "{report:?}");
    assert!(!survivors[0].is_isolated());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_shut_down_without_leaving_is_dead_to_the_others() {
    let nodes = Nodes::new();
    let mut all = nodes.start(3).await;
    let gone = all.remove(1);
    let id = gone.id();
    within("the shutdown", gone.shutdown()).await;
    all_hold(&all, id, MemberState::Dead).await;
}

const COUNT: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_hears_nobody_is_isolated_until_it_does() {
    let nodes = Nodes::new();
    // Asked, the host of a stopped process would answer, and hearing anyone is enough not to be isolated.
    let mut config = phin::Config::local();
    config.ask_hosts = false;
    let node = nodes.builder("node").config(config).start().await.unwrap();
    within("the state at the start", node.reconnected()).await.unwrap();
    let other = nodes.builder("other").seeds([node.local_addr()]);
    let other = Killable::start(other).await;
    all_know(std::slice::from_ref(&node), 2).await;
    let pause = other.pause().await;
    within("isolation", node.isolated()).await.unwrap();
    assert!(node.is_isolated());
    drop(pause);
    within("its end", node.reconnected()).await.unwrap();
    assert!(!node.is_isolated());
    node.shutdown().await;
    assert_eq!(within("the error", node.isolated()).await, Err(phin::Stopped));
    other.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_ends_with_the_list_that_was_waited_for() {
    let nodes = Nodes::new();
    let node = nodes.builder("node").start().await.unwrap();
    let waiting = tokio::spawn({
        let node = node.clone();
        // The condition may ask the node: no lock is held meanwhile.
        async move {
            node.wait_until(|members| node.members().len() >= members.len() && members.len() == 3)
                .await
        }
    });
    let mut others = Vec::new();
    for name in ["a", "b"] {
        // Dropped before it is over, a wait takes nothing from another.
        assert!(
            timeout(Duration::ZERO, node.wait_until(|members| members.len() == 3)).await.is_err()
        );
        let other = nodes.builder(name).seeds([node.local_addr()]).start().await.unwrap();
        within("joining", other.joined()).await.unwrap();
        others.push(other);
    }
    let members = within("three members", waiting).await.unwrap().unwrap();
    assert_eq!(members.len(), 3);
}
