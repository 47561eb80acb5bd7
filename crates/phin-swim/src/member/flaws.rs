//! [`Flaws`]: the reasons for which a member that lives is degraded. It states them in its record, by what its observers measure.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A reason for which a member that lives is of little use to others.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Flaw {
    /// Most of its observers get no reply to far more of their pings than on their other links.
    Loss,
    /// Most of its observers get its replies far later than before, and than those of others.
    Latency,
    /// Messages pass in one direction and not in the other, between the member and most of its observers.
    OneWay,
    /// Packets of full size do not pass between the member and most of its observers, and smaller ones do.
    LargePackets,
}

impl Flaw {
    /// All of them, in the order of their numbers.
    pub(crate) const ALL: [Self; 4] = [Self::Loss, Self::Latency, Self::OneWay, Self::LargePackets];

    /// The flaw's name in logs, events and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::Latency => "latency",
            Self::OneWay => "one-way",
            Self::LargePackets => "large-packets",
        }
    }

    /// Its bit in a message.
    const fn bit(self) -> u64 {
        match self {
            Self::Loss => 1,
            Self::Latency => 2,
            Self::OneWay => 4,
            Self::LargePackets => 8,
        }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A set of flaws; empty for a member that is well. In JSON it is a list of their names.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Deserialize, serde::Serialize),
    serde(from = "Vec<String>", into = "Vec<&'static str>")
)]
pub struct Flaws(u8);

impl Flaws {
    /// No flaw.
    pub const NONE: Self = Self(0);

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.0 == 0
    }

    /// Whether this one is among them.
    pub const fn contains(self, flaw: Flaw) -> bool {
        self.to_bits() & flaw.bit() != 0
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Flaw> {
        Flaw::ALL.into_iter().filter(move |&flaw| self.contains(flaw))
    }

    /// These, and those.
    pub(crate) const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// As they are sent: a bit for each.
    pub(crate) const fn to_bits(self) -> u64 {
        self.0 as u64
    }

    /// Reads what [`Flaws::to_bits`] made. Bits of a later release are ignored.
    pub(crate) fn from_bits(bits: u64) -> Self {
        Flaw::ALL.into_iter().filter(|flaw| bits & flaw.bit() != 0).collect()
    }
}

impl FromIterator<Flaw> for Flaws {
    fn from_iter<I: IntoIterator<Item = Flaw>>(flaws: I) -> Self {
        let bits = flaws.into_iter().fold(0, |bits, flaw| bits | flaw.bit());
        Self(u8::try_from(bits).expect("each flaw has a bit of the first eight"))
    }
}

impl From<Flaw> for Flaws {
    fn from(flaw: Flaw) -> Self {
        [flaw].into_iter().collect()
    }
}

/// Their names, such as `loss, one-way`.
impl fmt::Display for Flaws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.iter().map(Flaw::as_str).collect::<Vec<_>>().join(", "))
    }
}

/// A name of a later release is ignored.
impl From<Vec<String>> for Flaws {
    fn from(names: Vec<String>) -> Self {
        let is_named = |flaw: &Flaw| names.iter().any(|name| name == flaw.as_str());
        Flaw::ALL.into_iter().filter(is_named).collect()
    }
}

impl From<Flaws> for Vec<&'static str> {
    fn from(flaws: Flaws) -> Self {
        flaws.iter().map(Flaw::as_str).collect()
    }
}

/// Flaws in a message.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(transparent)]
pub(crate) struct FlawBits(u64);

impl From<Flaws> for FlawBits {
    fn from(flaws: Flaws) -> Self {
        Self(flaws.to_bits())
    }
}

impl From<FlawBits> for Flaws {
    fn from(FlawBits(bits): FlawBits) -> Self {
        Self::from_bits(bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flaws_are_a_set_whose_unknown_members_are_ignored() {
        let both: Flaws = [Flaw::OneWay, Flaw::Loss].into_iter().collect();
        assert_eq!((both.to_bits(), both.to_string()), (5, "loss, one-way".to_owned()));
        assert!(both.contains(Flaw::Loss) && !both.contains(Flaw::Latency));
        assert_eq!(Flaws::from(Flaw::Latency).union(both).to_bits(), 7);
        assert_eq!(Flaws::from_bits(0xffff_fff5 & !8), both, "bits of a later release");
        let names = ["later", "one-way", "loss"].map(str::to_owned).to_vec();
        assert_eq!(Flaws::from(names), both);
        assert_eq!(Vec::<&str>::from(both), ["loss", "one-way"]);
        assert!(Flaws::NONE.is_empty() && Flaws::NONE.to_string().is_empty());
    }
}
