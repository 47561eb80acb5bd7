use super::*;
use crate::events::{FailingLink, MemberLine};

const ID: &str = "00112233445566778899aabbccddeeff";

fn someone(name: &str, id: &str) -> Someone {
    Someone { id: id.into(), name: Some(name.into()) }
}

fn evidence(silence: &str) -> Evidence {
    let ballot = |name: &str, phi| Ballot {
        observer: someone(name, "ffeeddccbbaa99887766554433221100"),
        silent_since: "2026-01-02T03:04:05.100000Z".into(),
        pings_missed: 3,
        phi,
        silence: silence.into(),
    };
    Evidence {
        silence: silence.into(),
        phi: 9.0,
        votes: vec![ballot("n1", 4.5), ballot("n2", 4.5)],
    }
}

fn why(state: &str, outcome: Option<Ending>) -> Why {
    let member = MemberLine {
        profile: Default::default(),
        id: ID.into(),
        name: "n3".into(),
        addr: "127.0.0.1:7646".parse().unwrap(),
        generation: 1,
        incarnation: 2,
    };
    let suspicion = outcome.map(|outcome| Suspicion {
        generation: 1,
        incarnation: 2,
        began_at: "2026-01-02T03:04:05.100000Z".into(),
        ended_at: (!matches!(outcome, Ending::Open(_)))
            .then(|| "2026-01-02T03:04:06.400000Z".into()),
        silent_ms: 1_300,
        outcome,
    });
    let member = ListedMember { member, state: state.into() };
    Why {
        member,
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
    alive.member.member.profile.serving = ServingState::NotServing("disk full".try_into().unwrap());
    let text = alive.to_text();
    assert!(text.contains(".\nIt does not serve: disk full.\n"), "{text}");
    alive.member.state = "dead".into();
    assert!(!alive.to_text().contains("does not serve"), "a dead member says nothing any more");
}

#[test]
fn a_member_that_is_suppressed_is_said_to_be_so() {
    let mut why = why("alive", None);
    why.suppressed_until = Some("2026-01-02T03:14:06.400000Z".into());
    why.flap_penalty = 10.44;
    let text = why.to_text();
    let held =
        "(penalty 10.4); its comings and goings are not told until 2026-01-02T03:14:06.400Z.\n";
    assert!(text.contains(held), "{text}");
}

#[test]
fn a_verdict_is_told_with_its_votes() {
    assert_eq!(
        why("dead", Some(Ending::Dead(evidence("gone")))).to_text(),
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
    let text = why("suspect", Some(Ending::Open(evidence("hung")))).to_text();
    assert!(
        text.contains("It has not answered since 2026-01-02T03:04:05.100Z, 1.3 s ago."),
        "{text}"
    );
    assert!(text.contains("hung: its host answers") && text.contains("No verdict yet"), "{text}");
}

#[test]
fn a_member_that_refuses_or_is_refused_does_not_hang() {
    let mut why = why("suspect", Some(Ending::Open(evidence("hung"))));
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
    "silent".clone_into(&mut evidence.silence);
    "gone".clone_into(&mut evidence.votes[0].silence);
    let text = why("dead", Some(Ending::Dead(evidence))).to_text();
    assert!(text.contains("silent: one observer found it gone, and no second one"), "{text}");
}

#[test]
fn who_cleared_a_suspicion_is_named() {
    let by_another = Ending::Cleared { cleared_by: someone("n2", "ff") };
    let text = why("alive", Some(by_another)).to_text();
    assert!(text.contains("n2 heard it, and said so 1.3 s later"), "{text}");
    // Names may be shared: the id tells who it was.
    let by_itself = Ending::Cleared { cleared_by: someone("n2", ID) };
    let text = why("alive", Some(by_itself)).to_text();
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
    let mut earlier = why("dead", Some(Ending::Dead(evidence("gone"))));
    earlier.member.member.generation = 2;
    assert!(earlier.to_text().contains("has no votes on its death"), "{}", earlier.to_text());
    let returned = why("alive", Some(Ending::Dead(evidence("gone")))).to_text();
    assert!(
        returned.contains("It was declared dead before, and has returned since."),
        "{returned}"
    );
    let empty = Evidence { votes: Vec::new(), phi: 0.0, ..evidence("unknown") };
    let text = why("dead", Some(Ending::Dead(empty))).to_text();
    assert!(text.contains("No observer's vote is known here."), "{text}");
}

#[test]
fn every_ending_survives_json() {
    let endings = [
        Ending::Open(evidence("hung")),
        Ending::Dead(evidence("gone")),
        Ending::Cleared { cleared_by: someone("n2", "ff") },
    ];
    for ending in endings {
        let why = why("suspect", Some(ending));
        let json = serde_json::to_string(&why).unwrap();
        assert_eq!(serde_json::from_str::<Why>(&json).unwrap(), why, "{json}");
    }
    let json = serde_json::to_string(&why("alive", None)).unwrap();
    assert!(json.contains("\"suspicion\":null"), "{json}");
}

#[test]
fn failing_links_are_told_with_the_member_that_lives() {
    let mut why = why("alive", None);
    why.failing = Failing {
        degraded_since: Some("2026-01-02T03:05:06.400000Z".into()),
        failing_links: vec![FailingLink {
            observer: someone("n1", "ffeeddccbbaa99887766554433221100"),
            since: "2026-01-02T03:04:06.400000Z".into(),
            pings_missed: 9,
        }],
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
