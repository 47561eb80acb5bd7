use super::*;
use crate::{
    Config, Silence,
    member::record::tests::{addr, id, version},
    testing::{Rooms, at, clear, ms, peer, vote},
};

/// The evidence of nodes 0 and others against node 1 at 10 s.
struct Against {
    misses: &'static [u64],
    /// Votes of others: of which node, on a silence since when.
    votes: &'static [(u8, u64)],
    accusers: &'static [u8],
    stage: Stage,
}

fn with(members: u8, against: &Against) -> Rooms {
    let mut rooms = Rooms::of(members);
    rooms.senses.links.open(id(1), ms(10));
    let case = rooms.miss(1, against.misses);
    for &(node, since) in against.votes {
        case.record_vote(at(since), vote(node, since, Silence::Silent));
    }
    against.accusers.iter().for_each(|&accuser| case.record_accuser(id(accuser)));
    case.stage = against.stage;
    rooms
}

type Left = Option<(usize, usize)>;

/// The misses and votes left in the case against node 1; `None` where it is closed.
fn left(rooms: &Rooms) -> Left {
    rooms.detector.cases.get(id(1)).map(|case| (case.misses.len(), case.votes.len()))
}

const NONE: Against = Against { misses: &[], votes: &[], accusers: &[], stage: Stage::Watching };

#[test]
fn a_sign_of_life_voids_what_is_older_and_those_that_suspect_the_member_too_are_informed() {
    let clear = |nodes: &[u8]| -> Vec<_> {
        nodes.iter().map(|node| format!("to n{node}: clear n1 v0.0 age=500ms")).collect()
    };
    // The evidence, the rest of it after a sign of life from 9.5 s, and the nodes that are informed.
    let cases: [(Against, Left, &[u8]); 7] = [
        (Against { misses: &[9_000, 9_600], ..NONE }, Some((1, 0)), &[]),
        (Against { misses: &[9_000, 9_500], ..NONE }, None, &[]),
        (Against { misses: &[9_000], votes: &[(2, 8_900)], ..NONE }, None, &[2]),
        (Against { misses: &[9_000], votes: &[(2, 9_600)], ..NONE }, Some((0, 1)), &[2]),
        (Against { misses: &[9_600], votes: &[(2, 9_000)], ..NONE }, Some((1, 0)), &[2]),
        (Against { misses: &[9_000], accusers: &[3], ..NONE }, None, &[3]),
        // Those that were asked to vote may be about to.
        (Against { misses: &[9_000], stage: Stage::Accused, ..NONE }, None, &[2, 3, 4]),
    ];
    for (against, expected, informed) in cases {
        let mut rooms = with(5, &against);
        rooms.life_signs().record_heard(id(1), at(9_500));
        assert_eq!(left(&rooms), expected, "{:?} {:?}", against.misses, against.votes);
        let mut found = rooms.effects();
        found.sort_unstable();
        assert_eq!(found, clear(informed), "{:?} {:?}", against.misses, against.votes);
        assert_eq!(rooms.senses.links.known_alive_at(id(1)), Some(at(9_500)));
        assert_eq!(rooms.senses.links.heard_itself_at(id(1)), Some(Some(at(9_500))));
        assert_eq!(rooms.detector.contacts.heard_at(id(1)), Some(at(9_500)));
    }
}

#[test]
fn a_clear_of_another_goes_on_from_an_accuser_that_it_surprises_and_from_nobody_else() {
    let accused = Against { misses: &[9_000], stage: Stage::Accused, ..NONE };
    let later = Against { misses: &[9_600], stage: Stage::Accused, ..NONE };
    let watching = Against { misses: &[9_000], votes: &[(3, 9_000)], ..NONE };
    let (at_once, second_hand, by_this_node) = (None, Some(5), Some(0));
    // The evidence, the rest of it, and the nodes that are informed, when node 2 says that it, or another one, heard node 1 at
    // 9.5 s.
    let cases: [(&Against, Option<u8>, Left, &[u8]); 5] = [
        (&accused, at_once, None, &[3, 4]),
        (&accused, second_hand, None, &[]),
        (&accused, by_this_node, Some((1, 0)), &[]),
        (&later, at_once, Some((1, 0)), &[]),
        (&watching, at_once, None, &[]),
    ];
    for (against, heard_by, expected, informed) in cases {
        let mut rooms = with(5, against);
        rooms.life_signs().handle_clear(peer(2), clear(version(0, 0), heard_by));
        let what = format!("{:?} {heard_by:?}", against.misses);
        assert_eq!(left(&rooms), expected, "{what}");
        let passed_on = |node| format!("to n{node}: clear n1 v0.0 age=500ms heard_by=n2");
        let mut found = rooms.effects();
        found.sort_unstable();
        assert_eq!(found, informed.iter().map(passed_on).collect::<Vec<_>>(), "{what}");
        assert_eq!(rooms.detector.contacts.heard_at(id(1)), None, "this node did not hear it");
        assert_eq!(rooms.senses.links.heard_itself_at(id(1)), Some(None));
        let reached_by = Some(id(2)).filter(|_| heard_by.is_none());
        assert_eq!(rooms.senses.links.reached_by(id(1)), reached_by, "{what}");
    }
}

