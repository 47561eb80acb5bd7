use std::time::Duration;

use super::*;
use crate::{
    Config, Generation, Output,
    link::{Reply, Run},
    member::record::{
        Record,
        tests::{TestKeys, id, statement, version},
    },
    testing::{Rooms, at, ms, peer},
};

type Nodes = &'static [u8];

/// Pings without direct reply to a member, for long enough that the link fails: it was known alive since they began.
fn fail(rooms: &mut Rooms, node: u8, began: u64) {
    rooms.measure(node);
    let estimate = rooms.senses.links.estimate_of(id(node)).unwrap();
    let mut run = Run::new(at(began), &estimate);
    (1..6).for_each(|second| run.extend(at(began + second * 1_000)));
    rooms.senses.links.get_mut(id(node)).unwrap().unanswered = Some(run);
    rooms.senses.links.record_known_alive(id(node), at(began + 1));
}

/// Words of observers on their own links to a member.
fn told(rooms: &mut Rooms, node: u8, observers: &[u8]) {
    for &observer in observers {
        let link = FailingLink { observer: id(observer), since: at(9_000), attempts: 3 };
        let run = (id(node), version(0, 0).generation);
        rooms.detector.failing.record(at(10_000), id(observer), run, [link].into_iter());
    }
}

fn body(observer: u8, age: u64) -> FailingLinkBody {
    FailingLinkBody { observer: id(observer), age: ms(age), attempts: 3 }
}

fn sorted(mut effects: Vec<String>) -> Vec<String> {
    effects.sort_unstable();
    effects
}

fn observers(links: &[FailingLink]) -> Vec<u8> {
    (0..=99).filter(|&node| links.iter().any(|link| link.observer == id(node))).collect()
}

#[test]
fn pings_without_reply_count_one_by_one_on_links_to_subjects_while_this_node_hears() {
    type Change = fn(&mut Rooms);
    // The situation, when the pings were sent; how many count.
    let cases: [(&str, Change, &[u64], u8); 5] = [
        ("all well", |_| {}, &[9_000, 9_100, 9_200], 3),
        ("two of one moment share their fate", |_| {}, &[9_000, 9_099, 9_100], 2),
        ("this node may not hear", |r| r.senses.health.record_silent_helpers(8), &[9_000], 0),
        ("the member was never pinged", |r| r.senses.links.remove(id(1)), &[9_000], 0),
        ("it is no subject", |r| r.put(1, MemberState::Dead, 0), &[9_000], 0),
    ];
    for (what, change, sent, attempts) in cases {
        let pause_tolerance = ms(1_600);
        let mut rooms = Rooms::with(5, Config { pause_tolerance, ..Config::lan() });
        rooms.measure(1);
        change(&mut rooms);
        sent.iter().for_each(|&sent_at| rooms.degraded().record_unanswered(id(1), at(sent_at)));
        let run = rooms.senses.links.unanswered(id(1));
        assert_eq!(run.map_or(0, |run| run.attempts), attempts, "{what}");
        assert!(run.is_none_or(|run| run.began_at == at(9_000)), "{what}");
        rooms.degraded().record_reached(peer(1));
        assert!(rooms.effects().is_empty(), "nobody is told of a few, nor that they are over");
    }
}

#[test]
fn a_link_that_fails_is_told_to_the_other_observers_and_the_subject_once_in_a_turn() {
    let mut rooms = Rooms::of(5);
    fail(&mut rooms, 1, 3_000);
    let report =
        |links| [1, 2, 3, 4].map(|node| format!("to n{node}: failing n1 v0.0 links={links}"));
    // When the next ping has no reply, and whether that is reported. A turn takes 5 s.
    for (millis, is_told) in [(10_000, true), (14_900, false), (15_000, true), (15_500, false)] {
        rooms.at(millis).degraded().record_unanswered(id(1), at(millis));
        let expected = if is_told { report("n0").to_vec() } else { vec![] };
        assert_eq!(sorted(rooms.effects()), expected, "{millis}");
    }
    // An answer ends it, which is reported as well.
    rooms.degraded().record_reached(peer(1));
    assert_eq!(sorted(rooms.effects()), report(""));
    assert!(rooms.senses.links.unanswered(id(1)).is_none());
    rooms.degraded().record_reached(peer(1));
    assert!(rooms.effects().is_empty());
}

