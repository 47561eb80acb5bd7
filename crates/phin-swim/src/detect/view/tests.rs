use super::*;
use crate::{
    Config, MemberState,
    link::{Run, Word},
    member::record::tests::{id, version},
    testing::{Rooms, at, ms, vote},
};

type Change = fn(&mut Rooms);
type Nodes = &'static [u8];

fn nodes(ids: Vec<MemberId>) -> Vec<u8> {
    (0..=99).filter(|&node| ids.contains(&id(node))).collect()
}

/// Node 1 was accused to the others that long ago.
fn accuse(rooms: &mut Rooms, age: u64) {
    rooms.miss(1, &[9_000]).accused_at = Some(at(10_000 - age));
}

#[test]
fn the_observers_that_are_able_to_judge_are_alive_heard_and_do_not_abstain() {
    // The situation; the live observers of node 1, and those that are able to judge.
    let cases: [(&str, Change, &[u8], &[u8]); 8] = [
        ("all well", |_| {}, &[0, 2, 3, 4], &[0, 2, 3, 4]),
        ("one is dead", |r| r.put(2, MemberState::Dead, 0), &[0, 3, 4], &[0, 3, 4]),
        ("one is suspect", |r| r.put(2, MemberState::Suspect, 0), &[0, 3, 4], &[0, 3, 4]),
        ("one abstains", |r| _ = r.miss(1, &[]).record_abstaining(id(2)), &[0, 3, 4], &[0, 3, 4]),
        ("one is silent", |r| r.silence(&[2]), &[0, 2, 3, 4], &[0, 3, 4]),
        ("one missed a ping", |r| _ = r.miss(2, &[9_000]), &[0, 2, 3, 4], &[0, 2, 3, 4]),
        // Only this node is left of those that were asked to vote and were not heard since.
        ("none answers in time", |r| accuse(r, 750), &[0, 2, 3, 4], &[0]),
        ("there is time yet", |r| accuse(r, 749), &[0, 2, 3, 4], &[0, 2, 3, 4]),
    ];
    for (what, change, alive, able) in cases {
        let mut rooms = Rooms::of(5);
        change(&mut rooms);
        assert_eq!(nodes(rooms.see().alive_observers(id(1))), alive, "{what}");
        assert_eq!(nodes(rooms.see().able_observers(id(1))), able, "{what}");
    }
}

#[test]
fn one_that_votes_or_is_heard_after_it_was_asked_is_not_silent() {
    let cases: [(&str, Change, bool); 5] = [
        ("heard since", |r| r.detector.contacts.record_heard(id(2), at(9_000)), true),
        ("heard before", |r| r.detector.contacts.record_heard(id(2), at(8_999)), false),
        (
            "it voted",
            |r| _ = r.miss(1, &[]).record_vote(at(9_500), vote(2, 9_000, Silence::Silent)),
            true,
        ),
        // Asked at 1 s, it need only be heard within two tolerances.
        (
            "asked long ago",
            |r| {
                r.miss(1, &[]).accused_at = Some(at(1_000));
                r.detector.contacts.record_heard(id(2), at(8_000));
            },
            true,
        ),
        (
            "and not heard lately",
            |r| {
                r.miss(1, &[]).accused_at = Some(at(1_000));
                r.detector.contacts.record_heard(id(2), at(7_999));
            },
            false,
        ),
    ];
    for (what, change, is_able) in cases {
        let mut rooms = Rooms::of(5);
        accuse(&mut rooms, 1_000);
        change(&mut rooms);
        assert_eq!(rooms.see().is_able(id(2), id(1)), is_able, "{what}");
    }
    assert!(!Rooms::of(5).see().is_able(id(1), id(1)), "nobody judges itself");
}

