//! Clusters for tests: what they do to nodes, that a run can be repeated, and that sockets behave alike.
#![expect(clippy::unwrap_used, reason = "what helps a test may fail as a test does")]

use std::{fmt::Write as _, time::Duration};

use phin::{
    MemberState, Members, NotConnected, Stopped, WatchError, Watcher, WatcherState,
    testing::{TestCluster, TestClusterBuilder},
};
use tokio::{
    runtime::Builder,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::nodes::{all_hold, within};

/// Does everything that can happen to nodes, and returns all that they are notified of, with times, and their counters.
async fn everything(builder: TestClusterBuilder) -> String {
    let mut cluster = builder.start(5).await;
    let mut watches = JoinSet::new();
    for number in 0..5 {
        let mut changes = cluster.node(number).subscribe();
        watches.spawn(async move {
            let mut log = String::new();
            while let Some(notice) = changes.next().await {
                writeln!(log, "{number}: {notice:?}").unwrap();
            }
            (number, log)
        });
    }
    cluster.kill(4);
    cluster.converged().await;
    cluster.restart(4).await;
    cluster.converged().await;
    cluster.power_off(4);
    cluster.converged().await;
    cluster.partition([0, 1], [2, 3]);
    cluster.converged().await;
    cluster.heal();
    cluster.converged().await;
    cluster.pause(3);
    // tidy: allow sleep: a pause is a span of time
    sleep(Duration::from_secs(3)).await;
    cluster.resume(3);
    cluster.converged().await;
    cluster.restart(4).await;
    cluster.add(|builder| builder.name("late")).await;
    cluster.converged().await;
    cluster.node(3).leave(Duration::from_secs(5)).await.unwrap();
    cluster.node(3).shutdown().await;
    cluster.converged().await;
    let mut log = format!("{:?}\n", cluster.elapsed());
    for (number, node) in cluster.running() {
        writeln!(log, "{number}: {:?}", node.stats().await.unwrap()).unwrap();
    }
    drop(cluster);
    let mut logs = watches.join_all().await;
    logs.sort();
    logs.into_iter().for_each(|(_, text)| log += &text);
    log
}

#[test]
fn a_run_can_be_repeated_with_all_its_times() {
    let run = |seed| {
        let mut runtime = Builder::new_current_thread();
        let runtime = runtime.enable_all().start_paused(true).build().unwrap();
        runtime.block_on(everything(TestCluster::builder().seed(seed)))
    };
    let [one, again, other] = [1, 1, 2].map(run);
    let mut lines = one.lines().zip(again.lines());
    assert_eq!(lines.find(|(one, again)| one != again), None);
    assert_eq!(one.len(), again.len());
    assert_ne!(one, other);
}

/// The same test on either network.
async fn survive(mut cluster: TestCluster) {
    let id = cluster.node(2).id();
    let one = cluster.node(0).clone();
    cluster.kill(2);
    cluster.converged().await;
    all_hold(std::slice::from_ref(&one), id, MemberState::Dead).await;
    assert_eq!(cluster.node(2).stats().await.unwrap_err(), Stopped);
    cluster.restart(2).await;
    cluster.converged().await;
    assert_eq!((one.members().live_len(), cluster.node(2).id()), (3, id));
    assert!(cluster.node(2).members().me().generation().0 >= 2);

    cluster.pause(2);
    all_hold(std::slice::from_ref(&one), id, MemberState::Suspect).await;
    cluster.resume(2);
    cluster.converged().await;

    cluster.partition([0, 1], [2]);
    all_hold(std::slice::from_ref(&one), id, MemberState::Dead).await;
    cluster.heal();
    cluster.converged().await;
    assert_eq!(one.members().live_len(), 3);

    let late = cluster.add(|builder| builder.name("late")).await;
    within("being in", cluster.node(late).joined()).await.unwrap();
    cluster.power_off(2);
    cluster.converged().await;
    cluster.node(late).shutdown().await;
    cluster.converged().await;
    assert_eq!(cluster.running().count(), 2);
    assert_eq!(one.members().live_len(), 2);
}

#[tokio::test(start_paused = true)]
async fn nodes_can_be_killed_restarted_paused_and_cut_off_in_memory() {
    survive(TestCluster::start(3).await).await;
}

#[tokio::test]
async fn nodes_can_be_killed_restarted_paused_and_cut_off_on_sockets() {
    survive(TestCluster::on_sockets(3).await).await;
}

#[tokio::test(start_paused = true)]
async fn nodes_that_reach_each_other_through_others_are_one_cluster() {
    let cluster = TestCluster::start(5).await;
    cluster.partition([0], [1]);
    // tidy: allow sleep: nothing is to happen
    sleep(Duration::from_secs(60)).await;
    cluster.converged().await;
    assert_eq!(cluster.node(0).members().live_len(), 5);
    let unreached = cluster.node(0).unreached().await.unwrap();
    assert!(!unreached.is_empty(), "it knows of the failing link");
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_to_a_paused_node_waits_for_it() {
    let cluster = TestCluster::start(2).await;
    cluster.pause(1);
    let (one, other) = (cluster.node(0).clone(), cluster.node(1).clone());
    let asked = tokio::spawn(async move { other.stats().await });
    all_hold(&[one], cluster.node(1).id(), MemberState::Suspect).await;
    assert!(!asked.is_finished(), "nor does it answer its application");
    cluster.resume(1);
    asked.await.unwrap().unwrap();
    // Doing so again is harmless.
    cluster.resume(1);
    cluster.kill(1);
    cluster.pause(1);
    cluster.resume(1);
    cluster.kill(1);
    cluster.converged().await;
    assert_eq!(cluster.running().count(), 1);
}

#[tokio::test]
#[should_panic(expected = "#[tokio::test(start_paused = true)]")]
async fn a_clock_that_runs_is_refused() {
    TestCluster::start(1).await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "without `start_paused`")]
async fn a_clock_that_is_paused_is_refused_on_sockets() {
    TestCluster::on_sockets(1).await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "there is no node 2: 2 were started, from 0")]
