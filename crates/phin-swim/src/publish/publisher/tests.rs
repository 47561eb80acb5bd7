use super::*;
use crate::{
    PublishRequest, Signature,
    member::record::tests::id,
    testing::{at, ms},
};

fn publisher() -> Publisher {
    Publisher::new(Generation(0))
}

/// One of which all before this one was delivered.
fn after(sequence: u64) -> Publisher {
    let mut publisher = publisher();
    publisher.arrive(at(0), arrived(sequence), 0);
    publisher
}

fn arrived(sequence: u64) -> Arrived {
    let content = PublishRequest::new("topic".parse().unwrap(), b"body".as_slice());
    let (publisher, generation, signature) = (id(9), Generation(0), Signature([0; 64]));
    let publication =
        Publication { publisher, generation, sequence, recent: 0, content, query: None, signature };
    Arrived { publication: Arc::new(publication), hops: 0 }
}

/// The publications delivered when these arrive, one after the other, and those missed before each.
fn deliver(publisher: &mut Publisher, sequences: &[u64]) -> Vec<(u64, Vec<u64>)> {
    let arrive = |&sequence: &u64| in_numbers(&publisher.arrive(at(0), arrived(sequence), 0));
    sequences.iter().map(arrive).collect()
}

fn in_numbers(Delivery { missed, ready }: &Delivery) -> (u64, Vec<u64>) {
    (*missed, ready.iter().map(|arrived| arrived.publication.sequence).collect())
}

fn patience() -> Patience {
    Patience { first: ms(50), next: ms(150), last: ms(1_000) }
}

fn unending() -> Patience {
    Patience { last: ms(60_000), ..patience() }
}

#[test]
fn what_comes_early_waits_for_what_comes_before_it() {
    let found = deliver(&mut publisher(), &[1, 3, 4, 2, 5]);
    let expected = [(0, vec![1]), (0, vec![]), (0, vec![]), (0, vec![2, 3, 4]), (0, vec![5])];
    assert_eq!(found, expected);
}

#[test]
fn nothing_is_delivered_twice() {
    let mut publisher = publisher();
    deliver(&mut publisher, &[1, 3]);
    assert_eq!([1, 2, 3, 4].map(|sequence| publisher.has(sequence)), [true, false, true, false]);
}

#[test]
fn the_first_that_arrives_says_how_many_before_it_count() {
    // It arrives, so many before it count, and what is lacking then.
    let cases = [(1, 0, vec![]), (7, 0, vec![]), (7, 2, vec![(5, 6)]), (7, 900, vec![(1, 6)])];
    for (sequence, reach, expected) in cases {
        let mut publisher = publisher();
        publisher.arrive(at(0), arrived(sequence), reach);
        assert_eq!(publisher.lacking(sequence), expected, "{sequence} with {reach} before it");
        assert_eq!(publisher.is_lacking(), !expected.is_empty());
        // Those before it do not count further ones in turn.
        if let Some(&(first, _)) = expected.first() {
            publisher.arrive(at(0), arrived(first + 1), 900);
            assert!(publisher.has(first - 1), "{sequence} with {reach} before it");
        }
        // Once something was delivered, its beginning is settled.
        let mut settled = after(sequence);
        settled.arrive(at(0), arrived(sequence + 1), reach);
        assert!(!settled.is_lacking());
    }
}

#[test]
fn claims_alone_do_not_say_where_the_delivery_begins() {
    let mut publisher = publisher();
    publisher.record_source(at(0), id(1), u64::MAX);
    publisher.record_source(at(0), id(2), 4);
    let sources = [at(50), at(200), at(350)].map(|now| publisher.repair(now, patience()));
    let ask = |source, sequence, is_graft| {
        let ranges = vec![(sequence, sequence)];
        Repair::Ask { source: Source::Member(id(source)), ranges, is_graft }
    };
    assert_eq!(sources, [ask(1, u64::MAX, false), ask(2, 4, true), ask(1, u64::MAX, true)]);
    assert_eq!(deliver(&mut publisher, &[3, 4]), [(0, vec![3]), (0, vec![4])]);
}

#[test]
fn what_is_lacking_is_asked_of_one_member_after_the_other_and_given_up() {
    let mut publisher = publisher();
    deliver(&mut publisher, &[1, 3, 4]);
    publisher.record_source(at(0), id(1), 6);
    publisher.record_source(at(0), id(2), 3);
    publisher.record_source(at(0), id(1), 2);
    let ask = |source, is_graft| {
        let is_first = source == Source::Member(id(1));
        let ranges = if is_first { vec![(2, 2), (5, 6)] } else { vec![(2, 2)] };
        Repair::Ask { source, ranges, is_graft }
    };
    let [first, second] = [1, 2].map(|node| Source::Member(id(node)));
    assert_eq!(publisher.repair(at(49), patience()), Repair::WaitUntil(at(50)));
    assert_eq!(publisher.repair(at(50), patience()), ask(first, true));
    assert_eq!(publisher.repair(at(199), patience()), Repair::WaitUntil(at(200)));
    assert_eq!(publisher.repair(at(200), patience()), ask(second, true));
    // Both may lack it, or not be reachable.
    assert_eq!(publisher.repair(at(350), patience()), ask(Source::Publisher, true));
    assert_eq!(publisher.repair(at(500), patience()), ask(first, true));
    assert_eq!(publisher.repair(at(650), patience()), ask(Source::Anyone, true));
    assert_eq!(publisher.repair(at(800), patience()), ask(second, true));
    assert_eq!(publisher.repair(at(1_000), patience()), Repair::GiveUp);
    assert_eq!(in_numbers(&publisher.give_up()), (1, vec![3, 4]));
    publisher.review(at(1_000));
    // The claims for 5 and 6 get a time of their own, and are nothing but claims then.
    assert_eq!(publisher.repair(at(1_000), patience()), Repair::WaitUntil(at(1_050)));
    assert_eq!(publisher.repair(at(2_000), patience()), Repair::GiveUp);
    assert_eq!(in_numbers(&publisher.give_up()), (0, vec![]));
    publisher.review(at(2_000));
    assert_eq!(publisher.repair(at(2_000), patience()), Repair::Nothing);
    assert!(!publisher.has(5), "it may come still");
}

