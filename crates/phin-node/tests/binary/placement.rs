//! Placement: every node names the same members for a key.

use serde_json::{Value, json};

use crate::harness::{Node, failure_of, phin, said};

fn names(placed: &Value) -> Vec<&str> {
    let members = placed["members"].as_array().unwrap();
    members.iter().map(|member| member["name"].as_str().unwrap()).collect()
}

#[test]
fn each_node_places_a_key_on_the_same_members_until_one_drains() {
    let n1 = Node::start(&["--name", "n1", "--tag", "zone=a"]);
    let n2 = Node::start(&["--name", "n2", "--join", &n1.addr, "--tag", "zone=b"]);
    let n3 = Node::start(&["--name", "n3", "--join", &n1.addr, "--tag", "zone=b"]);
    for node in [&n1, &n2, &n3] {
        for joined in ["one other", "both others"] {
            node.event(joined, |line| line["event"] == "joined");
        }
    }
    for key in ["user-17", "a b&c=d/ü?"] {
        let place = |node: &Node, more: &[&str]| {
            let text = said(&[&["place", key, "--json"], more].concat(), node);
            serde_json::from_str::<Value>(&text).unwrap()
        };
        let placed = place(&n1, &["-n", "3"]);
        assert_eq!((&placed["key"], &placed["eligible"]), (&json!(key), &json!(3)));
        assert_eq!(names(&placed).len(), 3);
        assert_eq!(place(&n2, &["-n", "3"]), placed);
        assert_eq!(names(&place(&n3, &[])), names(&placed)[..1]);
        let spread = place(&n1, &["-n", "2", "--spread", "zone"]);
        let mut zones: Vec<_> = (0..2).map(|at| &spread["members"][at]["tags"]["zone"]).collect();
        zones.sort_by_key(|zone| zone.as_str());
        assert_eq!(zones, ["a", "b"]);
        let filtered = place(&n1, &["-n", "9", "--filter", "zone=b"]);
        assert_eq!(filtered["eligible"], 2);
    }
    said(&["drain"], &n2);
    n1.event_of("updated", "n2");
    said(&["tags", "--set", "weight=0"], &n3);
    n1.event_of("updated", "n3");
    let table = said(&["place", "user-17", "-n", "3"], &n1);
    let rows: Vec<_> = table.lines().map(|row| row.split_whitespace().next().unwrap()).collect();
    assert_eq!(rows, ["NAME", "n1"], "{table}");
    let error = failure_of(&mut phin(&["place", "k", "--filter", "zone=c", "--http", &n1.http]), 1);
    assert!(error.contains("no member is eligible"), "{error}");
}

#[test]
fn a_request_that_cannot_be_placed_says_why() {
    let n1 = Node::start(&["--name", "n1"]);
    for (query, reason) in [
        ("", "the parameter \"key\" is missing"),
        ("key=a&n=0", "n=\"0\" is no number above 0"),
        ("key=a&n=x", "n=\"x\" is no number above 0"),
        ("key=a&filter=zone", "\"zone\" is none"),
        ("key=a&spread=Zone", "the tag key \"Zone\""),
        ("key=a&key=b", "unexpected parameter \"key\""),
    ] {
        let answer = n1.get(&format!("/v1/placement?{query}"));
        assert_eq!(
            (answer.status, answer.error().contains(reason)),
            (400, true),
            "{query}: {}",
            answer.body
        );
    }
    assert_eq!(names(&n1.get("/v1/placement?key=").json()), ["n1"], "an empty key is a key");
}
