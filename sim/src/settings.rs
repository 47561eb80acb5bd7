//! The values of scenario files and of the command line: spans of time, sets of members, networks, settings of phin.

use std::{collections::BTreeSet, str::FromStr, time::Duration};

use phin_swim::Config;
use serde::{Deserialize, Deserializer, de::Error};

use crate::{latency::Latency, network::NetworkConfig, node::NodeId};

/// A span of time, as "1.5s", "250ms" or "2m".
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // humantime knows no fractions.
        let fraction = [("ms", 1e-3), ("s", 1.0)].into_iter().find_map(|(unit, seconds)| {
            Some(text.strip_suffix(unit)?.trim().parse::<f64>().ok()? * seconds)
        });
        let span = match fraction {
            Some(seconds) => Duration::try_from_secs_f64(seconds).map_err(|e| e.to_string()),
            None => humantime::parse_duration(text).map_err(|e| e.to_string()),
        };
        let span =
            span.map_err(|e| format!("{text:?} is not a span of time such as 250ms: {e}"))?;
        if span > MAX_SPAN {
            return Err("the longest span of time is a year".to_owned());
        }
        Ok(Self(span))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
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

    /// The highest number named.
    pub fn last(&self) -> Option<u32> {
        let ranges = self.ranges.iter().filter(|(from, to)| from < to);
        ranges.map(|(_, to)| to - 1).max()
    }

    /// The same in a row.
    pub fn list(&self, nodes: u32) -> Vec<NodeId> {
        self.of(nodes).into_iter().collect()
    }
}

impl FromStr for Who {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut who = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            if part == "all" {
                who.is_all = true;
                continue;
            }
            let number = |text: &str| {
                let number = text.trim().parse::<u32>().ok();
                let unknown = || format!("{text:?} is no member: write 3, 0..5 (without 5) or all");
                number.ok_or_else(unknown)
            };
            let range = match part.split_once("..") {
                Some((from, to)) => (number(from)?, number(to)?),
                None => (number(part)?, number(part)?.saturating_add(1)),
            };
            if range.1 > MAX_NUMBER {
                return Err("no scenario has so many members".to_owned());
            }
            who.ranges.push(range);
        }
        Ok(who)
    }
}

impl<'de> Deserialize<'de> for Who {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// A share of all, from 0 to 1: written as 0.02 or "2%".
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Share(pub f64);

impl Share {
    fn new(share: f64) -> Result<Self, String> {
        let is_share = (0.0..=1.0).contains(&share);
        is_share.then_some(Self(share)).ok_or_else(|| {
            format!("{share} is not a share: write a number from 0 to 1, or 0% to 100%")
        })
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| {
            let number = text.trim().parse::<f64>();
            number.map_err(|_| format!("{text:?} is not a share: write 0.02 or 2%"))
        };
        match text.strip_suffix('%') {
            Some(percent) => Self::new(number(percent)? / 100.0),
            None => Self::new(number(text)?),
        }
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(f64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(share) => Self::new(share),
            Written::Text(text) => text.parse(),
        }
        .map_err(D::Error::custom)
    }
}

/// The network of a run.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct NetworkSettings {
    /// What the other settings start from.
    pub kind: NetworkKind,
    /// The median one-way delay between hosts; where there are zones, between hosts of different ones.
    pub delay: Option<Span>,
    /// How much the delay varies: one packet in six takes longer than `delay` and this together.
    pub jitter: Option<Span>,
    /// How many zones the hosts are in, in turn.
    pub zones: Option<Zones>,
    /// The median one-way delay within a zone.
    pub zone_delay: Option<Span>,
    /// The share of packets lost.
    pub loss: Share,
    /// The share of datagrams that arrive twice.
    pub duplicate: Share,
    /// The share of datagrams that are delayed further.
    pub reorder: Share,
    /// By how much at most.
    pub reorder_by: Option<Span>,
    /// The share of datagrams beside which a copy with changed bytes arrives.
    pub hostile: Share,
    /// What a host can send, in bytes a second; 0 means any amount.
    pub bandwidth: u64,
    /// The longest payload of a datagram.
    pub max_datagram: Option<usize>,
}

/// A kind of network.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkKind {
    /// One data centre: 0.25 ms one way.
    #[default]
    Lan,
    /// Three data centres on three continents: 40 ms one way between them.
    Wan,
    /// One machine: 30 µs.
    Local,
}

/// How many zones there are: 1 to 64.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Zones(usize);

impl TryFrom<i64> for Zones {
    type Error = String;

