//! A member: its identity, its signed record, its state, and the order in which states replace one another.

pub(crate) mod assigned;
pub(crate) mod filter;
pub(crate) mod flaws;
pub(crate) mod list;
pub(crate) mod record;
pub(crate) mod rings;
pub(crate) mod tags;
pub(crate) mod transition;

use std::{cmp::Ordering, fmt, net::SocketAddr, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{Flaws, Instant, Record, ServingState};

/// The identity of a member: 128 bits of the hash of its public key, or those that a CA assigned to it
/// ([`AssignedId`](crate::AssignedId)). Every connection proves it again.
///
/// It is written as 32 hexadecimal digits, by `Display`, by `Debug` and in JSON, and read from them.
///
/// ```
/// # use phin_swim::MemberId;
/// let id: MemberId = "28d7af80000000000000000000000001".parse()?;
/// assert_eq!(id.to_string(), "28d7af80000000000000000000000001");
/// # Ok::<(), phin_swim::MemberIdError>(())
/// ```
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct MemberId(pub [u8; 16]);

impl MemberId {
    /// The id as a number, in the order of its bytes.
    pub(crate) const fn as_u128(self) -> u128 {
        u128::from_be_bytes(self.0)
    }

    pub(crate) const fn from_u128(number: u128) -> Self {
        Self(number.to_be_bytes())
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.as_u128())
    }
}

impl fmt::Debug for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for MemberId {
    type Err = MemberIdError;

    fn from_str(text: &str) -> Result<Self, MemberIdError> {
        // A number may begin with a sign; an id does not.
        let digits =
            Some(text).filter(|t| t.len() == 32 && t.bytes().all(|b| b.is_ascii_hexdigit()));
        let number = digits.and_then(|digits| u128::from_str_radix(digits, 16).ok());
        number.map(Self::from_u128).ok_or(MemberIdError)
    }
}

/// A text is not a member's id.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a member's id has 32 hexadecimal digits")]
pub struct MemberIdError;

/// Counts the starts of a member's process.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
pub struct Generation(pub u32);

/// Counts a member's own records within one generation. Only the member itself raises it, to refute or to announce a change.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
pub struct Incarnation(pub u32);

/// The version of a member's record. A later one replaces an earlier one.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
pub struct Version {
    /// The run of the process.
    pub generation: Generation,
    /// The record within that run.
    pub incarnation: Incarnation,
}

impl Version {
    /// The version after this one, or `None` where the run has no more: it then needs a new generation.
    pub(crate) fn next(self) -> Option<Self> {
        let incarnation = Incarnation(self.incarnation.0.checked_add(1)?);
        Some(Self { incarnation, ..self })
    }

    /// The version after this one, in the next generation where the run has no more.
    pub(crate) fn next_or_generation(self) -> Self {
        self.next().unwrap_or_else(|| self.next_generation())
    }

    /// The first version of the next generation, which the last has not.
    const fn next_generation(self) -> Self {
        let generation = Generation(self.generation.0.saturating_add(1));
        Self { generation, incarnation: Incarnation(0) }
    }
}

/// The state of a member. Within one version a later state replaces an earlier one, in the order of SWIM §4.2. `Left` is
/// signed by the member itself, so no claim of others replaces it. There are no others: match it without a wildcard.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[cfg_attr(feature = "serde", derive(Deserialize, Serialize), serde(rename_all = "kebab-case"))]
pub enum MemberState {
    /// It answers, as far as is known.
    Alive,
    /// It did not answer, and may refute.
    Suspect,
    /// It was declared dead. Only a later version of it returns.
    Dead,
    /// It left by its own choice. Only a later version of it returns.
    Left,
}

impl MemberState {
    /// Whether the member is alive or suspect: it is probed, and counts in the size of the cluster.
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Alive | Self::Suspect)
    }

    /// The state's name in logs, metrics and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Suspect => "suspect",
            Self::Dead => "dead",
            Self::Left => "left",
        }
    }
}

impl fmt::Display for MemberState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Whether what is heard replaces what is known: a later version always does; within a version, a later state.
pub(crate) fn supersedes(heard: (Version, MemberState), known: (Version, MemberState)) -> bool {
    match heard.0.cmp(&known.0) {
        Ordering::Greater => true,
        Ordering::Less => false,
        Ordering::Equal => heard.1 > known.1,
    }
}

