//! `phin forget` and its request: dead members disappear from all lists, live ones stay.

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Node, failure_of, output_of, phin, request, text};

fn names(node: &Node) -> Vec<String> {
    let list = node.get("/v1/members").json();
    let mut names: Vec<_> =
        list["members"].as_array().unwrap().iter().map(|member| text(&member["name"])).collect();
    names.sort();
    names
}

fn post(node: &Node, path: &str, headers: &str) -> crate::harness::Answer {
    request(&node.http, &format!("POST {path} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n", node.http))
}

#[test]
fn the_dead_are_forgotten_by_all_and_the_living_by_nobody() {
    let n1 = Node::start(&["--name", "n1"]);
    let n2 = Node::join("n2", &n1);
    let mut n3 = Node::join("n3", &n2);
    n1.event_of("joined", "n3");
    n2.event_of("joined", "n3");
    let error = failure_of(&mut phin(&["forget", "n3", "--http", &n1.http]), 1);
    assert!(error.contains("409") && error.contains("it is alive"), "{error}");
    n3.signal(Signal::KILL);
    n3.wait();
    let dead = n1.event_of("dead", "n3");
    n2.event_of("dead", "n3");

    // Another member with the same name is alive, so the request means the dead one.
    let _n3 = Node::join("n3", &n1);
    n1.event_of("joined", "n3");
    n2.event_of("joined", "n3");
    let output = output_of(&["forget", "n3", "--http", &n2.http]);
    let id = text(&dead["member"]["id"]);
    let expected = format!("forgot n3 ({}), dead\n", &id[..8]);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
    for node in [&n1, &n2] {
        let forgotten = node.event_of("forgotten", "n3");
        assert_eq!(forgotten["member"]["id"], dead["member"]["id"]);
        assert_eq!(names(node), ["n1", "n2", "n3"]);
    }
    let error = failure_of(&mut phin(&["forget", &id, "--http", &n1.http]), 1);
    assert!(error.contains("404"), "{error}");
}

#[test]
fn web_pages_make_nobody_forget() {
    let n1 = Node::start(&["--name", "n1"]);
    let n2 = Node::join("n2", &n1);
    n1.event_of("joined", "n2");
    n2.event_of("joined", "n1");
    let answer = output_of(&["leave", "--http", &n2.http]);
    assert!(answer.status.success());
    n1.event_of("left", "n2");
    let path = "/v1/members/n2/forget";
    assert_eq!(n1.get(path).status, 405, "a link cannot");
    assert_eq!(post(&n1, path, "Origin: http://evil.example\r\n").status, 403);
    assert_eq!(post(&n1, path, "Sec-Fetch-Site: cross-site\r\n").status, 403);
    assert_eq!(names(&n1), ["n1", "n2"]);
    let forgotten: Value = post(&n1, path, "").json();
    assert_eq!(forgotten["forgotten"]["name"], "n2");
    assert_eq!(forgotten["forgotten"]["state"], "left");
    assert_eq!(names(&n1), ["n1"]);
}

#[test]
fn retention_forgets_by_itself() {
    let n1 = Node::start(&["--name", "n1", "--retention", "2s"]);
    let mut n2 = Node::join("n2", &n1);
    n1.event_of("joined", "n2");
    n2.event_of("joined", "n1");
    n2.signal(Signal::TERM);
    n2.wait();
    n1.event_of("left", "n2");
    n1.event_of("forgotten", "n2");
    assert_eq!(names(&n1), ["n1"]);
}
