//! Conflicts: one name or one key of two nodes. And members that die and return too often.

use std::{fs, time::Instant};

use rustix::process::Signal;

use crate::harness::{KEY, Node, PATIENCE, output_of, run_at, text};

/// The row of a member in the table of `phin members`.
fn row(node: &Node, id: &str) -> String {
    let url = format!("http://{}", node.http);
    let table = String::from_utf8(output_of(&["members", "--http", &url]).stdout).unwrap();
    let row = table.lines().find(|line| line.contains(&id[..8]));
    row.unwrap_or_else(|| panic!("no {id} in {table}")).trim_start().to_owned()
}

#[test]
fn two_live_members_with_one_name_both_stay_and_are_told_apart() {
    let n1 = Node::start(&["--name", "n1"]);
    let one = Node::join("twin", &n1);
    let first = n1.event_of("joined", "twin");
    let mut other = Node::join("twin", &n1);
    let second = n1.event_of("name-conflict", "twin");
    one.event_of("name-conflict", "twin");
    let (one, two) = (text(&first["member"]["id"]), text(&second["member"]["id"]));
    assert_ne!(one, two);
    let members = n1.get("/v1/members").json();
    let namesakes = |id: &str| {
        let members = members["members"].as_array().unwrap();
        members.iter().find(|member| member["id"] == id).unwrap()["namesakes"].clone()
    };
    assert_eq!(
        (namesakes(&one)[0].as_str(), namesakes(&two)[0].as_str()),
        (Some(&*two), Some(&*one))
    );
    assert!(row(&n1, &one).starts_with("twin (not unique)"), "{}", row(&n1, &one));
    assert!(n1.get("/metrics").body.contains("\nphin_name_conflicts 2"));
    assert_eq!(n1.get("/v1/members/twin/why").status, 409);

    other.signal(Signal::TERM);
    other.wait();
    n1.event_of("left", "twin");
    assert!(n1.get("/metrics").body.contains("\nphin_name_conflicts 0"));
}

#[test]
fn two_processes_with_one_key_are_both_not_ready() {
    let directories = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let [original, copy] = [&directories[0], &directories[1]].map(tempfile::TempDir::path);
    let n1 = Node::start(&["--name", "n1"]);
    let start = |directory: &std::path::Path| {
        let directory = directory.to_str().unwrap();
        Node::start(&["--name", "twin", "--data-dir", directory, "--join", &n1.addr])
    };
    let one = start(original);
    one.event_of("joined", "n1");
    assert_eq!(one.get("/readyz").status, 200);
    for file in fs::read_dir(original).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), copy.join(file.file_name())).unwrap();
    }
    let other = start(copy);
    let began = Instant::now();
    for twin in [&one, &other] {
        loop {
            let ready = twin.get("/readyz");
            if ready.status == 503 && ready.error().contains("runs with this node's key") {
                break;
            }
            assert!(began.elapsed() < PATIENCE, "{}", ready.body);
        }
    }
    assert_eq!(n1.get("/readyz").status, 200);
}

#[test]
fn an_address_reused_by_another_cluster_is_refused_in_the_handshake_and_nothing_merges() {
    let n1 = Node::start(&["--name", "n1", "--hang-tolerance", "1s"]);
    let _n2 = Node::start(&["--name", "n2", "--hang-tolerance", "1s", "--join", &n1.addr]);
    let mut n3 = Node::join("n3", &n1);
    n1.event_of("joined", "n3");
    n3.signal(Signal::KILL);
    n3.wait();
    let mut other = run_at(&n3.addr, &["--name", "other", "--cluster", "elsewhere"]);
    let other = Node::spawn(other.env("PHIN_CLUSTER_KEY", KEY));
    n1.event_of("dead", "n3");
    // Dead members are redialled.
    let refused = other.log("handshake refused");
    assert!(text(&refused["reason"]).contains("another name"), "{refused}");
    let names = |node: &Node| -> Vec<String> {
        let members = node.get("/v1/members").json();
        members["members"].as_array().unwrap().iter().map(|member| text(&member["name"])).collect()
    };
    assert_eq!(names(&other), ["other"]);
    assert!(!names(&n1).contains(&"other".to_owned()));
}

#[test]
fn an_address_taken_over_by_another_member_is_the_end_of_the_first() {
    let n1 = Node::start(&["--name", "n1"]);
    let n2 = Node::join("n2", &n1);
    let mut n3 = Node::join("n3", &n1);
    let before = n1.event_of("joined", "n3");
    n2.event_of("joined", "n3");
    n3.signal(Signal::KILL);
    n3.wait();
    let mut after = run_at(&n3.addr, &["--name", "n3", "--join", &n1.addr]);
    let _after = Node::spawn(after.env("PHIN_CLUSTER_KEY", KEY));
    let id = &before["member"]["id"];
    let dead = n1.event("the end of the first", |line| {
        line["event"] == "dead" && line["member"]["id"] == *id
    });
    assert_eq!(dead["silence"], "gone", "{dead}");
}

#[test]
fn who_dies_and_returns_again_and_again_is_suppressed() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    let data_dir = data_dir.to_str().unwrap();
    let n1 = Node::start(&["--name", "n1", "--flap-suppress", "2", "--flap-half-life", "24h"]);
    let start = || Node::start(&["--name", "n2", "--data-dir", data_dir, "--join", &n1.addr]);
    let mut n2 = start();
    n1.event_of("joined", "n2");
    let mut told = Vec::new();
    for _ in 0..3 {
        n2.signal(Signal::KILL);
        n2.wait();
        n1.event_of("dead", "n2");
        n2 = start();
        let back = n1.event("its return", |line| {
            line["member"]["name"] == "n2" && line["event"] != "suspect"
        });
        told.push((text(&back["event"]), text(&back["member"]["id"])));
    }
    let events: Vec<_> = told.iter().map(|(event, _)| event.as_str()).collect();
    assert_eq!(events, ["alive", "alive", "suppressed"]);
    let (_, id) = &told[2];
    let members = n1.get("/v1/members").json();
    let mut members = members["members"].as_array().unwrap().iter();
    let member = members.find(|member| member["id"] == **id).unwrap();
    assert_eq!(member["state"], "alive");
    // For days, with this half-life.
    let (since, until) = (text(&member["since"]), text(&member["suppressed_until"]));
    assert!(until.ends_with('Z') && until[..10] > since[..10], "{member}");
    assert!(row(&n1, id).starts_with("n2 (suppressed)"), "{}", row(&n1, id));
    let why = n1.get("/v1/members/n2/why").json();
    assert!(why["flap_penalty"].as_f64().unwrap() > 2.0, "{why}");
    assert_eq!(why["suppressed_until"], member["suppressed_until"]);
    let metrics = n1.get("/metrics").body;
    assert!(metrics.contains("\nphin_members_suppressed 1"), "{metrics}");
    assert!(metrics.contains("\nphin_swim_returns_suppressed_total 1\n"), "{metrics}");
}
