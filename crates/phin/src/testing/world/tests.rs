use super::*;

/// Three processes, and what each has received, as text.
struct Three {
    world: World,
    cuts: Cuts,
    now: Instant,
    at: [Endpoint; 3],
}

fn addr(process: usize) -> SocketAddr {
    ([10, 0, 0, u8::try_from(process).unwrap()], 1).into()
}

fn id(process: usize) -> PeerId {
    PeerId::from_bytes([u8::try_from(process).unwrap(); 16])
}

fn peer(process: usize) -> Peer {
    Peer { id: id(process), addr: addr(process) }
}

fn datagram(text: &'static str) -> Message {
    Message::Datagram(text.into())
}

fn stream(text: &'static str) -> Message {
    Message::Stream(StreamMessage { payload: text.into(), bulk: None })
}

impl Three {
    fn new() -> Self {
        let cuts = Cuts::default();
        let mut world = World::new(cuts.clone());
        let at = [0, 1, 2].map(|process| world.listen(addr(process), id(process)).unwrap());
        Self { world, cuts, now: Instant::now(), at }
    }

    fn send(&mut self, from: usize, to: Peer, message: Message) {
        self.world.send(self.now, self.at[from], to, message);
    }

    fn restart(&mut self, process: usize) {
        self.world.kill(self.at[process]);
        self.at[process] = self.world.listen(addr(process), id(process)).unwrap();
    }

    /// Lets time pass until nothing is on its way, for so long at most; returns what this process received.
    fn run(&mut self, process: usize, time: Duration) -> Vec<String> {
        let end = self.now + time;
        let mut received = Vec::new();
        while self.now <= end {
            for (number, &at) in self.at.iter().enumerate() {
                while let Next::Received(item) = self.world.poll(self.now, at) {
                    if number == process {
                        received.push(text(&item));
                    }
                }
            }
            self.now += DELAY;
        }
        received
    }
}

fn text(received: &Received) -> String {
    let number = |peer: &Peer| peer.id.to_bytes()[0];
    match received {
        Received::Datagram { from, payload } | Received::Stream { from, payload } => {
            format!("{}: {}", number(from), String::from_utf8_lossy(payload))
        }
        Received::Connected { peer } => format!("{} connected", number(peer)),
        Received::Disconnected { peer, reason } => format!("{} ended: {reason:?}", number(peer)),
        Received::Unreachable { peer, error } => format!("{} unreachable: {error}", number(peer)),
        Received::PortRefused { peer } => format!("{} refused", number(peer)),
        Received::SendFailed { peer, error, bulk: Some(bulk), .. } => {
            format!("{} not sent #{bulk}: {error}", number(peer))
        }
        Received::SendFailed { peer, error, .. } => format!("{} not sent: {error}", number(peer)),
        other => format!("{other:?}"),
    }
}

const SHORT: Duration = Duration::from_millis(10);
const LONG: Duration = Duration::from_secs(12);

#[test]
fn a_message_without_a_connection_dials_and_arrives_in_order() {
    let mut three = Three::new();
    three.send(0, peer(1), datagram("a"));
    three.send(0, peer(1), stream("b"));
    assert_eq!(three.run(1, SHORT), ["0 connected", "0: a", "0: b"]);
    three.send(1, peer(0), datagram("c"));
    assert_eq!(three.run(0, SHORT), ["1: c"]);
    let stats = three.world.stats(three.at[0]);
    assert_eq!((stats.dials, stats.connections_dialled, stats.connections), (1, 1, 1));
    assert_eq!(three.world.stats(three.at[1]).connections_accepted, 1);
}

#[test]
fn two_that_dial_each_other_are_connected_once() {
    let mut three = Three::new();
    three.send(0, peer(1), datagram("a"));
    three.send(1, peer(0), datagram("b"));
    assert_eq!(three.run(0, SHORT), ["1 connected", "1: b"]);
    three.send(0, peer(1), datagram("c"));
    assert_eq!(three.run(1, SHORT), ["0: c"]);
    three.world.close_peer(three.now, three.at[0], id(1), CloseReason::Dead);
    assert_eq!(three.run(1, SHORT), ["0 ended: Closed(Dead)"]);
}

/// The ends of connections mean the same to the driver as with QUIC: see `closes.txt` of `phin-swim`.
#[test]
fn how_a_connection_ends_is_told_as_quic_tells_it() {
    let connected = || {
        let mut three = Three::new();
        three.send(0, peer(1), datagram("a"));
        three.run(0, SHORT);
        three
    };
    let mut three = connected();
    three.world.close(three.now, three.at[0]);
    assert_eq!(three.run(1, SHORT), ["0 ended: Closed(Shutdown)"]);

    let mut three = connected();
    three.restart(1);
    three.send(0, peer(1), datagram("b"));
    assert_eq!(three.run(0, SHORT), ["1 ended: Reset"]);

    // The process that was started anew dials first.
    let mut three = connected();
    three.restart(1);
    three.send(1, peer(0), datagram("b"));
    assert_eq!(three.run(0, SHORT), ["1: b"]);
    three.send(0, peer(1), datagram("c"));
    assert_eq!(three.run(1, SHORT), ["0: c"]);

    let mut three = connected();
    three.world.kill(three.at[1]);
    three.send(0, peer(1), datagram("b"));
    assert_eq!(three.run(0, LONG), ["1 refused"]);

    let mut three = connected();
    three.cuts.cut(addr(0), addr(1));
    three.send(0, peer(1), datagram("b"));
    three.send(0, peer(1), stream("c"));
    assert_eq!(three.run(0, LONG), ["1 not sent: not delivered in time"]);
    assert_eq!(three.run(1, LONG), [""; 0]);
}

