//! [`WatcherBuilder`]: what a watcher needs to start.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    num::NonZeroUsize,
    sync::Arc,
};

use phin_quic::{
    BindError, ClusterName, Credentials as TransportCredentials, Identity, Keyring, WatchClient,
};
use phin_swim::{Config, WatchedList};
use tokio::sync::watch;

use super::{Counters, Shared, Watcher, WatcherState, follow::Task, search::Search};
use crate::{
    Credentials, StartError,
    builder::EVENT_BUFFER,
    clock::{Clock, Wall},
    feed::Publisher,
    keys::NodeKeys,
    random::Random,
    seeds::Seed,
    start::parse_seeds,
    watch_transport,
};

/// The settings of a [`Watcher`]. Seeds are required, and [`key`](Self::key) or [`certificates`](Self::certificates).
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is started"]
pub struct WatcherBuilder {
    seeds: Vec<String>,
    cluster: String,
    credentials: Option<Credentials>,
    bind: Option<SocketAddr>,
    event_buffer: NonZeroUsize,
    max_members: usize,
}

impl Default for WatcherBuilder {
    fn default() -> Self {
        Self {
            seeds: Vec::new(),
            cluster: "phin".to_owned(),
            credentials: None,
            bind: None,
            event_buffer: EVENT_BUFFER,
            max_members: Config::default().max_members,
        }
    }
}

impl WatcherBuilder {
    /// Adds addresses of members: socket addresses, or texts "host:port" or "host" (port 7646). They are tried in random
    /// order. Once the list is known, so are the addresses of all members, and these are tried too.
    pub fn seeds(mut self, seeds: impl IntoIterator<Item: ToString>) -> Self {
        self.seeds.extend(seeds.into_iter().map(|seed| seed.to_string()));
        self
    }

    /// Sets the name of the cluster. Default `phin`.
    pub fn cluster(mut self, name: impl Into<String>) -> Self {
        self.cluster = name.into();
        self
    }

    /// Sets the cluster key. The watcher then has a new identity at each start. Replaces certificates set before.
    pub fn key(self, key: impl Into<Keyring>) -> Self {
        self.credentials(Credentials::key(key))
    }

    /// Sets the CA of the cluster, and a certificate of it with its private key (Ed25519), each as PEM. Give each watcher a
    /// certificate of its own. Replaces a key set before.
    pub fn certificates(
        self,
        ca_pem: impl Into<String>,
        cert_pem: impl Into<String>,
        key_pem: impl Into<String>,
    ) -> Self {
        self.credentials(Credentials::certificates(ca_pem, cert_pem, key_pem))
    }

    /// Sets the credentials, such as certificates with revocation lists. Replaces a key and certificates set before.
    pub fn credentials(mut self, credentials: Credentials) -> Self {
        self.credentials = Some(credentials);
        self
    }

    /// Sets the local UDP address to dial from. Default: a free port on all addresses.
    pub fn bind(mut self, addr: SocketAddr) -> Self {
        self.bind = Some(addr);
        self
    }

    /// Sets how many changes a subscriber may lag behind before it misses some. Default 1,024.
    pub fn event_buffer(mut self, changes: NonZeroUsize) -> Self {
        self.event_buffer = changes;
        self
    }

    /// Sets the longest list, dead members included. A member that sends a longer one is given up. Default 65,536, as
    /// [`Config::max_members`].
    pub fn max_members(mut self, members: usize) -> Self {
        self.max_members = members;
        self
    }

    /// Starts the watcher. This does not wait for a member: see [`Watcher::connected`].
    ///
    /// # Errors
    /// A setting or the address cannot be used.
    ///
    /// # Panics
    /// If called outside of a tokio runtime with I/O and time enabled.
    pub fn start(self) -> Result<Watcher, StartError> {
        let cluster: ClusterName = self.cluster.parse()?;
        let seeds = parse_seeds(&self.seeds)?;
        if seeds.is_empty() {
            return Err(StartError::NoSeeds);
        }
        let credentials = self.credentials.clone().ok_or(StartError::NoCredentials)?;
        let identity = credentials.identity()?;
        let identity = identity.unwrap_or_else(|| Arc::new(Identity::generate()));
        let credentials = credentials.of_cluster(cluster);
        let client = bind(&identity, &credentials, self.bind)?;
        let keys = NodeKeys::new(identity).admitted_by(&credentials);
        let addr = self.bind.unwrap_or((Ipv6Addr::UNSPECIFIED, 0).into());
        let keys = keys.map_err(|error| StartError::Bind { addr, source: error.into() })?;
        let launch = Launch { wall: Wall::System, random: Random::new(rand::random()), keys };
        Ok(self.launch(launch, seeds, client))
    }

    /// Starts the watcher's task.
    fn launch(
        &self,
        launch: Launch,
        seeds: Vec<Seed>,
        client: impl watch_transport::WatchClient,
    ) -> Watcher {
        let Launch { wall, random, keys } = launch;
        let clock = Clock::with_past(wall);
        let list = WatchedList::new(Arc::new(keys), self.max_members);
        let publisher = Publisher::new(list.members(), self.event_buffer);
        let source = publisher.source();
        let (stop, stopped) = watch::channel(false);
        let (states, state) = watch::channel(WatcherState::Connecting { failures: Vec::new() });
        let counters = Arc::<Counters>::default();
        let shared = Shared { clock, source, state, counters: Arc::clone(&counters), stop };
        let search = Search::new(Arc::new(client), seeds, random, Arc::clone(&counters));
        let (heard_at, looks) = (None, None);
        let task = Task { search, list, clock, publisher, states, counters, heard_at, looks };
        tokio::spawn(task.run(stopped));
        Watcher { shared: Arc::new(shared) }
    }

    /// Starts a watcher on the network of a test.
    ///
    /// # Panics
    /// A seed is no address.
    #[cfg(feature = "testing")]
    pub(crate) fn start_in(
        self,
        launch: Launch,
        client: impl watch_transport::WatchClient,
    ) -> Watcher {
        let seeds = parse_seeds(&self.seeds).expect("seeds of a test are addresses");
        self.launch(launch, seeds, client)
    }
}

/// The surroundings in which a watcher starts.
pub(crate) struct Launch {
    pub(crate) wall: Wall,
    pub(crate) random: Random,
    pub(crate) keys: NodeKeys,
}

/// Binds the socket, for IPv4 alone if no address is given and the system has no IPv6.
fn bind(
    identity: &Identity,
    credentials: &TransportCredentials,
    addr: Option<SocketAddr>,
) -> Result<WatchClient, StartError> {
    let bind = |addr| {
        let bound = WatchClient::bind(identity, credentials, addr);
        bound.map_err(|source| StartError::Bind { addr, source })
    };
    match bind(addr.unwrap_or((Ipv6Addr::UNSPECIFIED, 0).into())) {
        Err(StartError::Bind { source, .. }) if addr.is_none() && has_no_ipv6(&source) => {
            bind((Ipv4Addr::UNSPECIFIED, 0).into())
        }
        bound => bound,
    }
}

fn has_no_ipv6(error: &BindError) -> bool {
    matches!(error, BindError::AddressNotAvailable { .. } | BindError::Io { .. })
}
