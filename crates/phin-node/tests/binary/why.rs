//! `phin why`, and the HTTP behind it.

use std::collections::BTreeSet;

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Node, failure_of, output_of, phin, text};

fn why(node: &Node, member: &str) -> Value {
    let answer = node.get(&format!("/v1/members/{member}/why"));
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

fn words(node: &Node, member: &str) -> String {
    let output = output_of(&["why", member, "--http", &node.http]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_death_is_told_with_who_missed_what() {
    let n1 = Node::start(&["--name", "n1"]);
    let n2 = Node::join("n2", &n1);
    let mut n3 = Node::join("n3", &n1);
    let id = text(&n1.event_of("joined", "n3")["member"]["id"]);
    n2.event_of("joined", "n3");
    n3.event_of("joined", "n2");
    n3.signal(Signal::KILL);
    n3.wait();
    let dead = n1.event_of("dead", "n3");
    let told = why(&n1, "n3");
    assert_eq!(
        (&told["member"]["state"], &told["member"]["id"]),
        (&"dead".into(), &id.clone().into())
    );
    let suspicion = &told["suspicion"];
    assert_eq!((&suspicion["outcome"], &suspicion["generation"]), (&"dead".into(), &1.into()));
    assert_eq!(suspicion["silence"], dead["silence"]);
    let votes = suspicion["votes"].as_array().unwrap();
    let observers: BTreeSet<String> = votes.iter().map(|v| text(&v["observer"]["name"])).collect();
    assert!(
        !votes.is_empty() && observers.iter().all(|name| name == "n1" || name == "n2"),
        "{told}"
    );
    for vote in votes {
        assert!(vote["pings_missed"].as_u64().unwrap() > 0 && vote["phi"].as_f64().unwrap() > 0.0);
        assert!(text(&suspicion["began_at"]) <= text(&vote["silent_since"]), "{told}");
        assert_eq!(text(&vote["observer"]["id"]).len(), 32);
    }
    let phi: f64 = votes.iter().map(|vote| vote["phi"].as_f64().unwrap()).sum();
    assert!(suspicion["phi"].as_f64().unwrap() >= phi - 1e-9);
    assert!(text(&suspicion["began_at"]) <= text(&suspicion["ended_at"]));
    for member in [&id, &id[..8], &id.to_uppercase()] {
        assert_eq!(why(&n1, member), told, "the id is as good as the name");
    }

    let shown = words(&n1, "n3");
    for part in ["n3", "is dead since", "Declared dead", "OBSERVER", &text(&suspicion["silence"])] {
        assert!(shown.contains(part), "{part} is missing: {shown}");
    }
    assert!(
        !shown.contains('\u{1b}') && observers.iter().all(|name| shown.contains(name)),
        "{shown}"
    );
    let json = output_of(&["why", "n3", "--json", "--http", &n1.http]).stdout;
    assert_eq!(serde_json::from_slice::<Value>(&json).unwrap(), told);
}

#[test]
fn a_suspicion_is_told_while_it_is_open_and_when_it_is_cleared() {
    // No member is declared dead: the silence of a stopped process ends with the test.
    let patient = ["--hang-tolerance", "1h", "--pause-tolerance", "5s"];
    let start = |name: &str, seed: Option<&Node>| {
        let join: Vec<&str> = seed.into_iter().flat_map(|node| ["--join", &node.addr]).collect();
        Node::start(&[&["--name", name], &patient[..], &join].concat())
    };
    let n1 = start("n1", None);
    let n2 = start("n2", Some(&n1));
    let n3 = start("n3", Some(&n1));
    n1.event_of("joined", "n3");
    n2.event_of("joined", "n3");
    n3.stop();
    n1.event_of("suspect", "n3");
    let suspicion = why(&n1, "n3")["suspicion"].clone();
    assert_eq!((&suspicion["outcome"], &suspicion["ended_at"]), (&"open".into(), &Value::Null));
    assert!(suspicion["phi"].as_f64().unwrap() > 0.0, "{suspicion}");
    let shown = words(&n1, "n3");
    assert!(shown.contains("is suspect since") && shown.contains("No verdict yet"), "{shown}");
    n3.signal(Signal::CONT);
    n1.event_of("alive", "n3");
    let told = why(&n1, "n3");
    assert_eq!(told["member"]["state"], "alive");
    assert_eq!(told["suspicion"]["outcome"], "cleared", "{told}");
    let by = text(&told["suspicion"]["cleared_by"]["name"]);
    assert!(["n1", "n2", "n3"].contains(&by.as_str()), "{told}");
    assert!(told["suspicion"]["ended_at"].is_string());
    assert!(words(&n1, "n3").contains("Its last suspicion is cleared"));
}

#[test]
fn who_was_never_suspected_is_said_to_be_so() {
    let n1 = Node::start(&["--name", "n1"]);
    let told = why(&n1, "n1");
    assert_eq!((&told["member"]["state"], &told["suspicion"]), (&"alive".into(), &Value::Null));
    assert!(words(&n1, "n1").contains("It was never suspected here."));
}

#[test]
fn a_name_that_nobody_or_more_than_one_has_is_an_error() {
    let n1 = Node::start(&["--name", "n1"]);
    for unknown in ["n9", "%2e%2e", "00", "%F0%9F%A6%80"] {
        let missing = n1.get(&format!("/v1/members/{unknown}/why"));
        assert_eq!(missing.status, 404, "{unknown}");
        assert!(missing.error().contains("no member has the name"), "{}", missing.body);
    }
    assert_eq!(n1.get("/v1/members/%ff/why").status, 400, "that is no text");
    let error = failure_of(&mut phin(&["why", "a/b", "--http", &n1.http]), 1);
    assert!(error.contains("404") && error.contains("no member has the name \"a/b\""), "{error}");

    let _twins = [(); 2].map(|()| Node::join("twin", &n1));
    let ids = [(); 2].map(|()| text(&n1.event_of("joined", "twin")["member"]["id"]));
    let ambiguous = n1.get("/v1/members/twin/why");
    assert_eq!(ambiguous.status, 409);
    let error = ambiguous.error();
    assert!(error.contains("2 members") && ids.iter().all(|id| error.contains(id)), "{error}");
    assert_eq!(why(&n1, &ids[0])["member"]["id"], ids[0]);
}

/// Without a data directory each start is another member.
#[test]
fn of_several_runs_the_live_one_is_meant_and_else_the_last() {
    let n1 = Node::start(&["--name", "n1"]);
    let mut ids = Vec::new();
    for _ in 0..2 {
        let mut run = Node::join("n2", &n1);
        run.event_of("joined", "n1");
        ids.push(text(&n1.event_of("joined", "n2")["member"]["id"]));
        run.signal(Signal::TERM);
        assert!(run.wait().success());
        n1.event_of("left", "n2");
    }
    let told = why(&n1, "n2");
    assert_eq!(
        (&told["member"]["id"], &told["others"][0]["id"]),
        (&ids[1].clone().into(), &ids[0].clone().into())
    );
    let live = Node::join("n2", &n1);
    live.event_of("joined", "n1");
    let id = text(&n1.event_of("joined", "n2")["member"]["id"]);
    assert_eq!(why(&n1, "n2")["member"]["id"], id);
    let shown = words(&n1, "n2");
    assert!(shown.contains("Also matching") && shown.contains(&ids[0][..8]), "{shown}");

    let table = |arguments: &[&str]| {
        let all = [&["members", "--http", &n1.http], arguments].concat();
        String::from_utf8(output_of(&all).stdout).unwrap()
    };
    let [latest, all, left] = [&[][..], &["--all"], &["--state", "left"]].map(table);
    assert!(
        latest.contains(&id[..8]) && !ids.iter().any(|id| latest.contains(&id[..8])),
        "{latest}"
    );
    assert!(latest.contains("2 earlier runs"), "{latest}");
    assert!(all.contains(&id[..8]) && ids.iter().all(|id| all.contains(&id[..8])), "{all}");
    assert!(!left.contains(&id[..8]) && ids.iter().all(|id| left.contains(&id[..8])), "{left}");
}
