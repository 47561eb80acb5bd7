//! Messages to one member and to all, and handlers of messages.

use std::{sync::Arc, time::Duration};

use phin_swim::{Filter, Generation, MemberId, Message, PublishRequest, SendRequest, Topic};
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tracing::error;

use crate::{Cluster, PublishError, SendError, Stopped, TopicNotice, TopicSubscription};

/// How a message is sent ([`Cluster::send_with`]).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use = "options have no effect until a message is sent with them"]
pub struct SendOptions {
    deadline: Duration,
    generation: Option<Generation>,
}

impl SendOptions {
    /// How long the answer of the member is waited for. Default 10 s. A message whose transfer takes longer than 10 s fails,
    /// however long the deadline.
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The run of the member's process that the message is for. Default: the one in the membership list. Name it if the message
    /// belongs to what this run did before, such as an answer to it.
    pub const fn generation(mut self, generation: Generation) -> Self {
        self.generation = Some(generation);
        self
    }
}

impl Default for SendOptions {
    fn default() -> Self {
        Self { deadline: DEADLINE, generation: None }
    }
}

/// A message to all members, or to some ([`Cluster::publish_with`]).
///
/// ```
/// # use phin::{Cluster, Publication, PublishError, Topic};
/// # async fn report(node: Cluster, load: &Topic) -> Result<(), Box<dyn std::error::Error>> {
/// let publication = Publication::new(load, "80 %").to("role=balancer".parse()?).coalesce("load");
/// node.publish_with(publication).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[must_use = "a publication has no effect until it is published"]
pub struct Publication {
    request: PublishRequest,
}

impl Publication {
    /// The longest body, in bytes.
    pub const MAX_BODY_BYTES: usize = PublishRequest::MAX_BODY_BYTES;

    /// A message to all members.
    pub fn new(topic: &Topic, body: impl AsRef<[u8]>) -> Self {
        Self { request: PublishRequest::new(topic.clone(), body.as_ref()) }
    }

    /// Delivers the message only to members for whose tags this holds when it arrives. All members pass it on.
    pub fn to(mut self, filter: Filter) -> Self {
        self.request.filter = filter;
        self
    }

    /// Replaces, in the queue of a subscriber that has not read it, an earlier message of this node with the same topic and key:
    /// for a state of which only the latest matters.
    pub fn coalesce(mut self, key: impl Into<Arc<str>>) -> Self {
        self.request.coalesce = Some(key.into());
        self
    }
}

/// Messages to one member, and to all.
///
/// ```
/// use phin::{SendError, SendFailure, TopicNotice, testing::TestCluster};
///
/// #[tokio::main(flavor = "current_thread", start_paused = true)]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let cluster = TestCluster::start(2).await;
///     let (one, two) = (cluster.node(0), cluster.node(1));
///     let jobs = "jobs".parse()?;
///
///     let mut subscription = two.subscribe_topic(&jobs);
///     one.send(two.id(), &jobs, "resize 17").await?;
///     let Some(TopicNotice::Message(message)) = subscription.next().await else {
///         panic!("the message is in the queue")
///     };
///     assert_eq!((message.from, &message.body[..]), (one.id(), &b"resize 17"[..]));
///
///     drop(subscription);
///     let result = one.send(two.id(), &jobs, "resize 18").await;
///     assert!(matches!(result, Err(SendError::Failed(SendFailure::NoReceiver))));
///     Ok(())
/// }
/// ```
impl Cluster {
    /// Sends a message of at most 16 MiB to one member. `Ok` means that a subscription of the topic at the member has taken it
    /// into its queue.
    ///
    /// The message is for the run of the member's process that is in the membership list: a restarted member does not take it.
    /// The call waits at most 10 s ([`send_with`](Self::send_with) changes that), and ends sooner if the member dies, leaves or
    /// is restarted. Messages that are sent at the same time can arrive in any order. Dropping the future does not take back
    /// the message. A node can send to itself.
    ///
    /// # Errors
    /// [`SendError::Refused`]: the member cannot be sent to, or a limit is reached; at most 32 messages of 16 MiB together, and
    /// 1,024 of 64 MiB to all members, can wait for the answer of one member. [`SendError::Failed`]: what became of the message.
    /// [`SendError::Stopped`]: the node has been shut down.
    pub async fn send(
        &self,
        member: MemberId,
        topic: &Topic,
        body: impl AsRef<[u8]>,
    ) -> Result<(), SendError> {
        self.send_with(member, topic, body, SendOptions::default()).await
    }

