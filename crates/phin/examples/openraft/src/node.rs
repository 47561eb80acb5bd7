//! [`Node`]: takes commands, and has the leader add members that join as learners.

use std::{
    collections::BTreeSet,
    fmt, fs,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use openraft::{
    ChangeMembers, Config, EmptyNode, ServerState, SnapshotPolicy,
    error::{ClientWriteError, RaftError},
};
use phin::{Builder, Cluster, Filter, Identity, MemberId, TopicHandler};
use serde::{Deserialize, Serialize};
use tokio::{
    select,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::{
    Error, NodeId, Raft, Set,
    bootstrap::{self, FirstVoters},
    rpc::{Answer, AskError, Client, Question},
    store::{StateMachine, Store},
};

/// How a node is started.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The folder of its identity, log and vote. Nothing of it may be lost or copied alone.
    pub folder: PathBuf,
    /// The voters with which the Raft cluster begins.
    pub first_voters: FirstVoters,
    /// After how many writes the log is replaced by a snapshot.
    pub snapshot_every: u64,
}

/// A command of a client or an operator. The leader carries it out.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Command {
    /// Sets a key.
    Set(Set),
    /// Reads a key. The value is not older than the command.
    Get(String),
    /// Makes a learner a voter, once it has the log.
    Promote(NodeId),
    /// Makes a voter a learner.
    Demote(NodeId),
    /// Removes a learner that is dead or has left.
    Remove(NodeId),
}

/// The outcome of a command.
pub type Outcome = Result<Done, Failure>;

/// A command was carried out.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Done {
    /// The value of the key; of a write, the one before.
    Value(Option<String>),
    /// The nodes of the Raft cluster are changed.
    Changed,
}

/// Why a command was not carried out.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Failure {
    /// It was not carried out: there is no leader, or not the one that it was sent to.
    NoLeader,
    /// It was not carried out, and would not be the next time.
    Refused(String),
    /// It may have been carried out, or still be.
    Unknown(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLeader => f.write_str("there is no leader"),
            Self::Refused(why) => f.write_str(why),
            Self::Unknown(why) => write!(f, "it may or may not have been carried out: {why}"),
        }
    }
}

impl std::error::Error for Failure {}

/// A node of the store.
pub struct Node {
    leading: Leading,
    client: Client,
    /// They run until the node is dropped.
    _handlers: Vec<TopicHandler>,
    _tasks: JoinSet<()>,
}

/// The parts that a leader needs.
#[derive(Clone)]
struct Leading {
    node: Cluster,
    raft: Raft,
    values: StateMachine,
}

/// A Raft node as the command `nodes` shows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Status {
    /// Its id.
    pub id: NodeId,
    /// Its name, if phin knows it.
    pub name: Option<String>,
    /// Its part in the Raft cluster.
    pub role: &'static str,
    /// Its state as a member, as this node sees it.
    pub state: &'static str,
}

