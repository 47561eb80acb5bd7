use std::collections::BTreeSet;

use super::*;
use crate::{
    Config, Generation, QueryId, QueryOutcome, QueryRequest, Select,
    member::{
        record::tests::{TestKeys, record, version},
        transition::News,
    },
    publish::publication::PublishRequest,
    query::request::QueryHeader,
    step::Source,
    testing::{
        Rooms, at, ms,
        net::{Net, is_part},
        peer,
    },
};

const KEY: QueryId = QueryId(5);

fn key(caller: u8) -> QueryKey {
    QueryKey { caller: peer(caller).id, generation: Generation(0), id: KEY }
}

fn ask(to_generation: u32, generation: u32) -> QueryAsk {
    QueryAsk {
        id: KEY,
        generation: Generation(generation),
        to_generation: Generation(to_generation),
        within: ms(1_000),
        topic: "topic".parse().unwrap(),
        body: b"body"[..].into(),
    }
}

fn published(caller: u8, targets: Vec<MemberId>, filter: &str) -> Publication {
    let mut content = PublishRequest::new("topic".parse().unwrap(), b"body".as_slice());
    content.filter = filter.parse().unwrap();
    let header = QueryHeader { id: KEY, within: ms(1_000), targets };
    let (numbers, keys) = ((Generation(0), 1, 0), TestKeys(caller.into()));
    Publication::sign(peer(caller).id, numbers, (content, Some(header)), &keys)
}

fn way(node: u8, hops: u8) -> Way {
    Way { peer: peer(node), hops }
}

fn reply(caller: u8, node: u8, bytes: usize) -> Reply {
    let answer = QueryAnswer::Reply(vec![0; bytes].into());
    Reply::sign(key(caller), (peer(node).id, Generation(0)), answer, &TestKeys(node.into()))
}

fn replies(caller: u8, replies: Vec<Reply>) -> QueryReplies {
    QueryReplies { key: key(caller), replies }
}

impl Rooms {
    /// A query of node 9 came by these ways.
    fn passing(&mut self, ways: &[Way]) {
        let publication = published(9, Vec::new(), "");
        self.replier().handle_published(ways.first().copied(), &publication);
        for &way in &ways[1..] {
            self.replier().handle_repeated(Some(way), &publication);
        }
        self.effects();
    }

    /// Where the answer of this node goes.
    fn answer_goes_to(&mut self) -> Vec<String> {
        self.replier().answer(QueryToken(key(9)), QueryAnswer::NoHandler).unwrap();
        self.effects()
    }
}

#[test]
fn a_member_asks_its_application_once_and_only_in_the_run_that_was_asked() {
    let mut rooms = Rooms::of(4);
    let cases = [((1, 0), 0, 1), ((0, 0), 1, 1), ((0, 0), 0, 1), ((0, 1), 1, 1)];
    rooms.replier().handle_ask(peer(1), ask(1, 0));
    assert_eq!((rooms.effects().len(), rooms.ctx.stats.queries_of_other_runs), (0, 1));
    for ((to, from), asked, of_other_runs) in cases.into_iter().skip(1) {
        rooms.replier().handle_ask(peer(1), ask(to, from));
        assert_eq!(rooms.effects().len(), asked, "{to} {from}");
        assert_eq!(rooms.ctx.stats.queries_of_other_runs, of_other_runs, "{to} {from}");
    }
    // A member that is not in the list yet is answered, too; an earlier run of one that is there is not.
    rooms.replier().handle_ask(peer(77), ask(0, 0));
    assert_eq!(rooms.effects().len(), 1);
    rooms.list.put(crate::Member {
        record: record(2, version(1, 0)),
        ..crate::testing::member(2, MemberState::Alive, 0)
    });
    rooms.replier().handle_ask(peer(2), ask(0, 0));
    assert_eq!((rooms.effects().len(), rooms.ctx.stats.queries_of_other_runs), (0, 2));
}

