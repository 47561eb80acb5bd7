use serde_json::{Value, from_value, json, to_value};

use super::*;
use crate::brief::member_info;

const ID: &str = "00112233445566778899aabbccddeeff";
const OTHER: &str = "ffeeddccbbaa99887766554433221100";

/// Two votes, of phi 4.5 each.
fn evidence(silence: &str) -> Value {
    let vote = |name: &str| {
        json!({
            "observer": { "id": OTHER, "name": name }, "silent_since": "2026-01-02T03:04:05.100000Z",
            "pings_missed": 3, "phi": 4.5, "silence": silence,
        })
    };
    json!({ "silence": silence, "phi": 9.0, "votes": [vote("n1"), vote("n2")] })
}

/// How a suspicion ended, as the HTTP interface sends it.
fn ending(outcome: &str, mut rest: Value) -> Option<Value> {
    rest["outcome"] = outcome.into();
    Some(rest)
}

fn cleared_by(id: &str) -> Option<Value> {
    ending("cleared", json!({ "cleared_by": { "id": id, "name": "n2" } }))
}

fn why(state: &str, outcome: Option<Value>) -> Why {
    let suspicion = outcome.map(|mut suspicion| {
        let ended_at = (suspicion["outcome"] != "open").then_some("2026-01-02T03:04:06.400000Z");
        suspicion["generation"] = 1.into();
        suspicion["incarnation"] = 2.into();
        suspicion["began_at"] = "2026-01-02T03:04:05.100000Z".into();
        suspicion["ended_at"] = ended_at.into();
        suspicion["silent_ms"] = 1_300.into();
        from_value(suspicion).unwrap()
    });
    Why {
        member: member_info("n3", ID, state),
        since: "2026-01-02T03:04:06.400000Z".into(),
        suppressed_until: None,
        flap_penalty: 0.0,
        suspicion,
        failing: Failing::default(),
        refused: None,
        nat_addr: None,
        others: Vec::new(),
    }
}

#[test]
fn a_live_member_that_does_not_serve_is_said_to_be() {
    let mut alive = why("alive", None);
    alive.member.serving = ServingState::NotServing("disk full".try_into().unwrap());
    let text = alive.to_text();
    assert!(text.contains(".\nIt does not serve: disk full.\n"), "{text}");
    alive.member.state = MemberState::Dead;
    assert!(!alive.to_text().contains("does not serve"), "a dead member says nothing any more");
}

#[test]
fn a_member_that_is_suppressed_is_said_to_be_so() {
    let mut why = why("alive", None);
    why.suppressed_until = Some("2026-01-02T03:14:06.400000Z".into());
    why.flap_penalty = 10.44;
    let text = why.to_text();
    let held = "(penalty 10.4); it is suppressed until 2026-01-02T03:14:06.400Z.\n";
    assert!(text.contains(held), "{text}");
}

#[test]
fn a_verdict_is_told_with_its_votes() {
    assert_eq!(
        why("dead", ending("dead", evidence("gone"))).to_text(),
        "n3 (00112233) is dead since 2026-01-02T03:04:06.400Z.\n\
         It did not answer from 2026-01-02T03:04:05.100Z on. \
         gone: its port is refused, or another process answers there; its process has ended.\n\
         Declared dead 1.3 s later, at 2026-01-02T03:04:06.400Z. \
         2 observers voted, with phi 9.0 together:\n \
         OBSERVER  ID        MISSED SINCE              PINGS  PHI  ITS HOST SAYS\n \
         n1        ffeeddcc  2026-01-02T03:04:05.100Z  3      4.5  gone\n \
         n2        ffeeddcc  2026-01-02T03:04:05.100Z  3      4.5  gone\n"
    );
}

#[test]
fn what_is_open_is_said_to_be() {
    let text = why("suspect", ending("open", evidence("hung"))).to_text();
    assert!(
        text.contains("It has not answered since 2026-01-02T03:04:05.100Z, 1.3 s ago."),
        "{text}"
    );
    assert!(text.contains("hung: its host answers") && text.contains("No verdict yet"), "{text}");
}

