//! Queries over HTTP and by `phin query`: an outcome for each member, and limits.

use std::{
    io::{BufReader, Write},
    process::{Output, Stdio},
    thread,
    time::Instant,
};

use rustix::process::Signal;

use serde_json::{Value, json};

use crate::{
    harness::{Node, PATIENCE, ask, connect, failure_of, head, output_of, phin, text},
    messages::three,
};

/// Runs `phin query` at this node.
fn query(arguments: &[&str], node: &Node) -> Output {
    output_of(&[&["query", "--http", &node.http], arguments].concat())
}

/// The exit code, and the lines of standard output and error.
fn shown(output: &Output) -> (i32, Vec<String>, String) {
    let mut lines: Vec<_> =
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    lines.sort_unstable();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().unwrap(), lines, error)
}

#[test]
fn members_without_a_reply_are_named_with_the_reason() {
    let [n1, _n2, _n3] = three();
    let (code, lines, error) = shown(&query(&["free", "/var", "--filter", "role=web"], &n1));
    assert_eq!((code, lines), (3, vec![]), "{error}");
    assert_eq!(error, "0 of 1 members replied; no reply: n2 (no-handler)\n");
    let (code, lines, error) = shown(&query(&["free", "/var", "--filter", "role=none"], &n1));
    assert_eq!((code, lines), (3, vec![]), "{error}");
    assert_eq!(error, "no member was asked: none matches\n");
    let (code, lines, error) = shown(&query(&["free", "", "--sample", "2"], &n1));
    assert_eq!((code, lines), (3, vec![]), "{error}");
    assert!(error.starts_with("0 of 2 members replied; no reply: n"), "{error}");

    let (code, lines, error) = shown(&query(&["free", "/var", "--json", "--timeout", "1m"], &n1));
    assert_eq!((code, lines.len()), (3, 4), "{error}");
    let lines: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0], json!({ "ended": "complete", "outcomes": { "no-handler": 3 } }));
    let mut names: Vec<_> = lines[1..].iter().map(|line| text(&line["member"]["name"])).collect();
    names.sort_unstable();
    assert_eq!(names, ["n1", "n2", "n3"]);
    let answer = ask(&n1, "POST", "/v1/query/free?timeout=1m&filter=role%3Dweb", "/var");
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(answer.head.contains("\r\ncontent-type: application/x-ndjson\r\n"), "{}", answer.head);
    let last = "{\"ended\":\"complete\",\"outcomes\":{\"no-handler\":1}}\n";
    assert!(answer.body.contains("\"outcome\":\"no-handler\""), "{}", answer.body);
    assert!(answer.body.contains(last), "{}", answer.body);
}

#[test]
fn what_may_not_be_asked_is_refused_with_the_reason() {
    let n1 = Node::start(&["--name", "n1", "--max-publications-per-second", "1"]);
    let long = "x".repeat(64 * 1_024 + 1);
    for (path, body, status, reason) in [
        ("/v1/query/free", &*long, 413, "at most 65536 bytes"),
        ("/v1/query/a%20b", "x", 400, "cannot contain ' '"),
        ("/v1/query/free?filter=role", "x", 400, "role"),
        ("/v1/query/free?timeout=2", "x", 400, "10ms to 10m"),
        ("/v1/query/free?timeout=11m", "x", 400, "10ms to 600s"),
        ("/v1/query/free?first=0", "x", 400, "at least one member"),
        ("/v1/query/free?first=many", "x", 400, "a number of members"),
        ("/v1/query/free?sample=1025", "x", 400, "at most 1024 members"),
        ("/v1/query/free?sample=1&first=1", "x", 400, "not both"),
        ("/v1/query/free?key=a", "x", 400, "unexpected parameter \"key\""),
        ("/v1/query/", "x", 404, "no such path"),
    ] {
        let answer = ask(&n1, "POST", path, body);
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        assert!(answer.error().contains(reason), "{path}: {}", answer.body);
    }
    assert_eq!(n1.get("/v1/query/free").status, 405, "a link asks nothing");
    let mut answers = (0..1_000).map(|_| ask(&n1, "POST", "/v1/query/free", ""));
    let busy = answers.find(|answer| answer.status != 200).unwrap();
    assert_eq!(busy.status, 429, "{}", busy.body);
    assert!(busy.head.contains("\r\nretry-after: 1\r\n"), "{}", busy.head);
    let refused = failure_of(&mut phin(&["query", "free", "", "--http", "127.0.0.1:1"]), 1);
    assert!(refused.contains("does not answer"), "{refused}");
    for (arguments, reason) in [
        (&["two words", "x"][..], "a topic cannot contain ' '"),
        (&["free", "x", "--timeout", "11m"], "10ms to 10m"),
        (&["free", "x", "--first", "1", "--sample", "1"], "--sample"),
    ] {
        let (code, _, error) = shown(&query(arguments, &n1));
        assert!(code == 2 && error.contains(reason), "{arguments:?}: {error}");
    }
}

