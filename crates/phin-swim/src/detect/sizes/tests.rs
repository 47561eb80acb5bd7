use super::*;
use crate::{
    Flaws, Output,
    ctx::Effect,
    member::record::tests::{id, version},
    testing::{Rooms, at, ms, peer},
};

/// The lengths of the datagrams that were asked for, each with the node that it goes to.
fn sent(rooms: &mut Rooms) -> Vec<(u8, usize)> {
    let mut sent = Vec::new();
    while let Some(effect) = rooms.ctx.next_effect() {
        if let Effect::Output(Output::Datagram { to, payload }) = effect {
            let node = (0..=9).find(|&node| id(node) == to.id).unwrap();
            sent.push((node, payload.len()));
        }
    }
    sent
}

/// The rooms of a node that has measured its links to the other two.
fn measured() -> Rooms {
    let mut rooms = Rooms::of(3);
    [1, 2].into_iter().for_each(|node| rooms.measure(node));
    rooms
}

fn review(rooms: &mut Rooms) {
    rooms.degraded().review_links();
}

/// The sequence of the last check of a link.
fn last(rooms: &mut Rooms) -> Sequence {
    let next = rooms.senses.pings.next_sequence();
    Sequence(next.0 - 1)
}

#[test]
fn a_check_is_two_packets_and_both_are_answered_by_as_many_bytes() {
    let mut rooms = measured();
    rooms.degraded().want_size_check(id(1));
    review(&mut rooms);
    let probes: [_; 2] = sent(&mut rooms).try_into().unwrap();
    assert!(matches!(probes, [(1, 1_096..=1_100), (1, 105..=115)]), "{probes:?}");
    let padding = padding(rooms.ctx.params.max_datagram_bytes);
    rooms.degraded().handle_size_probe((peer(2), Channel::Datagram), false, (Sequence(1), padding));
    rooms.degraded().handle_size_probe(
        (peer(2), Channel::Datagram),
        false,
        (Sequence(1), SHORT_PADDING),
    );
    let together: usize = probes.iter().map(|(_, bytes)| bytes).sum();
    assert!(together > 1_200, "they do not share a QUIC packet");
    let answers = sent(&mut rooms).into_iter().map(|(_, bytes)| bytes);
    // A probe has a byte more, which says whether packets were lost.
    assert_eq!(answers.collect::<Vec<_>>(), probes.map(|(_, bytes)| bytes - 1));
}

#[test]
fn only_so_many_probes_are_answered_in_a_period() {
    let mut rooms = measured();
    for _ in 0..100 {
        rooms.degraded().handle_size_probe(
            (peer(1), Channel::Datagram),
            false,
            (Sequence(1), 1_000),
        );
    }
    assert_eq!((sent(&mut rooms).len(), rooms.ctx.stats.size_probes_refused), (64, 36));
    rooms.ctx.now = rooms.ctx.now + rooms.ctx.params.period;
    rooms.degraded().handle_size_probe((peer(1), Channel::Datagram), false, (Sequence(1), 1_000));
    assert_eq!(sent(&mut rooms).len(), 1);
}

#[test]
fn links_are_checked_one_in_a_round_and_all_once_packets_are_lost_on_one() {
    let mut rooms = measured();
    review(&mut rooms);
    assert_eq!(sent(&mut rooms), [], "they are looked at for the first time");
    rooms.at(3_610_000);
    review(&mut rooms);
    let probes = sent(&mut rooms);
    let [(first, _), _] = probes[..] else { panic!("{probes:?}") };
    let sequence = last(&mut rooms);
    rooms.degraded().handle_size_ack(id(first), sequence, SHORT_PADDING);
    rooms.ctx.now = rooms.ctx.now + rooms.ctx.params.period;
    review(&mut rooms);
    let mut checked: Vec<_> = sent(&mut rooms).into_iter().map(|(node, _)| node).collect();
    checked.sort_unstable();
    let other = 3 - first;
    // The other was never checked: it shows what is usual. Both observe this node, and learn that its checks fail.
    assert_eq!(checked, [1, 1, 1, 2, 2, 2]);
    assert_eq!(rooms.ctx.max_bytes(id(first)), 640);
    assert_eq!(rooms.ctx.max_bytes(id(other)), 1_100);
    assert_eq!((rooms.ctx.stats.size_checks, rooms.ctx.stats.size_checks_failed), (3, 1));
}

#[test]
fn a_member_that_does_not_answer_short_probes_either_is_sent_long_packets() {
    let mut rooms = measured();
    for _ in 0..20 {
        rooms.degraded().want_size_check(id(1));
        review(&mut rooms);
        rooms.ctx.now = rooms.ctx.now + ms(31_000);
        review(&mut rooms);
    }
    assert!(!rooms.ctx.narrow.contains(id(1)), "an earlier release knows no such probes");
    assert!(rooms.senses.links.flaws(id(1)).is_empty());
}

#[test]
fn the_probed_member_learns_that_packets_of_full_size_were_lost() {
    let mut rooms = measured();
    let probe = (Sequence(1), 0);
    for is_lost in [true, false, true] {
        rooms.degraded().handle_size_probe((peer(1), Channel::Datagram), is_lost, probe);
        assert_eq!(rooms.ctx.narrow.contains(id(1)), is_lost);
    }
    rooms.ctx.now = rooms.ctx.now + ms(150_000);
    review(&mut rooms);
    assert!(!rooms.ctx.narrow.contains(id(1)), "it did not say so again");
}

#[test]
fn a_member_that_reports_the_flaw_is_sent_short_packets() {
    let mut rooms = measured();
    let (mine, large) = (version(0, 0), Flaw::LargePackets.into());
    rooms.degraded().handle_flawed(id(1), id(0), mine, large);
    assert!(rooms.ctx.narrow.contains(id(1)) && !rooms.ctx.narrow.contains(id(2)));
    rooms.degraded().handle_flawed(id(1), id(0), mine, Flaws::NONE);
    assert!(!rooms.ctx.narrow.contains(id(1)));
}

#[test]
fn another_observer_that_finds_the_flaw_has_the_link_checked() {
    let mut rooms = measured();
    review(&mut rooms);
    rooms.now(at(40_000));
    rooms.degraded().handle_flawed(id(2), id(1), version(0, 0), Flaw::Loss.into());
    review(&mut rooms);
    assert_eq!(sent(&mut rooms), []);
    rooms.degraded().handle_flawed(id(2), id(1), version(0, 0), Flaw::LargePackets.into());
    review(&mut rooms);
    assert_eq!(sent(&mut rooms).len(), 2);
}

#[test]
fn a_member_whose_checks_fail_is_checked() {
    for (is_lost, checks) in [(true, 2), (false, 0)] {
        let mut rooms = measured();
        review(&mut rooms);
        rooms.at(20_000);
        let probe = (Sequence(1), SHORT_PADDING);
        rooms.degraded().handle_size_probe((peer(1), Channel::Datagram), is_lost, probe);
        sent(&mut rooms);
        review(&mut rooms);
        assert_eq!(sent(&mut rooms).iter().filter(|(node, _)| *node == 1).count(), checks);
    }
}