#[test]
fn this_node_may_be_deaf_where_most_subjects_or_all_other_observers_are_silent() {
    let unanswered = |rooms: &mut Rooms, nodes: &[u8]| {
        for &node in nodes {
            rooms.senses.links.open(id(node), ms(10));
            (0..2).for_each(|_| rooms.senses.links.record_no_reply(id(node)));
        }
    };
    // The number of members, those that missed one ping, those that give no reply themselves; whether most are silent,
    // few are heard, and whether this node may be deaf with respect to node 1.
    let cases: [(u8, Nodes, Nodes, [bool; 3]); 9] = [
        (6, &[2, 3], &[], [false, false, false]),
        (6, &[2, 3, 4], &[], [true, false, true]),
        (5, &[2, 3], &[], [false, false, false]),
        (4, &[2, 3], &[], [false, false, false]),
        (6, &[], &[2, 3], [false, false, false]),
        (6, &[], &[2, 3, 4], [false, true, true]),
        (4, &[], &[2, 3], [false, true, true]),
        (5, &[], &[2, 3], [false, false, false]),
        (3, &[], &[1, 2], [false, false, false]),
    ];
    for (members, missed, without_reply, expected) in cases {
        let mut rooms = Rooms::of(members);
        missed.iter().for_each(|&node| _ = rooms.miss(node, &[9_000]));
        unanswered(&mut rooms, without_reply);
        let view = rooms.see();
        let found = [view.is_most_silent(), view.hears_few(), view.may_be_deaf(id(1))];
        assert_eq!(found, expected, "{members} {missed:?} {without_reply:?}");
    }
    let mut rooms = Rooms::of(4);
    rooms.silence(&[2]);
    assert!(!rooms.see().may_be_deaf(id(1)));
    rooms.silence(&[3]);
    assert!(rooms.see().may_be_deaf(id(1)), "all other observers are silent");
    assert!(!Rooms::of(2).see().may_be_deaf(id(1)), "there are no others");
}

#[test]
fn who_is_silent_has_others_take_its_place_while_most_are() {
    let heard = |rooms: &mut Rooms, at_ms: u64| {
        (20..30).for_each(|node| rooms.detector.contacts.record_heard(id(node), at(at_ms)));
    };
    let rooms = || {
        let mut rooms = Rooms::with(60, Config { rings: 4, ..Config::lan() });
        let observers = rooms.list.rings().observers(id(1));
        let subjects = rooms.list.rings().subjects(id(0));
        let silent = nodes([observers.clone(), subjects].concat());
        rooms.silence(&silent.into_iter().filter(|&n| n != 0).collect::<Vec<_>>());
        (rooms, observers)
    };
    let (mut calm, observers) = rooms();
    calm.detector.cases = Cases::default();
    assert_eq!(calm.see().voters(id(1)), observers, "while this node hears most");
    let mut one_silent = Rooms::of(6);
    one_silent.silence(&[2]);
    assert_eq!(nodes(one_silent.see().voters(id(1))), [0, 2, 3, 4, 5], "it may vote yet");
    let (mut rooms, _) = rooms();
    assert_eq!(nodes(rooms.see().voters(id(1))), [0], "nobody else was heard");
    heard(&mut rooms, 8_999);
    assert_eq!(nodes(rooms.see().voters(id(1))), [0], "nor since the silence began");
    heard(&mut rooms, 9_000);
    let voters = nodes(rooms.see().voters(id(1)));
    assert_eq!(voters.len(), 4, "{voters:?}");
    assert!(voters.contains(&0) && voters[1..].iter().all(|node| (20..30).contains(node)));
    // A suspect takes no place.
    voters[1..].iter().for_each(|&node| rooms.put(node, MemberState::Suspect, 0));
    let others = nodes(rooms.see().voters(id(1)));
    assert!(others[1..].iter().all(|node| !voters.contains(node)), "{others:?}");
    // On a starved machine those that are silent now will vote later.
    rooms.lag(250);
    assert_eq!(rooms.see().voters(id(1)), observers);
}

#[test]
fn a_mass_silence_begins_with_the_first_of_several_or_with_one_of_which_nobody_hears() {
    // The situation; since when there is a mass silence.
    let cases: [(&str, Change, Option<u64>); 6] = [
        ("none is silent", |r| _ = r.miss(2, &[8_000]), None),
        ("one is", |r| r.silence(&[2]), None),
        (
            "two are",
            |r| {
                r.silence(&[2]);
                r.miss(3, &[8_500, 9_500]);
            },
            Some(8_500),
        ),
        (
            "one, and nobody answered since it was accused",
            |r| r.miss(2, &[9_000, 9_100]).accused_at = Some(at(9_750)),
            Some(9_000),
        ),
        (
            "there is time to answer yet",
            |r| r.miss(2, &[9_000, 9_100]).accused_at = Some(at(9_751)),
            None,
        ),
        (
            "somebody was heard since",
            |r| {
                r.miss(2, &[9_000, 9_100]).accused_at = Some(at(9_750));
                r.detector.contacts.record_heard(id(4), at(9_750));
            },
            None,
        ),
    ];
    for (what, change, expected) in cases {
        let mut rooms = Rooms::of(6);
        change(&mut rooms);
        assert_eq!(rooms.see().mass_silence_began(), expected.map(at), "{what}");
    }
}

