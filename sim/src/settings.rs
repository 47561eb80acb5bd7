//! The values in scenario files and on the command line: durations, sets of members, networks, settings of phin.

use std::{collections::BTreeSet, fmt::Display, str::FromStr, time::Duration};

use phin_swim::{Config, SignedVotes};
use serde::{Deserialize, Deserializer, de::Error};

use crate::{latency::Latency, network::NetworkConfig, node::NodeId};

/// A duration, such as "1.5s", "250ms" or "2m".
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // humantime does not parse fractions.
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

/// Members by number: "3", "0..5" (without 5), "1,4..8", "all" (all first members), or "" (none).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Who {
    ranges: Vec<(u32, u32)>,
    is_all: bool,
}

impl Who {
    /// Exactly these members.
    pub fn these(numbers: Vec<u32>) -> Self {
        let ranges = numbers.into_iter().map(|number| (number, number + 1)).collect();
        Self { ranges, is_all: false }
    }

    /// The members of this set, in a cluster that started with `nodes` members.
    pub fn of(&self, nodes: u32) -> BTreeSet<NodeId> {
        let all = self.is_all.then_some((0, nodes));
        let ranges = self.ranges.iter().copied().chain(all);
        ranges.flat_map(|(from, to)| (from..to).map(NodeId)).collect()
    }

    /// The highest number in the set.
    pub fn last(&self) -> Option<u32> {
        let ranges = self.ranges.iter().filter(|(from, to)| from < to);
        ranges.map(|(_, to)| to - 1).max()
    }

    /// The same as a list.
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

/// A share from 0 to 1, written as 0.02 or "2%".
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
    /// The preset that the other settings change.
    pub kind: NetworkKind,
    /// The median one-way delay between hosts; with zones, between hosts of different zones.
    pub delay: Option<Span>,
    /// The variation of the delay: one packet in six takes longer than `delay` plus this.
    pub jitter: Option<Span>,
    /// The number of zones, to which hosts are assigned in turn.
    pub zones: Option<Zones>,
    /// The median one-way delay within a zone.
    pub zone_delay: Option<Span>,
    /// The share of packets lost.
    pub loss: Share,
    /// The share of datagrams that arrive twice.
    pub duplicate: Share,
    /// The share of datagrams that are delayed further.
    pub reorder: Share,
    /// The longest further delay.
    pub reorder_by: Option<Span>,
    /// The share of datagrams of which a changed copy arrives too.
    pub hostile: Share,
    /// The bytes that a host can send per second; 0 means no limit.
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

/// The number of zones: 1 to 64.
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
    /// Converts the settings for a simulation.
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

/// The delays, with those of the preset as defaults.
fn latency(kind: Latency, delay: Option<Span>, jitter: Option<Span>) -> Latency {
    let median = delay.map_or(kind.median, |delay| delay.0);
    let sigma = match (jitter, delay) {
        // One packet in six exceeds the median by more than one sigma.
        (Some(jitter), _) => {
            libm::log(1.0 + jitter.0.as_secs_f64() / median.as_secs_f64().max(1e-9))
        }
        // Fixed distances vary little, as between data centres.
        (None, Some(_)) => Latency::WAN.sigma,
        (None, None) => kind.sigma,
    };
    Latency { median, sigma }
}

/// Settings of phin that differ from its profile. `docs/reference/settings.md` explains each.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ConfigSettings {
    /// The protocol period.
    pub period: Option<Span>,
    /// The longest period while nothing happens.
    pub max_period: Option<Span>,
    /// The tolerated silence of a member whose host is silent too.
    pub pause_tolerance: Option<Span>,
    /// The tolerated silence of a member whose host answers.
    pub hang_tolerance: Option<Span>,
    /// The number of rings.
    pub rings: Option<u8>,
    /// The phi at which a member is declared dead.
    pub phi_threshold: Option<f64>,
    /// Whether votes are signed: `off`, `sign` or `require`.
    #[serde(deserialize_with = "parsed")]
    pub signed_votes: Option<SignedVotes>,
    /// The time after which a degraded member is evicted.
    pub evict_degraded_after: Option<Span>,
    /// The time for which dead members are remembered.
    pub retention: Option<Span>,
}

impl ConfigSettings {
    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Applies the settings to a profile, as `phin run` does: values that must fit the period follow it.
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
        config.signed_votes = self.signed_votes.unwrap_or(config.signed_votes);
        config.phi_threshold = self.phi_threshold.unwrap_or(config.phi_threshold);
    }
}

/// A value that is given as a text.
fn parsed<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<T>, D::Error> {
    String::deserialize(from)?.parse().map(Some).map_err(D::Error::custom)
}

const MAX_ZONES: usize = 64;
const MAX_NUMBER: u32 = 1 << 20;
const MAX_SPAN: Duration = Duration::from_secs(365 * 24 * 3_600);
