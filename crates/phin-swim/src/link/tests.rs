use super::*;
use crate::{
    member::record::tests::id,
    testing::{at, ms},
};

/// Links to these members, each of which answered in 10 ms so often.
fn links(answered: &[(u8, u32)]) -> Links {
    let mut links = Links::default();
    for &(node, times) in answered {
        links.open(id(node), ms(50));
        let link = links.get_mut(id(node)).unwrap();
        (0..times).for_each(|_| link.estimator.record_reply(ms(10)));
    }
    links
}

fn link(links: &Links) -> &LinkState {
    links.get(id(1)).unwrap()
}

fn reply(sent_at: u64, timeout: u64) -> Reply {
    Reply {
        sent_at: at(sent_at),
        timeout: ms(timeout),
        is_sample: true,
        is_overdue: false,
        is_probe: true,
    }
}

#[test]
fn a_reply_is_a_round_trip_unless_its_time_is_not_the_links() {
    let overdue = Reply { is_overdue: true, ..reply(10_000, 100) };
    let earlier = Reply { is_overdue: true, ..reply(9_999, 100) };
    // The reply, when it came, when an overdue one came before; whether it is a sample, and when the last overdue one came.
    let cases = [
        ("in time", reply(10_000, 100), 10_100, None, true, None),
        (
            "a handshake came first",
            Reply { is_sample: false, ..reply(10_000, 100) },
            10_050,
            None,
            false,
            None,
        ),
        ("this node paused", reply(10_000, 100), 10_101, None, false, None),
        ("overdue", overdue, 10_300, None, true, Some(10_300)),
        (
            "overdue, sent after the last such came",
            overdue,
            10_300,
            Some(10_000),
            true,
            Some(10_300),
        ),
        ("held up with one that counted", earlier, 10_300, Some(10_000), false, Some(10_000)),
    ];
    for (what, reply, now, overdue_at, is_sample, then) in cases {
        let mut links = links(&[(1, 0)]);
        let link = links.get_mut(id(1)).unwrap();
        link.overdue_at = overdue_at.map(at);
        link.record_reply(at(now), reply);
        assert_eq!(link.estimator.samples() > 0, is_sample, "{what}");
        assert_eq!(link.overdue_at, then.map(at), "{what}");
    }
}

#[test]
fn an_overdue_reply_counts_as_no_more_than_twice_what_was_waited_for() {
    let mut links = links(&[(1, 0)]);
    let link = links.get_mut(id(1)).unwrap();
    link.record_reply(at(12_000), Reply { is_overdue: true, ..reply(10_000, 100) });
    assert_eq!(link.estimator.round_trip(), Some(ms(200)));
}

#[test]
fn the_word_of_one_other_member_counts_for_ten_seconds_unless_the_member_shows_itself() {
    #[derive(Debug)]
    enum Shown {
        Said(u8, bool),
        /// By the first, as the second one says.
        PassedOn(u8, u8, bool),
        Itself,
        Renewed,
    }
    use Shown::{Itself, PassedOn, Renewed, Said};
    // For each case, the time of each event: the statement of a node, and whether it counts.
    let cases: [&[(u64, Shown)]; 8] = [
        &[
            (0, Said(2, true)),
            (9_999, Said(2, true)),
            (10_000, Said(2, false)),
            (30_000, Said(2, false)),
        ],
        &[
            (0, Said(2, true)),
            (9_000, Said(3, true)),
            (18_999, Said(3, true)),
            (19_000, Said(3, false)),
        ],
        &[
            (0, Said(2, true)),
            (9_000, Itself),
            (10_000, Said(2, true)),
            (19_999, Said(2, true)),
            (20_000, Said(2, false)),
        ],
        &[(0, Said(2, true)), (9_000, Renewed), (10_000, Said(2, true))],
        // Those that pass on the word of one say no more than that one.
        &[
            (0, Said(2, true)),
            (5_000, PassedOn(2, 3, true)),
            (9_999, PassedOn(2, 4, true)),
            (10_000, PassedOn(2, 3, false)),
            (11_000, Said(3, true)),
        ],
        // Nor does one that names others.
        &[
            (0, PassedOn(3, 2, true)),
            (5_000, PassedOn(4, 2, true)),
            (9_999, PassedOn(2, 5, true)),
            (10_000, Said(2, false)),
        ],
        &[
            (0, PassedOn(2, 4, true)),
            (9_000, PassedOn(3, 5, true)),
            (18_000, PassedOn(2, 4, true)),
            (27_000, PassedOn(3, 4, true)),
        ],
        // Two that alternate are not alone.
        &[
            (0, Said(2, true)),
            (9_000, Said(3, true)),
            (18_000, Said(2, true)),
            (27_000, Said(3, true)),
        ],
    ];
    for case in cases {
        let mut links = links(&[(1, 0)]);
        for (millis, shown) in case {
            match *shown {
                Said(by, counts) => {
                    let found = links.takes_word(at(*millis), id(1), Word::of(id(by)));
                    assert_eq!(found, counts, "{millis} of {case:?}");
                }
                PassedOn(heard_by, said_by, counts) => {
                    let word = Word { heard_by: id(heard_by), said_by: id(said_by) };
                    let found = links.takes_word(at(*millis), id(1), word);
                    assert_eq!(found, counts, "{millis} of {case:?}");
                }
                Itself => links.record_heard_itself(id(1), at(*millis)),
                Renewed => links.record_renewed(at(*millis), id(1)),
            }
        }
    }
    assert!(links(&[]).takes_word(at(0), id(1), Word::of(id(2))), "of one that is not pinged");
}

