//! Nodes started by hand: joins, deaths and departures.

use rustix::process::Signal;

use crate::harness::{Node, text};

#[test]
fn three_nodes_by_hand_see_each_other_come_and_go() {
    let n1 = Node::start(&["--name", "n1"]);
    let n2 = Node::join("n2", &n1);
    let mut n3 = Node::join("n3", &n2);
    let me = n1.event_of("joined", "n1");
    assert_eq!(text(&me["member"]["addr"]), n1.addr, "the list begins with the node itself");
    let n3_at_n1 = n1.event_of("joined", "n3");
    n2.event_of("joined", "n3");
    n3.event_of("joined", "n1");

    n3.signal(Signal::KILL);
    n3.wait();
    let dead = n1.event_of("dead", "n3");
    n2.event_of("dead", "n3");
    assert_eq!(dead["member"]["id"], n3_at_n1["member"]["id"]);
    assert_eq!(dead["member"]["generation"], 1);
    let kinds = ["gone", "hung", "silent", "unknown"];
    assert!(kinds.contains(&dead["silence"].as_str().unwrap()), "{dead}");
    assert!(n3_at_n1.get("silence").is_none(), "only deaths and suspicions have it: {n3_at_n1}");
    let at = text(&dead["at"]);
    assert_eq!((at.len(), &at[10..11], &at[26..]), (27, "T", "Z"), "microseconds, UTC: {at}");
}

#[test]
fn a_node_that_hears_nobody_says_so_and_is_not_ready() {
    // Without questions to hosts: the host of a stopped process would answer, and then the node is not isolated.
    let n1 = Node::start(&["--name", "n1", "--ask-hosts", "false"]);
    let n2 = Node::join("n2", &n1);
    n1.event_of("joined", "n2");
    n2.stop();
    let isolated = n1.event("isolated", |line| line["event"] == "isolated");
    assert!(isolated.get("member").is_none() && text(&isolated["at"]).ends_with('Z'), "{isolated}");
    let refused = n1.get("/readyz");
    assert_eq!(refused.status, 503);
    assert!(refused.error().contains("isolated"), "{}", refused.body);
    assert!(n1.get("/metrics").body.contains("\nphin_isolated 1"));
    n2.signal(Signal::CONT);
    n1.event("reconnected", |line| line["event"] == "reconnected");
    assert_eq!(n1.get("/readyz").status, 200);
    assert!(n1.get("/metrics").body.contains("\nphin_isolated 0"));
}

#[test]
fn versions_of_events_rise_by_one() {
    let n1 = Node::start(&["--name", "n1"]);
    let n2 = Node::join("n2", &n1);
    let first = n1.event_of("joined", "n2");
    let _n3 = Node::join("n3", &n2);
    let second = n1.event_of("joined", "n3");
    let number = |line: &serde_json::Value| line["version"].as_u64().unwrap();
    assert_eq!(number(&second), number(&first) + 1);
}

#[test]
fn with_a_data_directory_a_restart_is_the_same_member() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    let data_dir = data_dir.to_str().unwrap();
    let start = |seed: &str| Node::start(&["--name", "n2", "--data-dir", data_dir, "--join", seed]);
    let n1 = Node::start(&["--name", "n1"]);
    let mut n2 = start(&n1.addr);
    let before = n1.event_of("joined", "n2");
    n2.signal(Signal::KILL);
    n2.wait();
    let _n2 = start(&n1.addr);
    let after = n1.event("n2 in its next generation", |line| {
        line["event"] != "dead" && line["member"]["generation"] == 2
    });
    assert_eq!(after["member"]["id"], before["member"]["id"]);
}

#[test]
fn a_seed_without_an_address_is_tried_again_and_logged() {
    let mut node = Node::start(&["--name", "n1", "--join", "no-such-host.invalid:7646"]);
    let log = node.log("join through a seed failed");
    assert!(text(&log["seed"]).contains("no-such-host.invalid"), "{log}");
    assert!(text(&log["reason"]).contains("cannot resolve"), "{log}");
    assert_eq!(node.get("/readyz").status, 503);
    assert_eq!(node.get("/livez").status, 200);
    node.signal(Signal::TERM);
    assert_eq!(node.wait().code(), Some(0));
}

#[test]
fn a_node_with_another_key_stays_outside() {
    let n1 = Node::start(&["--name", "n1"]);
    let other_key = crate::harness::KEY.replace('0', "1");
    let mut command = crate::harness::run(&["--name", "stranger", "--join", &n1.addr]);
    let stranger = Node::spawn(command.env("PHIN_CLUSTER_KEY", other_key));
    let log = stranger.log("a seed refuses this node");
    assert!(text(&log["reason"]).contains("refused"), "{log}");
    n1.log("handshake refused");
    let members = n1.get("/v1/members").json();
    assert_eq!(members["members"].as_array().unwrap().len(), 1);
}

#[test]
fn a_key_gives_way_to_another_node_by_node() {
    let new_key = crate::harness::KEY.replace('0', "1");
    let start = |name: &str, keys: &[&str], seed: &[&str]| {
        let mut command = crate::harness::run(&[&["--name", name], seed].concat());
        Node::spawn(command.env("PHIN_CLUSTER_KEY", keys.join("\n")))
    };
    let n1 = start("n1", &[crate::harness::KEY, &new_key], &[]);
    let n2 = start("n2", &[&new_key, crate::harness::KEY], &["--join", &n1.addr]);
    n1.event_of("joined", "n2");
    let n3 = start("n3", &[&new_key], &["--join", &n2.addr]);
    n1.event_of("joined", "n3");
    n3.event_of("joined", "n1");
}
