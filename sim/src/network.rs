//! The network between hosts: delays, loss and cuts.

use std::{collections::BTreeMap, time::Duration};

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::{
    latency::Latency,
    node::{Channel, HostId},
};

/// The settings of the network, without temporary faults.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkConfig {
    /// One-way delays between zones, with one row and column for each zone.
    pub latency: Vec<Vec<Latency>>,
    /// The probability that a packet is lost.
    pub loss: f64,
    /// The probability that a datagram arrives twice.
    pub duplicate: f64,
    /// The probability that a datagram is held back by up to [`NetworkConfig::reorder_by`].
    pub reorder: f64,
    /// The longest additional delay of such a datagram.
    pub reorder_by: Duration,
    /// The probability that a changed copy of a datagram arrives too. QUIC and TLS drop damaged datagrams, so this
    /// simulates a hostile peer, and tests the decoder.
    pub hostile: f64,
    /// The bytes that a host can send per second; 0 means no limit.
    pub bandwidth: u64,
    /// The longest payload of a datagram. A longer one is sent as a stream, as in phin's transport.
    pub max_datagram: usize,
}

impl NetworkConfig {
    /// One zone with these delays and no faults.
    pub fn uniform(latency: Latency) -> Self {
        Self {
            latency: vec![vec![latency]],
            loss: 0.0,
            duplicate: 0.0,
            reorder: 0.0,
            reorder_by: Duration::from_millis(5),
            hostile: 0.0,
            bandwidth: 0,
            max_datagram: 1_162,
        }
    }

    /// One data centre.
    pub fn lan() -> Self {
        Self::uniform(Latency::LAN)
    }

    /// Three data centres on three continents, LAN within each.
    pub fn wan() -> Self {
        let row = |own: usize| {
            (0..3).map(|other| if own == other { Latency::LAN } else { Latency::WAN }).collect()
        };
        Self { latency: (0..3).map(row).collect(), ..Self::lan() }
    }
}

/// A rule that loses packets between two sets of hosts while it is in force.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// The sending hosts.
    pub from: Hosts,
    /// The receiving hosts.
    pub to: Hosts,
    /// The packets that it concerns.
    pub packets: Packets,
    /// The probability of loss; 1 is a cut.
    pub loss: f64,
}

/// The packets that a rule concerns.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Packets {
    /// All.
    All,
    /// Datagrams, and no streams.
    Datagrams,
    /// Those that open connections.
    Handshakes,
    /// Those of more than so many bytes, headers included.
    Above(usize),
}

/// A packet as far as rules look at it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) channel: Channel,
    pub(crate) is_handshake: bool,
    /// Its length with headers.
    pub(crate) bytes: usize,
}

impl Kind {
    /// An acknowledgement, or another short packet that belongs to a stream.
    pub(crate) const SHORT: Self = Self { channel: Channel::Stream, is_handshake: false, bytes: 0 };
}

impl Packets {
    fn contains(self, kind: Kind) -> bool {
        match self {
            Self::All => true,
            Self::Datagrams => kind.channel == Channel::Datagram,
            Self::Handshakes => kind.is_handshake,
            Self::Above(bytes) => kind.bytes > bytes,
        }
    }
}

/// A set of hosts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Hosts {
    /// All hosts.
    All,
    /// These hosts.
    Only(Vec<bool>),
    /// All hosts but these.
    Except(Vec<bool>),
}

impl Hosts {
    fn contains(&self, host: HostId) -> bool {
        let is_in = |set: &[bool]| set.get(host.index()).copied().unwrap_or(false);
        match self {
            Self::All => true,
            Self::Only(set) => is_in(set),
            Self::Except(set) => !is_in(set),
        }
    }
}

/// The id of rules, by which they are lifted.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct RuleId(pub u32);

/// The present state of the network.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    pub(crate) config: NetworkConfig,
    rules: BTreeMap<RuleId, Vec<Rule>>,
    /// For each host, when its datagrams, and all its packets, will have been sent.
    free_at: Vec<(Duration, Duration)>,
}

impl Network {
    pub(crate) const fn new(config: NetworkConfig) -> Self {
        Self { config, rules: BTreeMap::new(), free_at: Vec::new() }
    }

    pub(crate) fn add(&mut self, id: RuleId, rules: Vec<Rule>) {
        self.rules.insert(id, rules);
    }

    pub(crate) fn lift(&mut self, id: RuleId) {
        self.rules.remove(&id);
    }

    /// The present probability that a packet between these hosts is lost.
    pub(crate) fn loss(&self, from: HostId, to: HostId, kind: Kind) -> f64 {
        if from == to {
            return 0.0;
        }
        let mut passes = 1.0 - self.config.loss;
        for rule in self.rules.values().flatten() {
            if rule.packets.contains(kind) && rule.from.contains(from) && rule.to.contains(to) {
                passes *= 1.0 - rule.loss;
            }
        }
        1.0 - passes
    }

    pub(crate) fn is_cut(&self, from: HostId, to: HostId, kind: Kind) -> bool {
        !self.rules.is_empty() && self.loss(from, to, kind) >= 1.0
    }

    /// The delay of one packet; `None` if it is lost.
    pub(crate) fn pass(
        &self,
        rng: &mut ChaCha8Rng,
        (from, from_zone): (HostId, usize),
        (to, to_zone): (HostId, usize),
        kind: Kind,
    ) -> Option<Duration> {
        let loss = self.loss(from, to, kind);
        if loss > 0.0 && rng.random::<f64>() < loss {
            return None;
        }
        Some(self.latency(from_zone, to_zone).sample(rng))
    }

    pub(crate) fn latency(&self, from_zone: usize, to_zone: usize) -> Latency {
        self.config.latency[from_zone][to_zone]
    }

    /// The time until these bytes have left their host. Datagrams wait only for datagrams: a sender keeps streams
    /// below the congestion window, so that bulk data does not delay probes.
    pub(crate) fn depart(
        &mut self,
        now: Duration,
        host: HostId,
        channel: Channel,
        bytes: usize,
    ) -> Duration {
        if self.config.bandwidth == 0 {
            return Duration::ZERO;
        }
        if self.free_at.len() <= host.index() {
            self.free_at.resize(host.index() + 1, Default::default());
        }
        let nanos = bytes as u128 * 1_000_000_000 / u128::from(self.config.bandwidth);
        let takes = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let (datagrams, all) = &mut self.free_at[host.index()];
        *all = (*all).max(now) + takes;
        match channel {
            Channel::Stream => *all - now,
            Channel::Datagram => {
                *datagrams = (*datagrams).max(now) + takes;
                *datagrams - now
            }
        }
    }
}
