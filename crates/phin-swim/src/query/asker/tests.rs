use std::collections::BTreeSet;

use super::*;
use crate::{
    Filter, PublishError, QueryAnswer, Record,
    member::{
        record::tests::{TestKeys, record, statement, version},
        transition::News,
    },
    step::Source,
    testing::{
        Rooms, at, ms,
        net::{Net, is_part},
        peer,
    },
};

fn request(select: Select) -> QueryRequest {
    let mut request = QueryRequest::new("topic".parse().unwrap(), b"body".as_slice());
    (request.select, request.timeout) = (select, ms(5_000));
    request
}

impl Rooms {
    fn query(&mut self, request: &QueryRequest) -> QueryId {
        let expected = self.asker().expect(request).unwrap();
        let id = self.asker().ask(request, expected);
        self.run();
        id
    }

    /// The outputs about queries since this was last called.
    fn told(&mut self) -> Vec<String> {
        self.run();
        let outputs = std::mem::take(&mut self.outputs);
        let told = outputs.into_iter().filter_map(|output| match output {
            Output::QueryOutcome { member, outcome, .. } => {
                let node = (0..=u8::MAX).find(|&node| peer(node).id == member).unwrap();
                Some(format!("n{node} {}", outcome.as_str()))
            }
            Output::QueryEnded { .. } => Some("ended".to_owned()),
            _ => None,
        });
        told.collect()
    }

    /// The key of this node's query.
    fn key(&self, id: QueryId) -> QueryKey {
        QueryKey { caller: peer(0).id, generation: Generation(0), id }
    }
}

fn reply(key: QueryKey, node: u8, text: &str) -> Reply {
    let run = (peer(node).id, Generation(0));
    Reply::sign(key, run, QueryAnswer::Reply(text.as_bytes().into()), &TestKeys(node.into()))
}

#[test]
fn a_member_that_can_reply_no_more_has_its_outcome_at_once() {
    let leaving = Record::sign(
        crate::member::record::Statement { has_left: true, ..statement(1, version(0, 1)) },
        &TestKeys(1),
    );
    let state = |state| News::State(peer(1).id, state);
    let alive = |record| News::Record { record, state: MemberState::Alive };
    let cases = [
        (state(MemberState::Suspect), None),
        (state(MemberState::Dead), Some("n1 dead")),
        (News::own(leaving), Some("n1 left")),
        (alive(record(1, version(0, 1))), None),
        (alive(record(1, version(1, 0))), Some("n1 restarted")),
        (
            News::Record { record: record(1, version(1, 0)), state: MemberState::Dead },
            Some("n1 restarted"),
        ),
        (alive(record(7, version(0, 0))), None),
    ];
    for (news, expected) in cases {
        let mut rooms = Rooms::of(4);
        rooms.query(&request(Select::All));
        rooms.told();
        rooms.apply(news.clone(), Source::Ourselves);
        assert_eq!(rooms.told(), Vec::from_iter(expected), "{news:?}");
        // Once is enough.
        rooms.apply(News::State(peer(1).id, MemberState::Dead), Source::Ourselves);
        let later = if expected.is_none() { vec!["n1 dead"] } else { Vec::new() };
        assert_eq!(rooms.told(), later, "{news:?}");
    }
}

#[test]
fn a_query_ends_with_the_last_outcome() {
    let mut rooms = Rooms::of(3);
    let id = rooms.query(&request(Select::All));
    let key = rooms.key(id);
    let replies = vec![reply(key, 0, "0"), reply(key, 1, "1")];
    rooms.asker().handle_replies(peer(1), QueryReplies { key, replies });
    assert_eq!(rooms.told(), ["n0 reply", "n1 reply"]);
    rooms.apply(News::State(peer(2).id, MemberState::Dead), Source::Ourselves);
    assert_eq!(rooms.told(), ["n2 dead", "ended"]);
    assert!(!rooms.asker().end(id));
}

