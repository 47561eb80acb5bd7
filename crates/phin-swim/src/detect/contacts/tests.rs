use std::time::Duration;

use super::*;
use crate::testing::at;

fn id(number: usize) -> MemberId {
    MemberId::from_u128(number as u128)
}

#[test]
fn a_node_was_perhaps_apart_that_refuted_or_found_half_as_many_silent_as_it_heard() {
    // Which members were heard and which silent, each when, and when this node refuted; whether it was apart since 5 s.
    type Moments = &'static [(usize, u64)];
    let cases: [(Moments, Moments, Option<u64>, bool); 11] = [
        (&[], &[], None, false),
        (&[(1, 6)], &[], None, false),
        (&[(1, 6), (2, 6)], &[(3, 6)], None, true),
        (&[(1, 6), (2, 6), (4, 6)], &[(3, 6)], None, false),
        (&[(1, 6), (2, 6), (4, 6)], &[(3, 5), (5, 5)], None, true),
        (&[(1, 6), (2, 6), (4, 6)], &[(3, 4), (5, 5)], None, false),
        (&[(1, 6), (2, 6), (4, 4)], &[(3, 6)], None, true),
        // One that was heard and is silent since counts as silent alone.
        (&[(1, 6), (2, 6), (3, 6)], &[(3, 7)], None, true),
        // Not the member itself.
        (&[(1, 6)], &[(9, 6)], None, false),
        (&[(1, 6)], &[], Some(5), true),
        (&[(1, 6)], &[], Some(4), false),
    ];
    for (heard, silent, refuted, expected) in cases {
        let mut contacts = Contacts::default();
        heard.iter().for_each(|&(node, second)| contacts.record_heard(id(node), at(second)));
        silent.iter().for_each(|&(node, second)| contacts.record_silent(id(node), at(second)));
        refuted.into_iter().for_each(|second| contacts.record_refuted(at(second)));
        let found = contacts.were_apart(at(5), id(9));
        assert_eq!(found, expected, "{heard:?} {silent:?} {refuted:?}");
    }
}

#[test]
fn many_have_fallen_if_more_than_three_and_one_in_thirty_two() {
    // How many fell at 6 s, of how many members; whether that is many since then.
    for (falls, members, are_many) in [
        (3, 10, false),
        (4, 10, true),
        (4, 32, false),
        (5, 32, true),
        (63, 9_000, false),
        (64, 9_000, true),
    ] {
        let mut contacts = Contacts::default();
        (0..falls).for_each(|_| contacts.record_fall(at(6), Duration::from_secs(1)));
        assert_eq!(contacts.have_many_fallen(at(6), members), are_many, "{falls} of {members}");
        assert!(!contacts.have_many_fallen(at(7), members));
        (0..MAX_CONTACTS).for_each(|_| contacts.record_fall(at(6), Duration::from_secs(1)));
        assert_eq!(contacts.falls.len(), MAX_CONTACTS, "no more are remembered");
    }
}

#[test]
fn the_moment_of_a_contact_is_its_last_and_the_oldest_gives_way() {
    let mut contacts = Contacts::default();
    contacts.record_heard(id(1), at(6));
    contacts.record_heard(id(1), at(5));
    assert_eq!(contacts.heard_at(id(1)), Some(at(6)));
    (2..=MAX_CONTACTS).for_each(|node| contacts.record_heard(id(node), at(7)));
    contacts.record_heard(id(2), at(8));
    assert_eq!((contacts.last_heard(), contacts.heard.len()), (Some(id(2)), MAX_CONTACTS));
    contacts.record_heard(id(99), at(7));
    assert_eq!((contacts.heard_at(id(1)), contacts.heard.len()), (None, MAX_CONTACTS));
    assert_eq!(contacts.heard_at(id(99)), Some(at(7)));
    contacts.record_silent(id(99), at(7));
    contacts.forget(id(99));
    assert!(contacts.heard_at(id(99)).is_none() && contacts.silent.is_empty());
}

#[test]
fn those_heard_since_a_moment_are_found_from_a_place_on() {
    let mut contacts = Contacts::default();
    for (node, second) in [(1, 6), (2, 4), (3, 5), (5, 6)] {
        contacts.record_heard(id(node), at(second));
    }
    let found: Vec<_> = contacts.heard_since(at(5), id(2)).collect();
    assert_eq!(found, [id(3), id(5), id(1)]);
    assert!(contacts.is_any_heard_since(at(6)) && !contacts.is_any_heard_since(at(7)));
}

#[test]
fn an_accuser_is_answered_so_often_at_one_moment() {
    let mut contacts = Contacts::default();
    let mut answers =
        |millis, to| (0..100).filter(|_| contacts.may_answer(at(millis), id(to))).count();
    assert_eq!([answers(1, 1), answers(1, 2), answers(2, 2)], [64, 64, 64]);
}

#[test]
fn another_refuted_at_or_after_a_moment() {
    let mut contacts = Contacts::default();
    assert!(!contacts.has_other_refuted(at(0)));
    contacts.record_other_refuted(at(5));
    assert!(contacts.has_other_refuted(at(5)) && !contacts.has_other_refuted(at(6)));
}

#[test]
fn members_that_fall_one_soon_after_another_are_a_wave_until_one_refutes() {
    // When members fell, of ten, and when one of them refuted after that; since when many fell together.
    let cases: [(&[u64], bool, Option<u64>); 7] = [
        (&[], false, None),
        (&[5, 5, 5], false, None),
        (&[5, 5, 5, 5], false, Some(5)),
        (&[5, 6, 7, 8], false, Some(5)),
        (&[5, 5, 5, 7], false, None),
        (&[5, 6, 7, 8], true, None),
        // One that lasts too long ends.
        (&[5, 6, 7, 8, 9], false, None),
    ];
    for (falls, is_refuted, expected) in cases {
        let mut contacts = Contacts::default();
        let gap = Duration::from_millis(1);
        falls.iter().for_each(|&millis| contacts.record_fall(at(millis), gap));
        if is_refuted {
            contacts.record_other_refuted(at(9));
        }
        assert_eq!(contacts.wave_began(10), expected.map(at), "{falls:?} {is_refuted}");
    }
}
