//! Partitions, loss, and one-way cuts.

use std::{cell::Cell, time::Duration};

use rustix::process::Signal;
use serde_json::Value;

use crate::{cluster::Cluster, lan::Family};

#[test]
fn two_halves_of_a_split_go_on_alone_and_find_each_other_again() {
    let Some(mut cluster) = Cluster::start(Family::V4, 6, &["--profile", "local"]) else { return };
    let (left, right) = ([1, 2, 3], [4, 5, 6]);
    a_split_heals(&cluster, &left, &right);
    a_departure_during_a_split_is_told_truthfully(&mut cluster, &left, &right);
}

fn a_split_heals(cluster: &Cluster, left: &[usize], right: &[usize]) {
    let mark = cluster.mark();
    cluster.lan.split(left);
    for (one, other) in [(left, right), (right, left)] {
        other.iter().for_each(|&dead| drop(cluster.await_event(one, "dead", dead, &mark)));
        cluster.assert_never(one, "dead", one, &mark);
    }
    let healed = cluster.mark();
    cluster.lan.heal();
    for (one, other) in [(left, right), (right, left)] {
        other.iter().for_each(|&alive| drop(cluster.await_event(one, "alive", alive, &healed)));
    }
    cluster.await_equal_lists(&cluster.all_but(&[]));
}

fn a_departure_during_a_split_is_told_truthfully(
    cluster: &mut Cluster,
    left: &[usize],
    right: &[usize],
) {
    let (mark, rest) = (cluster.mark(), &right[..2]);
    cluster.lan.split(left);
    cluster.node(6).signal(Signal::TERM);
    assert_eq!(cluster.node_mut(6).wait().code(), Some(0));
    let told = cluster.node(6).to_the_end();
    let departed = told.last().unwrap();
    assert_eq!(departed["event"], "departed", "{told:#?}");
    assert_eq!((&departed["confirmed"], &departed["asked"]), (&2.into(), &5.into()), "{told:?}");
    cluster.await_event(rest, "left", 6, &mark);
    cluster.assert_never(rest, "dead", &[6], &mark);
    cluster.lan.heal();
    for (one, other) in [(left, rest), (rest, left)] {
        other.iter().for_each(|&alive| drop(cluster.await_event(one, "alive", alive, &mark)));
    }
    cluster.await_equal_lists(&cluster.all_but(&[6]));
    // A member that left is dead on the other side until the sides meet, and then is left.
    cluster.await_event(left, "left", 6, &mark);
    cluster.assert_never(left, "alive", &[6], &mark);
}

/// Only one member can exchange packets with it.
#[test]
fn a_member_that_most_do_not_reach_is_not_ready() {
    let Some(cluster) = Cluster::start(Family::V4, 5, &["--profile", "local"]) else { return };
    let (mark, all, cut) = (cluster.mark(), cluster.all_but(&[]), [1, 2, 3]);
    cut.iter().for_each(|&from| cluster.lan.cut_one_way(from, 5));
    cluster.until("not ready because it is degraded", &[5], |n5| {
        let (status, body) = cluster.get(n5, "/readyz");
        status == 503 && body.contains("degraded")
    });
    for other in [1, 2, 3, 4] {
        assert_eq!(cluster.get(other, "/readyz").0, 200, "n{other} is reached by all but one");
    }
    cluster.lan.heal();
    cluster.until("ready again", &[5], |n5| cluster.get(n5, "/readyz").0 == 200);
    cluster.assert_never(&all, "dead", &all, &mark);
}

/// Its only path leads to one other member, through which all others learn that it is alive.
#[test]
fn a_member_with_one_path_is_degraded_and_nobody_is_dead() {
    let Some(cluster) = Cluster::start(Family::V4, 6, &["--profile", "local"]) else { return };
    let (mark, all, cut_off) = (cluster.mark(), cluster.all_but(&[]), [2, 3, 4, 5]);
    cluster.lan.leave_one_path(6, 1);
    cluster.until("showing that n6 is hard to reach", &cut_off, |number| {
        let n6 = member(&cluster, number, "n6");
        !n6["degraded_since"].is_null() || !n6["failing_links"].as_array().unwrap().is_empty()
    });
    // tidy: allow sleep: nobody may be declared dead for so long
    std::thread::sleep(ONE_PATH_TIME);
    cluster.assert_never(&all, "dead", &all, &mark);
    cluster.lan.heal();
    cluster.until("reaching n6 again", &all, |number| {
        let n6 = member(&cluster, number, "n6");
        n6["state"] == "alive"
            && n6["degraded_since"].is_null()
            && n6["failing_links"].as_array().unwrap().is_empty()
    });
    cluster.until("ready", &all, |number| cluster.get(number, "/readyz").0 == 200);
    cluster.await_equal_lists(&all);
    cluster.assert_never(&all, "dead", &all, &mark);
}

