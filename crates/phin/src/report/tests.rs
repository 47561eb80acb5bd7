use std::sync::Arc;

use phin_swim::{Generation, Incarnation};

use super::*;
use crate::clock::Wall;

/// A list of one, named "n1", and its id.
fn members() -> (Members, MemberId) {
    let keys = crate::keys::NodeKeys::new(Arc::new(phin_quic::Identity::generate()));
    let (name, addr) =
        (Name::try_from("n1").expect("it is a name"), ([127, 0, 0, 1], 7_646).into());
    let local = phin_swim::Local::new(name, vec![addr], Generation(1));
    let config = phin_swim::Config::lan();
    let swim = phin_swim::Swim::new(Instant::START, local, config, Arc::new(keys), 1);
    let members = swim.expect("the profile is sound").members();
    let id = members.me().id();
    (members, id)
}

fn at(seconds: u64) -> Instant {
    Instant::START + Duration::from_secs(seconds)
}

fn vote(observer: MemberId, seconds: u64) -> phin_swim::Vote {
    let silent_since = at(seconds);
    phin_swim::Vote { observer, phi: 4.5, silent_since, silence: Silence::Gone, attempts: 3 }
}

/// A suspicion that began at second 4 for this node, and ended at second 9.
fn ended(outcome: phin_swim::Outcome) -> phin_swim::Report {
    let version = Version { generation: Generation(1), incarnation: Incarnation(2) };
    phin_swim::Report { version, began_at: at(4), ended_at: at(9), outcome }
}

#[test]
fn a_suspicion_begins_with_the_first_observer_that_missed_a_reply() {
    let ((members, id), clock) = (members(), Clock::start(Wall::System));
    let shown = Shown { clock: &clock, members: &members };
    let unknown = MemberId([7; 16]);
    let votes: Arc<[_]> = [vote(id, 5), vote(unknown, 3)].into();
    let report = shown.report(&ended(phin_swim::Outcome::Dead { votes: Arc::clone(&votes) }));
    assert_eq!(report.began_at, clock.wall(at(3)));
    assert_eq!(
        (report.ended_at, report.silent_for),
        (Some(clock.wall(at(9))), Duration::from_secs(6))
    );
    let evidence = report.evidence().expect("it was not cleared");
    assert_eq!((evidence.silence, evidence.phi), (Silence::Gone, 9.0));
    let named = |vote: &Vote| {
        (vote.observer.id, vote.observer.name.as_ref().map(Name::as_str).map(str::to_owned))
    };
    let named: Vec<_> = evidence.votes.iter().map(named).collect();
    assert_eq!(named, [(id, Some("n1".to_owned())), (unknown, None)]);
    let open = shown.report(&ended(phin_swim::Outcome::Open { votes }));
    assert_eq!((open.ended_at, open.silent_for), (None, Duration::from_secs(6)));
    let cleared = shown.report(&ended(phin_swim::Outcome::Cleared { by: id }));
    assert_eq!((cleared.began_at, cleared.evidence()), (clock.wall(at(4)), None));
}

#[cfg(feature = "serde")]
mod json {
    use serde_json::{from_value, json, to_value};

    use super::*;
    use crate::clock::Wall;

    #[test]
    fn a_report_is_what_the_http_interface_sends_and_can_be_read_back() {
        let ((members, id), clock) = (members(), Clock::start(Wall::System));
        let shown = Shown { clock: &clock, members: &members };
        let votes: Arc<[_]> = [vote(id, 5)].into();
        let outcomes = [
            phin_swim::Outcome::Dead { votes: Arc::clone(&votes) },
            phin_swim::Outcome::Open { votes },
            phin_swim::Outcome::Cleared { by: id },
        ];
        for outcome in outcomes {
            // To the microsecond, as it is written.
            let mut report = shown.report(&ended(outcome));
            let second = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            report.began_at = second(1);
            report.ended_at = report.ended_at.map(|_| second(6));
            if let Outcome::Dead(evidence) | Outcome::Open(evidence) = &mut report.outcome {
                evidence.votes[0].silent_since = second(2);
            }
            let json = to_value(&report).expect("it is plain data");
            let observer = json!({ "id": id.to_string(), "name": "n1" });
            let evidence = json!([{
                "observer": observer, "silent_since": "1970-01-01T00:00:02.000000Z", "pings_missed": 3,
                "phi": 4.5, "silence": "gone",
            }]);
            let (began_at, ended_at) =
                ("1970-01-01T00:00:01.000000Z", "1970-01-01T00:00:06.000000Z");
            let expected = match &report.outcome {
                Outcome::Dead(_) => json!({
                    "generation": 1, "incarnation": 2, "began_at": began_at, "ended_at": ended_at, "silent_ms": 5_000,
                    "outcome": "dead", "silence": "silent", "phi": 4.5, "votes": evidence,
                }),
                Outcome::Open(_) => json!({
                    "generation": 1, "incarnation": 2, "began_at": began_at, "ended_at": null, "silent_ms": 5_000,
                    "outcome": "open", "silence": "silent", "phi": 4.5, "votes": evidence,
                }),
                Outcome::Cleared { .. } => json!({
                    "generation": 1, "incarnation": 2, "began_at": began_at, "ended_at": ended_at, "silent_ms": 5_000,
                    "outcome": "cleared", "cleared_by": observer,
                }),
            };
            assert_eq!(json, expected);
            assert_eq!(from_value::<Report>(json).expect("it is what was written"), report);
        }
    }

    #[test]
    fn failing_links_are_what_the_http_interface_sends_and_can_be_read_back() {
        let ((members, id), clock) = (members(), Clock::start(Wall::System));
        let link = phin_swim::FailingLink { observer: id, since: at(1), attempts: 9 };
        let core = phin_swim::Unreached { id, degraded_since: None, links: vec![link] };
        let mut unreached = Shown { clock: &clock, members: &members }.unreached(&core);
        unreached.links[0].since = SystemTime::UNIX_EPOCH;
        let json = to_value(&unreached).expect("it is plain data");
        let link = json!({
            "observer": { "id": id.to_string(), "name": "n1" }, "since": "1970-01-01T00:00:00.000000Z",
            "pings_missed": 9,
        });
        let expected =
            json!({ "id": id.to_string(), "degraded_since": null, "failing_links": [link] });
        assert_eq!(json, expected);
        assert_eq!(from_value::<Unreached>(json).expect("it is what was written"), unreached);
    }
}
