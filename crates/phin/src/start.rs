//! The start of a node: from what a [`Builder`] was given to tasks that run.

use std::{
    collections::BTreeMap, io, net::SocketAddr, path::PathBuf, pin::Pin, sync::Arc, time::Duration,
};

use phin_quic::{
    ClusterName, Credentials as TransportCredentials, CredentialsError, HostQuestions, Identity,
    Receiver, TransportConfig,
};
use phin_swim::{
    AdminStatement, Config, Generation, Local, Name, Profile, Promises, Swim, TagError, Tags,
};
use tokio::{
    sync::{mpsc, watch},
    task::{JoinHandle, spawn_blocking},
};
use tracing::{debug, warn};

use crate::{
    Builder, Cluster, Credentials, StartError,
    address::{AddressWatch, advertised},
    admin,
    admission::Decisions,
    advertised_name::AdvertisedName,
    answers::Answers,
    clock::{Clock, Wall},
    cluster::Shared,
    command::COMMANDS,
    data_dir::DataDir,
    driver::{Driver, Hosts, statements},
    feed::Publisher,
    join::{DEFAULT_PORT, Joiner, lookup, with_port},
    keeper::Keeper,
    kept_data::KeptEntry,
    keys::NodeKeys,
    peers::KnownPeer,
    random::Random,
    returning::Returning,
    seeds::{Company, Seed, Seeding},
    status::Status,
    topics::Topics,
    transport::{Dial, Quic, Transport},
    watch_service::{Readiness, WatchCounters, WatchService},
};

/// The addresses that this node advertises.
#[derive(Clone, Debug)]
pub(crate) enum Advertise {
    Addr(SocketAddr),
    Name(String),
}

/// The inputs of a node besides its settings: those of the system, or a test's in their place.
pub(crate) struct Surroundings<B> {
    /// The state that an earlier run left. `None`: that in the data directory, if any.
    pub(crate) persisted: Option<Persisted>,
    pub(crate) wall: Wall,
    pub(crate) random: Random,
    /// Binds the transport.
    pub(crate) bind: B,
}

/// Starts a node; of one that does not start nothing is left running.
pub(crate) async fn start(builder: Builder) -> Result<Cluster, StartError> {
    let surroundings = Surroundings {
        persisted: None,
        wall: Wall::System,
        random: Random::new(rand::random()),
        bind: bind_quic,
    };
    let (cluster, driver) = start_in(builder, surroundings).await?;
    tokio::spawn(driver.run());
    Ok(cluster)
}

