//! Cluster membership for applications: which nodes are alive, what they say about themselves, and every change of it.
//!
//! A [`Builder`] starts a node. A [`Cluster`] is a cloneable handle to it. The node runs on a task of its own and speaks SWIM
//! over encrypted QUIC with the other nodes.
//!
//! ```
//! use phin::{Cluster, ClusterKey};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let key = ClusterKey::generate();
//!     let one = Cluster::builder().name("one").key(key.clone()).start().await?;
//!     let two = Cluster::builder().name("two").key(key).tag("role", "web").start().await?;
//!     two.join(one.local_addr()).await?;
//!
//!     let members = one.wait_until(|members| members.live_len() == 2).await?;
//!     for member in members.live() {
//!         println!("{} at {} is {}", member.name(), member.addr(), member.state());
//!     }
//!     assert_eq!(members.matching(&"role=web".parse()?).count(), 1);
//!     Ok(())
//! }
//! ```
//!
//! # Tour
//!
//! | To | Use |
//! |---|---|
//! | read the membership list | [`Cluster::members`], [`Members`], [`Filter`] |
//! | follow its changes | [`Cluster::subscribe`], [`Subscription`], a stream of [`Notice`]s |
//! | wait for a state of it | [`Cluster::wait_until`], [`Cluster::joined`], [`Cluster::converged`] |
//! | say what a node is for | [`Builder::tag`], [`Cluster::set_tag`], [`Tags`] |
//! | say whether it takes work | [`Cluster::set_serving`], [`ServingState`] |
//! | share small values | [`Cluster::put_data`], [`Cluster::data`], [`Cluster::subscribe_data`] |
//! | place keys on members | [`Placement`] |
//! | choose a member for work | [`Cluster::choose_two`] |
//! | send messages, to one member or all | [`Cluster::send`], [`Cluster::publish`], [`Cluster::subscribe_topic`], [`Cluster::on_topic`] |
//! | act on suspicion early | [`Cluster::subscribe_phi`] |
//! | see why a member is dead | [`Cluster::why`], [`Report`] |
//! | decide on newcomers | [`Builder::admit`] |
//! | expel a member | [`Cluster::expel`], [`AdminKey`] |
//! | replace keys and certificates | [`Cluster::replace_credentials`], [`Credentials`] |
//! | depart | [`Cluster::leave`], then [`Cluster::shutdown`] |
//! | follow a cluster without being a member | [`Watcher`] |
//! | watch without keeping the node running | [`Cluster::downgrade`], [`WeakCluster`] |
//!
//! # Guarantees
//!
//! - Only nodes with the cluster's key, or with a certificate of its CA, take part. Each member signs what it says about
//!   itself.
//! - A snapshot never changes, and reading one never waits. A subscriber receives each change once and in order, or learns how
//!   many it missed. A subscriber that does not read delays nobody.
//! - Every future can be dropped at any time.
//! - Membership is an opinion, not a consensus. Two nodes can disagree for moments, and for as long as a network is split.
//!
//! # Seeds and restarts
//!
//! By default a node listens on loopback and reaches no other machine; [`Builder::bind`] changes that. The node tries its
//! seeds in the background until one admits it, and again whenever it is alone. With [`Builder::data_dir`], a restarted node is
//! the same member in a later generation. It rejoins through any peer that it knew, and publishes its data again. Without a
//! data directory it is a new member.
//!
//! # Features
//!
//! All are off by default.
//!
//! - `serde`: `Serialize` for members, changes, reports and [`Config`], in the JSON of the HTTP interface of `phin run`, and
//!   `Deserialize` for what can be read back.
//! - `testing`: the module `testing`, clusters of real nodes for the tests of an application, in memory and without waiting.

mod address;
mod admin;
mod admission;
mod advertised_name;
mod answers;
mod builder;
mod changes;
mod clock;
mod cluster;
mod command;
mod credentials;
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
mod kept_expulsions;
mod kept_promises;
mod keys;
mod leadership;
mod messages;
mod outsiders;
mod pauses;
mod peers;
mod phi;
mod ping;
mod placement;
mod query;
mod random;
mod receiving;
mod refusals;
mod report;
mod returning;
mod sealed;
mod seeds;
mod start;
mod stats;
mod status;
mod subscription;
#[cfg(feature = "testing")]
pub mod testing;
mod topics;
mod transport;
mod watch_service;
mod watch_transport;
mod watcher;
mod weak;

