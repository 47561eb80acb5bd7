//! The start of a node: from what a [`Builder`] was given to tasks that run.

use std::{
    collections::BTreeMap, io, net::SocketAddr, path::PathBuf, pin::Pin, sync::Arc, time::Duration,
};

use phin_quic::{
    ClusterName, Credentials, HostQuestions, Identity, Keyring, Receiver, Transport,
    TransportConfig,
};
use phin_swim::{Config, Generation, Local, Name, Swim, TagError, Tags};
use tokio::{
    sync::{mpsc, watch},
    task::{JoinHandle, spawn_blocking},
};
use tracing::debug;

use crate::{
    Builder, Cluster, StartError,
    address::{AddressWatch, advertised},
    admission::Decisions,
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

/// What admits a node to its cluster.
#[derive(Clone)]
pub(crate) enum Admission {
    Key(Keyring),
    Certificates { ca_pem: String, cert_pem: String, key_pem: String },
}

/// The addresses that this node advertises.
#[derive(Clone, Debug)]
pub(crate) enum Advertise {
    Addr(SocketAddr),
    Name(String),
}

/// Starts a node; of one that does not start nothing is left running.
pub(crate) async fn start(mut builder: Builder) -> Result<Cluster, StartError> {
    if let Some(retention) = builder.retention {
        builder.config.dead_retention = retention;
    }
    builder.config.ask_application = builder.hook.is_some();
    let cluster: ClusterName = builder.cluster.parse()?;
    let name = builder.name.as_deref().map(Name::try_from).transpose()?;
    let seeds = parse_seeds(&builder.seeds)?;
    let tags = collect_tags(&builder.tags)?;
    let admission = builder.admission.take().ok_or(StartError::NoCredentials)?;
    // The generation is kept before the node speaks.
    let Persisted { identity, generation, peers, data_dir } =
        Persisted::open(builder.data_dir.take(), &admission).await?;
    let me = member_id(identity.id());
    let name = match name {
        Some(name) => name,
        None => Name::try_from(&*format!("node-{:.8}", me.to_string()))?,
    };
    let (transport, receiver) = bind(&builder, &identity, admission.credentials(cluster))?;
    let transport = Arc::new(transport);
    let bound = transport.local_addr();
    let (advertised, follow) = choose_advertised(builder.advertise.as_ref(), bound).await?;
    let clock = Clock::start();
    let local = Local::new(name.clone(), vec![advertised], generation);
    let local = Local { tags, serving: builder.serving.clone(), ..local };
    let keys = Arc::new(NodeKeys(identity));
    let config = builder.config.clone();
    let swim = Swim::new(clock.now(), local, config, keys, rand::random())?;

    let publisher = Publisher::new(swim.members(), builder.event_buffer);
    let source = publisher.source();
    let (commands, commands_receiver) = mpsc::channel(COMMANDS);
    let (stop, stopped) = watch::channel(false);
    let status = Status::new(seeds.is_empty());
    let view = status.view();
    let joiner = Joiner { transport: Arc::downgrade(&transport), commands: commands.downgrade() };
    let company = Company { members: source.watch(), isolated: view.isolated.clone() };
    let beside = Beside { bound, joiner: joiner.clone(), company };
    let following = beside.follow_address(advertised, follow);
    let following_addr = following.as_ref().map(JoinHandle::abort_handle);
    let (returning, unmet) = beside.return_to(peers.clone(), builder.config.dead_retention);
    let seeding = beside.seek(seeds, status.joined.clone());
    let keeper = data_dir.map(|dir| Keeper::start(dir, generation, peers, source.watch(), unmet));
    let driver = Driver {
        clock,
        swim,
        transport,
        receiver,
        commands: commands_receiver,
        hosts: hosts(&builder),
        decisions: Decisions::new(builder.hook),
        stop: stopped,
        publisher,
        source: source.clone(),
        status,
        is_advertise_given: builder.advertise.is_some(),
        following_addr,
        seeking: [seeding, following, returning].into_iter().flatten().collect(),
        keeper,
        state: Default::default(),
    };
    let number = generation.0;
    debug!(member = %me, %name, addr = %advertised, %bound, generation = number, "started");
    tokio::spawn(driver.run());
    let name = name.to_string();
    let shared = Shared {
        clock,
        id: me,
        local_addr: bound,
        name,
        source,
        status: view,
        stop,
        commands,
        joiner,
    };
    Ok(Cluster { shared: Arc::new(shared) })
}

fn bind(
    builder: &Builder,
    identity: &Arc<Identity>,
    credentials: Credentials,
) -> Result<(Transport, Receiver), StartError> {
    let mut config = TransportConfig::new(builder.bind);
    let idle = between_probes(&builder.config).saturating_mul(2).min(MAX_IDLE_TIMEOUT);
    config.idle_timeout = config.idle_timeout.max(idle);
    Transport::bind(Arc::clone(identity), credentials, config)
        .map_err(|source| StartError::Bind { addr: builder.bind, source })
}

fn hosts(builder: &Builder) -> Hosts {
    // A host answers within a round trip; twice a cautious guess of it is time enough.
    let patience = builder.config.prior_round_trip.saturating_mul(2);
    Hosts::new(HostQuestions::new(builder.closed_port, patience))
}

/// Whether the advertised address changes by itself, and with what.
enum Follow {
    Nothing,
    /// What the name resolves to.
    Name(AdvertisedName<fn(String) -> Lookup>),
    /// The addresses of this host.
    Host,
}

type Lookup = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// The address to advertise at first.
async fn choose_advertised(
    given: Option<&Advertise>,
    bound: SocketAddr,
) -> Result<(SocketAddr, Follow), StartError> {
    match given {
        None if bound.ip().is_unspecified() => Ok((advertised(None, bound)?, Follow::Host)),
        None => Ok((advertised(None, bound)?, Follow::Nothing)),
        Some(Advertise::Addr(addr)) => Ok((advertised(Some(*addr), bound)?, Follow::Nothing)),
        Some(Advertise::Name(name)) => {
            let resolve: fn(String) -> Lookup = |name| Box::pin(lookup(name));
            let name = AdvertisedName::new(name, bound, resolve)?;
            Ok((name.resolve_first().await?, Follow::Name(name)))
        }
    }
}

/// Starts the tasks beside the driver.
struct Beside {
    bound: SocketAddr,
    joiner: Joiner,
    company: Company,
}

impl Beside {
    /// Has the node advertise another address when what it follows leads to another one.
    fn follow_address(&self, present: SocketAddr, follow: Follow) -> Option<JoinHandle<()>> {
        let commands = self.joiner.commands.clone();
        match follow {
            Follow::Nothing => None,
            Follow::Name(name) => Some(tokio::spawn(name.follow(present, commands))),
            Follow::Host => {
                let (bound, members) = (self.bound, self.company.members.clone());
                Some(tokio::spawn(AddressWatch { bound, members, commands }.run()))
            }
        }
    }

    /// Joins through seeds.
    fn seek(&self, seeds: Vec<Seed>, joined: watch::Sender<bool>) -> Option<JoinHandle<()>> {
        if seeds.is_empty() {
            return None;
        }
        let (joiner, company) = (self.joiner.clone(), self.company.clone());
        let seeding = Seeding { seeds, joiner, company, bound: self.bound, joined };
        Some(tokio::spawn(seeding.run()))
    }

    /// Finds back through the peers of an earlier run. Returns also those not met yet.
    fn return_to(
        &self,
        peers: Vec<KnownPeer>,
        retention: Duration,
    ) -> (Option<JoinHandle<()>>, watch::Receiver<Vec<KnownPeer>>) {
        let is_first_run = peers.is_empty();
        let (unmet, still_unmet) = watch::channel(peers);
        if is_first_run {
            return (None, still_unmet);
        }
        let (joiner, company) = (self.joiner.clone(), self.company.clone());
        let returning = Returning { unmet, joiner, company, retention };
        (Some(tokio::spawn(returning.run())), still_unmet)
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

/// The tags given; of those with one key the last.
fn collect_tags(given: &[(String, String)]) -> Result<Tags, TagError> {
    let last: BTreeMap<_, _> = given.iter().map(|(key, value)| (key, value)).collect();
    let mut tags = Tags::new();
    last.into_iter().try_for_each(|(key, value)| tags.set(key, value))?;
    Ok(tags)
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

/// The longest that the transport takes. Where probes of one link are further apart, each costs a handshake.
const MAX_IDLE_TIMEOUT: Duration = Duration::from_secs(24 * 3_600);
