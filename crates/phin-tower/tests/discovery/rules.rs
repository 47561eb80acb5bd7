//! When a service is inserted and removed. Node 0 is the client, and the others are services.

use std::time::Duration;

use phin::{MemberState, Members, ServingState, testing::TestCluster};
use tokio::time::{Instant, sleep, timeout};

use crate::rotation::Rotation;

/// A client and so many services, `s1` and so on.
async fn start(services: usize) -> TestCluster {
    let builder = TestCluster::builder().configure(move |number, builder| match number {
        0 => builder.name("client"),
        number if number > services => builder,
        number => builder.name(format!("s{number}")).tag("role", "web").tag("port", "80"),
    });
    builder.start(services + 1).await
}

fn state(members: &Members, name: &str) -> Option<MemberState> {
    members.by_name(name).next().map(|member| member.state())
}

#[tokio::test(start_paused = true)]
async fn a_killed_member_is_out_within_a_second() {
    let cluster = start(4).await;
    let mut rotation = Rotation::of(cluster.node(0));
    rotation.until("s1 s2 s3 s4").await;
    let began = Instant::now();
    cluster.kill(2);
    rotation.until("s1 s3 s4").await;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    cluster.converged().await;
    assert_eq!((rotation.names(), rotation.made()), ("s1 s3 s4".into(), 4));
}

#[tokio::test(start_paused = true)]
async fn a_hung_member_is_out_until_it_goes_on() {
    let cluster = start(4).await;
    let mut rotation = Rotation::of(cluster.node(0));
    rotation.until("s1 s2 s3 s4").await;
    cluster.pause(3);
    rotation.until("s1 s2 s4").await;
    cluster.resume(3);
    rotation.until("s1 s2 s3 s4").await;
}

#[tokio::test(start_paused = true)]
async fn a_member_that_drains_or_does_not_serve_or_leaves_is_out() {
    let cluster = start(3).await;
    let mut rotation = Rotation::of(cluster.node(0));
    rotation.until("s1 s2 s3").await;
    let cannot = ServingState::NotServing("disk full".try_into().unwrap());
    for serving in [ServingState::Draining, cannot] {
        cluster.node(1).set_serving(serving).await.unwrap();
        rotation.until("s2 s3").await;
        cluster.node(1).set_serving(ServingState::Serving).await.unwrap();
        rotation.until("s1 s2 s3").await;
    }
    cluster.node(3).leave(Duration::from_secs(3)).await.unwrap();
    rotation.until("s1 s2").await;
    // One that loses the tag is none of them.
    cluster.node(2).remove_tag("role").await.unwrap();
    rotation.until("s1").await;
}

#[tokio::test(start_paused = true)]
async fn a_restarted_or_changed_member_gets_a_new_service() {
    let mut cluster = start(2).await;
    let mut rotation = Rotation::of(cluster.node(0));
    rotation.until("s1 s2").await;
    let service = |rotation: &mut Rotation| {
        let found = rotation.now().into_iter().find(|service| service.starts_with("s1"));
        found.unwrap_or_default()
    };
    let first = service(&mut rotation);
    cluster.restart(1).await;
    cluster.converged().await;
    rotation.until("s1 s2").await;
    assert_eq!([first, service(&mut rotation)], ["s1/1:80", "s1/2:80"]);
    cluster.node(1).set_tag("port", "81").await.unwrap();
    cluster.converged().await;
    assert_eq!(service(&mut rotation), "s1/2:81");
    // Without a port there is no service; with one there is again.
    cluster.node(1).remove_tag("port").await.unwrap();
    rotation.until("s2").await;
    let made = rotation.made();
    cluster.kill(2);
    rotation.until("s2").await;
    cluster.converged().await;
    rotation.until("").await;
    assert_eq!(rotation.made(), made, "it is not asked for again and again");
    cluster.node(1).set_tag("port", "82").await.unwrap();
    rotation.until("s1").await;
}

#[tokio::test(start_paused = true)]
async fn the_last_ones_stay_until_they_are_dead_and_newcomers_replace_them() {
    let mut cluster = start(2).await;
    let mut rotation = Rotation::of(cluster.node(0));
    rotation.until("s1 s2").await;
    // Somebody else is there: the client is not isolated.
    cluster.add(|builder| builder.name("other")).await;
    cluster.converged().await;
    cluster.kill(1);
    cluster.kill(2);
    let mut seen = Vec::new();
    while state(&cluster.node(0).members(), "s1") != Some(MemberState::Dead)
        || state(&cluster.node(0).members(), "s2") != Some(MemberState::Dead)
    {
        let members = cluster.node(0).members();
        let suspects = members.live().filter(|m| m.state() == MemberState::Suspect).count();
        seen.push((suspects, rotation.now().len()));
        // tidy: allow sleep: the subject is what holds all the time
        sleep(Duration::from_millis(5)).await;
    }
    assert!(seen.contains(&(2, 2)), "both are suspect and used: {seen:?}");
    assert!(seen.iter().all(|(_, used)| *used > 0), "{seen:?}");
    rotation.until("").await;
    cluster.restart(2).await;
    rotation.until("s2").await;
}

