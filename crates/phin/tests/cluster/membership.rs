//! Nodes find each other, and find out who died.

use std::time::Duration;

use phin::{Change, MemberState, Notice, Outcome, Report, Silence, testing::TestCluster};
use tokio::time::{sleep, timeout};

use crate::nodes::{Nodes, all_hold, all_know, within};

#[tokio::test(start_paused = true)]
async fn nodes_that_start_together_find_each_other() {
    let cluster = TestCluster::start(COUNT).await;
    for (_, node) in cluster.running() {
        within("being in", node.joined()).await.unwrap();
        let members = node.members();
        assert_eq!(members.len(), COUNT);
        assert_eq!(members.me().id(), node.id());
        assert_eq!(members.me().addr(), node.advertised());
    }
    let links = within("links", cluster.node(0).links()).await.unwrap();
    assert!(links.len() < COUNT, "a node observes some members, never all");
    let neighbours = cluster.node(0).neighbours(cluster.node(0).id()).await.unwrap();
    let mut subjects: Vec<_> = neighbours.subjects.iter().map(|subject| subject.id).collect();
    let mut linked: Vec<_> = links.iter().map(|link| link.id).collect();
    subjects.sort_unstable();
    linked.sort_unstable();
    assert_eq!(subjects, linked);
    for link in links {
        assert_eq!(link.round_trip.is_some(), link.samples > 0, "{link:?}");
        assert!(link.round_trip <= link.round_trip_p99, "{link:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_killed_node_is_dead_everywhere() {
    let cluster = TestCluster::start(5).await;
    let (survivor, victim) = (cluster.node(0), cluster.node(4));
    let mut changes = survivor.subscribe();
    cluster.kill(4);
    cluster.converged().await;
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
    let neighbours = survivor.neighbours(victim.id()).await.unwrap();
    assert_eq!(neighbours, phin::Neighbours::default(), "the dead are on no ring");
    assert_eq!((event.member.id(), event.member.name()), (victim.id(), "node-4"));
    let report = within("the reason", survivor.why(victim.id())).await.unwrap();
    let report = report.expect("there is one");
    assert!(matches!(report.outcome, Outcome::Dead { .. }), "{report:?}");
    assert!(!survivor.is_isolated());
}

/// The host's answer about a silent member, and the tolerance.
#[tokio::test(start_paused = true)]
async fn a_process_that_ended_one_that_hangs_and_a_host_that_is_off_are_told_apart() {
    type End = fn(&TestCluster, usize);
    let seconds = Duration::from_secs_f64;
    for (end, silence, took) in [
        (TestCluster::kill as End, Silence::Gone, seconds(0.05)..seconds(1.5)),
        (TestCluster::pause, Silence::Hung, seconds(10.0)..seconds(12.0)),
        (TestCluster::power_off, Silence::Silent, seconds(1.0)..seconds(4.0)),
    ] {
        let cluster = TestCluster::start(5).await;
        let began = cluster.elapsed();
        end(&cluster, 4);
        cluster.converged().await;
        let elapsed = cluster.elapsed() - began;
        assert!(took.contains(&elapsed), "{silence:?}: {elapsed:?}");
        let report = cluster.node(0).why(cluster.node(4).id()).await.unwrap();
        let found = report.as_ref().and_then(Report::evidence).map(|evidence| evidence.silence);
        assert_eq!(found, Some(silence));
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_resumes_in_time_was_never_dead() {
    let cluster = TestCluster::start(5).await;
    let (other, paused) = (cluster.node(0).clone(), cluster.node(4).id());
    let mut changes = other.subscribe();
    cluster.pause(4);
    all_hold(std::slice::from_ref(&other), paused, MemberState::Suspect).await;
    cluster.resume(4);
    cluster.converged().await;
    other.shutdown().await;
    while let Some(notice) = changes.next().await {
        let is_death =
            matches!(&notice, Notice::Event { event, .. } if event.change == Change::Dead);
        assert!(!is_death, "{notice:?}");
    }
    let stats = cluster.node(4).stats().await.unwrap().driver;
    assert_eq!(stats.pauses, 1, "it knows that it did not run");
}

/// Messages that arrived during a pause are handled before the timers that came due in it.
#[tokio::test(start_paused = true)]
async fn an_answer_that_arrived_during_a_pause_is_not_missed() {
    let cluster = TestCluster::start(2).await;
    for _ in 0..500 {
        // tidy: allow sleep: pauses begin at many moments of a period, and are spans of time
        sleep(Duration::from_millis(31)).await;
        cluster.pause(1);
        // tidy: allow sleep: as above
        sleep(Duration::from_millis(40)).await;
        cluster.resume(1);
    }
    let missed = async |node| cluster.node(node).stats().await.unwrap().swim.pings_missed;
    assert_eq!(missed(1).await, 0);
    assert!(missed(0).await > 0, "the pauses are long enough for an answer to be late");
}

#[tokio::test(start_paused = true)]
async fn who_is_shut_down_without_leaving_is_dead_to_the_others() {
    let cluster = TestCluster::start(3).await;
    let gone = cluster.node(1);
    within("the shutdown", gone.shutdown()).await;
    cluster.converged().await;
    let others = [cluster.node(0).clone(), cluster.node(2).clone()];
    all_hold(&others, gone.id(), MemberState::Dead).await;
}

/// Without a data directory a node is not known again, and the one before dies.
#[tokio::test(start_paused = true)]
async fn a_restarted_node_is_the_same_member_with_a_later_generation() {
    let mut cluster = TestCluster::start(4).await;
    let id = cluster.node(0).id();
    for run in 2..=4 {
        cluster.restart(0).await;
        cluster.converged().await;
        assert_eq!(cluster.node(0).id(), id);
        for (_, node) in cluster.running() {
            let members = node.members();
            assert_eq!(members.get(id).unwrap().generation().0, run);
            assert_eq!(members.len(), 4, "one member, not two");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn all_nodes_restart_and_find_each_other_by_the_peers_that_they_knew() {
    let alone = |builder: phin::Builder| builder.seeds(["10.9.9.9:7646"]);
    let mut cluster = TestCluster::builder().start(1).await;
    let seed = cluster.node(0).local_addr().to_string();
    for _ in 1..4 {
        let number = cluster.add(alone).await;
        within("joining", cluster.node(number).join(&seed)).await.unwrap();
    }
    cluster.converged().await;
    (0..4).for_each(|number| cluster.kill(number));
    for number in 1..4 {
        cluster.restart(number).await;
    }
    cluster.converged().await;
    let nodes: Vec<_> = cluster.running().map(|(_, node)| node.clone()).collect();
    all_know(&nodes, 3).await;
}

const COUNT: usize = 20;

#[tokio::test(start_paused = true)]
async fn a_node_that_hears_nobody_is_isolated_until_it_does() {
    let builder = TestCluster::builder().configure(|_, builder| {
        // Asked, the host of a stopped process would answer, and hearing anyone is enough not to be isolated.
        let mut config = phin::Config::local();
        config.ask_hosts = false;
        builder.config(config)
    });
    let cluster = builder.start(2).await;
    let node = cluster.node(0).clone();
    within("the state at the start", node.reconnected()).await.unwrap();
    cluster.pause(1);
    within("isolation", node.isolated()).await.unwrap();
    assert!(node.is_isolated());
    cluster.resume(1);
    within("its end", node.reconnected()).await.unwrap();
    assert!(!node.is_isolated());
    node.shutdown().await;
    assert_eq!(within("the error", node.isolated()).await, Err(phin::Stopped));
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