#[test]
fn a_stream_outlasts_a_short_cut_and_a_datagram_does_not() {
    let mut three = Three::new();
    three.send(0, peer(1), datagram("a"));
    three.run(0, SHORT);
    three.cuts.cut(addr(1), addr(0));
    three.send(0, peer(1), datagram("b"));
    three.send(0, peer(1), stream("c"));
    assert_eq!(three.run(1, Duration::from_secs(1)), [""; 0]);
    three.cuts.heal();
    assert_eq!(three.run(1, Duration::from_secs(1)), ["0: c"]);
}

#[test]
fn a_dial_that_fails_is_reported_and_the_next_one_waits() {
    let mut three = Three::new();
    three.world.kill(three.at[1]);
    three.send(0, peer(1), stream("a"));
    let bulk = StreamMessage { payload: "b".into(), bulk: Some(7) };
    three.send(0, peer(1), Message::Stream(bulk));
    let failed = [
        "1 refused",
        "1 unreachable: no answer within the handshake timeout",
        "1 not sent: no connection",
        "1 not sent #7: no connection",
    ];
    assert_eq!(three.run(0, Duration::from_secs(4)), failed);
    three.send(0, peer(1), stream("b"));
    three.run(0, Duration::from_secs(3));
    for _ in 0..2 {
        three.send(0, peer(1), stream("c"));
    }
    assert_eq!(three.run(0, SHORT), ["1 not sent: no connection"; 2], "it backs off");
    three.at[1] = three.world.listen(addr(1), id(1)).unwrap();
    three.now += MAX_BACKOFF;
    three.send(0, peer(1), stream("d"));
    assert_eq!(three.run(1, SHORT), ["0 connected", "0: d"]);
}

#[test]
fn another_one_at_the_address_is_connected_and_told_apart() {
    let mut three = Three::new();
    three.send(0, Peer { id: id(1), addr: addr(2) }, datagram("a"));
    let received = three.run(0, SHORT);
    assert_eq!(received[0], "2 connected");
    assert!(received[1].starts_with("1 unreachable: expected"), "{received:?}");
}

#[test]
fn who_dials_an_address_learns_who_is_there() {
    let mut three = Three::new();
    let dial = |three: &mut Three, to| {
        let result = three.world.dial(three.now, three.at[0], addr(to));
        three.run(0, Duration::from_secs(4));
        { result }.try_recv().unwrap()
    };
    assert_eq!(dial(&mut three, 1), Ok(id(1)));
    assert_eq!(dial(&mut three, 0), Err(DialError::OwnIdentity));
    assert_eq!(dial(&mut three, 9), Err(DialError::PortClosed));
    three.cuts.cut(addr(0), addr(2));
    assert_eq!(dial(&mut three, 2), Err(DialError::TimedOut));
    let twin = three.world.listen(addr(8), id(0)).unwrap();
    let result = three.world.dial(three.now, three.at[0], addr(8));
    three.now += DELAY;
    assert!(matches!(three.world.poll(three.now, twin), Next::Received(_)));
    three.run(0, SHORT);
    assert_eq!({ result }.try_recv().unwrap(), Err(DialError::IdentityInUse));
}

#[test]
fn hosts_answer_for_their_processes() {
    let three = Three::new();
    let answer = |host, question| three.world.host_answer(addr(0), addr(host), question);
    assert_eq!(answer(1, HostQuestion::IsPeerThere), HostAnswer::IsThere);
    assert_eq!(answer(9, HostQuestion::IsPeerThere), HostAnswer::PortRefused);
    assert_eq!(answer(9, HostQuestion::IsThere), HostAnswer::IsThere);
    three.cuts.switch_off(addr(1));
    assert_eq!(answer(1, HostQuestion::IsPeerThere), HostAnswer::Nothing);
    three.cuts.heal();
    assert_eq!(answer(1, HostQuestion::IsThere), HostAnswer::Nothing, "it is still off");
}

#[test]
fn a_way_that_was_given_up_is_dialled_anew() {
    let mut three = Three::new();
    three.send(0, peer(1), datagram("a"));
    three.run(0, SHORT);
    three.world.redial(three.now, three.at[0], peer(1));
    assert_eq!(three.run(0, SHORT), [""; 0], "it leads there");
    three.world.redial(three.now, three.at[0], Peer { id: id(1), addr: addr(9) });
    let lost =
        ["1 ended: PathLost", "1 refused", "1 unreachable: no answer within the handshake timeout"];
    assert_eq!(three.run(0, Duration::from_secs(4)), lost);
    three.now += LONG;
    three.send(0, peer(1), datagram("b"));
    three.run(0, SHORT);
    three.world.give_up_all(three.now, three.at[0]);
    assert_eq!(three.run(0, SHORT), ["1 ended: PathLost"]);
}

#[test]
fn what_waits_for_a_process_that_does_not_run_is_bounded() {
    let mut three = Three::new();
    three.send(0, peer(1), datagram("a"));
    three.run(0, SHORT);
    for _ in 0..MAX_INBOX + 10 {
        three.send(0, peer(1), datagram("b"));
    }
    let stats = three.world.stats(three.at[1]);
    assert_eq!(stats.datagrams_dropped_receive_queue, 10);
    assert_eq!(three.run(1, SHORT).len(), MAX_INBOX);
}