#[test]
fn answers_that_were_not_asked_for_or_are_forged_change_nothing() {
    let mut rooms = Rooms::of(4);
    rooms.put(4, MemberState::Dead, 0);
    let id = rooms.query(&request(Select::All));
    let (key, other) = (rooms.key(id), rooms.key(QueryId(id.0 + 1)));
    let mut of_another_run = reply(key, 1, "text");
    of_another_run.generation = Generation(1);
    let mut changed = reply(key, 1, "text");
    changed.answer = QueryAnswer::Reply(b"other"[..].into());
    let mut as_another = reply(key, 2, "text");
    as_another.from = peer(1).id;
    let mut other_generation = key;
    other_generation.generation = Generation(1);
    // The query, the answer, and how many are ignored and forged by then.
    let cases = [
        (other, reply(other, 1, "text"), (1, 0)),
        (other_generation, reply(other_generation, 1, "text"), (2, 0)),
        (key, of_another_run, (3, 0)),
        (key, reply(key, 4, "it was dead"), (4, 0)),
        (key, reply(key, 9, "it is no member"), (5, 0)),
        (key, changed, (5, 1)),
        (key, as_another, (5, 2)),
        (key, reply(other, 1, "of another query"), (5, 3)),
    ];
    rooms.told();
    for (key, reply, expected) in cases {
        let what = format!("{reply:?}");
        rooms.asker().handle_replies(peer(2), QueryReplies { key, replies: vec![reply] });
        let stats = &rooms.ctx.stats;
        let counted = (stats.query_replies_ignored, stats.query_replies_forged);
        assert_eq!(counted, expected, "{what}");
        assert_eq!(rooms.told(), Vec::<String>::new(), "{what}");
    }
    let replies = vec![reply(key, 1, "text"), reply(key, 1, "again")];
    rooms.asker().handle_replies(peer(2), QueryReplies { key, replies });
    assert_eq!(rooms.told(), ["n1 reply"]);
    assert_eq!(rooms.ctx.stats.query_replies_ignored, 6);
}

#[test]
fn a_flood_of_forged_answers_is_not_verified() {
    let mut rooms = Rooms::of(3);
    let id = rooms.query(&request(Select::All));
    let key = rooms.key(id);
    let mut forged = reply(key, 1, "text");
    forged.signature.0[0] ^= 1;
    let replies = vec![forged; 20_000];
    rooms.asker().handle_replies(peer(2), QueryReplies { key, replies });
    let stats = &rooms.ctx.stats;
    assert_eq!((stats.query_replies_forged, stats.query_replies_over_budget), (16_384, 3_616));
    // Others are heard.
    let replies = vec![reply(key, 1, "text")];
    rooms.told();
    rooms.asker().handle_replies(peer(1), QueryReplies { key, replies });
    assert_eq!(rooms.told(), ["n1 reply"]);
}

#[test]
fn those_that_have_not_replied_in_time_are_named() {
    let mut rooms = Rooms::of(3);
    let id = rooms.query(&request(Select::All));
    let key = rooms.key(id);
    rooms.asker().handle_replies(peer(1), QueryReplies { key, replies: vec![reply(key, 1, "")] });
    rooms.told();
    assert!(rooms.ctx.timers.next().is_some());
    rooms.at(15_000).asker().time_out(key);
    assert_eq!(rooms.told(), ["n0 timed-out", "n2 timed-out", "ended"]);
    // The timer of a query that ended is late.
    rooms.asker().time_out(key);
    assert_eq!(rooms.told(), Vec::<String>::new());
}

#[test]
fn the_first_replies_end_it() {
    let mut rooms = Rooms::of(5);
    let id = rooms.query(&request(Select::First(2)));
    let key = rooms.key(id);
    let busy = Reply::sign(key, (peer(1).id, Generation(0)), QueryAnswer::Busy, &TestKeys(1));
    let replies = vec![busy, reply(key, 2, ""), reply(key, 3, ""), reply(key, 4, "")];
    rooms.told();
    rooms.asker().handle_replies(peer(1), QueryReplies { key, replies });
    assert_eq!(rooms.told(), ["n1 busy", "n2 reply", "n3 reply", "ended"]);
    assert_eq!(rooms.ctx.stats.query_replies_ignored, 1);
}

