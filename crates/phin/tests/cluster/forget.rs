//! Forgetting members that died or left, as asked and by themselves.

use std::time::Duration;

use phin::{
    Change, Cluster, ForgetError, ForgetRefusal, MemberId, Notice, StartError, testing::TestCluster,
};

use crate::nodes::{GUARD, Nodes, all_hold, until, within};

async fn all_forget(nodes: &[Cluster], id: MemberId) {
    for node in nodes {
        until(node, &format!("{id} forgotten"), |members| members.get(id).is_none()).await;
    }
}

fn refusal(result: Result<(), ForgetError>) -> Option<ForgetRefusal> {
    match result {
        Err(ForgetError::Refused(refusal)) => Some(refusal),
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn who_left_is_forgotten_everywhere_and_may_return() {
    let cluster = TestCluster::start(4).await;
    let (first, leaver) = (cluster.node(0), cluster.node(3));
    let id = leaver.id();
    let live = refusal(first.forget(id).await);
    assert!(matches!(live, Some(ForgetRefusal::Live { .. })), "{live:?}");
    assert_eq!(refusal(first.forget(first.id()).await), Some(ForgetRefusal::ThisNode));
    within("leaving", leaver.leave(GUARD)).await.unwrap();
    cluster.converged().await;
    let others: Vec<_> = cluster.running().map(|(_, node)| node.clone()).collect();
    all_hold(&others, id, phin::MemberState::Left).await;
    let mut changes = cluster.node(2).subscribe();
    within("forgetting", first.forget(id)).await.unwrap();
    all_forget(&others, id).await;
    assert_eq!(refusal(first.forget(id).await), Some(ForgetRefusal::Unknown));
    let told = async {
        loop {
            match changes.next().await.expect("the node runs") {
                Notice::Event { event, .. } if event.change == Change::Forgotten => break event,
                _ => {}
            }
        }
    };
    assert_eq!(within("the change", told).await.member.id(), id);

    let seed = cluster.node(1).local_addr().to_string();
    within("joining", leaver.join(&seed)).await.unwrap();
    cluster.converged().await;
    assert_eq!(first.members().live_len(), 4);
}

#[tokio::test(start_paused = true)]
async fn who_left_is_forgotten_when_its_time_is_over() {
    let hour = Duration::from_secs(3_600);
    let builder = TestCluster::builder().configure(move |number, builder| match number {
        1 => builder.retention(hour),
        _ => builder,
    });
    let cluster = builder.start(3).await;
    let leaver = cluster.node(2);
    let began = cluster.elapsed();
    within("leaving", leaver.leave(GUARD)).await.unwrap();
    leaver.shutdown().await;
    let (patient, brief) = (cluster.node(0).clone(), cluster.node(1).clone());
    // The first whose time is over speaks for all.
    for node in [&brief, &patient] {
        let mut changes = node.subscribe();
        while node.members().get(leaver.id()).is_some() {
            changes.next().await.expect("the node runs");
        }
        let took = cluster.elapsed() - began;
        assert!((hour..hour * 2).contains(&took), "{took:?}");
    }
}

#[tokio::test]
async fn a_retention_too_short_is_refused() {
    let builder = Nodes::new().builder("node").retention(Duration::from_millis(1_999));
    let error = builder.start().await.unwrap_err();
    assert!(matches!(error, StartError::Config(_)), "{error}");
}