#[test]
fn an_observer_that_reaches_a_degraded_member_passes_on_which_links_to_it_fail() {
    let mut rooms = Rooms::of(5);
    told(&mut rooms, 1, &[2, 3]);
    rooms.degraded().record_reached(peer(1));
    assert!(rooms.effects().is_empty(), "not degraded as far as is known");
    let run = (id(1), version(0, 0).generation);
    let links = rooms.see().failing_links(id(1));
    rooms.detector.failing.update(at(9_000), run, &links, true);
    rooms.degraded().record_reached(peer(1));
    let found = rooms.effects();
    assert!(
        found == ["to n1: failing n1 v0.0 links=n2,n3"]
            || found == ["to n1: failing n1 v0.0 links=n3,n2"],
        "{found:?}"
    );
}

#[test]
fn a_word_on_links_counts_of_an_observer_on_its_own_and_to_the_subject_on_those_it_does_not_hear() {
    // The author, the member and its generation, the links; the links that are kept, and what is counted.
    let cases: [(u8, u8, u32, Nodes, Nodes, u64); 7] = [
        (2, 1, 0, &[2], &[2], 0),
        (2, 1, 0, &[2, 3], &[2], 0),
        (2, 0, 0, &[3, 4], &[3, 4], 0),
        (2, 1, 1, &[2], &[], 1),
        (77, 1, 0, &[77], &[], 0),
        (2, 77, 0, &[2], &[], 1),
        (1, 1, 0, &[2], &[], 1),
    ];
    for (from, subject, generation, links, kept, unknown) in cases {
        let mut rooms = Rooms::of(6);
        let links: Vec<_> = links.iter().map(|&observer| body(observer, 500)).collect();
        let version = version(generation, 0);
        rooms.degraded().handle_failing(id(from), id(subject), version, &links);
        let found = observers(&rooms.see().failing_links(id(subject)));
        assert_eq!(found, kept, "n{from} of n{subject}");
        assert_eq!(rooms.ctx.stats.unknown_subjects, unknown, "n{from} of n{subject}");
    }
    // The subject received from that observer since, or in the last turn of 6 s: it would itself report that it gets no reply.
    for (heard_at, kept) in [(2_499, vec![3]), (2_500, vec![])] {
        let mut rooms = Rooms::of(6);
        rooms.detector.contacts.record_heard(id(3), at(heard_at));
        rooms.degraded().handle_failing(id(2), id(0), version(0, 0), &[body(3, 500)]);
        assert_eq!(observers(&rooms.see().failing_links(id(0))), kept, "{heard_at}");
    }
}

#[test]
fn a_member_to_which_more_than_half_of_the_links_fail_is_degraded() {
    let degraded = vec!["announce n1 Degraded"];
    // How many members there are, which observers' links fail; what is announced.
    let cases: [(u8, &[u8], Vec<&str>); 5] = [
        (6, &[2, 3], vec![]),
        (6, &[2, 3, 4], degraded.clone()),
        (5, &[2, 3], vec![]),
        (4, &[2], vec![]),
        (4, &[2, 3], degraded.clone()),
    ];
    for (members, failing, announced) in cases {
        let mut rooms = Rooms::of(members);
        told(&mut rooms, 1, failing);
        rooms.degraded().review_links_of(id(1));
        assert_eq!(rooms.effects(), announced, "{failing:?} of {members}");
        let reason = rooms.degraded().reason(id(1));
        let mut unreached_by: Vec<_> = failing.iter().map(|&node| id(node)).collect();
        unreached_by.sort_unstable();
        assert_eq!((reason.unreached_by, reason.is_deaf), (unreached_by, false));
        assert_eq!(reason.observers, usize::from(members) - 1);
        rooms.degraded().review_links_of(id(1));
        assert!(rooms.effects().is_empty(), "once");
        if !announced.is_empty() {
            let run = (id(1), version(0, 0).generation);
            rooms.detector.failing.record(at(10_000), id(2), run, [].into_iter());
            rooms.detector.failing.record(at(10_000), id(3), run, [].into_iter());
            rooms.degraded().review_links_of(id(1));
            assert!(rooms.effects().is_empty(), "they may fail again soon");
            rooms.at(40_000).degraded().review_links_of(id(1));
            assert_eq!(rooms.effects(), ["announce n1 Recovered"]);
        }
    }
    // While many fall together, it does not begin: observers may be gone and not known to be.
    let mut rooms = Rooms::of(6);
    told(&mut rooms, 1, &[2, 3, 4]);
    (0..5).for_each(|_| rooms.detector.contacts.record_fall(at(10_000), ms(1_000)));
    for (millis, announced) in [(10_000, vec![]), (13_999, vec![]), (14_000, degraded)] {
        rooms.at(millis).degraded().review_links_of(id(1));
        assert_eq!(rooms.effects(), announced, "{millis}");
    }
    let mut rooms = Rooms::of(3);
    fail(&mut rooms, 1, 3_000);
    rooms.put(2, MemberState::Dead, 0);
    rooms.degraded().review_links_of(id(1));
    assert!(rooms.effects().is_empty(), "one of one is too few");
    let mut rooms = Rooms::of(6);
    told(&mut rooms, 1, &[2, 3, 4]);
    rooms.put(1, MemberState::Dead, 9_000);
    rooms.degraded().review_links_of(id(1));
    assert!(rooms.effects().is_empty() && !rooms.detector.failing.contains(id(1)));
}

