//! Tags and the serving state: set at the start, changed while a node runs, and seen by others.

use serde_json::{Value, json};

use crate::harness::{Node, ask, failure_of, phin, request, said};

fn names(list: &Value) -> Vec<&str> {
    let members = list["members"].as_array().unwrap();
    members.iter().map(|member| member["name"].as_str().unwrap()).collect()
}

#[test]
fn tags_of_a_node_are_shown_everywhere_and_changed_while_it_runs() {
    let n1 = Node::start(&["--name", "n1", "--tag", "zone=a"]);
    let n2 = Node::start(&["--name", "n2", "--join", &n1.addr, "--tag", "role=web,api"]);
    let joined = n1.event_of("joined", "n2");
    assert_eq!(joined["member"]["tags"], json!({ "role": "web,api" }));
    assert_eq!(joined["member"]["serving"], json!({ "state": "serving" }));
    assert_eq!(said(&["tags"], &n2), "role=web,api\n");
    let changed = said(&["tags", "--set", "zone=b", "--set", "port=8080", "--delete", "role"], &n2);
    assert_eq!(changed, "port=8080\nzone=b\n");
    let updated = n1.event_of("updated", "n2");
    assert_eq!(updated["member"]["tags"], json!({ "port": "8080", "zone": "b" }));
    assert_eq!(updated["before"]["tags"], json!({ "role": "web,api" }));
    let log = n1.log("member updated its record");
    assert_eq!(log["changes"], "tags: role=web,api -> port=8080,zone=b");

    assert_eq!(names(&n1.get("/v1/members").json()), ["n1", "n2"]);
    assert_eq!(names(&n1.get("/v1/members?filter=zone%3Da%7Cc").json()), ["n1"]);
    let table = said(&["members", "--filter", "zone!=a"], &n1);
    let rows: Vec<_> = table.lines().collect();
    assert!(
        rows[0].ends_with("ID        TAGS") && rows[1].ends_with("  port=8080,zone=b"),
        "{table}"
    );
    assert_eq!(rows.len(), 2, "{table}");
    let json = said(&["members", "--json", "--filter", "zone=b"], &n1);
    assert_eq!(names(&serde_json::from_str(&json).unwrap()), ["n2"]);
    assert_eq!(said(&["tags", "--delete", "port", "--delete", "zone"], &n2), "no tags\n");
    assert_eq!(said(&["tags", "--json"], &n2), "{}\n");
}

