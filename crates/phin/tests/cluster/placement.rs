//! Placement and choices in clusters of nodes in memory: what suspicions, departures, drains and flaps do to them.
#![expect(clippy::unwrap_used, reason = "what helps a test may fail as a test does")]

use std::time::Duration;

use phin::{
    Cluster, Filter, MemberId, MemberState, Members, Moved, Placement, ServingState,
    testing::TestCluster,
};

fn placement(members: &Members) -> Placement {
    Placement::of(members, &Filter::default())
}

fn keys() -> impl Iterator<Item = String> {
    (0..500).map(|key| format!("key-{key}"))
}

fn is_suspect(members: &Members, id: MemberId) -> bool {
    members.get(id).is_some_and(|member| member.state() == MemberState::Suspect)
}

/// The members that lost keys to others.
fn losers(before: &Placement, after: &Placement) -> Vec<MemberId> {
    let moved = before.moved(after, 1, keys());
    let mut losers: Vec<_> =
        moved.flat_map(|Moved { lost, .. }| lost).map(|member| member.id()).collect();
    losers.sort();
    losers.dedup();
    losers
}

/// Sets the tag, and waits until the first node knows.
async fn tag(cluster: &TestCluster, node: usize, key: &str, value: &str) {
    cluster.node(node).set_tag(key, value).await.unwrap();
    let id = cluster.node(node).id();
    let is_set =
        |members: &Members| members.get(id).is_some_and(|member| member.tag(key) == Some(value));
    cluster.node(0).wait_until(is_set).await.unwrap();
}

/// Waits until the first node knows of the load.
async fn load(cluster: &TestCluster, id: MemberId, load: Option<u16>) {
    let mut changes = cluster.node(0).subscribe_data();
    while cluster.node(0).data().load(id) != load {
        changes.next().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_suspicion_moves_no_key_and_a_death_moves_those_of_the_dead() {
    let cluster = TestCluster::start(5).await;
    let (node, id) = (cluster.node(0), cluster.node(3).id());
    let before = placement(&node.members());
    cluster.pause(3);
    let suspected = node.wait_until(|members| is_suspect(members, id)).await.unwrap();
    assert_eq!(losers(&before, &placement(&suspected)), []);
    cluster.kill(3);
    cluster.converged().await;
    assert_eq!(losers(&before, &placement(&node.members())), [id]);
    let elsewhere = placement(&cluster.node(1).members());
    assert_eq!(losers(&placement(&node.members()), &elsewhere), [], "all nodes agree");
}

#[tokio::test(start_paused = true)]
async fn members_that_drain_leave_or_weigh_nothing_hold_nothing() {
    let cluster = TestCluster::start(5).await;
    let eligible = async |count: usize| {
        let is_reached = |members: &Members| placement(members).len() == count;
        placement(&cluster.node(0).wait_until(is_reached).await.unwrap())
    };
    let all = eligible(5).await;
    cluster.node(1).set_serving(ServingState::Draining).await.unwrap();
    cluster.node(2).set_tag("weight", "0").await.unwrap();
    cluster.node(3).leave(Duration::from_secs(3)).await.unwrap();
    let mut gone = [1, 2, 3].map(|node| cluster.node(node).id());
    gone.sort();
    assert_eq!(losers(&all, &eligible(2).await), gone);
    // Those that return hold what they held.
    cluster.node(2).remove_tag("weight").await.unwrap();
    cluster.node(1).set_serving(ServingState::Serving).await.unwrap();
    assert_eq!(losers(&all, &eligible(4).await), [cluster.node(3).id()]);
}

#[tokio::test(start_paused = true)]
async fn a_member_that_flaps_holds_nothing_while_it_is_suppressed() {
    let mut cluster = TestCluster::start(4).await;
    let id = cluster.node(3).id();
    let is_suppressed = |members: &Members| members.suppressed_until(id).is_some();
    while !is_suppressed(&cluster.node(0).members()) {
        cluster.kill(3);
        cluster.converged().await;
        cluster.restart(3).await;
        cluster.converged().await;
    }
    let members = cluster.node(0).members();
    let alive = members.get(id).map(|member| member.state());
    assert_eq!((alive, placement(&members).len()), (Some(MemberState::Alive), 3));
    let released = cluster.node(0).wait_until(|members| !is_suppressed(members)).await.unwrap();
    assert_eq!(placement(&released).len(), 4);
}

/// How often each member is chosen.
fn chosen(node: &Cluster, filter: &str) -> Vec<usize> {
    let (filter, members) = (filter.parse().unwrap(), node.members());
    let mut ids: Vec<_> =
        members.iter().map(|member| (member.name().to_owned(), member.id())).collect();
    ids.sort();
    let choices: Vec<_> = (0..CHOICES).filter_map(|_| node.choose_two(&filter)).collect();
    ids.iter().map(|(_, id)| choices.iter().filter(|chosen| chosen.id() == *id).count()).collect()
}

/// Checks that this share of all choices fell on a member, by six standard deviations of a binomial distribution.
fn assert_share(found: usize, share: f64) {
    let expected = CHOICES as f64 * share;
    let deviation = (expected * (1.0 - share)).sqrt();
    assert!((found as f64 - expected).abs() <= 6.0 * deviation, "{found}, expected {expected}");
}

const CHOICES: usize = 6_000;

#[tokio::test(start_paused = true)]
async fn the_less_loaded_of_two_is_chosen_and_none_is_always_chosen() {
    let cluster = TestCluster::start(4).await;
    let node = cluster.node(0);
    chosen(node, "").into_iter().for_each(|found| assert_share(found, 0.25));
    for (number, per_mille) in [(0, 100), (1, 200), (2, 300), (3, 1_000)] {
        cluster.node(number).set_load(per_mille).await.unwrap();
        load(&cluster, cluster.node(number).id(), Some(per_mille)).await;
    }
    // The least loaded of four is in half of all pairs, the next in a third with a higher one, the most loaded in none.
    let found = chosen(node, "");
    [0.5, 1.0 / 3.0, 1.0 / 6.0, 0.0]
        .into_iter()
        .zip(found)
        .for_each(|(share, n)| assert_share(n, share));
    // A member without a load: chosen if it is drawn first, half as often as it is drawn.
    cluster.node(0).delete_data("load").await.unwrap();
    load(&cluster, node.id(), None).await;
    assert_share(chosen(node, "")[0], 0.25);
}

#[tokio::test(start_paused = true)]
async fn work_goes_to_no_suspect_and_to_nobody_if_none_is_alive() {
    let cluster = TestCluster::start(4).await;
    let (node, id) = (cluster.node(0), cluster.node(3).id());
    tag(&cluster, 2, "weight", "0").await;
    tag(&cluster, 3, "role", "db").await;
    assert_eq!(chosen(node, "role=db"), [0, 0, 0, CHOICES], "the only one");
    cluster.pause(3);
    node.wait_until(|members| is_suspect(members, id)).await.unwrap();
    let found = chosen(node, "");
    assert_share(found[0], 0.5);
    assert_eq!(found[2..], [0, 0]);
    assert!(node.choose_two(&"role=db".parse().unwrap()).is_none());
}
