//! Tests the core with arbitrary bytes: as payloads, as frames for watchers, and as scripts of events for a few members. Nothing may panic,
//! and invariants are checked after every step. `sim/fuzz` searches for bytes that break the core.
//! `sim/tests/arbitrary.rs` runs random bytes, and those that once broke it.

mod bytes;
mod core;
mod script;

use std::sync::Arc;

use phin_swim::{Config, Instant, WatchFeed, WatchedList, describe};

use self::{
    bytes::Bytes,
    core::{Core, peer},
    script::Script,
};
use crate::{keys::SimKeys, node::NodeId};

/// Uses bytes as a payload: describes it, and delivers it to a member as datagram and as stream, twice each, from a
/// known member and from an unknown one.
pub fn payload(bytes: &[u8]) {
    let keys = SimKeys { node: NodeId(0), seed: core::SEED };
    let words = describe(bytes, &keys, &|id| id.to_string());
    // Each part has a kind and a body, so at least two bytes.
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

/// Uses bytes as a frame for a watcher, before the list of a member has arrived and after, twice each.
pub fn frame(bytes: &[u8]) {
    let now = Instant::START;
    let keys = Arc::new(SimKeys { node: NodeId(0), seed: core::SEED });
    let mut watched = WatchedList::new(keys, 3);
    for stream in [Vec::new(), whole_list()] {
        watched.start_stream();
        for frame in stream.iter().map(Vec::as_slice).chain([bytes; 2]) {
            // A frame that cannot be used ends a stream; the list is as sound as before.
            let _ = watched.handle_frame(now, frame);
            while watched.poll_event().is_some() {}
            let members = watched.members();
            assert!(members.len() <= 3);
            assert_eq!(members.len(), members.iter().count());
            assert_eq!(members.live_len(), members.live().count());
        }
        if let Some(due) = watched.poll_timeout() {
            watched.handle_timeout(due);
        }
    }
}

/// The frames of a member that is alone, as a watcher is sent them.
pub fn whole_list() -> Vec<Vec<u8>> {
    let core = Core::start(Instant::START, 0, 1, &Arc::new(Config::lan()));
    let members = core.members();
    let mut feed = WatchFeed::new(members.me().id(), members);
    std::iter::from_fn(|| feed.next_frame(Instant::START)).collect()
}

/// Uses bytes as a script. They choose the configuration; whether the members know each other at first; which
/// messages are delivered, in which order, how often, changed or from another sender; the answers of hosts and the
/// ends of connections; joins, departures, forgetting, deaths and returns; and the passing of time.
pub fn script(bytes: &[u8]) {
    Script::start(Bytes::new(bytes)).run();
}
