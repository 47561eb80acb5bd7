//! The protocol between the measuring process and its children: one JSON object per line. Moments are nanoseconds of
//! the monotonic clock, which all processes of a machine share.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{Answers, Faults};

/// A command to a child. Each has one [`Reply`].
#[derive(Debug, Deserialize, Serialize)]
pub(crate) enum Command {
    /// Start these nodes at once; without a seed, the first of them before the others, who join through it.
    Start {
        places: Vec<Place>,
        port: u16,
        seed: Option<SocketAddr>,
        members: usize,
        secret: String,
    },
    /// Wait until every node here lists so many live members.
    Complete { members: usize, within: Duration },
    /// This node is about to be killed.
    Doom { name: String },
    /// Wait until every node here has declared it dead.
    Known { name: String, within: Duration },
    /// Say how often nodes here declared the living dead.
    FalseDeaths,
    /// Say how many connections each node here has.
    Connections,
    /// Have every node here report what it learns, and answer queries, from now on.
    Follow { medium: Medium },
    /// Have one of the nodes here write a text. Which nodes the numbers from 0 on stand for does not change.
    Write { medium: Medium, node: usize, text: String },
    /// Wait until every node here knows all that was written here since the last such command, for so long at most.
    Spread { medium: Medium, within: Duration },
    /// Have one of the nodes here ask all members, and wait until the query has ended and that node has declared these members
    /// dead, for so long at most.
    Query { node: usize, text: String, doomed: Vec<String>, within: Duration },
    /// Have every node here publish so many messages of so many bytes a second, from now on.
    Publish { rate: f64, bytes: usize },
    /// Say how many messages nodes here published and received so far.
    Messages,
}

/// The means by which texts reach all members.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) enum Medium {
    /// The values of member data.
    Data,
    Messages,
}

/// A text that a member wrote.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Change {
    /// When its owner was about to write it.
    pub(crate) written: u64,
    /// When each node that knew it in time did.
    pub(crate) known: Vec<u64>,
}

/// A query that has ended.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Asked {
    /// When it was about to be asked.
    pub(crate) began: u64,
    pub(crate) ended: u64,
    pub(crate) answers: Answers,
    /// When the node that asked had declared each of the doomed members dead; those that it had in time.
    pub(crate) known: Vec<u64>,
}

/// How many messages there were.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Counts {
    /// Published.
    pub(crate) sent: u64,
    /// Not published because of a limit.
    pub(crate) refused: u64,
    /// Received by applications, each by all.
    pub(crate) received: u64,
}

/// A node's name and address.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Place {
    pub(crate) name: String,
    pub(crate) ip: IpAddr,
}

/// The reply to a command.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) enum Reply {
    Started {
        began: u64,
        first: SocketAddr,
        processes: Vec<u32>,
    },
    /// When the last list was complete; nothing if not in time.
    Complete {
        at: Option<u64>,
    },
    Doomed,
    /// When each node that knows of it in time knew.
    Known {
        at: Vec<u64>,
    },
    FalseDeaths {
        count: u64,
    },
    /// Those of each node, as far as nodes know.
    Connections {
        counts: Vec<u64>,
    },
    Following,
    Written,
    /// All that was written, in the order in which it was.
    Spread {
        changes: Vec<Change>,
        faults: Faults,
    },
    Asked(Asked),
    Publishing,
    Messages(Counts),
    Failed {
        reason: String,
    },
}
