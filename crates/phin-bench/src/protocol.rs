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
    Failed {
        reason: String,
    },
}
