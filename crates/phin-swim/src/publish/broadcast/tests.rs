use std::collections::BTreeSet;

use super::*;
use crate::{
    Config, Generation, MemberState, PublishRequest, Swim,
    member::record::tests::TestKeys,
    testing::{
        ms,
        net::{Net, is_part},
        peer,
    },
    wire::{PublicationLine, PublicationRange},
};

impl Net {
    fn publish(&mut self, node: u8, text: &str) {
        let request = PublishRequest::new("news".parse().unwrap(), text.as_bytes());
        self.publish_with(node, request);
    }

    fn publish_with(&mut self, node: u8, request: PublishRequest) {
        let now = self.now;
        self.nodes[usize::from(node)].sending(now).publish(request).unwrap();
        self.drain(node);
    }

    /// The numbers of what arrived at a node from another, in order.
    fn received(&self, node: u8, from: u8) -> Vec<u64> {
        let arrived = self.messages.iter().filter(|(at, of, ..)| (*at, *of) == (node, from));
        arrived.map(|(.., sequence, _)| *sequence).collect()
    }

    /// The nodes that did not receive exactly these, in order.
    fn others_than(&self, from: u8, expected: impl Iterator<Item = u64> + Clone) -> Vec<u8> {
        let nodes = 0..self.nodes.len() as u8;
        nodes.filter(|&node| !expected.clone().eq(self.received(node, from))).collect()
    }

    fn sum(&self, counter: impl Fn(&crate::Stats) -> u64) -> u64 {
        self.nodes.iter().map(|node| counter(Swim::stats(node))).sum()
    }
}

fn is_publication(payload: &[u8], publisher: u8) -> bool {
    is_part(payload, |part| match part {
        Part::Publication { publication, .. } => publication.publisher == peer(publisher).id,
        _ => false,
    })
}

#[test]
fn all_receive_what_each_publishes_once_and_in_order() {
    let mut net = Net::new(24);
    for round in 0..10 {
        net.publish(3, &round.to_string());
        net.publish(17, &round.to_string());
        net.run(ms(5));
    }
    net.run(ms(200));
    assert_eq!((net.others_than(3, 1..=10), net.others_than(17, 1..=10)), (vec![], vec![]));
    assert_eq!(net.missed, []);
}

#[test]
fn what_remains_of_the_rings_is_a_tree() {
    let mut net = Net::new(40);
    for _ in 0..10 {
        net.publish(3, "warm");
        net.run(ms(100));
    }
    let before = net.sum(|stats| stats.publications_pushed);
    for _ in 0..10 {
        net.publish(3, "steady");
        net.run(ms(100));
    }
    let pushed = net.sum(|stats| stats.publications_pushed) - before;
    assert_eq!(pushed, 10 * 39, "each node receives each publication once");
}

#[test]
fn streams_that_are_lost_are_asked_for_in_order() {
    let mut net = Net::new(24);
    net.run(ms(10_000));
    let mut number = 0_u32;
    net.is_lost = Box::new(move |_, _, payload| {
        number += 1;
        is_publication(payload, 3) && number.is_multiple_of(3)
    });
    for _ in 0..30 {
        net.publish(3, "text");
        net.run(ms(20));
    }
    net.run(ms(2_500));
    assert_eq!((net.others_than(3, 1..=30), &net.missed[..]), (vec![], &[][..]));
}

#[test]
fn the_last_one_is_asked_for_too() {
    let mut net = Net::new(12);
    net.is_lost = Box::new(|from, _, payload| from == 3 && is_publication(payload, 3));
    net.publish(3, "text");
    net.run(ms(60));
    assert_eq!(net.others_than(3, 1..=1).len(), 11);
    net.heal();
    net.run(ms(500));
    assert!(net.others_than(3, 1..=1).is_empty());
}

#[test]
fn what_was_neither_pushed_nor_announced_to_a_member_is_learnt_from_a_ping() {
    let mut net = Net::new(12);
    net.run(ms(5_000));
    net.is_lost = Box::new(|_, to, payload| {
        let is_news = is_part(payload, |part| matches!(part, Part::PublicationNews(_)));
        to == 7 && (is_news || is_publication(payload, 3))
    });
    net.publish(3, "text");
    net.run(ms(100));
    net.heal();
    assert_eq!(net.others_than(3, 1..=1), [7]);
    net.run(ms(1_000));
    assert!(net.others_than(3, 1..=1).is_empty());
}

/// The nodes that observe this one.
fn observers(net: &Net, node: u8) -> Vec<u8> {
    let subjects =
        |other: u8| net.nodes[usize::from(other)].core.list.rings().subjects(peer(other).id);
    let nodes = 0..net.nodes.len() as u8;
    nodes.filter(|&other| subjects(other).contains(&peer(node).id)).collect()
}

