//! `phin rtt` of a small cluster, where all members are measured.

use std::{thread, time::Instant};

use serde_json::Value;

use crate::harness::{Node, PATIENCE, failure_of, phin, said, text};

/// Waits until the node has measured so many members, and returns its answer.
fn measured(node: &Node, count: usize) -> Value {
    let began = Instant::now();
    loop {
        let answer: Value = serde_json::from_str(&said(&["rtt", "--json"], node)).unwrap();
        if answer["links"].as_array().unwrap().len() >= count {
            return answer;
        }
        assert!(began.elapsed() < PATIENCE, "{answer}");
        thread::yield_now();
    }
}

#[test]
fn members_that_are_observed_are_measured() {
    let n1 = Node::start(&["--name", "n1"]);
    let _n2 = Node::join("n2", &n1);
    let answer = measured(&n1, 1);
    let link = &answer["links"][0];
    assert_eq!((&link["member"]["name"], &answer["unmeasured"]), (&"n2".into(), &0.into()));
    let rtt = link["rtt_ms"].as_f64().unwrap();
    assert!(rtt > 0.0 && rtt <= link["rtt_p99_ms"].as_f64().unwrap(), "{answer}");
    assert!(link["rtt_samples"].as_u64().unwrap() > 0 && link["loss"].as_f64().unwrap() > 0.0);

    let shown = said(&["rtt"], &n1);
    let lines: Vec<Vec<&str>> =
        shown.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["NAME", "RTT", "P99", "SAMPLES", "LOSS", "ID"]);
    assert_eq!((lines[1][0], lines[1][2]), ("n2", "ms"));
    assert!(shown.contains("1 measured: fastest ") && !shown.contains("not measured"), "{shown}");
    let one = said(&["rtt", "n2"], &n1);
    assert!(
        one.starts_with("n2 (") && one.contains("\ntypical ") && one.contains("\np99 "),
        "{one}"
    );
    let one: Value = serde_json::from_str(&said(&["rtt", "n2", "--json"], &n1)).unwrap();
    assert_eq!(one["member"], link["member"]);
    let id = text(&link["member"]["id"]);
    assert!(said(&["rtt", &id[..8]], &n1).starts_with("n2 ("));

    let error = |member: &str| failure_of(&mut phin(&["rtt", member, "--http", &n1.http]), 1);
    assert!(error("n1").contains("n1 is the queried node itself"));
    assert!(error("n9").contains("no member has the name"));
}

#[test]
fn links_and_rings_are_those_of_the_queried_node() {
    let n1 = Node::start(&["--name", "n1"]);
    let mut n2 = Node::join("n2", &n1);
    n1.event_of("joined", "n2");
    measured(&n1, 1);
    let links = n1.get("/v1/links").json();
    let link = &links["links"][0];
    assert_eq!((&link["member"]["name"], &link["observed"]), (&"n2".into(), &true.into()));
    assert_eq!(link["failing_links"], Value::Array(Vec::new()));
    let rings = n1.get("/v1/members/n2/rings").json();
    assert_eq!((&rings["member"]["name"], &rings["live"]), (&"n2".into(), &2.into()));
    for side in ["observers", "subjects"] {
        assert_eq!(
            (&rings[side][0]["name"], &rings[side][0]["state"]),
            (&"n1".into(), &"alive".into())
        );
    }
    n2.signal(rustix::process::Signal::KILL);
    n2.wait();
    n1.event_of("dead", "n2");
    let rings = n1.get("/v1/members/n2/rings").json();
    assert_eq!(rings["observers"], Value::Array(Vec::new()), "only live members are on the rings");
    assert_eq!(n1.get("/v1/members/n9/rings").status, 404);
    let error = failure_of(&mut phin(&["rtt", "n2", "--http", &n1.http]), 1);
    assert!(error.contains("n2 is dead: only members that are live are measured"), "{error}");
}
