//! Clusters for tests, of the feature `testing`: start nodes, then kill, pause, cut off and restart them.
//!
//! [`TestCluster::start`] runs real nodes on a network in memory, with tokio's clock paused: no sockets, and no real time
//! passes. A failover that takes seconds takes milliseconds in a test, and every run is the same. On
//! [sockets](TestClusterBuilder::on_sockets) the same test runs over QUIC on loopback, in real time.
//!
//! ```
//! use std::time::Duration;
//!
//! use phin::{MemberState, testing::TestCluster};
//!
//! #[tokio::main(flavor = "current_thread", start_paused = true)] // in a test: #[tokio::test(start_paused = true)]
//! async fn main() {
//!     let cluster = TestCluster::start(3).await;
//!     let began = cluster.elapsed();
//!     cluster.kill(0);
//!     cluster.converged().await;
//!     let dead = cluster.node(1).members().get(cluster.node(0).id()).map(|member| member.state());
//!     assert_eq!(dead, Some(MemberState::Dead));
//!     assert!(cluster.elapsed() - began < Duration::from_secs(2));
//! }
//! ```
//!
//! # What is real
//! Handles, driver and protocol are those of a node in production. In memory, network and clock are not: a packet takes
//! one millisecond, none is lost unless its way is cut, a host refuses packets to a process that ended, as on Linux, and
//! there is no TLS, no NAT and no load.
//!
//! # What makes a test repeatable
//! Ids, keys and random numbers of the nodes come from a [seed](TestClusterBuilder::seed), which is the same in every
//! test unless set. Times are those of tokio's clock, [`Notice::Event`](crate::Notice::Event) included. The test
//! itself must not depend on anything else, such as the order of a `HashMap`. Tokio picks at random which branch of a
//! `select!` without `biased` it polls first, and in which order it wakes tasks that wait on one `watch` channel.

mod cuts;
mod doors;
mod gate;
mod memory;
mod sockets;
mod world;

use std::{
    collections::BTreeMap,
    error::Error,
    fmt,
    fmt::Write as _,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use phin_quic::{BindError, ClusterKey, Credentials, Identity};
use phin_swim::{Generation, Member, MemberId, MemberState, Promises};
use tokio::{
    task::AbortHandle,
    time::{Instant, sleep},
};

use crate::{
    Builder, Cluster, DEFAULT_PORT, StartError, Watcher,
    clock::Wall,
    keys::NodeKeys,
    peers::known_peers,
    random::Random,
    start::{Persisted, Surroundings, start_in},
    testing::{
        cuts::Cuts,
        doors::MemoryWatcher,
        gate::Gate,
        memory::{Memory, Network},
        sockets::NodeThread,
        world::Endpoint,
    },
    transport::{Quic, Transport},
    watcher::Launch,
};

/// The nodes of one test, numbered from 0. Dropping it ends all of them.
///
/// A node's application keeps running when its node is killed or paused: what the test's tasks do with the handle of
/// that node fails or waits.
pub struct TestCluster {
    settings: TestClusterBuilder,
    key: ClusterKey,
    random: Random,
    cuts: Cuts,
    /// In memory, the network.
    network: Option<Network>,
    nodes: Vec<Node>,
    began: Instant,
}

/// One node, over all its runs.
struct Node {
    identity: Arc<Identity>,
    random: Random,
    /// How this node differs from the others.
    configure: Option<Arc<Configure>>,
    /// The handle of its last run.
    cluster: Cluster,
    state: Mutex<State>,
}

type Configure = dyn Fn(Builder) -> Builder + Send + Sync;

enum State {
    Running(Process),
    Paused(Process),
    Ended,
}

/// The environment of a node.
enum Process {
    Task(Task),
    Thread(NodeThread),
}

/// A node's driver on the network in memory. Dropping it ends the node where it is.
struct Task {
    driver: AbortHandle,
    gate: Gate,
    network: Network,
    endpoint: Endpoint,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.network.kill(self.endpoint);
        self.driver.abort();
    }
}

impl Process {
    fn set_running(&self, is_running: bool) {
        match self {
            Self::Task(task) => task.gate.set(is_running),
            Self::Thread(thread) => thread.set_running(is_running),
        }
    }
}

/// The settings of a [`TestCluster`].
#[derive(Clone)]
#[must_use = "a builder does nothing until it is started"]
pub struct TestClusterBuilder {
    seed: u64,
    is_on_sockets: bool,
    configure: Arc<dyn Fn(usize, Builder) -> Builder + Send + Sync>,
}