/// Opens the folder of a node, or makes it with a new identity. Returns the node's id.
///
/// # Errors
/// The folder has an identity and no log: a voter that forgot its vote could vote twice.
pub fn open_folder(folder: &Path) -> Result<(Store, NodeId), Error> {
    let log = folder.join("raft.redb");
    if folder.join("identity.key").exists() && !log.exists() {
        let what = "is missing: restore it, or remove the whole folder to start another node";
        return Err(format!("{} {what}", log.display()).into());
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    // The log comes first: an identity without a log means that the log was lost.
    let store = Store::open(&log)?;
    let id = Identity::load_or_create(folder)?.id();
    Ok((store, NodeId(MemberId(id.to_bytes()))))
}

impl Node {
    /// Starts a node.
    ///
    /// # Errors
    /// Its folder cannot be used, it was started with other first voters before, or its phin node cannot be started.
    pub async fn start(builder: Builder, settings: Settings) -> Result<Self, Error> {
        let Settings { folder, first_voters, snapshot_every } = settings;
        let (store, id) = open_folder(&folder)?;
        store.promise(id, &first_voters)?;
        let (log, values) = store.split()?;
        let node = builder.data_dir(folder).tag(TAG, TAG_VALUE).start().await?;
        let (client, answers) = Client::new(node.clone(), first_voters.clone());
        let config = Arc::new(config(snapshot_every).validate()?);
        let raft = Raft::new(id, config, client.clone(), log, values.clone()).await?;
        let leading = Leading { node, raft, values };
        let answering = leading.clone();
        let mut handlers = vec![answers];
        handlers.extend(client.serve(move |question| {
            let leading = answering.clone();
            async move { leading.answer(question).await }
        }));
        let mut tasks = JoinSet::new();
        tasks.spawn(leading.clone().initialize(client.clone(), first_voters));
        tasks.spawn(leading.clone().admit(client.clone()));
        Ok(Self { leading, client, _handlers: handlers, _tasks: tasks })
    }

    /// Its phin node.
    pub const fn phin(&self) -> &Cluster {
        &self.leading.node
    }

    /// Has the leader carry out a command, and waits for a leader if there is none.
    ///
    /// # Errors
    /// The command was not carried out, or the outcome is unknown.
    pub async fn execute(&self, command: Command) -> Outcome {
        let give_up = Instant::now() + PATIENCE;
        loop {
            let outcome = self.execute_once(command.clone()).await;
            let may_repeat = match &outcome {
                Err(Failure::NoLeader) => true,
                Err(Failure::Unknown(_)) => matches!(command, Command::Get(_)),
                Ok(_) | Err(Failure::Refused(_)) => false,
            };
            if !may_repeat || Instant::now() >= give_up {
                return outcome;
            }
            sleep(RETRY).await;
        }
    }

    async fn execute_once(&self, command: Command) -> Outcome {
        let Some(leader) = self.leading.leader() else { return Err(Failure::NoLeader) };
        if leader == self.leading.me() {
            return self.leading.carry_out(command).await;
        }
        match self.client.ask(leader, Question::Command(command), COMMAND_PATIENCE * 2).await {
            Ok(Answer::Command(outcome)) => outcome,
            Err(AskError::NotSent(_)) => Err(Failure::NoLeader),
            Err(AskError::Unanswered) | Ok(_) => {
                Err(Failure::Unknown("the leader did not answer".to_owned()))
            }
        }
    }

    /// The value of a key that this node has, perhaps not the newest.
    pub fn local(&self, key: &str) -> Option<String> {
        self.leading.values.get(key)
    }

    /// The nodes of the Raft cluster in the order of their names, as this node knows them.
    pub fn nodes(&self) -> Vec<Status> {
        let metrics = self.leading.raft.server_metrics().borrow().clone();
        let membership = metrics.membership_config.membership();
        let voters: BTreeSet<_> = membership.voter_ids().collect();
        let members = self.phin().members();
        let status = |id: NodeId| {
            let member = members.get(id.0);
            Status {
                id,
                name: member.map(|member| member.name().to_owned()),
                role: match (metrics.current_leader == Some(id), voters.contains(&id)) {
                    (true, _) => "leader",
                    (false, true) => "voter",
                    (false, false) => "learner",
                },
                state: member.map_or("unknown", |member| member.state().as_str()),
            }
        };
        let mut nodes: Vec<_> = membership.nodes().map(|(id, _)| status(*id)).collect();
        nodes.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        nodes
    }

    /// Stops the node, and has it leave the phin cluster. It stays in the Raft cluster, and can be started again.
    ///
    /// # Errors
    /// The Raft node had failed.
    pub async fn stop(self) -> Result<(), Error> {
        self.leading.raft.shutdown().await?;
        self.phin().leave(LEAVE).await?;
        Ok(())
    }
}

impl Leading {
    fn me(&self) -> NodeId {
        NodeId(self.node.id())
    }

    /// The leader, as this node knows it.
    fn leader(&self) -> Option<NodeId> {
        self.raft.server_metrics().borrow().current_leader
    }

    async fn initialize(self, client: Client, voters: FirstVoters) {
        if let Err(error) = bootstrap::initialize(&self.node, &self.raft, &client, &voters).await {
            eprintln!("cannot initialize the Raft cluster: {error}");
        }
    }

    async fn answer(&self, question: Question) -> Answer {
        match question {
            Question::Hello => Answer::Hello,
            Question::Append(request) => Answer::Append(self.raft.append_entries(request).await),
            Question::Vote(request) => Answer::Vote(self.raft.vote(request).await),
            Question::Snapshot(request) => {
                Answer::Snapshot(self.raft.install_snapshot(request).await)
            }
            Question::Command(command) => Answer::Command(self.carry_out(command).await),
        }
    }

    /// Carries out a command as the leader.
    async fn carry_out(&self, command: Command) -> Outcome {
        if self.leader() != Some(self.me()) {
            return Err(Failure::NoLeader);
        }
        let done = timeout(COMMAND_PATIENCE, async {
            match command {
                Command::Set(set) => self.set(set).await,
                Command::Get(key) => self.get(&key).await,
                Command::Promote(id) => self.promote(id).await,
                Command::Demote(id) => {
                    self.change(ChangeMembers::RemoveVoters(BTreeSet::from([id]))).await
                }
                Command::Remove(id) => self.remove(id).await,
            }
        });
        done.await.unwrap_or_else(|_| Err(Failure::Unknown("no majority answers".to_owned())))
    }

    async fn set(&self, set: Set) -> Outcome {
        if set.key.len() > MAX_KEY_BYTES || set.value.len() > MAX_VALUE_BYTES {
            let limits =
                format!("a key has at most {MAX_KEY_BYTES} bytes, and a value {MAX_VALUE_BYTES}");
            return Err(Failure::Refused(limits));
        }
        // A leader that was deposed meanwhile does not know what becomes of the entry.
        let written = self.raft.client_write(set).await;
        written.map(|done| Done::Value(done.data)).map_err(unknown)
    }

    async fn get(&self, key: &str) -> Outcome {
        // It confirms that this node is still the leader, and that it has applied what was committed before.
        self.raft.ensure_linearizable().await.map_err(unknown)?;
        Ok(Done::Value(self.values.get(key)))
    }

    async fn promote(&self, id: NodeId) -> Outcome {
        self.check_is_node(id)?;
        // Returns once the node has the log. A voter without it would only be missing in majorities.
        self.raft.add_learner(id, EmptyNode {}, true).await.map_err(not_changed)?;
        self.change(ChangeMembers::AddVoterIds(BTreeSet::from([id]))).await
    }

    async fn remove(&self, id: NodeId) -> Outcome {
        self.check_is_node(id)?;
        if self.node.members().get(id.0).is_some_and(|member| member.state().is_live()) {
            let why = "the node is alive, and would be added again: stop it first";
            return Err(Failure::Refused(why.to_owned()));
        }
        self.change(ChangeMembers::RemoveNodes(BTreeSet::from([id]))).await
    }

    fn check_is_node(&self, id: NodeId) -> Result<(), Failure> {
        match self.has_node(id) {
            true => Ok(()),
            false => Err(Failure::Refused("the Raft cluster has no such node".to_owned())),
        }
    }

    fn has_node(&self, id: NodeId) -> bool {
        let metrics = self.raft.server_metrics().borrow().clone();
        metrics.membership_config.membership().get_node(&id).is_some()
    }

    async fn change(&self, change: ChangeMembers<NodeId, EmptyNode>) -> Outcome {
        // A voter that is removed stays as a learner.
        let changed = self.raft.change_membership(change, true).await;
        changed.map(|_| Done::Changed).map_err(not_changed)
    }

    /// While this node leads, adds each member that runs this store as a learner. It removes none: a death is an opinion, and a member
    /// that is dead now may be back in a second.
    async fn admit(self, client: Client) {
        let runs_store: Filter = format!("{TAG}={TAG_VALUE}").parse().expect("it is a filter");
        let (mut changes, mut metrics) = (self.node.subscribe(), self.raft.server_metrics());
        loop {
            let is_leader = metrics.borrow_and_update().state == ServerState::Leader;
            let members = self.node.members();
            let joined = members.matching(&runs_store).map(|member| NodeId(member.id()));
            let missing: Vec<_> = joined.filter(|&id| is_leader && !self.has_node(id)).collect();
            let mut has_failed = false;
            for id in missing {
                // Only a node with the same first voters answers.
                has_failed |= client.ask(id, Question::Hello, RETRY * 5).await.is_err()
                    || self.raft.add_learner(id, EmptyNode {}, false).await.is_err();
            }
            select! {
                notice = changes.next() => if notice.is_none() { return },
                changed = metrics.changed() => if changed.is_err() { return },
                () = sleep(RETRY * 5), if has_failed => {}
            }
        }
    }
}

fn unknown(error: impl fmt::Display) -> Failure {
    Failure::Unknown(error.to_string())
}

fn not_changed(error: RaftError<NodeId, ClientWriteError<NodeId, EmptyNode>>) -> Failure {
    match error {
        RaftError::APIError(ClientWriteError::ChangeMembershipError(why)) => {
            Failure::Refused(why.to_string())
        }
        error => unknown(error),
    }
}

fn config(snapshot_every: u64) -> Config {
    Config {
        cluster_name: "kv".to_owned(),
        // In milliseconds. A heartbeat is also how long an answer to entries is waited for, so a disk has time to write them.
        heartbeat_interval: 500,
        election_timeout_min: 2_000,
        election_timeout_max: 4_000,
        install_snapshot_timeout: 5_000,
        // Together shorter than the longest phin message, 16 MiB, also as JSON.
        max_payload_entries: 64,
        snapshot_max_chunk_size: 1_024 * 1_024,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(snapshot_every),
        max_in_snapshot_log_to_keep: snapshot_every / 2,
        ..Config::default()
    }
}

/// The tag of the members that run this store.
const TAG: &str = "raft";
const TAG_VALUE: &str = "kv";
/// How long a command waits for a leader.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a leader tries to carry out a command.
const COMMAND_PATIENCE: Duration = Duration::from_secs(10);
/// How long until something that could not be done is tried again.
const RETRY: Duration = Duration::from_millis(100);
/// How long others may take to learn that a node leaves.
const LEAVE: Duration = Duration::from_secs(2);
const MAX_KEY_BYTES: usize = 256;
const MAX_VALUE_BYTES: usize = 16 * 1_024;
