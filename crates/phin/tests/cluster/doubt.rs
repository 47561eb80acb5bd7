//! A node reports its doubts: phi at any moment, crossings of thresholds, and whether lists agree.

use std::time::{Duration, SystemTime};

use phin::{MemberState, SubscribePhiError, testing::TestCluster};

use crate::nodes::{GUARD, all_hold, until, within};

#[tokio::test(start_paused = true)]
async fn lists_that_agree_are_found_to_and_one_that_hears_nobody_is_not() {
    let alone = TestCluster::start(1).await;
    assert!(alone.node(0).is_converged(), "nobody disagrees");
    let cluster = TestCluster::start(5).await;
    for (_, node) in cluster.running() {
        within("agreement", node.converged()).await.unwrap();
    }
    within("leaving", cluster.node(4).leave(GUARD)).await.unwrap();
    until(cluster.node(0), "its departure", |members| members.live_len() == 4).await;
    assert!(!cluster.node(0).is_converged(), "the others may not have heard of it");
    for (_, node) in cluster.running() {
        within("agreement on the departure", node.converged()).await.unwrap();
    }
    cluster.partition([0], 1..4);
    let cut_off = async {
        while cluster.node(0).is_converged() {
            // tidy: allow sleep: nothing tells of the end of agreement
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    within("nobody to agree with", cut_off).await;
    alone.node(0).shutdown().await;
    assert!(alone.node(0).converged().await.is_ok(), "it was");
}

#[tokio::test(start_paused = true)]
async fn crossings_of_a_threshold_are_told_up_and_down() {
    let mut cluster = TestCluster::start(2).await;
    let (watcher, id) = (cluster.node(0).clone(), cluster.node(1).id());
    assert!(watcher.phi(id).await.unwrap().is_some_and(f64::is_finite));
    assert!(watcher.phis().await.unwrap().contains_key(&id));
    assert_eq!(watcher.phi(watcher.id()).await.unwrap(), None);

    // That it is dead is above every threshold.
    let mut low = watcher.subscribe_phi(id, 1.5).await.unwrap();
    let mut high = watcher.subscribe_phi(id, 1e9).await.unwrap();
    let began = wall(&cluster);
    cluster.kill(1);
    all_hold(std::slice::from_ref(&watcher), id, MemberState::Dead).await;
    let up = within("a crossing", low.next()).await.unwrap();
    assert!(up.is_above && up.phi >= 1.5);
    let verdict = within("the verdict", high.next()).await.unwrap();
    assert!(verdict.is_above && verdict.phi.is_infinite());
    assert!((began..verdict.at).contains(&up.at) && verdict.at <= wall(&cluster));
    assert_eq!(watcher.phi(id).await.unwrap(), Some(f64::INFINITY));
    assert!(!watcher.phis().await.unwrap().contains_key(&id), "only the living");

    // A subscription that begins late begins with what holds.
    let mut late = watcher.subscribe_phi(id, 3.0).await.unwrap();
    assert!(within("what holds", late.next()).await.unwrap().is_above);

    cluster.restart(1).await;
    all_hold(std::slice::from_ref(&watcher), id, MemberState::Alive).await;
    let down = within("the return", high.next()).await.unwrap();
    assert!(!down.is_above && down.phi < 1e9);

    watcher.shutdown().await;
    let rest = async { while high.next().await.is_some() {} };
    within("the end", rest).await;
    let error = watcher.subscribe_phi(id, 1.0).await.unwrap_err();
    assert!(matches!(error, SubscribePhiError::Stopped(_)));
}

/// The time now, by the wall clock of the nodes.
fn wall(cluster: &TestCluster) -> SystemTime {
    let node = cluster.node(0);
    node.wall_clock(phin::Moment::START) + cluster.elapsed()
}