#[test]
fn what_no_observer_has_is_had_from_the_publisher() {
    let mut net = Net::new(24);
    net.run(ms(5_000));
    let publisher = (0..24).find(|node| !observers(&net, 7).contains(node) && *node != 7).unwrap();
    net.is_lost = Box::new(move |from, to, payload| {
        let is_first = is_part(payload, |part| match part {
            Part::Publication { publication, .. } => publication.sequence == 1,
            _ => false,
        });
        to == 7 && from != publisher && is_first
    });
    net.publish(publisher, "first");
    net.publish(publisher, "second");
    net.run(ms(2_900));
    assert_eq!((net.received(7, publisher), &net.missed[..]), (vec![1, 2], &[][..]));
}

#[test]
fn an_observer_alone_learns_what_is_published() {
    let mut net = Net::new(24);
    net.run(ms(5_000));
    let subjects = net.nodes[3].core.list.rings().subjects(peer(3).id);
    let is_no_subject = |node: &u8| !subjects.contains(&peer(*node).id);
    let observer = observers(&net, 3).into_iter().find(is_no_subject).unwrap();
    net.is_lost = Box::new(move |from, to, _| from == 3 && to != observer);
    net.publish(3, "text");
    net.run(ms(10_000));
    assert_eq!(net.others_than(3, 1..=1), [0; 0]);
}

#[test]
fn pings_announce_what_is_recent_of_ever_other_publishers_until_it_is_old() {
    let mut net = Net::new(24);
    // So nobody learns what it has.
    net.is_lost = Box::new(|from, _, _| from == 7);
    (0..24).for_each(|publisher| net.publish(publisher, "text"));
    net.run(ms(200));
    net.heal();
    let repeated = |net: &mut Net| {
        let mut payload = Payload::of(&Part::Join);
        net.nodes[3].core.broadcast().piggyback(&mut payload, peer(7).id);
        match &crate::wire::decode(&payload.into_bytes(), &TestKeys(0)).unwrap().parts[..] {
            [_] => Vec::new(),
            [_, Part::PublicationNews(lines)] => lines.iter().map(|line| line.publisher).collect(),
            other => panic!("{other:?}"),
        }
    };
    let mut seen = BTreeSet::new();
    for _ in 0..200 {
        let publishers = repeated(&mut net);
        assert!(publishers.len() <= 16, "{publishers:?}");
        assert_eq!(
            publishers.first(),
            Some(&peer(3).id),
            "it may be the only one that has its own"
        );
        seen.extend(publishers);
    }
    assert_eq!(seen.len(), 23);
    // Those that may be lacking come before those that were sent by stream.
    for (&publisher, known) in &mut net.nodes[3].core.publishing.publishers {
        if publisher != peer(20).id {
            known.record_sent(peer(7).id, u64::MAX);
        }
    }
    assert!((0..20).all(|_| repeated(&mut net)[0] == peer(20).id));
    let now = net.now;
    net.nodes[3].core.publishing.joined.insert(peer(7).id, now);
    assert_eq!(repeated(&mut net), [], "it is newer than they are");
    net.nodes[3].core.publishing.joined.clear();
    assert!(!repeated(&mut net).is_empty());
    net.run(ms(31_000));
    assert_eq!(repeated(&mut net), []);
}

#[test]
fn a_branch_that_dies_is_replaced_by_another() {
    let mut net = Net::new(24);
    for _ in 0..5 {
        net.publish(3, "warm");
        net.run(ms(100));
    }
    // Those that pass nothing on, as the dead do; all else goes on.
    net.is_lost = Box::new(|from, _, payload| from % 4 == 1 && is_publication(payload, 3));
    for _ in 0..20 {
        net.publish(3, "text");
        net.run(ms(20));
    }
    net.run(ms(1_000));
    assert_eq!((net.others_than(3, 1..=25), &net.missed[..]), (vec![], &[][..]));
    // Repaired publications need no more requests.
    let before = net.sum(|stats| stats.publications_requested);
    net.publish(3, "text");
    net.run(ms(500));
    assert_eq!(net.sum(|stats| stats.publications_requested), before);
}

#[test]
fn what_nobody_sends_is_reported_as_missed() {
    let mut net = Net::new(6);
    net.publish(3, "1");
    net.run(ms(200));
    net.is_lost = Box::new(|_, to, payload| to == 5 && is_publication(payload, 3));
    net.publish(3, "2");
    net.publish(3, "3");
    net.run(ms(40_000));
    net.heal();
    net.publish(3, "4");
    net.run(ms(5_000));
    assert_eq!(net.received(5, 3), [1, 4]);
    assert_eq!(net.missed, [(5, 3, 2)]);
    assert_eq!(net.received(4, 3), [1, 2, 3, 4]);
}

