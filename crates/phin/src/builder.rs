//! [`Builder`]: what a node needs to start.

use std::{
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroUsize,
    path::PathBuf,
    time::Duration,
};

use phin_quic::Keyring;
use phin_swim::Config;

use crate::{
    Cluster, Newcomer, StartError,
    admission::Hook,
    start::{Admission, Advertise, start},
};

/// What a node needs to start. Only [`key`](Self::key) or [`certificates`](Self::certificates) must
/// be given.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is started"]
pub struct Builder {
    pub(crate) name: Option<String>,
    pub(crate) cluster: String,
    pub(crate) admission: Option<Admission>,
    pub(crate) bind: SocketAddr,
    pub(crate) advertise: Option<Advertise>,
    pub(crate) seeds: Vec<String>,
    pub(crate) data_dir: Option<PathBuf>,
    pub(crate) config: Config,
    pub(crate) retention: Option<Duration>,
    pub(crate) closed_port: u16,
    pub(crate) event_buffer: NonZeroUsize,
    pub(crate) hook: Option<Hook>,
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
    pub async fn start(self) -> Result<Cluster, StartError> {
        start(self).await
    }
}

const EVENT_BUFFER: NonZeroUsize = NonZeroUsize::new(1_024).expect("it is not zero");

/// RFC 863; nobody serves it any more.
const DISCARD_PORT: u16 = 9;