impl Default for TestClusterBuilder {
    fn default() -> Self {
        Self { seed: 0, is_on_sockets: false, configure: Arc::new(|_, builder| builder) }
    }
}

impl TestClusterBuilder {
    /// Sets what the ids, keys and random numbers of the nodes derive from. Try several to see a test with other ids
    /// and other timings. Default 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Uses sockets on loopback instead of the network in memory, in real time. The nodes start with the timings of
    /// [`Builder::local`].
    pub fn on_sockets(mut self) -> Self {
        self.is_on_sockets = true;
        self
    }

    /// Changes the settings of each node, given its number. It is called at each start of a node.
    ///
    /// A node has the first three others as seeds, unless it is given some here. The key, the identity and the address
    /// that is bound are the test cluster's own.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// use phin::testing::TestCluster;
    ///
    /// let builder = TestCluster::builder().configure(|number, builder| {
    ///     builder.wan().name(format!("db-{number}")).retention(Duration::from_secs(3_600))
    /// });
    /// let cluster = builder.start(3).await;
    /// assert_eq!(cluster.node(2).name(), "db-2");
    /// # }
    /// ```
    pub fn configure(
        mut self,
        configure: impl Fn(usize, Builder) -> Builder + Send + Sync + 'static,
    ) -> Self {
        self.configure = Arc::new(configure);
        self
    }

    /// Starts so many nodes, and waits until each knows all.
    ///
    /// # Panics
    /// Tokio's clock runs, and the network is the one in memory; or it is paused, and the nodes are to have sockets. A
    /// node cannot start with its settings. The nodes do not find each other.
    pub async fn start(self, nodes: usize) -> TestCluster {
        self.check_clock();
        let random = Random::new(self.seed);
        let cuts = Cuts::default();
        let mut key = [0; 32];
        key[..8].copy_from_slice(&random.seed().to_le_bytes());
        let mut cluster = TestCluster {
            key: ClusterKey::from_bytes(key),
            random,
            network: (!self.is_on_sockets).then(|| Network::new(cuts.clone())),
            cuts,
            nodes: Vec::new(),
            began: Instant::now(),
            settings: self,
        };
        for _ in 0..nodes {
            cluster.start_next(None).await;
        }
        cluster.converged().await;
        cluster
    }

    fn check_clock(&self) {
        let before = Instant::now();
        thread::sleep(Duration::from_micros(1));
        let is_paused = Instant::now() == before;
        assert!(
            is_paused || self.is_on_sockets,
            "a TestCluster in memory needs tokio's clock paused: write #[tokio::test(start_paused = true)], or start it \
             `on_sockets`"
        );
        assert!(
            !(is_paused && self.is_on_sockets),
            "a TestCluster on sockets needs tokio's clock to run: write #[tokio::test] without `start_paused`"
        );
    }
}

impl fmt::Debug for TestClusterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestClusterBuilder")
            .field("seed", &self.seed)
            .field("is_on_sockets", &self.is_on_sockets)
            .finish_non_exhaustive()
    }
}

impl TestCluster {
    /// Starts so many nodes on a network in memory, `node-0`, `node-1` and so on, and waits until each knows all.
    ///
    /// The nodes have default settings: [`builder`](Self::builder) changes them.
    ///
    /// # Panics
    /// Tokio's clock is not paused.
    pub async fn start(nodes: usize) -> Self {
        Self::builder().start(nodes).await
    }

    /// Starts so many nodes on loopback sockets, and waits until each knows all.
    ///
    /// # Panics
    /// Tokio's clock is paused, or the system has no room for the nodes.
    pub async fn on_sockets(nodes: usize) -> Self {
        Self::builder().on_sockets().start(nodes).await
    }

    /// Returns a builder for a cluster.
    pub fn builder() -> TestClusterBuilder {
        TestClusterBuilder::default()
    }

    /// The handle of a node; of one that was restarted, that of its last run.
    ///
    /// # Panics
    /// There is no node with this number, as in all methods that take one.
    pub fn node(&self, node: usize) -> &Cluster {
        &self.get(node).cluster
    }

    /// The nodes that run: neither killed nor paused, nor shut down, and they have not left.
    pub fn running(&self) -> impl Iterator<Item = (usize, &Cluster)> {
        let nodes = self.nodes.iter().enumerate();
        nodes.filter(|(_, node)| node.is_running()).map(|(number, node)| (number, &node.cluster))
    }