#[test]
fn a_newcomer_receives_nothing_old() {
    let mut net = Net::new(6);
    (0..4).for_each(|_| net.publish(3, "old"));
    net.run(ms(6_000));
    net.add(0, &Config::lan());
    net.run(ms(5_000));
    assert!(net.received(6, 3).is_empty());
    net.publish(3, "new");
    net.run(ms(500));
    assert_eq!((net.received(6, 3), &net.missed[..]), (vec![5], &[][..]));
}

#[test]
fn the_first_of_a_member_is_missed_by_nobody_who_was_there() {
    let mut net = Net::new(6);
    net.run(ms(10_000));
    net.is_lost = Box::new(|_, to, payload| to == 5 && is_publication(payload, 3));
    net.publish(3, "1");
    net.run(ms(20));
    net.heal();
    net.publish(3, "2");
    net.run(ms(1_000));
    assert_eq!(net.received(5, 3), [1, 2]);
}

#[test]
fn a_burst_soon_after_the_start_is_received_whole_in_any_order() {
    let mut net = Net::new(6);
    (0..5).for_each(|_| net.publish(3, "burst"));
    // Streams overtake one another.
    net.in_flight.reverse();
    net.run(ms(500));
    assert_eq!((net.others_than(3, 1..=5), &net.missed[..]), (vec![], &[][..]));
}

#[test]
fn numbers_of_another_run_begin_anew() {
    let mut net = Net::new(6);
    (0..3).for_each(|_| net.publish(3, "first run"));
    net.run(ms(200));
    net.nodes[3] = net.start(3, 1, &Config::lan());
    net.nodes[3].join(net.now, peer(0));
    net.drain(3);
    net.run(ms(1_000));
    net.messages.clear();
    net.publish(3, "second run");
    net.run(ms(500));
    assert_eq!((net.others_than(3, 1..=1), &net.missed[..]), (vec![], &[][..]));
}

#[test]
fn sides_of_a_split_learn_afterwards_what_was_published_lately() {
    let mut net = Net::new(12);
    net.run(ms(8_000));
    net.split(&[0, 1, 2, 3]);
    net.run(ms(5_000));
    net.publish(3, "during");
    net.run(ms(5_000));
    assert!(net.received(7, 3).is_empty());
    net.heal();
    net.run(ms(15_000));
    net.publish(3, "after");
    net.run(ms(5_000));
    let receivers = net.others_than(3, 1..=2);
    assert_eq!((receivers, &net.missed[..]), (vec![], &[][..]));
}

#[test]
fn a_filter_selects_receivers_and_not_the_path() {
    let mut net = Net::new(24);
    for node in [2_u8, 9] {
        let now = net.now;
        let set = |profile: &mut crate::Profile| _ = profile.tags.set("role", "web");
        net.nodes[usize::from(node)].describe(now, set);
        net.drain(node);
    }
    net.run(ms(1_000));
    let mut request = PublishRequest::new("news".parse().unwrap(), b"text".as_slice());
    request.filter = "role=web".parse().unwrap();
    net.publish_with(3, request);
    net.run(ms(200));
    let receivers: BTreeSet<_> = net.messages.iter().map(|(node, ..)| *node).collect();
    assert_eq!(receivers, BTreeSet::from([2, 9]));
    assert_eq!(net.missed, []);
}

/// Has node 0 receive a payload of node 1.
fn receive(net: &mut Net, part: &Part) {
    let now = net.now;
    net.nodes[0].handle_stream(now, peer(1), &Payload::of(part).into_bytes());
    net.drain(0);
}

fn publication(publisher: u8, sequence: u64, text: &str) -> Publication {
    let content = PublishRequest::new("news".parse().unwrap(), text.as_bytes());
    let keys = crate::member::record::tests::TestKeys(publisher.into());
    Publication::sign(peer(publisher).id, (Generation(0), sequence, 0), (content, None), &keys)
}

fn pushed(publication: Publication) -> Part {
    Part::Publication { is_push: true, hops: 0, publication: Arc::new(publication) }
}

#[test]
fn what_another_says_in_a_members_name_is_dropped_and_costs_that_nothing() {
    let mut net = Net::new(4);
    let mut forged = publication(3, 1, "text");
    forged.content.body = b"other".as_slice().into();
    receive(&mut net, &pushed(forged));
    let mut unknown = publication(3, 1, "text");
    unknown.generation = Generation(7);
    receive(&mut net, &pushed(unknown));
    receive(&mut net, &pushed(publication(9, 1, "of no member")));
    let stats = net.stats(0);
    assert_eq!((stats.publications_forged, stats.publications_of_unknown_runs), (1, 2));
    assert_eq!(net.messages, []);
    net.publish(3, "text");
    net.run(ms(200));
    assert!(net.others_than(3, 1..=1).is_empty());
}