#[test]
fn a_member_asks_only_so_much() {
    let mut rooms = Rooms::of(4);
    for id in 0..2_000 {
        rooms.replier().handle_ask(peer(1), QueryAsk { id: QueryId(id), ..ask(0, 0) });
    }
    assert_eq!(rooms.ctx.stats.queries_over_budget, 2_000 - 1_024);
    assert_eq!(rooms.ctx.stats.queries_evicted, 1_024 - 512);
    rooms.effects();
    rooms.replier().handle_ask(peer(2), ask(0, 0));
    assert_eq!(rooms.effects().len(), 1);
}

#[test]
fn a_published_query_asks_those_that_it_is_for() {
    let me = peer(0).id;
    let cases = [
        (Vec::new(), "", true),
        (vec![peer(1).id, me], "", true),
        (vec![peer(1).id], "", false),
        (Vec::new(), "role=web", false),
        (Vec::new(), "role!=web", true),
        (vec![me], "role=web", false),
    ];
    for (targets, filter, is_asked) in cases {
        let mut rooms = Rooms::of(4);
        let publication = published(1, targets.clone(), filter);
        rooms.replier().handle_published(Some(way(1, 0)), &publication);
        assert_eq!(!rooms.effects().is_empty(), is_asked, "{targets:?} {filter}");
        let answered = rooms.replier().answer(QueryToken(key(1)), QueryAnswer::NoHandler);
        assert_eq!(answered.is_ok(), is_asked, "{targets:?} {filter}");
    }
}

#[test]
fn what_is_published_again_unverified_is_not_believed() {
    let mut rooms = Rooms::of(4);
    rooms.replier().handle_repeated(Some(way(2, 0)), &published(1, Vec::new(), ""));
    assert!(rooms.own_query(1).is_none());
}

impl Rooms {
    fn own_query(&self, caller: u8) -> Option<&Passing> {
        self.queries.known.get(key(caller))
    }
}

#[test]
fn a_wrong_answer_is_refused_at_the_call() {
    let mut rooms = Rooms::of(4);
    let token = QueryToken(key(1));
    let answer = |rooms: &mut Rooms, bytes| {
        rooms.replier().answer(token, QueryAnswer::Reply(vec![0; bytes].into()))
    };
    assert_eq!(answer(&mut rooms, 1), Err(ReplyError::Over), "it never came");
    rooms.replier().handle_ask(peer(1), ask(0, 0));
    let bytes = 64 * 1_024 + 1;
    assert_eq!(answer(&mut rooms, bytes), Err(ReplyError::TooLong { bytes }));
    assert_eq!(answer(&mut rooms, bytes - 1), Ok(()));
    assert_eq!(answer(&mut rooms, 1), Err(ReplyError::Answered));
    rooms.replier().handle_ask(peer(2), ask(0, 0));
    let late = rooms.at(11_000).replier().answer(QueryToken(key(2)), QueryAnswer::Busy);
    assert_eq!(late, Err(ReplyError::Over));
}

#[test]
fn answers_take_an_open_connection_or_the_way_of_the_query() {
    use MemberState::{Alive, Dead, Suspect};
    // The states of members 1, 2 and 3, which are 2, 3 and 2 members away; whether node 9, which asks, is connected.
    let cases = [
        ([Alive, Alive, Alive], false, "n1"),
        ([Alive, Alive, Alive], true, "n9"),
        ([Dead, Alive, Alive], false, "n3"),
        ([Suspect, Alive, Alive], false, "n3"),
        ([Suspect, Alive, Dead], false, "n1"),
        ([Dead, Alive, Dead], false, "n9"),
    ];
    for (states, is_connected, expected) in cases {
        let mut rooms = Rooms::of(10);
        rooms.passing(&[way(1, 2), way(2, 3), way(3, 2)]);
        (1..=3).zip(states).for_each(|(node, state)| rooms.put(node, state, 0));
        if is_connected {
            rooms.senses.links.connect(peer(9).id, 100);
        }
        let went = rooms.answer_goes_to();
        let expected = format!("by stream to {expected}: query-replies n9 5 from n0");
        assert_eq!(went, [expected], "{states:?}");
    }
}

