//! Questions to hosts about their ports, and the quotas of questions and refusals.

use std::time::Duration;

use crate::node::{Instant, Peer, secs};

/// A question under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asking {
    pub(crate) about: Peer,
    pub(crate) port: Port,
    /// How long the answer to each packet is waited for.
    pub(crate) patience: Duration,
}

/// The port that a question is sent to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Port {
    /// The member's own port.
    Own,
    /// A port that no process has.
    Closed,
}

/// A token bucket: a burst, then one per second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quota {
    left: u32,
    since: Instant,
}

impl Quota {
    /// A full bucket of this size.
    pub(crate) const fn new(size: u32, now: Instant) -> Self {
        Self { left: size, since: now }
    }

    /// Takes a token. Returns `false` if none is left.
    pub(crate) fn take(&mut self, size: u32, now: Instant) -> bool {
        let refilled = u32::try_from((now - self.since).as_secs()).unwrap_or(size);
        self.left = self.left.saturating_add(refilled).min(size);
        self.since = if self.left == size { now } else { self.since + secs(1) * refilled };
        let is_left = self.left > 0;
        self.left = self.left.saturating_sub(1);
        is_left
    }
}
