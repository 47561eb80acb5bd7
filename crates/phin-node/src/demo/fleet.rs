//! The processes of a demonstration, and their events. None outlives it: each is killed when it is dropped, and exits
//! when its standard input ends, which happens even if the demonstration is killed.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io::{self, Write},
    net::SocketAddr,
    path::PathBuf,
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use phin::{ClusterKey, EventInfo, MemberId, MemberInfo, MemberState};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdin, Command},
    sync::mpsc,
};

use crate::{
    events::{Changed, Line, What},
    failure::Failure,
    supervisor::VARIABLES,
};

/// All processes, in the order of their start.
pub(super) struct Fleet {
    program: PathBuf,
    profile: String,
    /// The lowest level of the nodes' logs to show; `None` to show none.
    log_level: Option<String>,
    key: ClusterKey,
    nodes: Vec<Node>,
    sender: mpsc::Sender<Arrival>,
    arrivals: mpsc::Receiver<Arrival>,
}

/// One process, and the cluster as it has reported it.
pub(super) struct Node {
    name: String,
    child: Child,
    /// Kept open while the process should run.
    _stdin: Option<ChildStdin>,
    fate: Fate,
    /// The members that it knows of, by id.
    members: BTreeMap<MemberId, MemberInfo>,
    log: Arc<Mutex<VecDeque<String>>>,
    /// Its HTTP address, once it has logged it.
    http: Option<SocketAddr>,
}

/// An event of a node, and when it arrived.
pub(super) struct Seen {
    pub(super) node: usize,
    pub(super) at: Instant,
    pub(super) what: What,
}

/// Whether a process is expected to end.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Fate {
    Runs,
    Ends,
}

/// An item from a node's standard output.
enum Arrival {
    Line { node: usize, at: Instant, text: String },
    Http { node: usize, addr: SocketAddr },
    End { node: usize },
}

impl Fleet {
    pub(super) fn new(profile: &str, log_level: Option<&str>) -> Result<Self, Failure> {
        let program = std::env::current_exe()
            .map_err(|error| Failure::runtime("cannot find this program", &error))?;
        let (sender, arrivals) = mpsc::channel(MAX_ARRIVALS);
        let key = ClusterKey::generate();
        let (profile, log_level) = (profile.into(), log_level.map(str::to_owned));
        Ok(Self { program, profile, log_level, key, nodes: Vec::new(), sender, arrivals })
    }

    pub(super) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The nodes that should run, without this one.
    pub(super) fn others_than(&self, node: usize) -> BTreeSet<usize> {
        let runs = |other: &usize| *other != node && self.nodes[*other].fate == Fate::Runs;
        (0..self.nodes.len()).filter(runs).collect()
    }

    pub(super) fn is_id_of(&self, node: usize, id: MemberId) -> bool {
        let node = &self.nodes[node];
        node.me().is_some_and(|member| member.id == id)
    }