#[test]
fn answers_of_others_wait_shortly_for_each_other() {
    let mut rooms = Rooms::of(10);
    rooms.passing(&[way(1, 0)]);
    rooms.replier().handle_replies(peer(2), replies(9, vec![reply(9, 2, 10)]));
    rooms.replier().handle_replies(peer(3), replies(9, vec![reply(9, 3, 10)]));
    assert_eq!(rooms.effects(), Vec::<String>::new());
    rooms.at(10_001).replier().handle_pass_timer(key(9));
    assert_eq!(rooms.effects(), Vec::<String>::new(), "it is early");
    rooms.at(10_002).replier().handle_pass_timer(key(9));
    assert_eq!(rooms.effects(), ["by stream to n1: query-replies n9 5 from n2,n3"]);
    rooms.replier().handle_pass_timer(key(9));
    assert_eq!(rooms.effects(), Vec::<String>::new());
    // The own answer takes along what waits, and so does much.
    rooms.replier().handle_replies(peer(4), replies(9, vec![reply(9, 4, 10)]));
    assert_eq!(rooms.answer_goes_to(), ["by stream to n1: query-replies n9 5 from n4,n0"]);
    let long = vec![reply(9, 5, 10), reply(9, 6, 16_384), reply(9, 7, 10)];
    rooms.replier().handle_replies(peer(4), replies(9, long));
    let sent = rooms.effects();
    let expected = ["n5", "n6"].map(|n| format!("by stream to n1: query-replies n9 5 from {n}"));
    assert_eq!(sent, expected);
}

#[test]
fn answers_pass_if_the_query_is_known_and_once_by_each_way() {
    let mut rooms = Rooms::of(10);
    let counted = |rooms: &mut Rooms, via, reply| {
        rooms.replier().handle_replies(peer(via), replies(9, vec![reply]));
        (rooms.ctx.stats.query_replies_passed, rooms.ctx.stats.query_replies_ignored)
    };
    assert_eq!(counted(&mut rooms, 2, reply(9, 2, 1)), (0, 1), "no such query arrived");
    rooms.passing(&[way(1, 0)]);
    let mut forged = reply(9, 2, 1);
    forged.answer = QueryAnswer::Busy;
    assert_eq!(counted(&mut rooms, 3, forged), (1, 1), "only the one that asked verifies it");
    assert_eq!(counted(&mut rooms, 3, reply(9, 2, 1)), (1, 2));
    assert_eq!(counted(&mut rooms, 2, reply(9, 2, 1)), (2, 2), "a forgery does not keep it away");
    rooms.queries.forget(at(10_999), key(9));
    assert_eq!(
        counted(&mut rooms, 4, reply(9, 4, 1)),
        (3, 2),
        "a timer of another one of that name"
    );
    rooms.queries.forget(at(11_000), key(9));
    assert_eq!(counted(&mut rooms, 5, reply(9, 5, 1)), (3, 3), "its time is over");
}

#[test]
fn a_member_that_has_too_much_passed_on_is_cut() {
    let mut rooms = Rooms::of(200);
    rooms.passing(&[way(1, 0)]);
    let long = |node| reply(9, node, 64 * 1_024);
    let pass = |rooms: &mut Rooms, via| {
        for node in 2..200 {
            rooms.replier().handle_replies(peer(via), replies(9, vec![long(node)]));
        }
        rooms.ctx.stats.query_replies_over_budget
    };
    assert_eq!(pass(&mut rooms, 2), 0);
    // The next query of the same moment: 32 MiB are used up.
    rooms.queries.known.remove(key(9));
    rooms.passing(&[way(1, 0)]);
    assert_eq!(pass(&mut rooms, 2), 0);
    rooms.queries.known.remove(key(9));
    rooms.passing(&[way(1, 0)]);
    assert!(pass(&mut rooms, 2) > 50);
    let before = rooms.ctx.stats.query_replies_over_budget;
    rooms.queries.known.remove(key(9));
    rooms.passing(&[way(1, 0)]);
    assert_eq!(pass(&mut rooms, 3), before, "another one is not");
}

