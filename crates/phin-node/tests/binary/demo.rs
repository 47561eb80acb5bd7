//! `phin demo`.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Stdio},
};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, set_child_subreaper, waitpid};
use serde_json::Value;

use crate::harness::{failure_of, phin};

/// A demonstration that has printed its table, the rest of its output, and the processes in the table.
fn start() -> (Child, impl Iterator<Item = String>, Vec<Pid>) {
    let mut demo = phin(&["demo", "--nodes", "3"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines().map_while(Result::ok);
    let pids = lines
        .by_ref()
        .skip_while(|line| !line.trim_start().starts_with("NAME"))
        .skip(1)
        .take(3)
        .map(|line| line.split_whitespace().nth(3).unwrap().parse().unwrap())
        .map(|pid| Pid::from_raw(pid).unwrap())
        .collect();
    (demo, lines, pids)
}

#[test]
fn as_json_it_is_one_object_of_times() {
    let output = phin(&["demo", "--nodes", "4", "--json"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    let report: Value = serde_json::from_str(&text).unwrap();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&report), ["converged_ms", "killed", "left", "nodes"]);
    assert_eq!(keys(&report["killed"]), ["all_ms", "first_ms", "name"]);
    assert_eq!(keys(&report["left"]), ["all_ms", "confirmed", "name"]);
    assert_eq!(report["nodes"], 4);
    assert_eq!(report["left"]["confirmed"], 2);
    let [first, all] = ["first_ms", "all_ms"].map(|key| report["killed"][key].as_u64().unwrap());
    assert!(0 < first && first <= all, "{text}");
}

#[test]
fn for_people_it_tells_a_story_in_plain_text() {
    let output = phin(&["demo", "--nodes", "3"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains('\u{1b}'), "{text}");
    let first = text.lines().next().unwrap();
    assert!(first.contains("all on this machine") && first.contains("--profile local"), "{text}");
    let why = text.lines().find(|line| line.starts_with("Why? n1 says: ")).unwrap();
    assert!(why.contains("observer") && why.contains("with phi"), "{text}");
    for part in ["NAME", "Killing n3 with SIGKILL", "n3 is dead", "n2 left", "Ended all nodes"] {
        assert!(text.contains(part), "{part} is missing: {text}");
    }
}

#[test]
fn logs_of_its_nodes_can_be_shown() {
    let output = phin(&["demo", "--nodes", "3", "--log", "debug", "--json"]).output().unwrap();
    assert!(output.status.success());
    let log = String::from_utf8(output.stderr).unwrap();
    for name in ["n1", "n2", "n3"] {
        let mut lines = log.lines().filter(|line| line.starts_with(&format!("{name} ")));
        assert!(lines.any(|line| line.contains("DEBUG")), "{name}: {log}");
    }
}

#[test]
fn a_signal_ends_everything_it_started() {
    let (mut demo, _output, pids) = start();
    assert_eq!(pids.len(), 3);
    kill_process(Pid::from_child(&demo), Signal::TERM).unwrap();
    assert_eq!(demo.wait().unwrap().code(), Some(1));
    for pid in pids {
        assert!(rustix::process::test_kill_process(pid).is_err(), "{pid:?} still runs");
    }
}

#[test]
fn even_killed_it_leaves_nothing_behind() {
    // Its orphans become children of this process, so that their end can be awaited.
    set_child_subreaper(Some(Pid::INIT)).unwrap();
    let (mut demo, _output, pids) = start();
    demo.kill().unwrap();
    demo.wait().unwrap();
    for pid in pids {
        assert!(waitpid(Some(pid), WaitOptions::empty()).unwrap().is_some());
    }
}

#[test]
fn its_size_has_bounds() {
    for nodes in ["2", "65"] {
        let error = failure_of(&mut phin(&["demo", "--nodes", nodes]), 2);
        assert!(error.contains("3..=64"), "{error}");
    }
}
