//! The protocol between the measuring process and its children: one JSON object per line. Moments are nanoseconds of
//! the monotonic clock, which all processes of a machine share.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use serde::{Deserialize, Serialize};

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
    /// Have every node here report the member data that it knows, from now on.
    Follow,
    /// Have one of the nodes here write a value. Which nodes the numbers from 0 on stand for does not change.
    Write { node: usize, value: String },
    /// Wait until every node here knows all that was written here since the last such command, for so long at most.
    Spread { within: Duration },
}

/// A value that a member wrote.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Change {
    /// When its owner was about to write it.
    pub(crate) written: u64,
    /// When each node that knew it in time did.
    pub(crate) known: Vec<u64>,
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
    },
    Failed {
        reason: String,
    },
}