/// It is neither silent nor cut off, and all members learn what its observers measure.
#[test]
fn a_member_that_loses_most_of_what_it_sends_is_degraded_at_all_members() {
    let Some(cluster) = Cluster::start(Family::V4, 6, &["--profile", "local"]) else { return };
    let (mark, all, well) = (cluster.mark(), cluster.all_but(&[]), [1, 2, 3, 4, 5]);
    cluster.lan.lose_from(6, 75);
    cluster.until("saying that n6 loses messages", &all, |number| {
        let flaws = member(&cluster, number, "n6")["flaws"].clone();
        flaws.as_array().is_some_and(|flaws| flaws.contains(&"loss".into()))
    });
    for event in cluster.await_event(&well, "degraded", 6, &mark) {
        assert!(event["degraded"]["flaws"].to_string().contains("loss"), "{event}");
    }
    cluster.assert_never(&all, "degraded", &well, &mark);
    cluster.assert_never(&all, "dead", &all, &mark);
}

/// Little is sent in a calm cluster. So two members change their tags: a packet with the news of both is too long. Once the others
/// know, all members change theirs.
#[test]
fn a_member_whose_large_packets_are_lost_is_degraded_and_has_the_list_of_the_others() {
    let Some(cluster) = Cluster::start(Family::V4, 6, &["--profile", "local"]) else { return };
    let (mark, all, well) = (cluster.mark(), cluster.all_but(&[]), [1, 2, 3, 4, 5]);
    let looks = Cell::new(0);
    let change = |number: usize| {
        let (node, host) = (cluster.node(number), cluster.lan.host(number));
        let value = format!("{:0>120}", looks.get());
        ["a", "b"].iter().for_each(|key| node.set_tag(host, key, &value));
    };
    cluster.lan.narrow(6, 800);
    cluster.until("saying that n6 loses large packets", &all, |number| {
        if looks.replace(looks.get() + 1) % 10 == 0 {
            [1, 2].into_iter().for_each(change);
        }
        let flaws = member(&cluster, number, "n6")["flaws"].clone();
        flaws.as_array().is_some_and(|flaws| flaws.contains(&"large-packets".into()))
    });
    all.iter().for_each(|&number| change(number));
    cluster.await_equal_lists(&all);
    cluster.assert_never(&all, "degraded", &well, &mark);
    cluster.assert_never(&all, "dead", &all, &mark);
}

/// A member in the list of a node.
fn member(cluster: &Cluster, of: usize, name: &str) -> Value {
    let members = cluster.json(of, "/v1/members");
    let found = members["members"].as_array().unwrap().iter().find(|member| member["name"] == name);
    found.unwrap().clone()
}

#[test]
fn loss_and_cuts_of_one_way_kill_nobody() {
    let Some(cluster) = Cluster::start(Family::V4, 5, &["--profile", "local"]) else { return };
    a_member_that_one_cannot_reach_stays_alive(&cluster);
    a_quarter_of_all_packets_may_be_lost(&cluster);
    a_deaf_node_is_isolated_and_disturbs_nobody(&cluster);
}

fn a_member_that_one_cannot_reach_stays_alive(cluster: &Cluster) {
    let (mark, all) = (cluster.mark(), cluster.all_but(&[]));
    cluster.lan.cut_one_way(1, 2);
    // The failing link is listed. Others report that the member is alive.
    cluster.until("listing that it does not reach n2", &[1], |n1| {
        let why = cluster.json(n1, "/v1/members/n2/why");
        why["failing_links"].to_string().contains("\"n1\"")
    });
    cluster.assert_never(&all, "dead", &all, &mark);
    cluster.lan.heal();
}

fn a_quarter_of_all_packets_may_be_lost(cluster: &Cluster) {
    let (mark, all) = (cluster.mark(), cluster.all_but(&[]));
    let missed = |number| cluster.metric(number, "phin_swim_pings_missed_total");
    let before: Vec<f64> = all.iter().map(|&number| missed(number)).collect();
    cluster.lan.lose(25);
    cluster.until("missing replies", &all, |number| missed(number) > before[number - 1] + 20.0);
    cluster.lan.heal();
    cluster.assert_never(&all, "dead", &all, &mark);
}

fn a_deaf_node_is_isolated_and_disturbs_nobody(cluster: &Cluster) {
    let (mark, others) = (cluster.mark(), cluster.all_but(&[5]));
    let all = cluster.all_but(&[]);
    cluster.lan.deafen(5);
    cluster.node(5).event(0, "isolated", |line| line["event"] == "isolated");
    assert_eq!(cluster.get(5, "/readyz").0, 503);
    others.iter().for_each(|&other| assert_eq!(cluster.get(other, "/readyz").0, 200));
    cluster.lan.heal();
    cluster.node(5).event(0, "reconnected", |line| line["event"] == "reconnected");
    cluster.assert_never(&others, "dead", &others, &mark);
    cluster.assert_never(&[5], "dead", &all, &mark);
    cluster.await_equal_lists(&all);
}

/// Many times as long as claims of a single member count, and as a silence lasts before a verdict.
const ONE_PATH_TIME: Duration = Duration::from_secs(30);
