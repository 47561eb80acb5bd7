use std::{
    sync::atomic::{AtomicUsize, Ordering},
    task::Wake,
};

use phin_swim::{Generation, Route};

use super::*;

/// Counts how often it is woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn topic(name: &str) -> Topic {
    name.parse().unwrap()
}

fn sent(name: &str, body: &str) -> Message {
    Message::new(MemberId([1; 16]), Generation(1), topic(name), body.as_bytes(), Route::Sent)
}

/// A message that a later one with the same key replaces.
fn state(member: u8, key: &str, body: &str) -> Message {
    let mut message = sent("state", body);
    message.from = MemberId([member; 16]);
    message.route = Route::Published { sequence: 1, hops: 0, coalesce: Some(key.into()) };
    message
}

fn topics(messages: usize, bytes: usize) -> (Topics, Deliverer) {
    let topics = Topics::new(Limits { messages: NonZeroUsize::new(messages).unwrap(), bytes });
    let deliverer = topics.deliverer();
    (topics, deliverer)
}

fn subscribe(topics: &Topics, name: &str) -> TopicSubscription {
    topics.subscribe(Selection::Topic(topic(name)))
}

/// What waits, in short: the bodies of messages, `-N` for a lag, `?N` for what was missed.
fn read(subscription: &mut TopicSubscription) -> String {
    let mut words = Vec::new();
    let mut context = Context::from_waker(Waker::noop());
    while let Poll::Ready(Some(notice)) = Pin::new(&mut *subscription).poll_next(&mut context) {
        words.push(match notice {
            TopicNotice::Message(message) => String::from_utf8(message.body.to_vec()).unwrap(),
            TopicNotice::Lagged { count } => format!("-{count}"),
            TopicNotice::Missed { count, .. } => format!("?{count}"),
        });
    }
    words.join(" ")
}

fn deliver(deliverer: &mut Deliverer, bodies: &str) {
    bodies.split(' ').for_each(|body| deliverer.deliver(&sent("news", body)));
}

fn stats(deliverer: &Deliverer) -> [u64; 4] {
    let mut stats = DriverStats::default();
    deliverer.count(&mut stats);
    let DriverStats { messages_received, messages_dropped, .. } = stats;
    [messages_received, messages_dropped, stats.messages_coalesced, stats.messages_unclaimed]
}

#[test]
fn each_subscription_of_a_topic_or_a_prefix_receives_each_message_in_order() {
    let (topics, mut deliverer) = topics(9, 99);
    let (mut one, mut two) = (subscribe(&topics, "a/b"), subscribe(&topics, "a/b"));
    let mut prefix = topics.subscribe(Selection::Prefix("a/".to_owned()));
    let mut all = topics.subscribe(Selection::Prefix(String::new()));
    for (name, body) in [("a/b", "1"), ("a/c", "2"), ("a", "3"), ("a/b", "4")] {
        deliverer.deliver(&sent(name, body));
    }
    let read = [&mut one, &mut two, &mut prefix, &mut all].map(read);
    assert_eq!(read, ["1 4", "1 4", "1 2 4", "1 2 3 4"]);
    drop((one, two, prefix, all));
    deliverer.deliver(&sent("a/b", "5"));
    assert_eq!(stats(&deliverer), [5, 0, 0, 1]);
    assert!(topics.queues(|_| true).is_empty(), "a dropped subscription is gone");
}

#[test]
fn a_subscription_of_several_topics_receives_each_message_once_and_in_order() {
    let (topics, mut deliverer) = topics(9, 99);
    let prefix = topics.subscribe(Selection::Prefix("a/".to_owned()));
    let mut several = prefix.and_topic(&topic("b")).and_topic(&topic("a/b")).and_topics("c");
    for (name, body) in [("a/b", "1"), ("b", "2"), ("b/c", "3"), ("cd", "4"), ("a/c", "5")] {
        deliverer.deliver(&sent(name, body));
    }
    assert_eq!(read(&mut several), "1 2 4 5");
    deliverer.report_missed(MemberId([1; 16]), 2);
    assert_eq!(read(&mut several), "?2", "it is one subscription");
}

#[test]
fn what_has_no_room_is_counted_in_its_place() {
    let (topics, mut deliverer) = topics(3, 99);
    let mut slow = subscribe(&topics, "news");
    let mut quick = subscribe(&topics, "news");
    let mut seen = Vec::new();
    for bodies in ["1 2 3", "4 5", "6"] {
        deliver(&mut deliverer, bodies);
        seen.push(read(&mut quick));
    }
    assert_eq!(seen, ["1 2 3", "4 5", "6"], "it is not delayed by others");
    let mut context = Context::from_waker(Waker::noop());
    assert!(Pin::new(&mut slow).poll_next(&mut context).is_ready());
    deliver(&mut deliverer, "7 8 9");
    assert_eq!(read(&mut slow), "2 3 -3 7 -2");
    deliver(&mut deliverer, "10");
    assert_eq!(read(&mut slow), "10");
    assert_eq!(stats(&deliverer), [10, 6, 0, 0], "the quick one did not read at the end");
}

