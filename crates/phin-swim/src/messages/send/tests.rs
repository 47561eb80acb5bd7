use super::*;
use crate::{
    Change, Member, News,
    member::record::tests::{id, record, version},
    testing::{Rooms, at, member, ms, peer},
    wire::WIRE_VERSION,
};

fn request(node: u8, body: &[u8]) -> SendRequest {
    SendRequest::new(id(node), "news".parse().unwrap(), body)
}

fn send(rooms: &mut Rooms, node: u8) -> Result<Ticket, SendRefusal> {
    rooms.sender().send(request(node, b"hello"), ms(1_000))
}

/// A message with this ticket from a member to this run of node 0.
fn sent(ticket: Option<u64>, to: u32) -> SentBody {
    let (topic, body) = ("news".parse().unwrap(), b"hello"[..].into());
    SentBody { ticket: ticket.map(Ticket), from: Generation(7), to: Generation(to), topic, body }
}

/// The receipt of what arrived last.
fn receipt(rooms: &mut Rooms) -> Receipt {
    match rooms.ctx.next_effect() {
        Some(crate::ctx::Effect::Output(Output::Sent { receipt: Some(receipt), .. })) => receipt,
        effect => panic!("a message with a receipt, not {effect:?}"),
    }
}

/// A change of a member, known in this generation.
fn change(rooms: &mut Rooms, node: u8, generation: u32, state: MemberState) {
    let news = News::Record { record: record(node, version(generation, 1)), state };
    rooms.apply(news, crate::Source::Ourselves);
}

/// How the messages ended, with what else was asked for left out.
fn ended(rooms: &mut Rooms) -> Vec<String> {
    rooms.run();
    let outputs = rooms.outputs.drain(..).collect::<Vec<_>>();
    outputs.into_iter().for_each(|output| rooms.ctx.output(output));
    rooms.effects().into_iter().filter(|effect| effect.starts_with("ended")).collect()
}

#[test]
fn a_message_ends_with_the_first_answer_of_the_member_that_it_was_sent_to() {
    let (taken, full) = (Answer::Taken, Answer::QueueFull);
    // The node that answers, its answer, and the result of the message.
    let cases = [
        (vec![(1, taken)], "ended #1 taken", 0),
        (vec![(1, full)], "ended #1 queue-full", 0),
        (vec![(1, Answer::NoReceiver)], "ended #1 no-receiver", 0),
        (vec![(1, Answer::Restarted)], "ended #1 restarted", 0),
        (vec![(1, Answer::Unknown)], "ended #1 refused", 0),
        (vec![(1, taken), (1, full)], "ended #1 taken", 1),
        (vec![(2, taken), (9, taken), (1, full)], "ended #1 queue-full", 2),
    ];
    for (answers, expected, ignored) in cases {
        let mut rooms = Rooms::of(3);
        let ticket = send(&mut rooms, 1).unwrap();
        assert_eq!(
            rooms.effects(),
            ["message to n1: send #1 to r0 topic=news bytes=5; entry n0 v0.0 alive"]
        );
        for &(node, answer) in &answers {
            rooms.sender().handle_ack(id(node), ticket, answer);
        }
        assert_eq!(ended(&mut rooms), [expected], "{answers:?}");
        assert_eq!(rooms.ctx.stats.send_acks_ignored, ignored, "{answers:?}");
        assert!(rooms.sends.waiting.is_empty());
    }
}

#[test]
fn an_answer_to_another_run_of_this_node_fits_no_message() {
    let mut rooms = Rooms::of(2);
    let before = send(&mut rooms, 1).unwrap();
    let mut rooms = Rooms::of(2);
    rooms.list.put(Member { record: record(0, version(1, 0)), ..member(0, MemberState::Alive, 0) });
    let after = send(&mut rooms, 1).unwrap();
    assert_ne!(before, after);
    rooms.sender().handle_ack(id(1), before, Answer::Taken);
    assert_eq!(ended(&mut rooms), [""; 0]);
}

