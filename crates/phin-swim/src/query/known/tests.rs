use super::*;
use crate::{
    QueryAnswer,
    member::record::tests::TestKeys,
    testing::{at, ms, peer},
};

fn key(caller: u8, id: u64) -> QueryKey {
    QueryKey { caller: peer(caller).id, generation: Generation(0), id: QueryId(id) }
}

fn passing(arrived_at: u64, way: Option<Way>) -> Passing {
    Passing::new(at(arrived_at), at(arrived_at) + ms(1_000), way, Turn::Asked)
}

fn way(node: u8, hops: u8) -> Way {
    Way { peer: peer(node), hops }
}

fn reply(bytes: usize) -> Reply {
    let answer = QueryAnswer::Reply(vec![0; bytes].into());
    Reply::sign(key(1, 1), (peer(2).id, Generation(0)), answer, &TestKeys(2))
}

#[test]
fn the_first_query_of_a_member_that_asks_too_much_gives_way() {
    let (mut known, me) = (Known::default(), peer(0).id);
    known.insert(key(2, 1), me, passing(0, None));
    for id in 1..=MAX_KNOWN_OF_ONE as u64 {
        assert!(known.insert(key(1, id), me, passing(id, None)).is_empty());
    }
    let evicted = known.insert(key(1, 9_999), me, passing(9_999, None));
    assert_eq!(evicted, [(key(1, 1), at(1_001))]);
    assert!(known.get(key(1, 1)).is_none() && known.get(key(2, 1)).is_some());
}

#[test]
fn the_oldest_gives_way_where_all_ask_too_much_but_not_what_this_node_asks() {
    let (mut known, me) = (Known::default(), peer(0).id);
    known.insert(key(0, 1), me, passing(0, None));
    for number in 1..MAX_KNOWN as u64 {
        let caller = 1 + (number % 50) as u8;
        assert!(known.insert(key(caller, number), me, passing(number, None)).is_empty());
    }
    let evicted = known.insert(key(77, 1), me, passing(9_999, None));
    assert_eq!(evicted, [(key(2, 1), at(1_001))]);
}

#[test]
fn answers_go_to_those_that_are_nearer_to_the_one_that_asks() {
    let mut query = passing(0, Some(way(1, 3)));
    let others = [way(2, 4), way(3, 2), way(3, 1), way(4, 3), way(5, 0)];
    others.into_iter().for_each(|way| query.record_way(way));
    let ways: Vec<_> = query.ways().collect();
    assert_eq!(ways, [peer(1), peer(3), peer(4)], "four are remembered, each as it came first");
}

#[test]
fn an_application_answers_once_and_in_time() {
    let mut query = passing(0, None);
    assert_eq!(query.answer(at(999)), Ok(()));
    assert_eq!(query.answer(at(999)), Err(ReplyError::Answered));
    assert_eq!(passing(0, None).answer(at(1_000)), Err(ReplyError::Over));
    let mut others = Passing::new(at(0), at(1_000), None, Turn::Others);
    assert_eq!(others.answer(at(0)), Err(ReplyError::Over));
}

#[test]
fn answers_come_once_by_each_way_and_up_to_a_limit() {
    let mut query = passing(0, None);
    assert!(query.is_first(peer(1).id, peer(2).id, 3));
    assert!(!query.is_first(peer(1).id, peer(2).id, 3));
    assert!(query.is_first(peer(3).id, peer(2).id, 3));
    assert!(query.is_first(peer(1).id, peer(4).id, 3));
    assert!(!query.is_first(peer(1).id, peer(5).id, 3));
}

#[test]
fn what_is_kept_for_a_death_is_limited_and_its_bytes_come_back() {
    let (mut known, me) = (Known::default(), peer(0).id);
    known.insert(key(1, 1), me, passing(0, None));
    known.insert(key(1, 2), me, passing(0, None));
    let (many, most) = (vec![reply(65_000); 128], MAX_KEPT_BYTES - 128 * 65_128);
    assert_eq!(known.keep(key(1, 1), peer(5).id, many.clone()), 0);
    assert_eq!(known.keep(key(1, 2), peer(5).id, vec![reply(most - 128)]), 0);
    assert_eq!(known.keep(key(1, 2), peer(5).id, vec![reply(0); 2]), 2);
    // One is over, the other goes elsewhere.
    known.remove(key(1, 1));
    assert_eq!(known.take_back(peer(5).id), [key(1, 2)]);
    assert_eq!(known.get_mut(key(1, 2)).unwrap().take().len(), 1);
    assert_eq!(known.kept_bytes, 0);
    assert_eq!(known.keep(key(1, 2), peer(5).id, many), 0);
    assert_eq!(known.forget(peer(1).id), [(key(1, 2), at(1_000))]);
    assert_eq!(known.kept_bytes, 0);
}
