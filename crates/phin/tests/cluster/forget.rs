//! Forgetting members that died or left, as asked and by themselves.

use std::time::Duration;

use phin::{Change, Cluster, ForgetError, ForgetRefusal, MemberId, Notice, StartError};

use crate::nodes::{GUARD, Nodes, all_hold, all_know, until, within};

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_left_is_forgotten_everywhere_and_may_return() {
    let nodes = Nodes::new();
    let mut all = nodes.start(4).await;
    let leaver = all.remove(3);
    let id = leaver.id();
    let live = refusal(all[0].forget(id).await);
    assert!(matches!(live, Some(ForgetRefusal::Live { .. })), "{live:?}");
    assert_eq!(refusal(all[0].forget(all[0].id()).await), Some(ForgetRefusal::ThisNode));
    within("leaving", leaver.leave(GUARD)).await.unwrap();
    all_hold(&all, id, phin::MemberState::Left).await;
    let mut changes = all[2].subscribe();
    within("forgetting", all[0].forget(id)).await.unwrap();
    all_forget(&all, id).await;
    assert_eq!(refusal(all[0].forget(id).await), Some(ForgetRefusal::Unknown));
    let told = async {
        loop {
            match changes.next().await.expect("the node runs") {
                Notice::Event { event, .. } if event.change == Change::Forgotten => break event,
                _ => {}
            }
        }
    };
    assert_eq!(within("the change", told).await.member.id(), id);

    let seed = all[1].local_addr().to_string();
    within("joining", leaver.join(&seed)).await.unwrap();
    all.push(leaver);
    all_know(&all, 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_left_is_forgotten_when_its_time_is_over() {
    let nodes = Nodes::new();
    let patient = nodes.builder("patient").start().await.unwrap();
    let seed = patient.local_addr().to_string();
    let retention = Duration::from_secs(2);
    let brief = nodes.builder("brief").retention(retention).seeds([&*seed]).start().await.unwrap();
    let leaver = nodes.builder("leaver").seeds([&*seed]).start().await.unwrap();
    all_know(&[patient.clone(), brief.clone(), leaver.clone()], 3).await;
    within("leaving", leaver.leave(GUARD)).await.unwrap();
    leaver.shutdown().await;
    // The first whose time is over speaks for all.
    all_forget(&[patient, brief], leaver.id()).await;
}

#[tokio::test]
async fn a_retention_too_short_is_refused() {
    let builder = Nodes::new().builder("node").retention(Duration::from_millis(1_999));
    let error = builder.start().await.unwrap_err();
    assert!(matches!(error, StartError::Config(_)), "{error}");
}
