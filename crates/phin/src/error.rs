//! Errors, by operation.

use std::{io, net::SocketAddr, path::PathBuf, time::Duration};

use phin_quic::{BindError, ClusterNameError, CredentialsError, DialError, IdentityError};
use phin_swim::{
    ConfigError, DataError, ExpelRefusal, ForgetRefusal, JoinRefusal, NameError, PingRefusal,
    PublishError as PublishRefusal, QueryError as QueryRefusal, SendFailure, SendRefusal,
    StandError as StandRefusal, TagError,
};

/// Why a node could not start. Nothing of it is left running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Nothing says who may be in the cluster.
    #[error("neither a cluster key nor certificates were given")]
    NoCredentials,
    /// The name cannot be a member's.
    #[error("the node's name cannot be used")]
    Name(#[from] NameError),
    /// A tag cannot be used, or there are too many.
    #[error("the node's tags cannot be used")]
    Tags(#[from] TagError),
    /// The name cannot be a cluster's.
    #[error("the cluster's name cannot be used")]
    ClusterName(#[from] ClusterNameError),
    /// The node has no identity: the key file or the key of its certificate cannot be used.
    #[error("the node's identity cannot be used")]
    Identity(#[from] IdentityError),
    /// A setting cannot be used.
    #[error("the configuration cannot be used")]
    Config(#[from] ConfigError),
    /// A seed is not an address.
    #[error("seed {seed:?} is not of the form host or host:port")]
    Seed {
        /// The seed as given.
        seed: String,
    },
    /// A watcher was given no address of a member.
    #[error("no address of a member was given to watch through")]
    NoSeeds,
    /// The address cannot be bound, or the credentials cannot be used.
    #[error("cannot listen on {addr}")]
    Bind {
        /// The address asked for.
        addr: SocketAddr,
        /// Why not.
        source: BindError,
    },
    /// Others could not reach the node under this address.
    #[error("{addr} cannot be advertised: set an address under which others reach this node")]
    Advertise {
        /// The address given, or found.
        addr: SocketAddr,
    },
    /// The name to advertise has no address that others could reach, or is no name.
    #[error("cannot advertise {name:?}: it does not resolve")]
    AdvertisedName {
        /// The name as given.
        name: String,
        /// Why not.
        source: io::Error,
    },
    /// The node listens on all addresses, and the host has no route to others, perhaps not yet: so none of them is one to
    /// advertise.
    #[error(
        "no address to advertise for {addr}: this host has no default route (yet), and not exactly one address; wait for a \
         route, or set the address"
    )]
    NoRoute {
        /// The address asked for.
        addr: SocketAddr,
    },
    /// A file of the data directory cannot be read or written.
    #[error("cannot use {}", path.display())]
    DataDir {
        /// Which file or directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The generation file holds the highest number there is, so no member would accept this start as a later one. A
    /// node does not start that often: the file is damaged or forged.
    #[error(
        "{} holds the last generation: no start can follow it; remove the data directory, and the node starts as a new \
         member", path.display()
    )]
    LastGeneration {
        /// The generation file.
        path: PathBuf,
    },
    /// Another node runs on the data directory.
    #[error("the data directory {} is in use by another node", path.display())]
    DataDirInUse {
        /// The directory.
        path: PathBuf,
    },
}

/// Why a seed did not let this node in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The seed's name has no address.
    #[error("cannot resolve {seed:?}")]
    Resolve {
        /// The seed as given.
        seed: String,
        /// Why not.
        source: io::Error,
    },
    /// No connection to the seed, or none that both sides accept.
    #[error("cannot connect to {addr}")]
    Dial {
        /// Where it was sought.
        addr: SocketAddr,
        /// Why not.
        source: DialError,
    },
    /// The seed answered, and said no.
    #[error("{addr} did not let this node in")]
    Refused {
        /// The seed's address.
        addr: SocketAddr,
        /// Its reason.
        source: JoinRefusal,
    },
    /// The connection to the seed was lost before it answered.
    #[error("lost the connection to {addr}")]
    Lost {
        /// The seed's address.
        addr: SocketAddr,
    },
    /// The seed did not answer in time.
    #[error("{addr} did not answer within {limit:?}")]
    TimedOut {
        /// The seed's address.
        addr: SocketAddr,
        /// How long was waited.
        limit: Duration,
    },
    /// Every address of the seed is this node's own.
    #[error("{seed:?} is this node itself")]
    ThisNode {
        /// The seed as given.
        seed: String,
    },
    /// This node has been asked to leave.
    #[error("this node is leaving the cluster")]
    Leaving,
    /// The node has been shut down.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Why a node could not forget a member.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForgetError {
    /// The member is not known, or takes part in the cluster.
    #[error(transparent)]
    Refused(#[from] ForgetRefusal),
    /// The node has been shut down.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Why a node could not write its data.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PutDataError {
    /// The key, the value, or all data together would exceed a limit.
    #[error(transparent)]
    Refused(#[from] DataError),
    /// The node has been shut down.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Why a message did not reach the application of a member.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// It was not sent.
    #[error(transparent)]
    Refused(#[from] SendRefusal),
    /// It was sent, and this became of it.
    #[error(transparent)]
    Failed(#[from] SendFailure),
    /// The node has been shut down, perhaps after the message was sent.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Why a message was not published.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// A limit is exceeded, or this node has left the cluster.
    #[error(transparent)]
    Refused(#[from] PublishRefusal),
    /// The node has been shut down.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Why a statement of an administrator is not followed, or not kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExpelError {
    /// It is not followed.
    #[error(transparent)]
    Refused(#[from] ExpelRefusal),
    /// It is in effect here and was sent to others, but could not be written to the data directory in time. The log has the
    /// reason; writing is tried again.
    #[error("the statement is in effect, but not written to the data directory yet")]
    NotKept,
    /// The node has been shut down.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Why a query did not begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// A limit is exceeded, or this node has left the cluster.
    #[error(transparent)]
    Refused(#[from] QueryRefusal),
    /// The node has been shut down.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Why a running node did not change its configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReconfigureError {
    /// A setting is out of bounds, or cannot change while the node runs.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The node has been shut down.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Why a member was not pinged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PingError {
    /// The member is unknown or this node itself, or a limit is exceeded.
    #[error(transparent)]
    Refused(#[from] PingRefusal),
    /// The node has been shut down.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Why a node does not stand for an office.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StandError {
    /// Another [`Candidacy`](crate::Candidacy) of this node stands for it.
    #[error("this node stands for the office already")]
    Standing,
    /// The rules exceed a limit, or this node stands for too many offices, or has left the cluster.
    #[error(transparent)]
    Refused(#[from] StandRefusal),
    /// The node has been shut down.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Why a node could not change its advertised address.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdvertiseError {
    /// Others could not reach the node under this address.
    #[error("{addr} cannot be advertised: others would not reach this node there")]
    Unusable {
        /// The address given.
        addr: SocketAddr,
    },
    /// The node has been shut down.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Why a node could not change its tags.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetTagError {
    /// A tag is not allowed, or the tags would exceed a limit. None was changed.
    #[error(transparent)]
    Tag(#[from] TagError),
    /// The node has been shut down.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Why a node does not use other credentials. It goes on with those that it has.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplaceCredentialsError {
    /// The private key cannot be read.
    #[error("the private key cannot be used")]
    Identity(#[from] IdentityError),
    /// The private key is another one. It is the identity of the node, which only a restart changes.
    #[error(
        "the private key is not the one with which this node runs; restart it to change its identity"
    )]
    OtherIdentity,
    /// The credentials do not belong together, or would not work now.
    #[error("the credentials cannot be used")]
    Credentials(#[from] CredentialsError),
    /// The node has been shut down.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Why a node does not look for members at other addresses.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetSeedsError {
    /// A seed is not an address and not "host:port".
    #[error("not a seed address: {seed:?}")]
    Seed {
        /// The text given.
        seed: String,
    },
    /// The node has been shut down.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Why a member's phi cannot be watched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribePhiError {
    /// Phi never crosses such a threshold.
    #[error("a threshold of {threshold} is not a positive number")]
    Threshold {
        /// The threshold given.
        threshold: f64,
    },
    /// This node watches as many thresholds as it may; drop a subscription.
    #[error("{limit} thresholds are watched already")]
    TooMany {
        /// How many one node watches at once.
        limit: usize,
    },
    /// The node has been shut down.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// The node has been shut down.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the node has been shut down")]
pub struct Stopped;