    /// How much time has passed since the first node started, on tokio's clock. To let time pass, use
    /// [`tokio::time::sleep`].
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Starts one more node, whose settings are also changed by `configure`, and returns its number. This does not wait
    /// until it has joined.
    ///
    /// # Panics
    /// It cannot start with these settings.
    pub async fn add(
        &mut self,
        configure: impl Fn(Builder) -> Builder + Send + Sync + 'static,
    ) -> usize {
        self.start_next(Some(Arc::new(configure))).await
    }

    /// Starts a [`Watcher`], a client that is no member, with the nodes so far as its seeds. This does not wait until it is
    /// connected. It ends with its last handle.
    ///
    /// A partition does not cut it off: it reaches each node that runs. To take a node from it, kill or pause the node, or
    /// isolate it from all others.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use phin::testing::TestCluster;
    /// let cluster = TestCluster::start(3).await;
    /// let watcher = cluster.watcher();
    /// watcher.connected().await?;
    /// // It goes on with another node.
    /// let through = watcher.connected_to();
    /// let number = (0..3).find(|&number| Some(cluster.node(number).id()) == through);
    /// cluster.kill(number.ok_or("it is connected to a node")?);
    /// watcher.wait_until(|members| members.live_len() == 2).await?;
    /// assert_ne!(watcher.connected_to(), through);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    /// There is no node. On sockets also if the system has no port left.
    pub fn watcher(&self) -> Watcher {
        assert!(!self.nodes.is_empty(), "a watcher needs a node to watch through");
        let addrs = self.nodes.iter().map(|node| node.cluster.local_addr());
        let builder = Watcher::builder().seeds(addrs).key(self.key.clone());
        let Some(network) = &self.network else {
            return builder
                .start()
                .unwrap_or_else(|error| panic!("a watcher cannot start: {error}"));
        };
        let random = self.random.fork();
        let keys = NodeKeys::new(identity(&random));
        let launch = Launch { wall: Wall::Since(self.began), random, keys };
        let client = MemoryWatcher { doors: network.doors(), cuts: self.cuts.clone() };
        builder.start_in(launch, client)
    }

    /// Ends a node as SIGKILL does: it says nothing, and its host refuses further packets.
    pub fn kill(&self, node: usize) {
        *self.get(node).state() = State::Ended;
    }

    /// Switches the host of a node off: the node ends, and nothing answers in its place.
    pub fn power_off(&self, node: usize) {
        self.cuts.switch_off(self.node(node).local_addr());
        self.kill(node);
    }

    /// Stops a node as SIGSTOP does: it does nothing, its host answers, and what others send waits for it, up to 4,096
    /// packets. Does nothing if the node is paused or has ended.
    pub fn pause(&self, node: usize) {
        let mut state = self.get(node).state();
        if let State::Running(process) = std::mem::replace(&mut *state, State::Ended) {
            process.set_running(false);
            *state = State::Paused(process);
        }
    }

    /// Lets a paused node run again.
    pub fn resume(&self, node: usize) {
        let mut state = self.get(node).state();
        if let State::Paused(process) = std::mem::replace(&mut *state, State::Ended) {
            process.set_running(true);
            *state = State::Running(process);
        }
    }

    /// Starts a node again, at the same address and with the same identity, in the next generation. One that runs is
    /// killed first. It knows the peers of its last run, as a node with a data directory does. This does not wait until
    /// it has rejoined.
    ///
    /// # Panics
    /// It cannot start with its settings.
    pub async fn restart(&mut self, node: usize) {
        self.kill(node);
        let (members, addr) = (self.node(node).members(), self.node(node).local_addr());
        let expulsions = self.node(node).expulsions();
        if self.settings.is_on_sockets {
            Quic::released(addr).await;
        }
        self.cuts.switch_on(addr);
        let Node { identity, random, configure, .. } = self.get(node);
        let persisted = Persisted {
            identity: Arc::clone(identity),
            generation: Generation(members.me().generation().0 + 1),
            peers: known_peers(&members, &[]),
            data: Vec::new(),
            promises: Promises::default(),
            expulsions: expulsions.into_iter().map(Arc::unwrap_or_clone).collect(),
            data_dir: None,
        };
        let builder = self.settings(node, addr, configure.as_deref());
        let started = self.start_node(builder, persisted, random.clone()).await;
        let (process, cluster) = started.unwrap_or_else(|error| cannot_start(node, &error));
        self.nodes[node].cluster = cluster;
        *self.nodes[node].state() = State::Running(process);
    }

