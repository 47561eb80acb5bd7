use super::*;
use crate::{
    Config,
    member::record::tests::{id, version},
    testing::{Rooms, at, ms, peer},
};

const FIRST: Sequence = Sequence(1);

fn relay() -> Purpose {
    Purpose::Relay { requester: peer(2), sequence: Some(Sequence(70)) }
}

/// A node that has sent one ping to node 1, at 10 s.
fn pinging(purpose: Purpose) -> Rooms {
    let mut rooms = Rooms::of(6);
    rooms.measure(1);
    rooms.probe().ping(peer(1), purpose);
    rooms.effects();
    rooms
}

/// The ack of node 1 that answers it, as this run of that node.
fn ack(rooms: &mut Rooms, generation: u32) -> Pulse {
    let pulse = rooms.probe().pulse(FIRST);
    Pulse { generation: version(generation, 0).generation, stall_ms: 300, ..pulse }
}

fn timers(rooms: &mut Rooms) -> Vec<(u64, Timer)> {
    let mut timers = Vec::new();
    while let Some(next) = rooms.ctx.timers.next() {
        let timer = rooms.ctx.timers.pop_due(next).unwrap();
        timers.push((next.since_start().as_millis() as u64, timer));
    }
    timers
}

fn samples(rooms: &Rooms) -> u32 {
    rooms.senses.links.get(id(1)).unwrap().estimator.samples()
}

#[test]
fn a_ping_opens_the_link_and_is_overdue_when_nearly_all_replies_would_have_come() {
    let mut rooms = Rooms::of(6);
    rooms.probe().ping(peer(1), Purpose::Probe);
    rooms.measure(2);
    rooms.probe().ping(peer(2), Purpose::Probe);
    let sent = ["to n1, with news: ping seq=1", "to n2, with news: ping seq=2"];
    assert_eq!(rooms.effects(), sent);
    assert!(rooms.senses.links.get(id(1)).is_some());
    assert_eq!(rooms.ctx.stats.pings_sent, 2);
    let timers = timers(&mut rooms);
    let due = |timer| timers.iter().find(|(_, set)| *set == timer).unwrap().0 - 10_000;
    // A handshake comes first on the one link; the other is known to take 10 ms.
    let (new, known) = (due(Timer::ProbeTimeout(FIRST)), due(Timer::ProbeTimeout(Sequence(2))));
    assert!(known < 100 && (known + 100..=500).contains(&new), "{known} {new}");
    assert_eq!(due(Timer::ProbeEnd(FIRST)), 2_000);
    assert_eq!(rooms.see().waiting_since(id(1)), Some(at(10_000)));
}

#[test]
fn a_ping_by_stream_goes_to_a_member_that_is_known() {
    let mut rooms = Rooms::of(6);
    rooms.probe().ping_by_stream(id(1), FIRST);
    rooms.probe().ping_by_stream(id(77), FIRST);
    assert_eq!(rooms.effects(), ["by stream to n1, with news: ping seq=1"]);
}

#[test]
fn a_subject_is_measured_once_it_is_connected() {
    type Change = fn(&mut Rooms);
    let connect: Change = |r| r.senses.links.connect(id(1), 9);
    // The situation; whether node 1 is pinged.
    let cases: [(&str, Change, bool); 4] = [
        ("connected", connect, true),
        ("not connected", |_| {}, false),
        ("measured", |r| r.measure(1), false),
        (
            "no subject",
            |r| {
                r.senses.links.connect(id(1), 9);
                r.list.remove(id(1));
            },
            false,
        ),
    ];
    for (what, change, is_pinged) in cases {
        let mut rooms = Rooms::of(6);
        change(&mut rooms);
        rooms.probe().measure_if_new(peer(1));
        assert_eq!(!rooms.effects().is_empty(), is_pinged, "{what}");
    }
}