#[test]
fn a_silence_is_early_while_a_stall_may_explain_it() {
    // The stall of this node and that which the subject advertises; for how long a silence is early.
    for (own, advertised, early_for) in [(0, 0, 0), (100, 0, 125), (100, 160, 200), (900, 0, 250)] {
        let mut rooms = Rooms::of(6);
        rooms.senses.links.open(id(1), ms(10));
        rooms.senses.links.get_mut(id(1)).unwrap().stall = ms(advertised);
        rooms.at(8_000).lag(own);
        rooms.at(9_000).miss(1, &[9_000]);
        let left = rooms.see().early_for(id(1)).unwrap_or_default();
        assert_eq!(left, ms(early_for), "{own} {advertised}");
    }
}

#[test]
fn a_member_that_was_as_silent_lately_is_given_longer_by_what_its_host_says() {
    use Silence::{Gone, Hung, Silent, Unknown};
    // For how long it was silent lately, the kind of silence, whether another accuses it; for how long it is early.
    let cases = [
        (300, Unknown, false, 300),
        (300, Silent, false, 300),
        (300, Gone, false, 0),
        (5_000, Silent, false, 500),
        (5_000, Hung, false, 500),
        (5_000, Unknown, false, 1_500),
        (5_000, Unknown, true, 0),
        (0, Unknown, false, 0),
    ];
    for (lately, silence, is_accused, early_for) in cases {
        let mut rooms = Rooms::of(6);
        rooms.senses.links.open(id(1), ms(10));
        rooms.senses.links.record_silence_ended(at(8_000), id(1), ms(lately));
        let case = rooms.miss(1, &[9_000, 9_100]);
        case.silence = silence;
        if is_accused {
            case.record_accuser(id(2));
        }
        let left = rooms.at(9_000).see().early_for(id(1));
        assert_eq!(left.unwrap_or_default(), ms(early_for), "{lately} {silence:?} {is_accused}");
        let early = (0..3_000).find(|after| !rooms.at(9_000 + after).see().is_early(id(1)));
        assert_eq!(early, Some(early_for), "{lately} {silence:?} {is_accused}");
    }
}

/// A run of pings without direct reply to node 1, which is worth so much.
fn run(rooms: &mut Rooms, began: u64, last: u64, phi: f64) {
    rooms.senses.links.open(id(1), ms(10));
    let link = rooms.senses.links.get_mut(id(1)).unwrap();
    let mut run = Run::new(at(began), &link.estimator);
    (run.last_at, run.phi) = (at(last), phi);
    link.unanswered = Some(run);
}

#[test]
fn a_link_fails_while_its_subject_lives_and_several_periods_of_pings_have_no_reply() {
    // When the run began and when its last ping was sent, what it is worth, when the subject is known alive, now; whether
    // the link fails. A turn through the rings takes 5 s in a cluster of five.
    let cases = [
        (10_000, 15_000, 8.0, Some(10_001), 16_000, true),
        (10_000, 14_999, 8.0, Some(10_001), 16_000, false),
        (10_000, 15_000, 7.9, Some(10_001), 16_000, false),
        (10_000, 15_000, 8.0, Some(10_000), 16_000, false),
        (10_000, 15_000, 8.0, None, 16_000, false),
        (10_000, 15_000, 8.0, Some(10_001), 29_999, true),
        (10_000, 15_000, 8.0, Some(10_001), 30_000, false),
    ];
    for (began, last, phi, alive_at, now, fails) in cases {
        let mut rooms = Rooms::of(5);
        run(&mut rooms, began, last, phi);
        alive_at
            .into_iter()
            .for_each(|alive| rooms.senses.links.record_known_alive(id(1), at(alive)));
        let found = rooms.at(now).see().own_failing_link(id(1));
        let link = FailingLink { observer: id(0), since: at(began), attempts: 1 };
        assert_eq!(found, fails.then_some(link), "{began} {last} {phi} {alive_at:?} {now}");
    }
}

#[test]
fn a_member_behind_a_failing_link_is_left_to_others_until_nobody_heard_it_for_two_turns() {
    for (now, is_left) in [(29_999, true), (30_000, false)] {
        let mut rooms = Rooms::of(5);
        run(&mut rooms, 12_000, 25_000, 9.0);
        rooms.senses.links.record_known_alive(id(1), at(20_000));
        assert_eq!(rooms.at(now).see().is_left_to_others(id(1)), is_left, "{now}");
    }
    assert!(!Rooms::of(5).see().is_left_to_others(id(1)), "the link works");
}

