use std::{
    net::{Ipv6Addr, SocketAddr},
    sync::Arc,
};

use super::*;
use crate::{
    Config, Generation, Local, MemberState, Name, Swim, Template,
    member::record::tests::{TestKeys, id_of},
    sync::budget::{BUDGET_WINDOW, LIST_BYTES_PER_SECOND, MAX_PAGE_BYTES},
    testing::{self, Rooms, at},
    wire,
};

/// A member with the longest name, and as many addresses as it may have.
fn local(number: u32) -> Local {
    let name = Name::try_from(format!("{number:0>64}").as_str()).unwrap();
    let addr = |port| SocketAddr::new(Ipv6Addr::from(u128::MAX - u128::from(number)).into(), port);
    Local::new(name, (1..=4).map(addr).collect(), Generation(0))
}

fn swim(number: u32, config: Config) -> Swim {
    let keys = Arc::new(TestKeys(number));
    Swim::new(Instant::START, local(number), config, keys, number.into()).unwrap()
}

fn peer(number: u32) -> Peer {
    Peer { id: id_of(number), addr: local(number).addrs[0] }
}

/// A core that has long known so many members.
fn acquainted(members: u32, config: Config) -> Swim {
    let all = (0..members).map(|number| (local(number), TestKeys(number)));
    let template = Template::new(&config, all).unwrap();
    let mut swim = swim(0, config);
    template.give_to(&mut swim);
    swim
}

/// The streams that a core sends, by receiver.
fn streams(swim: &mut Swim) -> Vec<(MemberId, Vec<u8>)> {
    let outputs = std::iter::from_fn(|| swim.poll_output());
    let streams = outputs.filter_map(|output| match output {
        Output::Stream { to, payload } => Some((to.id, payload)),
        _ => None,
    });
    streams.collect()
}

fn parts(payload: &[u8]) -> Vec<Part> {
    wire::decode(payload, &TestKeys(0)).unwrap().parts
}

/// The request of a member that is not started.
fn request(number: u32) -> Vec<u8> {
    let mut joiner = swim(number, Config::lan());
    joiner.join(Instant::START, peer(0));
    streams(&mut joiner).remove(0).1
}

#[test]
fn a_list_longer_than_a_stream_arrives_page_by_page_and_is_not_told_on() {
    let members = 50_000;
    let mut seed = acquainted(members, Config::lan());
    let mut joiner = swim(members, Config::lan());
    let now = Instant::START;
    joiner.join(now, peer(0));
    let (mut pages, mut is_joiners_turn) = (0, true);
    loop {
        let (from, to, sender) = match is_joiners_turn {
            true => (&mut joiner, &mut seed, peer(members)),
            false => (&mut seed, &mut joiner, peer(0)),
        };
        let sent = streams(from);
        if sent.is_empty() {
            break;
        }
        for (receiver, payload) in sent {
            assert!(receiver == to.id() && payload.len() <= MAX_PAGE_BYTES, "{}", payload.len());
            pages += usize::from(payload.len() > 1024 * 1024);
            to.handle_stream(now, sender, &payload);
        }
        is_joiners_turn = !is_joiners_turn;
    }
    assert_eq!(joiner.fingerprint(), seed.fingerprint());
    assert!(pages >= 3, "{pages} pages");
    // Everybody there knows all of it: the newcomer is the only news.
    let pushed = joiner.poll_timeout();
    let datagrams = |swim: &mut Swim| {
        swim.handle_timeout(now + Duration::from_secs(3));
        let outputs: Vec<_> = std::iter::from_fn(|| swim.poll_output()).collect();
        outputs.into_iter().filter(|output| matches!(output, Output::Datagram { .. })).count()
    };
    assert!(pushed.is_some() && datagrams(&mut joiner) < 100);
}

