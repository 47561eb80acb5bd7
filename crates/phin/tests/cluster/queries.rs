//! Queries: what becomes of each member that is asked, and when a query ends.

use std::{collections::BTreeMap, time::Duration};

use phin::{
    Cluster, MemberId, Query, QueryError, QueryHandler, QueryOutcome, QueryRefusal, Refused, Topic,
    testing::TestCluster,
};
use tokio::{sync::Semaphore, time::Instant};

fn topic() -> Topic {
    "topic".parse().unwrap()
}

/// Has a node answer with the question.
fn echo(node: &Cluster) -> QueryHandler {
    node.answer(&topic(), |query| async move { Ok(query.body) })
}

async fn ask(node: &Cluster, query: Query) -> BTreeMap<MemberId, QueryOutcome> {
    node.query(query).await.unwrap().collect().await.unwrap()
}

fn count(outcomes: &BTreeMap<MemberId, QueryOutcome>, outcome: &str) -> usize {
    outcomes.values().filter(|found| found.as_str() == outcome).count()
}

#[tokio::test(start_paused = true)]
async fn a_query_ends_with_the_last_answer_and_names_what_became_of_each() {
    let cluster = TestCluster::start(4).await;
    let _echo = echo(cluster.node(1));
    let _refuses = cluster.node(2).answer(&topic(), |_| async { Err::<&str, _>(Refused) });
    let _panics = cluster.node(3).answer(&topic(), |query| async move {
        assert!(query.body.is_empty(), "a handler panics");
        Ok("empty")
    });
    let began = Instant::now();
    let outcomes = ask(cluster.node(0), Query::new(&topic(), "text")).await;
    let of = |node: usize| outcomes[&cluster.node(node).id()].clone();
    assert_eq!(of(0), QueryOutcome::NoHandler);
    assert_eq!(of(1), QueryOutcome::Reply(b"text"[..].into()));
    assert_eq!((of(2), of(3)), (QueryOutcome::Refused, QueryOutcome::Refused));
    assert!(began.elapsed() < Duration::from_millis(100), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn members_that_die_during_a_query_are_named_when_that_is_known() {
    let cluster = TestCluster::start(64).await;
    let handlers: Vec<_> = (0..64)
        .map(|node| {
            cluster.node(node).answer(&topic(), move |query| async move {
                if node % 20 == 7 {
                    std::future::pending::<()>().await;
                }
                Ok(query.body)
            })
        })
        .collect();
    let began = Instant::now();
    let query = Query::new(&topic(), "text").timeout(Duration::from_secs(60));
    let mut replies = cluster.node(0).query(query).await.unwrap();
    let mut outcomes = BTreeMap::new();
    for _ in 0..60 {
        let reply = replies.next().await.unwrap();
        outcomes.insert(reply.member, reply.outcome);
    }
    // 7, 27, 47 are killed; the application of 7 + 60 does not exist.
    [7, 27, 47].into_iter().for_each(|node| cluster.kill(node));
    outcomes.extend(replies.collect().await.unwrap());
    let mut dead = outcomes.iter().filter(|(_, outcome)| **outcome == QueryOutcome::Dead);
    let killed = [7, 27, 47].map(|node| cluster.node(node).id());
    assert!(dead.by_ref().all(|(id, _)| killed.contains(id)));
    assert_eq!((count(&outcomes, "dead"), count(&outcomes, "reply")), (3, 61));
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    drop(handlers);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_answered_in_time_is_named_and_the_call_cancelled() {
    let cluster = TestCluster::start(2).await;
    let _hangs = cluster.node(1).answer(&topic(), |_| std::future::pending::<Result<&str, _>>());
    let timeout = Duration::from_millis(500);
    for _ in 0..70 {
        let outcomes = ask(cluster.node(0), Query::new(&topic(), "").timeout(timeout)).await;
        // A call that lasted would leave no room for the 65th.
        assert_eq!(outcomes[&cluster.node(1).id()], QueryOutcome::TimedOut);
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_has_enough_to_do_is_busy_and_its_end_refuses() {
    let cluster = TestCluster::start(2).await;
    static GATE: Semaphore = Semaphore::const_new(0);
    let waits = cluster.node(1).answer(&topic(), |_| async {
        let _ = GATE.acquire().await;
        Ok("text")
    });
    let mut replies = Vec::new();
    for node in [0, 1] {
        for _ in 0..33 {
            replies.push(cluster.node(node).query(Query::new(&topic(), "")).await.unwrap());
        }
    }
    // tidy: allow sleep: no real time passes
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(waits);
    let mut all = BTreeMap::<&str, usize>::new();
    for replies in replies {
        let outcomes = replies.collect().await.unwrap();
        *all.entry(outcomes[&cluster.node(1).id()].as_str()).or_default() += 1;
    }
    assert_eq!(all["busy"], 2);
    assert_eq!(all["refused"], 64);
    let outcomes = ask(cluster.node(0), Query::new(&topic(), "")).await;
    assert_eq!(outcomes[&cluster.node(1).id()], QueryOutcome::NoHandler);
}

#[tokio::test(start_paused = true)]
async fn a_query_that_nobody_reads_is_over() {
    let cluster = TestCluster::start(2).await;
    let _hangs = cluster.node(1).answer(&topic(), |_| std::future::pending::<Result<&str, _>>());
    for _ in 0..200 {
        drop(cluster.node(0).query(Query::new(&topic(), "")).await.unwrap());
        // tidy: allow sleep: no real time passes
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut under_way = Vec::new();
    for _ in 0..64 {
        under_way.push(cluster.node(0).query(Query::new(&topic(), "")).await.unwrap());
        // tidy: allow sleep: no real time passes
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let refused = cluster.node(0).query(Query::new(&topic(), "")).await;
    assert!(matches!(refused, Err(QueryError::Refused(QueryRefusal::TooMany))));
}

#[tokio::test(start_paused = true)]
async fn the_first_replies_and_a_sample_are_enough() {
    let cluster = TestCluster::start(20).await;
    let handlers: Vec<_> = (0..20).map(|node| echo(cluster.node(node))).collect();
    let first = ask(cluster.node(0), Query::new(&topic(), "").first(3)).await;
    assert_eq!(count(&first, "reply"), 3);
    let sample = ask(cluster.node(0), Query::new(&topic(), "").sample(5)).await;
    assert_eq!((sample.len(), count(&sample, "reply")), (5, 5));
    drop(handlers);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_shut_down_ends_its_queries_as_incomplete() {
    let cluster = TestCluster::start(2).await;
    let _hangs = cluster.node(1).answer(&topic(), |_| std::future::pending::<Result<&str, _>>());
    let replies = cluster.node(0).query(Query::new(&topic(), "")).await.unwrap();
    cluster.node(0).shutdown().await;
    assert!(replies.collect().await.is_err());
    let stopped = cluster.node(0).query(Query::new(&topic(), "")).await;
    assert!(matches!(stopped, Err(QueryError::Stopped(_))));
}
