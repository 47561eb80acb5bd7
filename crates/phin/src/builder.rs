//! [`Builder`]: what a node needs to start.

use std::{
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroUsize,
    path::PathBuf,
    time::Duration,
};

use phin_quic::Keyring;
use phin_swim::{Config, ServingState, Tags};

use crate::{
    Cluster, Credentials, Newcomer, StartError,
    admission::Hook,
    start::{Advertise, start},
    topics::Limits,
};

/// The settings of a node. Only [`key`](Self::key) or [`certificates`](Self::certificates) is required.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is started"]
pub struct Builder {
    pub(crate) name: Option<String>,
    pub(crate) cluster: String,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) bind: SocketAddr,
    pub(crate) advertise: Option<Advertise>,
    pub(crate) seeds: Vec<String>,
    pub(crate) tags: Vec<(String, String)>,
    pub(crate) serving: ServingState,
    pub(crate) data_dir: Option<PathBuf>,
    pub(crate) config: Config,
    /// Settings of the protocol that were set one by one: they hold whatever `config` says.
    pub(crate) max_period: Option<Duration>,
    pub(crate) evict_degraded_after: Option<Duration>,
    pub(crate) retention: Option<Duration>,
    pub(crate) closed_port: u16,
    pub(crate) event_buffer: NonZeroUsize,
    pub(crate) message_limits: Limits,
    pub(crate) watchers: usize,
    pub(crate) hook: Option<Hook>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            name: None,
            cluster: "phin".to_owned(),
            credentials: None,
            bind: (Ipv4Addr::LOCALHOST, 0).into(),
            advertise: None,
            seeds: Vec::new(),
            tags: Vec::new(),
            serving: ServingState::Serving,
            data_dir: None,
            closed_port: DISCARD_PORT,
            config: Config::default(),
            max_period: None,
            evict_degraded_after: None,
            retention: None,
            event_buffer: EVENT_BUFFER,
            message_limits: Limits::default(),
            watchers: WATCHERS,
            hook: None,
        }
    }
}

impl Builder {
    /// Sets the node's display name: 1 to 64 bytes, without spaces. Default: `node-` and the first 8 digits
    /// of its id.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets the name of the cluster: 1 to 64 letters, digits, `-`, `_` and `.`. Nodes of different clusters
    /// refuse each other. Default `phin`.
    pub fn cluster(mut self, name: impl Into<String>) -> Self {
        self.cluster = name.into();
        self
    }

    /// Sets the cluster key: every node that has it is admitted. A [`Keyring`] holds further keys while one
    /// replaces another. Replaces certificates set before.
    pub fn key(self, key: impl Into<Keyring>) -> Self {
        self.credentials(Credentials::key(key))
    }

    /// Sets the CA that admits nodes to the cluster, and this node's certificate and private key (Ed25519),
    /// each as PEM. Replaces a key set before. The private key is the node's identity, even if there is a
    /// data directory.
    pub fn certificates(
        self,
        ca_pem: impl Into<String>,
        cert_pem: impl Into<String>,
        key_pem: impl Into<String>,
    ) -> Self {
        self.credentials(Credentials::certificates(ca_pem, cert_pem, key_pem))
    }

    /// Sets the credentials, such as certificates with revocation lists. Replaces a key and certificates set before.
    /// [`Cluster::replace_credentials`] replaces them while the node runs.
    pub fn credentials(mut self, credentials: Credentials) -> Self {
        self.credentials = Some(credentials);
        self
    }

    /// Sets the address to listen on and to send from. Default `127.0.0.1:0`: a free port that only this
    /// machine can reach, and that reaches only this machine. `0.0.0.0:7646` is a port on all its IPv4
    /// addresses.
    pub fn bind(mut self, addr: SocketAddr) -> Self {
        self.bind = addr;
        self
    }

    /// Sets the address at which others reach this node; port 0 stands for the bound port. Default: the bound
    /// address, or, if that is a wildcard, the local address from which traffic to other networks leaves.
    pub fn advertise(mut self, addr: SocketAddr) -> Self {
        self.advertise = Some(Advertise::Addr(addr));
        self
    }

