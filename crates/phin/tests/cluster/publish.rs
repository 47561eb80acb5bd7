//! Messages to all members: who reads them, in which order, and what the publisher and a slow reader learn.
#![expect(clippy::unwrap_used, reason = "what helps a test may fail as a test does")]

use std::time::Duration;

use phin::{
    Cluster, Config, Publication, PublishError, PublishRefusal, Route, Topic, TopicNotice,
    TopicSubscription,
    testing::{TestCluster, TestClusterBuilder},
};

use crate::nodes::within;

fn topic(name: &str) -> Topic {
    name.parse().unwrap()
}

/// The next notice in short: the body of a message, `?N` for what was missed, `-N` for a lag.
async fn next(subscription: &mut TopicSubscription) -> String {
    match within("a notice", subscription.next()).await {
        Some(TopicNotice::Message(message)) => String::from_utf8(message.body.to_vec()).unwrap(),
        Some(TopicNotice::Missed { count, .. }) => format!("?{count}"),
        Some(TopicNotice::Lagged { count }) => format!("-{count}"),
        notice => panic!("a notice, not {notice:?}"),
    }
}

/// Everything up to this.
async fn read(subscription: &mut TopicSubscription, last: &str) -> Vec<String> {
    let mut notices = Vec::new();
    while notices.last().is_none_or(|notice| notice != last) {
        notices.push(next(subscription).await);
    }
    notices
}

fn refusal(result: Result<u64, PublishError>) -> PublishRefusal {
    match result {
        Err(PublishError::Refused(refusal)) => refusal,
        result => panic!("a refusal, not {result:?}"),
    }
}

