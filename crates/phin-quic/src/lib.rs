//! Messages between the nodes of one cluster, over QUIC with mutual authentication.
//!
//! [`Transport`] sends two kinds of messages to a [`Peer`]: datagrams, which may be lost, and streams, which arrive
//! whole or are reported as failed. It dials, reuses and closes connections by itself, and keeps one connection per
//! peer. This crate does not know what a message means, or which nodes are members. Most applications want the crate
//! `phin`.
//!
//! A node is its Ed25519 key, an [`Identity`]. Its [`PeerId`] is a hash of the public key, or the one that a CA assigned
//! in its certificate ([`AssignedId`]). A connection exists only
//! to a peer that proved its key and has a certificate of the same cluster. With [`Credentials::ClusterKey`], each
//! node issues its own certificate from the shared [`ClusterKey`]. With [`Credentials::Certificates`], a CA issues
//! them (module [`certificates`]). The TLS handshake refuses every other node and reports a [`Refusal`] on both
//! sides.
//!
//! # Example
//!
//! ```
//! use std::sync::Arc;
//! use phin_quic::{ClusterKey, Credentials, Identity, Peer, Received, Transport, TransportConfig};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let key = ClusterKey::generate();
//! let credentials = Credentials::ClusterKey { cluster: "example".parse()?, keys: key.into() };
//! let config = TransportConfig::new("127.0.0.1:0".parse()?);
//!
//! let identity = Arc::new(Identity::generate());
//! let bob_id = identity.id();
//! let (bob, mut bob_receiver) = Transport::bind(identity, credentials.clone(), config.clone())?;
//! let (alice, _receiver) = Transport::bind(Arc::new(Identity::generate()), credentials, config)?;
//!
//! alice.send_datagram(Peer { id: bob_id, addr: bob.local_addr() }, "hello".into());
//! while let Some(received) = bob_receiver.receive().await {
//!     if let Received::Datagram { payload, .. } = received {
//!         assert_eq!(payload, "hello");
//!         break;
//!     }
//! }
//! # Ok(())
//! # }
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run()).unwrap();
//! ```

pub mod certificates;

mod accept;
mod assigned;
mod budget;
mod close;
mod cluster;
mod config;
mod connection;
mod connections;
mod credentials;
mod dial;
mod endpoint;
mod expelled;
mod gate;
mod handshake;
mod hello;
mod host;
mod identity;
mod peer;
mod pending;
mod precedence;
mod private_file;
mod queue;
mod rates;
mod receive;
mod refusal;
mod secret;
mod shared;
#[cfg_attr(not(target_os = "linux"), path = "socket/other.rs")]
mod socket;
mod stats;
mod streams;
mod tls;
mod transport;
mod watch;

pub use assigned::{AssignedId, AssignedIds, IdRefusal, IdRules};
pub use close::{CloseReason, DisconnectReason};
pub use cluster::{
    ClusterKey, ClusterKeyError, ClusterName, ClusterNameError, Keyring, KeyringError,
};
pub use config::{ConfigError, TransportConfig};
pub use endpoint::BindError;
pub use host::{HostAnswer, HostQuestion, HostQuestions};
pub use identity::{Identity, IdentityError, PeerId, PeerIdError, PublicKey, Signature, verify};
pub use peer::Peer;
pub use queue::{Received, Receiver, SendError};
pub use refusal::{DialError, Refusal, RefusedBy};
pub use secret::SecretText;
pub use stats::{RefusalStats, TransportStats};
pub use tls::{Credentials, CredentialsError};
pub use transport::Transport;
pub use watch::{
    MAX_FRAME_BYTES, WatchError,
    client::{FrameReceiver, WatchClient},
    serve::{FrameSender, IncomingWatcher, NotServed, WatchEnd, Watchers},
};

/// Compiles the example of this crate's README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
