use super::*;
use crate::{
    Config, MemberState, Silence,
    detect::case::Stage,
    link::Run,
    member::record::tests::{id, version},
    step::Purpose,
    testing::{Rooms, at, peer, vote},
};

const SEQUENCE: Sequence = Sequence(1);

/// A node that has pinged node 1, at 9 s, and missed the reply.
fn pinging(members: u8) -> Rooms {
    let mut rooms = Rooms::of(members);
    rooms.measure(1);
    rooms.at(9_000).probe().ping(peer(1), Purpose::Probe);
    rooms.at(10_000).miss(1, &[9_000]);
    rooms.effects();
    rooms
}

/// The same, with these helpers asked.
fn asking(helpers: &[u8]) -> Rooms {
    let mut rooms = pinging(6);
    let helpers = helpers.iter().map(|&node| id(node)).collect();
    rooms.senses.pings.get_mut(SEQUENCE).unwrap().record_helpers(helpers);
    rooms
}

fn generation(generation: u32) -> Generation {
    version(generation, 0).generation
}

/// The members that are asked to help, as the messages say.
fn asked(rooms: &mut Rooms) -> Vec<String> {
    let effects = rooms.effects();
    let asked = effects.iter().map(|effect| {
        effect.strip_suffix(": ping-req seq=1 target=n1").unwrap().trim_start_matches("to ")
    });
    asked.map(str::to_owned).collect()
}

/// The link of this node to node 1 fails, though that lives.
fn cut_off(rooms: &mut Rooms) {
    let estimate = rooms.senses.links.estimate_of(id(1)).unwrap();
    let mut run = Run::new(at(3_000), &estimate);
    (1..6).for_each(|second| run.extend(at(3_000 + second * 1_000)));
    rooms.senses.links.get_mut(id(1)).unwrap().unanswered = Some(run);
    rooms.senses.links.record_known_alive(id(1), at(3_001));
}

#[test]
fn the_observers_that_are_not_silent_themselves_are_asked_so_many_of_them() {
    type Change = fn(&mut Rooms);
    // The situation; which members may be asked, and how many are.
    let cases: [(&str, Change, &[&str], usize); 4] = [
        ("all well", |_| {}, &["n2", "n3", "n4", "n5"], 3),
        ("one is dead", |r| r.put(2, MemberState::Dead, 0), &["n3", "n4", "n5"], 3),
        ("one is suspect", |r| r.put(2, MemberState::Suspect, 0), &["n3", "n4", "n5"], 3),
        ("two are silent", |r| r.silence(&[2, 3]), &["n4", "n5"], 2),
    ];
    for (what, change, may_help, count) in cases {
        let mut rooms = pinging(6);
        change(&mut rooms);
        rooms.detect().ask_helpers(id(1), SEQUENCE);
        let asked = asked(&mut rooms);
        assert!(asked.iter().all(|node| may_help.contains(&node.as_str())), "{what}: {asked:?}");
        assert_eq!(asked.len(), count, "{what}");
        assert_eq!(rooms.ctx.stats.ping_reqs_sent, count as u64);
        assert_eq!(rooms.senses.pings.get_mut(SEQUENCE).unwrap().take_silent_helpers(), count);
        let nack = std::iter::from_fn(|| rooms.ctx.timers.pop_due(at(11_000)));
        assert!(nack.into_iter().any(|timer| timer == Timer::NackTimeout(SEQUENCE)));
    }
    let config = Config { indirect_probes: 0, ..Config::lan() };
    let mut rooms = Rooms::with(6, config);
    rooms.detect().ask_helpers(id(1), SEQUENCE);
    assert!(rooms.effects().is_empty());
}

#[test]
fn random_helpers_differ_from_time_to_time() {
    let mut rooms = pinging(9);
    let mut all = std::collections::BTreeSet::new();
    for _ in 0..20 {
        rooms.detect().ask_helpers(id(1), SEQUENCE);
        all.extend(asked(&mut rooms));
    }
    assert_eq!(all.len(), 7);
}

#[test]
fn behind_a_failing_link_the_member_that_reached_the_target_last_is_asked_first() {
    // Whether the link fails, the state of the helper; whether it comes first each time.
    for (fails, state, is_first) in [
        (true, MemberState::Alive, true),
        (false, MemberState::Alive, false),
        (true, MemberState::Dead, false),
    ] {
        let mut rooms = pinging(9);
        rooms.senses.links.record_reached_by(id(1), id(5));
        rooms.put(5, state, 0);
        if fails {
            cut_off(&mut rooms);
        }
        let mut first = || {
            rooms.detect().ask_helpers(id(1), SEQUENCE);
            asked(&mut rooms)[0] == "n5"
        };
        assert_eq!((0..20).all(|_| first()), is_first, "{fails} {state}");
    }
}

#[test]
fn behind_a_failing_link_any_member_may_help() {
    for fails in [false, true] {
        let config = Config { rings: 2, indirect_probes: 16, ..Config::lan() };
        let mut rooms = Rooms::with(60, config);
        rooms.measure(1);
        if fails {
            cut_off(&mut rooms);
        }
        let observers = rooms.list.rings().observers(id(1)).len();
        rooms.detect().ask_helpers(id(1), SEQUENCE);
        let asked = asked(&mut rooms);
        assert_eq!(asked.len() > observers, fails, "{asked:?}");
        assert!(!asked.contains(&"n1".to_owned()) && !asked.contains(&"n0".to_owned()));
    }
}