#[test]
fn only_a_proved_gap_is_asked_for_of_members_that_claim_nothing() {
    let ask = |publisher: &mut Publisher, millis| match publisher.repair(at(millis), patience()) {
        Repair::Ask { source, .. } => source,
        other => panic!("{other:?}"),
    };
    let mut claimed = after(1);
    claimed.record_source(at(0), id(1), 2);
    let member = Source::Member(id(1));
    assert_eq!([50, 200, 350].map(|millis| ask(&mut claimed, millis)), [member; 3]);
    let mut proved = after(1);
    proved.arrive(at(0), arrived(3), 0);
    let all = [50, 200, 350].map(|millis| ask(&mut proved, millis));
    assert_eq!(all, [Source::Publisher, Source::Anyone, Source::Anyone]);
    // Another gap starts anew.
    proved.arrive(at(400), arrived(2), 0);
    proved.arrive(at(400), arrived(5), 0);
    assert_eq!(ask(&mut proved, 450), Source::Publisher);
}

#[test]
fn all_observers_that_have_what_is_lacking_are_asked() {
    let mut publisher = after(1);
    (1..=9).for_each(|node| publisher.record_source(at(0), id(node), 2));
    let asked: BTreeSet<_> = (0..9)
        .filter_map(|turn| match publisher.repair(at(50 + 150 * turn), unending()) {
            Repair::Ask { source: Source::Member(member), .. } => Some(member),
            _ => None,
        })
        .collect();
    assert_eq!(asked, (1..=9).map(id).collect());
}

#[test]
fn a_single_loss_is_asked_for_and_a_second_one_makes_a_branch() {
    let mut publisher = publisher();
    let mut lose = |sequence: u64, now: u64| {
        publisher.record_source(at(now), id(1), sequence);
        let repair = publisher.repair(at(now + 50), patience());
        publisher.arrive(at(now + 50), arrived(sequence), 0);
        matches!(repair, Repair::Ask { is_graft: true, .. })
    };
    assert_eq!([lose(1, 0), lose(2, 1_000)], [false, true]);
    publisher.record_push();
    publisher.record_source(at(3_000), id(1), 3);
    let repair = publisher.repair(at(3_050), patience());
    assert!(matches!(repair, Repair::Ask { is_graft: false, .. }));
}

#[test]
fn a_claim_of_any_height_asks_for_a_bounded_range() {
    let mut publisher = after(1);
    assert_eq!(publisher.lacking(u64::MAX), [(2, MAX_ASKED + 1)]);
    assert_eq!(after(u64::MAX).lacking(u64::MAX), []);
    let every_second: Vec<_> = (2..=MAX_EARLY as u64).map(|number| 2 * number).collect();
    deliver(&mut publisher, &every_second);
    assert_eq!(publisher.lacking(u64::MAX).len(), MAX_RANGES);
}

#[test]
fn too_many_that_wait_give_up_the_one_they_wait_for() {
    let mut publisher = after(1);
    let early: Vec<_> = (4..4 + MAX_EARLY as u64).collect();
    assert!(deliver(&mut publisher, &early).iter().all(|(_, ready)| ready.is_empty()));
    let (missed, ready) = deliver(&mut publisher, &[4 + MAX_EARLY as u64]).remove(0);
    assert_eq!((missed, ready.len()), (2, MAX_EARLY + 1));
}

#[test]
fn branches_are_the_first_subjects_unless_pruned_and_those_that_asked() {
    let subjects = [1, 2, 3, 4, 5].map(id);
    let mut publisher = publisher();
    let branches = |publisher: &Publisher| publisher.branches(&subjects, 3).collect::<Vec<_>>();
    assert_eq!(branches(&publisher), [1, 2, 3].map(id));
    publisher.prune(id(2), &subjects);
    publisher.graft(id(5), &subjects);
    assert_eq!(branches(&publisher), [1, 3, 5].map(id));
    publisher.prune(id(5), &subjects);
    publisher.graft(id(2), &subjects);
    assert_eq!(branches(&publisher), [1, 2, 3].map(id));
    // Nothing is remembered of members that are no subjects.
    publisher.graft(id(7), &subjects);
    publisher.prune(id(8), &subjects);
    assert!(publisher.edges.grafted.is_subset(&subjects.into()));
    assert!(publisher.edges.pruned.is_subset(&subjects.into()));
}

#[test]
fn who_has_the_latest_is_known_until_a_later_one_arrives() {
    let mut publisher = publisher();
    deliver(&mut publisher, &[1]);
    publisher.record_holder(id(1), 1);
    publisher.record_holder(id(2), 0);
    assert_eq!([1, 2].map(|node| publisher.is_holder(id(node))), [true, false]);
    deliver(&mut publisher, &[2]);
    assert!(!publisher.is_holder(id(1)));
}

#[test]
fn what_was_sent_to_a_member_is_known_until_a_later_one_arrives() {
    let mut publisher = publisher();
    deliver(&mut publisher, &[1, 2]);
    publisher.record_sent(id(1), 2);
    publisher.record_sent(id(2), 1);
    assert_eq!([1, 2].map(|node| publisher.was_sent_to(id(node))), [true, false]);
    deliver(&mut publisher, &[3]);
    assert!(!publisher.was_sent_to(id(1)));
}
