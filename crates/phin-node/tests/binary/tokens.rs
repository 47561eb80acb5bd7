//! The HTTP interface with a token, and at a Unix socket.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output, Stdio},
};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::harness::{Node, ask, failure_of, output_of, phin, request};

/// Creates a file with a token.
fn token_file(directory: &TempDir, name: &str) -> String {
    let path = directory.path().join(name).to_str().unwrap().to_owned();
    assert!(output_of(&["key", "token", "--out", &path]).status.success());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    path
}

fn shown(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Every command that asks a node, with arguments that it needs.
const COMMANDS: [&[&str]; 25] = [
    &["members"],
    &["top", "--once"],
    &["info"],
    &["rtt"],
    &["live"],
    &["ready"],
    &["why", "n1"],
    &["place", "key"],
    &["data", "set", "key", "value"],
    &["data", "get", "n1", "key"],
    &["data", "list"],
    &["data", "delete", "key"],
    &["publish", "news", "text"],
    &["query", "news", "text"],
    &["send", "n1", "news", "text"],
    &["watch"],
    &["data", "watch"],
    &["leader"],
    &["leader", "office"],
    &["lead", "office", "--", "/bin/true"],
    &["tags"],
    &["drain"],
    &["serve"],
    &["forget", "n1"],
    &["leave"],
];

#[test]
fn without_the_token_only_probes_are_answered() {
    let directory = tempfile::tempdir().unwrap();
    let path = token_file(&directory, "http.token");
    let token = fs::read_to_string(&path).unwrap();
    let node = Node::start(&["--name", "n1", "--http-token-file", &path]);
    let get = |path: &str, token: &str| {
        let head = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n", node.http);
        request(&node.http, &format!("{head}Authorization: Bearer {token}\r\n\r\n"))
    };
    assert_eq!((node.get("/livez").status, node.get("/readyz").status), (200, 200));
    let index = node.get("/");
    assert_eq!((index.status, index.json()["paths"].is_array()), (200, true));
    for path in ["/metrics", "/v1/members", "/v1/events", "/nowhere"] {
        let refused = node.get(path);
        assert_eq!(refused.status, 401, "{path}");
        assert!(refused.head.contains("www-authenticate: Bearer\r\n"), "{}", refused.head);
        assert!(refused.error().contains("--token-file"), "{}", refused.error());
    }
    assert_eq!(ask(&node, "POST", "/v1/leave", "").status, 401);
    let wrong = get("/v1/members", "0123456789abcdef");
    assert_eq!(wrong.status, 401);
    assert!(wrong.head.contains("error=\"invalid_token\""), "{}", wrong.head);
    let metrics = get("/metrics", token.trim());
    assert_eq!(metrics.status, 200);
    let refused = "\nphin_http_unauthorized_total 6\n";
    assert!(metrics.body.contains(refused), "{}", metrics.body);
    let warned = node.log("an HTTP request has no valid token");
    assert_eq!(warned["refused"], 1, "the first of a minute is logged");
}

#[test]
fn every_command_sends_the_token() {
    let directory = tempfile::tempdir().unwrap();
    let path = token_file(&directory, "http.token");
    let token = fs::read_to_string(&path).unwrap();
    let node = Node::start(&["--name", "n1", "--http-token-file", &path]);
    for arguments in COMMANDS.iter().filter(|command| !["live", "ready"].contains(&command[0])) {
        let error = failure_of(phin(arguments).env("PHIN_HTTP", &node.http), 1);
        assert!(error.contains("401") && error.contains("--token-file"), "{arguments:?}: {error}");
    }
    let members = |command: &mut Command| {
        shown(command.env("PHIN_HTTP", &node.http).output().unwrap()).contains("n1")
    };
    assert!(members(&mut phin(&["members", "--token-file", &path])));
    assert!(members(phin(&["members"]).env("PHIN_HTTP_TOKEN_FILE", &path)));
    assert!(members(phin(&["members"]).env("PHIN_HTTP_TOKEN", &token)));
    let stream = |arguments: &[&str]| {
        let mut command = phin(arguments);
        command.env("PHIN_HTTP", &node.http).env("PHIN_HTTP_TOKEN", &token);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        line
    };
    assert!(stream(&["watch", "--json"]).contains("n1"));
    let other = token_file(&directory, "other.token");
    let arguments = ["members", "--token-file", &other];
    let wrong = failure_of(phin(&arguments).env("PHIN_HTTP", &node.http), 1);
    assert!(wrong.contains("not one of this node"), "{wrong}");
    fs::set_permissions(&other, fs::Permissions::from_mode(0o644)).unwrap();
    let open = failure_of(&mut phin(&arguments), 2);
    assert!(open.contains("--token-file: ") && open.contains("mode 0644"), "{open}");
    let short = failure_of(phin(&["members"]).env("PHIN_HTTP_TOKEN", "short"), 2);
    assert!(short.contains("PHIN_HTTP_TOKEN: token 1 has 5 characters"), "{short}");
}

#[test]
fn a_program_on_events_can_use_the_token_of_its_node() {
    let directory = tempfile::tempdir().unwrap();
    let path = token_file(&directory, "http.token");
    let found = directory.path().join("found");
    let script = directory.path().join("hook");
    let text = format!(
        "#!/bin/sh\n{} members --json > {}.new && mv {}.new {}\n",
        env!("CARGO_BIN_EXE_phin"),
        found.display(),
        found.display(),
        found.display()
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let on = format!("joined={}", script.display());
    let node = Node::start(&["--name", "n1", "--http-token-file", &path, "--on", &on]);
    let start = std::time::Instant::now();
    while !found.exists() {
        assert!(start.elapsed() < crate::harness::PATIENCE, "the program found no members");
        assert_eq!(node.get("/livez").status, 200);
    }
    assert!(fs::read_to_string(&found).unwrap().contains("\"n1\""));
}

#[test]
fn a_socket_serves_every_command() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("n1.sock");
    let http = format!("unix:{}", path.display());
    let node = Node::start_at(&http, &["--name", "n1"]);
    assert_eq!(node.http, http);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let run = |arguments: &[&str]| phin(arguments).env("PHIN_HTTP", &http).output().unwrap();
    assert_eq!(shown(run(&["ready"])), "ready\n");
    assert!(shown(run(&["members"])).contains("n1"));
    assert!(shown(run(&["tags", "--set", "zone=a"])).contains("zone=a"));
    shown(run(&["data", "set", "key", "value"]));
    assert_eq!(shown(run(&["data", "get", "n1", "key"])), "value");
    shown(run(&["leave"]));
}

#[test]
fn a_socket_of_a_killed_node_is_taken_over_and_that_of_a_running_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("n1.sock");
    let http = format!("unix:{}", path.display());
    let mut first = Node::start_at(&http, &["--name", "n1"]);
    let arguments = ["run", "--bind", "127.0.0.1:0", "--http", &http];
    let mut second = phin(&arguments);
    let error = failure_of(second.env("PHIN_CLUSTER_KEY", crate::harness::KEY), 1);
    assert!(error.contains(&http) && error.contains("another process listens"), "{error}");
    first.signal(Signal::KILL);
    first.wait();
    assert!(Path::new(&path).exists());
    let gone = failure_of(phin(&["members"]).env("PHIN_HTTP", &http), 1);
    assert!(gone.contains(&http) && gone.contains("does not answer"), "{gone}");
    let mut third = Node::start_at(&http, &["--name", "n1"]);
    assert!(output_of(&["leave", "--http", &http]).status.success());
    assert!(third.wait().success());
    assert!(!path.exists(), "the socket goes with its node");
}
