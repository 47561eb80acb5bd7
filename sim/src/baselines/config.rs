//! What differs between SWIM and its descendants, with the constants of papers and programs.

use std::time::Duration;

use crate::node::{millis, secs};

/// What differs between SWIM and its descendants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SwimConfig {
    /// The name in tables.
    pub name: &'static str,
    /// T': one member is probed in each.
    pub period: Duration,
    /// How long a direct ack is waited for.
    pub probe_timeout: Duration,
    /// k: how many members are asked to ping for us.
    pub indirect_probes: usize,
    /// Who is probed next.
    pub order: ProbeOrder,
    /// How long a suspect may refute.
    pub suspicion: SuspicionRule,
    /// λ: how often an update is sent, for each e-fold (SWIM) or ten-fold (memberlist) of the size.
    pub retransmit_multiplier: u32,
    /// Gossip apart from probes: how often, and to how many.
    pub gossip: Option<(Duration, usize)>,
    /// The largest local health multiplier (Lifeguard §IV.A); 0 turns it and nacks off.
    pub max_awareness: u32,
    /// Whether a ping tells a suspect that it is one (Lifeguard §IV.C).
    pub buddy_system: bool,
    /// Whether a ping by TCP is tried when the one by UDP is not answered.
    pub stream_ping: bool,
    /// How often whole lists are exchanged with a random member.
    pub push_pull: Option<Duration>,
}

/// Who is probed next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ProbeOrder {
    /// Anyone (SWIM §3.1).
    Random,
    /// Everyone once, in an order shuffled anew each time round (SWIM §4.3).
    RoundRobin,
}

/// How long a suspect may refute.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SuspicionRule {
    /// It may not: who does not answer is dead (SWIM §3).
    None,
    /// A multiple of ⌈ln(n + 1)⌉ periods (SWIM §5, where it is 3).
    Fixed {
        /// Of the logarithm.
        multiplier: u32,
    },
    /// Lifeguard §IV.B: from the maximum down to the minimum with the number of confirmations.
    Lifeguard {
        /// Of log10(n) periods: the minimum.
        multiplier: u32,
        /// Of the minimum: the maximum.
        max_multiplier: u32,
    },
}

impl SwimConfig {
    /// SWIM+Inf+Susp as in §5 of the paper, with a period of 1 s for comparison's sake (the paper: 2 s; k = 1, λ = 3,
    /// suspicion of 3⌈log(N + 1)⌉ periods). k is 3, as everywhere here.
    pub const PAPER: Self = Self {
        name: "swim",
        period: secs(1),
        probe_timeout: millis(500),
        indirect_probes: 3,
        order: ProbeOrder::RoundRobin,
        suspicion: SuspicionRule::Fixed { multiplier: 3 },
        retransmit_multiplier: 3,
        gossip: None,
        max_awareness: 0,
        buddy_system: false,
        stream_ping: false,
        push_pull: None,
    };

    /// memberlist's `DefaultLANConfig` (config.go): ProbeInterval 1 s, ProbeTimeout 500 ms, IndirectChecks 3,
    /// SuspicionMult 4, SuspicionMaxTimeoutMult 6, RetransmitMult 4, GossipInterval 200 ms, GossipNodes 3,
    /// AwarenessMaxMultiplier 8, DisableTcpPings false, PushPullInterval 30 s.
    pub const MEMBERLIST: Self = Self {
        name: "lifeguard",
        suspicion: SuspicionRule::Lifeguard { multiplier: 4, max_multiplier: 6 },
        retransmit_multiplier: 4,
        gossip: Some((millis(200), 3)),
        max_awareness: 8,
        buddy_system: true,
        stream_ping: true,
        push_pull: Some(secs(30)),
        ..Self::PAPER
    };
}
