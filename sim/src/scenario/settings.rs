//! The small words of scenario files: spans of time, sets of members, networks.

use std::{collections::BTreeSet, time::Duration};

use serde::{Deserialize, Deserializer, de::Error};

use crate::{latency::Latency, network::NetworkConfig, node::NodeId};

/// A span of time, as "1.5s", "250ms" or "2m".
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Span(pub Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // humantime knows no fractions.
        let fraction = text.strip_suffix('s').and_then(|seconds| seconds.parse::<f64>().ok());
        match fraction {
            Some(seconds) => {
                Duration::try_from_secs_f64(seconds).map(Span).map_err(D::Error::custom)
            }
            None => humantime::parse_duration(&text).map(Span).map_err(D::Error::custom),
        }
    }
}

/// Members by number: "3", "0..5" (without 5), "1,4..8", "all" (of the first), or nobody: "".
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Who {
    ranges: Vec<(u32, u32)>,
    is_all: bool,
}

impl Who {
    /// Exactly these.
    pub fn these(numbers: Vec<u32>) -> Self {
        let ranges = numbers.into_iter().map(|number| (number, number + 1)).collect();
        Self { ranges, is_all: false }
    }

    /// The members meant, in a cluster that began with so many.
    pub fn of(&self, nodes: u32) -> BTreeSet<NodeId> {
        let all = self.is_all.then_some((0, nodes));
        let ranges = self.ranges.iter().copied().chain(all);
        ranges.flat_map(|(from, to)| (from..to).map(NodeId)).collect()
    }

    /// The same in a row.
    pub fn list(&self, nodes: u32) -> Vec<NodeId> {
        self.of(nodes).into_iter().collect()
    }
}

impl<'de> Deserialize<'de> for Who {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut who = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            if part == "all" {
                who.is_all = true;
                continue;
            }
            let number = |text: &str| text.trim().parse::<u32>().map_err(D::Error::custom);
            let range = match part.split_once("..") {
                Some((from, to)) => (number(from)?, number(to)?),
                None => (number(part)?, number(part)?.saturating_add(1)),
            };
            if range.1 > MAX_NUMBER {
                return Err(D::Error::custom("no scenario has so many members"));
            }
            who.ranges.push(range);
        }
        Ok(who)
    }
}

/// The network of a scenario.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct NetworkSettings {
    /// "lan" (default), "wan" or "local".
    #[serde(default)]
    pub kind: NetworkKind,
    /// The share of packets lost.
    #[serde(default)]
    pub loss: f64,
    /// The share of datagrams that come twice.
    #[serde(default)]
    pub duplicate: f64,
    /// The share of datagrams that are held back.
    #[serde(default)]
    pub reorder: f64,
    /// By how much at most.
    pub reorder_by: Option<Span>,
    /// The share of datagrams beside which a hostile copy arrives.
    #[serde(default)]
    pub hostile: f64,
    /// What a member can send, in bytes a second.
    #[serde(default)]
    pub bandwidth: u64,
    /// The longest payload of a datagram.
    pub max_datagram: Option<usize>,
}

/// A kind of network.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkKind {
    /// One data centre.
    #[default]
    Lan,
    /// Three, on three continents.
    Wan,
    /// One machine.
    Local,
}

impl NetworkSettings {
    /// As the simulation wants it.
    pub fn config(&self) -> NetworkConfig {
        let base = match self.kind {
            NetworkKind::Lan => NetworkConfig::lan(),
            NetworkKind::Wan => NetworkConfig::wan(),
            NetworkKind::Local => NetworkConfig::uniform(Latency::LOCAL),
        };
        NetworkConfig {
            loss: self.loss,
            duplicate: self.duplicate,
            reorder: self.reorder,
            reorder_by: self.reorder_by.map_or(base.reorder_by, |span| span.0),
            hostile: self.hostile,
            bandwidth: self.bandwidth,
            max_datagram: self.max_datagram.unwrap_or(base.max_datagram),
            ..base
        }
    }
}

const MAX_NUMBER: u32 = 1 << 20;