/// Makes a node and starts the tasks beside its driver, which the caller runs.
pub(crate) async fn start_in<T: Transport>(
    mut builder: Builder,
    surroundings: Surroundings<
        impl FnOnce(
            &Builder,
            &Arc<Identity>,
            TransportCredentials,
        ) -> Result<(T, T::Receiver), StartError>,
    >,
) -> Result<(Cluster, Driver<T>), StartError> {
    let Surroundings { persisted, wall, random, bind } = surroundings;
    builder.config = builder.settled_config();
    let cluster: ClusterName = builder.cluster.parse()?;
    let name = builder.name.as_deref().map(Name::try_from).transpose()?;
    let seeds = parse_seeds(&builder.seeds)?;
    let tags = collect_tags(&builder.tags)?;
    let credentials = builder.credentials.take().ok_or(StartError::NoCredentials)?;
    // The generation is kept before the node speaks.
    let persisted = match persisted {
        Some(persisted) => persisted,
        None => Persisted::open(builder.data_dir.take(), &credentials).await?,
    };
    let Persisted { identity, generation, peers, data, promises, expulsions, data_dir } = persisted;
    let admins = credentials.admins().to_vec();
    let credentials = credentials.of_cluster(cluster.clone());
    let keys = NodeKeys::new(Arc::clone(&identity)).voting_in(&cluster).admitted_by(&credentials);
    let keys = Arc::new(keys.map_err(|error| not_bound(&builder, error))?);
    let me = keys.id();
    let name = match name {
        Some(name) => name,
        None => Name::try_from(&*format!("node-{:.8}", me.to_string()))?,
    };
    let (transport, receiver) = bind(&builder, &identity, credentials)?;
    let transport = Arc::new(transport);
    let bound = transport.local_addr();
    let (advertised, follow) = choose_advertised(builder.advertise.as_ref(), bound).await?;
    let clock = Clock::start(wall);
    let local = Local::new(name.clone(), vec![advertised], generation);
    let profile = Profile { tags, serving: builder.serving.clone() };
    let local = Local { profile, ..local };
    let config = builder.config.clone();
    let mut swim = Swim::new(clock.now(), local, config, keys.clone(), random.seed())?;
    swim.leading(clock.now()).restore(promises);
    say_again(&mut swim, &clock, &data);
    admin::restore(&mut swim, &clock, &admins, expulsions);
    let statements = statements(&swim);
    // Before the first connection.
    transport.set_expelled(admin::to_refuse(&statements, me));

    let publisher = Publisher::new(swim.members(), builder.event_buffer);
    let source = publisher.source();
    let data_publisher = Publisher::new(swim.data(), builder.event_buffer);
    let data_source = data_publisher.source();
    let topics = Topics::new(builder.message_limits);
    let answers = Answers::default();
    let (commands, commands_receiver) = mpsc::channel(COMMANDS);
    let (stop, stopped) = watch::channel(false);
    let status = Status::new(seeds.is_empty());
    status.expulsions.send_replace(statements);
    let view = status.view();
    let dialler: Arc<dyn Dial> = transport.clone();
    let joiner = Joiner {
        transport: Arc::downgrade(&dialler),
        commands: commands.downgrade(),
        random: random.fork(),
    };
    drop(dialler);
    let company = Company { members: source.watch(), isolated: view.isolated.clone() };
    let beside = Beside { bound, joiner: joiner.clone(), company, random };
    let following = beside.follow_address(advertised, follow);
    let following_addr = following.as_ref().map(JoinHandle::abort_handle);
    let (returning, unmet) = beside.return_to(peers.clone(), builder.config.retention);
    let (seeds, given_seeds) = watch::channel(seeds);
    let seeding = Some(beside.seek(given_seeds, status.joined.clone()));
    let watch_counters = Arc::<WatchCounters>::default();
    let service = WatchService {
        clock,
        source: source.clone(),
        readiness: Readiness {
            joined: view.joined.clone(),
            isolated: view.isolated.clone(),
            members: source.watch(),
            unmet: unmet.clone(),
        },
        counters: Arc::clone(&watch_counters),
    };
    let watchers = transport.take_watchers();
    let serving = watchers.map(|watchers| tokio::spawn(service.run(watchers)));
    let keeper = data_dir.map(|dir| Keeper::start(dir, generation, peers, source.watch(), unmet));
    let driver = Driver {
        clock,
        swim,
        transport,
        receiver,
        commands: commands_receiver,
        hosts: Hosts::new(),
        decisions: Decisions::new(builder.hook),
        stop: stopped,
        publisher,
        source: source.clone(),
        data: data_publisher,
        topics: topics.deliverer(),
        answers: answers.clone(),
        watch_counters,
        status,
        is_advertise_given: builder.advertise.is_some(),
        following_addr,
        seeking: [seeding, following, returning, serving].into_iter().flatten().collect(),
        keeper,
        state: Default::default(),
    };
    let number = generation.0;
    debug!(member = %me, %name, addr = %advertised, %bound, generation = number, "started");
    let name = name.to_string();
    let shared = Shared {
        clock,
        cluster,
        id: me,
        keys,
        local_addr: bound,
        name,
        source,
        data: data_source,
        topics,
        answers,
        status: view,
        stop,
        commands,
        joiner,
        seeds,
        random: beside.random,
    };
    Ok((Cluster { shared: Arc::new(shared) }, driver))
}

/// Has a node say what its earlier run said, as far as it has not expired.
fn say_again(swim: &mut Swim, clock: &Clock, data: &[KeptEntry]) {
    let now = clock.now();
    for KeptEntry { key, value, expires_at } in data {
        let time_to_live = expires_at.map(|at| at.duration_since(clock.wall(now)));
        // An error means that it has expired.
        let Ok(time_to_live) = time_to_live.transpose() else {
            continue;
        };
        if let Err(error) = swim.put_data(now, key, value, time_to_live) {
            warn!(key, %error, "data of an earlier run is not taken over");
        }
        // They are about data that nobody has read yet.
        while swim.poll_output().is_some() {}
    }
}