#[test]
fn what_becomes_of_the_member_ends_its_messages_and_no_others() {
    use MemberState::{Alive, Dead, Left, Suspect};
    // The generation and state in which the member is listed, and how that ends a message to generation 2 of it.
    let cases = [
        (2, Suspect, None),
        (2, Alive, None),
        (2, Dead, Some("ended #1 dead")),
        (2, Left, Some("ended #1 left")),
        (3, Alive, Some("ended #1 restarted")),
        (3, Dead, Some("ended #1 restarted")),
    ];
    for (generation, state, expected) in cases {
        let mut rooms = Rooms::of(3);
        change(&mut rooms, 1, 2, Alive);
        rooms.run();
        send(&mut rooms, 1).unwrap();
        send(&mut rooms, 2).unwrap();
        change(&mut rooms, 1, generation, state);
        assert_eq!(ended(&mut rooms), Vec::from_iter(expected), "r{generation} {state}");
        assert_eq!(rooms.sends.waiting.len(), if expected.is_some() { 1 } else { 2 });
    }
}

#[test]
fn a_message_to_a_run_that_is_not_known_yet_outlives_the_one_before() {
    use MemberState::{Alive, Dead};
    let mut rooms = Rooms::of(2);
    rooms.put(1, Dead, 0);
    let later = SendRequest { generation: Some(Generation(1)), ..request(1, b"") };
    rooms.sender().send(later, ms(1_000)).unwrap();
    change(&mut rooms, 1, 0, Dead);
    assert_eq!(ended(&mut rooms), [""; 0]);
    change(&mut rooms, 1, 1, Alive);
    assert_eq!(ended(&mut rooms), [""; 0]);
    change(&mut rooms, 1, 1, Dead);
    assert_eq!(ended(&mut rooms), ["ended #1 dead"]);
}

#[test]
fn a_message_to_a_member_that_is_forgotten_ends() {
    let mut rooms = Rooms::of(2);
    rooms.put(1, MemberState::Dead, 0);
    let later = SendRequest { generation: Some(Generation(1)), ..request(1, b"") };
    rooms.sender().send(later, ms(1_000)).unwrap();
    rooms.apply(News::Forgotten(id(1)), crate::Source::Ourselves);
    assert_eq!(ended(&mut rooms), ["ended #1 forgotten"]);
}

#[test]
fn without_an_answer_a_message_ends_at_its_deadline() {
    let mut rooms = Rooms::of(2);
    let ticket = send(&mut rooms, 1).unwrap();
    let deadline = at(11_000);
    assert_eq!(rooms.ctx.timers.pop_due(at(10_999)), None);
    assert_eq!(rooms.ctx.timers.pop_due(deadline), Some(Timer::SendDeadline(ticket)));
    let Rooms { ctx, sends, .. } = &mut rooms;
    sends.expire(ctx, ticket);
    // A late answer changes nothing, nor does a timer that fires again.
    rooms.sender().handle_ack(id(1), ticket, Answer::Taken);
    let Rooms { ctx, sends, .. } = &mut rooms;
    sends.expire(ctx, ticket);
    assert_eq!(ended(&mut rooms), ["ended #1 timed-out"]);
    assert_eq!(rooms.ctx.stats.send_acks_ignored, 1);
    // The deadline of a message that has its answer wakes nobody.
    let mut rooms = Rooms::of(2);
    let before = rooms.ctx.timers.next();
    let ticket = send(&mut rooms, 1).unwrap();
    rooms.sender().handle_ack(id(1), ticket, Answer::Taken);
    assert_eq!(rooms.ctx.timers.next(), before);
}

#[test]
fn each_end_is_counted() {
    let mut rooms = Rooms::of(2);
    for answer in [Answer::Taken, Answer::Taken, Answer::NoReceiver, Answer::Unknown] {
        let ticket = send(&mut rooms, 1).unwrap();
        rooms.sender().handle_ack(id(1), ticket, answer);
    }
    let expected = SendStats { taken: 2, no_receiver: 1, refused: 1, ..SendStats::default() };
    assert_eq!(rooms.ctx.stats.sends, expected);
}

