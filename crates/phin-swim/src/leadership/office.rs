//! [`Office`]: a name that at most one member holds; what its candidates agree on, and what becomes known of it.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Filter, Generation, Instant, MemberId, Topic, TopicError};

/// The name of an office, such as `scheduler`: 1 to 64 bytes of UTF-8 without spaces, control characters or invisible ones.
/// Clones share memory.
///
/// ```
/// # use phin_swim::Office;
/// let office: Office = "scheduler".parse()?;
/// assert_eq!(office.as_str(), "scheduler");
/// assert!("two words".parse::<Office>().is_err());
/// # Ok::<(), phin_swim::OfficeError>(())
/// ```
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Office(Topic);

impl Office {
    /// The longest name, in bytes.
    pub const MAX_BYTES: usize = 64;
    /// The prefix of the keys of member data by which holders announce themselves. The name of the office follows; the
    /// value is the [`Term`] in decimal digits.
    pub const DATA_PREFIX: &str = "phin/leader/";

    /// The name as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The key by which its holder announces itself.
    pub(crate) fn data_key(&self) -> String {
        format!("{}{self}", Self::DATA_PREFIX)
    }

    /// The office that a key of member data announces a holder of.
    pub(crate) fn of_data_key(key: &str) -> Option<Self> {
        key.strip_prefix(Self::DATA_PREFIX)?.parse().ok()
    }
}

impl FromStr for Office {
    type Err = OfficeError;

    fn from_str(name: &str) -> Result<Self, OfficeError> {
        if name.len() > Self::MAX_BYTES {
            return Err(OfficeError::Length { bytes: name.len() });
        }
        name.parse().map(Self).map_err(|error| match error {
            TopicError::Length { bytes } => OfficeError::Length { bytes },
            TopicError::Character { character } => OfficeError::Character { character },
        })
    }
}

impl fmt::Display for Office {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Office {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Office {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Why a text is no [`Office`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OfficeError {
    /// It is empty, or longer than [`Office::MAX_BYTES`].
    #[error("an office has a name of 1 to {} bytes, not {bytes}", Office::MAX_BYTES)]
    Length {
        /// The length of the text.
        bytes: usize,
    },
    /// It has a space, a control character or an invisible one.
    #[error("the name of an office cannot contain {character:?}")]
    Character {
        /// The first such character.
        character: char,
    },
}

/// The number of a term of an office: its fencing token. A later holder has a higher one, so a resource that refuses lower
/// numbers than it has seen cannot be changed by a former holder.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
pub struct Term(pub u64);

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How an office is given. All candidates must state the same.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct OfficeRules {
    /// The members that vote, at most [`OfficeRules::MAX_VOTERS`]. Default: all.
    pub voters: Filter,
    /// How many voters there are. More than half of them must grant a term. `None` counts the voters that are known and have
    /// not left. That is weaker: while members are added, or after a split of a cluster that has just started, two majorities
    /// may have no member in common.
    pub expected: Option<u16>,
}

impl OfficeRules {
    /// The most voters of an office. Each renewal asks each of them.
    pub const MAX_VOTERS: usize = 64;

    /// Rules with so many voters, of those that match the filter.
    pub const fn new(voters: Filter, expected: Option<u16>) -> Self {
        Self { voters, expected }
    }
}

/// A term that a voter has granted. It must outlive the voter's process for terms to rise for ever.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Promise {
    /// The office.
    pub office: Office,
    /// The term: the voter grants no lower one any more, and this one to no other candidate.
    pub term: Term,
    /// The candidate.
    pub candidate: MemberId,
    /// The run of the candidate's process.
    pub generation: Generation,
    /// How long the voter grants the office to no other after a request of the candidate.
    pub lease: Duration,
}

/// All promises of a node, to be kept between its runs.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Promises {
    /// The highest term of the offices that are no longer remembered. Terms of offices without a promise must exceed it.
    pub floor: Term,
    /// The promises, one for each office.
    pub of: Vec<Promise>,
}

/// Why a node cannot stand for an office.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum StandError {
    /// More voters than [`OfficeRules::MAX_VOTERS`] are expected, or are known and none are expected.
    #[error(
        "an office has at most {} voters, not {voters}: name the voters by a filter",
        OfficeRules::MAX_VOTERS
    )]
    TooManyVoters {
        /// How many.
        voters: usize,
    },
    /// Zero voters are expected.
    #[error("an office has at least 1 voter")]
    NoVoters,
    /// The node stands for so many offices already.
    #[error("a node stands for at most {max} offices")]
    TooManyOffices {
        /// The most.
        max: usize,
    },
    /// The node has left the cluster.
    #[error("this node has left the cluster")]
    Left,
}

