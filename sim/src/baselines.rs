//! Protocols to compare with, in short implementations after their papers and programs.
//!
//! Their messages are encoded as compactly as possible, so their byte counts are a lower bound.

mod chitchat;
mod config;
mod event;
mod flood;
mod heartbeat;
mod serf;
mod suspicion;
mod swim;
mod updates;

pub use chitchat::Chitchat;
pub use config::{ProbeOrder, SuspicionRule, SwimConfig};
pub use flood::Flood;
pub use heartbeat::{FailureRule, Heartbeat};
pub use serf::Serf;
pub use swim::SwimProtocol;

use event::Event;

use crate::node::{Generation, Incarnation, NodeId, Version};

/// A version for protocols without generations.
const fn version(incarnation: u32) -> Version {
    Version { generation: Generation(1), incarnation: Incarnation(incarnation) }
}

/// Reads numbers from a message, and stops at malformed bytes.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    fn number(&mut self) -> Option<u32> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_le_bytes(*bytes))
    }

    fn node(&mut self) -> Option<NodeId> {
        self.number().map(NodeId)
    }
}

impl<'a> Reader<'a> {
    fn long(&mut self) -> Option<u64> {
        Some(u64::from(self.number()?) | u64::from(self.number()?) << 32)
    }

    fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }
}
