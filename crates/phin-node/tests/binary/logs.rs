//! `phin log`: which lines a running node logs.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Node, ask, failure_of, phin, said};

fn status(node: &Node) -> Value {
    let status = node.get("/v1/log").json();
    json!([status["filter"], status["setting"], status["remaining_s"].is_number()])
}

#[test]
fn an_operator_changes_for_a_while_what_is_logged() {
    let node = Node::start(&["--name", "n1"]);
    assert_eq!(said(&["log"], &node), "info\n");
    let shown = said(&["log", "phin=trace", "--for", "1h"], &node);
    assert!(shown.starts_with("phin=trace for another ") && shown.ends_with(", then info\n"));
    let changed = node.log("the log filter is changed for a while");
    assert_eq!(
        changed,
        json!({"message": changed["message"], "filter": "phin=trace", "seconds": 3600})
    );
    let _n2 = Node::join("n2", &node);
    node.log("datagram");
    assert!(node.get("/v1/log/recent").body.contains("\"datagram\""));
    let json: Value = serde_json::from_str(&said(&["log", "--json", "--reset"], &node)).unwrap();
    assert_eq!(json, json!({"filter": "info", "setting": "info", "remaining_s": null}));
    // It ends by itself.
    said(&["log", "debug", "--for", "1s"], &node);
    for _ in 0..2 {
        node.log("the log filter is that of the settings again");
    }
    assert_eq!(status(&node), json!(["info", "info", false]));
}

#[test]
fn a_filter_that_is_none_is_refused_and_changes_nothing() {
    let node = Node::start(&["--name", "n1"]);
    for (arguments, expected) in [
        (&["log", "verbose"][..], "expected error, warn, info"),
        (&["log", "phin=loud"], "expected error, warn, info"),
        (&["log", "debug", "--for", "2d"], "expected a duration from 1s to 24h"),
        (&["log", "--for", "2m"], "FILTER"),
        (&["log", "debug", "--reset"], "cannot be used with"),
    ] {
        let mut command = phin(&[arguments, &["--http", &node.http]].concat());
        let error = failure_of(&mut command, 2);
        assert!(error.contains(expected), "{error}");
    }
    for (path, body) in
        [("/v1/log", "verbose"), ("/v1/log?for=0s", "debug"), ("/v1/log?until=1", "debug")]
    {
        let answer = ask(&node, "PUT", path, body);
        assert_eq!(answer.status, 400, "{path} {body}");
    }
    let page =
        format!("PUT /v1/log HTTP/1.1\r\nHost: {}\r\nOrigin: http://a.example\r\n", node.http);
    let refused =
        crate::harness::request(&node.http, &format!("{page}Content-Length: 5\r\n\r\ntrace"));
    assert_eq!(refused.status, 403);
    assert_eq!(status(&node), json!(["info", "info", false]));
}

#[test]
fn a_reload_replaces_a_temporary_filter_only_if_it_changes_the_setting() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("phin.toml");
    fs::write(&config, "log = \"info\"\n").unwrap();
    let node = Node::start(&["--name", "n1", "--config", config.to_str().unwrap()]);
    said(&["log", "debug"], &node);
    fs::write(&config, "log = \"info\"\nwatch_files = false\n").unwrap();
    said(&["reload"], &node);
    assert_eq!(status(&node), json!(["debug", "info", true]));
    fs::write(&config, "log = \"info,phin_quic=debug\"\nwatch_files = false\n").unwrap();
    assert_eq!(said(&["reload"], &node), "applied: --log\n");
    assert_eq!(status(&node), json!(["info,phin_quic=debug", "info,phin_quic=debug", false]));
}
