//! `--on`: programs that run on events.

use std::{
    fs::{self, File},
    io::Read,
    path::Path,
    process::Command,
    sync::mpsc,
    thread,
    time::Instant,
};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{KEY, Node, PATIENCE, failure_of, phin, said, text};

/// A script for the shell, as the program of a hook. The shell reads it, so it need not be executable.
fn script(directory: &TempDir, script: &str) -> String {
    let path = directory.path().join("script");
    fs::write(&path, script).unwrap();
    format!("/bin/sh {}", path.display())
}

/// Waits until the file has a last line, and returns all.
fn lines_with(path: &Path, last: &str) -> Vec<String> {
    let started = Instant::now();
    loop {
        let text = fs::read_to_string(path).unwrap_or_default();
        let lines: Vec<_> = text.lines().map(str::to_owned).collect();
        if lines.last().is_some_and(|line| line == last) {
            return lines;
        }
        assert!(started.elapsed() < PATIENCE, "{lines:?}");
        thread::yield_now();
    }
}

fn fifo(directory: &TempDir) -> String {
    let path = directory.path().join("fifo").to_str().unwrap().to_owned();
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    path
}

#[test]
fn a_program_receives_the_death_of_a_member_and_no_secret() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    let program = script(
        &directory,
        &format!("{{ cat; env; echo end; }} >>'{}'\necho problem >&2", file.display()),
    );
    let n1 = Node::start(&[
        "--name",
        "n1",
        "--on",
        &format!("dead[role=db]={program}"),
        "--on",
        "left=/bin/false",
    ]);
    let mut members = ["web", "db"].map(|role| {
        let tag = format!("role={role}");
        let member = Node::start(&["--name", role, "--join", &n1.addr, "--tag", &tag]);
        n1.event_of("joined", role);
        member
    });
    for (member, name) in members.iter_mut().zip(["web", "db"]) {
        member.signal(Signal::KILL);
        member.wait();
        n1.event_of("dead", name);
    }
    let lines = lines_with(&file, "end");
    let event: Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!((&event["event"], &event["member"]["name"]), (&"dead".into(), &"db".into()));
    assert!(event["silence"].is_string() && event["version"].is_u64(), "{event}");
    let mut own: Vec<_> = lines.iter().filter(|line| line.starts_with("PHIN_")).collect();
    own.sort_unstable();
    let id = n1.get("/v1/members").json()["self"].as_str().unwrap().to_owned();
    let expected = [
        "PHIN_CLUSTER=phin".to_owned(),
        format!("PHIN_HTTP=http://{}", n1.http),
        "PHIN_NODE=n1".to_owned(),
        format!("PHIN_NODE_ID={id}"),
    ];
    assert!(own.iter().copied().eq(&expected), "{own:?}");
    assert!(!lines.concat().contains(KEY), "{lines:?}");
    assert_eq!(text(&n1.log("error output of a program")["line"]), "problem");
    let metrics = n1.get("/metrics").body;
    for (name, count) in [("hook_runs_total", 1), ("hook_events_missed_total", 0)] {
        let line = format!("\nphin_{name}{{hook=\"1\",program=\"/bin/sh\"}} {count}\n");
        assert!(metrics.contains(&line), "{metrics}");
    }
    assert!(metrics.contains("\nphin_hook_runs_total{hook=\"2\",program=\"/bin/false\"} 0\n"));
}

#[test]
fn a_program_receives_the_messages_of_its_topic() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    let program = script(&directory, &format!("cat >>'{}'", file.display()));
    let n1 = Node::start(&["--name", "n1", "--on", &format!("topic:news,left={program}")]);
    said(&["publish", "other", "unread"], &n1);
    said(&["publish", "news", "v42"], &n1);
    said(&["send", "n1", "news", "only yours"], &n1);
    let started = Instant::now();
    let lines = loop {
        let text = fs::read_to_string(&file).unwrap_or_default();
        if text.lines().count() >= 2 {
            break text
                .lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect::<Vec<Value>>();
        }
        assert!(started.elapsed() < PATIENCE, "{text:?}");
        thread::yield_now();
    };
    let brief = lines.iter().map(|line| [&line["topic"], &line["route"], &line["text"]]);
    let expected = [["news", "published", "v42"], ["news", "sent", "only yours"]];
    assert!(brief.eq(expected), "{lines:#?}");
}

#[test]
fn a_program_that_fails_or_hangs_disturbs_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    let program = script(&directory, &format!("{{ cat; echo end; }} >>'{}'", file.display()));
    let gone = directory.path().join("gone");
    fs::copy("/bin/false", &gone).unwrap();
    let mut arguments = vec!["--name".into(), "n1".into(), "--hook-timeout".into(), "3s".into()];
    let gone_path = gone.display();
    for program in
        ["/bin/sleep 1000", "/usr/bin/yes", "/bin/false", &gone_path.to_string(), &program]
    {
        arguments.extend(["--on".into(), format!("left={program}")]);
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let n1 = Node::start(&arguments);
    fs::remove_file(gone).unwrap();
    let mut n2 = Node::join("n2", &n1);
    n1.event_of("joined", "n2");
    n2.signal(Signal::TERM);
    n2.wait();
    lines_with(&file, "end");
    let mut failed: Vec<_> =
        (0..4).map(|_| n1.log("the program of a hook failed")["hook"].as_u64().unwrap()).collect();
    failed.sort_unstable();
    assert_eq!(failed, [1, 2, 3, 4]);
    let metrics = n1.get("/metrics").body;
    let failures: Vec<_> =
        metrics.lines().filter(|line| line.starts_with("phin_hook_failures_total{")).collect();
    for (hook, reason) in [(1, "timeout"), (2, "timeout"), (3, "exit"), (4, "start")] {
        let is_counted = |line: &&&str| {
            line.contains(&format!("{{hook=\"{hook}\","))
                && line.ends_with(&format!(",reason=\"{reason}\"}} 1"))
        };
        assert_eq!(failures.iter().filter(is_counted).count(), 1, "{failures:#?}");
    }
    assert_eq!(n1.get("/readyz").status, 200);
}

#[test]
fn a_node_that_leaves_ends_its_programs() {
    let directory = tempfile::tempdir().unwrap();
    let held = fifo(&directory);
    let program = script(&directory, &format!("exec 3>'{held}'\nsleep 1000 &\nsleep 1000"));
    let mut n1 = Node::start(&["--name", "n1", "--on", &format!("joined={program}")]);
    // Opening it waits for the program, which runs for the node itself.
    let mut held = File::open(held).unwrap();
    n1.signal(Signal::TERM);
    assert_eq!(n1.wait().code(), Some(0));
    assert_eq!(n1.rest().last().unwrap()["event"], "departed");
    let (sender, closed) = mpsc::channel();
    thread::spawn(move || sender.send(held.read_to_end(&mut Vec::new()).unwrap()));
    closed.recv_timeout(PATIENCE).expect("a process of the program still runs");
}

#[test]
fn what_is_no_hook_is_named_at_the_start() {
    for (hook, problem) in [
        ("dead=/no/such/program", "/no/such/program: No such file"),
        ("dead=/dev/null", "not an executable file"),
        ("died=/bin/true", "allowed are joined, "),
        ("/bin/true", "expected EVENT"),
    ] {
        let error = failure_of(phin(&["run", "--on", hook]).env("PHIN_CLUSTER_KEY", KEY), 2);
        assert!(error.contains("--on is ") && error.contains(problem), "{error}");
    }
}
