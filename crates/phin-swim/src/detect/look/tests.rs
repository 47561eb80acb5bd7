use super::*;
use crate::{
    Config, MemberState,
    member::record::tests::id,
    step::Purpose,
    testing::{Rooms, at, ms, peer},
};

/// The members that are looked at, as a rule asked for.
fn looked_at(rooms: &mut Rooms) -> Vec<String> {
    let mut found = rooms.effects();
    found.sort_unstable();
    let look = |effect: &String| {
        effect.trim_start_matches("Ping { to: ").trim_end_matches(", purpose: Retry }").to_owned()
    };
    found.iter().map(look).collect()
}

/// A node of many, to which all its subjects are silent.
fn alone(members: u8) -> Rooms {
    let mut rooms = Rooms::with(members, Config { rings: 4, ..Config::lan() });
    let subjects = rooms.list.rings().subjects(id(0));
    let silent: Vec<_> = (1..members).filter(|&node| subjects.contains(&id(node))).collect();
    assert_eq!(silent.len(), 4);
    rooms.silence(&silent);
    rooms
}

#[test]
fn where_several_are_silent_the_other_subjects_are_looked_at() {
    // Which are silent; which are looked at.
    let cases: [(&[u8], &[&str]); 3] =
        [(&[], &[]), (&[1], &[]), (&[1, 2], &["n3", "n4", "n5", "n6", "n7"])];
    for (silent, expected) in cases {
        let mut rooms = Rooms::of(8);
        rooms.silence(silent);
        rooms.detect().look_around();
        // Node 0 follows the others in one ring, so each of them is found from place to place only where it is a subject.
        let found = looked_at(&mut rooms);
        assert!(found.iter().all(|node| expected.contains(&node.as_str())), "{found:?}");
        assert_eq!(found.is_empty(), expected.is_empty(), "{silent:?}");
        let next = rooms.ctx.timers.next();
        assert_eq!(next, (!expected.is_empty()).then_some(at(10_125)), "{silent:?}");
        assert_eq!(rooms.ctx.stats.looks, found.len() as u64);
        // Not again before that.
        rooms.at(10_124).detect().look_around();
        assert!(looked_at(&mut rooms).is_empty());
    }
}

#[test]
fn one_that_was_heard_or_is_pinged_already_is_not_looked_at() {
    let mut rooms = Rooms::of(8);
    rooms.silence(&[1, 2]);
    let all: Vec<_> = {
        let mut rooms = Rooms::of(8);
        rooms.silence(&[1, 2]);
        rooms.detect().look_around();
        looked_at(&mut rooms)
    };
    assert!(!all.is_empty());
    for node in 3..8 {
        rooms.detector.contacts.record_heard(id(node), at(9_000));
    }
    rooms.detect().look_around();
    assert!(looked_at(&mut rooms).is_empty(), "heard since");
    let mut rooms = Rooms::of(8);
    for node in 3..8 {
        rooms.at(9_990).probe().ping(peer(node), Purpose::Probe);
    }
    rooms.effects();
    rooms.at(10_000).silence(&[1, 2]);
    rooms.detect().look_around();
    assert!(looked_at(&mut rooms).is_empty(), "pings are under way");
}

#[test]
fn where_most_are_silent_a_node_looks_past_them_as_far_as_the_network_seems_to_work() {
    type Change = fn(&mut Rooms);
    let answer: Change = |r| r.senses.health.record_answer(at(9_500));
    let refusal: Change = |r| r.senses.health.record_refusal(at(9_500));
    let resumed: Change = |r| {
        r.at(9_900).hear_anyone();
        r.senses.health.record_answer(at(9_950));
    };
    // The situation, the moment; how many members are examined.
    let cases: [(&str, Change, u64, usize); 6] = [
        ("nothing answers", |_| {}, 10_000, 0),
        ("for long", |_| {}, 11_000, 1),
        ("somebody answers", answer, 10_000, 6),
        ("a kernel refuses packets", refusal, 10_000, 6),
        ("what was held up arrives", resumed, 10_000, 0),
        ("and has arrived", resumed, 10_150, 6),
    ];
    for (what, change, now, expected) in cases {
        let mut rooms = alone(100);
        change(&mut rooms);
        rooms.at(now).detect().look_around();
        assert_eq!(looked_at(&mut rooms).len(), expected, "{what}");
        // With nobody to look at it looks again all the same.
        assert_eq!(rooms.ctx.timers.next(), Some(at(now) + ms(125)), "{what}");
    }
    let mut rooms = alone(200);
    (0..64).for_each(|node| _ = rooms.miss(100 + node, &[9_500]));
    rooms.at(11_000).detect().look_around();
    // So many were looked at in vain: another one is only pinged.
    let found = rooms.effects();
    assert!(found.len() == 1 && found[0].ends_with("purpose: Redial }"), "{found:?}");
}

#[test]
fn a_look_goes_along_each_ring_up_to_the_first_member_that_was_heard() {
    let mut rooms = alone(100);
    rooms.senses.health.record_answer(at(9_500));
    let (me, rings) = (id(0), rooms.list.rings().clone());
    let second = |ring| rings.successor(ring, rings.successor(ring, me).unwrap()).unwrap();
    let seconds: BTreeSet<_> = (0..4).map(second).collect();
    seconds.iter().for_each(|&id| rooms.detector.contacts.record_heard(id, at(9_000)));
    rooms.detect().look_around();
    assert!(looked_at(&mut rooms).is_empty());
}

#[test]
fn a_node_that_hears_few_keeps_in_contact_with_the_one_it_heard_last() {
    type Change = fn(&mut Rooms);
    let heard: Change = |r| {
        r.detector.contacts.record_heard(id(4), at(9_000));
        r.detector.contacts.record_heard(id(5), at(9_500));
    };
    // The situation, how many subjects give no reply; whether node 5 is pinged.
    let cases: [(&str, Change, u8, bool); 6] = [
        ("it hears few", heard, 3, true),
        ("it hears most", heard, 2, false),
        ("nobody was heard", |_| {}, 3, false),
        ("the last one is suspect", |r| r.put(5, MemberState::Suspect, 0), 3, false),
        ("it is silent", |r| r.silence(&[5]), 3, false),
        ("it is pinged", |r| r.probe().ping(peer(5), Purpose::Probe), 3, false),
    ];
    for (what, change, without_reply, is_pinged) in cases {
        let mut rooms = Rooms::of(6);
        heard(&mut rooms);
        if what == "nobody was heard" {
            rooms.detector.contacts = Default::default();
        }
        change(&mut rooms);
        rooms.effects();
        for node in 1..=without_reply {
            rooms.senses.links.open(id(node), ms(10));
            (0..2).for_each(|_| rooms.senses.links.record_no_reply(id(node)));
        }
        assert_eq!(last_contact(rooms.see()), is_pinged.then(|| peer(5)), "{what}");
    }
}
