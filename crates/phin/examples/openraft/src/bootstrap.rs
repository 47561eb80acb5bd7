//! Which node initializes the Raft cluster, and when.
//!
//! Two nodes that initialize with different sets of voters make two clusters, each of which accepts writes: nothing repairs that. So
//! the set is not discovered. A person decides it once, and each node is started with it ([`FirstVoters`]):
//!
//! 1. Each node keeps the set on its disk before it answers any question, and never starts with another one.
//! 2. Each question carries the set of its sender. A node answers none of another set.
//! 3. Only the first of the voters initializes, with the whole set, and only after each of the others has answered it.
//!
//! If a node initializes with a set, then all members of the set have kept that set (1, 2), for ever. A node keeps one set only, so two
//! sets with which a cluster was initialized have no member in common, and their nodes never speak to each other (2). One set has one
//! first voter, so no two nodes initialize with the same set, either. No clock, no failure detector and no view of the membership is part
//! of this argument: phin only carries the questions.

use std::{collections::BTreeSet, fmt, str::FromStr, time::Duration};

use openraft::error::{InitializeError, RaftError};
use phin::Cluster;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use crate::{
    Error, NodeId, Raft,
    rpc::{Client, Question},
};

/// The voters with which the Raft cluster begins: the same for all its nodes, voters or not, and for ever.
///
/// The voters of later are in the Raft log.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct FirstVoters(BTreeSet<NodeId>);

impl FirstVoters {
    /// The one that initializes.
    fn first(&self) -> NodeId {
        *self.0.first().expect("it is not empty")
    }
}

impl FromStr for FirstVoters {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let voters: BTreeSet<_> = text.split(',').map(str::parse).collect::<Result<_, _>>()?;
        if voters.len() > MAX_FIRST_VOTERS {
            return Err(format!("more than {MAX_FIRST_VOTERS} voters").into());
        }
        Ok(Self(voters))
    }
}

impl fmt::Display for FirstVoters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<_> = self.0.iter().map(NodeId::to_string).collect();
        f.write_str(&ids.join(","))
    }
}

/// Initializes the Raft cluster, if that is this node's part and has not happened yet.
///
/// # Errors
/// The Raft node has failed.
pub async fn initialize(
    node: &Cluster,
    raft: &Raft,
    client: &Client,
    voters: &FirstVoters,
) -> Result<(), Error> {
    let me = NodeId(node.id());
    if voters.first() != me {
        return Ok(());
    }
    for &voter in voters.0.iter().filter(|&&voter| voter != me) {
        while !raft.is_initialized().await? {
            match client.ask(voter, Question::Hello, PATIENCE).await {
                Ok(_) => break,
                // It is not there yet, or was started with another set: an operator has to see to that.
                Err(_) => sleep(PATIENCE).await,
            }
        }
    }
    match raft.initialize(voters.0.clone()).await {
        // It was initialized in an earlier run.
        Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// How long another voter is waited for, and how long before it is asked again.
const PATIENCE: Duration = Duration::from_millis(500);
/// As many as make sense.
const MAX_FIRST_VOTERS: usize = 9;