#[test]
fn tags_over_http_are_replaced_merged_and_set_one_by_one() {
    let n1 = Node::start(&["--name", "n1", "--tag", "zone=a"]);
    let tags = |expected: Value| assert_eq!(n1.get("/v1/tags").json(), expected);
    tags(json!({ "zone": "a" }));
    assert_eq!(ask(&n1, "PUT", "/v1/tags/note", "a \"b\" ü").status, 200);
    tags(json!({ "note": "a \"b\" ü", "zone": "a" }));
    let merged = ask(&n1, "PATCH", "/v1/tags", r#"{"note":null,"role":"web"}"#);
    assert_eq!((merged.status, merged.json()), (200, json!({ "role": "web", "zone": "a" })));
    assert_eq!(ask(&n1, "DELETE", "/v1/tags/zone", "").json(), json!({ "role": "web" }));
    assert_eq!(ask(&n1, "DELETE", "/v1/tags/zone", "").status, 404);
    assert_eq!(ask(&n1, "PUT", "/v1/tags", r#"{"version":"2"}"#).json(), json!({ "version": "2" }));

    let long = "x".repeat(129);
    let many: serde_json::Map<_, _> = (0..17).map(|n| (format!("k{n}"), "".into())).collect();
    let refused = [
        ("PUT", "/v1/tags/Role", "web", "1 to 32 characters a-z, 0-9"),
        ("PUT", "/v1/tags/role", &*long, "at most 128 bytes, not 129"),
        ("PUT", "/v1/tags/role", "a\nb", "cannot contain '\\n'"),
        ("PUT", "/v1/tags", &*Value::from(many).to_string(), "at most 16 tags"),
        ("PUT", "/v1/tags", "[]", "the body: invalid type"),
        ("PUT", "/v1/tags", r#"{"weight":"x"}"#, "a number from 0 to 1000, not \"x\""),
        ("PUT", "/v1/tags/weight", "1001", "a number from 0 to 1000, not \"1001\""),
        ("PATCH", "/v1/tags", r#"{"zone":"b","port":80}"#, "invalid type: integer `80`"),
        ("PATCH", "/v1/tags", r#"{"zone":"b","Port":"80"}"#, "1 to 32 characters"),
    ];
    for (method, path, body, reason) in refused {
        let answer = ask(&n1, method, path, body);
        assert_eq!(answer.status, 400, "{method} {path} {body}");
        assert!(answer.error().contains(reason), "{}", answer.body);
    }
    tags(json!({ "version": "2" }));
    assert_eq!(ask(&n1, "PUT", "/v1/tags/role", &"x".repeat(8_193)).status, 413);
    let chunks = format!("2001\r\n{}\r\n0\r\n\r\n", "x".repeat(8_193));
    let head = format!("PUT /v1/tags/role HTTP/1.1\r\nHost: {}\r\n", n1.http);
    let chunked = request(&n1.http, &format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunks}"));
    assert_eq!((chunked.status, chunked.error().contains("8192 bytes")), (413, true));
    for query in ["/v1/members?filter=zone", "/v1/members?tag=zone", "/v1/events?filter=Zone%3Da"] {
        assert_eq!(n1.get(query).status, 400, "{query}");
    }
    let foreign = format!("{head}Origin: http://evil.example\r\nContent-Length: 1\r\n\r\nx");
    assert_eq!(request(&n1.http, &foreign).status, 403, "a web page sets no tags");
}

#[test]
fn a_node_that_drains_is_not_ready_and_others_know() {
    let n1 = Node::start(&["--name", "n1"]);
    let n2 = Node::join("n2", &n1);
    n1.event_of("joined", "n2");
    n2.event_of("joined", "n1");
    assert_eq!(n2.get("/readyz").status, 200);
    assert_eq!(said(&["drain"], &n2), "draining\n");
    let updated = n1.event_of("updated", "n2");
    assert_eq!(updated["member"]["serving"], json!({ "state": "draining" }));
    assert_eq!(updated["before"]["serving"], json!({ "state": "serving" }));
    let refused = n2.get("/readyz");
    assert_eq!((refused.status, refused.error()), (503, "the node is draining".into()));
    assert!(n2.get("/metrics").body.contains("\nphin_serving{state=\"draining\"} 1"));
    assert!(n1.get("/metrics").body.contains("\nphin_members_serving{state=\"draining\"} 1"));
    assert!(said(&["members"], &n1).contains("alive, draining"));

    assert_eq!(said(&["serve", "--not", "disk full"], &n2), "not-serving (disk full)\n");
    let updated = n1.event_of("updated", "n2");
    let not_serving = json!({ "state": "not-serving", "reason": "disk full" });
    assert_eq!(updated["member"]["serving"], not_serving);
    assert_eq!(n2.get("/v1/serving").json(), not_serving);
    let error = failure_of(phin(&["ready", "--http", &n2.http]).env_remove("PHIN_HTTP"), 1);
    assert!(error.contains("the node does not serve: disk full"), "{error}");
    let table = said(&["members"], &n1);
    assert!(table.contains("alive, not-serving"), "{table}");
    assert!(table.contains("\nn2 does not serve: disk full\n"), "{table}");

    assert_eq!(said(&["serve"], &n2), "serving\n");
    n1.event_of("updated", "n2");
    assert_eq!(n2.get("/readyz").status, 200);
    let long = json!({ "state": "not-serving", "reason": "x".repeat(65) }).to_string();
    for (body, reason) in [
        (long.as_str(), "1 to 64 bytes, not 65"),
        (r#"{"state":"gone"}"#, "unknown variant `gone`"),
        (r#"{"state":"draining","reason":"x"}"#, "unknown field"),
    ] {
        let answer = ask(&n2, "PUT", "/v1/serving", body);
        assert_eq!(
            (answer.status, answer.error().contains(reason)),
            (400, true),
            "{}",
            answer.body
        );
    }
}

#[test]
fn a_node_can_start_without_serving() {
    let n1 = Node::start(&["--name", "n1", "--serving", "not-serving"]);
    assert_eq!(n1.get("/readyz").error(), "the node does not serve: starting");
    assert_eq!(said(&["serve"], &n1), "serving\n");
    assert_eq!(n1.get("/readyz").status, 200);
}

#[test]
fn watch_follows_the_members_that_match() {
    use std::{
        io::{BufRead, BufReader},
        process::Stdio,
    };
    let n1 = Node::start(&["--name", "n1", "--tag", "zone=a"]);
    let mut watch = phin(&["watch", "--json", "--filter", "zone=b", "--http", &n1.http])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap())
        .lines()
        .map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let first = lines.next().unwrap();
    assert_eq!((&first["event"], &first["members"]), (&"snapshot".into(), &json!([])));
    let _n2 = Node::start(&["--name", "n2", "--join", &n1.addr, "--tag", "zone=a"]);
    n1.event_of("joined", "n2");
    let n3 = Node::start(&["--name", "n3", "--join", &n1.addr, "--tag", "zone=b"]);
    assert_eq!(lines.next().unwrap(), n1.event_of("joined", "n3"));
    said(&["tags", "--set", "zone=a"], &n3);
    assert_eq!(lines.next().unwrap(), n1.event_of("updated", "n3"));
    watch.kill().unwrap();
    watch.wait().unwrap();
}