#[test]
fn a_node_that_reaches_few_of_its_subjects_is_degraded_itself() {
    let mut rooms = Rooms::of(5);
    [1, 2].into_iter().for_each(|node| fail(&mut rooms, node, 3_000));
    rooms.degraded().review_links();
    assert!(rooms.effects().is_empty(), "half of them");
    fail(&mut rooms, 3, 3_000);
    told(&mut rooms, 4, &[2]);
    rooms.degraded().review_links();
    // The others may be made up: it states nothing before an observer misses something.
    assert_eq!(rooms.effects(), ["announce n0 Degraded", "ReviewLinks(n4)"]);
    told(&mut rooms, 0, &[4]);
    rooms.degraded().review_links();
    assert_eq!(rooms.effects(), ["apply n0 v0.1 alive", "ReviewLinks(n4)"]);
    rooms.detector.failing.record(at(10_000), id(4), (id(0), Generation(0)), [].into_iter());
    assert!(rooms.degraded().reason(id(0)).is_deaf && !rooms.degraded().reason(id(4)).is_deaf);
    for node in [1, 2, 3] {
        rooms.senses.links.get_mut(id(node)).unwrap().unanswered = None;
    }
    rooms.degraded().review_links();
    assert_eq!(rooms.effects()[0], "announce n0 Recovered");
}

#[test]
fn a_member_is_evicted_that_was_degraded_for_as_long_as_the_policy_says_and_is_not_reached_here() {
    type Change = fn(&mut Rooms);
    let dead = "apply n1 dead Ourselves";
    // The situation, since when the member is degraded, the policy (in seconds); whether it is evicted.
    let cases: [(&str, Change, u64, Option<u64>, bool); 5] = [
        ("its time is over", |_| {}, 6_000, Some(4), true),
        ("not yet", |_| {}, 6_001, Some(4), false),
        ("there is no policy", |_| {}, 1_000, None, false),
        (
            "this node reaches it",
            |r| r.senses.links.get_mut(id(1)).unwrap().unanswered = None,
            6_000,
            Some(4),
            false,
        ),
        (
            "this node may not hear",
            |r| r.senses.health.record_silent_helpers(8),
            6_000,
            Some(4),
            false,
        ),
    ];
    for (what, change, since, policy, is_evicted) in cases {
        let evict_degraded_after = policy.map(Duration::from_secs);
        let mut rooms = Rooms::with(5, Config { evict_degraded_after, ..Config::lan() });
        fail(&mut rooms, 1, 3_000);
        told(&mut rooms, 1, &[2, 3, 4]);
        let run = (id(1), version(0, 0).generation);
        let links = rooms.see().failing_links(id(1));
        rooms.detector.failing.update(at(since), run, &links, true);
        change(&mut rooms);
        rooms.degraded().review_links_of(id(1));
        let found = rooms.effects().contains(&dead.to_owned());
        assert_eq!(found, is_evicted, "{what}");
        assert_eq!(rooms.ctx.stats.evictions, u64::from(is_evicted), "{what}");
        let report = rooms.detector.reports.get(id(1));
        assert_eq!(report.map(|report| report.began_at), is_evicted.then_some(at(3_000)));
    }
}

#[test]
fn members_are_unreached_to_which_a_link_fails_as_observed_or_told() {
    let mut rooms = Rooms::of(5);
    assert!(unreached(rooms.see()).is_empty());
    fail(&mut rooms, 1, 3_000);
    told(&mut rooms, 2, &[3, 4]);
    let found: Vec<_> =
        unreached(rooms.see()).iter().map(|u| (u.id, observers(&u.links))).collect();
    assert_eq!(found.len(), 2);
    assert!(found.contains(&(id(1), vec![0])) && found.contains(&(id(2), vec![3, 4])));
}

/// Lost probes of a member, whose link is measured like those to the others.
fn lose(rooms: &mut Rooms, node: u8, probes: u64) {
    (1..5).for_each(|other| rooms.measure(other));
    let link = rooms.senses.links.get_mut(id(node)).unwrap();
    (0..probes).for_each(|sent| link.record_lost(probe(sent)));
}