#[test]
fn a_message_that_cannot_be_sent_is_refused_at_the_call() {
    use MemberState::{Alive, Dead, Left, Suspect};
    // The state of the member, the generation named (it is in generation 0), and the refusal.
    let cases = [
        (Alive, None, Ok(())),
        (Suspect, None, Ok(())),
        (Alive, Some(0), Ok(())),
        (Dead, None, Err(SendRefusal::Dead)),
        (Left, None, Err(SendRefusal::Left)),
        (Dead, Some(0), Err(SendRefusal::Dead)),
        (Left, Some(1), Ok(())),
    ];
    for (state, generation, expected) in cases {
        let mut rooms = Rooms::of(2);
        rooms.put(1, state, 0);
        let request = SendRequest { generation: generation.map(Generation), ..request(1, b"") };
        let result = rooms.sender().send(request.clone(), ms(1));
        assert_eq!(result.map(drop), expected, "{state} {generation:?}");
        assert_eq!(rooms.sender().send_datagram(request), expected, "{state} {generation:?}");
    }
    let mut rooms = Rooms::of(2);
    assert_eq!(send(&mut rooms, 9), Err(SendRefusal::NotAMember));
    change(&mut rooms, 1, 3, Alive);
    rooms.run();
    let earlier = SendRequest { generation: Some(Generation(2)), ..request(1, b"") };
    assert_eq!(rooms.sender().send(earlier, ms(1)), Err(SendRefusal::Restarted));
    rooms.put(0, Left, 0);
    assert_eq!(send(&mut rooms, 1), Err(SendRefusal::Departed));
}

#[test]
fn the_longest_body_is_sent_and_a_longer_one_refused() {
    let mut rooms = Rooms::of(2);
    let longest = vec![0; Message::MAX_SENT_BYTES];
    rooms.sender().send(request(1, &longest), ms(1)).unwrap();
    let longer = vec![0; Message::MAX_SENT_BYTES + 1];
    let (bytes, max_bytes) = (longer.len(), longest.len());
    let refused = rooms.sender().send(request(1, &longer), ms(1));
    assert_eq!(refused, Err(SendRefusal::TooLong { bytes, max_bytes }));
}

#[test]
fn a_datagram_holds_just_what_is_said() {
    let mut rooms = Rooms::of(2);
    let too_long = request(1, &[0; 2_000]);
    let refused = rooms.sender().send_datagram(too_long).unwrap_err();
    let SendRefusal::TooLong { bytes: 2_000, max_bytes } = refused else {
        panic!("too long, not {refused}")
    };
    let longest = request(1, &vec![0; max_bytes]);
    rooms.sender().send_datagram(longest).unwrap();
    let Some(crate::ctx::Effect::Output(Output::Datagram { payload, .. })) =
        rooms.ctx.next_effect()
    else {
        panic!("a datagram is sent")
    };
    assert_eq!(payload[0], WIRE_VERSION);
    // The generations of a later run need up to eight bytes more.
    let max = rooms.ctx.params.max_datagram_bytes;
    assert!((max - 8..=max).contains(&payload.len()), "{}", payload.len());
}

#[test]
fn only_so_many_messages_wait_for_an_answer() {
    let mut rooms = Rooms::of(100);
    let refused = |max| Err(SendRefusal::TooMany { max });
    let first = send(&mut rooms, 1).unwrap();
    (1..MAX_SENDS_TO_ONE).for_each(|_| _ = send(&mut rooms, 1).unwrap());
    assert_eq!(send(&mut rooms, 1), refused(MAX_SENDS_TO_ONE));
    for node in 2..33 {
        (0..MAX_SENDS_TO_ONE).for_each(|_| _ = send(&mut rooms, node).unwrap());
    }
    assert_eq!(send(&mut rooms, 40), refused(MAX_SENDS));
    rooms.sender().handle_ack(id(1), first, Answer::Taken);
    send(&mut rooms, 40).unwrap();
}

