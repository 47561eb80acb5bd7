//! `phin ping`: every path to a member.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Node, ask, failure_of, output_of, phin, said};

/// Nodes that know each other.
fn three() -> [Node; 3] {
    // A member that is stopped stays in the list for longer than a test takes.
    let patient = ["--pause-tolerance", "30s", "--hang-tolerance", "60s"];
    let start = |own: &[&str]| Node::start(&[&patient, own].concat());
    let n1 = start(&["--name", "n1"]);
    let n2 = start(&["--name", "n2", "--join", &n1.addr]);
    let n3 = start(&["--name", "n3", "--join", &n1.addr]);
    n2.event_of("joined", "n3");
    n3.event_of("joined", "n2");
    n1.event_of("joined", "n3");
    [n1, n2, n3]
}

/// The outcome of each path.
fn outcomes(pinged: &Value) -> Value {
    let paths = pinged["paths"].as_array().unwrap().iter();
    let outcome = |path: &Value| json!([path["path"], path["helper"]["name"], path["outcome"]]);
    paths.map(outcome).collect()
}

#[test]
fn each_path_to_a_member_is_timed() {
    let [n1, _n2, _n3] = three();
    let text = said(&["ping", "n2", "--count", "2"], &n1);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 10, "{text}");
    assert!(lines[0].starts_with("n2 127.0.0.1:") && lines[0].ends_with(" alive"), "{text}");
    for (line, path) in lines[1..4].iter().zip(["datagram", "stream", "through n3"]) {
        assert!(line.starts_with(&format!("  {path}")) && line.contains(" ok "), "{text}");
    }
    assert!(lines[4].starts_with("  host") && lines[4].contains("is there"), "{text}");
    let json: Value = serde_json::from_str(&said(&["ping", "n2", "--json"], &n1)).unwrap();
    assert_eq!((&json["reached_directly"], &json["refusal"]), (&json!(true), &Value::Null));
    assert!(json["paths"][2]["rtt_ms"].as_f64() > Some(0.0), "{json}");
    assert!(n1.get("/metrics").body.contains("phin_swim_operator_pings_total 3"));
}

#[test]
fn a_member_that_does_not_answer_is_told_from_one_whose_process_ended() {
    let [n1, n2, n3] = three();
    n2.stop();
    let ping = |timeout: &str| {
        let arguments = ["ping", "n2", "--json", "--timeout", timeout, "--http", &n1.http];
        let output = output_of(&arguments);
        assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stderr.is_empty());
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let hung = ping("300ms");
    assert_eq!(hung["host"]["answer"], "there", "{hung}");
    let expected = json!([["datagram", null, "timeout"], ["stream", null, "timeout"]]);
    assert_eq!(
        outcomes(&hung).as_array().unwrap()[..2],
        expected.as_array().unwrap()[..],
        "{hung}"
    );
    assert_ne!(hung["paths"][2]["outcome"], "ok");
    n2.signal(Signal::KILL);
    n3.event_of("dead", "n2");
    n1.event_of("dead", "n2");
    let gone = ping("60s");
    assert_eq!((&gone["state"], &gone["host"]["answer"]), (&json!("dead"), &json!("port-refused")));
    // A dial that began while the process was stopped may fail first.
    let outcome = &gone["paths"][0]["outcome"];
    assert!(outcome == "port-refused" || outcome == "no-connection", "{gone}");
    assert_eq!(outcomes(&gone)[2], json!(["helper", "n3", "not-reached"]), "{gone}");
}

#[test]
fn a_ping_that_is_not_allowed_says_why() {
    let n1 = Node::start(&["--name", "n1"]);
    for (arguments, code, expected) in [
        (&["ping", "n1"][..], 1, "a node does not ping itself"),
        (&["ping", "n9"], 1, "no member has the name"),
        (&["ping", "n1", "--timeout", "2m"], 2, "10ms to 60s"),
        (&["ping", "n1", "--count", "0"], 2, "1..=1000"),
    ] {
        let mut command = phin(&[arguments, &["--http", &n1.http]].concat());
        let error = failure_of(&mut command, code);
        assert!(error.contains(expected), "{error}");
    }
    assert_eq!(ask(&n1, "POST", "/v1/members/n1/ping?timeout=9ms", "").status, 400);
    assert_eq!(n1.get("/v1/members/n1/ping").status, 405);
}
