//! Standard output that is closed, or not read.

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
};

use crate::harness::{KEY, Node, phin, run};

/// Starts a node whose standard output the test keeps. Reads its log until it runs.
fn start(arguments: &[&str]) -> (std::process::Child, impl Iterator<Item = String>, String) {
    let mut command = run(arguments);
    let mut child = command.env("PHIN_CLUSTER_KEY", KEY).stdout(Stdio::piped()).spawn().unwrap();
    let mut logs = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let started = logs.find(|line| line.contains("node started")).unwrap();
    let started: serde_json::Value = serde_json::from_str(&started).unwrap();
    let addr = started["fields"]["addr"].as_str().unwrap().to_owned();
    (child, logs, addr)
}

#[test]
fn a_reader_that_has_gone_does_not_end_the_node() {
    let (mut child, mut logs, addr) = start(&["--name", "n1"]);
    drop(child.stdout.take());
    let n2 = Node::start(&["--name", "n2", "--join", &addr]);
    n2.event_of("joined", "n1");
    assert!(logs.any(|line| line.contains("no longer written")));
    let n3 = Node::start(&["--name", "n3", "--join", &addr]);
    n3.event_of("joined", "n1");
    assert_eq!(child.try_wait().unwrap(), None);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn events_can_be_lines_for_people() {
    let mut command = phin(&["run", "--name", "n1", "--bind", "127.0.0.1:0", "--events", "text"]);
    command.env("PHIN_CLUSTER_KEY", KEY).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines.next().unwrap().unwrap();
    assert!(line.contains("Z joined   n1 addr=127.0.0.1:"), "{line}");
    child.kill().unwrap();
    child.wait().unwrap();
}
