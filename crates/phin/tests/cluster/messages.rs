//! Messages to one member: what the sender learns, what the receiver reads, and what waits for neither.
#![expect(clippy::unwrap_used, reason = "what helps a test may fail as a test does")]

use std::{
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use phin::{
    Cluster, Generation, Message, Publication, PublishError, PublishRefusal, SendError,
    SendFailure, SendOptions, SendRefusal, Topic, TopicNotice, TopicSubscription,
    testing::TestCluster,
};
use tokio::{sync::Semaphore, time::Instant};

use crate::nodes::{Nodes, within};

fn topic(name: &str) -> Topic {
    name.parse().unwrap()
}

async fn next(subscription: &mut TopicSubscription) -> Message {
    match within("a message", subscription.next()).await {
        Some(TopicNotice::Message(message)) => message,
        notice => panic!("a message, not {notice:?}"),
    }
}

async fn body(subscription: &mut TopicSubscription) -> String {
    String::from_utf8(next(subscription).await.body.to_vec()).unwrap()
}

fn failure(result: Result<(), SendError>) -> SendFailure {
    match result {
        Err(SendError::Failed(failure)) => failure,
        result => panic!("a failure, not {result:?}"),
    }
}

fn refusal(result: Result<(), SendError>) -> SendRefusal {
    match result {
        Err(SendError::Refused(refusal)) => refusal,
        result => panic!("a refusal, not {result:?}"),
    }
}

/// Lets so many milliseconds pass, on a clock that is paused otherwise.
async fn pass(millis: u64) {
    // tidy: allow sleep: no real time passes
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

async fn taken(node: &Cluster) -> u64 {
    node.stats().await.unwrap().swim.sends.taken
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_waits_in_order_for_the_subscriptions_of_its_topic() {
    let cluster = TestCluster::start(3).await;
    let [one, two] = [cluster.node(0), cluster.node(1)];
    let (news, other) = (topic("news"), topic("news/other"));
    let (mut of_news, mut all) = (two.subscribe_topic(&news), two.subscribe_topics("news"));
    for (topic, text) in [(&news, "1"), (&other, "2"), (&news, "3")] {
        one.send(two.id(), topic, text).await.unwrap();
    }
    let message = next(&mut of_news).await;
    assert_eq!((message.from, message.topic, &message.body[..]), (one.id(), news, &b"1"[..]));
    assert_eq!(message.generation, one.members().me().generation());
    assert_eq!(body(&mut of_news).await, "3");
    for expected in ["1", "2", "3"] {
        assert_eq!(body(&mut all).await, expected);
    }
    assert_eq!(taken(one).await, 3);
    assert_eq!(two.stats().await.unwrap().driver.messages_received, 3);
}

#[tokio::test(start_paused = true)]
async fn what_is_published_reaches_all_subscriptions_that_it_is_for() {
    let builder = TestCluster::builder()
        .configure(|number, builder| builder.tag("role", if number == 2 { "web" } else { "db" }));
    let cluster = builder.start(4).await;
    let news = topic("news");
    let mut subscriptions: Vec<_> =
        (0..4).map(|number| cluster.node(number).subscribe_topic(&news)).collect();
    let one = cluster.node(0);
    for number in 1..=20 {
        assert_eq!(one.publish(&news, number.to_string()).await.unwrap(), number);
    }
    for subscription in &mut subscriptions {
        for number in 1..=20 {
            assert_eq!(body(subscription).await, number.to_string());
        }
    }
    let to_web = |text| Publication::new(&news, text).to("role=web".parse().unwrap());
    let of_key = |text| to_web(text).coalesce("key");
    for publication in [of_key("21"), to_web("22"), of_key("23")] {
        one.publish_with(publication).await.unwrap();
    }
    one.publish(&news, "24").await.unwrap();
    for (number, subscription) in subscriptions.iter_mut().enumerate() {
        pass(100).await;
        let expected: &[_] = if number == 2 { &["22", "23", "24"] } else { &["24"] };
        for text in expected {
            assert_eq!(body(subscription).await, *text);
        }
    }
    let long = one.publish(&news, vec![0; 65 * 1_024]).await;
    assert!(matches!(long, Err(PublishError::Refused(PublishRefusal::TooLong { .. }))));
    assert_eq!(cluster.node(2).stats().await.unwrap().driver.messages_coalesced, 1);
    one.shutdown().await;
    assert!(matches!(one.publish(&news, "").await, Err(PublishError::Stopped(_))));
}

#[tokio::test(start_paused = true)]
async fn the_sender_learns_that_nobody_listens_or_that_the_queue_is_full() {
    let two_messages = NonZeroUsize::new(2).unwrap();
    let builder = TestCluster::builder()
        .configure(move |_, builder| builder.message_buffer(two_messages).message_buffer_bytes(99));
    let cluster = builder.start(2).await;
    let [one, two] = [cluster.node(0), cluster.node(1)];
    let news = topic("news");
    let send = |text: String| one.send(two.id(), &news, text);
    assert_eq!(failure(send("0".into()).await), SendFailure::NoReceiver);
    let mut subscription = two.subscribe_topic(&news);
    send("1".into()).await.unwrap();
    assert_eq!(failure(send("x".repeat(100)).await), SendFailure::QueueFull);
    send("2".into()).await.unwrap();
    assert_eq!(failure(send("3".into()).await), SendFailure::QueueFull);
    // One that may be lost is, and its place is known.
    one.send_datagram(two.id(), &news, "4").await.unwrap();
    one.send_datagram(two.id(), &news, "5").await.unwrap();
    pass(10).await;
    assert_eq!(body(&mut subscription).await, "1");
    send("6".into()).await.unwrap();
    assert_eq!(body(&mut subscription).await, "2");
    assert_eq!(subscription.next().await, Some(TopicNotice::Lagged { count: 2 }));
    assert_eq!(body(&mut subscription).await, "6");
    drop(subscription);
    assert_eq!(failure(send("7".into()).await), SendFailure::NoReceiver);
    assert_eq!(two.stats().await.unwrap().driver.messages_dropped, 4);
}

#[tokio::test(start_paused = true)]
async fn a_node_sends_to_itself() {
    let cluster = TestCluster::start(1).await;
    let (node, news) = (cluster.node(0), topic("news"));
    assert_eq!(failure(node.send(node.id(), &news, "").await), SendFailure::NoReceiver);
    let mut subscription = node.subscribe_topic(&news);
    node.send(node.id(), &news, "1").await.unwrap();
    node.send_datagram(node.id(), &news, "2").await.unwrap();
    assert_eq!(body(&mut subscription).await, "1");
    assert_eq!(body(&mut subscription).await, "2");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_sent_is_refused_at_the_call() {
    let cluster = TestCluster::start(3).await;
    let news = topic("news");
    let gone = cluster.node(2).id();
    cluster.kill(2);
    cluster.converged().await;
    let [one, two] = [cluster.node(0), cluster.node(1)];
    assert_eq!(refusal(one.send(gone, &news, "").await), SendRefusal::Dead);
    let nobody = phin::MemberId([7; 16]);
    assert_eq!(refusal(one.send(nobody, &news, "").await), SendRefusal::NotAMember);
    let earlier = SendOptions::default().generation(Generation(0));
    let refused = one.send_with(two.id(), &news, "", earlier).await;
    assert_eq!(refusal(refused), SendRefusal::Restarted);
    let long = vec![0; Message::MAX_SENT_BYTES + 1];
    let (bytes, max_bytes) = (long.len(), Message::MAX_SENT_BYTES);
    let refused = one.send(two.id(), &news, &long).await;
    assert_eq!(refusal(refused), SendRefusal::TooLong { bytes, max_bytes });
    let refused = one.send_datagram(two.id(), &news, [0; 2_000]).await;
    assert!(matches!(refusal(refused), SendRefusal::TooLong { bytes: 2_000, .. }));
    one.shutdown().await;
    assert!(matches!(one.send(two.id(), &news, "").await, Err(SendError::Stopped(_))));
}

#[tokio::test(start_paused = true)]
async fn a_message_ends_when_its_receiver_dies_or_is_restarted_before_it_answers() {
    let mut cluster = TestCluster::start(4).await;
    let news = topic("news");
    let sender = cluster.node(0).clone();
    let send = |to| {
        let (sender, news) = (sender.clone(), news.clone());
        let options = SendOptions::default().deadline(Duration::from_secs(60));
        tokio::spawn(async move { sender.send_with(to, &news, "", options).await })
    };
    let _subscription = cluster.node(2).subscribe_topic(&news);
    cluster.pause(1);
    cluster.pause(2);
    let (to_dead, to_restarted) = (send(cluster.node(1).id()), send(cluster.node(2).id()));
    pass(20).await;
    cluster.kill(1);
    cluster.restart(2).await;
    let began = Instant::now();
    assert_eq!(failure(to_dead.await.unwrap()), SendFailure::Dead);
    assert_eq!(failure(to_restarted.await.unwrap()), SendFailure::Restarted);
    assert!(began.elapsed() < Duration::from_secs(5), "well before the deadline");
}

#[tokio::test(start_paused = true)]
async fn a_message_without_an_answer_ends_at_its_deadline() {
    let cluster = TestCluster::start(3).await;
    let (one, two, news) = (cluster.node(0), cluster.node(1), topic("news"));
    let _subscription = two.subscribe_topic(&news);
    cluster.pause(1);
    let began = Instant::now();
    let options = SendOptions::default().deadline(Duration::from_millis(300));
    let result = one.send_with(two.id(), &news, "", options).await;
    assert_eq!(failure(result), SendFailure::TimedOut);
    assert_eq!(began.elapsed().as_millis(), 300);
}

#[tokio::test(start_paused = true)]
async fn a_future_that_is_dropped_leaves_its_message_alone_and_nothing_behind() {
    let cluster = TestCluster::start(2).await;
    let (one, two, news) = (cluster.node(0), cluster.node(1), topic("news"));
    let mut subscription = two.subscribe_topic(&news);
    // As many as can wait for an answer: each that is dropped makes room once it has ended.
    for round in 0..3 {
        for number in 0..32 {
            let send = one.send(two.id(), &news, format!("{round} {number}"));
            let sent = tokio::time::timeout(Duration::ZERO, send).await;
            assert!(sent.is_err(), "it has no answer yet: {sent:?}");
        }
        let refused = one.send(two.id(), &news, "").await;
        assert_eq!(refusal(refused), SendRefusal::TooMany { max: 32 });
        for number in 0..32 {
            assert_eq!(body(&mut subscription).await, format!("{round} {number}"));
        }
        pass(10).await;
    }
    assert_eq!(taken(one).await, 96);
    // A dropped subscription loses nothing of the others.
    drop(subscription);
    assert_eq!(failure(one.send(two.id(), &news, "").await), SendFailure::NoReceiver);
}

#[tokio::test(start_paused = true)]
async fn a_handler_runs_at_most_64_calls_at_once_and_delays_only_its_own_queue() {
    let cluster = TestCluster::start(2).await;
    let (one, two) = (cluster.node(0), cluster.node(1));
    let (jobs, news) = (topic("jobs"), topic("news"));
    let (running, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let handler = two.on_topic(&jobs, {
        let (running, gate) = (Arc::clone(&running), Arc::clone(&gate));
        move |message| {
            let (running, gate) = (Arc::clone(&running), Arc::clone(&gate));
            async move {
                assert_ne!(&message.body[..], b"panic", "a call that panics ends alone");
                running.fetch_add(1, Ordering::SeqCst);
                gate.acquire().await.unwrap().forget();
                running.fetch_sub(1, Ordering::SeqCst);
            }
        }
    });
    let running = || running.load(Ordering::SeqCst);
    let mut others = two.subscribe_topic(&news);
    one.send(two.id(), &jobs, "panic").await.unwrap();
    for _ in 0..100 {
        one.send(two.id(), &jobs, "").await.unwrap();
    }
    one.send(two.id(), &news, "quick").await.unwrap();
    assert_eq!(body(&mut others).await, "quick");
    assert_eq!(running(), 64);
    gate.add_permits(10);
    pass(1).await;
    assert_eq!(running(), 64);
    gate.add_permits(50);
    pass(1).await;
    assert_eq!(running(), 40);
    // The calls under way are cancelled: none takes a permit any more.
    drop(handler);
    pass(1).await;
    gate.add_permits(1);
    pass(1).await;
    assert_eq!((running(), gate.available_permits()), (40, 1));
    assert_eq!(failure(one.send(two.id(), &jobs, "").await), SendFailure::NoReceiver);
}

#[tokio::test(start_paused = true)]
async fn the_sender_of_a_message_is_in_the_list_of_its_reader() {
    let mut cluster = TestCluster::start(2).await;
    let news = topic("news");
    let mut subscription = cluster.node(0).subscribe_topic(&news);
    let added = cluster.add(|builder| builder).await;
    let newcomer = cluster.node(added);
    newcomer.joined().await.unwrap();
    newcomer.send(cluster.node(0).id(), &news, "").await.unwrap();
    let message = next(&mut subscription).await;
    assert!(cluster.node(0).members().get(message.from).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_subscription_ends_with_the_node_after_what_waits() {
    let cluster = TestCluster::start(1).await;
    let (node, news) = (cluster.node(0), topic("news"));
    let (mut read, handler) = (node.subscribe_topic(&news), node.on_topic(&news, |_| async {}));
    node.send(node.id(), &news, "last").await.unwrap();
    node.shutdown().await;
    assert_eq!(body(&mut read).await, "last");
    assert_eq!(read.next().await, None);
    assert_eq!(node.subscribe_topics("").next().await, None);
    drop(handler);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_longest_message_goes_over_quic() {
    let nodes = Nodes::new().start(2).await;
    let [one, two] = [&nodes[0], &nodes[1]];
    let news = topic(&"t".repeat(Topic::MAX_BYTES));
    let mut subscription = two.subscribe_topic(&news);
    let longest = vec![7; Message::MAX_SENT_BYTES];
    within("the answer", one.send(two.id(), &news, &longest)).await.unwrap();
    let message = next(&mut subscription).await;
    assert!(message.body[..] == longest[..]);
    within("the answer", one.send(two.id(), &news, "short")).await.unwrap();
    one.send_datagram(two.id(), &news, "quick").await.unwrap();
    assert_eq!(body(&mut subscription).await, "short");
    assert_eq!(body(&mut subscription).await, "quick");
}
