use std::time::Duration;

use super::*;
use crate::{
    member::record::tests::{id, version},
    step::Source,
    testing::{Rooms, at, vote},
};

type Nodes = &'static [u8];

/// The observers, of nodes 0 to 5, whose votes these are.
fn observers(votes: &[Vote]) -> Vec<u8> {
    let mut found: Vec<_> = votes.iter().map(|vote| vote.observer).collect();
    found.sort_unstable_by_key(|&observer| node(observer));
    found.into_iter().map(node).collect()
}

fn node(id: MemberId) -> u8 {
    (0..=99).find(|&node| self::id(node) == id).unwrap()
}

fn votes(of: &[u8], silence: Silence) -> Vec<Vote> {
    of.iter().map(|&node| vote(node, 9_000, silence)).collect()
}

/// A node of six that suspects node 1, with the votes of these on a case of two misses.
fn rooms(of: &[u8]) -> Rooms {
    let mut rooms = Rooms::of(6);
    let case = rooms.miss(1, &[9_000, 9_100]);
    for vote in votes(of, Silence::Silent) {
        case.record_vote(at(9_500), vote);
    }
    rooms
}

#[test]
fn the_votes_of_live_observers_count_with_this_nodes_own() {
    let own = |phi: f64| {
        let mut rooms = rooms(&[2, 3, 4]);
        rooms.put(3, MemberState::Dead, 9_800);
        rooms.put(4, MemberState::Suspect, 9_800);
        observers(&valid_votes(rooms.see(), id(1), phi))
    };
    assert_eq!(own(1.9), [2, 4], "too little to vote oneself");
    assert_eq!(own(2.0), [0, 2, 4]);
    let mut rooms = rooms(&[2]);
    rooms.detector.cases.get_mut(id(1)).unwrap().misses.clear();
    assert_eq!(observers(&valid_votes(rooms.see(), id(1), 9.0)), [2], "nothing of one's own");
    rooms.detector.cases.close(id(1));
    assert!(valid_votes(rooms.see(), id(1), 9.0).is_empty());
    let mut rooms = self::rooms(&[]);
    let found = valid_votes(rooms.see(), id(1), 2.5);
    let Vote { phi, silent_since, attempts, .. } = found[0];
    assert_eq!((phi.to_string(), silent_since, attempts), ("2.5".to_owned(), at(9_000), 2));
    // One that does not observe the subject has no vote.
    rooms = Rooms::with(40, crate::Config { rings: 2, ..crate::Config::lan() });
    let is_subject = |node: u8| rooms.list.rings().is_near_predecessor(id(0), id(node));
    let (mine, other) = (
        (1..40).find(|&node| is_subject(node)).unwrap(),
        (1..40).find(|&node| !is_subject(node)).unwrap(),
    );
    for (node, count) in [(mine, 1), (other, 0)] {
        rooms.miss(node, &[9_000, 9_100]);
        assert_eq!(valid_votes(rooms.see(), id(node), 2.5).len(), count, "n{node}");
    }
}

#[test]
fn votes_are_credible_unless_this_node_heard_the_member_or_may_have_been_apart() {
    type Change = fn(&mut Rooms);
    // The situation, and whose votes count.
    let cases: [(&str, Change, &[u8]); 12] = [
        ("nothing speaks against them", |_| {}, &[2, 3]),
        ("heard since", |r| r.detector.contacts.record_heard(id(1), at(9_001)), &[]),
        ("heard before", |r| r.detector.contacts.record_heard(id(1), at(9_000)), &[2, 3]),
        ("this node refuted", |r| r.detector.contacts.record_refuted(at(9_000)), &[]),
        ("it refuted before", |r| r.detector.contacts.record_refuted(at(8_999)), &[2, 3]),
        ("most are silent", |r| (3..6).for_each(|node| _ = r.miss(node, &[9_500])), &[]),
        ("half are", |r| (3..5).for_each(|node| _ = r.miss(node, &[9_500])), &[2, 3]),
        ("a voter is suspect", |r| r.put(2, MemberState::Suspect, 9_500), &[3]),
        ("a voter has long been suspect", |r| r.put(2, MemberState::Suspect, 8_000), &[3]),
        ("a voter returned since", |r| r.put(2, MemberState::Alive, 9_001), &[3]),
        ("a voter returned before", |r| r.put(2, MemberState::Alive, 9_000), &[2, 3]),
        (
            "many fell",
            |r| {
                let contacts = &mut r.detector.contacts;
                (0..4).for_each(|_| contacts.record_fall(at(9_000), Duration::from_secs(1)));
            },
            &[],
        ),
    ];
    for (what, change, expected) in cases {
        let mut rooms = Rooms::of(6);
        change(&mut rooms);
        // Neither an unknown member nor the subject votes on it, and nobody twice.
        let votes = votes(&[2, 3, 3, 77, 1], Silence::Silent);
        assert_eq!(observers(&credible_votes(rooms.see(), id(1), &votes)), expected, "{what}");
    }
    let mut rooms = Rooms::of(6);
    (0..4).for_each(|_| rooms.detector.contacts.record_fall(at(9_000), Duration::from_secs(1)));
    let gone = votes(&[2, 3], Silence::Gone);
    assert_eq!(credible_votes(rooms.see(), id(1), &gone).len(), 2, "a split refuses no packet");
    assert!(credible_votes(rooms.see(), id(1), &[]).is_empty());
}