    /// Starts another node, which joins through `seed`.
    pub(super) fn start_node(&mut self, seed: Option<SocketAddr>) -> Result<(), Failure> {
        let index = self.nodes.len();
        let name = format!("n{}", index + 1);
        let mut command = Command::new(&self.program);
        command.args(["run", "--exit-with-stdin", "--events", "json", "--bind", "127.0.0.1:0"]);
        command.args(["--cluster", "demo", "--name", &name, "--profile", &self.profile]);
        if let Some(seed) = seed {
            command.args(["--join", &seed.to_string()]);
        } else {
            command.args(["--http", "127.0.0.1:0"]);
        }
        if let Some(level) = &self.log_level {
            command.args(["--log", level]);
        }
        // Settings in the environment are for other nodes.
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("PHIN_") {
                command.env_remove(variable);
            }
        }
        for variable in VARIABLES {
            command.env_remove(variable);
        }
        // Other users can see command lines, but not environments.
        command.env("PHIN_CLUSTER_KEY", self.key.to_text().as_str());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Ctrl-C goes to the demonstration, which then ends the nodes.
        command.kill_on_drop(true).process_group(0);
        let mut child = command
            .spawn()
            .map_err(|error| Failure::runtime(format!("cannot start {name}"), &error))?;
        let log = Arc::default();
        if let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) {
            tokio::spawn(read_events(index, BufReader::new(stdout).lines(), self.sender.clone()));
            let keeper = LogKeeper {
                node: index,
                log: Arc::clone(&log),
                shown_as: self.log_level.is_some().then(|| name.clone()),
                sender: self.sender.clone(),
            };
            tokio::spawn(keeper.keep(BufReader::new(stderr).lines()));
        }
        let stdin = child.stdin.take();
        let (members, http) = (BTreeMap::new(), None);
        self.nodes.push(Node { name, child, _stdin: stdin, fate: Fate::Runs, members, log, http });
        Ok(())
    }

    /// Waits for the next event of any node. A node that ends unexpectedly is a failure.
    pub(super) async fn next(&mut self) -> Result<Seen, Failure> {
        loop {
            // The fleet holds a sender, so the channel stays open.
            match self.arrivals.recv().await {
                Some(Arrival::Line { node, at, text }) => {
                    let line: Line = serde_json::from_str(&text).map_err(|error| {
                        let what = format!("{} wrote {text:?}", self.nodes[node].name);
                        Failure::runtime(what, &error)
                    })?;
                    self.nodes[node].take(&line.what);
                    return Ok(Seen { node, at, what: line.what });
                }
                Some(Arrival::Http { node, addr }) => self.nodes[node].http = Some(addr),
                Some(Arrival::End { node }) if self.nodes[node].fate == Fate::Runs => {
                    return Err(self.nodes[node].ended_unasked());
                }
                Some(Arrival::End { .. }) | None => {}
            }
        }
    }

    /// The HTTP address of the first node.
    pub(super) async fn http(&mut self) -> Result<SocketAddr, Failure> {
        loop {
            if let Some(addr) = self.nodes[0].http {
                return Ok(addr);
            }
            self.next().await?;
        }
    }

    /// Kills a node with SIGKILL.
    pub(super) fn kill(&mut self, node: usize) -> Result<(), Failure> {
        let node = &mut self.nodes[node];
        node.fate = Fate::Ends;
        let killed = node.child.start_kill();
        killed.map_err(|error| Failure::runtime(format!("cannot kill {}", node.name), &error))
    }

    /// Asks a node to leave with SIGTERM.
    pub(super) fn terminate(&mut self, node: usize) -> Result<(), Failure> {
        let node = &mut self.nodes[node];
        node.fate = Fate::Ends;
        let pid = node.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        // A child that was reaped has no id, so no other process can be signalled.
        let Some(pid) = pid else {
            return Err(node.ended_unasked());
        };
        kill_process(pid, Signal::TERM)
            .map_err(|error| Failure::runtime(format!("cannot signal {}", node.name), &error))
    }

    pub(super) async fn wait_until_ended(&mut self, node: usize) -> Result<(), Failure> {
        let node = &mut self.nodes[node];
        match node.child.wait().await {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(Failure::Runtime(format!("{} ended with {status}", node.name))),
            Err(error) => Err(Failure::runtime(format!("cannot wait for {}", node.name), &error)),
        }
    }

    /// Ends all running nodes.
    pub(super) async fn end(mut self) {
        for node in &mut self.nodes {
            // This fails if the node has ended already.
            let _ = node.child.start_kill();
        }
        for node in &mut self.nodes {
            let _ = node.child.wait().await;
        }
    }
}

impl Node {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The number of live members in its list, including itself.
    pub(super) fn live(&self) -> usize {
        self.members.values().filter(|member| member.state == MemberState::Alive).count()
    }

    /// The address of the node, as its list has it.
    pub(super) fn addr(&self) -> Option<SocketAddr> {
        self.me().map(|member| member.addr)
    }

    pub(super) fn me(&self) -> Option<&MemberInfo> {
        self.members.values().find(|member| member.name.as_str() == self.name)
    }

    pub(super) fn process_id(&self) -> Option<u32> {
        self.child.id()
    }

    fn take(&mut self, what: &What) {
        if let What::Changed(Changed { event: EventInfo { member, .. }, .. }) = what {
            self.members.insert(member.id, member.clone());
        }
    }

    fn ended_unasked(&self) -> Failure {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let log: String = log.iter().map(|line| format!("\n  {line}")).collect();
        Failure::Runtime(format!("{} ended unexpectedly; its last log lines:{log}", self.name))
    }
}

async fn read_events(
    node: usize,
    mut lines: Lines<impl AsyncBufRead + Unpin>,
    to: mpsc::Sender<Arrival>,
) {
    while let Ok(Some(text)) = lines.next_line().await {
        let line = Arrival::Line { node, at: Instant::now(), text };
        if to.send(line).await.is_err() {
            return;
        }
    }
    let _ = to.send(Arrival::End { node }).await;
}

/// Keeps the last log lines of a node, in case it ends unexpectedly.
struct LogKeeper {
    node: usize,
    log: Arc<Mutex<VecDeque<String>>>,
    /// The name to print before each line; `None` to print nothing.
    shown_as: Option<String>,
    sender: mpsc::Sender<Arrival>,
}

impl LogKeeper {
    async fn keep(self, mut lines: Lines<impl AsyncBufRead + Unpin>) {
        while let Ok(Some(line)) = lines.next_line().await {
            if let Some(name) = &self.shown_as {
                // If standard error is closed, the line is lost.
                let _ = io::stderr().write_all(format!("{name} {line}\n").as_bytes());
            }
            if let Some(addr) = http_of(&line) {
                let _ = self.sender.send(Arrival::Http { node: self.node, addr }).await;
            }
            let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
            if log.len() == MAX_LOG_LINES {
                log.pop_front();
            }
            log.push_back(line);
        }
    }
}

/// The HTTP address in the log line of a node's start.
fn http_of(line: &str) -> Option<SocketAddr> {
    let (_, started) = line.split_once("node started")?;
    let (_, http) = started.split_once("http=\"")?;
    http.split_once('"')?.0.parse().ok()
}

/// Lines that wait to be processed. The nodes' pipes hold further ones.
const MAX_ARRIVALS: usize = 1024;
const MAX_LOG_LINES: usize = 20;
