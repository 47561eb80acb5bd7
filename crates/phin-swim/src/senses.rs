//! [`Senses`]: what this node measured, of its links to others and of itself.

use crate::{
    Instant,
    detect::health::LocalHealth,
    link::Links,
    probe::{pings::Pings, rounds::Rounds},
};

/// The measurements of this node: its links, the pings that measure them, the schedule of probes, and its own health.
pub(crate) struct Senses {
    pub(crate) links: Links,
    pub(crate) pings: Pings,
    pub(crate) rounds: Rounds,
    pub(crate) health: LocalHealth,
}

impl Senses {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            links: Links::default(),
            pings: Pings::default(),
            rounds: Rounds::new(now),
            health: LocalHealth::new(now),
        }
    }
}
