//! Messages of applications: published to all members, or sent to one. The core carries them and says what became of them; who
//! reads them is the application's.

pub(crate) mod send;
pub(crate) mod topic;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Generation, MemberId, Topic};

/// A message of an application, as it arrives.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Message {
    /// The member that published or sent it.
    pub from: MemberId,
    /// The run of that member's process.
    pub generation: Generation,
    /// Its topic.
    pub topic: Topic,
    /// Its content.
    pub body: Arc<[u8]>,
    /// How it came.
    pub route: Route,
}

impl Message {
    /// The longest body of a message that is sent to one member, in bytes.
    pub const MAX_SENT_BYTES: usize = 16 * 1_024 * 1_024;

    /// A message that did not arrive, for tests of what handles messages.
    pub fn new(
        from: MemberId,
        generation: Generation,
        topic: Topic,
        body: impl Into<Arc<[u8]>>,
        route: Route,
    ) -> Self {
        Self { from, generation, topic, body: body.into(), route }
    }
}

/// How a message came.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Route {
    /// It was published to all members.
    Published {
        /// Its number among all that the member published in this run, beginning with 1.
        sequence: u64,
        /// How many members passed it on. 0 if it came from the member itself.
        hops: u8,
        /// A later message of this member and topic with the same key replaces it while it waits to be read.
        coalesce: Option<Arc<str>>,
    },
    /// It was sent to this member alone.
    Sent,
}

/// The number of a message that was sent reliably ([`Sending::send`](crate::Sending::send)). No other message of the sender has it,
/// not even one of another run.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Ticket(pub u64);

impl Ticket {
    /// The ticket of so many messages in a run. An answer to another run of this node fits none of this one.
    pub(crate) const fn new(generation: Generation, count: u32) -> Self {
        Self(((generation.0 as u64) << 32) | count as u64)
    }
}