    /// Cuts the ways between each node of one group and each of the other, in both directions, until they
    /// [`heal`](Self::heal). Nodes in neither group reach both. Packets sent before still arrive.
    ///
    /// # Panics
    /// A node is in both groups.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// # use phin::testing::TestCluster;
    /// let cluster = TestCluster::start(5).await;
    /// cluster.partition([0, 1], [2, 3, 4]);
    /// cluster.converged().await;
    /// assert_eq!(cluster.node(0).members().live_len(), 2);
    /// assert_eq!(cluster.node(4).members().live_len(), 3);
    /// cluster.heal();
    /// cluster.converged().await;
    /// assert_eq!(cluster.node(0).members().live_len(), 5);
    /// # }
    /// ```
    pub fn partition(
        &self,
        one: impl IntoIterator<Item = usize>,
        other: impl IntoIterator<Item = usize>,
    ) {
        let addr = |node| self.node(node).local_addr();
        let other: Vec<usize> = other.into_iter().collect();
        for one in one {
            assert!(!other.contains(&one), "node {one} is in both groups of a partition");
            other.iter().for_each(|&other| self.cuts.cut(addr(one), addr(other)));
        }
    }

    /// Undoes all partitions.
    pub fn heal(&self) {
        self.cuts.heal();
    }

    /// Waits until all running nodes know how the cluster is: each considers alive exactly those running nodes that it
    /// reaches, perhaps through others, in their present generations, and their lists have the same fingerprint.
    ///
    /// A paused node counts as not running, so this waits until it is declared dead. To have it resume before that, let
    /// time pass instead.
    ///
    /// # Panics
    /// It takes longer than five minutes, on sockets one minute. The message says what each node knows.
    pub async fn converged(&self) {
        let deadline = if self.settings.is_on_sockets { SOCKETS_DEADLINE } else { MEMORY_DEADLINE };
        let began = Instant::now();
        loop {
            let differences = self.differences();
            if differences.is_empty() {
                return;
            }
            assert!(
                began.elapsed() < deadline,
                "the cluster has not converged within {deadline:?}:\n{differences}"
            );
            sleep(LOOK_INTERVAL).await;
        }
    }

    /// Describes each running node whose list is wrong: what it knows, and what it reaches. Empty if there is none.
    fn differences(&self) -> String {
        let mut text = String::new();
        for group in self.groups() {
            let present: BTreeMap<MemberId, Generation> = group
                .iter()
                .map(|node| node.members())
                .map(|members| (members.me().id(), members.me().generation()))
                .collect();
            let fingerprint = group[0].members().fingerprint();
            for node in &group {
                let members = node.members();
                let is_present = |member: &Arc<Member>| {
                    member.state() == MemberState::Alive
                        && present.get(&member.id()) == Some(&member.generation())
                };
                let knows_all = members.live_len() == group.len()
                    && members.live().all(is_present)
                    && members.fingerprint() == fingerprint;
                if !knows_all {
                    let known = members.live().map(|m| format!("{} {}", m.name(), m.state()));
                    let reached = group.iter().map(|node| node.name().to_owned());
                    let (name, known, reached) = (node.name(), list(known), list(reached));
                    writeln!(text, "- {name} knows: {known}; it reaches: {reached}")
                        .expect("writing to a string cannot fail");
                }
            }
        }
        text
    }

    /// The running nodes, those together that reach each other, perhaps through others.
    fn groups(&self) -> Vec<Vec<&Cluster>> {
        let mut left: Vec<&Cluster> = self.running().map(|(_, node)| node).collect();
        let mut groups = Vec::new();
        while !left.is_empty() {
            let mut group = vec![left.remove(0)];
            let mut next = 0;
            while let Some(node) = group.get(next) {
                let here = node.local_addr();
                let is_near = |node: &&Cluster| !self.cuts.is_cut(here, node.local_addr());
                let (near, far): (Vec<_>, Vec<_>) = left.into_iter().partition(is_near);
                group.extend(near);
                left = far;
                next += 1;
            }
            groups.push(group);
        }
        groups
    }

    async fn start_next(&mut self, configure: Option<Arc<Configure>>) -> usize {
        let number = self.nodes.len();
        let random = self.random.fork();
        let identity = identity(&random);
        let persisted = Persisted {
            identity: Arc::clone(&identity),
            generation: Generation(1),
            peers: Vec::new(),
            data: Vec::new(),
            promises: Promises::default(),
            expulsions: Vec::new(),
            data_dir: None,
        };
        let builder = self.settings(number, self.addr(number), configure.as_deref());
        let started = self.start_node(builder, persisted, random.clone()).await;
        let (process, cluster) = started.unwrap_or_else(|error| cannot_start(number, &error));
        let state = Mutex::new(State::Running(process));
        self.nodes.push(Node { identity, random, configure, cluster, state });
        number
    }

