use super::*;
use crate::{
    Generation, MemberState, Operating, Pulse,
    member::record::tests::id,
    testing::{
        Rooms, at, ms,
        net::{Net, is_part},
        peer,
    },
};

impl Rooms {
    fn ping_all(&mut self, node: u8) -> Result<PingStarted, PingRefusal> {
        let Self { ctx, list, senses, detector: own, path_pings, .. } = self;
        ping_all(&mut Prober { ctx, list, senses, own }, path_pings, id(node), ms(1_000))
    }

    /// Hands this part of a node to the pings. Says whether it answers one.
    fn answer(&mut self, from: u8, part: &Part) -> bool {
        self.path_pings.take_answer(&mut self.ctx, id(from), part)
    }

    fn ack(&mut self, sequence: u32) -> Part {
        let pulse = self.probe().pulse(Sequence(sequence));
        Part::Ack(Pulse { generation: Generation(0), ..pulse })
    }
}

fn indirect_ack(sequence: u32) -> Part {
    Part::IndirectAck { sequence: Sequence(sequence), generation: Generation(0) }
}

/// The outcomes in words: `d` by datagram, `s` by stream, a number through that node.
fn in_words(paths: &[PathPing]) -> Vec<String> {
    let path = |path| match path {
        PingPath::Datagram => "d".to_owned(),
        PingPath::Stream => "s".to_owned(),
        PingPath::Helper(helper) => (0..9).find(|&n| id(n) == helper).unwrap().to_string(),
    };
    let mut words: Vec<_> =
        paths.iter().map(|ping| format!("{} {}", path(ping.path), ping.outcome.as_str())).collect();
    words[2..].sort_unstable();
    words
}

#[test]
fn every_path_of_a_healthy_cluster_answers_at_once() {
    let mut net = Net::new(5);
    let before = net.stats(0);
    let (now, first) = (net.now, &mut net.nodes[0]);
    let started = Operating::of(first, now).ping(id(1), ms(1_000)).unwrap();
    assert_eq!(started.host, Some(peer(1)));
    net.drain(0);
    net.run(ms(10));
    let (node, paths) = net.pinged.pop().unwrap();
    assert_eq!((node, net.pinged.len()), (0, 0));
    assert_eq!(in_words(&paths), ["d ok", "s ok", "2 ok", "3 ok", "4 ok"]);
    // There and back, and by way of another.
    assert_eq!(paths[0].outcome, PingOutcome::Answered(ms(2)));
    assert_eq!(paths[2].outcome, PingOutcome::Answered(ms(4)));
    let after = net.stats(0);
    assert_eq!(after.operator_pings - before.operator_pings, 1);
    assert_eq!(after.late_acks, before.late_acks);
}

#[test]
fn a_path_that_is_cut_is_told_from_the_others_and_is_no_evidence() {
    let mut net = Net::new(5);
    let pair = |from, to| (from, to) == (0, 1) || (from, to) == (1, 0);
    // Only what this is about is lost: pings of the detector are answered, so that nothing else is evidence.
    let mut of_operator = Vec::new();
    net.is_lost = Box::new(move |from, to, payload| {
        if pair(from, to) && is_part(payload, |part| matches!(part, Part::Ping(_))) {
            of_operator.push(payload.to_vec());
            return from == 0 && of_operator.len() <= 2;
        }
        // The word of node 2 never comes.
        (from, to) == (2, 0) && is_part(payload, |part| matches!(part, Part::IndirectAck { .. }))
    });
    let (before, now) = (net.stats(0), net.now);
    Operating::of(&mut net.nodes[0], now).ping(id(1), ms(1_500)).unwrap();
    net.drain(0);
    net.run(ms(1_499));
    assert!(net.pinged.is_empty(), "some path has no outcome yet");
    net.run(ms(1));
    let (_, paths) = net.pinged.pop().unwrap();
    assert_eq!(in_words(&paths), ["d timeout", "s timeout", "2 timeout", "3 ok", "4 ok"]);
    net.heal();
    net.run(ms(2_000));
    let after = net.stats(0);
    assert_eq!((after.pings_missed, after.accusations), (before.pings_missed, before.accusations));
    let (why, members) = (net.nodes[0].why(net.now, id(1)), net.nodes[0].members());
    assert!(why.is_none(), "{why:?}");
    assert_eq!(members.get(id(1)).unwrap().state(), MemberState::Alive);
}

