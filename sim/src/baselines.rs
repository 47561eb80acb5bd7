//! Protocols to compare with, in short implementations after their papers and programs.
//!
//! Their messages are encoded as compactly as possible, so their byte counts are a lower bound.

mod chitchat;
mod config;
mod heartbeat;
mod suspicion;
mod swim;
mod updates;

pub use chitchat::Chitchat;
pub use config::{ProbeOrder, SuspicionRule, SwimConfig};
pub use heartbeat::{FailureRule, Heartbeat};
pub use swim::SwimProtocol;

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
