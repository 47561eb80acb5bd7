//! Counters of the whole node.

use std::time::Duration;

/// The counters of a node since its start.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stats {
    /// The protocol's counters.
    pub swim: phin_swim::Stats,
    /// The transport's counters.
    pub transport: phin_quic::TransportStats,
    /// The driver's counters.
    pub driver: DriverStats,
}

/// The counters of the driver: how promptly it runs, and what it dropped.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct DriverStats {
    /// How often it woke.
    pub wakes: u64,
    /// How often it woke later than its deadline by enough to count as a pause; timers then waited
    /// for what was received.
    pub pauses: u64,
    /// The sum of how late it woke, over all wakes.
    pub total_lag: Duration,
    /// The latest that it woke.
    pub max_lag: Duration,
    /// Changes that subscribers were not told of one by one, because they fell behind.
    pub events_missed: u64,
    /// Messages of members that arrived for this node's application.
    pub messages_received: u64,
    /// Messages that a subscription did not receive, because its queue was full. Refused messages, whose senders were told,
    /// are counted too.
    pub messages_dropped: u64,
    /// Messages that a later one with the same key replaced, before they were read.
    pub messages_coalesced: u64,
    /// Messages of a topic that nobody subscribes to.
    pub messages_unclaimed: u64,
    /// Crossings of a phi threshold that subscribers were not told of, because they read too slowly.
    pub phi_crossings_missed: u64,
    /// Changes of a member's address back to the one before: two processes may run with its key.
    pub addresses_alternating: u64,
    /// Generations not written to the data directory, because writing failed.
    pub generations_not_kept: u64,
    /// Times that the known peers could not be written to the data directory.
    pub peers_not_kept: u64,
    /// Times that this node's data could not be written to the data directory.
    pub data_not_kept: u64,
    /// Votes of this node for offices that it could not write to the data directory, so they were not given.
    pub promises_not_kept: u64,
    /// Times that the statements of administrators could not be written to the data directory.
    pub expulsions_not_kept: u64,
    /// Messages of nodes outside the list that were dropped because these had sent too much lately.
    pub outsiders_dropped: u64,
    /// Fresh snapshots sent to watchers that had fallen behind, in place of the changes that they missed.
    pub watcher_resyncs: u64,
    /// Watchers refused because this node had not joined, was isolated, or had left.
    pub watchers_not_ready: u64,
    /// Questions to hosts that were not asked, because too many were under way or the host's budget
    /// was spent.
    pub hosts_not_asked: u64,
}
