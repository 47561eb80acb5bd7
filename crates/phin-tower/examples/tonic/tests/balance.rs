//! Calls go on while servers, each a process of its own, are restarted and killed.
#![expect(clippy::unwrap_used, reason = "what helps a test may fail as a test does")]

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use phin::{Cluster, ClusterKey, Member, MemberId, MemberState};
use phin_tonic::{
    client::{self, BalancedChannel, Rotation},
    echo::{EchoClient, Request},
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    sync::watch,
    task::JoinSet,
    time::timeout,
};
use tonic::Status;

const SERVERS: [&str; 3] = ["a", "b", "c"];
/// How many calls are under way at all times.
const CALLERS: usize = 8;
/// After this time, a test hangs.
const LONG: Duration = Duration::from_secs(120);

/// A server that runs as a process. Dropping it kills it.
struct Server(Child);

impl Server {
    async fn start(name: &str, key_file: &Path, seed: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_phin-tonic"));
        command.args(["serve", name, "--join", seed, "--key-file"]).arg(key_file);
        let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = timeout(LONG, lines.next_line()).await.unwrap().unwrap().unwrap();
        assert!(first.contains("gRPC on 127.0.0.1:"), "{first}");
        // It may print more.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self(child)
    }

    /// Sends SIGTERM, and waits until the process has ended.
    async fn drain(mut self) {
        let id = self.0.id().unwrap().to_string();
        assert!(Command::new("kill").arg(id).status().await.unwrap().success());
        assert!(timeout(LONG, self.0.wait()).await.unwrap().unwrap().success());
    }

    async fn kill(mut self) {
        self.0.kill().await.unwrap();
    }
}

/// Calls that are sent all the time, by several tasks.
struct Calls {
    tasks: JoinSet<()>,
    is_ending: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    failed: Arc<Mutex<Vec<Status>>>,
}

impl Calls {
    fn start(channel: &BalancedChannel) -> Self {
        let mut calls = Self {
            tasks: JoinSet::new(),
            is_ending: Arc::default(),
            answered: Arc::default(),
            failed: Arc::default(),
        };
        for _ in 0..CALLERS {
            let (channel, is_ending) = (channel.clone(), Arc::clone(&calls.is_ending));
            let (answered, failed) = (Arc::clone(&calls.answered), Arc::clone(&calls.failed));
            calls.tasks.spawn(async move {
                while !is_ending.load(Ordering::Acquire) {
                    match call(&channel).await {
                        Ok(_) => drop(answered.fetch_add(1, Ordering::Relaxed)),
                        Err(status) => failed.lock().unwrap().push(status),
                    }
                }
            });
        }
        calls
    }

    /// Ends the calls. Returns how many were answered, and those that failed.
    async fn end(mut self) -> (usize, Vec<Status>) {
        self.is_ending.store(true, Ordering::Release);
        while let Some(ended) = timeout(LONG, self.tasks.join_next()).await.unwrap() {
            ended.unwrap();
        }
        let failed = std::mem::take(&mut *self.failed.lock().unwrap());
        (self.answered.load(Ordering::Relaxed), failed)
    }
}

/// One call. Returns the name of the server.
async fn call(channel: &BalancedChannel) -> Result<String, Status> {
    let request = Request { text: "hello".to_owned(), work_millis: 5 };
    let reply = EchoClient::new(channel.clone()).echo(request).await?.into_inner();
    assert_eq!(reply.text, "hello");
    Ok(reply.server)
}

/// Sends calls until each of these servers has answered one: then all of them are in rotation.
async fn until_all_answer(channel: &BalancedChannel, servers: &[&str]) {
    let mut missing = servers.to_vec();
    let all = async {
        while !missing.is_empty() {
            let server = call(channel).await.unwrap();
            missing.retain(|name| *name != server);
        }
    };
    assert!(timeout(LONG, all).await.is_ok(), "no answer of {missing:?}");
}

/// The id of the live member with this name.
fn id_of(client: &Cluster, name: &str) -> MemberId {
    let members = client.members();
    members.live().find(|member| member.name() == name).map(|member| member.id()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_fails_while_servers_restart_nor_once_a_death_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let key_file = folder.path().join("cluster.key");
    let key = ClusterKey::generate();
    fs::write(&key_file, key.to_text().as_str()).unwrap();
    let client = Cluster::builder().name("client").key(key).lan().local().start().await.unwrap();
    let seed = client.local_addr().to_string();
    let mut servers = Vec::new();
    for name in SERVERS {
        servers.push(Server::start(name, &key_file, &seed).await);
    }
    let (rotation, mut in_rotation) = watch::channel(BTreeSet::new());
    let channel = client::channel(&client, "role=echo".parse().unwrap(), move |change| {
        rotation.send_modify(|servers: &mut BTreeSet<MemberId>| {
            let is_change = match change {
                Rotation::In(id) => servers.insert(id),
                Rotation::Out(id) => servers.remove(&id),
            };
            assert!(is_change, "{change:?} is a change");
        });
    });
    until_all_answer(&channel, &SERVERS).await;

    // Each server drains and is started again, somewhere else: no call fails at any time.
    let calls = Calls::start(&channel);
    for (server, name) in servers.iter_mut().zip(SERVERS) {
        let id = id_of(&client, name);
        let next = Server::start("next", &key_file, &seed).await;
        std::mem::replace(server, next).drain().await;
        assert!(!in_rotation.borrow().contains(&id), "{name} is out");
        until_all_answer(&channel, &["next"]).await;
        // The name shows which server answers.
        let next = std::mem::replace(server, Server::start(name, &key_file, &seed).await);
        until_all_answer(&channel, &[name]).await;
        next.drain().await;
    }
    let (answered, failed) = calls.end().await;
    assert!(failed.is_empty(), "{} of {answered} calls failed: {:?}", failed.len(), failed[0]);
    assert!(answered > 0);

    // A server is killed: calls under way there fail. Of those that are sent once it is out of rotation, none fails.
    let calls = Calls::start(&channel);
    let id = id_of(&client, "b");
    servers.remove(1).kill().await;
    let is_out = in_rotation.wait_for(|servers| !servers.contains(&id));
    timeout(LONG, is_out).await.unwrap().unwrap();
    let later = Calls::start(&channel);
    // All callers go on until the cluster knows of the death, too.
    let is_alive = |member: &Member| member.state() == MemberState::Alive;
    let noticed = client.wait_until(|members| !members.get(id).is_some_and(|m| is_alive(m)));
    timeout(LONG, noticed).await.unwrap().unwrap();
    until_all_answer(&channel, &["a", "c"]).await;
    let (answered, failed) = later.end().await;
    assert!(failed.is_empty(), "{} of {answered} calls failed: {:?}", failed.len(), failed[0]);
    assert!(!in_rotation.borrow().contains(&id));
    // A failed call closes its connection to all callers, so each meets it once. One more call may have been assigned to it.
    let (_, failed) = calls.end().await;
    assert!(failed.len() <= CALLERS + 1, "{} calls failed: {:?}", failed.len(), failed[0]);
}
