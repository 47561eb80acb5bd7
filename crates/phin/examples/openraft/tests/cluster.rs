//! A cluster of processes: the Raft leader is killed while writes go on, and a node joins.
#![expect(clippy::unwrap_used, reason = "what helps a test may fail as a test does")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use phin::ClusterKey;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    task::{JoinHandle, JoinSet, yield_now},
    time::timeout,
};

/// After this time, a test hangs.
const LONG: Duration = Duration::from_secs(120);
const PROGRAM: &str = env!("CARGO_BIN_EXE_phin-openraft");

/// The folder of a cluster: its key, and a folder for each node.
struct Cluster {
    folder: TempDir,
    voters: String,
}

impl Cluster {
    /// A cluster that begins with the voters n1 to n3.
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = ClusterKey::generate();
        fs::write(folder.path().join("cluster.key"), key.to_text().as_str()).unwrap();
        let mut ids = Vec::new();
        for name in ["n1", "n2", "n3"] {
            ids.push(id(&folder.path().join(name)).await);
        }
        Self { folder, voters: ids.join(",") }
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, name: &str, voters: &str, seeds: &[&Node]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.arg("run").arg(self.folder(name)).args(["--name", name, "--voters", voters]);
        // So few that nodes that come late get a snapshot.
        command.args(["--snapshot-every", "40", "--key-file"]).arg(self.folder("cluster.key"));
        for seed in seeds {
            command.args(["--join", &seed.addr]);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// The error output of a node that does not start.
    async fn refusal(&self, name: &str, voters: &str) -> String {
        let mut command = self.command(name, voters, &[]);
        let output = timeout(LONG, command.stderr(Stdio::piped()).output()).await;
        let output = output.expect("the node does not start").unwrap();
        assert!(!output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    async fn start(&self, name: &str, seeds: &[&Node]) -> Node {
        Node::start(name, self.command(name, &self.voters, seeds)).await
    }
}

/// Makes the folder of a node. Returns the node's id.
async fn id(folder: &Path) -> String {
    let output = Command::new(PROGRAM).arg("id").arg(folder).output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A running node. Dropping it kills it.
struct Node {
    name: String,
    addr: String,
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Node {
    async fn start(name: &str, mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut node = Self { name: name.to_owned(), addr: String::new(), child, input, output };
        // "node ID on ADDRESS"
        node.addr = node.line().await.split_once(" on ").unwrap().1.to_owned();
        node
    }

    async fn line(&mut self) -> String {
        let line = timeout(LONG, self.output.next_line()).await;
        line.expect("the node answers").unwrap().expect("the node runs")
    }

    /// Types a command. Returns the first line of its output.
    async fn say(&mut self, command: &str) -> String {
        self.input.write_all(format!("{command}\n").as_bytes()).await.unwrap();
        self.line().await
    }

    /// Types a command until this is its output.
    async fn say_until(&mut self, command: &str, wanted: &str) {
        let reached = async {
            while self.say(command).await != wanted {
                yield_now().await;
            }
        };
        assert!(timeout(LONG, reached).await.is_ok(), "{command} gives {wanted}");
    }

    /// The roles of the nodes of the Raft cluster, by name.
    async fn roles(&mut self) -> BTreeMap<String, String> {
        let mut roles = BTreeMap::new();
        let mut line = self.say("nodes").await;
        while !line.ends_with(" nodes") {
            let (name, rest) = line.split_once(' ').unwrap();
            roles.insert(name.to_owned(), rest.split_once(',').unwrap().0.to_owned());
            line = self.line().await;
        }
        roles
    }

    /// Waits until the roles are as wanted.
    async fn roles_until(&mut self, are_wanted: impl Fn(&BTreeMap<String, String>) -> bool) {
        let mut last = BTreeMap::new();
        let reached = async {
            loop {
                last = self.roles().await;
                if are_wanted(&last) {
                    return;
                }
                yield_now().await;
            }
        };
        assert!(timeout(LONG, reached).await.is_ok(), "{last:?}");
    }

    async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }
}

fn count(roles: &BTreeMap<String, String>, wanted: &str) -> usize {
    roles.values().filter(|role| *role == wanted).count()
}

/// Writes through one node for as long as the test wants. Each key is written once.
struct Writer {
    is_ending: Arc<AtomicBool>,
    task: JoinHandle<(Node, Vec<String>)>,
}

impl Writer {
    fn start(mut node: Node, prefix: &'static str) -> Self {
        let is_ending = Arc::new(AtomicBool::new(false));
        let ending = Arc::clone(&is_ending);
        let task = tokio::spawn(async move {
            let mut acknowledged = Vec::new();
            let mut number = 0;
            while !ending.load(Ordering::Acquire) {
                let key = format!("{prefix}{number}");
                match &*node.say(&format!("set {key} of-{key}")).await {
                    "ok" => acknowledged.push(key),
                    // The outcome of a write is unknown if the leader dies meanwhile.
                    error => assert!(error.starts_with("error: "), "{error}"),
                }
                number += 1;
            }
            (node, acknowledged)
        });
        Self { is_ending, task }
    }

    /// Ends the writes. Returns the node, and the keys whose writes were acknowledged.
    async fn end(self) -> (Node, Vec<String>) {
        self.is_ending.store(true, Ordering::Release);
        timeout(LONG, self.task).await.unwrap().unwrap()
    }
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_while_the_leader_dies_and_a_node_joins() {
    let cluster = Cluster::new().await;
    let first = cluster.start("n1", &[]).await;
    let second = cluster.start("n2", &[&first]).await;
    let mut nodes = vec![cluster.start("n3", &[&first, &second]).await, second, first];
    // A learner joins by itself, and stays one.
    nodes.push(cluster.start("n4", &[&nodes[0]]).await);
    for node in &mut nodes {
        let all = |roles: &_| {
            (count(roles, "leader"), count(roles, "voter"), count(roles, "learner")) == (1, 2, 1)
        };
        node.roles_until(all).await;
    }

    // The leader is killed while others write.
    let leader = nodes[0].roles().await.into_iter().find(|(_, role)| role == "leader").unwrap().0;
    let at = nodes.iter().position(|node| node.name == leader).unwrap();
    let killed = nodes.remove(at);
    let learner = nodes.pop().unwrap();
    let writer = Writer::start(nodes.pop().unwrap(), "a");
    let mut other = nodes.pop().unwrap();
    assert_eq!(other.say("set before yes").await, "ok");
    killed.kill().await;
    // The first try may be under way to the leader when it dies: then its outcome is unknown.
    other.say_until("set after yes", "ok").await;
    let roles = other.roles().await;
    assert_eq!(
        (count(&roles, "leader"), roles.len()),
        (1, 4),
        "a death removes no voter: {roles:?}"
    );
    assert_ne!(roles[&leader], "leader");

    // It is started again, and a fifth node joins.
    let mut restarted = cluster.start(&leader, &[&other]).await;
    assert_eq!(restarted.say("get after").await, "yes");
    let mut fifth = cluster.start("n5", &[&other]).await;
    fifth.roles_until(|roles| roles.get("n5").is_some_and(|role| role == "learner")).await;
    assert_eq!(
        other.say("remove n5").await,
        "error: the node is alive, and would be added again: stop it first"
    );
    assert_eq!(other.say("promote n5").await, "ok");
    fifth.roles_until(|roles| roles["n5"] != "learner").await;

    // All that was acknowledged is on all nodes.
    let (writing, acknowledged) = writer.end().await;
    assert!(!acknowledged.is_empty());
    for node in &mut [writing, other, restarted, fifth, learner] {
        for key in acknowledged.iter().map(String::as_str).chain(["before", "after"]) {
            let wanted = key.strip_prefix('a').filter(|n| n.parse::<u64>().is_ok());
            let wanted = wanted.map_or_else(|| "yes".to_owned(), |_| format!("of-{key}"));
            assert_eq!(node.say(&format!("get {key}")).await, wanted, "{key} on {}", node.name);
            node.say_until(&format!("local {key}"), &wanted).await;
        }
    }
}

#[tokio::test]
async fn all_nodes_are_killed_and_keep_what_was_acknowledged() {
    let cluster = Cluster::new().await;
    let first = cluster.start("n1", &[]).await;
    let mut nodes =
        vec![cluster.start("n2", &[&first]).await, cluster.start("n3", &[&first]).await, first];
    for number in 0..100 {
        assert_eq!(nodes[0].say(&format!("set {number} v{number}")).await, "ok");
    }
    for node in nodes.drain(..) {
        node.kill().await;
    }
    let first = cluster.start("n1", &[]).await;
    let _second = cluster.start("n2", &[&first]).await;
    let mut third = cluster.start("n3", &[&first]).await;
    for number in 0..100 {
        assert_eq!(third.say(&format!("get {number}")).await, format!("v{number}"));
    }
    // A node that joins now gets the first writes by a snapshot.
    let mut fourth = cluster.start("n4", &[&first]).await;
    fourth.say_until("local 0", "v0").await;
    fourth.say_until("local 99", "v99").await;
}

#[tokio::test]
async fn no_cluster_begins_unless_all_its_voters_want_the_same_one() {
    let cluster = Cluster::new().await;
    let ids: Vec<_> = cluster.voters.split(',').collect();
    // Two of three state the same voters; the other one, and a fourth, wait for each other.
    let fourth = id(&cluster.folder("n4")).await;
    let others = format!("{},{},{fourth}", ids[1], ids[2]);
    let mut nodes = vec![cluster.start("n1", &[]).await];
    nodes.push(Node::start("n2", cluster.command("n2", &cluster.voters, &[&nodes[0]])).await);
    nodes.push(Node::start("n3", cluster.command("n3", &others, &[&nodes[0]])).await);
    nodes.push(Node::start("n4", cluster.command("n4", &others, &[&nodes[0]])).await);
    // A command waits long for a leader, so each first voter has asked the others many times.
    let mut waiting = JoinSet::new();
    for mut node in nodes {
        waiting.spawn(async move {
            assert_eq!(
                node.say("set key value").await,
                "error: there is no leader",
                "{}",
                node.name
            );
            assert!(node.roles().await.is_empty());
            node.kill().await;
        });
    }
    while let Some(waited) = waiting.join_next().await {
        waited.unwrap();
    }
    // A node keeps to the voters that it was started with.
    let refusal = cluster.refusal("n3", &cluster.voters).await;
    assert!(refusal.contains("was started with --voters"), "{refusal}");
    // Nor does it start without its log.
    fs::remove_file(cluster.folder("n3").join("raft.redb")).unwrap();
    let refusal = cluster.refusal("n3", &others).await;
    assert!(refusal.contains("raft.redb is missing"), "{refusal}");
}