#[test]
fn live_members_that_match_are_expected() {
    let mut rooms = Rooms::of(40);
    rooms.put(7, MemberState::Dead, 0);
    rooms.put(8, MemberState::Suspect, 0);
    let mut expect = |select, filter: &str| {
        let mut request = request(select);
        request.filter = filter.parse::<Filter>().unwrap();
        rooms.asker().expect(&request).map(|expected| expected.len())
    };
    assert_eq!(expect(Select::All, ""), Ok(39));
    assert_eq!(expect(Select::First(3), ""), Ok(39));
    assert_eq!(expect(Select::Sample(3), ""), Ok(3));
    assert_eq!(expect(Select::Sample(100), ""), Ok(39));
    assert_eq!(expect(Select::All, "role=web"), Ok(0));
    assert_eq!(expect(Select::Sample(0), ""), Err(QueryError::Nobody));
    let all: BTreeSet<_> = (0..30)
        .flat_map(|_| rooms.asker().expect(&request(Select::Sample(5))).unwrap().into_keys())
        .collect();
    assert!(all.len() > 30, "samples are random: {} members in 30", all.len());
    let mut known = all.iter().map(|&id| rooms.list.get(id).unwrap().state());
    assert!(known.all(MemberState::is_live));
}

#[test]
fn a_query_to_nobody_ends_at_once() {
    let mut rooms = Rooms::of(3);
    let mut request = request(Select::All);
    request.filter = "role=web".parse().unwrap();
    rooms.query(&request);
    assert_eq!(rooms.told(), ["ended"]);
}

#[test]
fn few_are_asked_directly_and_many_by_a_publication() {
    for (members, select, asks) in [
        (16, Select::All, 15),
        (17, Select::All, 0),
        (40, Select::Sample(16), 15),
        (40, Select::Sample(17), 0),
    ] {
        let mut rooms = Rooms::of(members);
        rooms.query(&request(select));
        let outputs = std::mem::take(&mut rooms.outputs);
        let payloads = outputs.iter().filter_map(|output| match output {
            Output::Stream { payload, .. } => Some(payload),
            _ => None,
        });
        let payloads: Vec<_> = payloads.collect();
        let is_ask = |payload: &&&Vec<u8>| is_part(payload, |p| matches!(p, Part::QueryAsk(_)));
        let (found, others) = (payloads.iter().filter(is_ask).count(), payloads.len());
        // A sample of 16 has this node in it, or not.
        assert!(found == asks || found == asks + 1 && members == 40 && asks > 0, "{select:?}");
        assert_eq!(found == 0, others > 0 && found < others, "{members} {select:?}");
    }
}

#[test]
fn so_many_queries_are_under_way_at_once() {
    let mut net = Net::new(2);
    let ask = |net: &mut Net| {
        let now = net.now;
        let result = net.nodes[0].querying(now).ask(&request(Select::All));
        net.drain(0);
        result
    };
    for _ in 0..MAX_QUERIES {
        ask(&mut net).unwrap();
    }
    assert_eq!(ask(&mut net), Err(QueryError::TooMany));
    let now = net.now;
    assert!(net.nodes[0].querying(now).cancel(QueryId(1)));
    net.drain(0);
    assert_eq!((&net.ended[..], &net.outcomes[..]), (&[(0, 1, now)][..], &[][..]));
    assert!(!net.nodes[0].querying(now).cancel(QueryId(1)));
    ask(&mut net).unwrap();
    net.run(ms(6_000));
    assert_eq!(net.ended.len(), MAX_QUERIES + 1);
}

#[test]
fn queries_count_as_publications() {
    let mut net = Net::new(2);
    let now = net.now;
    let mut ask = || {
        let result = net.nodes[0].querying(now).ask(&request(Select::All));
        net.drain(0);
        let _ = result.as_ref().map(|&id| net.nodes[0].querying(now).cancel(id));
        net.drain(0);
        result
    };
    for _ in 0..256 {
        ask().unwrap();
    }
    assert!(matches!(ask(), Err(QueryError::Publish(PublishError::Busy { .. }))));
    net.nodes[0].leave(now);
    net.drain(0);
    let left = net.nodes[0].querying(now).ask(&request(Select::All));
    assert_eq!(left, Err(QueryError::Publish(PublishError::Left)));
    assert_eq!(at(3_000), now);
}