#[test]
fn a_member_that_refuses_or_is_refused_does_not_hang() {
    let mut why = why("suspect", ending("open", evidence("hung")));
    why.refused = Some(Refused {
        by: "us".into(),
        reason: "the certificate has expired".into(),
        addr: "127.0.0.1:7646".parse().unwrap(),
        since: "2026-01-02T03:04:05.200000Z".into(),
    });
    let text = why.to_text();
    let refused = "Handshakes at 127.0.0.1:7646 fail since 2026-01-02T03:04:05.200Z: \
                   this node refuses it (the certificate has expired).\n";
    assert!(text.contains(refused), "{text}");
    assert!(text.contains("hung: a process answers there, but handshakes"), "{text}");
    let json = serde_json::to_string(&why).unwrap();
    assert_eq!(serde_json::from_str::<Why>(&json).unwrap(), why);
}

#[test]
fn one_observer_that_finds_it_gone_is_no_word_of_its_host() {
    let mut evidence = evidence("unknown");
    evidence["silence"] = "silent".into();
    evidence["votes"][0]["silence"] = "gone".into();
    let text = why("dead", ending("dead", evidence)).to_text();
    assert!(text.contains("silent: one observer found it gone, and no second one"), "{text}");
}

#[test]
fn who_cleared_a_suspicion_is_named() {
    let text = why("alive", cleared_by(OTHER)).to_text();
    assert!(text.contains("n2 heard it, and said so 1.3 s later"), "{text}");
    // Names may be shared: the id tells who it was.
    let text = why("alive", cleared_by(ID)).to_text();
    assert!(text.contains("from 2026-01-02T03:04:05.100Z on, and did 1.3 s later"), "{text}");
}

#[test]
fn what_is_not_known_is_not_made_up() {
    assert!(why("alive", None).to_text().ends_with("It was never suspected here.\n"));
    assert!(
        why("left", None)
            .to_text()
            .starts_with("n3 (00112233) is known to have left since 2026-01-02T03:04:06.400Z.\n")
    );
    assert!(why("dead", None).to_text().contains("has no votes on it"));
    let mut earlier = why("dead", ending("dead", evidence("gone")));
    earlier.member.generation = phin::Generation(2);
    assert!(earlier.to_text().contains("has no votes on its death"), "{}", earlier.to_text());
    let returned = why("alive", ending("dead", evidence("gone"))).to_text();
    assert!(
        returned.contains("It was declared dead before, and has returned since."),
        "{returned}"
    );
    let empty = json!({ "silence": "unknown", "phi": 0.0, "votes": [] });
    let text = why("dead", ending("dead", empty)).to_text();
    assert!(text.contains("No observer's vote is known here."), "{text}");
}

#[test]
fn an_answer_survives_json() {
    for outcome in [ending("dead", evidence("gone")), cleared_by(OTHER), None] {
        let why = why("suspect", outcome);
        let json = to_value(&why).unwrap();
        assert_eq!(json.get("suspicion").is_some_and(Value::is_null), why.suspicion.is_none());
        assert_eq!(from_value::<Why>(json).unwrap(), why);
    }
}

#[test]
fn failing_links_are_told_with_the_member_that_lives() {
    let mut why = why("alive", None);
    why.failing = Failing {
        degraded_since: Some("2026-01-02T03:05:06.400000Z".into()),
        failing_links: from_value(json!([{
            "observer": { "id": OTHER, "name": "n1" }, "since": "2026-01-02T03:04:06.400000Z", "pings_missed": 9,
        }]))
        .unwrap(),
    };
    let text = why.to_text();
    assert!(text.contains("It is degraded since 2026-01-02T03:05:06.400Z"), "{text}");
    let line =
        "  n1 does not reach it since 2026-01-02T03:04:06.400Z: 9 pings without direct reply\n";
    assert!(text.contains(line), "{text}");
    let json = serde_json::to_string(&why).unwrap();
    assert!(json.contains("\"degraded_since\":\"2026-01-02T03:05:06.400000Z\""), "{json}");
    assert_eq!(serde_json::from_str::<Why>(&json).unwrap(), why);
    // An earlier release tells nothing of it.
    let json = json.replace("degraded_since", "x").replace("failing_links", "y");
    assert_eq!(serde_json::from_str::<Why>(&json).unwrap().failing, Failing::default());
}
