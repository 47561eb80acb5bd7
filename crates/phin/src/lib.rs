//! Cluster membership: every node knows, within moments, who else is alive.
//!
//! A node is started with a [`Builder`] and held by a [`Cluster`]: a cloneable handle to a task
//! that speaks SWIM over QUIC with the other nodes. The application reads the membership list
//! ([`Cluster::members`]), or is told of each change ([`Cluster::subscribe`]).
//!
//! ```
//! use phin::{Cluster, ClusterKey};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let key = ClusterKey::generate();
//!     let one = Cluster::builder().name("one").key(key.clone()).start().await?;
//!     let two = Cluster::builder().name("two").key(key).start().await?;
//!     two.join(one.local_addr()).await?;
//!     for member in two.members().live() {
//!         println!("{} at {} is {}", member.name(), member.addr(), member.state());
//!     }
//!     # assert_eq!(two.members().live_len(), 2);
//!     Ok(())
//! }
//! ```
//!
//! # What holds
//! - Only nodes with the cluster's key, or a certificate of its CA, get in; what a member says of
//!   itself is signed.
//! - A snapshot never changes, and reading one never waits. A subscriber is told every change once
//!   and in order, or how many it missed; one that does not read holds up nobody.
//! - Each member says of itself what it is for ([`Tags`]) and whether it takes work ([`ServingState`]). Both are
//!   signed, and known wherever the member is known.
//! - Every future may be dropped at any time.
//! - Membership is an opinion, not a consensus: two nodes may disagree for moments, and for as long
//!   as a network is parted.
//!
//! # Features
//! - `serde`: `Serialize` for members, changes, reports and [`Config`], as JSON of the shape that the HTTP interface of
//!   `phin run` has, and `Deserialize` for what can be read back. Off by default.
//!
//! # Seeds and restarts
//! A node listens on loopback, and so reaches no other machine, unless told otherwise with
//! [`Builder::bind`]. Seeds are tried in the background until one lets the node in, and again
//! whenever the node is alone. With a data directory a restarted node is the same member in a later
//! generation, and finds back through any peer that it knew, also where no seed is reachable;
//! without, it is a new one.
//!
//! # Features
//! `testing`, off by default, adds the module `testing`: clusters for the tests of an application, without sockets and
//! without waiting.

mod address;
mod admission;
mod advertised_name;
mod builder;
mod changes;
mod clock;
mod cluster;
mod command;
mod data;
mod data_dir;
mod driver;
mod error;
mod feed;
mod join;
#[cfg(feature = "serde")]
mod json;
mod keeper;
mod kept_data;
mod keys;
mod outsiders;
mod peers;
mod phi;
mod random;
mod receiving;
mod refusals;
mod report;
mod returning;
mod seeds;
mod start;
mod stats;
mod status;
mod subscription;
#[cfg(feature = "testing")]
pub mod testing;
mod transport;
mod weak;

pub use admission::Newcomer;
pub use builder::Builder;
pub use cluster::{Cluster, Departure};
pub use data::{DataNotice, DataSubscription};
pub use error::{
    AdvertiseError, ForgetError, JoinError, PutDataError, SetTagError, StartError, Stopped,
    SubscribePhiError,
};
pub use join::{DEFAULT_PORT, Joined};
pub use phi::{PhiCrossing, PhiSubscription};
pub use phin_quic::{
    BindError, ClusterKey, ClusterKeyError, ClusterName, ClusterNameError, CredentialsError,
    DialError, Identity, IdentityError, Keyring, KeyringError, PeerId, Refusal, RefusalStats,
    RefusedBy, SecretText, TransportStats, certificates,
};
pub use phin_swim::{
    Change, Config, ConfigError, Data, DataError, DataEvent, DataUpdate, Event, Filter,
    FilterError, Fingerprint, ForgetRefusal, Generation, Incarnation, Instant as Moment,
    JoinRefusal, Link, Member, MemberData, MemberId, MemberIdError, MemberState, Members,
    MembersIter, Name, NameError, OwnerGone, Reason, ReasonError, Record, Revision, ServingState,
    Silence, TagError, Tags, Version, is_printable,
};
#[cfg(feature = "serde")]
pub use phin_swim::{EventInfo, MemberInfo};
pub use refusals::RefusedHandshake;
pub use report::{Evidence, FailingLink, MemberRef, Outcome, Report, Unreached, Vote};
pub use stats::{DriverStats, Stats};
pub use subscription::{Notice, Subscription};
pub use weak::WeakCluster;

/// What the README shows has to compile.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

/// What the guide shows has to compile.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide/embed.md")]
struct Guide;

/// What the guide shows has to compile, and its tests have to pass.
#[cfg(all(doctest, feature = "testing"))]
#[doc = include_str!("../../../docs/guide/test-your-application.md")]
struct TestingGuide;

/// Compiles the example of this crate's README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct PackageReadme;

/// What the guide to tags shows has to run: it is the example `service`.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide/tags.md")]
struct TagsGuide;
