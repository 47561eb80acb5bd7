//! Offices: a program that runs where the office is held and nowhere else, and ends in time whatever is killed or stopped.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::mpsc::Receiver,
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    harness::{Node, PATIENCE, ask, failure_of, lines_of, phin, said},
    messages::three,
};

/// A program that writes `started TOKEN PID`, and `overlap` if another one holds the lock.
const WORKER: &str = "#!/bin/sh
exec 9>>\"$1\"
flock --nonblock 9 || echo overlap
echo started $PHIN_TOKEN $$
exec sleep 1000
";

/// A `phin lead` with a worker, ended with the test.
struct Lead {
    child: Child,
    lines: Receiver<Value>,
}

/// The worker, and the lock that only one holds.
struct Worker {
    dir: TempDir,
}

impl Worker {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("worker"), WORKER).unwrap();
        Self { dir }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("worker")
    }

    fn lead(&self, node: &Node, options: &[&str]) -> Lead {
        let (worker, lock) = (self.path(), self.dir.path().join("lock"));
        let program = ["--", "/bin/sh", text(&worker), text(&lock)];
        Lead::start(node, &[options, &program].concat())
    }
}

impl Lead {
    fn start(node: &Node, arguments: &[&str]) -> Self {
        let command = [&["lead", "job", "--http", &node.http], arguments].concat();
        let mut child = phin(&command).stdout(Stdio::piped()).spawn().unwrap();
        let lines = lines_of(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// Waits for the start of the worker; returns its token and process.
    fn started(&self) -> (u64, Pid) {
        let line = self.lines.recv_timeout(PATIENCE).unwrap();
        let line = line.as_str().unwrap();
        let words: Vec<_> = line.split(' ').collect();
        assert_eq!(words[0], "started", "{line}");
        (words[1].parse().unwrap(), Pid::from_raw(words[2].parse().unwrap()).unwrap())
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn stop(&self) {
        kill_process(self.pid(), Signal::STOP).unwrap();
        waitid(WaitId::Pid(self.pid()), WaitIdOptions::STOPPED).unwrap();
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The process that guards a worker: its parent.
fn guard_of(worker: Pid) -> Pid {
    let stat = fs::read_to_string(format!("/proc/{}/stat", worker.as_raw_pid())).unwrap();
    let parent = stat.rsplit(')').next().unwrap().split_whitespace().nth(1).unwrap();
    Pid::from_raw(parent.parse().unwrap()).unwrap()
}

#[test]
fn a_program_runs_where_the_office_is_held_whatever_is_killed_or_stopped() {
    type Fault = fn(&Node, &Lead, Pid);
    let faults: [(&str, Fault); 5] = [
        ("`phin lead` is killed", |_, lead, _| kill_process(lead.pid(), Signal::KILL).unwrap()),
        ("`phin lead` is stopped", |_, lead, _| lead.stop()),
        ("the node is stopped", |node, _, _| node.stop()),
        ("the node is killed", |node, _, _| node.signal(Signal::KILL)),
        ("the guard is killed", |_, _, worker| {
            kill_process(guard_of(worker), Signal::KILL).unwrap();
        }),
    ];
    for (what, fault) in faults {
        let nodes = three();
        let worker = Worker::new();
        let options = ["--expected", "3"];
        let first = worker.lead(&nodes[0], &options);
        let (token, process) = first.started();
        let second = worker.lead(&nodes[1], &options);
        fault(&nodes[0], &first, process);
        if what == "the guard is killed" {
            // The candidate that was there goes on, as it still holds the office.
            assert!(first.started().0 >= token, "{what}");
            continue;
        }
        // It does not write `overlap`: the first worker has ended.
        assert!(second.started().0 > token, "{what}");
        if what == "`phin lead` is stopped" {
            kill_process(first.pid(), Signal::CONT).unwrap();
        }
    }
}

#[test]
fn the_end_of_the_program_is_that_of_the_command_and_gives_the_office_up() {
    let [n1, n2, n3] = three();
    let mut first = Lead::start(&n1, &["--expected", "3", "--", "sh", "-c", "echo 1; exit 7"]);
    assert_eq!(first.lines.recv_timeout(PATIENCE).unwrap(), json!(1));
    assert_eq!(first.child.wait().unwrap().code(), Some(7));
    let worker = Worker::new();
    let mut second = worker.lead(&n2, &["--expected", "3"]);
    let (token, _) = second.started();
    let shown = format!("job: held by n2, token {token}\n");
    while said(&["leader", "job"], &n3) != shown {}
    assert_eq!(said(&["leader"], &n3), shown);
    let here = said(&["leader", "job"], &n2);
    assert_eq!(here, format!("job: held by this node, token {token}\n"));
    kill_process(second.pid(), Signal::TERM).unwrap();
    assert_eq!(second.child.wait().unwrap().code(), Some(0));
    while said(&["leader", "job"], &n3) != "job: vacant (released)\n" {}
    let failed = Lead::start(&n1, &["--expected", "3", "--", "/no/such/program"]).child.wait();
    assert_eq!(failed.unwrap().code(), Some(1));
}

#[test]
fn without_a_majority_no_program_runs() {
    let node = Node::start(&["--name", "n1"]);
    let worker = Worker::new();
    let lead = worker.lead(&node, &["--expected", "3"]);
    let expected = "job: vacant (no-majority: 1 of 2 voters needed)\n";
    while said(&["leader", "job"], &node) != expected {}
    assert!(lead.lines.try_recv().is_err());
}

#[test]
fn one_program_stands_for_an_office_at_a_node_for_as_long_as_it_asks() {
    let node = Node::start(&["--name", "n1"]);
    let path = "/v1/leaders/batch%2Fnightly/candidacy";
    let put = |body: Value| ask(&node, "PUT", path, &body.to_string());
    let request = json!({ "session": "a", "expected": 1 });
    let answer = loop {
        let answer = put(request.clone()).json();
        if answer["state"] == "holding" {
            break answer;
        }
    };
    assert_eq!(answer["office"], "batch/nightly");
    assert!(answer["token"].as_u64().unwrap() > 0 && answer["valid_for_ms"].as_u64().unwrap() > 0);
    assert_eq!(put(json!({ "session": "b", "expected": 1 })).status, 409);
    assert_eq!(put(json!({ "session": "a", "expected": 3 })).status, 409);
    for invalid in [
        json!({ "session": "", "expected": 1 }),
        json!({ "session": "c", "expected": 0 }),
        json!({ "session": "c", "expected": 65 }),
        json!({ "session": "c", "voters": "role" }),
        json!({ "session": "c", "ttl": 5 }),
    ] {
        let answer = ask(&node, "PUT", "/v1/leaders/other/candidacy", &invalid.to_string());
        assert_eq!(answer.status, 400, "{invalid}: {}", answer.body);
    }
    assert_eq!(ask(&node, "DELETE", &format!("{path}?session=b"), "").status, 404);
    let ended = ask(&node, "DELETE", &format!("{path}?session=a"), "").json();
    assert_eq!(ended["state"], "vacant");
    assert_eq!(put(json!({ "session": "b", "expected": 1 })).status, 200);
}

#[test]
fn a_bad_office_and_a_silent_node_are_errors() {
    let error = failure_of(&mut phin(&["leader", "two words"]), 2);
    assert!(error.contains("office"), "{error}");
    let address = "http://127.0.0.1:1";
    failure_of(&mut phin(&["leader", "job", "--http", address]), 1);
}
