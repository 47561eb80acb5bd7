//! [`Client`]: questions to other nodes, and their answers, as phin messages.
//!
//! Raft's messages are encrypted and their senders are authenticated, by the same keys that make the nodes members. Nodes need no other
//! port, and a node that moves keeps its id. Raft copes with messages that are lost, late or in another order; an answer finds its
//! question by a number.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use openraft::{
    EmptyNode, RaftNetwork, RaftNetworkFactory,
    error::{InstallSnapshotError, RPCError, RaftError, RemoteError, Unreachable},
    network::{Backoff, RPCOption},
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest,
        InstallSnapshotResponse, VoteRequest, VoteResponse,
    },
};
use phin::{
    Cluster, MemberId, Members, Message, SendError, SendFailure, SendOptions, Topic, TopicHandler,
};
use serde::{Deserialize, Serialize};
use tokio::{select, sync::oneshot, time::timeout};

use crate::{
    NodeId, TypeConfig,
    bootstrap::FirstVoters,
    node::{Command, Outcome},
};

/// A question to another node.
#[derive(Debug, Deserialize, Serialize)]
pub enum Question {
    /// Whether it was started with the same first voters.
    Hello,
    /// Raft: append these entries.
    Append(AppendEntriesRequest<TypeConfig>),
    /// Raft: vote for the sender.
    Vote(VoteRequest<NodeId>),
    /// Raft: install this part of a snapshot.
    Snapshot(InstallSnapshotRequest<TypeConfig>),
    /// Carry this out, as the leader.
    Command(Command),
}

/// The answer to a question of the same name.
#[derive(Debug, Deserialize, Serialize)]
#[expect(missing_docs, reason = "the names are those of the questions")]
pub enum Answer {
    Hello,
    Append(Result<AppendEntriesResponse<NodeId>, RaftError<NodeId>>),
    Vote(Result<VoteResponse<NodeId>, RaftError<NodeId>>),
    Snapshot(Result<InstallSnapshotResponse<NodeId>, RaftError<NodeId, InstallSnapshotError>>),
    Command(Outcome),
}

/// Why there is no answer.
#[derive(Debug)]
pub enum AskError {
    /// The node has not received the question.
    NotSent(SendError),
    /// The node may have received the question.
    Unanswered,
}

impl std::fmt::Display for AskError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotSent(error) => error.fmt(f),
            Self::Unanswered => f.write_str("the node did not answer"),
        }
    }
}

impl std::error::Error for AskError {}

/// A question or an answer, as it is sent.
#[derive(Deserialize, Serialize)]
struct Envelope<T> {
    /// The first voters of the sender.
    group: FirstVoters,
    /// The number of the question.
    number: u64,
    content: T,
}

/// Asks other nodes.
#[derive(Clone)]
pub struct Client(Arc<Shared>);

struct Shared {
    node: Cluster,
    group: FirstVoters,
    questions: Topic,
    /// Commands have a topic of their own: many that wait for a majority must not delay the votes that bring one.
    commands: Topic,
    answers: Topic,
    next: AtomicU64,
    /// Questions without an answer. Each is asked by a call, which removes it when it ends.
    open: Mutex<BTreeMap<(MemberId, u64), oneshot::Sender<Answer>>>,
    /// Nodes with other first voters, at most [`MAX_IGNORED`].
    ignored: Mutex<BTreeSet<MemberId>>,
}

impl Client {
    /// A client of this node. The result handles the answers.
    pub fn new(node: Cluster, group: FirstVoters) -> (Self, TopicHandler) {
        let topic = |name: &str| name.parse().expect("it is a topic");
        let (questions, commands) = (topic("kv/questions"), topic("kv/commands"));
        let answers = topic("kv/answers");
        let (next, open, ignored) = (AtomicU64::new(0), Mutex::default(), Mutex::default());
        let shared = Shared { node, group, questions, commands, answers, next, open, ignored };
        let client = Self(Arc::new(shared));
        let receiving = client.clone();
        let handler = client.0.node.on_topic(&client.0.answers, move |message| {
            receiving.receive(&message);
            std::future::ready(())
        });
        (client, handler)
    }

    /// Asks a node, and waits for its answer.
    ///
    /// # Errors
    /// There is none within `patience`, or the node died, left or was restarted before.
    pub async fn ask(
        &self,
        to: NodeId,
        question: Question,
        patience: Duration,
    ) -> Result<Answer, AskError> {
        let number = self.0.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        let _open = Open::new(self, (to.0, number), sender);
        let run = |members: &Members| {
            let member = members.get(to.0).filter(|member| member.state().is_live());
            member.map(|member| member.generation())
        };
        let asked_run = run(&self.0.node.members());
        let asked = async {
            let options = SendOptions::default().deadline(patience);
            let topic = match question {
                Question::Command(_) => &self.0.commands,
                _ => &self.0.questions,
            };
            match self.send(to.0, topic, number, &question, options).await {
                Ok(()) => select! {
                    answer = answer => answer.map_err(|_| AskError::Unanswered),
                    // The process that has the question is known to have ended.
                    _ = self.0.node.wait_until(|members| run(members) != asked_run) => {
                        Err(AskError::Unanswered)
                    }
                },
                Err(error) if is_surely_not_taken(&error) => Err(AskError::NotSent(error)),
                Err(_) => Err(AskError::Unanswered),
            }
        };
        timeout(patience, asked).await.unwrap_or(Err(AskError::Unanswered))
    }

