//! [`Builder`]: what a node needs to start, and the start.

use std::{
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroUsize,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use phin_quic::{
    ClusterName, Credentials, HostQuestions, Identity, Keyring, Transport, TransportConfig,
};
use phin_swim::{Config, Generation, Local, Name, Swim};
use tokio::{
    sync::{mpsc, watch},
    task::{JoinHandle, spawn_blocking},
};
use tracing::debug;

use crate::{
    Cluster, Newcomer, StartError,
    address::{AddressWatch, advertised},
    admission::{Decisions, Hook},
    advertised_name::AdvertisedName,
    clock::Clock,
    cluster::Shared,
    command::COMMANDS,
    data_dir::DataDir,
    driver::{Driver, Hosts},
    join::{DEFAULT_PORT, Joiner, lookup, with_port},
    keeper::Keeper,
    keys::{NodeKeys, member_id},
    peers::KnownPeer,
    returning::Returning,
    seeds::{Company, Seed, Seeding},
    status::Status,
    subscription::Publisher,
};

/// What a node needs to start. Only [`key`](Self::key) or [`certificates`](Self::certificates) must
/// be given.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is started"]
pub struct Builder {
    name: Option<String>,
    cluster: String,
    admission: Option<Admission>,
    bind: SocketAddr,
    advertise: Option<Advertise>,
    seeds: Vec<String>,
    data_dir: Option<PathBuf>,
    config: Config,
    retention: Option<Duration>,
    closed_port: u16,
    event_buffer: NonZeroUsize,
    hook: Option<Hook>,
}

/// What admits a node to its cluster.
#[derive(Clone)]
enum Admission {
    Key(Keyring),
    Certificates { ca_pem: String, cert_pem: String, key_pem: String },
}

/// Where others are told to reach the node.
#[derive(Clone, Debug)]
enum Advertise {
    Addr(SocketAddr),
    Name(String),
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            name: None,
            cluster: "phin".to_owned(),
            admission: None,
            bind: (Ipv4Addr::LOCALHOST, 0).into(),
            advertise: None,
            seeds: Vec::new(),
            data_dir: None,
            closed_port: DISCARD_PORT,
            config: Config::default(),
            retention: None,
            event_buffer: EVENT_BUFFER,
            hook: None,
        }
    }
}

impl Builder {
    /// The node's label for people: 1 to 64 bytes, without spaces. Default: `node-` and the first 8
    /// digits of its id.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The cluster's name: 1 to 64 letters, digits, `-`, `_` and `.`. Nodes of different clusters refuse each other.
    /// Default `phin`.
    pub fn cluster(mut self, name: impl Into<String>) -> Self {
        self.cluster = name.into();
        self
    }

    /// The key that admits nodes to the cluster: who has it is in. A [`Keyring`] holds further ones,
    /// while one key replaces another. It replaces certificates given before.
    pub fn key(mut self, key: impl Into<Keyring>) -> Self {
        self.admission = Some(Admission::Key(key.into()));
        self
    }

    /// The CA that admits nodes to the cluster, and this node's certificate and private key
    /// (Ed25519), each as PEM. They replace a key given before. The private key is the node's
    /// identity, also where there is a data directory.
    pub fn certificates(
        mut self,
        ca_pem: impl Into<String>,
        cert_pem: impl Into<String>,
        key_pem: impl Into<String>,
    ) -> Self {
        self.admission = Some(Admission::Certificates {
            ca_pem: ca_pem.into(),
            cert_pem: cert_pem.into(),
            key_pem: key_pem.into(),
        });
        self
    }

    /// The address to listen on, and to send from. Default `127.0.0.1:0`: a free port that is reached from this machine
    /// alone, and reaches no other; `0.0.0.0:7646` is a port of all its IPv4 addresses.
    pub fn bind(mut self, addr: SocketAddr) -> Self {
        self.bind = addr;
        self
    }

    /// The address under which others reach this node; port 0 stands for the bound one. Default:
    /// the bound address, or, if that is a wildcard, the local address that traffic to other
    /// networks leaves from.
    pub fn advertise(mut self, addr: SocketAddr) -> Self {
        self.advertise = Some(Advertise::Addr(addr));
        self
    }