fn probe(sent_at: u64) -> Reply {
    let (sent_at, timeout) = (at(sent_at), ms(100));
    Reply { sent_at, timeout, is_sample: true, is_overdue: false, is_probe: true }
}

/// The reports on flaws that are sent.
fn reports(rooms: &mut Rooms) -> Vec<String> {
    sorted(rooms.effects().into_iter().filter(|effect| effect.contains("flawed")).collect())
}

#[test]
fn flaws_of_a_link_are_told_to_its_observers_and_by_stream_to_the_subject_once_in_a_turn() {
    let mut rooms = Rooms::of(5);
    let report = |flaws| {
        let to = [2, 3, 4].map(|node| format!("to n{node}: flawed n1 v0.0 {flaws}"));
        let by_stream = format!("by stream to n1: flawed n1 v0.0 {flaws}");
        sorted(to.into_iter().chain([by_stream]).collect())
    };
    lose(&mut rooms, 1, 5);
    // A turn takes 5 s.
    for (millis, is_told) in [(10_000, true), (14_900, false), (15_000, true), (15_500, false)] {
        rooms.at(millis).degraded().review_links();
        let expected = if is_told { report("loss") } else { vec![] };
        assert_eq!(reports(&mut rooms), expected, "{millis}");
    }
    let link = rooms.senses.links.get_mut(id(1)).unwrap();
    (0..10).for_each(|_| _ = link.record_reply(at(15_500), probe(15_490)));
    rooms.degraded().review_links();
    assert_eq!(reports(&mut rooms), report("none"));
    rooms.degraded().review_links();
    assert!(reports(&mut rooms).is_empty(), "once");
}

#[test]
fn a_link_is_probed_once_more_while_it_is_not_sure_whether_it_has_a_flaw() {
    type Change = fn(&mut Rooms);
    // The situation, how many probes are lost; whether the member is probed.
    let cases: [(&str, Change, u64, bool); 5] = [
        ("all well", |_| {}, 0, false),
        ("one is lost", |_| {}, 1, true),
        ("it is sure", |_| {}, 5, false),
        ("this node may not hear", |r| r.senses.health.record_silent_helpers(8), 1, false),
        ("there is no other link", |r| (2..5).for_each(|n| r.senses.links.remove(id(n))), 1, false),
    ];
    for (what, change, lost, is_probed) in cases {
        let mut rooms = Rooms::of(5);
        lose(&mut rooms, 1, lost);
        change(&mut rooms);
        rooms.degraded().review_links();
        let found = rooms.effects();
        let is_found = found.iter().any(|effect| effect.starts_with("Ping"));
        assert_eq!(is_found, is_probed, "{what}: {found:?}");
    }
}

#[test]
fn a_report_of_flaws_counts_of_an_observer_of_this_run_to_other_observers_and_the_subject() {
    // The author, the member and its generation, how long ago it came; whether it counts, and what is counted.
    let cases = [
        (2, 1, 0, 0, true, 0),
        (2, 0, 0, 0, true, 0),
        (2, 1, 0, 17_999, true, 0),
        // After three turns, of 6 s each.
        (2, 1, 0, 18_000, false, 0),
        (2, 1, 1, 0, false, 1),
        (77, 1, 0, 0, false, 0),
        (2, 77, 0, 0, false, 1),
        (1, 1, 0, 0, false, 1),
    ];
    for (from, subject, generation, age, counts, unknown) in cases {
        let mut rooms = Rooms::of(6);
        let (run, flaws) = (version(generation, 0), Flaw::Loss.into());
        rooms.degraded().handle_flawed(id(from), id(subject), run, flaws);
        assert_eq!(rooms.ctx.stats.unknown_subjects, unknown, "n{from} of n{subject}");
        rooms.at(10_000 + age);
        let found = rooms.see().flawed_links(id(subject));
        assert_eq!(found.contains_key(&id(from)), counts, "n{from} of n{subject}");
        rooms.degraded().handle_flawed(id(from), id(subject), run, Flaws::NONE);
        assert!(rooms.see().flawed_links(id(subject)).is_empty());
    }
}