async fn a_node_that_does_not_exist_is_named() {
    TestCluster::start(2).await.kill(2);
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "node 1 is in both groups")]
async fn a_node_on_both_sides_of_a_partition_is_named() {
    TestCluster::start(3).await.partition([0, 1], [1, 2]);
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "node 0 cannot start: the node's name cannot be used: ")]
async fn a_setting_that_cannot_be_used_is_named() {
    TestCluster::builder().configure(|_, builder| builder.name("two words")).start(1).await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "node 0 has a data directory")]
async fn a_data_directory_is_refused() {
    TestCluster::builder().configure(|_, builder| builder.data_dir("data")).start(1).await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "- node-0 knows: node-0 alive, node-1 suspect; it reaches: node-0")]
async fn a_cluster_that_does_not_converge_says_what_is_missing() {
    let mut config = phin::Config::lan();
    config.hang_tolerance = Duration::from_secs(600);
    let builder = TestCluster::builder();
    let cluster =
        builder.configure(move |_, builder| builder.config(config.clone())).start(2).await;
    cluster.pause(1);
    cluster.converged().await;
}

/// Waits until a watcher is connected to a node other than this one, and returns that node's number.
async fn watched_through(cluster: &TestCluster, watcher: &Watcher, but: Option<usize>) -> usize {
    let number = |id| cluster.running().find(|(_, node)| node.id() == id).map(|(number, _)| number);
    let is_other = |state: &WatcherState| match *state {
        WatcherState::Connected { member, .. } => number(member).is_some_and(|it| Some(it) != but),
        _ => false,
    };
    let waited = timeout(Duration::from_secs(30), watcher.wait_for_state(is_other)).await;
    waited.expect("it is connected").unwrap();
    number(watcher.connected_to().unwrap()).unwrap()
}

async fn follow_from_outside(mut cluster: TestCluster) {
    let watcher = cluster.watcher();
    let mut through = watched_through(&cluster, &watcher, None).await;
    assert_eq!(watcher.members().live_len(), 4);
    assert!(cluster.node(through).members().by_name("watcher").next().is_none());
    cluster.node(through).set_tag("role", "db").await.unwrap();
    watcher.wait_until(|members| members.live().any(|m| m.tag("role").is_some())).await.unwrap();
    // The member that it watches through is killed, then stopped, then switched off, and one is shut down.
    type End = fn(&TestCluster, usize);
    let ends: [(End, u64); 3] =
        [(TestCluster::kill, 500), (TestCluster::pause, 1_000), (TestCluster::power_off, 1_000)];
    for (end, most) in ends {
        let began = cluster.elapsed();
        end(&cluster, through);
        let next = watched_through(&cluster, &watcher, Some(through)).await;
        let took = cluster.elapsed() - began;
        assert!(took < Duration::from_millis(most), "{took:?}");
        let id = cluster.node(through).id();
        let is_dead = |members: &Members| {
            members.get(id).is_some_and(|member| member.state() == MemberState::Dead)
        };
        watcher.wait_until(is_dead).await.unwrap();
        cluster.resume(through);
        cluster.restart(through).await;
        cluster.converged().await;
        watcher.wait_until(|members| members.live_len() == 4).await.unwrap();
        through = next;
    }
    cluster.node(through).shutdown().await;
    let next = watched_through(&cluster, &watcher, Some(through)).await;
    through = next;
    // Nobody is left; then two are back. One that met none of its peers would not be ready.
    (0..4).for_each(|number| cluster.kill(number));
    let is_stale = |state: &WatcherState| matches!(state, WatcherState::Stale { .. });
    watcher.wait_for_state(is_stale).await.unwrap();
    cluster.restart(through).await;
    cluster.restart((through + 1) % 4).await;
    watched_through(&cluster, &watcher, None).await;
    watcher.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_watcher_in_memory_goes_on_with_another_node_whatever_happens() {
    follow_from_outside(TestCluster::start(4).await).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_in_memory_serves_as_many_watchers_as_it_may() {
    let cluster = TestCluster::builder().configure(|_, node| node.watchers(2)).start(1).await;
    let watchers = [cluster.watcher(), cluster.watcher(), cluster.watcher()];
    for watcher in &watchers[..2] {
        watcher.connected().await.unwrap();
    }
    let NotConnected::Failed { failures } = watchers[2].connected().await.unwrap_err() else {
        panic!("it was not stopped");
    };
    assert_eq!(failures[0].error, WatchError::Full);
    watchers[0].shutdown().await;
    watched_through(&cluster, &watchers[2], None).await;
    let cluster = TestCluster::builder().configure(|_, node| node.watchers(0)).start(1).await;
    let refused = cluster.watcher().connected().await.unwrap_err();
    assert!(refused.to_string().contains("serves no watchers"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_watcher_in_memory_leaves_a_node_that_is_isolated() {
    let cluster = TestCluster::start(12).await;
    let watcher = cluster.watcher();
    let through = watched_through(&cluster, &watcher, None).await;
    cluster.partition([through], (0..12).filter(|&number| number != through));
    cluster.node(through).isolated().await.unwrap();
    watched_through(&cluster, &watcher, Some(through)).await;
}