#[test]
fn a_flood_of_signed_publications_is_cut_at_each_receiver() {
    let mut net = Net::new(4);
    for sequence in 1..=3_000 {
        receive(&mut net, &pushed(publication(1, sequence, "flood")));
    }
    assert_eq!(net.received(0, 1).len(), 4 * 256);
    assert_eq!(net.stats(0).publications_over_budget, 3_000 - 4 * 256);
    net.publish(3, "text");
    net.run(ms(200));
    assert_eq!(net.received(0, 3), [1]);
}

#[test]
fn claims_of_what_does_not_exist_end_as_nothing() {
    let mut net = Net::new(4);
    net.publish(3, "text");
    net.run(ms(200));
    let line = |publisher, sequence| PublicationLine {
        publisher: peer(publisher).id,
        generation: Generation(0),
        sequence,
    };
    let lines = vec![line(3, u64::MAX), line(2, u64::MAX), line(0, 7), line(200, 7)];
    receive(&mut net, &Part::PublicationNews(lines));
    net.run(ms(10_000));
    net.publish(3, "text");
    net.publish(2, "text");
    net.run(ms(6_000));
    assert_eq!((net.received(0, 3), net.received(0, 2)), (vec![1, 2], vec![1]));
    assert_eq!(net.missed, []);
}

#[test]
fn endless_requests_are_answered_within_a_budget() {
    let mut net = Net::new(4);
    net.publish(3, "text");
    net.run(ms(200));
    let range = PublicationRange {
        publisher: peer(3).id,
        generation: Generation(0),
        first: 0,
        last: u64::MAX,
        is_graft: true,
    };
    let before = net.stats(0).exchanges_refused;
    (0..1_000).for_each(|_| receive(&mut net, &Part::PublicationWant(vec![range; 300])));
    assert!(net.stats(0).exchanges_refused - before >= 900);
}

#[test]
fn a_member_that_asks_for_ever_is_sent_a_limited_number_of_bytes() {
    let mut net = Net::new(4);
    for _ in 0..16 {
        net.publish(3, &"x".repeat(PublishRequest::MAX_BODY_BYTES));
    }
    net.run(ms(200));
    let range = PublicationRange {
        publisher: peer(3).id,
        generation: Generation(0),
        first: 1,
        last: 16,
        is_graft: false,
    };
    let before = net.in_flight.len();
    (0..60).for_each(|_| receive(&mut net, &Part::PublicationWant(vec![range])));
    let sent = net.in_flight[before..].iter().map(|(.., payload)| payload.len()).sum::<usize>();
    assert!((15..=17).contains(&(sent >> 20)), "{sent} bytes");
}

#[test]
fn many_that_ask_for_a_little_at_once_are_all_answered() {
    let mut net = Net::new(9);
    net.publish(3, "text");
    net.run(ms(200));
    let range = PublicationRange {
        publisher: peer(3).id,
        generation: Generation(0),
        first: 1,
        last: 1,
        is_graft: false,
    };
    let before = net.in_flight.len();
    // Each asks for one after the other, as when several members start anew and lack those of many publishers.
    let want = Payload::of(&Part::PublicationWant(vec![range])).into_bytes();
    for request in 0..400 {
        let now = net.now;
        net.nodes[0].handle_datagram(now, peer(1 + request as u8 % 8), &want);
        net.drain(0);
    }
    assert_eq!(net.in_flight.len() - before, 400);
}

#[test]
fn a_member_that_left_is_heard_out() {
    let mut net = Net::new(4);
    net.publish(3, "last words");
    let now = net.now;
    net.nodes[3].leave(now);
    net.drain(3);
    let request = PublishRequest::new("news".parse().unwrap(), b"later".as_slice());
    assert_eq!(net.nodes[3].sending(now).publish(request), Err(PublishError::Left));
    net.run(ms(1_000));
    assert_eq!(net.nodes[0].members().get(peer(3).id).unwrap().state(), MemberState::Left);
    assert_eq!(net.received(0, 3), [1]);
}

#[test]
fn what_is_kept_for_others_is_forgotten_after_half_a_minute() {
    let mut net = Net::new(4);
    net.publish(3, "text");
    net.run(ms(29_000));
    assert!(!net.nodes[0].core.publishing.recent.is_empty());
    net.run(ms(2_000));
    assert!(net.nodes[0].core.publishing.recent.is_empty());
}
