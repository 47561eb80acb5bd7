//! Signals, and how a node stops.

use std::{
    fs,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{KEY, Node, run};

#[test]
fn each_signal_makes_it_leave() {
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
fn a_start_that_waits_for_a_file_ends_too() {
    let directory = tempfile::tempdir().unwrap();
    // Opening a pipe waits for a reader.
    let lock = directory.path().join("lock");
    assert!(Command::new("mkfifo").arg(&lock).status().unwrap().success());
    let mut command = run(&["--data-dir", directory.path().to_str().unwrap()]);
    let mut child = command.env("PHIN_CLUSTER_KEY", KEY).stderr(Stdio::null()).spawn().unwrap();
    // Waiting for the child would close it, and so end the child.
    let _stdin = child.stdin.take();
    let started = Instant::now();
    while !catches_sigterm(child.id()) {
        assert!(started.elapsed() < Duration::from_secs(60), "it does not listen for signals");
        thread::yield_now();
    }
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// Whether a process has a handler for SIGTERM, which is signal 15 (proc(5), `SigCgt`).
fn catches_sigterm(pid: u32) -> bool {
    signals_of(&pid.to_string(), "SigCgt:") & (1 << 14) != 0
}

/// Whether these tests run under nohup. Then the nodes do too, and ignore SIGHUP, which is signal 1.
fn hangups_are_ignored() -> bool {
    let is_ignored = signals_of("self", "SigIgn:") & 1 != 0;
    if is_ignored {
        eprintln!("SIGHUP is not tested: it is ignored here");
    }
    is_ignored
}

fn signals_of(process: &str, set: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let signals = status.lines().find_map(|line| line.strip_prefix(set)).unwrap();
    u64::from_str_radix(signals.trim(), 16).unwrap()
}

#[test]
fn a_second_signal_within_a_second_is_the_same_request() {
    let n1 = Node::start(&["--name", "n1"]);
    let mut n2 = Node::join("n2", &n1);
    n2.event_of("joined", "n1");
    // It cannot confirm the departure, which therefore takes a while.
    n1.stop();
    n2.signal(Signal::TERM);
    n2.log("leaving the cluster");
    n2.signal(Signal::TERM);
    n2.log("still leaving the cluster");
    assert_eq!(n2.wait().code(), Some(0));
    assert_eq!(n2.rest().last().unwrap()["event"], "departed");
}

#[test]
fn a_later_signal_ends_it_at_once() {
    let n1 = Node::start(&["--name", "n1"]);
    let mut n2 = Node::join("n2", &n1);
    n2.event_of("joined", "n1");
    n1.stop();
    n2.signal(Signal::TERM);
    n2.log("leaving the cluster");
    // The first of these that arrives late enough stops it.
    while !n2.has_ended() {
        n2.signal(Signal::TERM);
        thread::yield_now();
    }
    assert_eq!(n2.wait().code(), Some(1));
    assert!(!n2.rest().iter().any(|line| line["event"] == "departed"));
}

/// A closing terminal and its shell both send SIGHUP, and systemd sends it after SIGTERM.
#[test]
fn a_hangup_while_leaving_hurries_nobody() {
    if hangups_are_ignored() {
        return;
    }
    for first in [Signal::TERM, Signal::INT] {
        let n1 = Node::start(&["--name", "n1"]);
        let mut n2 = Node::join("n2", &n1);
        n2.event_of("joined", "n1");
        // It must wait for a member that cannot confirm its departure.
        n1.stop();
        n2.signal(first);
        n2.log("leaving the cluster");
        n2.signal(Signal::HUP);
        assert_eq!(n2.wait().code(), Some(0));
        assert_eq!(n2.rest().last().unwrap()["event"], "departed");
    }
}

/// A terminal sends SIGHUP when it closes. Without one, an operator or a service manager asks to reload.
#[test]
fn a_hangup_reloads_or_with_a_terminal_leaves() {
    if hangups_are_ignored() {
        return;
    }
    let mut n1 = Node::start(&["--name", "n1"]);
    n1.signal(Signal::HUP);
    assert_eq!(n1.log("reloaded the settings")["asked_by"], "SIGHUP");
    n1.signal(Signal::TERM);
    assert_eq!(n1.wait().code(), Some(0));

    let terminal = rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR).unwrap();
    rustix::pty::unlockpt(&terminal).unwrap();
    let name = rustix::pty::ptsname(&terminal, Vec::new()).unwrap();
    let stdin = fs::File::open(name.to_str().unwrap()).unwrap();
    let mut command = run(&["--name", "n2"]);
    let mut n2 = Node::spawn(command.env("PHIN_CLUSTER_KEY", KEY).stdin(stdin));
    n2.signal(Signal::HUP);
    assert_eq!(n2.log("leaving the cluster")["signal"], "SIGHUP");
    assert_eq!(n2.wait().code(), Some(0));
}

#[test]
fn under_nohup_a_hangup_stays_ignored() {
    let plain = run(&["--name", "n1"]);
    let mut command = Command::new("nohup");
    command.arg(plain.get_program()).args(plain.get_args());
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut n1 = Node::spawn(command.env("PHIN_CLUSTER_KEY", KEY));
    n1.signal(Signal::HUP);
    let _n2 = Node::join("n2", &n1);
    n1.event_of("joined", "n2");
    n1.signal(Signal::TERM);
    assert_eq!(n1.log("leaving the cluster")["signal"], "SIGTERM");
    assert_eq!(n1.wait().code(), Some(0));
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