    /// The same by a name, "host" or "host:port", for a node whose address changes; without a port, or with port 0, the
    /// bound port. It replaces an address given before.
    ///
    /// The name is resolved at the start and then every 10 s. When it leads elsewhere, the node advertises the new
    /// address. While it does not resolve, the last address stays; at the start it is tried for 10 s. Of several addresses
    /// one is advertised, if possible of the family that the node is bound to, for as long as the name has it. A loopback
    /// address counts only for a node that is bound to one.
    pub fn advertise_name(mut self, name: impl Into<String>) -> Self {
        self.advertise = Some(Advertise::Name(name.into()));
        self
    }

    /// Where to find members, each "host:port" or "host" (port 7646); added to those given before. While the node runs,
    /// names are resolved again and every address that belongs to no live member is tried: soon at first, then every
    /// 10 s, in a cluster of many members about once a second by all together. So clusters that formed apart become one.
    /// The node's own address is skipped: all nodes can have the same seeds.
    pub fn seeds(mut self, seeds: impl IntoIterator<Item: Into<String>>) -> Self {
        self.seeds.extend(seeds.into_iter().map(Into::into));
        self
    }

    /// Where the node keeps its identity, its generation and the peers it knows, so that after a
    /// restart it is the same member, and finds back through any of these peers. Made if it does not
    /// exist; no two nodes can use one. Default: nowhere, each start is a new member.
    pub fn data_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(path.into());
        self
    }

    /// How the protocol behaves. Default [`Config::lan`].
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Has members evicted that live but are degraded for so long ([`Config::evict_degraded_after`]). Default: they
    /// are kept. Set it alike at all nodes, and after a preset.
    pub fn evict_degraded_after(mut self, after: Duration) -> Self {
        self.config.evict_degraded_after = Some(after);
        self
    }

    /// Lets the protocol period become so long while nothing happens ([`Config::max_protocol_period`]). Default: it
    /// stays as it is. After a preset.
    pub fn max_period(mut self, longest: Duration) -> Self {
        self.config.max_protocol_period = Some(longest);
        self
    }

    /// Members in one data centre: [`Config::lan`], the default.
    pub fn lan(self) -> Self {
        self.config(Config::lan())
    }

    /// Members on several continents: [`Config::wan`].
    pub fn wan(self) -> Self {
        self.config(Config::wan())
    }

    /// Members on one machine: [`Config::local`].
    pub fn local(self) -> Self {
        self.config(Config::local())
    }

    /// How long a member that died or left is remembered, whatever the [`config`](Self::config)
    /// says: it is shown, redialled, and recognised when it returns. Then it is forgotten, here and at
    /// all others, so the shortest retention in the cluster counts. Default 24 h; at least ten protocol
    /// periods.
    pub fn retention(mut self, retention: Duration) -> Self {
        self.retention = Some(retention);
        self
    }

    /// By how many changes a subscriber may lag before it misses some. More costs memory: 32 bytes
    /// each, and some 100 for each change that has come. Default 1,024.
    pub fn event_buffer(mut self, changes: NonZeroUsize) -> Self {
        self.event_buffer = changes;
        self
    }

    /// The UDP port that no process of any member's host uses; asking for it tells whether a silent
    /// member's host is there. 9, *discard*, unless changed. Asking is turned off by
    /// [`Config::ask_hosts`].
    pub fn closed_port(mut self, port: u16) -> Self {
        self.closed_port = port;
        self
    }

    /// Asks the application about each newcomer that wants to join through this node: `Ok` lets it in, an error is the
    /// reason why not, of which [`JoinRefusal::MAX_REASON_CHARS`](crate::JoinRefusal::MAX_REASON_CHARS) reach the
    /// newcomer as the error of its join. Default: whoever has the key or a certificate is let in.
    ///
    /// A newcomer is who is not in this node's list, be it as dead or left. It is asked about at the node through which
    /// it joins, before anything of it is known to others; once one member has admitted it, it is a member for all,
    /// so every node should have the same hook. A seed through which this node joins is admitted by that.
    ///
    /// The hook runs on a task of its own, for up to 64 newcomers at a time (others are told to come back, and do). One
    /// that panics, or takes longer than 5 s, refuses. It must not block its thread.
    ///
    /// ```
    /// # let key = phin::ClusterKey::generate();
    /// let builder = phin::Cluster::builder().key(key).admit(|newcomer| async move {
    ///     match newcomer.name.starts_with("db-") {
    ///         true => Ok(()),
    ///         false => Err(format!("{} is no database", newcomer.name)),
    ///     }
    /// });
    /// ```
    pub fn admit<F, D>(mut self, decide: F) -> Self
    where
        F: Fn(Newcomer) -> D + Send + Sync + 'static,
        D: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.hook = Some(Hook::new(decide));
        self
    }

    /// Starts the node. It does not wait for a seed: see [`Cluster::joined`].
    ///
    /// # Errors
    /// What is wrong with the settings, the address or the data directory; nothing is left running.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O and time.
    pub async fn start(mut self) -> Result<Cluster, StartError> {
        if let Some(retention) = self.retention {
            self.config.dead_retention = retention;
        }
        let cluster: ClusterName = self.cluster.parse()?;
        let name = self.name.as_deref().map(Name::try_from).transpose()?;
        let seeds = parse_seeds(&self.seeds)?;
        let admission = self.admission.ok_or(StartError::NoCredentials)?;
        // The generation is kept before the node speaks.
        let Persisted { identity, generation, peers, data_dir } =
            Persisted::open(self.data_dir, &admission).await?;
        let credentials = admission.credentials(cluster);
        let me = member_id(identity.id());
        let name = match name {
            Some(name) => name,
            None => Name::try_from(&*format!("node-{:.8}", me.to_string()))?,
        };

        let mut config = TransportConfig::new(self.bind);
        let idle = between_probes(&self.config).saturating_mul(2).min(MAX_IDLE_TIMEOUT);
        config.idle_timeout = config.idle_timeout.max(idle);
        let (transport, receiver) = Transport::bind(Arc::clone(&identity), credentials, config)
            .map_err(|source| StartError::Bind { addr: self.bind, source })?;
        let transport = Arc::new(transport);
        let local_addr = transport.local_addr();
        let (advertised, name_to_follow) = match &self.advertise {
            None => (advertised(None, local_addr)?, None),
            Some(Advertise::Addr(addr)) => (advertised(Some(*addr), local_addr)?, None),
            Some(Advertise::Name(name)) => {
                let name = AdvertisedName::new(name, local_addr, lookup)?;
                (name.resolve_first().await?, Some(name))
            }
        };

        let clock = Clock::start();
        let local = Local { name: name.clone(), addrs: vec![advertised], generation };
        let keys = Arc::new(NodeKeys(identity));
        // A host answers within a round trip; twice a cautious guess of it is time enough.
        let patience = self.config.prior_round_trip.saturating_mul(2);
        let retention = self.config.dead_retention;
        let mut config = self.config;
        config.ask_application = self.hook.is_some();
        let swim = Swim::new(clock.now(), local, config, keys, rand::random())?;

        let publisher = Publisher::new(swim.members(), self.event_buffer);
        let source = publisher.source();
        let (commands, commands_receiver) = mpsc::channel(COMMANDS);
        let (stop, stopped) = watch::channel(false);
        let status = Status::new(seeds.is_empty());
        let view = status.view();
        let joiner =
            Joiner { transport: Arc::downgrade(&transport), commands: commands.downgrade() };
        let company = Company { members: source.watch(), isolated: view.isolated.clone() };
        let mut seeking = Vec::new();
        if !seeds.is_empty() {
            let (joiner, company, joined) =
                (joiner.clone(), company.clone(), status.joined.clone());
            let seeding = Seeding { seeds, joiner, company, bound: local_addr, joined };
            seeking.push(tokio::spawn(seeding.run()));
        }
        let following = match name_to_follow {
            Some(name) => Some(tokio::spawn(name.follow(advertised, commands.downgrade()))),
            None if self.advertise.is_none() && local_addr.ip().is_unspecified() => {
                let (members, commands) = (source.watch(), commands.downgrade());
                let watch = AddressWatch { bound: local_addr, members, commands };
                Some(tokio::spawn(watch.run()))
            }
            None => None,
        };
        let following_addr = following.as_ref().map(JoinHandle::abort_handle);
        seeking.extend(following);
        let (unmet, still_unmet) = watch::channel(peers.clone());
        if !peers.is_empty() {
            let joiner = joiner.clone();
            seeking.push(tokio::spawn(Returning { unmet, joiner, company, retention }.run()));
        }
        let keeper =
            data_dir.map(|dir| Keeper::start(dir, generation, peers, source.watch(), still_unmet));
        let driver = Driver {
            clock,
            swim,
            transport,
            receiver,
            commands: commands_receiver,
            hosts: Hosts::new(HostQuestions::new(self.closed_port, patience)),
            decisions: Decisions::new(self.hook),
            stop: stopped,
            publisher,
            source: source.clone(),
            status,
            is_advertise_given: self.advertise.is_some(),
            following_addr,
            seeking,
            keeper,
            state: Default::default(),
        };
        let number = generation.0;
        debug!(member = %me, %name, addr = %advertised, bound = %local_addr, generation = number, "started");
        tokio::spawn(driver.run());
        let name = name.to_string();
        let shared = Shared {
            clock,
            id: me,
            local_addr,
            name,
            source,
            status: view,
            stop,
            commands,
            joiner,
        };
        Ok(Cluster { shared: Arc::new(shared) })
    }
}