    /// Where a node listens that has not been started before: each is a host of its own, or has a free port.
    fn addr(&self, number: usize) -> SocketAddr {
        if self.settings.is_on_sockets {
            return (Ipv4Addr::LOCALHOST, 0).into();
        }
        let host = u32::try_from(number + 1).ok().filter(|host| *host < 1 << 24);
        let host = host.expect("a test has fewer than sixteen million nodes");
        (Ipv4Addr::from_bits(Ipv4Addr::new(10, 0, 0, 0).to_bits() + host), DEFAULT_PORT).into()
    }

    fn settings(&self, number: usize, addr: SocketAddr, configure: Option<&Configure>) -> Builder {
        let others = self.nodes.iter().enumerate().filter(|(other, _)| *other != number);
        let seeds = others.take(SEEDS).map(|(_, node)| node.cluster.local_addr().to_string());
        let mut builder = Cluster::builder().name(format!("node-{number}"));
        if self.settings.is_on_sockets {
            builder = builder.local();
        }
        builder = (self.settings.configure)(number, builder);
        if let Some(configure) = configure {
            builder = configure(builder);
        }
        if builder.seeds.is_empty() {
            builder = builder.seeds(seeds);
        }
        assert!(
            builder.data_dir.is_none(),
            "node {number} has a data directory; a TestCluster itself keeps what lasts from run to run"
        );
        builder.key(self.key.clone()).bind(addr)
    }

    async fn start_node(
        &self,
        builder: Builder,
        persisted: Persisted,
        random: Random,
    ) -> Result<(Process, Cluster), StartError> {
        match &self.network {
            Some(network) => self.start_task(network, builder, persisted, random).await,
            None => {
                let thread = NodeThread::start(builder, persisted, random, self.cuts.clone()).await;
                thread.map(|(thread, cluster)| (Process::Thread(thread), cluster))
            }
        }
    }

    async fn start_task(
        &self,
        network: &Network,
        builder: Builder,
        persisted: Persisted,
        random: Random,
    ) -> Result<(Process, Cluster), StartError> {
        let (gate, network) = (Gate::default(), network.clone());
        let surroundings = Surroundings {
            persisted: Some(persisted),
            wall: Wall::Since(self.began),
            random,
            bind: |builder: &Builder, identity: &Arc<Identity>, credentials: Credentials| {
                let addr = builder.bind;
                let bound = credentials.peer_id(identity).map_err(BindError::from);
                let bound =
                    bound.and_then(|id| network.bind(addr, id, gate.clone(), builder.watchers));
                bound.map_err(|source| StartError::Bind { addr, source })
            },
        };
        let (cluster, driver) = start_in::<Memory>(builder, surroundings).await?;
        let endpoint = driver.transport.endpoint;
        let driver = tokio::spawn(gate.clone().run(driver.run())).abort_handle();
        Ok((Process::Task(Task { driver, gate, network, endpoint }), cluster))
    }

    fn get(&self, number: usize) -> &Node {
        let nodes = self.nodes.len();
        let node = self.nodes.get(number);
        node.unwrap_or_else(|| panic!("there is no node {number}: {nodes} were started, from 0"))
    }
}

impl fmt::Debug for TestCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes = self.nodes.iter().map(|node| &node.cluster);
        f.debug_list().entries(nodes).finish()
    }
}

impl Node {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_running(&self) -> bool {
        matches!(*self.state(), State::Running(_))
            && !self.cluster.shared.commands.is_closed()
            && self.cluster.members().me().state() != MemberState::Left
    }
}

/// The files there, in alphabetical order.
fn list(items: impl Iterator<Item = String>) -> String {
    let mut items: Vec<_> = items.collect();
    items.sort();
    items.join(", ")
}

/// The next identity that derives from the seed.
fn identity(random: &Random) -> Arc<Identity> {
    let mut secret = [0; 32];
    secret[..8].copy_from_slice(&random.seed().to_le_bytes());
    Arc::new(Identity::from_seed(&secret))
}

/// Ends the test, with the error and its causes.
fn cannot_start(node: usize, error: &dyn Error) -> ! {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        write!(text, ": {error}").expect("writing to a string cannot fail");
        cause = error.source();
    }
    panic!("node {node} cannot start: {text}")
}

/// How many of the first nodes are the seeds of the others.
const SEEDS: usize = 3;
/// How often it is looked whether a cluster has converged.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// How long that may take: longer than a hang is given, and than it takes to find back after a split.
const MEMORY_DEADLINE: Duration = Duration::from_secs(300);
const SOCKETS_DEADLINE: Duration = Duration::from_secs(60);