    /// Sends a message as [`send`](Self::send) does, with these options.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn send_with(
        &self,
        member: MemberId,
        topic: &Topic,
        body: impl AsRef<[u8]>,
        options: SendOptions,
    ) -> Result<(), SendError> {
        let mut request = request(member, topic, body);
        request.generation = options.generation;
        let deadline = options.deadline;
        let outcome = self.ask(move |node, now| node.send(now, request, deadline)).await??;
        // An error means that the node was shut down before the message ended.
        Ok(outcome.await.map_err(|_| Stopped)??)
    }

    /// Sends a message to one member in a datagram, which may be lost: for what is worthless later, such as a measurement. It
    /// costs one packet, and no answer. `Ok` means that it was sent. A body of about 1,000 bytes fits, depending on the topic.
    ///
    /// # Errors
    /// [`SendError::Refused`]: the member cannot be sent to, the body is too long, or more than 256 datagrams were sent in a
    /// second, or 32 at once. [`SendError::Stopped`]: the node has been shut down.
    pub async fn send_datagram(
        &self,
        member: MemberId,
        topic: &Topic,
        body: impl AsRef<[u8]>,
    ) -> Result<(), SendError> {
        let request = request(member, topic, body);
        Ok(self.ask(move |node, now| node.swim().sending(now).send_datagram(request)).await??)
    }

    /// Publishes a message of at most 64 KiB to all members, this node included. Returns its number among all messages that this
    /// run of the node published, beginning with 1.
    ///
    /// Each member that lives and is connected throughout receives what a node publishes once and in order, or learns how many
    /// messages it missed ([`TopicNotice::Missed`]). A subscription of the topic there has to have room for it. Nothing is kept
    /// for members that join later.
    ///
    /// ```
    /// use phin::{TopicNotice, testing::TestCluster};
    ///
    /// #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// async fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     let cluster = TestCluster::start(3).await;
    ///     let news = "news".parse()?;
    ///     let mut subscription = cluster.node(2).subscribe_topic(&news);
    ///     cluster.node(0).publish(&news, "v42 is out").await?;
    ///     let Some(TopicNotice::Message(message)) = subscription.next().await else {
    ///         panic!("all members receive it")
    ///     };
    ///     assert_eq!(message.from, cluster.node(0).id());
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// The message is too long, this node published too much lately, or it has left the cluster or been shut down.
    pub async fn publish(
        &self,
        topic: &Topic,
        body: impl AsRef<[u8]>,
    ) -> Result<u64, PublishError> {
        self.publish_with(Publication::new(topic, body)).await
    }

    /// Publishes a message as [`publish`](Self::publish) does, to some members, or in place of an earlier one.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub async fn publish_with(&self, publication: Publication) -> Result<u64, PublishError> {
        let Publication { request } = publication;
        let published = self.ask(move |node, now| node.swim().sending(now).publish(request));
        Ok(published.await??)
    }

    /// Calls `handle` with each message of a topic, on tasks of the runtime that this is called on, until the result is dropped
    /// or the node ends.
    ///
    /// At most 64 calls run at once. Further messages wait in the queue of this handler, which is bounded as that of any
    /// [subscription](TopicSubscription); nobody else waits. Calls begin in the order of the messages, and may end in any other.
    /// A call that panics is logged, and the next ones go on. Messages that the queue had no room for are only
    /// [counted](crate::DriverStats::messages_dropped): to learn of them, use [`subscribe_topic`](Self::subscribe_topic).
    ///
    /// ```
    /// # use phin::{Cluster, ClusterKey, Topic};
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let node = Cluster::builder().key(ClusterKey::generate()).local().start().await?;
    /// let topic: Topic = "jobs".parse()?;
    /// let jobs = node.on_topic(&topic, |job| async move {
    ///     println!("{} sends {:?}", job.from, job.body);
    /// });
    /// node.send(node.id(), &topic, "resize 17").await?;
    /// drop(jobs); // ends what still runs
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    /// If called outside of a tokio runtime.
    pub fn on_topic<H, F>(&self, topic: &Topic, handle: H) -> TopicHandler
    where
        H: Fn(Message) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let subscription = self.subscribe_topic(topic);
        TopicHandler(tokio::spawn(handle_all(subscription, handle)).abort_handle())
    }
}

/// A handler of messages, from [`Cluster::on_topic`]. Dropping it ends the handler: no further call begins, and those under way
/// are cancelled.
#[derive(Debug)]
#[must_use = "dropping it ends the handler"]
pub struct TopicHandler(AbortHandle);

impl Drop for TopicHandler {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Handles messages until there are none to come, and those calls have ended.
async fn handle_all<F>(mut subscription: TopicSubscription, handle: impl Fn(Message) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    // Dropped with this task, it cancels what it has.
    let mut calls = JoinSet::new();
    loop {
        let has_room = calls.len() < MAX_CALLS;
        tokio::select! {
            biased;
            Some(ended) = calls.join_next() => log_panic(ended),
            notice = subscription.next(), if has_room => match notice {
                Some(TopicNotice::Message(message)) => drop(calls.spawn(handle(message))),
                Some(TopicNotice::Missed { .. } | TopicNotice::Lagged { .. }) => {}
                None => break,
            },
        }
    }
    while let Some(ended) = calls.join_next().await {
        log_panic(ended);
    }
}

fn log_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        error!(%error, "a handler of messages panicked");
    }
}

fn request(member: MemberId, topic: &Topic, body: impl AsRef<[u8]>) -> SendRequest {
    let body: Arc<[u8]> = body.as_ref().into();
    SendRequest::new(member, topic.clone(), body)
}

const DEADLINE: Duration = Duration::from_secs(10);
/// How many calls of one handler run at once.
const MAX_CALLS: usize = 64;
