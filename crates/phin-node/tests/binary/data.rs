//! Member data: written over HTTP and by commands, read by others, followed, and marked where its owner is dead.

use std::{
    io::Write,
    process::{Child, Stdio},
    sync::mpsc::Receiver,
};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Node, PATIENCE, ask, failure_of, lines_of, output_of, phin, request, said};

/// A `phin data watch --json`, ended with the test.
struct Watch {
    child: Child,
    lines: Receiver<Value>,
}

impl Watch {
    fn start(node: &Node, arguments: &[&str]) -> Self {
        let command = [&["data", "watch", "--json", "--http", &node.http], arguments].concat();
        let mut child = phin(&command).stdout(Stdio::piped()).spawn().unwrap();
        let lines = lines_of(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// Its next line says this.
    fn expect(&self, wanted: &str) {
        assert_eq!(brief(&self.lines.recv_timeout(PATIENCE).unwrap()), wanted);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A line without its time.
fn brief(line: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let event = text(&line["event"]);
    assert!(text(&line["at"]).ends_with('Z'), "{line}");
    let details = match &*event {
        "snapshot" => line["keys"].to_string(),
        "owner-gone" => text(&line["reason"]),
        _ => text(&line["key"]) + " " + &text(&line["text"]) + &text(&line["base64"]),
    };
    let details = [event, text(&line["member"]["name"]), details].join(" ");
    details.trim_end().to_owned()
}

#[test]
fn data_is_written_over_http_and_read_on_every_member() {
    let n1 = Node::start(&["--name", "n1"]);
    let n2 = Node::join("n2", &n1);
    n1.event_of("joined", "n2");
    let watch = Watch::start(&n1, &[]);
    watch.expect("snapshot  0");

    let head = format!("PUT /v1/data/cache/state HTTP/1.1\r\nHost: {}\r\n", n2.http);
    let typed = format!("{head}Content-Type: image/png\r\nContent-Length: 4\r\n\r\nwarm");
    let put = request(&n2.http, &typed);
    assert_eq!((put.status, put.json()), (200, json!({ "key": "cache/state", "bytes": 4 })));
    watch.expect("put n2 cache/state warm");
    for path in ["/v1/members/n2/data/cache/state", "/v1/members/n2/data/cache%2Fstate"] {
        let value = n1.get(path);
        assert_eq!((value.status, &*value.body), (200, "warm"));
        assert!(value.head.contains("content-type: text/plain; charset=utf-8"), "{}", value.head);
        assert!(value.head.contains("phin-member-state: alive"), "{}", value.head);
    }
    assert_eq!(n2.get("/v1/data/cache/state").body, "warm");

    let data = n1.get("/v1/members/n2/data").json();
    assert_eq!(
        (&data["member"]["name"], &data["member"]["state"]),
        (&"n2".into(), &"alive".into())
    );
    assert_eq!((&data["generation"], &data["revision"]), (&1.into(), &1.into()));
    assert_eq!(data["bytes"], "cache/statewarm".len());
    let entry = json!({ "key": "cache/state", "bytes": 4, "text": "warm" });
    assert_eq!(data["entries"], json!([entry]));
    assert_eq!(n2.get("/v1/data").json()["entries"], json!([entry]));
    assert_eq!(n1.get("/v1/data").json()["entries"], json!([]));
    for (node, metric) in [
        (&n2, "phin_data_own_keys 1.0"),
        (&n2, "phin_data_own_bytes 15.0"),
        (&n1, "phin_data_own_bytes 0.0"),
        (&n1, "phin_data_known_bytes 15.0"),
        (&n1, "phin_data_members 1.0"),
    ] {
        let metrics = node.get("/metrics").body;
        assert!(metrics.contains(&format!("\n{metric}\n")), "no {metric} in {metrics}");
    }

    assert_eq!(ask(&n2, "PUT", "/v1/data/lease?ttl=50ms", "mine").status, 200);
    watch.expect("put n2 lease mine");
    watch.expect("expire n2 lease");
    let deleted = ask(&n2, "DELETE", "/v1/data/cache/state", "");
    assert_eq!((deleted.status, deleted.json()), (200, json!({ "deleted": "cache/state" })));
    watch.expect("delete n2 cache/state");
    let missing = n1.get("/v1/members/n2/data/cache/state");
    assert_eq!((missing.status, missing.error()), (404, "n2 has no key \"cache/state\"".into()));
    assert_eq!(ask(&n2, "DELETE", "/v1/data/cache/state", "").status, 404);
    assert_eq!(n1.get("/v1/members/n3/data").status, 404);
}

#[test]
fn what_exceeds_a_limit_is_refused_and_the_limit_named() {
    let n1 = Node::start(&["--name", "n1", "--max-data", "10KiB"]);
    let long_key = format!("/v1/data/{}", "k".repeat(129));
    let long = "x".repeat(8 * 1_024 + 1);
    let most = &long[1..];
    assert_eq!(ask(&n1, "PUT", "/v1/data/a", most).status, 200);
    for (path, body, status, reason) in [
        ("/v1/data/a", &*long, 413, "at most 8192 bytes"),
        ("/v1/data/b", most, 413, "at most 10240 bytes, keys included, not 16386"),
        (&*long_key, "x", 400, "1 to 128 bytes, not 129"),
        ("/v1/data/a%20b", "x", 400, "cannot contain ' '"),
        ("/v1/data/%FF", "x", 400, "UTF-8"),
        ("/v1/data/b?ttl=30", "x", 400, "such as 30s"),
        ("/v1/data/b?ttl=0s", "x", 400, "1ms to 366days"),
        ("/v1/data/b?tlt=3s", "x", 400, "unexpected parameter \"tlt\""),
        ("/v1/data/watch", "x", 405, "method not allowed"),
    ] {
        let answer = ask(&n1, "PUT", path, body);
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        assert!(answer.error().contains(reason), "{path}: {}", answer.body);
    }
    // A body of unknown length is read no further than allowed.
    let head = format!("PUT /v1/data/b HTTP/1.1\r\nHost: {}\r\n", n1.http);
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n2001\r\n{long}\r\n");
    let chunked = request(&n1.http, &chunked);
    assert_eq!((chunked.status, chunked.error().contains("8192 bytes")), (413, true));
    let foreign = format!("{head}Origin: http://evil.example\r\nContent-Length: 1\r\n\r\nx");
    assert_eq!(request(&n1.http, &foreign).status, 403, "a web page writes no data");
    for number in 0..255 {
        assert_eq!(ask(&n1, "PUT", &format!("/v1/data/{number}"), "").status, 200);
    }
    let many = ask(&n1, "PUT", "/v1/data/one-more", "");
    assert_eq!((many.status, many.error().contains("at most 256 keys")), (413, true));
    for query in ["filter=role", "filter=a%3Db&filter=c%3Dd", "role=web"] {
        assert_eq!(n1.get(&format!("/v1/data/watch?{query}")).status, 400, "{query}");
    }
    let entries = n1.get("/v1/data").json()["entries"].as_array().unwrap().len();
    assert_eq!(entries, 256, "and nothing else was written");
}

#[test]
fn commands_write_read_and_list() {
    let n1 = Node::start(&["--name", "n1"]);
    assert_eq!(said(&["data", "list"], &n1), "no data\n");
    assert_eq!(said(&["data", "set", "cache/state", "warm"], &n1), "set cache/state, 4 bytes\n");
    assert_eq!(said(&["data", "set", "watch", "-5", "--ttl", "1h"], &n1), "set watch, 2 bytes\n");
    assert_eq!(said(&["data", "get", "n1", "watch"], &n1), "-5");
    assert_eq!(said(&["data", "get", "n1", "cache/state"], &n1), "warm");

    let blob: Vec<u8> = (0..=255).cycle().take(8 * 1_024).collect();
    let set = |value: &[u8]| {
        let mut command = phin(&["data", "set", "blob", "-", "--http", &n1.http]);
        let mut set = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        set.stdin.take().unwrap().write_all(value).unwrap();
        set.wait_with_output().unwrap()
    };
    assert!(set(&blob).status.success());
    let long = set(&[&blob[..], b"x"].concat());
    assert_eq!(long.status.code(), Some(2), "a value is never cut");
    assert!(String::from_utf8_lossy(&long.stderr).contains("at most 8192 bytes"));
    assert_eq!(output_of(&["data", "get", "n1", "blob", "--http", &n1.http]).stdout, blob);

    let table = said(&["data", "list", "n1"], &n1);
    let rows: Vec<Vec<&str>> = table.lines().map(|row| row.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["KEY", "BYTES", "VALUE"], "{table}");
    assert_eq!(rows[1], ["blob", "8192", "(8192", "bytes)"]);
    assert_eq!(rows[2], ["cache/state", "4", "warm"]);
    let listed = said(&["data", "list", "--json"], &n1);
    assert_eq!(serde_json::from_str::<Value>(&listed).unwrap(), n1.get("/v1/data").json());

    assert_eq!(said(&["data", "delete", "watch"], &n1), "deleted watch\n");
    for (arguments, reason) in [
        (&["data", "delete", "watch"][..], "404: n1 has no key \"watch\""),
        (&["data", "get", "n1", "watch"], "404: n1 has no key \"watch\""),
        (&["data", "get", "n2", "watch"], "404: no member has the name \"n2\""),
        (&["data", "set", "a b", "x"], "400: a key cannot contain ' '"),
    ] {
        let error = failure_of(&mut phin(&[arguments, &["--http", &n1.http]].concat()), 1);
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn watch_selects_by_prefix_and_begins_with_what_is_there() {
    let n1 = Node::start(&["--name", "n1"]);
    for key in ["lease/a", "lease/b", "other"] {
        said(&["data", "set", key, "x"], &n1);
    }
    let watch = Watch::start(&n1, &["--prefix", "lease/"]);
    watch.expect("snapshot  2");
    watch.expect("put n1 lease/a x");
    watch.expect("put n1 lease/b x");
    said(&["data", "set", "other", "y"], &n1);
    said(&["data", "delete", "lease/a"], &n1);
    watch.expect("delete n1 lease/a");
    let watch = Watch::start(&n1, &["--filter", "role=web"]);
    watch.expect("snapshot  0");
}

#[test]
fn a_restarted_node_says_its_data_again_and_that_of_the_dead_is_marked() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().to_str().unwrap();
    let n1 = Node::start(&["--name", "n1"]);
    let arguments = ["--name", "n2", "--join", &n1.addr, "--data-dir", data_dir];
    let mut n2 = Node::start(&arguments);
    n1.event_of("joined", "n2");
    let watch = Watch::start(&n1, &[]);
    watch.expect("snapshot  0");
    said(&["data", "set", "port", "8080"], &n2);
    watch.expect("put n2 port 8080");
    said(&["leave"], &n2);
    n2.wait();
    watch.expect("owner-gone n2 left");
    let mut n2 = Node::start(&arguments);
    watch.expect("put n2 port 8080");
    assert_eq!(n1.get("/v1/members/n2/data").json()["generation"], 2);

    n2.signal(Signal::KILL);
    n2.wait();
    watch.expect("owner-gone n2 dead");
    n1.event_of("dead", "n2");
    let data = n1.get("/v1/members/n2/data").json();
    assert_eq!(data["member"]["state"], "dead");
    assert_eq!(data["entries"][0]["text"], "8080");
    let value = n1.get("/v1/members/n2/data/port");
    assert!(value.head.contains("phin-member-state: dead"), "{}", value.head);
    let output = output_of(&["data", "get", "n2", "port", "--http", &n1.http]);
    assert_eq!(output.stdout, b"8080");
    let note = String::from_utf8(output.stderr).unwrap();
    assert_eq!(note, "n2 is dead: this is the last value known\n");
    let table = said(&["data", "list", "n2"], &n1);
    assert!(table.ends_with("\nn2 is dead: this is the last data known\n"), "{table}");
    let later = Watch::start(&n1, &[]);
    later.expect("snapshot  1");
    later.expect("put n2 port 8080");
    later.expect("owner-gone n2 dead");
}