#[test]
fn messages_that_wait_have_only_so_many_bytes_but_one_of_any_length_may_wait() {
    let (topics, mut deliverer) = topics(9, 20);
    let mut subscription = subscribe(&topics, "news");
    deliver(&mut deliverer, "123456 1234567 1");
    assert_eq!(read(&mut subscription), "123456 -1 1", "4 bytes of each are the topic");
    let long = "l".repeat(100);
    deliver(&mut deliverer, &format!("{long} 2"));
    assert_eq!(read(&mut subscription), format!("{long} -1"));
}

#[test]
fn a_message_that_is_answered_is_taken_if_one_subscription_has_room() {
    let (topics, mut deliverer) = topics(1, 99);
    let offer = |deliverer: &mut Deliverer, body| deliverer.offer(&sent("news", body));
    assert_eq!(offer(&mut deliverer, "0"), Err(NotTaken::NoReceiver));
    let mut slow = subscribe(&topics, "news");
    assert_eq!(offer(&mut deliverer, "1"), Ok(()));
    assert_eq!(offer(&mut deliverer, "2"), Err(NotTaken::QueueFull));
    let mut quick = subscribe(&topics, "news");
    assert_eq!(offer(&mut deliverer, "3"), Ok(()));
    // Its sender knows of what nobody took, and of nothing else.
    assert_eq!([&mut slow, &mut quick].map(read), ["1 -1", "3"]);
    assert_eq!(stats(&deliverer), [4, 2, 0, 1]);
}

#[test]
fn a_later_message_of_the_same_member_topic_and_key_replaces_one_that_waits() {
    let (topics, mut deliverer) = topics(3, 99);
    let mut subscription = subscribe(&topics, "state");
    for (member, key, body) in
        [(1, "a", "1"), (1, "b", "2"), (2, "a", "3"), (1, "a", "4"), (1, "c", "5"), (2, "a", "6")]
    {
        deliverer.deliver(&state(member, key, body));
    }
    assert_eq!(read(&mut subscription), "2 4 -1 6");
    assert_eq!(stats(&deliverer), [6, 1, 2, 0]);
    // A message that was read is not replaced any more.
    deliverer.deliver(&state(1, "a", "7"));
    assert_eq!(read(&mut subscription), "7");
}

#[test]
fn a_message_replaces_another_only_if_there_is_room_for_it() {
    let (topics, mut deliverer) = topics(9, 20);
    let mut subscription = subscribe(&topics, "state");
    let bodies = [("a", "1"), ("b", "2"), ("a", "1234567"), ("a", "1234567890")];
    bodies.into_iter().for_each(|(key, body)| deliverer.deliver(&state(1, key, body)));
    assert_eq!(read(&mut subscription), "2 1234567 -1");
}

#[test]
fn lags_between_messages_that_are_replaced_again_and_again_take_no_more_room() {
    let (topics, mut deliverer) = topics(1, 99);
    let mut subscription = subscribe(&topics, "state");
    for _ in 0..100 {
        deliverer.deliver(&state(1, "a", "a"));
        deliverer.deliver(&state(2, "a", "b"));
    }
    assert_eq!(read(&mut subscription), "-99 a -1");
}

#[test]
fn what_did_not_arrive_is_reported_to_all_subscriptions_and_merged_where_there_is_no_room() {
    let (topics, deliverer) = topics(2, 99);
    let mut subscriptions = [subscribe(&topics, "news"), subscribe(&topics, "other")];
    for (member, count) in [(1, 2), (1, 3), (2, 4), (1, 5), (2, 6)] {
        deliverer.report_missed(MemberId([member; 16]), count);
    }
    for subscription in &mut subscriptions {
        assert_eq!(read(subscription), "?5 ?4 -11");
    }
}

#[test]
fn a_reader_is_woken_and_the_end_comes_after_what_waits() {
    let (topics, mut deliverer) = topics(2, 99);
    let mut subscription = subscribe(&topics, "news");
    let woken = Arc::new(Woken::default());
    let (waker, count) = (Waker::from(Arc::clone(&woken)), || woken.0.load(Ordering::Relaxed));
    let mut context = Context::from_waker(&waker);
    assert!(Pin::new(&mut subscription).poll_next(&mut context).is_pending());
    deliver(&mut deliverer, "1 2");
    assert_eq!(count(), 1, "once is enough");
    assert_eq!(read(&mut subscription), "1 2");
    assert!(Pin::new(&mut subscription).poll_next(&mut context).is_pending());
    deliver(&mut deliverer, "3");
    drop(deliverer);
    assert_eq!(count(), 2);
    assert_eq!(read(&mut subscription), "3");
    for mut ended in [subscription, subscribe(&topics, "news")] {
        assert_eq!(Pin::new(&mut ended).poll_next(&mut context), Poll::Ready(None));
    }
}