#[test]
fn a_ping_is_answered_by_the_way_by_which_it_came() {
    let mut rooms = Rooms::of(6);
    rooms.probe().handle_ping(peer(1), FIRST, Channel::Datagram);
    rooms.probe().handle_ping(peer(1), FIRST, Channel::Stream);
    rooms.probe().handle_ping(peer(77), FIRST, Channel::Stream);
    let acks = [
        "to n1, with news: ack seq=1",
        "by stream to n1: ack seq=1",
        "by stream to n77: ack seq=1",
    ];
    assert_eq!(rooms.effects(), acks);
    assert_eq!(rooms.ctx.stats.unknown_senders, 1);
}

#[test]
fn a_ping_req_is_carried_out_refused_or_answered_that_the_target_is_unknown() {
    let mut rooms = Rooms::of(6);
    // The target, what is sent, what is counted as unknown.
    let nack = "to n2: nack seq=70";
    for (target, sent, unknown) in
        [(id(1), "to n1, with news: ping seq=1", 0), (id(77), nack, 1), (id(0), nack, 2)]
    {
        rooms.probe().handle_ping_req(peer(2), Some(Sequence(70)), (target, None));
        assert_eq!(rooms.effects(), [sent]);
        assert_eq!(rooms.ctx.stats.unknown_subjects, unknown);
    }
    assert_eq!(rooms.senses.pings.relays(), 1);
}

#[test]
fn pings_for_others_have_a_limit_in_all_and_for_each_member() {
    let mut rooms = Rooms::of(6);
    let ask = |rooms: &mut Rooms, from: u8, times: usize| {
        (0..times).for_each(|_| {
            rooms.probe().handle_ping_req(peer(from), Some(Sequence(70)), (id(1), None));
        });
        (rooms.senses.pings.relays(), rooms.ctx.stats.relays_refused)
    };
    assert_eq!(ask(&mut rooms, 2, 40), (32, 8), "the budget of one member");
    assert_eq!(ask(&mut rooms, 3, 32), (64, 8));
    assert_eq!(ask(&mut rooms, 4, 1), (64, 9), "all that may be under way");
    rooms.probe().end_probe(FIRST);
    assert_eq!(ask(&mut rooms, 4, 1), (64, 9));
}

#[test]
fn an_ack_ends_the_ping_that_it_answers_and_each_purpose_has_its_own_end() {
    let heard = "Heard { id: n1, at: Instant(10s) }";
    let reached = "Reached(n1)";
    let asks_host = "ask host of n1: Reachability";
    let cases = [
        (Purpose::Probe, vec![reached, heard, asks_host]),
        (Purpose::Look, vec![reached, heard, asks_host]),
        (Purpose::Retry, vec![reached, heard, asks_host]),
        (Purpose::Redial, vec![reached, "Exchange(n1)", heard, asks_host]),
        (relay(), vec![reached, "to n2: indirect-ack seq=70", heard, asks_host]),
    ];
    for (purpose, asked_for) in cases {
        let mut rooms = pinging(purpose);
        let ack = ack(&mut rooms, 0);
        rooms.at(10_010).probe().handle_ack(peer(1), ack, Channel::Datagram);
        assert_eq!(rooms.effects(), asked_for, "{purpose:?}");
        assert!(timers(&mut rooms).is_empty(), "no timer is left behind");
        assert_eq!(rooms.senses.links.advertised_stall(id(1)), ms(300));
        rooms.probe().handle_ack(peer(1), ack, Channel::Datagram);
        assert!(rooms.effects().is_empty());
        assert_eq!(rooms.ctx.stats.late_acks, 1, "once");
    }
}

