//! The core under arbitrary bytes: as payloads, and as scripts of what happens to a few members. Nothing may panic, and
//! what always holds is checked after every step. `sim/fuzz` searches for bytes that break it; `sim/tests/arbitrary.rs`
//! runs random ones, and those that once broke it.

mod bytes;
mod core;
mod script;

use std::sync::Arc;

use phin_swim::{Config, Instant, describe};

use self::{
    bytes::Bytes,
    core::{Core, peer},
    script::Script,
};
use crate::{keys::SimKeys, node::NodeId};

/// Takes bytes for a payload: tells it in words, and lets a member hear it by either way, twice each, from a member
/// that it knows and from one that it does not.
pub fn payload(bytes: &[u8]) {
    let keys = SimKeys { node: NodeId(0), seed: core::SEED };
    let words = describe(bytes, &keys, &|id| id.to_string());
    // Each part is a kind and a body, so two bytes at least.
    assert!(words.len() <= bytes.len() / 2 + 1, "{} parts in {} bytes", words.len(), bytes.len());
    let mut core = Core::start(Instant::START, 0, 1, &Arc::new(Config::lan()));
    for from in [peer(1), peer(core::MEMBERS)] {
        for _ in 0..2 {
            core.input(Instant::START, |swim, now| swim.handle_datagram(now, from, bytes));
            core.input(Instant::START, |swim, now| swim.handle_stream(now, from, bytes));
        }
        core.check_answers(Instant::START);
    }
}

/// Takes bytes for a script: members that know each other, or not yet, with a configuration; what is delivered to whom,
/// in which order, how often, damaged or as another's; what hosts answer, what connections do, who joins, leaves, is
/// forgotten, dies and returns; and how time goes on.
pub fn script(bytes: &[u8]) {
    Script::start(Bytes::new(bytes)).run();
}