#[test]
fn what_went_to_a_member_that_dies_goes_to_another() {
    let leaves = |state| News::State(peer(1).id, state);
    for (news, is_sent) in [
        (leaves(MemberState::Dead), true),
        (leaves(MemberState::Suspect), false),
        (News::Record { record: record(1, version(1, 0)), state: MemberState::Alive }, true),
        (News::State(peer(2).id, MemberState::Dead), false),
    ] {
        let mut rooms = Rooms::of(10);
        rooms.passing(&[way(1, 2), way(3, 2)]);
        rooms.replier().handle_replies(peer(4), replies(9, vec![reply(9, 4, 10)]));
        assert_eq!(rooms.answer_goes_to(), ["by stream to n1: query-replies n9 5 from n4,n0"]);
        rooms.apply(news.clone(), Source::Ourselves);
        let sent: Vec<_> =
            rooms.effects().into_iter().filter(|effect| effect.contains("query")).collect();
        let to = if news_is_restart(&news) { "n1" } else { "n3" };
        let expected = format!("by stream to {to}: query-replies n9 5 from n4,n0");
        assert_eq!(sent, Vec::from_iter(is_sent.then_some(expected)), "{news:?}");
    }
}

const fn news_is_restart(news: &News) -> bool {
    matches!(news, News::Record { .. })
}

#[test]
fn nobody_answers_what_an_earlier_run_asked() {
    let dead = News::State(peer(9).id, MemberState::Dead);
    let restart = News::Record { record: record(9, version(1, 0)), state: MemberState::Alive };
    for (news, expected) in [(dead, Ok(())), (restart, Err(ReplyError::Over))] {
        let mut rooms = Rooms::of(10);
        rooms.passing(&[way(1, 0)]);
        rooms.apply(news, Source::Ourselves);
        let answered = rooms.replier().answer(QueryToken(key(9)), QueryAnswer::NoHandler);
        assert_eq!(answered, expected, "one that was declared dead by mistake still waits");
    }
}

impl Net {
    fn query(&mut self, node: u8, select: Select, timeout: u64) {
        let mut request = QueryRequest::new("topic".parse().unwrap(), b"body".as_slice());
        (request.select, request.timeout) = (select, ms(timeout));
        let now = self.now;
        self.nodes[usize::from(node)].querying(now).ask(&request).unwrap();
        self.drain(node);
    }

    /// The outcomes of the queries of a node, each once, with the number of members.
    fn outcomes_of(&self, node: u8, outcome: &str) -> BTreeSet<u8> {
        let of_node = self.outcomes.iter().filter(|(caller, ..)| *caller == node);
        let members: Vec<_> = of_node
            .filter(|(.., found)| found.as_str() == outcome)
            .map(|(_, _, member, _)| *member)
            .collect();
        let set: BTreeSet<_> = members.iter().copied().collect();
        assert_eq!(set.len(), members.len(), "each has one outcome");
        set
    }

    fn with_answers(nodes: u8) -> Self {
        let mut net = Self::new(nodes);
        net.answer = Box::new(|node| Some(QueryAnswer::Reply(vec![node].into())));
        net
    }
}

#[test]
fn all_answer_and_few_talk_to_the_one_that_asks() {
    let mut net = Net::with_answers(60);
    for _ in 0..3 {
        net.query(3, Select::All, 1_000);
        net.run(ms(200));
        let expected: BTreeSet<_> = (0..60).collect();
        assert_eq!(net.outcomes_of(3, "reply"), expected);
        let of = |(_, _, member, outcome): &(u8, u64, u8, QueryOutcome)| {
            *outcome == QueryOutcome::Reply(vec![*member].into())
        };
        assert!(net.outcomes.drain(..).all(|outcome| of(&outcome)));
    }
    assert_eq!(net.ended.len(), 3);
}