#[test]
fn an_ack_of_another_member_or_of_an_earlier_run_ends_nothing() {
    for (from, generation, is_answer) in [(1, 0, true), (1, 1, true), (2, 0, false)] {
        let mut rooms = pinging(Purpose::Probe);
        let ack = ack(&mut rooms, generation);
        rooms.probe().handle_ack(peer(from), ack, Channel::Datagram);
        assert_eq!(!rooms.effects().is_empty(), is_answer, "n{from} {generation}");
        assert_eq!(rooms.ctx.stats.late_acks, u64::from(!is_answer));
    }
    let mut rooms = pinging(Purpose::Probe);
    let record = crate::member::record::tests::record(1, version(1, 0));
    let state = crate::MemberState::Alive;
    rooms.list.put(crate::Member { record, state, since: at(0) });
    let ack = ack(&mut rooms, 0);
    rooms.probe().handle_ack(peer(1), ack, Channel::Datagram);
    assert!(rooms.effects().is_empty(), "an earlier run of its process");
}

#[test]
fn an_answer_by_stream_shows_life_and_that_of_a_datagram_the_link() {
    for (channel, reaches) in [(Channel::Datagram, true), (Channel::Stream, false)] {
        let mut rooms = pinging(Purpose::Probe);
        rooms.senses.links.record_no_reply(id(1));
        rooms.senses.links.record_no_reply(id(1));
        rooms.senses.health.record_silent_helpers(5);
        let (before, loss) = (samples(&rooms), loss(&rooms));
        let ack = ack(&mut rooms, 0);
        rooms.at(10_010).probe().handle_ack(peer(1), ack, channel);
        let found = rooms.effects();
        assert!(found.contains(&"Heard { id: n1, at: Instant(10s) }".to_owned()));
        assert_eq!(found.contains(&"Reached(n1)".to_owned()), reaches, "{channel:?}");
        assert!(!rooms.senses.links.gives_no_reply(id(1)), "it answers itself");
        assert_eq!(samples(&rooms) > before, reaches, "{channel:?}");
        assert_eq!(rooms.senses.health.is_impaired(at(10_010)), !reaches, "a helper is forgiven");
        assert_eq!(self::loss(&rooms) > loss, !reaches, "{channel:?}");
        let counted = self::loss(&rooms);
        rooms.at(12_000).probe().end_probe(FIRST);
        assert!(self::loss(&rooms) <= counted, "once");
    }
}

#[test]
fn a_datagram_after_the_answer_by_stream_shows_that_none_was_lost() {
    let mut rooms = pinging(Purpose::Probe);
    let (before, loss) = (samples(&rooms), loss(&rooms));
    let ack = ack(&mut rooms, 0);
    rooms.at(10_010).probe().handle_ack(peer(1), ack, Channel::Stream);
    rooms.effects();
    rooms.probe().handle_ack(peer(1), ack, Channel::Stream);
    rooms.probe().handle_ack(peer(1), ack, Channel::Datagram);
    assert!(rooms.effects().is_empty(), "it counts once");
    assert!(samples(&rooms) > before && self::loss(&rooms) <= loss);
    rooms.at(12_000).probe().end_probe(FIRST);
    assert!(self::loss(&rooms) <= loss);
}

fn loss(rooms: &Rooms) -> f64 {
    rooms.senses.links.get(id(1)).unwrap().estimator.loss()
}

#[test]
fn a_reply_that_is_overdue_is_a_miss_and_shortens_the_period_except_for_a_redial() {
    let unanswered = "Unanswered { subject: n1, sent_at: Instant(10s) }";
    for (purpose, before, is_short) in [
        (Purpose::Probe, vec![unanswered], true),
        (Purpose::Retry, vec![unanswered], true),
        (Purpose::Look, vec![unanswered], true),
        (Purpose::Redial, vec![], false),
        (relay(), vec![unanswered, "to n2: nack seq=70"], true),
    ] {
        let longest = Some(ms(4_000));
        let mut rooms = Rooms::with(6, Config { max_period: longest, ..Config::lan() });
        (0..8).for_each(|_| rooms.senses.rounds.slow_down(&rooms.ctx.params));
        rooms.probe().ping(peer(1), purpose);
        rooms.effects();
        rooms.at(10_400).probe().reply_overdue(FIRST);
        let found = rooms.effects();
        assert_eq!(found[..found.len() - 1], before, "{purpose:?}");
        assert!(found.last().unwrap().starts_with("Missed(Miss { subject: n1,"), "{found:?}");
        assert_eq!(
            rooms.senses.rounds.period(&rooms.ctx.params) == ms(1_000),
            is_short,
            "{purpose:?}"
        );
        assert_eq!(rooms.ctx.stats.pings_missed, 1);
        assert_eq!(rooms.see().waiting_since(id(1)), None);
        rooms.probe().reply_overdue(FIRST);
        assert!(rooms.effects().is_empty(), "it is overdue already");
        rooms.probe().ping(peer(1), purpose);
        rooms.probe().reply_overdue(Sequence(FIRST.0 + 1));
        assert_eq!(
            rooms.senses.links.gives_no_reply(id(1)),
            is_short,
            "it is the second miss then"
        );
        rooms.effects();
        rooms.probe().reply_overdue(Sequence(9));
        assert!(rooms.effects().is_empty(), "a ping that has ended");
    }
}