impl Admission {
    fn credentials(self, cluster: ClusterName) -> Credentials {
        match self {
            Self::Key(keys) => Credentials::ClusterKey { cluster, keys },
            Self::Certificates { ca_pem, cert_pem, .. } => {
                Credentials::Certificates { cluster, ca_pem, cert_chain_pem: cert_pem }
            }
        }
    }

    /// The identity that the certificate is for.
    fn identity(&self) -> Result<Option<Arc<Identity>>, StartError> {
        match self {
            Self::Key(_) => Ok(None),
            Self::Certificates { key_pem, .. } => Ok(Some(Arc::new(Identity::from_pem(key_pem)?))),
        }
    }
}

impl std::fmt::Debug for Admission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Key(_) => f.write_str("Key(..)"),
            Self::Certificates { .. } => f.write_str("Certificates(..)"),
        }
    }
}

/// What lasts from run to run, or is made anew for this one.
struct Persisted {
    identity: Arc<Identity>,
    generation: Generation,
    peers: Vec<KnownPeer>,
    data_dir: Option<DataDir>,
}

impl Persisted {
    async fn open(path: Option<PathBuf>, admission: &Admission) -> Result<Self, StartError> {
        let given = admission.identity()?;
        let Some(path) = path else {
            let identity = given.unwrap_or_else(|| Arc::new(Identity::generate()));
            let (generation, peers) = (Generation(1), Vec::new());
            return Ok(Self { identity, generation, peers, data_dir: None });
        };
        let opened = spawn_blocking(move || {
            let data_dir = DataDir::open(path)?;
            let identity = match given {
                Some(identity) => identity,
                None => data_dir.identity()?,
            };
            let generation = data_dir.next_generation()?;
            let peers = data_dir.peers();
            Ok(Self { identity, generation, peers, data_dir: Some(data_dir) })
        });
        opened.await.expect("opening a data directory does not panic")
    }
}