/// One member as this node knows it.
#[derive(Clone, PartialEq)]
pub struct Member {
    pub(crate) record: Record,
    pub(crate) state: MemberState,
    pub(crate) since: Instant,
}

impl Member {
    /// Its identity.
    pub fn id(&self) -> MemberId {
        self.record.id()
    }

    /// Its display name.
    pub fn name(&self) -> &str {
        self.record.name()
    }

    /// The address at which it says it is reached.
    pub fn addr(&self) -> SocketAddr {
        self.record.addr()
    }

    /// Its tags, in the order of their keys.
    pub fn tags(&self) -> impl Iterator<Item = (&str, &str)> {
        self.record.tags()
    }

    /// The value of one of its tags.
    pub fn tag(&self, key: &str) -> Option<&str> {
        self.tags().find_map(|(known, value)| (known == key).then_some(value))
    }

    /// Its share of keys and work, relative to other members: 0 to [`Tags::MAX_WEIGHT`](crate::Tags::MAX_WEIGHT), and
    /// [`Tags::DEFAULT_WEIGHT`](crate::Tags::DEFAULT_WEIGHT) if its tag [`Tags::WEIGHT`](crate::Tags::WEIGHT) is missing or is not
    /// such a number.
    pub fn weight(&self) -> u16 {
        self.record.weight()
    }

    /// Whether it takes work, as it says itself.
    pub fn serving(&self) -> ServingState {
        self.record.serving()
    }

    /// The reasons for which it is degraded, as it states itself by what most of its observers measure.
    pub fn flaws(&self) -> Flaws {
        self.record.flaws()
    }

    /// Its latest signed record.
    pub const fn record(&self) -> &Record {
        &self.record
    }

    /// The run of its process that is known.
    pub fn generation(&self) -> Generation {
        self.version().generation
    }

    /// The incarnation that is known.
    pub fn incarnation(&self) -> Incarnation {
        self.version().incarnation
    }

    /// Generation and incarnation together.
    pub fn version(&self) -> Version {
        self.record.version()
    }

    /// The state in which this node lists it.
    pub const fn state(&self) -> MemberState {
        self.state
    }

    /// When it entered that state here.
    pub const fn since(&self) -> Instant {
        self.since
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Version { generation, incarnation } = self.version();
        f.debug_struct("Member")
            .field("name", &self.name())
            .field("id", &self.id())
            .field("addr", &self.addr())
            .field("state", &self.state)
            .field("generation", &generation.0)
            .field("incarnation", &incarnation.0)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_written() {
        let id = MemberId::from_u128(0xabcd_ef01);
        for text in [id.to_string(), format!("{id:?}"), id.to_string().to_uppercase()] {
            assert_eq!(text.parse(), Ok(id), "{text}");
        }
        for wrong in
            ["", "28d7af80", "+8d7af80000000000000000000000001", "g8d7af80000000000000000000000001"]
        {
            assert_eq!(wrong.parse::<MemberId>(), Err(MemberIdError), "{wrong}");
        }
        assert!(format!("{id}0").parse::<MemberId>().is_err());
    }

    fn version(generation: u32, incarnation: u32) -> Version {
        Version { generation: Generation(generation), incarnation: Incarnation(incarnation) }
    }

    #[test]
    fn a_later_version_supersedes_whatever_the_states() {
        use MemberState::{Alive, Dead, Left, Suspect};
        for heard in [Alive, Suspect, Dead, Left] {
            for known in [Alive, Suspect, Dead, Left] {
                assert!(supersedes((version(1, 4), heard), (version(1, 3), known)));
                assert!(supersedes((version(2, 0), heard), (version(1, 3), known)));
                assert!(!supersedes((version(1, 3), heard), (version(1, 4), known)));
                assert!(!supersedes((version(1, 3), heard), (version(2, 0), known)));
            }
        }
    }

    #[test]
    fn within_a_version_the_later_state_supersedes() {
        use MemberState::{Alive, Dead, Left, Suspect};
        let order = [Alive, Suspect, Dead, Left];
        for (i, heard) in order.into_iter().enumerate() {
            for (j, known) in order.into_iter().enumerate() {
                assert_eq!(supersedes((version(1, 1), heard), (version(1, 1), known)), i > j);
            }
        }
    }
}
