//! `--admit`: a program decides on newcomers.

use std::{fs, os::unix::fs::PermissionsExt, process::Command, thread, time::Instant};

use crate::harness::{KEY, Node, PATIENCE, failure_of, phin, text};

#[test]
fn a_program_admits_or_refuses_with_a_reason_that_the_newcomer_logs() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("admit");
    let seen = directory.path().join("seen");
    let script = format!(
        "#!/bin/sh\necho \"$@\" >> '{}'\ncase $2 in good*) exit 0;; esac\necho \"$2 is not good\"\nexit 1\n",
        seen.display()
    );
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    let n1 = Node::start(&["--name", "n1", "--admit", program.to_str().unwrap()]);
    let bad = Node::join("bad", &n1);
    let log = bad.log("join through a seed failed");
    assert!(text(&log["reason"]).ends_with("not admitted: bad is not good"), "{log}");
    assert_eq!(text(&n1.log("a newcomer was not admitted")["reason"]), "bad is not good");
    assert_eq!(bad.get("/readyz").status, 503);
    let good = Node::join("good", &n1);
    let joined = n1.event("a member that joined", |line| {
        line["event"] == "joined" && line["member"]["name"] != "n1"
    });
    assert_eq!(joined["member"]["name"], "good", "nobody else is in the list");
    good.event_of("joined", "n1");
    assert_eq!(bad.get("/v1/members").json()["members"].as_array().unwrap().len(), 1);
    assert!(n1.get("/metrics").body.contains("\nphin_swim_joins_refused_total "));
    let id = text(&joined["member"]["id"]);
    let asked = format!("{id} good {} {}\n", good.addr, good.addr);
    let seen = fs::read_to_string(&seen).unwrap();
    assert!(seen.contains(&asked), "{seen}");
}

#[test]
fn a_program_decides_by_its_exit_and_leaves_no_child_behind() {
    let directory = tempfile::tempdir().unwrap();
    let [program, child] = ["admit", "child"].map(|name| directory.path().join(name));
    // The child keeps the program's output open.
    let script = format!("#!/bin/sh\nsleep 1000 &\necho $! > '{}'\nexit 0\n", child.display());
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    let n1 = Node::start(&["--name", "n1", "--admit", program.to_str().unwrap()]);
    let n2 = Node::join("n2", &n1);
    n2.event_of("joined", "n1");
    let child = fs::read_to_string(&child).unwrap();
    let started = Instant::now();
    while is_running(child.trim()) {
        assert!(started.elapsed() < PATIENCE, "the child {child} still runs");
        thread::yield_now();
    }
}

/// Whether there is such a process, and it has not ended (proc(5): the state follows the name in parentheses).
fn is_running(process: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

#[test]
fn what_is_no_program_is_named_at_the_start() {
    let with_key = |program: &str| -> Command {
        let mut command = phin(&["run", "--admit", program]);
        command.env("PHIN_CLUSTER_KEY", KEY);
        command
    };
    for program in ["/dev/null", "/", "no/such/program"] {
        let error = failure_of(&mut with_key(program), 2);
        assert!(error.contains("--admit") && error.contains(program), "{error}");
    }
}
