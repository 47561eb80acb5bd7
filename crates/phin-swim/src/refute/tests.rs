use super::*;
use crate::{
    Config, Version,
    member::record::{
        Record,
        tests::{TestKeys, id, statement, version},
    },
    testing::{Rooms, at, ms, peer},
};

fn claim(version: Version) -> Claim {
    Claim { subject: id(0), version, by: id(2) }
}

/// A node that has refuted up to its second incarnation.
fn rooms(has_left: bool) -> Rooms {
    let mut rooms = Rooms::of(5);
    let record = Record::sign(Statement { has_left, ..statement(0, version(0, 2)) }, &TestKeys(0));
    let state = record.own_state();
    rooms.list.put(crate::Member { record, state, since: at(0) });
    rooms
}

#[test]
fn a_claim_on_the_present_version_raises_the_incarnation_and_every_accuser_is_answered() {
    let (gossip, welcome) = (Source::Gossip(peer(3)), Source::Welcome(peer(3)));
    let next = "apply n0 v0.3 alive";
    let told = |version: &str, state: &str| format!("to n3: entry n0 {version} {state}");
    // Whether this node has left, by which way the claim came, the version it names; what is asked for.
    let cases = [
        (false, gossip, version(0, 2), vec![next.to_owned(), told("v0.3", "alive")]),
        (false, welcome, version(0, 2), vec![next.to_owned(), told("v0.3", "alive")]),
        (false, Source::Ourselves, version(0, 2), vec![next.to_owned()]),
        // That was answered before.
        (false, gossip, version(0, 1), vec![told("v0.2", "alive")]),
        // A version that this node never had says nothing.
        (false, gossip, version(0, 3), vec![]),
        (false, gossip, version(1, 0), vec![]),
        (true, gossip, version(0, 2), vec![told("v0.2", "left")]),
    ];
    for (has_left, source, version, asked_for) in cases {
        let mut rooms = rooms(has_left);
        rooms.verdicts().refute(source, claim(version), Accusation::Suspicion);
        assert_eq!(rooms.effects(), asked_for, "{has_left} {source:?} {version:?}");
        let refutes = asked_for.contains(&next.to_owned());
        assert_eq!(rooms.ctx.stats.refutations, u64::from(refutes));
        // Since then, others accused only a member that they did not receive from.
        assert_eq!(rooms.detector.contacts.were_apart(at(10_000), id(1)), refutes);
    }
}

#[test]
fn a_refuted_death_is_counted_apart() {
    for (accusation, deaths) in [(Accusation::Suspicion, 0), (Accusation::Death, 1)] {
        let mut rooms = rooms(false);
        rooms.verdicts().refute(Source::Gossip(peer(3)), claim(version(0, 2)), accusation);
        assert_eq!((rooms.ctx.stats.refutations, rooms.ctx.stats.deaths_refuted), (1, deaths));
    }
}

#[test]
fn one_accuser_is_answered_no_more_than_so_often_at_one_moment() {
    let mut rooms = rooms(false);
    for _ in 0..100 {
        let source = Source::Gossip(peer(3));
        rooms.verdicts().refute(source, claim(version(0, 1)), Accusation::Suspicion);
    }
    assert_eq!(rooms.effects().len(), 64);
}

#[test]
fn a_node_that_agrees_to_its_eviction_does_not_refute_for_as_long_as_the_policy_says() {
    let after = Some(ms(4_000));
    let mut rooms = Rooms::with(5, Config { evict_degraded_after: after, ..Config::lan() });
    let run = (id(0), version(0, 0).generation);
    rooms.detector.failing.update(at(1_000), run, &[], true);
    for (millis, held) in [(10_000, 1), (13_999, 2), (14_000, 2)] {
        let claim = claim(version(0, 0));
        rooms.at(millis).verdicts().refute(Source::Gossip(peer(3)), claim, Accusation::Death);
        assert_eq!(rooms.ctx.stats.refutations_held, held, "{millis}");
        assert_eq!(rooms.effects().is_empty(), millis < 14_000, "{millis}");
    }
}