#[test]
fn an_accuser_that_passes_a_clear_on_collects_no_more_votes() {
    // Node 1 is accused by nodes 2 and 3, and missed here before and after the moment at which node 2 says that it lived.
    let against = Against { misses: &[9_000, 9_600], accusers: &[2, 3], ..NONE };
    for (version, expected) in [(version(0, 0), vec![id(3)]), (version(0, 1), vec![id(2), id(3)])] {
        let mut rooms = with(5, &against);
        rooms.life_signs().handle_clear(peer(2), clear(version, None));
        let mut accusers: Vec<_> =
            rooms.detector.cases.get(id(1)).unwrap().accusers.iter().copied().collect();
        accusers.sort_unstable_by_key(|accuser| *accuser != id(2));
        assert_eq!(accusers, expected);
    }
}

#[test]
fn a_clear_counts_for_the_version_it_names_and_from_those_that_may_know() {
    let against = Against { misses: &[9_000], ..NONE };
    let rooms = || {
        let mut rooms = Rooms::with(40, Config { rings: 2, ..Config::lan() });
        rooms.miss(1, against.misses);
        rooms
    };
    let view = rooms();
    let (rings, observers) = (view.list.rings(), view.list.rings().observers(id(1)));
    let find = |is: &dyn Fn(&MemberId) -> bool| (2..40).map(id).find(is).unwrap();
    let other = find(&|&node| !rings.is_near_predecessor(node, id(1)));
    let observer = observers[0];
    // It observes the subject in a list that has one member less.
    let next = find(&|node| rings.is_near_predecessor(*node, id(1)) && !observers.contains(node));
    // The member that states it, the version, whether it was asked; whether the case ends, and whether that is
    // counted.
    let cases = [
        (observer, version(0, 0), false, true, 0),
        (next, version(0, 0), false, true, 0),
        (observer, version(0, 1), false, false, 0),
        (other, version(0, 0), false, false, 1),
        (other, version(0, 0), true, true, 0),
        (id(1), version(0, 0), false, true, 0),
        (id(1), version(1, 0), false, false, 0),
    ];
    for (from, version, was_asked, ends, unasked) in cases {
        let mut rooms = rooms();
        if was_asked {
            rooms.detector.cases.get_mut(id(1)).unwrap().record_asked(from);
        }
        rooms.life_signs().handle_clear(Peer { id: from, addr: addr(2) }, clear(version, None));
        assert_eq!(left(&rooms).is_none(), ends, "{from} {version:?} {was_asked}");
        assert_eq!(rooms.ctx.stats.unasked_answers, unasked, "{from} {version:?} {was_asked}");
    }
}

#[test]
fn the_word_of_one_member_alone_counts_for_a_while_only() {
    let mut rooms = Rooms::of(5);
    rooms.senses.links.open(id(1), ms(10));
    // When which node says that node 1 lives; whether it counts.
    for (millis, from, counts) in [
        (10_000, 2, true),
        (19_999, 2, true),
        (20_000, 2, false),
        (20_001, 3, true),
        // The two of them together are another matter.
        (20_002, 2, true),
    ] {
        rooms.at(millis).miss(1, &[millis - 600]);
        rooms.life_signs().handle_clear(peer(from), clear(version(0, 0), None));
        assert_eq!(left(&rooms).is_none(), counts, "n{from} at {millis} ms");
        rooms.detector.cases.close(id(1));
    }
    assert_eq!(rooms.ctx.stats.lone_words_ignored, 1);
}

#[test]
fn a_suspect_that_others_cleared_is_pinged_so_that_it_refutes() {
    let ping = vec!["Ping { to: n1, purpose: Probe }".to_owned()];
    // Its state, by which node it was cleared, whether a ping is under way; what is asked for.
    for (state, by, is_pinged, expected) in [
        (MemberState::Suspect, 2, false, ping),
        (MemberState::Suspect, 2, true, vec![]),
        (MemberState::Suspect, 1, false, vec![]),
        (MemberState::Alive, 2, false, vec![]),
    ] {
        let mut rooms = with(5, &Against { misses: &[9_000], ..NONE });
        rooms.put(1, state, 9_000);
        if is_pinged {
            rooms.at(9_900).probe().ping(peer(1), Purpose::Probe);
            rooms.effects();
        }
        rooms.at(10_000).life_signs().handle_clear(peer(by), clear(version(0, 0), None));
        assert_eq!(rooms.effects(), expected, "{state} by n{by}, pinged: {is_pinged}");
    }
}

#[test]
fn how_long_a_silence_lasted_is_remembered_of_the_link() {
    let mut rooms = with(5, &Against { misses: &[9_000], votes: &[(2, 8_200)], ..NONE });
    rooms.life_signs().record_alive(id(1), at(9_500), id(0));
    assert_eq!(rooms.senses.links.longest_silence(at(10_000), id(1)), ms(1_300));
}

#[test]
fn what_was_overdue_when_another_heard_the_member_was_lost_unless_its_reply_is_late() {
    // By which node it was heard; whether that shows a loss on the link of this one.
    for (by, is_loss) in [(2, true), (1, false)] {
        let mut rooms = Rooms::of(5);
        rooms.measure(1);
        rooms.at(9_000).probe().ping(peer(1), Purpose::Probe);
        rooms.senses.pings.mark_overdue(crate::wire::Sequence(1));
        let loss = |rooms: &Rooms| rooms.senses.links.get(id(1)).unwrap().estimator.loss();
        let before = loss(&rooms);
        rooms.at(10_000).life_signs().handle_clear(peer(by), clear(version(0, 0), None));
        assert_eq!(loss(&rooms) > before, is_loss, "n{by}");
        if is_loss {
            let pulse = rooms.probe().pulse(crate::wire::Sequence(1));
            rooms.probe().handle_ack(peer(1), pulse, crate::Channel::Datagram);
            assert!(loss(&rooms) <= before, "n{by}");
        }
    }
}
