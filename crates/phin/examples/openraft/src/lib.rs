//! A replicated key-value store: openraft agrees on the order of writes, phin finds the nodes and carries the messages.
//!
//! - [`store`] keeps the Raft log, vote and snapshot in one file.
//! - [`rpc`] sends questions and answers of Raft as phin messages.
//! - [`bootstrap`] decides which node initializes the Raft cluster, and when.
//! - [`node`] is one node: it takes commands, and adds members that join as learners.

pub mod bootstrap;
pub mod node;
pub mod rpc;
pub mod store;

use std::{fmt, io::Cursor, str::FromStr};

use openraft::EmptyNode;
use phin::{MemberId, MemberIdError};
use serde::{Deserialize, Serialize};

/// Any error.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
/// A Raft node.
pub type Raft = openraft::Raft<TypeConfig>;

openraft::declare_raft_types!(
    /// The types of this store. A Raft node has no address: phin knows it.
    pub TypeConfig: D = Set, R = Option<String>, NodeId = NodeId, Node = EmptyNode,
);

/// A write: sets a key. It returns the value before.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Set {
    /// The key.
    pub key: String,
    /// Its new value.
    pub value: String,
}

/// The id of a Raft node: that of its phin member, which belongs to the key in its folder.
///
/// A node that lost its folder has lost its vote and its log. It has lost its id, too, so it returns as another node.
#[derive(Clone, Copy, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct NodeId(pub MemberId);

impl Default for NodeId {
    /// Raft's id for no node.
    fn default() -> Self {
        Self(MemberId([0; 16]))
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for NodeId {
    type Err = MemberIdError;

    fn from_str(text: &str) -> Result<Self, MemberIdError> {
        text.parse().map(Self)
    }
}