#[test]
fn only_those_that_were_asked_answer() {
    let mut rooms = Rooms::of(4);
    rooms.ping_all(1).unwrap();
    let sent = rooms.effects();
    assert_eq!(sent[..2], ["to n1: ping seq=1", "by stream to n1: ping seq=2"]);
    let helper = |sequence: u32| {
        let asked = format!("ping-req seq={sequence} target=n1");
        let line = sent.iter().find(|line| line.ends_with(&asked)).unwrap();
        line.as_bytes()[4] - b'0'
    };
    let (third, fourth) = (helper(3), helper(4));
    assert_eq!([third, fourth].iter().map(|&n| u32::from(n)).sum::<u32>(), 5, "{sent:?}");
    let ack = rooms.ack(1);
    let others = [
        (2, ack.clone()),
        (1, rooms.ack(9)),
        (1, rooms.ack(3)),
        (1, indirect_ack(1)),
        (1, indirect_ack(3)),
        (fourth, indirect_ack(3)),
        (third, indirect_ack(4)),
        (third, Part::Nack { sequence: Sequence(4) }),
        (1, Part::PingReq { sequence: Some(Sequence(1)), target: id(2), nonce: None }),
    ];
    for (from, part) in others {
        assert!(!rooms.answer(from, &part), "{from} {part:?}");
    }
    assert!(rooms.effects().is_empty());
    assert!(rooms.at(10_007).answer(1, &ack));
    assert_eq!(rooms.effects(), [format!("Heard {{ id: n1, at: {:?} }}", at(10_000))]);
    // A helper that gave up may still reach it, and what it said once is not taken back.
    assert!(rooms.answer(third, &Part::Nack { sequence: Sequence(3) }));
    assert!(rooms.at(10_009).answer(third, &indirect_ack(3)));
    assert!(rooms.at(10_100).answer(third, &Part::Nack { sequence: Sequence(3) }));
    assert!(rooms.answer(fourth, &Part::Nack { sequence: Sequence(4) }));
    rooms.effects();
    let last = rooms.ack(2);
    assert!(rooms.answer(1, &last));
    rooms.run();
    let Some(Output::Pinged { paths, .. }) = rooms.outputs.pop_back() else {
        panic!("it is over");
    };
    let outcomes: Vec<_> = paths.iter().map(|ping| ping.outcome).collect();
    let answered = |millis| PingOutcome::Answered(ms(millis));
    assert_eq!(outcomes, [answered(7), answered(100), answered(9), PingOutcome::NotReached]);
    // A later answer is for nobody here, and the timer has nothing to end.
    assert!(!rooms.answer(1, &ack));
    rooms.path_pings.end(&mut rooms.ctx, PingId(1));
    assert!(rooms.effects().is_empty());
}

#[test]
fn a_connection_that_cannot_be_made_ends_its_paths() {
    let mut rooms = Rooms::of(3);
    rooms.measure(2);
    rooms.put(1, MemberState::Dead, 0);
    rooms.ping_all(1).unwrap();
    rooms.effects();
    rooms.path_pings.record_unreachable(&mut rooms.ctx, id(1), Unreachable::Refused);
    assert!(rooms.effects().is_empty(), "the helper has not answered");
    rooms.answer(2, &Part::Nack { sequence: Sequence(3) });
    rooms.run();
    let Some(Output::Pinged { paths, .. }) = rooms.outputs.pop_back() else {
        panic!("it is over");
    };
    assert_eq!(in_words(&paths), ["d port-refused", "s port-refused", "2 not-reached"]);
    assert_eq!(
        paths.iter().map(|ping| ping.is_connected).collect::<Vec<_>>(),
        [false, false, true]
    );
}

#[test]
fn pings_are_limited_and_checked() {
    let mut rooms = Rooms::of(40);
    for (node, expected) in [(0, PingRefusal::Myself), (99, PingRefusal::Unknown)] {
        assert_eq!(rooms.ping_all(node), Err(expected));
    }
    for _ in 0..AT_ONCE {
        rooms.effects();
        rooms.ping_all(1).unwrap();
    }
    let asked = rooms.effects().iter().filter(|line| line.contains("ping-req")).count();
    assert_eq!(asked, MAX_HELPERS);
    assert_eq!(rooms.ping_all(1), Err(PingRefusal::TooMany));
    assert_eq!(rooms.ctx.stats.operator_pings_refused, 1);
    for second in 11..15 {
        rooms.at(second * 1_000).ping_all(2).unwrap();
    }
    assert_eq!(rooms.path_pings.pings.len(), MAX_PINGS);
    assert_eq!(rooms.at(60_000).ping_all(2), Err(PingRefusal::TooMany), "all are under way");
}
