use std::{sync::Arc, time::Duration};

use serde_json::{from_value, json, to_value};

use super::*;
use crate::{
    Config, Degradation, Flaws, Instant,
    member::{
        list::MembershipList,
        record::tests::{id, record, version},
    },
};

fn member(node: u8, state: MemberState) -> Member {
    Member { record: record(node, version(1, 2)), state, since: Instant::START }
}

#[test]
fn a_member_is_one_object_that_can_be_read_back() {
    let member = member(3, MemberState::Suspect);
    let json = to_value(&member).unwrap();
    let expected = json!({
        "id": id(3).to_string(), "name": member.name(), "addr": "10.0.0.3:7000", "generation": 1, "incarnation": 2,
        "state": "suspect", "tags": {}, "serving": { "state": "serving" },
    });
    assert_eq!(json, expected);
    assert_eq!(from_value::<MemberInfo>(json).unwrap(), MemberInfo::from(&member));
    let mut forged = expected;
    forged["name"] = "\u{1b}[2J".into();
    assert!(from_value::<MemberInfo>(forged).is_err(), "it would garble a terminal");
}

#[test]
fn a_change_has_its_silence_if_that_is_known() {
    let dead = Arc::new(member(3, MemberState::Dead));
    for (silence, expected) in [(None, None), (Some(Silence::Gone), Some("gone"))] {
        let event = Event {
            version: 7,
            change: Change::Dead,
            member: Arc::clone(&dead),
            before: None,
            silence,
            degraded: None,
        };
        let json = to_value(&event).unwrap();
        assert_eq!((&json["event"], &json["version"]), (&json!("dead"), &json!(7)));
        assert_eq!(json["member"], to_value(&*dead).unwrap());
        assert_eq!(json.get("silence").and_then(|silence| silence.as_str()), expected);
        assert_eq!(from_value::<EventInfo>(json).unwrap(), EventInfo::from(&event));
    }
}

#[test]
fn a_degraded_member_has_a_reason() {
    let (unreached_by, observers) = (vec![id(1), id(2)], 3);
    let event = Event {
        version: 7,
        change: Change::Degraded,
        member: Arc::new(member(3, MemberState::Alive)),
        before: None,
        silence: None,
        degraded: Some(Degradation { unreached_by, observers, is_deaf: false, flaws: Flaws::NONE }),
    };
    let json = to_value(&event).unwrap();
    let ids = [id(1).to_string(), id(2).to_string()];
    let expected = json!({ "unreached_by": ids, "observers": 3, "is_deaf": false });
    assert_eq!(json["degraded"], expected);
    assert_eq!(from_value::<EventInfo>(json).unwrap(), EventInfo::from(&event));
}

#[test]
fn a_list_has_its_owner_and_all_members() {
    let mut list = MembershipList::new(member(0, MemberState::Alive), 8);
    list.put(member(1, MemberState::Left));
    let members = list.snapshot();
    let json = to_value(members).unwrap();
    assert_eq!(json["self"], json!(id(0).to_string()));
    assert_eq!(json["version"], json!(members.version()));
    assert_eq!(json["fingerprint"], json!(members.fingerprint().to_string()));
    let listed: Vec<MemberInfo> = from_value(json["members"].clone()).unwrap();
    assert_eq!(
        listed,
        members.iter().map(|member| MemberInfo::from(&**member)).collect::<Vec<_>>()
    );
}

#[test]
fn words_are_those_that_are_shown() {
    use Change::*;
    let changes = [
        Joined,
        Suspect,
        Alive,
        Dead,
        Left,
        Updated,
        Forgotten,
        NameConflict,
        Suppressed,
        Degraded,
        Recovered,
    ];
    for change in changes {
        assert_eq!(to_value(change).unwrap(), json!(change.as_str()));
    }
    for state in [MemberState::Alive, MemberState::Suspect, MemberState::Dead, MemberState::Left] {
        assert_eq!(to_value(state).unwrap(), json!(state.as_str()));
    }
    for silence in [Silence::Unknown, Silence::Silent, Silence::Hung, Silence::Gone] {
        assert_eq!(to_value(silence).unwrap(), json!(silence.as_str()));
    }
    assert!(from_value::<Change>(json!("exploded")).is_err());
}

#[test]
fn a_configuration_is_read_as_from_a_file_of_settings() {
    let given =
        json!({ "period": "200ms", "max_period": "1s", "flap_suppress": "off", "rings": 4 });
    let config: Config = from_value(given).unwrap();
    let expected = Config {
        period: Duration::from_millis(200),
        max_period: Some(Duration::from_secs(1)),
        flap_suppress: f64::INFINITY,
        rings: 4,
        ..Config::lan()
    };
    assert_eq!(config, expected);
    assert_eq!(from_value::<Config>(to_value(&expected).unwrap()).unwrap(), expected);
    for (wrong, said) in [
        (json!({ "period": "soon" }), "\"200ms\""),
        (json!({ "peroid": "1s" }), "unknown field `peroid`"),
        (json!({ "flap_suppress": "never" }), "neither a number nor \"off\""),
    ] {
        let error = from_value::<Config>(wrong).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}
