//! Transports that talk to each other, and to strangers, over real sockets.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod assigned_ids;
mod connections;
mod credentials;
mod handshakes;
mod hostile;
mod log;
mod messages;
mod support;
mod watch;