/// An event of an office.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum OfficeEvent {
    /// This node holds the office, until that moment at least.
    Elected {
        /// The office.
        office: Office,
        /// The term.
        token: Term,
        /// Do not act as the holder at or after this moment on the driver's clock.
        valid_until: Instant,
    },
    /// This node holds the office for longer than it knew.
    Renewed {
        /// The office.
        office: Office,
        /// As in [`OfficeEvent::Elected`], in place of the moment before.
        valid_until: Instant,
    },
    /// This node does not hold the office any more.
    Lost {
        /// The office.
        office: Office,
        /// The term that ended.
        token: Term,
        /// Why.
        why: LostReason,
    },
    /// Another member announces that it holds the office.
    Following {
        /// The office.
        office: Office,
        /// The holder.
        member: MemberId,
        /// Its term.
        token: Term,
    },
    /// No member is known to hold the office.
    Vacant {
        /// The office.
        office: Office,
        /// Why.
        why: Vacancy,
    },
}

impl OfficeEvent {
    /// The office.
    pub const fn office(&self) -> &Office {
        match self {
            Self::Elected { office, .. }
            | Self::Renewed { office, .. }
            | Self::Lost { office, .. }
            | Self::Following { office, .. }
            | Self::Vacant { office, .. } => office,
        }
    }
}

/// Why a node no longer holds an office.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum LostReason {
    /// No majority of the voters renewed the term in time.
    LeaseLost,
    /// The application resigned, or states other rules.
    Resigned,
    /// The node takes no more work.
    Draining,
    /// The node leaves the cluster.
    Left,
    /// The node receives nothing from other members, or most of its observers do not reach it.
    Isolated,
    /// The node took another generation, because an earlier run of it was known by a higher one.
    Restarted,
}

impl LostReason {
    /// Its name in logs, metrics and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LeaseLost => "lease-lost",
            Self::Resigned => "resigned",
            Self::Draining => "draining",
            Self::Left => "left",
            Self::Isolated => "isolated",
            Self::Restarted => "restarted",
        }
    }
}

/// Why no member is known to hold an office. The last six are found by candidates alone.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Vacancy {
    /// No holder was announced so far.
    NeverHeld,
    /// The holder is dead, or its process was started anew.
    HolderDied,
    /// The holder left the cluster.
    HolderLeft,
    /// The holder gave the office up, or lost it.
    Released,
    /// Too few voters are alive, or they did not answer.
    NoMajority {
        /// How many voters are alive here, or granted the term.
        seen: usize,
        /// How many must grant it.
        needed: usize,
    },
    /// More voters are known than expected, or than allowed ([`OfficeRules::MAX_VOTERS`]): majorities might not intersect. Name
    /// the voters by a filter, have dead voters forgotten, or expect more.
    TooManyVoters,
    /// Other candidates state other rules, or voters have a shorter lease.
    RulesDiffer,
    /// This node receives nothing from other members, or is degraded.
    Isolated,
    /// The voters were started too recently, or the members of the cluster still change.
    NotSettled,
    /// This node takes no work, or leaves.
    NotServing,
}

impl Vacancy {
    /// Its name in logs, metrics and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NeverHeld => "never-held",
            Self::HolderDied => "holder-died",
            Self::HolderLeft => "holder-left",
            Self::Released => "released",
            Self::NoMajority { .. } => "no-majority",
            Self::TooManyVoters => "too-many-voters",
            Self::RulesDiffer => "rules-differ",
            Self::Isolated => "isolated",
            Self::NotSettled => "not-settled",
            Self::NotServing => "not-serving",
        }
    }
}

/// The state of an office, as a node knows it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OfficeState {
    /// This node holds it.
    Holding {
        /// The term.
        token: Term,
        /// As in [`OfficeEvent::Elected`].
        valid_until: Instant,
    },
    /// Another member announces that it holds it.
    Following {
        /// The holder.
        member: MemberId,
        /// Its term.
        token: Term,
    },
    /// No member is known to hold it.
    Vacant(Vacancy),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_office_is_short_and_printable() {
        let long = "o".repeat(Office::MAX_BYTES);
        for name in ["o", "batch/nightly", "größe", &long] {
            let office: Office = name.parse().unwrap();
            assert_eq!(office.as_str(), name);
            assert_eq!(Office::of_data_key(&office.data_key()), Some(office));
        }
        let refused = |name: &str| name.parse::<Office>().unwrap_err().to_string();
        assert_eq!(refused(""), "an office has a name of 1 to 64 bytes, not 0");
        assert_eq!(refused(&(long + "o")), "an office has a name of 1 to 64 bytes, not 65");
        assert_eq!(refused("two words"), "the name of an office cannot contain ' '");
        assert_eq!(Office::of_data_key("leader/o"), None);
        assert_eq!(Office::of_data_key("phin/leader/"), None);
    }
}
