//! Messages of applications: published to all members, or sent to one. The core carries them and says what became of them; who
//! reads them is the application's.

pub(crate) mod topic;

use std::sync::Arc;

use crate::{Generation, MemberId, Topic};

/// A message of an application, as it arrives.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Message {
    /// The member that published or sent it.
    pub from: MemberId,
    /// The run of that member's process.
    pub generation: Generation,
    /// What it is about.
    pub topic: Topic,
    /// Its content.
    pub body: Arc<[u8]>,
    /// How it came.
    pub route: Route,
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