#[test]
fn a_late_ack_still_ends_its_ping_until_that_is_forgotten() {
    let mut rooms = pinging(Purpose::Probe);
    rooms.at(10_400).probe().reply_overdue(FIRST);
    rooms.effects();
    let ack = ack(&mut rooms, 0);
    rooms.at(10_700).probe().handle_ack(peer(1), ack, Channel::Datagram);
    assert_eq!(rooms.effects()[0], "Reached(n1)");
    let mut rooms = pinging(Purpose::Probe);
    rooms.at(12_000).probe().end_probe(FIRST);
    rooms.probe().handle_ack(peer(1), ack, Channel::Datagram);
    assert!(rooms.effects().is_empty());
    assert_eq!(rooms.ctx.stats.late_acks, 1);
}

#[test]
fn a_ping_that_ends_unanswered_was_lost_if_the_member_was_heard_since() {
    // When the member was heard, whether the loss is counted already; whether it is counted now.
    for (heard_at, is_lost, counts) in [
        (None, false, false),
        (Some(9_999), false, false),
        (Some(10_000), false, true),
        (Some(10_000), true, false),
    ] {
        let mut rooms = pinging(Purpose::Probe);
        heard_at.into_iter().for_each(|heard| rooms.senses.links.record_heard(id(1), at(heard)));
        if is_lost {
            rooms.senses.pings.mark_overdue(FIRST);
            rooms.senses.pings.record_lost(&mut rooms.senses.links, id(1), at(10_000));
        }
        let before = loss(&rooms);
        rooms.at(12_000).probe().end_probe(FIRST);
        assert_eq!(loss(&rooms) > before, counts, "{heard_at:?} {is_lost}");
        assert!(rooms.senses.pings.get_mut(FIRST).is_none());
    }
}

#[test]
fn a_pulse_tells_the_round_its_age_and_the_longest_stall() {
    let mut rooms = Rooms::of(6);
    rooms.lag(100);
    let pulse = rooms.at(10_400).probe().pulse(Sequence(7));
    let expected = Pulse {
        sequence: Sequence(7),
        generation: version(0, 0).generation,
        round: rooms.senses.rounds.round(),
        round_age_ms: 400,
        fingerprint: rooms.list.snapshot().fingerprint(),
        stall_ms: 100,
    };
    assert_eq!(pulse, expected);
}

#[test]
fn a_probe_timeout_is_four_times_as_long_before_a_handshake_and_at_most_half_a_period() {
    let mut link = LinkEstimator::new(ms(10));
    (0..200).for_each(|_| link.record_reply(ms(10)));
    let (period, long) = (ms(1_000), ms(100_000));
    let connected = probe_timeout(&link, long, true);
    assert!(connected > ms(10) && connected < ms(100), "{connected:?}");
    assert_eq!(probe_timeout(&link, long, false), connected * 4);
    assert_eq!(probe_timeout(&LinkEstimator::new(ms(5_000)), period, true), period / 2);
}