#[test]
fn a_member_is_contested_once_a_lone_word_is_ignored_and_its_sender_asked_now_and_then() {
    let mut links = links(&[(1, 0)]);
    assert_eq!(links.lone_witness(at(0), id(1), ms(250)), None);
    let is_contested = |links: &Links, now, since| links.is_contested(at(now), id(1), at(since));
    // When node 2 says that node 1 lives, if it does, and whether that is contested then.
    for (millis, is_said, expected) in [
        (0, true, false),
        (9_999, true, false),
        (10_000, false, true),
        (12_000, true, true),
        (12_001, false, true),
    ] {
        if is_said {
            links.takes_word(at(millis), id(1), Word::of(id(2)));
        }
        assert_eq!(is_contested(&links, millis, 10_000), expected, "{millis}");
    }
    let asked = [13_000, 13_249, 13_250, 13_251];
    let asked = asked.map(|millis| links.lone_witness(at(millis), id(1), ms(250)));
    assert_eq!(asked, [Some(id(2)), None, Some(id(2)), None]);
    links.record_heard_itself(id(1), at(14_000));
    links.takes_word(at(14_001), id(1), Word::of(id(2)));
    assert!(!is_contested(&links, 14_001, 10_000), "the member showed itself");
    links.record_unproved(at(15_000), id(1), id(2));
    assert!(is_contested(&links, 15_000, 15_000), "it has not shown what is said");
    assert!(!is_contested(&links, 15_002, 15_001), "not since then");
}

#[test]
fn what_was_lost_on_the_word_of_one_other_member_says_nothing_of_the_link_once_that_word_is_spent()
{
    let mut links = links(&[(1, 20), (2, 20), (3, 20)]);
    let phi =
        |links: &Links, millis| links.evidence(at(millis), id(1), &[at(millis - 1_000)]).phi();
    let healthy = phi(&links, 5_000);
    links.takes_word(at(5_000), id(1), Word::of(id(2)));
    (0..9).for_each(|_| links.get_mut(id(1)).unwrap().estimator.record_miss());
    assert!(phi(&links, 14_999) < healthy / 2.0, "it is the link that loses");
    assert_eq!(phi(&links, 15_000), healthy);
    links.record_heard_itself(id(1), at(15_000));
    assert!(phi(&links, 16_000) < healthy / 2.0, "the word was true");
}

#[test]
fn the_longest_silence_is_remembered_for_a_minute() {
    let mut links = links(&[(1, 0)]);
    let mut longest = |millis, lasted| {
        links.record_silence_ended(at(millis), id(1), ms(lasted));
        links.longest_silence(at(millis), id(1))
    };
    // When which silence ended, and the longest then.
    for (millis, lasted, expected) in [
        (1_000, 500, 500),
        (2_000, 300, 500),
        (3_000, 500, 500),
        (62_999, 100, 500),
        (63_000, 100, 100),
        (64_000, 200, 200),
    ] {
        assert_eq!(longest(millis, lasted), ms(expected), "{millis}");
    }
}

#[test]
fn the_links_not_heard_longest_are_pruned_unless_they_are_needed() {
    let nodes = [1, 2, 3, 4, 5];
    let all = || {
        let mut links = links(&nodes.map(|node| (node, 0)));
        for (node, millis) in [(2, 30), (3, 10), (4, 40), (5, 20)] {
            links.record_heard(id(node), at(millis));
        }
        links
    };
    // How many may stay, which are needed; which stay.
    let cases: [(usize, &[u8], &[u8]); 5] = [
        (5, &[], &[1, 2, 3, 4, 5]),
        (3, &[], &[2, 4, 5]),
        (3, &[1], &[1, 2, 4]),
        (0, &[1, 3], &[1, 3]),
        (0, &[], &[]),
    ];
    for (max, needed, expected) in cases {
        let mut links = all();
        links.prune(max, |id| needed.iter().any(|&node| self::id(node) == id));
        let left: Vec<_> = nodes.into_iter().filter(|&n| links.get(id(n)).is_some()).collect();
        assert_eq!(left, expected, "{max} {needed:?}");
    }
}