    fn try_from(zones: i64) -> Result<Self, String> {
        let zones = usize::try_from(zones).ok().filter(|zones| (1..=MAX_ZONES).contains(zones));
        zones.map(Self).ok_or_else(|| format!("there can be 1 to {MAX_ZONES} zones"))
    }
}

impl<'de> Deserialize<'de> for Zones {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_from(i64::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl FromStr for Zones {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::try_from(text.parse::<i64>().map_err(|error| error.to_string())?)
    }
}

impl NetworkSettings {
    /// As the simulation wants it.
    pub fn config(&self) -> NetworkConfig {
        let (zones, within, between) = match self.kind {
            NetworkKind::Lan => (1, Latency::LAN, Latency::LAN),
            NetworkKind::Wan => (3, Latency::LAN, Latency::WAN),
            NetworkKind::Local => (1, Latency::LOCAL, Latency::LOCAL),
        };
        let zones = self.zones.map_or(zones, |zones| zones.0);
        let between = latency(between, self.delay, self.jitter);
        let within = if zones == 1 { between } else { latency(within, self.zone_delay, None) };
        let row =
            |own| (0..zones).map(|other| if own == other { within } else { between }).collect();
        let base = NetworkConfig::lan();
        NetworkConfig {
            latency: (0..zones).map(row).collect(),
            loss: self.loss.0,
            duplicate: self.duplicate.0,
            reorder: self.reorder.0,
            reorder_by: self.reorder_by.map_or(base.reorder_by, |span| span.0),
            hostile: self.hostile.0,
            bandwidth: self.bandwidth,
            max_datagram: self.max_datagram.unwrap_or(base.max_datagram),
        }
    }
}

/// The delays of a kind of network, where they are not given.
fn latency(kind: Latency, delay: Option<Span>, jitter: Option<Span>) -> Latency {
    let median = delay.map_or(kind.median, |delay| delay.0);
    let sigma = match (jitter, delay) {
        // One packet in six is above the median by more than one sigma.
        (Some(jitter), _) => {
            libm::log(1.0 + jitter.0.as_secs_f64() / median.as_secs_f64().max(1e-9))
        }
        // Distances vary little: as between data centres.
        (None, Some(_)) => Latency::WAN.sigma,
        (None, None) => kind.sigma,
    };
    Latency { median, sigma }
}

/// Settings of phin, where they are not those of its profile. Each is explained in `docs/operations.md`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ConfigSettings {
    /// The protocol period.
    pub period: Option<Span>,
    /// The longest period while nothing happens.
    pub max_period: Option<Span>,
    /// How long the silence of a member is tolerated whose host is silent too.
    pub pause_tolerance: Option<Span>,
    /// How long the silence of a member is tolerated whose host answers.
    pub hang_tolerance: Option<Span>,
    /// How many rings there are.
    pub rings: Option<u8>,
    /// The phi at which a member is declared dead.
    pub phi_threshold: Option<f64>,
    /// After how long a degraded member is evicted.
    pub evict_degraded_after: Option<Span>,
    /// How long dead members are remembered.
    pub retention: Option<Span>,
}

impl ConfigSettings {
    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Changes a profile, as `phin run` does: what must fit the period follows it.
    pub fn apply(&self, config: &mut Config) {
        if let Some(Span(period)) = self.period {
            config.period = period;
            config.prior_round_trip = config.prior_round_trip.min(period / 4);
            config.push_delay = config.push_delay.min(period);
            config.pause_tolerance = config.pause_tolerance.max(period / 10);
            config.hang_tolerance = config.hang_tolerance.max(period);
        }
        if let Some(Span(pause)) = self.pause_tolerance {
            config.pause_tolerance = pause;
            config.hang_tolerance = config.hang_tolerance.max(pause);
        }
        if let Some(Span(hang)) = self.hang_tolerance {
            config.hang_tolerance = hang;
        }
        if let Some(Span(longest)) = self.max_period {
            config.max_period = Some(longest);
        }
        if let Some(Span(after)) = self.evict_degraded_after {
            config.evict_degraded_after = Some(after);
        }
        if let Some(Span(retention)) = self.retention {
            config.retention = retention;
        }
        config.rings = self.rings.unwrap_or(config.rings);
        config.phi_threshold = self.phi_threshold.unwrap_or(config.phi_threshold);
    }
}

const MAX_ZONES: usize = 64;
const MAX_NUMBER: u32 = 1 << 20;
const MAX_SPAN: Duration = Duration::from_secs(365 * 24 * 3_600);