    /// Answers questions of nodes with the same first voters by `answer`, until the result is dropped.
    pub fn serve<H, F>(&self, answer: H) -> [TopicHandler; 2]
    where
        H: Fn(Question) -> F + Clone + Send + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        [&self.0.questions, &self.0.commands].map(|topic| self.serve_topic(topic, answer.clone()))
    }

    fn serve_topic<H, F>(&self, topic: &Topic, answer: H) -> TopicHandler
    where
        H: Fn(Question) -> F + Clone + Send + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        let client = self.clone();
        self.0.node.on_topic(topic, move |message| {
            let (client, answer) = (client.clone(), answer.clone());
            async move {
                let Some(asked) = client.open_envelope::<Question>(&message) else { return };
                let answer = answer(asked.content).await;
                // Only the run of the process that asked waits for the answer. If it is lost, that run asks again.
                let options = SendOptions::default().generation(message.generation);
                let topic = &client.0.answers;
                let _ = client.send(message.from, topic, asked.number, &answer, options).await;
            }
        })
    }

    fn receive(&self, message: &Message) {
        let Some(answer) = self.open_envelope(message) else { return };
        if let Some(waiting) = self.open().remove(&(message.from, answer.number)) {
            // The call may have ended just now.
            let _ = waiting.send(answer.content);
        }
    }

    /// The content of a message, if its sender was started with the same first voters.
    fn open_envelope<T: for<'de> Deserialize<'de>>(
        &self,
        message: &Message,
    ) -> Option<Envelope<T>> {
        let envelope: Envelope<T> = serde_json::from_slice(&message.body).ok()?;
        if envelope.group != self.0.group {
            self.complain_once(message.from, &envelope.group);
            return None;
        }
        Some(envelope)
    }

    fn complain_once(&self, from: MemberId, group: &FirstVoters) {
        let mut ignored = self.0.ignored.lock().unwrap_or_else(PoisonError::into_inner);
        if ignored.len() < MAX_IGNORED && ignored.insert(from) {
            eprintln!("ignores {from}, which was started with --voters {group}");
        }
    }

    async fn send<T: Serialize>(
        &self,
        to: MemberId,
        topic: &Topic,
        number: u64,
        content: T,
        options: SendOptions,
    ) -> Result<(), SendError> {
        let envelope = Envelope { group: self.0.group.clone(), number, content };
        let body = serde_json::to_vec(&envelope).expect("its maps have texts as keys");
        self.0.node.send_with(to, topic, body, options).await
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<(MemberId, u64), oneshot::Sender<Answer>>> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the application at the other node has not received the message, and will not.
const fn is_surely_not_taken(error: &SendError) -> bool {
    match error {
        SendError::Refused(_) => true,
        SendError::Failed(failure) => matches!(
            failure,
            SendFailure::QueueFull | SendFailure::NoReceiver | SendFailure::Unreachable
        ),
        _ => false,
    }
}

/// A question without an answer, for as long as somebody waits for it.
struct Open<'a> {
    client: &'a Client,
    key: (MemberId, u64),
}

impl<'a> Open<'a> {
    fn new(client: &'a Client, key: (MemberId, u64), answer: oneshot::Sender<Answer>) -> Self {
        client.open().insert(key, answer);
        Self { client, key }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.client.open().remove(&self.key);
    }
}

impl RaftNetworkFactory<TypeConfig> for Client {
    type Network = Peer;

    async fn new_client(&mut self, target: NodeId, _node: &EmptyNode) -> Peer {
        Peer { client: self.clone(), target }
    }
}

/// Another node, for openraft.
pub struct Peer {
    client: Client,
    target: NodeId,
}

type Failed<E = openraft::error::Infallible> = RPCError<NodeId, EmptyNode, RaftError<NodeId, E>>;

impl Peer {
    /// Asks, and takes the answer apart with `answer`.
    async fn ask<T, E: std::error::Error>(
        &self,
        question: Question,
        option: &RPCOption,
        answer: impl FnOnce(Answer) -> Option<Result<T, RaftError<NodeId, E>>>,
    ) -> Result<T, Failed<E>> {
        // openraft waits before it tries again.
        let unreachable = |error: AskError| RPCError::Unreachable(Unreachable::new(&error));
        let answered = self.client.ask(self.target, question, option.hard_ttl()).await;
        match answer(answered.map_err(unreachable)?) {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(error)) => Err(RemoteError::new(self.target, error).into()),
            // The answer to another question.
            None => Err(unreachable(AskError::Unanswered)),
        }
    }
}

impl RaftNetwork<TypeConfig> for Peer {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<NodeId>, Failed> {
        let asked = self.ask(Question::Append(request), &option, |answer| match answer {
            Answer::Append(answer) => Some(answer),
            _ => None,
        });
        asked.await
    }

    async fn vote(
        &mut self,
        request: VoteRequest<NodeId>,
        option: RPCOption,
    ) -> Result<VoteResponse<NodeId>, Failed> {
        let asked = self.ask(Question::Vote(request), &option, |answer| match answer {
            Answer::Vote(answer) => Some(answer),
            _ => None,
        });
        asked.await
    }

    async fn install_snapshot(
        &mut self,
        request: InstallSnapshotRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<InstallSnapshotResponse<NodeId>, Failed<InstallSnapshotError>> {
        let asked = self.ask(Question::Snapshot(request), &option, |answer| match answer {
            Answer::Snapshot(answer) => Some(answer),
            _ => None,
        });
        asked.await
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(BACKOFF))
    }
}

/// How long a node that does not answer is left alone.
const BACKOFF: Duration = Duration::from_millis(200);
/// Of how many nodes with other first voters this node complains.
const MAX_IGNORED: usize = 64;
