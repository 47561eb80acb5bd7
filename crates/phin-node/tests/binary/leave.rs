//! Leaving: the reported number of confirmations is true, and no member reports the departure as a death.

use std::thread;

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Node, output_of, text};

/// Runs `phin leave` to its end, and returns its output.
fn leave(http: &str) -> String {
    let output = output_of(&["leave", "--http", http]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The next event of this kind about a member, which must not be suspect or dead before it.
fn takes_for(node: &Node, event: &str, name: &str) -> Value {
    node.event(&format!("{event} of {name}"), |line| {
        let is_it = line["member"]["name"] == name;
        assert!(!is_it || (line["event"] != "suspect" && line["event"] != "dead"), "{line}");
        is_it && line["event"] == event
    })
}

/// Three nodes that know each other.
fn three() -> [Node; 3] {
    let n1 = Node::start(&["--name", "n1"]);
    let n2 = Node::join("n2", &n1);
    let n3 = Node::join("n3", &n1);
    for (node, others) in [(&n1, ["n2", "n3"]), (&n2, ["n1", "n3"]), (&n3, ["n1", "n2"])] {
        // In any order.
        let mut missing = others.to_vec();
        while !missing.is_empty() {
            let line = node.event("the others", |line| line["event"] == "joined");
            missing.retain(|name| line["member"]["name"] != *name);
        }
    }
    [n1, n2, n3]
}

#[test]
fn alone_nobody_is_asked() {
    let mut n1 = Node::start(&["--name", "n1"]);
    assert_eq!(leave(&n1.http), "left; confirmed by 0 of 0 members\n");
    assert!(n1.wait().success());
}

#[test]
fn cut_off_from_all_a_departure_ends_in_time_and_is_true() {
    let [n1, n2, mut n3] = three();
    n1.stop();
    n2.stop();
    assert_eq!(leave(&n3.http), "left; confirmed by 0 of 2 members\n");
    assert!(n3.wait().success());
    // Its messages reached their hosts. They read them when they resume, and never consider it dead.
    for node in [&n1, &n2] {
        node.signal(Signal::CONT);
    }
    for node in [&n1, &n2] {
        takes_for(node, "left", "n3");
    }
}

#[test]
fn cut_off_from_some_it_says_how_many_know() {
    let [n1, n2, n3] = three();
    n1.stop();
    assert_eq!(leave(&n3.http), "left; confirmed by 1 of 2 members\n");
    takes_for(&n2, "left", "n3");
    n1.signal(Signal::CONT);
    takes_for(&n1, "left", "n3");
}

#[test]
fn who_asks_twice_is_told_the_same() {
    let [n1, n2, n3] = three();
    n1.stop();
    let http = n3.http.as_str();
    let (first, second) = thread::scope(|scope| {
        let asked = [scope.spawn(|| leave(http)), scope.spawn(|| leave(http))];
        let [first, second] = asked.map(|asked| asked.join().unwrap());
        (first, second)
    });
    assert_eq!(first, "left; confirmed by 1 of 2 members\n");
    assert_eq!(first, second);
    takes_for(&n2, "left", "n3");
    n1.signal(Signal::CONT);
}

#[test]
fn who_left_returns_at_once_and_not_before() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().to_str().unwrap();
    let [n1, n2, n3] = three();
    drop(n3);
    let join = |name| Node::start(&["--name", name, "--data-dir", data_dir, "--join", &n1.addr]);
    let mut n4 = join("n4");
    for node in [&n1, &n2] {
        takes_for(node, "joined", "n4");
    }
    assert!(leave(&n4.http).starts_with("left; confirmed by 2 of "));
    assert!(n4.wait().success());
    for node in [&n1, &n2] {
        takes_for(node, "left", "n4");
    }
    // A newcomer that learns of it revives it nowhere.
    let n5 = Node::join("n5", &n2);
    takes_for(&n1, "joined", "n5");
    n5.event_of("joined", "n2");
    let list = n5.get("/v1/members").json();
    let members = list["members"].as_array().unwrap();
    let held = members.iter().find(|member| member["name"] == "n4").unwrap();
    assert_eq!(text(&held["state"]), "left");
    let _n4 = join("n4");
    for node in [&n1, &n2, &n5] {
        let back = takes_for(node, "joined", "n4");
        assert_eq!(back["member"]["generation"], 2, "{back}");
    }
}
