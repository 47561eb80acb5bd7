//! Answering queries: one handler of this node's application for each topic, on tasks of its own.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use phin_swim::{Generation, MemberId, QueryAnswer, QueryToken, Topic};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::{AbortHandle, JoinSet},
    time::timeout,
};
use tracing::{debug, warn};

use crate::{
    Cluster,
    command::{Command, Question},
};

/// A query to this node's application.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct IncomingQuery {
    /// The member that asks, perhaps this node itself.
    pub from: MemberId,
    /// The run of that member's process.
    pub generation: Generation,
    /// Its topic.
    pub topic: Topic,
    /// Its content.
    pub body: Arc<[u8]>,
    /// How long a reply was of use when the query arrived.
    pub remaining: Duration,
}

/// The answer of an application that does not want to reply to a query.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the application refuses to answer")]
pub struct Refused;

/// A handler of queries, from [`Cluster::answer`]. Dropping it ends the handler: calls under way are cancelled, and their queries
/// refused.
#[derive(Debug)]
#[must_use = "dropping it ends the handler"]
pub struct QueryHandler(AbortHandle);

impl Drop for QueryHandler {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Cluster {
    /// Calls `handle` with each query of a topic, on tasks of the runtime that this is called on, until the result is
    /// dropped or the node ends. The value that it returns is the reply, of at most 64 KiB.
    ///
    /// At most 64 calls run at once. To further queries the answer is [`Busy`](crate::QueryOutcome::Busy). A call is
    /// cancelled at an `await` when the time of its query is over. A call that panics, or whose reply is too long, is logged and
    /// refuses. A topic has one handler at a node: a later one replaces it. [`query`](Self::query) has an example.
    ///
    /// # Panics
    /// If called outside of a tokio runtime.
    pub fn answer<H, F, B>(&self, topic: &Topic, handle: H) -> QueryHandler
    where
        H: Fn(IncomingQuery) -> F + Send + 'static,
        F: Future<Output = Result<B, Refused>> + Send + 'static,
        B: AsRef<[u8]> + 'static,
    {
        let calls = self.shared.answers.register(topic);
        let commands = self.shared.commands.downgrade();
        QueryHandler(tokio::spawn(handle_all(calls, commands, handle)).abort_handle())
    }
}

/// Which topics this node's application answers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answers(Arc<Mutex<BTreeMap<Topic, Handler>>>);

/// The driver's side of a handler.
#[derive(Debug)]
struct Handler {
    calls: mpsc::Sender<Call>,
    free: Arc<Semaphore>,
}

/// A query that is to be answered.
#[derive(Debug)]
struct Call {
    query: IncomingQuery,
    token: QueryToken,
    /// Given back at the end.
    permit: OwnedSemaphorePermit,
}

impl Answers {
    fn register(&self, topic: &Topic) -> mpsc::Receiver<Call> {
        let (calls, queue) = mpsc::channel(MAX_CALLS);
        let handler = Handler { calls, free: Arc::new(Semaphore::new(MAX_CALLS)) };
        let mut handlers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that have ended are not told of, so they are swept out here.
        handlers.retain(|_, handler| !handler.calls.is_closed());
        handlers.insert(topic.clone(), handler);
        queue
    }

    /// Has a query answered. Returns the answer if that is known at once.
    pub(crate) fn put(&self, query: IncomingQuery, token: QueryToken) -> Option<QueryAnswer> {
        let handlers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(handler) = handlers.get(&query.topic).filter(|known| !known.calls.is_closed())
        else {
            return Some(QueryAnswer::NoHandler);
        };
        let Ok(permit) = Arc::clone(&handler.free).try_acquire_owned() else {
            return Some(QueryAnswer::Busy);
        };
        // There is room for as many as there are permits.
        let is_put = handler.calls.try_send(Call { query, token, permit }).is_ok();
        (!is_put).then_some(QueryAnswer::NoHandler)
    }
}

/// Handles queries until there are none to come.
async fn handle_all<F, B>(
    mut queue: mpsc::Receiver<Call>,
    commands: mpsc::WeakSender<Command>,
    handle: impl Fn(IncomingQuery) -> F,
) where
    F: Future<Output = Result<B, Refused>> + Send + 'static,
    B: AsRef<[u8]> + 'static,
{
    // Dropped with this task, it cancels what it has.
    let mut calls = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            Some(_) = calls.join_next() => {}
            call = queue.recv() => match call {
                Some(Call { query, token, permit }) => {
                    let unanswered = Unanswered { token, commands: commands.clone(), permit: Some(permit) };
                    let remaining = query.remaining;
                    calls.spawn(answer(unanswered, remaining, handle(query)));
                }
                None => break,
            },
        }
    }
    while calls.join_next().await.is_some() {}
}

async fn answer<F, B>(unanswered: Unanswered, remaining: Duration, reply: F)
where
    F: Future<Output = Result<B, Refused>>,
    B: AsRef<[u8]> + 'static,
{
    let answer = match timeout(remaining, reply).await {
        Ok(Ok(reply)) => answer_of(reply.as_ref()),
        Ok(Err(Refused)) => QueryAnswer::Refused,
        Err(_) => return unanswered.give_up(),
    };
    unanswered.answer(answer).await;
}

fn answer_of(reply: &[u8]) -> QueryAnswer {
    if reply.len() > QueryAnswer::MAX_REPLY_BYTES {
        warn!(bytes = reply.len(), "a reply to a query is too long");
        return QueryAnswer::Refused;
    }
    QueryAnswer::Reply(reply.into())
}

/// A query that waits for its answer. Dropped without one, it is refused: the handler panicked or was ended.
struct Unanswered {
    token: QueryToken,
    commands: mpsc::WeakSender<Command>,
    /// `None` once it was answered.
    permit: Option<OwnedSemaphorePermit>,
}

impl Unanswered {
    async fn answer(mut self, answer: QueryAnswer) {
        let permit = self.permit.take();
        if let Some(commands) = self.commands.upgrade() {
            // An error means that the node has ended.
            let _ = commands.send(reply(self.token, answer)).await;
        }
        drop(permit);
    }

    /// The time of the query is over.
    fn give_up(mut self) {
        self.permit = None;
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        if self.permit.is_some()
            && let Some(commands) = self.commands.upgrade()
        {
            debug!("a query was not answered");
            // Without room, the member that asked waits for the end of its time.
            let _ = commands.try_send(reply(self.token, QueryAnswer::Refused));
        }
    }
}

fn reply(token: QueryToken, answer: QueryAnswer) -> Command {
    let (question, _) = Question::new(move |node, now| {
        // It may be over meanwhile.
        if let Err(error) = node.swim().querying(now).reply(token, answer) {
            debug!(%error, "a query was answered in vain");
        }
    });
    Command::Ask(question)
}

/// How many calls of one handler run at once.
const MAX_CALLS: usize = 64;
