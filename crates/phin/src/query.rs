//! Queries: questions to the applications of members, with an outcome for each of them.

use std::{
    collections::BTreeMap,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_core::Stream;
use phin_swim::{Filter, MemberId, QueryId, QueryOutcome, QueryRequest, Select, Topic};
use tokio::sync::mpsc;

use crate::{
    Cluster, QueryError, Stopped,
    command::{Command, QueryEvent, Question},
};

/// A question to the applications of members ([`Cluster::query`]).
///
/// ```
/// # use std::time::Duration;
/// # use phin::{Query, Topic};
/// let topic: Topic = "disk/free".parse()?;
/// let query = Query::new(&topic, "/var").to("role=db".parse()?).timeout(Duration::from_secs(2)).first(3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[must_use = "a query has no effect until it is asked"]
pub struct Query {
    request: QueryRequest,
}

impl Query {
    /// A question of at most 64 KiB to all live members, this node included.
    pub fn new(topic: &Topic, body: impl AsRef<[u8]>) -> Self {
        Self { request: QueryRequest::new(topic.clone(), body.as_ref()) }
    }

    /// Asks only the members for whose tags this holds, as this node knows them when it asks.
    pub fn to(mut self, filter: Filter) -> Self {
        self.request.filter = filter;
        self
    }

    /// How long replies are waited for: 10 ms to 10 minutes. Default 10 s.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.request.timeout = timeout;
        self
    }

    /// Ends the query as soon as so many members have replied. Default: all are waited for.
    pub const fn first(mut self, replies: usize) -> Self {
        self.request.select = Select::First(replies);
        self
    }

    /// Asks so many of the members, at most 1,024, chosen at random. Default: all are asked.
    pub const fn sample(mut self, members: usize) -> Self {
        self.request.select = Select::Sample(members);
        self
    }
}

/// The outcome at one member that was asked.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct QueryReply {
    /// The member.
    pub member: MemberId,
    /// The outcome: its reply, or why there is none.
    pub outcome: QueryOutcome,
}

/// The outcomes at the members that were asked, in the order in which they became known: a stream that ends with the
/// query. It does not keep the node running. Dropping it ends the query.
#[derive(Debug)]
#[must_use = "dropping it ends the query"]
pub struct Replies {
    id: QueryId,
    events: mpsc::Receiver<QueryEvent>,
    commands: mpsc::WeakSender<Command>,
    /// Whether the query has ended, rather than the node.
    is_complete: bool,
}

impl Replies {
    /// Returns what became of the next member, or `None` once the query has ended or the node has been shut down. Dropping the
    /// future loses nothing.
    pub async fn next(&mut self) -> Option<QueryReply> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }

    /// Whether the query has ended. If [`next`](Self::next) returned `None` before that, the node was shut down, and members
    /// have no outcome.
    pub const fn has_ended(&self) -> bool {
        self.is_complete
    }

    /// Waits for the end of the query, and returns the outcomes that were not read before.
    ///
    /// # Errors
    /// The node was shut down before.
    pub async fn collect(mut self) -> Result<BTreeMap<MemberId, QueryOutcome>, Stopped> {
        let mut outcomes = BTreeMap::new();
        while let Some(QueryReply { member, outcome }) = self.next().await {
            outcomes.insert(member, outcome);
        }
        if self.is_complete { Ok(outcomes) } else { Err(Stopped) }
    }
}

impl Stream for Replies {
    type Item = QueryReply;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<QueryReply>> {
        if self.is_complete {
            return Poll::Ready(None);
        }
        Poll::Ready(match ready!(self.events.poll_recv(context)) {
            Some(QueryEvent::Outcome(member, outcome)) => Some(QueryReply { member, outcome }),
            Some(QueryEvent::Ended) => {
                self.is_complete = true;
                None
            }
            None => None,
        })
    }
}

impl Drop for Replies {
    fn drop(&mut self) {
        let (is_complete, id) = (self.is_complete, self.id);
        if let Some(commands) = self.commands.upgrade().filter(|_| !is_complete) {
            let (cancel, _) = Question::new(move |node, now| node.swim().querying(now).cancel(id));
            // If there is no room, the driver finds that nobody reads any more, at the next outcome or query.
            let _ = commands.try_send(Command::Ask(cancel));
        }
    }
}

impl Cluster {
    /// Asks the applications of all live members, this node's included, or of those that the query selects.
    ///
    /// Which members are asked is decided at the call. The query ends as soon as each of them has an outcome: it replied, does
    /// not answer, died, left or was restarted. At the end of its timeout it names those that have none. Members answer with
    /// [`answer`](Self::answer). Replies are at most 64 KiB each and 16 MiB together.
    ///
    /// ```
    /// use phin::{Query, QueryOutcome, testing::TestCluster};
    ///
    /// #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// async fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     let cluster = TestCluster::start(3).await;
    ///     let topic = "name".parse()?;
    ///     let _answers = cluster.node(2).answer(&topic, |query| async move {
    ///         Ok(format!("{} asks: I am two", query.from))
    ///     });
    ///     let mut replies = cluster.node(0).query(Query::new(&topic, "who are you?")).await?;
    ///     while let Some(reply) = replies.next().await {
    ///         match reply.outcome {
    ///             QueryOutcome::Reply(body) => println!("{}: {}", reply.member, String::from_utf8_lossy(&body)),
    ///             outcome => println!("{}: {}", reply.member, outcome.as_str()),
    ///         }
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// The query exceeds a limit, 64 queries of this node are under way, or it published too much lately: queries count as
    /// publications. Or this node has left the cluster or been shut down.
    pub async fn query(&self, query: Query) -> Result<Replies, QueryError> {
        let Query { request } = query;
        let (id, events) = self.ask(move |node, now| node.query(now, &request)).await??;
        let commands = self.shared.commands.downgrade();
        Ok(Replies { id, events, commands, is_complete: false })
    }
}