#[test]
fn a_member_is_not_left_to_one_other_that_alone_says_for_too_long_that_it_lives() {
    for (now, is_left) in [(27_999, true), (28_000, false)] {
        let mut rooms = Rooms::of(5);
        run(&mut rooms, 12_000, 25_000, 9.0);
        rooms.senses.links.record_known_alive(id(1), at(20_000));
        rooms.senses.links.takes_word(at(18_000), id(1), Word::of(id(2)));
        assert_eq!(rooms.at(now).see().is_left_to_others(id(1)), is_left, "{now}");
    }
}

#[test]
fn links_that_fail_are_those_that_live_observers_told_of_lately_and_ones_own() {
    let mut rooms = Rooms::of(5);
    run(&mut rooms, 12_000, 18_000, 9.0);
    rooms.senses.links.record_known_alive(id(1), at(15_000));
    let link = |observer: u8| FailingLink { observer: id(observer), since: at(9_000), attempts: 3 };
    let run = (id(1), version(0, 0).generation);
    for (heard_at, from) in [(5_000, 2), (5_001, 3), (9_000, 4), (9_000, 77), (9_000, 1)] {
        rooms.detector.failing.record(at(heard_at), id(from), run, [link(from)].into_iter());
    }
    rooms.put(4, MemberState::Suspect, 9_000);
    rooms.at(20_000);
    let observers = |rooms: &Rooms| {
        nodes(rooms.see().failing_links(id(1)).iter().map(|link| link.observer).collect())
    };
    assert_eq!(observers(&rooms), [0, 3]);
    rooms.put(1, MemberState::Dead, 9_500);
    assert!(observers(&rooms).is_empty(), "of a member that is dead none matters");
}

#[test]
fn a_node_is_deaf_where_most_of_its_own_links_fail() {
    let mut rooms = Rooms::of(5);
    for (node, is_deaf) in [(1, false), (2, false), (3, true)] {
        rooms.senses.links.open(id(node), ms(10));
        let link = rooms.senses.links.get_mut(id(node)).unwrap();
        let mut run = Run::new(at(2_000), &link.estimator);
        (run.last_at, run.phi) = (at(8_000), 9.0);
        link.unanswered = Some(run);
        rooms.senses.links.record_known_alive(id(node), at(5_000));
        assert_eq!(rooms.see().is_deaf(), is_deaf, "{node} of 4");
    }
}

#[test]
fn a_node_agrees_to_an_eviction_after_half_of_the_time_that_the_policy_gives() {
    let after = ms(4_000);
    // The policy, since when the member is degraded here.
    for (policy, since, expected) in [
        (Some(after), Some(8_000), Eviction::Agreed(after)),
        (Some(after), Some(8_001), Eviction::No),
        (Some(after), None, Eviction::No),
        (None, Some(1_000), Eviction::No),
    ] {
        let mut rooms = Rooms::with(5, Config { evict_degraded_after: policy, ..Config::lan() });
        let run = (id(1), version(0, 0).generation);
        since.into_iter().for_each(|since| {
            rooms.detector.failing.update(at(since), run, &[], true);
        });
        assert_eq!(rooms.see().eviction(id(1)), expected, "{policy:?} {since:?}");
    }
}

#[test]
fn questions_become_rarer_where_very_many_are_silent() {
    // How many cases are open; how often others are asked again. Up to twice as many as rings are ordinary.
    for (cases, interval) in [(0, 250), (16, 250), (32, 250), (48, 500), (112, 1_500)] {
        let mut rooms = Rooms::of(200);
        (1..=cases).for_each(|node| _ = rooms.miss(node, &[]));
        assert_eq!(rooms.see().accusation_interval(), ms(interval), "{cases} cases");
    }
}

#[test]
fn a_turn_uses_each_link_once() {
    for (members, seconds) in [(1, 1), (5, 5), (8, 8), (20, 8)] {
        assert_eq!(Rooms::of(members).see().turn(), ms(seconds * 1_000), "{members} members");
    }
}

#[test]
fn so_many_misses_are_kept_as_take_the_worst_link_to_the_threshold() {
    let rooms = Rooms::of(3);
    let weight = -phin_accrual::ln(MAX_LOSS) * LOG10_E;
    let most = rooms.see().max_misses() as f64;
    assert!(most * weight >= 8.0 && (most - 1.0) * weight < 8.0, "{most} of {weight}");
}