#[test]
fn a_verdict_is_borne_out_by_a_majority_of_the_observers_alive_here_or_by_a_host() {
    // The voters, the kind of silence, how many of the five observers are dead; whether the votes are sufficient.
    let cases: [(&[u8], Silence, u8, bool); 6] = [
        (&[2, 3, 4], Silence::Silent, 0, true),
        (&[2, 3], Silence::Silent, 0, false),
        (&[2, 3], Silence::Silent, 2, true),
        (&[2], Silence::Silent, 2, false),
        (&[2, 3], Silence::Gone, 0, true),
        (&[], Silence::Gone, 4, false),
    ];
    for (of, silence, dead, expected) in cases {
        let mut rooms = Rooms::of(6);
        (0..dead).for_each(|n| rooms.put(5 - n, MemberState::Dead, 0));
        let found = is_borne_out(rooms.see(), id(1), &votes(of, silence));
        assert_eq!(found, expected, "{of:?} {silence:?} {dead}");
    }
}

#[test]
fn the_votes_of_a_pending_verdict_count_if_they_make_a_majority_with_an_accusation_here() {
    type Change = fn(&mut Rooms);
    // The situation, the pending votes, the votes kept, phi here; whose votes count in the end.
    let cases: [(&str, Change, Nodes, Nodes, f64, Nodes); 9] = [
        ("they make a majority", |_| {}, &[2, 3], &[], 2.0, &[0, 2, 3]),
        ("they do not", |_| {}, &[2], &[], 2.0, &[0]),
        ("one votes here as well", |_| {}, &[2, 3], &[3], 2.0, &[0, 2, 3]),
        ("too little here", |_| {}, &[2, 3, 4], &[], 1.9, &[]),
        ("one miss only", |r| r.miss(1, &[]).misses.truncate(1), &[2, 3, 4], &[], 2.0, &[0]),
        ("one abstains", |r| _ = r.miss(1, &[]).record_abstaining(id(3)), &[2, 3], &[], 2.0, &[0]),
        (
            "known alive since",
            |r| {
                r.senses.links.open(id(1), crate::testing::ms(10));
                r.senses.links.record_known_alive(id(1), at(9_000));
            },
            &[2, 3],
            &[],
            2.0,
            &[0],
        ),
        (
            "another refuted",
            |r| r.detector.contacts.record_other_refuted(at(9_000)),
            &[2, 3],
            &[],
            2.0,
            &[0],
        ),
        (
            "another refuted before",
            |r| r.detector.contacts.record_other_refuted(at(8_999)),
            &[2, 3],
            &[],
            2.0,
            &[0, 2, 3],
        ),
    ];
    for (what, change, pending, here, phi, expected) in cases {
        let mut rooms = rooms(here);
        let of_pending = votes(pending, Silence::Silent);
        let high = of_pending.into_iter().map(|vote| Vote { phi: 50.0, ..vote }).collect();
        rooms.detector.pending.keep(id(1), version(0, 0), high, Source::Ourselves);
        change(&mut rooms);
        let found = votes_to_judge(rooms.see(), &rooms.detector.pending, id(1), phi);
        assert_eq!(observers(&found), expected, "{what}");
        assert!(found.iter().all(|vote| vote.phi <= MAX_VOTE_PHI), "{what}");
    }
    let mut rooms = rooms(&[]);
    let of_pending = votes(&[2, 3, 4], Silence::Silent);
    rooms.detector.pending.keep(id(1), version(0, 7), of_pending, Source::Ourselves);
    let found = votes_to_judge(rooms.see(), &rooms.detector.pending, id(1), 2.0);
    assert_eq!(observers(&found), [0], "a verdict on another version");
}

#[test]
fn an_observer_looks_for_itself_where_a_verdict_is_pending() {
    let look = vec!["Ping { to: n1, purpose: Retry }".to_owned()];
    // Whether this node observes the subject, whether it looks already, whether the votes are credible.
    for (is_observed, is_looking, is_credible) in
        [(true, false, true), (true, true, true), (true, false, false), (false, false, true)]
    {
        let mut rooms = Rooms::of(6);
        if !is_observed {
            rooms = Rooms::with(40, crate::Config { rings: 1, ..crate::Config::lan() });
            assert!(!rooms.list.rings().observers(id(1)).contains(&id(0)));
        }
        let observer = rooms.list.rings().observers(id(1))[0];
        let votes = vec![Vote { observer, ..vote(2, 9_000, Silence::Silent) }];
        rooms.detector.pending.keep(id(1), version(0, 0), votes, Source::Ourselves);
        if is_looking {
            rooms.miss(1, &[9_900]);
        }
        if !is_credible {
            rooms.detector.contacts.record_heard(id(1), at(9_500));
        }
        rooms.detect().weigh_pending(id(1));
        let expected =
            if is_observed && !is_looking && is_credible { look.clone() } else { vec![] };
        assert_eq!(rooms.effects(), expected, "{is_observed} {is_looking} {is_credible}");
    }
}
