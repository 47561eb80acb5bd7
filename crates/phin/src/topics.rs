//! Subscriptions of topics: each has a queue of its own, which the driver fills without waiting.

mod queue;

use std::{
    future::poll_fn,
    num::NonZeroUsize,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use futures_core::Stream;
use phin_swim::{MemberId, Message, NotTaken, Topic};

use crate::{
    Cluster, DriverStats,
    topics::queue::{Pushed, Queue},
};

/// A notice to a subscriber of topics.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum TopicNotice {
    /// The next message.
    Message(Message),
    /// Messages that a member published did not reach this node, and no longer will.
    Missed {
        /// The member.
        from: MemberId,
        /// How many there were, of all topics.
        count: u64,
    },
    /// The subscriber read too slowly: so many messages are missing here.
    Lagged {
        /// How many there were.
        count: u64,
    },
}

/// The messages of a topic, or of several, in the order of their arrival. It does not keep the node running.
///
/// At most 1,024 messages, of 16 MiB together, wait to be read ([`Builder::message_buffer`](crate::Builder::message_buffer)).
/// Further ones are dropped, and a notice of how many comes in their place. A subscriber that does not read delays nobody else.
#[derive(Debug)]
pub struct TopicSubscription {
    topics: Topics,
    queue: SharedQueue,
}

impl TopicSubscription {
    /// Receives the messages of this topic, too: each once, and all in the order of their arrival.
    #[must_use = "dropping it ends the subscription"]
    pub fn and_topic(self, topic: &Topic) -> Self {
        self.and(Selection::Topic(topic.clone()))
    }

    /// Receives the messages of all topics that begin with this prefix, too.
    #[must_use = "dropping it ends the subscription"]
    pub fn and_topics(self, prefix: impl Into<String>) -> Self {
        self.and(Selection::Prefix(prefix.into()))
    }

    fn and(self, selection: Selection) -> Self {
        if let Some(subscriptions) = lock(&self.topics.0.subscriptions).as_mut() {
            let own = subscriptions.iter_mut().find(|(_, queue)| Arc::ptr_eq(queue, &self.queue));
            if let Some((topics, _)) = own {
                topics.push(selection);
            }
        }
        self
    }

    /// Returns the next notice, or `None` once the node has been shut down and everything before has been delivered. Dropping
    /// the future loses nothing.
    ///
    /// A subscription is a [`Stream`] of notices, too.
    pub async fn next(&mut self) -> Option<TopicNotice> {
        poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }
}

impl Stream for TopicSubscription {
    type Item = TopicNotice;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<TopicNotice>> {
        lock(&self.queue).poll_next(context)
    }
}

impl Drop for TopicSubscription {
    fn drop(&mut self) {
        if let Some(subscriptions) = lock(&self.topics.0.subscriptions).as_mut() {
            subscriptions.retain(|(_, queue)| !Arc::ptr_eq(queue, &self.queue));
        }
    }
}

impl Cluster {
    /// Subscribes to a topic: to the messages that members [send](Self::send) to this node, and [publish](Self::publish), from
    /// now on.
    ///
    /// A topic can have several subscriptions. Each receives each message.
    ///
    /// ```
    /// # use phin::{Cluster, ClusterKey, Topic, TopicNotice};
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let node = Cluster::builder().key(ClusterKey::generate()).local().start().await?;
    /// let topic: Topic = "cache/flush".parse()?;
    /// let mut flushes = node.subscribe_topic(&topic);
    /// # node.send(node.id(), &topic, "users").await?;
    /// if let Some(TopicNotice::Message(message)) = flushes.next().await {
    ///     println!("{} asks to flush {:?}", message.from, message.body);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn subscribe_topic(&self, topic: &Topic) -> TopicSubscription {
        self.shared.topics.subscribe(Selection::Topic(topic.clone()))
    }

    /// Subscribes to all topics that begin with this prefix; with `""`, to all topics.
    pub fn subscribe_topics(&self, prefix: impl Into<String>) -> TopicSubscription {
        self.shared.topics.subscribe(Selection::Prefix(prefix.into()))
    }
}

/// How much waits for one subscriber.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) messages: NonZeroUsize,
    pub(crate) bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { messages: MESSAGE_BUFFER, bytes: MESSAGE_BUFFER_BYTES }
    }
}

/// The handle's side: the subscriptions of a node, which it does not keep running.
#[derive(Clone, Debug)]
pub(crate) struct Topics(Arc<Registry>);

#[derive(Debug)]
struct Registry {
    limits: Limits,
    /// Each with its topics. How many there are is up to the application. `None` once the node has ended.
    subscriptions: Mutex<Option<Vec<Subscribed>>>,
}

/// Topics of a subscription.
#[derive(Debug)]
enum Selection {
    Topic(Topic),
    Prefix(String),
}

impl Selection {
    fn has(&self, topic: &Topic) -> bool {
        match self {
            Self::Topic(own) => own == topic,
            Self::Prefix(prefix) => topic.as_str().starts_with(prefix),
        }
    }
}