pub use admin::{AdminKey, AdminPublicKey, AdminPublicKeyError, statement_time};
pub use admission::Newcomer;
pub use answers::{IncomingQuery, QueryHandler, Refused};
pub use builder::Builder;
pub use cluster::{Cluster, Departure};
pub use credentials::Credentials;
pub use data::{DataNotice, DataSubscription};
pub use error::{
    AdvertiseError, ExpelError, ForgetError, JoinError, PingError, PublishError, PutDataError,
    QueryError, ReconfigureError, ReplaceCredentialsError, SendError, SetSeedsError, SetTagError,
    StandError, StartError, Stopped, SubscribePhiError,
};
pub use join::{DEFAULT_PORT, Joined};
pub use leadership::{Candidacy, Leader, LeaderSubscription, Tenure};
pub use messages::{Publication, SendOptions, TopicHandler};
pub use phi::{PhiCrossing, PhiSubscription};
pub use phin_quic::{
    BindError, ClusterKey, ClusterKeyError, ClusterName, ClusterNameError, CredentialsError,
    DialError, IdRefusal, Identity, IdentityError, Keyring, KeyringError, PeerId, Refusal,
    RefusalStats, RefusedBy, SecretText, TransportStats, WatchError, certificates,
};
pub use phin_swim::{
    AdminKeyId, AdminStatement, AssignedId, Change, Config, ConfigError, Data, DataError,
    DataEvent, DataUpdate, Degradation, Event, ExpelRefusal, ExpulsionEvent, Filter, FilterError,
    Fingerprint, Flaw, Flaws, ForgetRefusal, Generation, HostAnswer, Incarnation,
    Instant as Moment, JoinRefusal, Link, Member, MemberData, MemberId, MemberIdError, MemberState,
    Members, MembersIter, Message, Name, NameError, Neighbour, Neighbours, Office, OfficeError,
    OfficeRules, OwnerGone, PathPing, PingOutcome, PingPath, PingRefusal,
    PublishError as PublishRefusal, QueryError as QueryRefusal, QueryOutcome, Reason, ReasonError,
    Record, Revision, Route, SendFailure, SendRefusal, ServingState, Signature, SignedVotes,
    Silence, StandError as StandRefusal, Standing, TagError, Tags, Term, Topic, TopicError,
    Unreachable, Vacancy, Version, is_printable,
};
#[cfg(feature = "serde")]
pub use phin_swim::{EventInfo, MemberInfo};
pub use ping::PingReport;
pub use placement::{Moved, Placement};
pub use query::{Query, QueryReply, Replies};
pub use refusals::RefusedHandshake;
pub use report::{Evidence, FailingLink, MemberRef, Outcome, Report, Unreached, Vote};
pub use stats::{DriverStats, Stats};
pub use subscription::{Notice, Subscription};
pub use topics::{TopicNotice, TopicSubscription};
pub use watcher::{
    NotConnected, WatchFailure, Watcher, WatcherBuilder, WatcherState, WatcherStats,
};
pub use weak::WeakCluster;

/// The examples of the README have to compile.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

/// The examples of the guide have to compile.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide/embed.md")]
struct Guide;

/// The examples of the guide have to compile, and its tests have to pass.
#[cfg(all(doctest, feature = "testing"))]
#[doc = include_str!("../../../docs/guide/test-your-application.md")]
struct TestingGuide;

/// Compiles the example of this crate's README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct PackageReadme;

/// The examples of the guide to messages have to run.
#[cfg(all(doctest, feature = "testing"))]
#[doc = include_str!("../../../docs/guide/messages.md")]
struct MessagesGuide;

/// The example of the guide to tags has to run: it is the example `service`.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide/tags.md")]
struct TagsGuide;

/// The examples of the guide to watchers have to compile.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide/watch-from-outside.md")]
struct WatchersGuide;

/// The examples of the guide to placement have to run.
#[cfg(all(doctest, feature = "testing"))]
#[doc = include_str!("../../../docs/guide/placement.md")]
struct PlacementGuide;

/// The example of the guide to leadership has to run.
#[cfg(all(doctest, feature = "testing"))]
#[doc = include_str!("../../../docs/guide/elect-a-leader.md")]
struct LeadershipGuide;