    /// Sets the name at which others reach this node, "host" or "host:port", for a node whose address
    /// changes. Without a port, or with port 0, the bound port is used. Replaces an address set before.
    ///
    /// The name is resolved at the start and then every 10 s. When it resolves to another address, the node announces
    /// that one. While it does not resolve, the last address stays; at the start it is tried for 10 s. If it has
    /// several addresses, the node announces one of them, if possible of the family that it is bound to, and keeps
    /// that one for as long as the name has it. A loopback address counts only for a node that is bound to one.
    pub fn advertise_name(mut self, name: impl Into<String>) -> Self {
        self.advertise = Some(Advertise::Name(name.into()));
        self
    }

    /// Adds addresses at which to find members: socket addresses, or texts "host:port" or "host" (port 7646).
    ///
    /// While the node runs, names are resolved again, and every address that belongs to no live member is
    /// tried: soon at first, then every 10 s; in a large cluster about once a second by all nodes together.
    /// So clusters that formed apart become one. The node skips its own address, so all nodes can have the
    /// same seeds.
    ///
    /// ```
    /// # use phin::Cluster;
    /// # let addr = std::net::SocketAddr::from(([10, 0, 0, 1], 7646));
    /// let builder = Cluster::builder().seeds([addr]).seeds(["seed.example", "10.0.0.2:7646"]);
    /// ```
    pub fn seeds(mut self, seeds: impl IntoIterator<Item: ToString>) -> Self {
        self.seeds.extend(seeds.into_iter().map(|seed| seed.to_string()));
        self
    }

    /// Sets a tag of the node, such as the port of the service beside it. If called several times for one key, the
    /// last call counts. [`start`](Self::start) fails if the tags exceed a limit ([`Tags`]).
    ///
    /// ```
    /// # let key = phin::ClusterKey::generate();
    /// let builder = phin::Cluster::builder().key(key).tag("role", "web").tag("port", "8080");
    /// ```
    pub fn tag(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.push((key.into(), value.into()));
        self
    }

    /// Sets each of these tags, like [`tag`](Self::tag).
    pub fn tags(mut self, tags: Tags) -> Self {
        let tags = tags.iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
        self.tags.extend(tags);
        self
    }

    /// Sets whether the node takes work at first. Default [`ServingState::Serving`]. A node whose application has yet to
    /// load its data starts as not serving, and calls [`Cluster::set_serving`] once it is ready.
    pub fn serving(mut self, serving: ServingState) -> Self {
        self.serving = serving;
        self
    }

