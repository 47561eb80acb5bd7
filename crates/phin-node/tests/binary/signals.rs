//! How a node ends.

use std::process::Stdio;

use rustix::process::Signal;

use crate::harness::{KEY, Node, run};

#[test]
fn both_signals_make_it_leave() {
    for signal in [Signal::TERM, Signal::INT] {
        let n1 = Node::start(&["--name", "n1"]);
        let mut n2 = Node::join("n2", &n1);
        n1.event_of("joined", "n2");
        n2.event_of("joined", "n1");
        n2.signal(signal);
        assert_eq!(n2.wait().code(), Some(0));
        n1.event_of("left", "n2");
        let rest = n2.rest();
        let departed = rest.last().unwrap();
        assert_eq!(departed["event"], "departed", "{rest:?}");
        assert_eq!((&departed["confirmed"], &departed["asked"]), (&1.into(), &1.into()));
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let n1 = Node::start(&["--name", "n1"]);
    let mut n2 = Node::join("n2", &n1);
    n2.event_of("joined", "n1");
    // Whoever should confirm the departure cannot.
    n1.stop();
    n2.signal(Signal::TERM);
    n2.log("leaving the cluster");
    n2.signal(Signal::TERM);
    assert_eq!(n2.wait().code(), Some(1));
    assert!(!n2.rest().iter().any(|line| line["event"] == "departed"));
}

#[test]
fn a_departure_that_nobody_confirms_has_an_end() {
    let n1 = Node::start(&["--name", "n1"]);
    let mut n2 = Node::join("n2", &n1);
    n2.event_of("joined", "n1");
    n1.stop();
    n2.signal(Signal::TERM);
    assert_eq!(n2.wait().code(), Some(0));
    assert_eq!(n2.rest().last().unwrap()["confirmed"], 0);
}

#[test]
fn it_ends_with_whoever_started_it() {
    let mut command = run(&["--name", "n1"]);
    let mut child = command.env("PHIN_CLUSTER_KEY", KEY).stderr(Stdio::null()).spawn().unwrap();
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}