#[test]
fn a_node_states_the_flaws_that_most_of_its_observers_find() {
    let mut rooms = Rooms::of(5);
    let find = |rooms: &mut Rooms, from, flaws| {
        rooms.degraded().handle_flawed(id(from), id(0), version(0, 0), flaws);
    };
    [1, 2].into_iter().for_each(|from| find(&mut rooms, from, Flaw::Loss.into()));
    assert!(rooms.effects().is_empty(), "half of them");
    find(&mut rooms, 3, Flaw::Loss.into());
    rooms.run();
    find(&mut rooms, 4, Flaw::Loss.into());
    rooms.run();
    assert_eq!(rooms.list.me().flaws(), Flaw::Loss.into());
    assert_eq!(rooms.list.me().version(), version(0, 1));
    assert_eq!(rooms.ctx.stats.flaws_stated, 1);
    for from in 1..5 {
        rooms.at(20_000);
        find(&mut rooms, from, Flaws::NONE);
    }
    rooms.at(49_999).degraded().review_links();
    rooms.run();
    assert_eq!(rooms.list.me().flaws(), Flaw::Loss.into(), "they may find it again soon");
    rooms.at(50_000).degraded().review_links();
    rooms.run();
    assert_eq!(rooms.list.me().flaws(), Flaws::NONE);
}

#[test]
fn a_node_that_is_not_reached_but_receives_states_that_one_way_is_cut() {
    // When the observers were last heard that do not reach this node since 9.5 s; its flaws.
    let cases =
        [(9_499, Flaw::Loss.into()), (9_500, [Flaw::Loss, Flaw::OneWay].into_iter().collect())];
    for (heard_at, flaws) in cases {
        let mut rooms = Rooms::of(5);
        for node in [1, 2, 3] {
            rooms.detector.contacts.record_heard(id(node), at(heard_at));
            rooms.degraded().handle_failing(id(node), id(0), version(0, 0), &[body(node, 500)]);
        }
        rooms.run();
        assert_eq!(rooms.list.me().flaws(), flaws, "{heard_at}");
        assert_eq!(rooms.degraded().reason(id(0)).flaws, flaws);
    }
}

#[test]
fn all_report_a_member_that_states_flaws_once_and_when_it_no_longer_does() {
    let mut rooms = Rooms::of(40);
    let far = (1..40).find(|&node| !rooms.see().subjects().contains(&id(node))).unwrap();
    let mut states = |incarnation, flaws: Flaws| {
        let said = statement(far, version(0, incarnation));
        let record = Record::sign(Statement { flaws, ..said }, &TestKeys(far.into()));
        rooms.apply(News::Record { record, state: MemberState::Alive }, Source::Ourselves);
        rooms.run();
        let outputs = std::mem::take(&mut rooms.outputs).into_iter();
        let events = outputs.filter_map(|output| match output {
            Output::Event(event) => Some((event.change, event.degraded.map(|why| why.flaws))),
            _ => None,
        });
        let is_listed = unreached(rooms.see()).iter().any(|known| known.id == id(far));
        (events.collect::<Vec<_>>(), is_listed)
    };
    let (loss, both) = (Flaw::Loss.into(), [Flaw::Loss, Flaw::OneWay].into_iter().collect());
    assert_eq!(states(1, Flaws::NONE), (vec![], false));
    assert_eq!(states(2, loss), (vec![(crate::Change::Degraded, Some(loss))], true));
    assert_eq!(states(3, both), (vec![], true));
    assert_eq!(states(4, Flaws::NONE), (vec![(crate::Change::Recovered, None)], false));
}

#[test]
fn a_member_is_evicted_for_its_flaws_by_observers_that_find_them_with_most_others() {
    let dead = "apply n1 dead Ourselves";
    // How many probes this node lost, which others find flaws; whether it evicts the member.
    let cases: [(u64, Nodes, bool); 4] =
        [(5, &[2, 3], true), (5, &[2], false), (5, &[], false), (0, &[2, 3, 4], false)];
    for (lost, others, is_evicted) in cases {
        let evict_degraded_after = Some(Duration::from_secs(4));
        let mut rooms = Rooms::with(5, Config { evict_degraded_after, ..Config::lan() });
        let flaws = Flaw::Loss.into();
        let said = statement(1, version(0, 1));
        let record = Record::sign(Statement { flaws, ..said }, &TestKeys(1));
        rooms.apply(News::Record { record, state: MemberState::Alive }, Source::Ourselves);
        rooms.run();
        rooms.outputs.clear();
        for &from in others {
            rooms.degraded().handle_flawed(id(from), id(1), version(0, 1), flaws);
        }
        lose(&mut rooms, 1, lost);
        rooms.at(13_999).degraded().review_links();
        rooms.degraded().review_links_of(id(1));
        assert!(!rooms.effects().contains(&dead.to_owned()), "not yet");
        rooms.at(14_000).degraded().review_links_of(id(1));
        assert_eq!(rooms.effects().contains(&dead.to_owned()), is_evicted, "{lost} {others:?}");
    }
}