/// Waits until the metrics of a node have this line.
fn until_metric(node: &Node, line: &str) {
    let started = Instant::now();
    while !node.get("/metrics").body.contains(&format!("\n{line}\n")) {
        assert!(started.elapsed() < PATIENCE, "{line}");
        thread::yield_now();
    }
}

#[test]
fn programs_answer_and_a_member_that_dies_is_named() {
    let n1 = Node::start(&["--name", "n1"]);
    let answers = ["--answer", "free=/bin/cat", "--answer", "quick=/bin/cat"];
    let n2 = Node::start(&[&["--name", "n2", "--join", &n1.addr], &answers[..]].concat());
    let mut n3 =
        Node::start(&["--name", "n3", "--join", &n1.addr, "--answer", "free=/bin/sleep 1000"]);
    for name in ["n2", "n3"] {
        n1.event_of("joined", name);
    }
    let first = shown(&query(&["quick", "/var", "--first", "1", "--timeout", "1m"], &n1));
    assert_eq!((first.0, &first.1), (0, &vec!["n2: /var".to_owned()]), "{}", first.2);
    assert!(first.2.starts_with("enough members replied: 1"), "{}", first.2);

    let command = ["query", "free", "/var", "--timeout", "5m", "--http", &n1.http];
    let command = phin(&command).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until_metric(&n3, "phin_answer_running{topic=\"free\",program=\"/bin/sleep\"} 1.0");
    n3.signal(Signal::KILL);
    n3.wait();
    let (code, lines, error) = shown(&command.wait_with_output().unwrap());
    assert_eq!((code, lines), (3, vec!["n2: /var".to_owned()]), "{error}");
    assert!(error.starts_with("1 of 3 members replied; no reply: "), "{error}");
    assert!(error.contains("n1 (no-handler)") && error.contains("n3 (dead)"), "{error}");
    until_metric(&n2, "phin_answer_runs_total{topic=\"free\",program=\"/bin/cat\"} 1");
}

/// As many queries can be under way as a node may have. One more is asked here, each by a client that goes away.
#[test]
fn a_client_that_goes_away_ends_its_query() {
    let answer = ["--answer", "slow=/bin/sleep 1000", "--hook-timeout", "1h"];
    let n1 = Node::start(&[&["--name", "n1"], &answer[..]].concat());
    let path = "/v1/query/slow?timeout=10m";
    let request = format!("POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\n\r\n", n1.http);
    for _ in 0..65 {
        let started = Instant::now();
        loop {
            let mut stream = connect(&n1.http);
            stream.write_all(request.as_bytes()).unwrap();
            let head = head(&mut BufReader::new(stream));
            if head.starts_with("HTTP/1.1 200") {
                break;
            }
            // Too many subscribers and queries: the node has not noticed yet that the last client went away.
            assert!(started.elapsed() < PATIENCE, "{head}");
            thread::yield_now();
        }
    }
}
