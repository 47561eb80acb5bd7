//! The parameters of SWIM and its descendants, with the constants of papers and programs.

use std::time::Duration;

use crate::node::{millis, secs};

/// The parameters in which SWIM and its descendants differ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SwimConfig {
    /// The name in tables.
    pub name: &'static str,
    /// T': the protocol period, in which one member is probed.
    pub period: Duration,
    /// The wait for a direct ack.
    pub probe_timeout: Duration,
    /// k: the number of members that are asked to ping for us.
    pub indirect_probes: usize,
    /// The order of probes.
    pub order: ProbeOrder,
    /// The time that a suspect has to refute.
    pub suspicion: SuspicionRule,
    /// λ: the number of times an update is sent, for each e-fold (SWIM) or ten-fold (memberlist) of the size.
    pub retransmit_multiplier: u32,
    /// Gossip apart from probes: the interval and the fanout.
    pub gossip: Option<(Duration, usize)>,
    /// The largest local health multiplier (Lifeguard §IV.A); 0 turns it and nacks off.
    pub max_awareness: u32,
    /// Whether a ping notifies a suspect of its suspicion (Lifeguard §IV.C).
    pub buddy_system: bool,
    /// Whether an unanswered ping by UDP is followed by one by TCP.
    pub stream_ping: bool,
    /// The interval of exchanges of whole lists with a random member.
    pub push_pull: Option<Duration>,
}

/// The order of probes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ProbeOrder {
    /// A random member (SWIM §3.1).
    Random,
    /// Every member once, in an order that is shuffled after each round (SWIM §4.3).
    RoundRobin,
}

/// The time that a suspect has to refute.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SuspicionRule {
    /// None: a member that does not answer is dead (SWIM §3).
    None,
    /// A multiple of ⌈ln(n + 1)⌉ periods (SWIM §5, where it is 3).
    Fixed {
        /// The factor of the logarithm.
        multiplier: u32,
    },
    /// Lifeguard §IV.B: from the maximum down to the minimum with the number of confirmations.
    Lifeguard {
        /// The minimum, as a factor of log10(n) periods.
        multiplier: u32,
        /// The maximum, as a factor of the minimum.
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
