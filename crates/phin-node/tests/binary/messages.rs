//! Messages: published and sent over HTTP and by commands, followed on other members, and refused where a limit is reached.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    io::Write,
    process::{Child, Stdio},
    sync::mpsc::Receiver,
};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Node, PATIENCE, ask, failure_of, lines_of, output_of, phin, request, said};

/// A `phin watch --json` of topics, ended with the test.
struct Watch {
    child: Child,
    lines: Receiver<Value>,
}

impl Watch {
    /// Returns once the subscription begins.
    fn start(node: &Node, arguments: &[&str]) -> Self {
        let command = [&["watch", "--json", "--http", &node.http], arguments].concat();
        let mut child = phin(&command).stdout(Stdio::piped()).spawn().unwrap();
        let lines = lines_of(child.stdout.take().unwrap());
        let watch = Self { child, lines };
        assert_eq!(watch.next()["event"], "subscribed");
        watch
    }

    fn next(&self) -> Value {
        let line = self.lines.recv_timeout(PATIENCE).unwrap();
        assert!(line["at"].as_str().unwrap().ends_with('Z'), "{line}");
        line
    }

    /// Its next line is a message of this member with this content.
    fn expect(&self, member: &str, topic: &str, text: &str) -> Value {
        let line = self.next();
        let brief =
            ["event", "topic", "text"].map(|field| line[field].as_str().unwrap_or_default());
        assert_eq!(brief, ["message", topic, text], "{line}");
        assert_eq!(line["member"]["name"], member, "{line}");
        line
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Three members that know each other.
pub(crate) fn three() -> [Node; 3] {
    let n1 = Node::start(&["--name", "n1", "--tag", "role=db"]);
    let n2 = Node::start(&["--name", "n2", "--join", &n1.addr, "--tag", "role=web"]);
    let n3 = Node::start(&["--name", "n3", "--join", &n1.addr, "--tag", "role=db"]);
    let nodes = [n1, n2, n3];
    for node in &nodes {
        let known = RefCell::new(BTreeSet::new());
        node.event("joined of all", |line| {
            let mut known = known.borrow_mut();
            if line["event"] == "joined" {
                known.insert(line["member"]["name"].to_string());
            }
            known.len() == 3
        });
    }
    nodes
}

/// Runs a command of this node, which must fail, and returns its error.
fn error_of(arguments: &[&str], node: &Node) -> String {
    failure_of(&mut phin(&[arguments, &["--http", &node.http]].concat()), 1)
}

#[test]
fn what_one_member_publishes_is_read_on_all() {
    let [n1, n2, n3] = three();
    let topics = ["--topic", "news", "--topic-prefix", "cache/"];
    let watches = [&n1, &n2, &n3].map(|node| Watch::start(node, &topics));
    let published = said(&["publish", "news", "v42"], &n1);
    assert_eq!(published, "published to news, 3 bytes, number 1\n");
    said(&["publish", "other", "unread"], &n1);
    said(&["publish", "cache/flush", "-5"], &n1);
    said(&["publish", "news", "for the web", "--filter", "role=web"], &n1);
    let answer = ask(&n1, "POST", "/v1/publish/cache%2Fwarm?coalesce=key", "all");
    let expected = json!({ "topic": "cache/warm", "sequence": 5, "bytes": 3 });
    assert_eq!((answer.status, answer.json()), (200, expected));
    for (watch, is_web) in watches.iter().zip([false, true, false]) {
        let first = watch.expect("n1", "news", "v42");
        assert_eq!((&first["route"], &first["sequence"]), (&"published".into(), &1.into()));
        assert_eq!((&first["generation"], &first["bytes"]), (&1.into(), &3.into()));
        watch.expect("n1", "cache/flush", "-5");
        if is_web {
            watch.expect("n1", "news", "for the web");
        }
        let last = watch.expect("n1", "cache/warm", "all");
        assert_eq!((&last["sequence"], &last["coalesce"]), (&5.into(), &"key".into()));
    }
    let metrics = n1.get("/metrics").body;
    assert!(metrics.contains("\nphin_swim_publications_sent_total 5\n"), "{metrics}");
}

#[test]
fn standard_input_is_published_as_it_is_and_never_cut() {
    let n1 = Node::start(&["--name", "n1"]);
    let watch = Watch::start(&n1, &["--topic", "blob"]);
    let publish = |bytes: &[u8]| {
        let mut command = phin(&["publish", "blob", "-", "--http", &n1.http]);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut publish = command.spawn().unwrap();
        publish.stdin.take().unwrap().write_all(bytes).unwrap();
        publish.wait_with_output().unwrap()
    };
    assert!(publish(b"\xff\0").status.success());
    let line = watch.next();
    assert_eq!((&line["base64"], &line["bytes"]), (&"/wA=".into(), &2.into()));
    let longest = "x".repeat(64 * 1_024);
    assert!(publish(longest.as_bytes()).status.success());
    watch.expect("n1", "blob", &longest);
    let refused = publish((longest + "x").as_bytes());
    assert_eq!(refused.status.code(), Some(2));
    let error = String::from_utf8(refused.stderr).unwrap();
    assert!(error.contains("at most 65536 bytes"), "{error}");
}

#[test]
fn a_message_to_one_member_ends_with_what_became_of_it() {
    let [n1, n2, mut n3] = three();
    let no_receiver = "n2: the member has no subscription of the topic\n";
    let error = error_of(&["send", "n2", "jobs", "one"], &n1);
    assert!(error.contains("503") && error.ends_with(no_receiver), "{error}");
    let watch = Watch::start(&n2, &["--topic", "jobs"]);
    assert_eq!(said(&["send", "n2", "jobs", "two"], &n1), "delivered to n2, 3 bytes\n");
    assert_eq!(watch.expect("n1", "jobs", "two")["route"], "sent");
    let answer = ask(&n1, "POST", "/v1/send/n2/jobs?timeout=30s&generation=1", "three");
    assert_eq!(answer.status, 200, "{}", answer.body);
    let answer = answer.json();
    assert_eq!((&answer["delivered"], &answer["member"]["name"]), (&true.into(), &"n2".into()));
    assert_eq!((&answer["topic"], &answer["bytes"]), (&"jobs".into(), &5.into()));
    watch.expect("n1", "jobs", "three");
    let long = "x".repeat(1_024 * 1_024);
    assert_eq!(ask(&n1, "POST", "/v1/send/n2/jobs", &long).status, 200);
    watch.expect("n1", "jobs", &long);
    assert_eq!(said(&["send", "n2", "jobs", "four", "--datagram"], &n1), "sent to n2, 4 bytes\n");
    watch.expect("n1", "jobs", "four");

    let error = error_of(&["send", "n4", "jobs", ""], &n1);
    assert!(error.contains("404: no member has the name \"n4\""), "{error}");
    let earlier = ask(&n1, "POST", "/v1/send/n2/jobs?generation=0", "");
    assert_eq!((earlier.status, &earlier.json()["reason"]), (409, &"restarted".into()));

    let _watch = Watch::start(&n3, &["--topic", "jobs"]);
    n3.stop();
    let late = ask(&n1, "POST", "/v1/send/n3/jobs?timeout=50ms", "late");
    let expected = json!({
        "error": "n3: the member did not answer in time; it may have taken the message",
        "reason": "timed-out", "delivered": null,
    });
    assert_eq!((late.status, late.json()), (504, expected));
    let waits = phin(&["send", "n3", "jobs", "x", "--timeout", "1m", "--http", &n1.http])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    n3.signal(Signal::KILL);
    n3.wait();
    let output = waits.wait_with_output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    // It may be sent before the death is known, or after.
    assert!(
        error.contains("409: n3: the member died; ") || error.contains("n3: the member is dead"),
        "{error}"
    );
    n1.event_of("dead", "n3");
    let dead = ask(&n1, "POST", "/v1/send/n3/jobs", "");
    let expected =
        json!({ "error": "n3: the member is dead", "reason": "dead", "delivered": false });
    assert_eq!((dead.status, dead.json()), (409, expected));
}

#[test]
fn what_may_not_be_published_or_sent_is_refused_with_the_reason() {
    let limits = ["--max-publications-per-second", "1"];
    let n1 = Node::start(&[&["--name", "n1"], &limits[..]].concat());
    let long = "x".repeat(64 * 1_024 + 1);
    let long_topic = format!("/v1/publish/{}", "t".repeat(129));
    for (path, body, status, reason) in [
        ("/v1/publish/news", &*long, 413, "at most 65536 bytes"),
        (&*long_topic, "x", 400, "1 to 128 bytes, not 129"),
        ("/v1/publish/a%20b", "x", 400, "cannot contain ' '"),
        ("/v1/publish/news?filter=role", "x", 400, "role"),
        ("/v1/publish/news?coalesce=", "x", 400, "coalesce key"),
        ("/v1/publish/news?key=a", "x", 400, "unexpected parameter \"key\""),
        ("/v1/publish/", "x", 404, "no such path"),
        ("/v1/send/n1/a%20b", "x", 400, "cannot contain ' '"),
        ("/v1/send/n1/news?timeout=2", "x", 400, "1ms to 1m"),
        ("/v1/send/n1/news?datagram=true", &*long, 413, "can be sent"),
        ("/v1/send/n1", "x", 404, "no such path"),
    ] {
        let answer = ask(&n1, "POST", path, body);
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        assert!(answer.error().contains(reason), "{path}: {}", answer.body);
    }
    assert_eq!(n1.get("/v1/publish/news").status, 405, "a link publishes nothing");
    // A body of unknown length is read no further than allowed.
    let head = format!("POST /v1/publish/news HTTP/1.1\r\nHost: {}\r\n", n1.http);
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n10001\r\n{long}\r\n0\r\n\r\n");
    let chunked = request(&n1.http, &chunked);
    assert_eq!((chunked.status, chunked.error().contains("65536 bytes")), (413, true));
    for (headers, status) in [
        ("Origin: http://evil.example\r\n", 403),
        ("Content-Type: application/x-www-form-urlencoded\r\n", 415),
        ("Content-Type: text/plain\r\n", 415),
        ("Content-Type: application/octet-stream\r\n", 200),
    ] {
        let answer = request(&n1.http, &format!("{head}{headers}Content-Length: 1\r\n\r\nx"));
        assert_eq!(answer.status, status, "{headers}: {}", answer.body);
    }
    // On a slow machine, a request may take as long as the next message has to wait.
    let mut answers = (0..1_000).map(|_| ask(&n1, "POST", "/v1/publish/news", ""));
    let busy = answers.find(|answer| answer.status != 200).unwrap();
    assert_eq!(busy.status, 429, "{}", busy.body);
    assert!(busy.head.contains("\r\nretry-after: 1\r\n"), "{}", busy.head);
    assert!(busy.error().contains("publishes too much"), "{}", busy.body);
}

#[test]
fn messages_come_in_the_stream_of_changes_if_both_are_wanted() {
    let n1 = Node::start(&["--name", "n1"]);
    let watch = Watch::start(&n1, &["--topic", "news", "--members", "--filter", "role=web"]);
    let snapshot = watch.next();
    assert_eq!((&snapshot["event"], &snapshot["members"]), (&"snapshot".into(), &json!([])));
    said(&["publish", "news", "one"], &n1);
    watch.expect("n1", "news", "one");
    said(&["tags", "--set", "role=web"], &n1);
    assert_eq!(watch.next()["event"], "updated");
    for query in
        ["members=false", "members=no&topic=a", "members=false&topic=a&filter=b%3Dc", "topic=a%20b"]
    {
        assert_eq!(n1.get(&format!("/v1/events?{query}")).status, 400, "{query}");
    }
}

#[test]
fn watch_prints_lines_that_are_safe_on_a_terminal() {
    let n1 = Node::start(&["--name", "n1"]);
    let command = ["watch", "--topic", "news", "--http", &n1.http];
    let mut child = phin(&command).stdout(Stdio::piped()).spawn().unwrap();
    let lines = lines_of(child.stdout.take().unwrap());
    let next = || {
        let line = lines.recv_timeout(PATIENCE).unwrap();
        line.as_str().unwrap().split_once(' ').unwrap().1.to_owned()
    };
    assert_eq!(next(), "subscribed topic=news");
    said(&["publish", "news", "a\n\u{1b}[2Jb"], &n1);
    assert_eq!(next(), "message    n1 news: a\\u{a}\\u{1b}[2Jb");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_request_that_cannot_be_meant_is_refused_before_it_is_sent() {
    for (arguments, reason) in [
        (&["publish", "two words", "x"][..], "a topic cannot contain ' '"),
        (&["publish", "news"], "<TEXT>"),
        (&["publish", "news", "x", "--filter", "role"], "role"),
        (&["send", "n1", "", "x"], "1 to 128 bytes"),
        (&["send", "n1", "news", "x", "--timeout", "2m"], "up to 1m"),
        (&["send", "n1", "news", "x", "--datagram", "--timeout", "2s"], "--timeout"),
        (&["watch", "--members"], "--members belongs to --topic"),
        (&["watch", "--topic", "news", "--filter", "a=b"], "add --members"),
    ] {
        let output = output_of(arguments);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
        assert!(error.contains(reason), "{arguments:?}: {error}");
    }
}