    /// Sets the directory in which the node keeps its identity, its generation and the peers it knows. After
    /// a restart it is then the same member, and rejoins through any of these peers. The directory is created
    /// if it does not exist; two nodes cannot share one. Default: none, so each start is a new member.
    pub fn data_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(path.into());
        self
    }

    /// Sets the protocol settings. Default [`Config::lan`].
    ///
    /// [`max_period`](Self::max_period), [`evict_degraded_after`](Self::evict_degraded_after) and
    /// [`retention`](Self::retention) take precedence over the fields of the same names, in whatever order the methods
    /// are called. If several of `config`, `lan`, `wan` and `local` are called, the last call counts.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use phin::{Cluster, Config};
    /// let mut config = Config::wan();
    /// config.pause_tolerance = Duration::from_secs(5);
    /// let builder = Cluster::builder().retention(Duration::from_secs(3_600)).config(config);
    /// ```
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Uses [`Config::lan`]: members in one data centre. The default.
    pub fn lan(self) -> Self {
        self.config(Config::lan())
    }

    /// Uses [`Config::wan`]: members on several continents.
    pub fn wan(self) -> Self {
        self.config(Config::wan())
    }

    /// Uses [`Config::local`]: members on one machine.
    pub fn local(self) -> Self {
        self.config(Config::local())
    }

    /// Lets the protocol period grow to this while nothing happens ([`Config::max_period`]). Default: it does not grow.
    pub fn max_period(mut self, longest: Duration) -> Self {
        self.max_period = Some(longest);
        self
    }

    /// Evicts members that live but have been degraded for this long ([`Config::evict_degraded_after`]).
    /// Default: they stay. Set this alike on all nodes.
    pub fn evict_degraded_after(mut self, after: Duration) -> Self {
        self.evict_degraded_after = Some(after);
        self
    }

    /// Sets how long a member that died or left stays in the list ([`Config::retention`]).
    ///
    /// It is shown, redialled, and recognised when it returns. After that it is forgotten, here and by all
    /// others, so the shortest retention in the cluster counts. Default 24 h; at least ten protocol periods.
    pub fn retention(mut self, retention: Duration) -> Self {
        self.retention = Some(retention);
        self
    }

    /// The protocol settings, those set one by one included.
    pub(crate) fn settled_config(&self) -> Config {
        let mut config = self.config.clone();
        config.max_period = self.max_period.or(config.max_period);
        config.evict_degraded_after = self.evict_degraded_after.or(config.evict_degraded_after);
        config.retention = self.retention.unwrap_or(config.retention);
        config.ask_application = self.hook.is_some();
        config
    }

    /// Sets how many changes a subscriber may lag behind before it misses some. A larger buffer costs memory:
    /// 32 bytes for each change, and some 100 for each that has come. Default 1,024.
    pub fn event_buffer(mut self, changes: NonZeroUsize) -> Self {
        self.event_buffer = changes;
        self
    }

    /// Sets how many messages wait for a subscriber of topics ([`Cluster::subscribe_topic`]) before further ones are dropped or
    /// refused. Default 1,024.
    pub fn message_buffer(mut self, messages: NonZeroUsize) -> Self {
        self.message_limits.messages = messages;
        self
    }

    /// Sets how many bytes of messages wait for a subscriber of topics before further ones are dropped or refused; a message of
    /// any length may wait alone. Default 16 MiB.
    pub fn message_buffer_bytes(mut self, bytes: usize) -> Self {
        self.message_limits.bytes = bytes;
        self
    }

    /// Sets the UDP port that no process of any member's host uses. A question to it shows whether a silent
    /// member's host is there. Default 9 (*discard*, RFC 863). [`Config::ask_hosts`] turns questions off.
    pub fn closed_port(mut self, port: u16) -> Self {
        self.closed_port = port;
        self
    }

    /// Sets how many watchers ([`Watcher`](crate::Watcher)) this node serves at once. Further ones are refused, and try
    /// another member. Zero serves none. Default 1,024; at most 1,048,576.
    ///
    /// They have places of their own and take none from members. Each costs some 40 kB, and at most 128 KiB more while it
    /// reads slowly.
    pub fn watchers(mut self, watchers: usize) -> Self {
        self.watchers = watchers;
        self
    }

    /// Sets a hook that decides on each newcomer that joins through this node. `Ok` admits it. An error is
    /// the reason why not; its first [`JoinRefusal::MAX_REASON_CHARS`](crate::JoinRefusal::MAX_REASON_CHARS)
    /// characters reach the newcomer as the error of its join. Default: every node that has the key or a
    /// certificate is admitted.
    ///
    /// A newcomer is a node that is not in this node's list, not even as dead or left. The hook runs at the
    /// node through which it joins, before anything about it is known to others. Once one member has admitted
    /// it, it is a member for all, so every node should have the same hook. A seed through which this node
    /// joins needs no decision.
    ///
    /// The hook runs on a task of its own, for up to 64 newcomers at a time; others are asked to come back,
    /// and do. If it panics, or takes longer than 5 s, the newcomer is refused. It must not block its thread.
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

    /// Starts the node. This does not wait for a seed: see [`Cluster::joined`].
    ///
    /// # Errors
    /// A setting, the address or the data directory cannot be used. Nothing is left running.
    ///
    /// # Panics
    /// If called outside of a tokio runtime with I/O and time enabled.
    pub async fn start(self) -> Result<Cluster, StartError> {
        start(self).await
    }
}

pub(crate) const EVENT_BUFFER: NonZeroUsize = NonZeroUsize::new(1_024).expect("it is not zero");

const WATCHERS: usize = 1_024;

/// RFC 863; nobody serves it any more.
const DISCARD_PORT: u16 = 9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_calls_does_not_matter() {
        let [longest, after, retention] = [4, 60, 3_600].map(Duration::from_secs);
        let one_by_one = |builder: Builder| {
            builder.max_period(longest).evict_degraded_after(after).retention(retention)
        };
        let mut expected = Config::wan();
        expected.max_period = Some(longest);
        expected.evict_degraded_after = Some(after);
        expected.retention = retention;
        assert_eq!(one_by_one(Cluster::builder()).wan().settled_config(), expected);
        assert_eq!(one_by_one(Cluster::builder().wan()).settled_config(), expected);
        let whole = Cluster::builder().config(expected.clone());
        assert_eq!(whole.settled_config(), expected, "what is not set one by one is the config's");
    }
}