type SharedQueue = Arc<Mutex<Queue>>;
/// The topics of a subscription, and what waits for its reader.
type Subscribed = (Vec<Selection>, SharedQueue);

impl Topics {
    pub(crate) fn new(limits: Limits) -> Self {
        Self(Arc::new(Registry { limits, subscriptions: Mutex::new(Some(Vec::new())) }))
    }

    /// The driver's side. There is one.
    pub(crate) fn deliverer(&self) -> Deliverer {
        Deliverer { topics: self.clone(), received: 0, dropped: 0, coalesced: 0, unclaimed: 0 }
    }

    fn subscribe(&self, selection: Selection) -> TopicSubscription {
        let queue: SharedQueue = Arc::new(Mutex::new(Queue::new(self.0.limits)));
        match lock(&self.0.subscriptions).as_mut() {
            Some(subscriptions) => subscriptions.push((vec![selection], Arc::clone(&queue))),
            None => lock(&queue).end(),
        }
        TopicSubscription { topics: self.clone(), queue }
    }

    /// The queues of those subscriptions.
    fn queues(&self, is_wanted: impl Fn(&[Selection]) -> bool) -> Vec<SharedQueue> {
        let subscriptions = lock(&self.0.subscriptions);
        let wanted = subscriptions.iter().flatten().filter(|(topics, _)| is_wanted(topics));
        wanted.map(|(_, queue)| Arc::clone(queue)).collect()
    }
}

/// The driver's side: fills the queues. When it is dropped, subscriptions end.
#[derive(Debug)]
pub(crate) struct Deliverer {
    topics: Topics,
    received: u64,
    dropped: u64,
    coalesced: u64,
    unclaimed: u64,
}

impl Deliverer {
    /// Delivers a message whose sender is not answered: each subscription that has no room learns that it misses one.
    pub(crate) fn deliver(&mut self, message: &Message) {
        let (_, full) = self.push(message);
        full.iter().for_each(|queue| change(queue, |queue| queue.lag(1)));
    }

    /// Offers a message to its subscriptions. It is taken if one of them has room; then the others learn that they miss one.
    pub(crate) fn offer(&mut self, message: &Message) -> Result<(), NotTaken> {
        let (taken, full) = self.push(message);
        if taken == 0 {
            let is_claimed = !full.is_empty();
            return Err(if is_claimed { NotTaken::QueueFull } else { NotTaken::NoReceiver });
        }
        full.iter().for_each(|queue| change(queue, |queue| queue.lag(1)));
        Ok(())
    }

    /// Reports to all subscriptions that messages of a member did not arrive.
    pub(crate) fn report_missed(&self, from: MemberId, count: u64) {
        let all = self.topics.queues(|_| true);
        all.iter().for_each(|queue| change(queue, |queue| queue.miss(from, count)));
    }

    /// Adds what was counted.
    pub(crate) const fn count(&self, stats: &mut DriverStats) {
        stats.messages_received = self.received;
        stats.messages_dropped = self.dropped;
        stats.messages_coalesced = self.coalesced;
        stats.messages_unclaimed = self.unclaimed;
    }

    /// Pushes a message to its subscriptions. Returns how many took it, and those that have no room.
    fn push(&mut self, message: &Message) -> (usize, Vec<SharedQueue>) {
        let mut full =
            self.topics.queues(|topics| topics.iter().any(|own| own.has(&message.topic)));
        let of_topic = full.len();
        self.received += 1;
        self.unclaimed += u64::from(full.is_empty());
        full.retain(|queue| match change(queue, |queue| queue.push(message.clone())) {
            Pushed::Waits => false,
            Pushed::Replaced => {
                self.coalesced += 1;
                false
            }
            Pushed::NoRoom => {
                self.dropped += 1;
                true
            }
        });
        (of_topic - full.len(), full)
    }
}

impl Drop for Deliverer {
    fn drop(&mut self) {
        let subscriptions = lock(&self.topics.0.subscriptions).take();
        let queues = subscriptions.into_iter().flatten().map(|(_, queue)| queue);
        queues.for_each(|queue| change(&queue, Queue::end));
    }
}

/// Changes a queue, and wakes its reader, which is code of the application, once the queue is no longer locked.
fn change<T>(queue: &Mutex<Queue>, change: impl FnOnce(&mut Queue) -> T) -> T {
    let (result, waker): (T, Option<Waker>) = {
        let mut queue = lock(queue);
        (change(&mut queue), queue.take_waker())
    };
    waker.into_iter().for_each(Waker::wake);
    result
}

/// A panic of another thread leaves what is locked here sound.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const MESSAGE_BUFFER: NonZeroUsize = NonZeroUsize::new(1_024).expect("it is not zero");
const MESSAGE_BUFFER_BYTES: usize = 16 * 1_024 * 1_024;

#[cfg(test)]
mod tests;