fn not_bound(builder: &Builder, error: CredentialsError) -> StartError {
    StartError::Bind { addr: builder.bind, source: error.into() }
}

/// Binds a UDP socket.
pub(crate) fn bind_quic(
    builder: &Builder,
    identity: &Arc<Identity>,
    credentials: TransportCredentials,
) -> Result<(Quic, Receiver), StartError> {
    let mut config = TransportConfig::new(builder.bind);
    let idle = between_probes(&builder.config).saturating_mul(2).min(MAX_IDLE_TIMEOUT);
    config.max_watchers = builder.watchers;
    config.idle_timeout = config.idle_timeout.max(idle);
    let (transport, receiver) =
        phin_quic::Transport::bind(Arc::clone(identity), credentials, config)
            .map_err(|source| StartError::Bind { addr: builder.bind, source })?;
    let hosts = HostQuestions::new(builder.closed_port);
    Ok((Quic { transport, hosts }, receiver))
}

/// Whether the advertised address changes by itself, and with what.
enum Follow {
    Nothing,
    /// The addresses that the name resolves to.
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
    random: Random,
}

impl Beside {
    /// Has the node advertise another address when what it follows leads to another one.
    fn follow_address(&self, present: SocketAddr, follow: Follow) -> Option<JoinHandle<()>> {
        let commands = self.joiner.commands.clone();
        match follow {
            Follow::Nothing => None,
            Follow::Name(name) => {
                Some(tokio::spawn(name.follow(present, commands, self.random.fork())))
            }
            Follow::Host => {
                let (bound, members) = (self.bound, self.company.members.clone());
                Some(tokio::spawn(AddressWatch { bound, members, commands }.run()))
            }
        }
    }

    /// Joins through seeds.
    fn seek(
        &self,
        seeds: watch::Receiver<Vec<Seed>>,
        joined: watch::Sender<bool>,
    ) -> JoinHandle<()> {
        let (joiner, company) = (self.joiner.clone(), self.company.clone());
        let (bound, random) = (self.bound, self.random.fork());
        let seeding = Seeding { seeds, joiner, company, bound, joined, random };
        tokio::spawn(seeding.run())
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
        let random = self.random.fork();
        let returning = Returning { unmet, joiner, company, retention, random };
        (Some(tokio::spawn(returning.run())), still_unmet)
    }
}

/// State that lasts from run to run, or is made anew for this one.
pub(crate) struct Persisted {
    pub(crate) identity: Arc<Identity>,
    pub(crate) generation: Generation,
    pub(crate) peers: Vec<KnownPeer>,
    /// Its entry about itself.
    pub(crate) data: Vec<KeptEntry>,
    /// Its promises as a voter.
    pub(crate) promises: Promises,
    /// The statements of administrators that it had.
    pub(crate) expulsions: Vec<AdminStatement>,
    pub(crate) data_dir: Option<DataDir>,
}

impl Persisted {
    async fn open(path: Option<PathBuf>, credentials: &Credentials) -> Result<Self, StartError> {
        let given = credentials.identity()?;
        let Some(path) = path else {
            let identity = given.unwrap_or_else(|| Arc::new(Identity::generate()));
            let (generation, peers, data) = (Generation(1), Vec::new(), Vec::new());
            let (promises, expulsions, data_dir) = Default::default();
            return Ok(Self { identity, generation, peers, data, promises, expulsions, data_dir });
        };
        let opened = spawn_blocking(move || {
            let data_dir = DataDir::open(path)?;
            let identity = match given {
                Some(identity) => identity,
                None => data_dir.identity()?,
            };
            let generation = data_dir.next_generation()?;
            let (peers, data, promises) = (data_dir.peers(), data_dir.data(), data_dir.promises()?);
            let expulsions = data_dir.expulsions()?;
            let data_dir = Some(data_dir);
            Ok(Self { identity, generation, peers, data, promises, expulsions, data_dir })
        });
        opened.await.expect("opening a data directory does not panic")
    }
}

/// How long a connection of an observer and its subject is silent when all is well: they meet once in each
/// turn through the rings. Ending it sooner would cost a handshake for each probe.
fn between_probes(config: &Config) -> Duration {
    let period = config.max_period.unwrap_or(config.period);
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
pub(crate) fn parse_seeds(seeds: &[String]) -> Result<Vec<Seed>, StartError> {
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