#[test]
fn what_all_links_show_counts_where_one_was_never_measured() {
    let mut links = links(&[(1, 0), (2, 100), (3, 100)]);
    assert_eq!(link(&links).estimator.round_trip(), None);
    let slow = links.get_mut(id(3)).unwrap();
    (0..100).for_each(|_| slow.estimator.record_reply(ms(80)));
    let slowest = links.get(id(3)).unwrap().estimator.round_trip().unwrap();
    let estimate = links.estimate_of(id(1)).unwrap();
    // As if its prior were the slowest of the others.
    let as_slow = LinkEstimator::new(slowest);
    assert_eq!(estimate.late_after(0.99), as_slow.late_after(0.99));
    let before = links.estimate_of(id(2)).unwrap().loss();
    for node in [1, 3] {
        let link = links.get_mut(id(node)).unwrap();
        (0..100).for_each(|_| link.estimator.record_miss());
    }
    let lossy = links.get(id(3)).unwrap().estimator.loss();
    assert!(links.estimate_of(id(2)).unwrap().loss() > before, "no less than the median of all");
    assert!(links.estimate_of(id(3)).unwrap().loss() >= lossy);
    assert!(links.estimate_of(id(9)).is_none());
    assert!(links.evidence(at(1_000), id(9), &[at(0)]).is_empty());
}

#[test]
fn moments_of_life_only_move_forward() {
    let mut links = links(&[(1, 0)]);
    for millis in [20, 10] {
        links.record_heard(id(1), at(millis));
        links.record_heard_itself(id(1), at(millis));
        links.record_known_alive(id(1), at(millis));
    }
    assert_eq!(links.heard_at(id(1)), Some(at(20)));
    assert_eq!(links.heard_itself_at(id(1)), Some(Some(at(20))));
    assert_eq!(links.known_alive_at(id(1)), Some(at(20)));
    links.record_heard(id(2), at(20));
    assert_eq!((links.heard_at(id(2)), links.heard_itself_at(id(2))), (None, None));
}

#[test]
fn two_pings_in_a_row_without_reply_are_none_and_an_answer_ends_that() {
    let mut links = links(&[(1, 0)]);
    links.record_no_reply(id(1));
    assert!(!links.gives_no_reply(id(1)));
    links.record_no_reply(id(1));
    assert!(links.gives_no_reply(id(1)));
    links.get_mut(id(1)).unwrap().record_answered();
    assert!(!links.gives_no_reply(id(1)));
}

#[test]
fn connections_are_noticed_up_to_a_limit() {
    let mut links = Links::default();
    (1..5).for_each(|node| links.connect(id(node), 3));
    assert_eq!([1, 2, 3, 4].map(|node| links.is_connected(id(node))), [true, true, true, false]);
    links.disconnect(id(1));
    assert!(!links.is_connected(id(1)));
}

#[test]
fn a_run_of_pings_is_worth_what_each_is_together() {
    let links = links(&[(1, 200)]);
    let mut run = Run::new(at(1_000), &link(&links).estimator);
    let weight = run.phi;
    assert!(weight > 0.0 && (weight - run.weight).abs() < f64::EPSILON);
    run.extend(at(2_000));
    assert!((run.phi - weight * 2.0).abs() < 0.01 || run.phi <= MAX_WEIGHT, "{}", run.phi);
    assert!(run.phi > weight);
    assert_eq!((run.attempts, run.began_at, run.last_at), (2, at(1_000), at(2_000)));
    (0..300).for_each(|_| run.extend(at(3_000)));
    assert_eq!(run.attempts, u8::MAX);
}

#[test]
fn a_host_is_given_as_long_as_replies_take_over_the_link() {
    let prior = ms(50);
    let measured = |round_trip: u64| {
        let mut links = Links::default();
        links.open(id(1), prior);
        let link = links.get_mut(id(1)).unwrap();
        (0..200).for_each(|_| link.estimator.record_reply(ms(round_trip)));
        host_patience(prior, links.get(id(1)))
    };
    assert_eq!(host_patience(prior, None), ms(100));
    assert_eq!(host_patience(prior, Some(&LinkState::new(prior))), ms(100));
    // A near host still has the time that a busy machine may take, and a far one comes before a verdict.
    assert_eq!(measured(1), ms(50));
    let far = measured(160);
    assert!(far > ms(160) && far < ms(500), "{far:?}");
    assert_eq!(measured(2_000), ms(500));
}

#[test]
fn a_host_that_never_answered_is_asked_sooner_and_ever_less_often() {
    let asked = |answers_at: u64| {
        let mut links = links(&[(1, 5)]);
        let mut asked = Vec::new();
        for second in 0..1_500 {
            let link = links.get_mut(id(1)).unwrap();
            link.host_answers = second >= answers_at;
            if links.is_host_due(at(second * 1_000), id(1)) {
                asked.push(second);
            }
        }
        asked
    };
    assert_eq!(asked(0), [0, 600, 1_200], "it answers");
    assert_eq!(asked(5), [0, 600, 1_200]);
    assert_eq!(asked(20), [0, 10, 610, 1_210]);
    assert_eq!(asked(9_999), [0, 10, 48, 198, 798, 1_398], "it never does");
}