#[test]
fn what_joiners_are_told_in_a_second_is_bounded_and_who_comes_too_late_is_not_taken() {
    let (members, joiners) = (10_000, 60);
    let mut seed = acquainted(members, Config::lan());
    let second = BUDGET_WINDOW;
    let mut served = Vec::new();
    for now in [Instant::START, Instant::START + second * 3] {
        let (mut bytes, mut admitted) = (0, 0);
        for joiner in members..members + joiners {
            seed.handle_stream(now, peer(joiner), &request(joiner));
            let known = seed.core.list.get(peer(joiner).id).is_some();
            for (_, payload) in streams(&mut seed) {
                bytes += payload.len();
                match &parts(&payload)[0] {
                    Part::JoinReply(Ok(())) => admitted += 1,
                    Part::JoinReply(Err(JoinRefusal::Busy)) if now == Instant::START => {
                        assert!(!known, "it was refused, and is in the list");
                    }
                    Part::JoinReply(Err(JoinRefusal::Busy)) => {}
                    other => panic!("{other:?}"),
                }
            }
        }
        assert!((bytes as f64) < LIST_BYTES_PER_SECOND + MAX_PAGE_BYTES as f64 + 1e5, "{bytes}");
        served.push(admitted);
    }
    assert!(served.iter().all(|&served| (5..joiners).contains(&served)), "{served:?}");
    assert_eq!(seed.stats().joins_busy, u64::from(2 * joiners - served.iter().sum::<u32>()));
}

#[test]
fn who_asks_a_busy_member_asks_again_and_is_told_in_the_end() {
    let mut joiner = swim(1, Config::lan());
    joiner.join(Instant::START, peer(0));
    let busy = Payload::of(&Part::JoinReply(Err(JoinRefusal::Busy))).into_bytes();
    let (mut now, mut asked) = (Instant::START, 0);
    loop {
        let outputs: Vec<_> = std::iter::from_fn(|| joiner.poll_output()).collect();
        if let Some(Output::JoinEnded { result, .. }) =
            outputs.iter().find(|output| matches!(output, Output::JoinEnded { .. }))
        {
            assert_eq!(*result, Err(JoinRefusal::Busy));
            break;
        }
        if outputs.iter().any(|output| matches!(output, Output::Stream { .. })) {
            asked += 1;
            joiner.handle_stream(now, peer(0), &busy);
        } else {
            now = joiner.poll_timeout().unwrap().max(now);
            joiner.handle_timeout(now);
        }
    }
    assert_eq!(asked, MAX_TIMES_BUSY + 1);
    assert!(now - Instant::START < Duration::from_secs(12), "{now}");
}

/// Node 0 receives this from node 1, by the channel that it came by.
fn origin(source: Source) -> Origin {
    Origin { peer: testing::peer(1), channel: Channel::Stream, source }
}

fn gossip() -> Source {
    Source::Gossip(testing::peer(1))
}

fn welcome() -> Source {
    Source::Welcome(testing::peer(1))
}

/// The rooms of a node that has asked node 1 to admit it.
fn joining() -> (Rooms, Joins) {
    let (mut rooms, mut joins) = (Rooms::of(1), Joins::default());
    joins.ask(&mut rooms.ctx, &rooms.list, testing::peer(1));
    assert_eq!(rooms.effects(), ["by stream to n1: join; entry n0 v0.0 alive"]);
    (rooms, joins)
}

fn is_welcomed(joins: &Joins, now: Instant, node: u8) -> bool {
    joins.is_welcomed_by(now, testing::peer(node).id)
}

#[test]
fn an_answer_ends_a_join_unless_the_member_is_busy() {
    let reply = |result| {
        let (mut rooms, mut joins) = joining();
        joins.handle_reply(&mut rooms.ctx, origin(gossip()), result);
        let is_asked = joins.is_asked(testing::peer(1).id);
        (rooms.effects().join("; "), is_asked, rooms.ctx.timers.next().is_some())
    };
    let ended = |result: &str| format!("JoinEnded {{ through: n1, result: {result} }}");
    let refused = |refusal: &str| {
        (format!("ConfirmDeparture(n1); {}", ended(&format!("Err({refusal})"))), false, false)
    };
    assert_eq!(reply(Ok(())), (format!("{}; Exchange(n1)", ended("Ok(())")), false, false));
    assert_eq!(reply(Err(JoinRefusal::Full)), refused("Full"));
    assert_eq!(reply(Err(JoinRefusal::Leaving)), refused("Leaving"));
    assert_eq!(reply(Err(JoinRefusal::Busy)), (String::new(), true, true));
}