#[test]
fn a_query_opens_connections_to_few() {
    let mut net = Net::with_answers(60);
    let senders = std::rc::Rc::new(std::cell::RefCell::new(BTreeSet::new()));
    let seen = senders.clone();
    net.is_lost = Box::new(move |from, to, payload| {
        if to == 3 && is_part(payload, |part| matches!(part, Part::QueryReplies(_))) {
            seen.borrow_mut().insert(from);
        }
        false
    });
    net.query(3, Select::All, 1_000);
    net.run(ms(200));
    assert_eq!(net.outcomes_of(3, "reply").len(), 60);
    assert!(senders.borrow().len() <= 5, "{:?}", senders.borrow());
}

#[test]
fn a_relay_that_dies_with_answers_costs_none() {
    let mut net = Net::with_answers(40);
    net.query(3, Select::All, 1_000);
    net.run(ms(200));
    net.outcomes.clear();
    // These pass the query on, and nothing back. Then they are dead.
    let is_dead = |node: u8| node % 8 == 5;
    net.is_lost = Box::new(move |from, _, payload| {
        is_dead(from) && is_part(payload, |part| matches!(part, Part::QueryReplies(_)))
    });
    net.query(3, Select::All, 9_000);
    net.run(ms(20));
    assert!(net.outcomes_of(3, "reply").len() < 35, "answers of others are lost, too");
    net.is_lost = Box::new(move |from, to, _| is_dead(from) || is_dead(to));
    net.run(ms(8_000));
    let dead: BTreeSet<_> = (0..40).filter(|node| node % 8 == 5).collect();
    assert_eq!(net.outcomes_of(3, "dead"), dead);
    assert_eq!(net.outcomes_of(3, "reply").len(), 40 - dead.len());
    let (_, _, ended_at) = net.ended[1];
    assert!(net.now - ended_at > ms(2_000), "it ended before its time");
}

#[test]
fn a_sample_of_many_is_published_and_only_they_answer() {
    let mut net = Net::with_answers(40);
    net.query(3, Select::Sample(20), 1_000);
    net.run(ms(200));
    assert_eq!(net.outcomes_of(3, "reply").len(), 20);
    assert_eq!((net.ended.len(), net.stats(3).query_replies_ignored), (1, 0));
}

#[test]
fn a_query_does_not_wait_for_publications_that_are_lacking() {
    let mut net = Net::with_answers(20);
    net.run(ms(8_000));
    net.is_lost = Box::new(|_, to, payload| {
        let is_first = |part: &Part| match part {
            Part::Publication { publication, .. } => publication.sequence == 1,
            _ => false,
        };
        to == 5 && is_part(payload, is_first)
    });
    let now = net.now;
    let news = PublishRequest::new("news".parse().unwrap(), b"text".as_slice());
    net.nodes[3].sending(now).publish(news).unwrap();
    net.drain(3);
    net.query(3, Select::All, 1_000);
    net.run(ms(200));
    assert_eq!(net.outcomes_of(3, "reply").len(), 20);
}

#[test]
fn what_is_answered_late_is_refused_and_the_member_timed_out() {
    let mut net = Net::with(3, &Config::lan());
    net.query(0, Select::All, 500);
    net.run(ms(400));
    assert_eq!(net.asked.len(), 3);
    let (node, token) = net.asked[0];
    let now = net.now;
    net.nodes[usize::from(node)].querying(now).reply(token, QueryAnswer::Refused).unwrap();
    net.drain(node);
    net.run(ms(200));
    assert_eq!(net.outcomes_of(0, "refused").len(), 1);
    assert_eq!(net.outcomes_of(0, "timed-out").len(), 2);
    let (node, token) = net.asked[1];
    let late = net.nodes[usize::from(node)].querying(net.now).reply(token, QueryAnswer::Refused);
    assert_eq!(late, Err(ReplyError::Over));
}
