//! What a node tells of its doubts: phi at any moment, crossings of thresholds, and whether lists agree.

use phin::{MemberState, SubscribePhiError};

use crate::nodes::{GUARD, Killable, Nodes, all_hold, all_know, until, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_that_agree_are_found_to_and_one_that_hears_nobody_is_not() {
    let nodes = Nodes::new();
    let alone = nodes.builder("alone").start().await.unwrap();
    assert!(alone.is_converged(), "nobody disagrees");
    let all = nodes.start(5).await;
    for node in &all {
        within("agreement", node.converged()).await.unwrap();
    }
    within("leaving", all[4].leave(GUARD)).await.unwrap();
    until(&all[0], "its departure", |members| members.live_len() == 4).await;
    for node in &all[..4] {
        within("agreement on the departure", node.converged()).await.unwrap();
    }
    alone.shutdown().await;
    assert!(alone.converged().await.is_ok(), "it was");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crossings_of_a_threshold_are_told_up_and_down() {
    let nodes = Nodes::new();
    let dir = tempfile::tempdir().unwrap();
    let watcher = nodes.builder("watcher").start().await.unwrap();
    let seed = watcher.local_addr().to_string();
    let builder = || nodes.builder("node").data_dir(dir.path()).seeds([&*seed]);
    let node = Killable::start(builder()).await;
    let id = node.cluster.id();
    all_know(&[watcher.clone(), node.cluster.clone()], 2).await;
    assert!(watcher.phi(id).await.unwrap().is_some_and(f64::is_finite));
    assert!(watcher.phis().await.unwrap().contains_key(&id));
    assert_eq!(watcher.phi(watcher.id()).await.unwrap(), None);

    // That it is dead is above every threshold.
    let mut low = watcher.subscribe_phi(id, 1.5).await.unwrap();
    let mut high = watcher.subscribe_phi(id, 1e9).await.unwrap();
    let started = std::time::SystemTime::now();
    node.kill().await;
    all_hold(std::slice::from_ref(&watcher), id, MemberState::Dead).await;
    let up = within("a crossing", low.next()).await.unwrap();
    assert!(up.is_above && up.phi >= 1.5);
    let up = within("the verdict", high.next()).await.unwrap();
    assert!(up.is_above && up.phi.is_infinite() && up.at >= started);
    assert_eq!(watcher.phi(id).await.unwrap(), Some(f64::INFINITY));
    assert!(!watcher.phis().await.unwrap().contains_key(&id), "only the living");

    // A subscription that begins late begins with what holds.
    let mut late = watcher.subscribe_phi(id, 3.0).await.unwrap();
    assert!(within("what holds", late.next()).await.unwrap().is_above);

    let node = builder().start().await.unwrap();
    all_hold(std::slice::from_ref(&watcher), id, MemberState::Alive).await;
    let down = within("the return", high.next()).await.unwrap();
    assert!(!down.is_above && down.phi < 1e9);

    node.shutdown().await;
    watcher.shutdown().await;
    let rest = async { while high.next().await.is_some() {} };
    within("the end", rest).await;
    let error = watcher.subscribe_phi(id, 1.0).await.unwrap_err();
    assert!(matches!(error, SubscribePhiError::Stopped(_)));
}