/// Lets so many milliseconds pass, on a clock that is paused otherwise.
async fn pass(millis: u64) {
    // tidy: allow sleep: no real time passes
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

fn configured(config: Config) -> TestClusterBuilder {
    TestCluster::builder().configure(move |_, builder| builder.config(config.clone()))
}

async fn publish(node: &Cluster, topic: &Topic, text: &str) -> u64 {
    node.publish(topic, text).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn all_read_what_each_publishes_in_its_order_and_once() {
    let cluster = TestCluster::start(5).await;
    let (news, other) = (topic("news"), topic("other"));
    let mut subscriptions: Vec<_> =
        cluster.running().map(|(_, node)| node.subscribe_topic(&news)).collect();
    let [one, two] = [cluster.node(0), cluster.node(1)];
    for number in 1..=20 {
        assert_eq!(publish(one, &news, &format!("a{number}")).await, 2 * number - 1);
        assert_eq!(publish(one, &other, "").await, 2 * number, "all topics are numbered together");
        publish(two, &news, &format!("b{number}")).await;
    }
    for subscription in &mut subscriptions {
        let mut read = Vec::new();
        for _ in 0..40 {
            read.push(next(subscription).await);
        }
        for letter in ["a", "b"] {
            let of_one: Vec<_> = read.iter().filter(|body| body.starts_with(letter)).collect();
            let expected: Vec<_> = (1..=20).map(|number| format!("{letter}{number}")).collect();
            assert_eq!(of_one, expected.iter().collect::<Vec<_>>());
        }
    }
    let node = cluster.node(4);
    let mut subscription = node.subscribe_topics("");
    publish(one, &other, "last").await;
    let Some(TopicNotice::Message(message)) = subscription.next().await else { panic!() };
    assert_eq!((message.from, &message.topic), (one.id(), &other));
    let generation = one.members().me().generation();
    assert_eq!(message.generation, generation);
    assert!(matches!(message.route, Route::Published { sequence: 41, coalesce: None, .. }));
    assert_eq!(node.stats().await.unwrap().driver.messages_unclaimed, 20);
}

#[tokio::test(start_paused = true)]
async fn a_filter_selects_the_members_that_read_a_message() {
    let builder = TestCluster::builder()
        .configure(|number, builder| builder.tag("role", if number == 1 { "web" } else { "db" }));
    let cluster = builder.start(3).await;
    let news = topic("news");
    let mut subscriptions = [0, 1, 2].map(|node| cluster.node(node).subscribe_topic(&news));
    let for_web = Publication::new(&news, "for the web").to("role=web".parse().unwrap());
    cluster.node(0).publish_with(for_web).await.unwrap();
    publish(cluster.node(0), &news, "for all").await;
    let mut all = Vec::new();
    for subscription in &mut subscriptions {
        all.push(read(subscription, "for all").await.join(", "));
    }
    assert_eq!(all, ["for all", "for the web, for all", "for all"]);
}

#[tokio::test(start_paused = true)]
async fn a_later_message_with_the_same_key_replaces_one_that_waits_to_be_read() {
    let cluster = TestCluster::start(2).await;
    let state = topic("state");
    let mut subscription = cluster.node(1).subscribe_topic(&state);
    for (key, text) in [(Some("a"), "a1"), (None, "x"), (Some("b"), "b1"), (Some("a"), "a2")] {
        let publication = Publication::new(&state, text);
        let publication = match key {
            Some(key) => publication.coalesce(key),
            None => publication,
        };
        cluster.node(0).publish_with(publication).await.unwrap();
    }
    pass(1_000).await;
    assert_eq!(read(&mut subscription, "a2").await, ["x", "b1", "a2"]);
    assert_eq!(cluster.node(1).stats().await.unwrap().driver.messages_coalesced, 1);
}

#[tokio::test(start_paused = true)]
async fn what_may_not_be_published_is_refused_at_the_call() {
    let mut config = Config::lan();
    config.max_publications_per_second = 10;
    let cluster = configured(config).start(2).await;
    let (node, news) = (cluster.node(0), topic("news"));
    let long = vec![0; Publication::MAX_BODY_BYTES + 1];
    let refused = refusal(node.publish(&news, &long).await);
    assert_eq!(refused, PublishRefusal::TooLong { bytes: long.len() });
    let without_key = Publication::new(&news, "").coalesce("");
    assert_eq!(refusal(node.publish_with(without_key).await), PublishRefusal::CoalesceKey);
    for number in 1..=10 {
        assert_eq!(publish(node, &news, "").await, number, "what was refused has no number");
    }
    let PublishRefusal::Busy { retry_after } = refusal(node.publish(&news, "").await) else {
        panic!("ten in a second are allowed");
    };
    tokio::time::advance(retry_after).await;
    assert_eq!(publish(node, &news, "").await, 11);
    node.leave(Duration::from_secs(3)).await.unwrap();
    assert_eq!(refusal(node.publish(&news, "").await), PublishRefusal::Left);
    node.shutdown().await;
    assert!(matches!(node.publish(&news, "").await, Err(PublishError::Stopped(_))));
}

#[tokio::test(start_paused = true)]
async fn a_member_that_was_cut_off_learns_how_many_messages_it_missed() {
    let mut config = Config::lan();
    config.max_recent_publication_bytes = 64 * 1_024;
    let cluster = configured(config).start(3).await;
    let (one, news) = (cluster.node(0), topic("news"));
    let (mut uncut, mut cut) =
        (cluster.node(1).subscribe_topic(&news), cluster.node(2).subscribe_topic(&news));
    pass(12_000).await;
    publish(one, &news, "first").await;
    assert_eq!(next(&mut cut).await, "first");
    cluster.partition([2], [0, 1]);
    let long = "x".repeat(10_000);
    for _ in 0..20 {
        publish(one, &news, &long).await;
    }
    // Long enough that nothing of it is still on its way.
    pass(15_000).await;
    cluster.heal();
    cluster.converged().await;
    publish(one, &news, "last").await;
    let notices = read(&mut cut, "last").await;
    let missed = notices[0].strip_prefix('?').expect("what nobody keeps is missed");
    let missed: usize = missed.parse().unwrap();
    assert!((10..20).contains(&missed), "{missed}: 64 KiB of them are kept");
    assert_eq!(missed + notices.len() - 2, 20, "all others arrive");
    assert_eq!(read(&mut uncut, "last").await.len(), 22, "nobody else notices");
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_receives_nothing_that_is_older() {
    let mut cluster = TestCluster::start(3).await;
    let news = topic("news");
    pass(12_000).await;
    for text in ["old", "older"] {
        publish(cluster.node(0), &news, text).await;
    }
    let added = cluster.add(|builder| builder).await;
    let mut subscription = cluster.node(added).subscribe_topics("");
    cluster.node(added).joined().await.unwrap();
    cluster.converged().await;
    publish(cluster.node(0), &news, "new").await;
    assert_eq!(next(&mut subscription).await, "new");
}

#[test]
fn the_guide_shows_the_example() {
    // The guide's programs are run as documentation tests.
    let example = include_str!("../../examples/chat.rs");
    let guide = include_str!("../../../../docs/guide/messages.md");
    let (_, code) = example.split_once("\n\n").expect("code follows the head");
    assert!(guide.contains(code), "copy examples/chat.rs into docs/guide/messages.md");
}