#[test]
fn messages_that_wait_have_only_so_many_bytes() {
    let mut rooms = Rooms::of(9);
    let half = vec![0; MAX_SEND_BYTES_TO_ONE / 2];
    let mut send = |node, body: &[u8]| rooms.sender().send(request(node, body), ms(1));
    let refused = |max_bytes| Err(SendRefusal::TooManyBytes { max_bytes });
    for node in 1..=4 {
        send(node, &half).unwrap();
        send(node, &half).unwrap();
    }
    assert_eq!(send(4, b"x"), refused(MAX_SEND_BYTES));
    send(5, b"").unwrap();
    let mut rooms = Rooms::of(2);
    let mut send = |body: &[u8]| rooms.sender().send(request(1, body), ms(1));
    send(&half).unwrap();
    send(&half).unwrap();
    assert_eq!(send(b"x"), refused(MAX_SEND_BYTES_TO_ONE));
}

#[test]
fn datagrams_have_a_rate() {
    let mut rooms = Rooms::of(3);
    let mut sent_at = |millis| {
        rooms.at(millis);
        let node = 1 + (millis % 2) as u8;
        (0..1_000).take_while(|_| rooms.sender().send_datagram(request(node, b"")).is_ok()).count()
    };
    assert_eq!(sent_at(10_000), 32);
    assert_eq!(sent_at(10_001), 0);
    let in_a_second: usize = (1..=1_000).map(|millis| sent_at(10_001 + millis)).sum();
    assert!((255..=256).contains(&in_a_second), "{in_a_second}");
    assert_eq!(sent_at(60_000), 32);
    let busy = rooms.sender().send_datagram(request(1, b""));
    assert_eq!(busy, Err(SendRefusal::Busy { per_second: 256 }));
}

#[test]
fn a_message_arrives_with_what_the_answer_needs() {
    let answers = [
        (Ok(()), "taken"),
        (Err(NotTaken::QueueFull), "queue-full"),
        (Err(NotTaken::NoReceiver), "no-receiver"),
    ];
    for (result, word) in answers {
        let mut rooms = Rooms::of(2);
        rooms.sender().handle_send(peer(1), sent(Some(5), 0));
        let receipt = receipt(&mut rooms);
        rooms.sender().handle_receipt(receipt, result);
        assert_eq!(rooms.effects(), [format!("by stream to n1: send-ack #5 {word}")]);
    }
    let mut rooms = Rooms::of(2);
    rooms.sender().handle_send(peer(1), sent(None, 0));
    assert_eq!(rooms.effects(), ["message of n1 news: hello, no answer wanted"]);
}

#[test]
fn a_message_for_another_run_or_of_no_member_is_not_delivered() {
    for (ticket, expected) in
        [(Some(5), vec!["by stream to n1: send-ack #5 restarted"]), (None, vec![])]
    {
        let mut rooms = Rooms::of(2);
        rooms.sender().handle_send(peer(1), sent(ticket, 1));
        assert_eq!(rooms.effects(), expected);
        assert_eq!(rooms.ctx.stats.messages_of_other_runs, 1);
    }
    let mut rooms = Rooms::of(2);
    rooms.sender().handle_send(peer(9), sent(Some(5), 0));
    assert_eq!((rooms.effects(), rooms.ctx.stats.unknown_senders), (Vec::new(), 1));
}

#[test]
fn a_message_to_this_node_itself_is_delivered_at_once() {
    let mut rooms = Rooms::of(1);
    send(&mut rooms, 0).unwrap();
    let receipt = receipt(&mut rooms);
    rooms.sender().handle_receipt(receipt, Err(NotTaken::QueueFull));
    assert_eq!(rooms.effects(), ["ended #1 queue-full"]);
    rooms.sender().send_datagram(request(0, b"hello")).unwrap();
    assert_eq!(rooms.effects(), ["message of n0 news: hello, no answer wanted"]);
}

#[test]
fn messages_disturb_neither_events_nor_the_list() {
    let mut rooms = Rooms::of(2);
    send(&mut rooms, 1).unwrap();
    change(&mut rooms, 1, 0, MemberState::Dead);
    rooms.run();
    let changes = rooms.outputs.iter().filter_map(|output| match output {
        Output::Event(event) => Some(event.change),
        _ => None,
    });
    assert_eq!(changes.collect::<Vec<_>>(), [Change::Dead]);
}