/// How long a connection of an observer and its subject is silent when all is well: they meet once in each
/// turn through the rings. Ending it sooner would cost a handshake for each probe.
fn between_probes(config: &Config) -> Duration {
    let period = config.max_protocol_period.unwrap_or(config.protocol_period);
    period.saturating_mul(u32::from(config.rings) + 1)
}

/// Seeds of the right form, each once.
fn parse_seeds(seeds: &[String]) -> Result<Vec<Seed>, StartError> {
    let mut parsed: Vec<Seed> = Vec::with_capacity(seeds.len());
    for seed in seeds {
        let with_port = with_port(seed, DEFAULT_PORT);
        let (host, port) = with_port.rsplit_once(':').unwrap_or_default();
        let is_address = !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0);
        if !is_address {
            return Err(StartError::Seed { seed: seed.clone() });
        }
        if !parsed.iter().any(|known| **known == **seed) {
            parsed.push(seed.as_str().into());
        }
    }
    Ok(parsed)
}

const EVENT_BUFFER: NonZeroUsize = NonZeroUsize::new(1_024).expect("it is not zero");

/// The longest that the transport takes. Where probes of one link are further apart, each costs a handshake.
const MAX_IDLE_TIMEOUT: Duration = Duration::from_secs(24 * 3_600);

/// RFC 863; nobody serves it any more.
const DISCARD_PORT: u16 = 9;