#[test]
fn the_word_of_a_helper_that_was_asked_clears_the_member_and_no_other_word_does() {
    // The helper that answers, the ping and the run of the target; whether that clears it, and what is counted.
    for (from, sequence, run, clears, [late, unasked]) in [
        (2, SEQUENCE, 0, true, [0, 0]),
        (2, SEQUENCE, 1, true, [0, 0]),
        (3, SEQUENCE, 0, false, [0, 1]),
        (2, Sequence(9), 0, false, [1, 0]),
    ] {
        let mut rooms = asking(&[2, 4]);
        rooms.senses.health.record_silent_helpers(5);
        rooms.life_signs().handle_indirect_ack(id(from), sequence, generation(run));
        assert_eq!(!rooms.detector.cases.is_open(id(1)), clears, "n{from} {sequence:?}");
        assert_eq!([rooms.ctx.stats.late_acks, rooms.ctx.stats.unasked_answers], [late, unasked]);
        assert_eq!(!rooms.senses.health.is_impaired(at(10_000)), clears, "a helper answers");
        assert_eq!(rooms.senses.links.reached_by(id(1)), clears.then_some(id(2)));
        let silent = rooms.senses.pings.get_mut(SEQUENCE).unwrap().take_silent_helpers();
        assert_eq!(silent, if clears { 0 } else { 2 }, "the others do not matter any more");
        assert_eq!(rooms.senses.links.heard_at(id(1)), clears.then_some(at(9_000)));
    }
}

#[test]
fn a_helper_that_reached_an_earlier_run_of_the_member_says_nothing() {
    let mut rooms = asking(&[2]);
    let record = crate::member::record::tests::record(1, version(3, 0));
    rooms.list.put(crate::Member { record, state: MemberState::Alive, since: at(0) });
    rooms.life_signs().handle_indirect_ack(id(2), SEQUENCE, generation(2));
    assert!(rooms.detector.cases.is_open(id(1)));
}

#[test]
fn a_suspect_that_a_helper_reached_is_pinged_so_that_it_refutes() {
    for (state, is_pinged) in [(MemberState::Suspect, true), (MemberState::Alive, false)] {
        let mut rooms = asking(&[2]);
        rooms.put(1, state, 9_500);
        rooms.senses.pings.mark_overdue(SEQUENCE);
        rooms.life_signs().handle_indirect_ack(id(2), SEQUENCE, generation(0));
        let ping = "Ping { to: n1, purpose: Probe }".to_owned();
        assert_eq!(rooms.effects().contains(&ping), is_pinged, "{state}");
    }
}

#[test]
fn a_nack_shows_that_its_helper_is_there() {
    for (from, sequence, is_asked, [late, unasked]) in
        [(2, SEQUENCE, true, [0, 0]), (3, SEQUENCE, false, [0, 1]), (2, Sequence(9), false, [1, 0])]
    {
        let mut rooms = asking(&[2, 4]);
        rooms.senses.health.record_silent_helpers(5);
        rooms.detect().handle_nack(id(from), sequence);
        let silent = rooms.senses.pings.get_mut(SEQUENCE).unwrap().take_silent_helpers();
        assert_eq!(silent, if is_asked { 1 } else { 2 }, "n{from} {sequence:?}");
        assert_eq!([rooms.ctx.stats.late_acks, rooms.ctx.stats.unasked_answers], [late, unasked]);
        assert_eq!(!rooms.senses.health.is_impaired(at(10_000)), is_asked);
        // The evidence is looked at again: what is missed is worth asking the host about.
        let case = rooms.detector.cases.get(id(1)).unwrap();
        assert_eq!(case.stage > Stage::Watching, is_asked);
    }
}

#[test]
fn silent_helpers_make_this_node_doubt_itself_unless_others_show_that_it_hears() {
    type Change = fn(&mut Rooms);
    let most_silent: Change = |r| r.silence(&[2, 3, 4, 5]);
    // The situation; how many count against this node. Five are enough to doubt itself.
    let cases: [(&str, Change, bool); 5] = [
        ("nobody answered", |_| {}, true),
        (
            "an observer misses the member too",
            |r| _ = r.miss(1, &[]).record_vote(at(9_500), vote(2, 9_000, Silence::Silent)),
            false,
        ),
        ("most are silent", most_silent, true),
        (
            "and others answered since",
            |r| {
                r.silence(&[2, 3, 4, 5]);
                r.senses.health.record_answer(at(9_001));
            },
            false,
        ),
        ("others answered, but few are silent", |r| r.senses.health.record_answer(at(9_001)), true),
    ];
    for (what, change, is_doubtful) in cases {
        let mut rooms = asking(&[2, 3, 4, 5, 6]);
        change(&mut rooms);
        rooms.detect().count_silent_helpers(SEQUENCE);
        assert_eq!(rooms.senses.health.is_impaired(at(10_000)), is_doubtful, "{what}");
        assert_eq!(rooms.ctx.stats.nacks_missed, 5);
        rooms.detect().count_silent_helpers(Sequence(9));
        assert_eq!(rooms.ctx.stats.nacks_missed, 5, "a ping that has ended");
    }
}