#[test]
fn an_answer_that_was_not_asked_for_is_dropped() {
    let (mut rooms, mut joins) = joining();
    joins.give_up(testing::peer(1).id);
    joins.handle_reply(&mut rooms.ctx, origin(welcome()), Ok(()));
    assert_eq!((rooms.effects().len(), rooms.ctx.stats.misdirected_messages), (0, 1));
    assert!(!is_welcomed(&joins, rooms.ctx.now, 1));
}

#[test]
fn a_busy_member_is_asked_again_in_its_time_unless_this_node_leaves() {
    for is_leaving in [false, true] {
        let (mut rooms, mut joins) = joining();
        let mut departure = Departure::default();
        let again = |rooms: &mut Rooms, joins: &mut Joins, departure: &Departure| {
            joins.ask_again(&mut rooms.ctx, &rooms.list, departure, testing::peer(1).id);
            rooms.effects().join("; ")
        };
        assert_eq!(again(&mut rooms, &mut joins, &departure), "", "nobody was busy");
        joins.handle_reply(&mut rooms.ctx, origin(gossip()), Err(JoinRefusal::Busy));
        assert_eq!(again(&mut rooms, &mut joins, &departure), "", "too early");
        rooms.ctx.now = rooms.ctx.timers.next().unwrap();
        if is_leaving {
            let Rooms { ctx, list, senses, .. } = &mut rooms;
            departure.start(ctx, list, &mut senses.pings, joins.asked());
            rooms.effects();
        }
        let expected = match is_leaving {
            false => "by stream to n1: join; entry n0 v0.0 alive",
            true => "ConfirmDeparture(n1); JoinEnded { through: n1, result: Err(Busy) }",
        };
        assert_eq!(again(&mut rooms, &mut joins, &departure), expected);
        assert_eq!(again(&mut rooms, &mut joins, &departure), "", "once");
    }
}

#[test]
fn only_a_node_that_is_alone_is_welcomed() {
    let admitted = Part::JoinReply(Ok(()));
    let refused = Part::JoinReply(Err(JoinRefusal::Full));
    // How many members are known, what else the payload asks, how its updates came.
    let cases = [
        (1, &admitted, welcome()),
        (2, &admitted, gossip()),
        (1, &refused, gossip()),
        (1, &Part::Join, gossip()),
    ];
    for (members, asked, expected) in cases {
        let (rooms, joins) = (Rooms::of(members), Joins::default());
        let asked = std::slice::from_ref(asked);
        let from = (testing::peer(1), Channel::Stream);
        let found = joins.source_of(rooms.ctx.now, &rooms.list, from, asked);
        assert_eq!(found, expected, "{members} {asked:?}");
    }
}

#[test]
fn further_pages_count_as_the_welcome_until_the_last_or_for_so_long() {
    let (mut rooms, mut joins) = joining();
    joins.handle_reply(&mut rooms.ctx, origin(welcome()), Ok(()));
    rooms.put(1, MemberState::Alive, 0);
    // The sender, the channel, the delay in milliseconds, and whether it is part of the welcome.
    let cases = [
        (1, Channel::Stream, 0, true),
        (1, Channel::Stream, 9_999, true),
        (1, Channel::Stream, 10_000, false),
        (1, Channel::Datagram, 0, false),
        (2, Channel::Stream, 0, false),
    ];
    for (from, channel, after, expected) in cases {
        let from = (testing::peer(from), channel);
        let found = joins.source_of(at(10_000 + after), &rooms.list, from, &[]);
        assert_eq!(matches!(found, Source::Welcome(_)), expected, "{from:?} {after}");
    }
    // Each page that leaves something to ask for gives as much time again, the last none.
    joins.turn_page(at(15_000), testing::peer(2).id, true);
    assert!(is_welcomed(&joins, at(15_000), 1));
    joins.turn_page(at(15_000), testing::peer(1).id, false);
    assert!(is_welcomed(&joins, at(24_999), 1) && !is_welcomed(&joins, at(25_000), 1));
    joins.turn_page(at(16_000), testing::peer(1).id, true);
    assert!(!is_welcomed(&joins, at(16_000), 1));
}

#[test]
fn a_node_that_is_not_alone_is_not_welcomed_by_further_pages_either() {
    let (mut rooms, mut joins) = joining();
    joins.handle_reply(&mut rooms.ctx, origin(gossip()), Ok(()));
    assert!(!is_welcomed(&joins, rooms.ctx.now, 1));
}
