//! Addresses that another process takes over.

use serde_json::Value;

use crate::{
    cluster::Cluster,
    lan::Family,
    node::{KEY, is_of},
};

#[test]
fn an_address_belongs_to_whoever_answers_there() {
    let Some(mut cluster) = Cluster::start(Family::V4, 4, &["--profile", "local"]) else { return };
    let others = [1, 2, 3];
    let first = id(&cluster.await_event(&others, "joined", 4, &cluster.beginning())[0]);

    // Another identity: the previous member is gone.
    let mark = cluster.mark();
    cluster.node_mut(4).kill();
    cluster.restart(4);
    let ids = cluster.await_event(&others, "joined", 4, &mark).iter().map(id).collect::<Vec<_>>();
    let dead = cluster.await_event(&others, "dead", 4, &mark);
    assert!(dead.iter().all(|dead| id(dead) == first && dead["silence"] == "gone"), "{dead:?}");
    assert!(ids.iter().all(|id| *id != first && *id == ids[0]), "{ids:?}");

    // Another cluster: never merged, and the previous member is dead.
    let mark = cluster.mark();
    cluster.node_mut(4).kill();
    let stranger = cluster.process(4, &KEY.replace('0', "1"));
    stranger.log("a seed refuses this node");
    let dead = cluster.await_event(&others, "dead", 4, &mark);
    assert!(dead.iter().all(|dead| id(dead) == ids[0]), "{dead:?}");
    let known = stranger.since(0);
    assert!(known.iter().all(|line| is_of(line, "joined", "n4")), "{known:?}");
    for &other in &others {
        let told = cluster.told(other, &mark);
        assert!(!told.iter().any(|(event, _)| event == "joined"), "{told:?}");
    }
}

#[test]
fn a_pair_with_ipv6_alone_finds_and_loses_each_other() {
    let Some(mut cluster) = Cluster::start(Family::V6, 2, &["--profile", "local"]) else { return };
    let mark = cluster.mark();
    cluster.node_mut(2).kill();
    let dead = cluster.await_event(&[1], "dead", 2, &mark);
    assert_eq!(dead[0]["member"]["addr"], "[fd00:77::2]:7646", "{dead:?}");
}

fn id(event: &Value) -> String {
    event["member"]["id"].as_str().unwrap().to_owned()
}