#[tokio::test(start_paused = true)]
async fn an_isolated_client_keeps_all_services() {
    let cluster = start(12).await;
    let all = "s1 s10 s11 s12 s2 s3 s4 s5 s6 s7 s8 s9";
    let mut rotation = Rotation::of(cluster.node(0));
    rotation.until(all).await;
    cluster.partition([0], 1..13);
    cluster.node(0).isolated().await.unwrap();
    rotation.until(all).await;
    // tidy: allow sleep: the subject is what stays the same
    sleep(Duration::from_secs(60)).await;
    assert_eq!(rotation.names(), all);
    cluster.heal();
    cluster.node(0).reconnected().await.unwrap();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(20) {
        assert_eq!(rotation.names(), all, "after {:?}", began.elapsed());
        // tidy: allow sleep: the subject is what stays the same
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_cut_off_from_two_services_never_has_none() {
    let cluster = start(2).await;
    let mut rotation = Rotation::of(cluster.node(0));
    rotation.until("s1 s2").await;
    cluster.partition([0], [1, 2]);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(30) {
        assert!(!rotation.now().is_empty(), "after {:?}", began.elapsed());
        // tidy: allow sleep: the subject is what holds all the time
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_member_that_most_do_not_reach_is_out_also_for_a_new_discovery() {
    let mut cluster = start(5).await;
    let mut rotation = Rotation::of(cluster.node(0));
    rotation.until("s1 s2 s3 s4 s5").await;
    cluster.partition([5], [1, 2, 3, 4]);
    rotation.until("s1 s2 s3 s4").await;
    assert!(state(&cluster.node(0).members(), "s5").is_some_and(MemberState::is_live));
    let unreached = cluster.node(0).unreached().await.unwrap();
    assert!(unreached.iter().any(|of| of.degraded_since.is_some()), "{unreached:?}");
    // One that is made later learns of it, although the list does not say so.
    let is_alive = |members: &Members| state(members, "s5") == Some(MemberState::Alive);
    cluster.node(0).wait_until(is_alive).await.unwrap();
    let mut other = Rotation::of(cluster.node(0));
    other.names();
    // tidy: allow sleep: the node is asked, and nothing tells of its answer
    sleep(Duration::from_millis(5)).await;
    assert_eq!(other.names(), "s1 s2 s3 s4");
    assert!(is_alive(&cluster.node(0).members()));
    cluster.heal();
    rotation.until("s1 s2 s3 s4 s5").await;
    other.until("s1 s2 s3 s4 s5").await;
    // A death ends it, too.
    cluster.partition([5], [1, 2, 3, 4]);
    rotation.until("s1 s2 s3 s4").await;
    cluster.heal();
    cluster.restart(5).await;
    rotation.until("s1 s2 s3 s4 s5").await;
}

#[tokio::test(start_paused = true)]
async fn a_service_that_fails_returns_later_each_time() {
    let cluster = start(2).await;
    let id = cluster.node(1).id();
    let mut rotation = Rotation::of(cluster.node(0));
    rotation.until("s1 s2").await;
    for delay in [100, 200, 400, 800] {
        rotation.fail(id);
        let began = Instant::now();
        assert_eq!(rotation.names(), "s2");
        rotation.until("s1 s2").await;
        let found = began.elapsed();
        // Tokio's timers are exact to a millisecond.
        assert!((delay..delay + 3).contains(&found.as_millis()), "{found:?} for {delay} ms");
    }
    // It lasted: the next failure is the first one.
    // tidy: allow sleep: a service lasts for a span of time
    sleep(Duration::from_secs(10)).await;
    rotation.fail(id);
    rotation.until("s2").await;
    let back = timeout(Duration::from_millis(103), rotation.until("s1 s2")).await;
    assert!(back.is_ok());
    // One that is no longer to be used does not return.
    rotation.fail(id);
    cluster.node(1).set_serving(ServingState::Draining).await.unwrap();
    cluster.converged().await;
    // tidy: allow sleep: nothing is to happen
    sleep(Duration::from_secs(20)).await;
    assert_eq!(rotation.names(), "s2");
    // Nor does one that the balancer took over.
    let taken = rotation.take(cluster.node(2).id());
    // tidy: allow sleep: nothing is to happen
    sleep(Duration::from_secs(20)).await;
    assert_eq!((rotation.names(), &*taken), (String::new(), "s2/1:80"));
}

#[tokio::test(start_paused = true)]
async fn a_discovery_ends_with_its_node() {
    let cluster = start(1).await;
    let mut rotation = Rotation::of(cluster.node(0));
    rotation.until("s1").await;
    cluster.node(0).shutdown().await;
    assert!(rotation.has_ended() && rotation.has_ended(), "and stays ended");
    assert_eq!(rotation.names(), "s1", "the balancer keeps what it has");
}
