//! Discoveries over clusters of real nodes: in memory, where no real time passes, and on loopback sockets.
#![expect(clippy::unwrap_used, reason = "what helps a test may fail as a test does")]

mod balance;
mod rotation;
mod rules;
mod sockets;
