//! The wire format: a version byte, then parts. A part is two MessagePack values, a kind and a body.
//!
//! **Compatibility.** A body never changes its shape; what is new is a new kind of part. A part of a kind that this
//! release does not know is skipped and counted, so neighbouring releases form one cluster. A payload of a version
//! that this release does not speak is dropped whole.
//!
//! **Limits.** Every length is checked before its use, nothing is allocated on trust in a header, and a payload is
//! decoded whole before any part of it has an effect.

pub(crate) mod bytes;
mod codec;
mod describe;
pub(crate) mod error;
pub(crate) mod field;
mod part;
mod payload;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use self::describe::describe;
pub(crate) use self::{
    codec::{EntryBody, decode},
    error::DecodeError,
    part::{
        Answer, Claim, ClearBody, Content, DataChange, DataLine, Delta, Entry, FailingLinkBody,
        LeadAnswer, LeadAsk, LeadRelease, Part, PublicationLine, PublicationRange, Pulse, QueryAsk,
        QueryReplies, SentBody, SummaryLine, Tally, Verdict, VoteBody,
    },
    payload::Payload,
};

/// The version of the wire format that this release writes and reads.
pub const WIRE_VERSION: u8 = 1;

/// Ties an ack to its ping. Each member counts its own; a number is not used again for 2³² pings.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
pub(crate) struct Sequence(pub(crate) u32);

/// Counts protocol periods, for members to agree whose turn it is; compared by serial number arithmetic (RFC 1982), so
/// it may wrap.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Round(pub(crate) u16);

impl Round {
    pub(crate) const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }

    /// How many rounds this one is ahead of another; negative where it is behind.
    pub(crate) const fn ahead_of(self, other: Self) -> i16 {
        self.0.wrapping_sub(other.0).cast_signed()
    }
}

/// A hash of what a membership list says of its live members; equal lists have equal fingerprints.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct Fingerprint(pub u64);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Into how many buckets a list is divided for comparing, by the first bits of the members' ids.
pub(crate) const BUCKETS: usize = 64;
/// How many votes a verdict carries at most: as many as there can be observers.
pub(crate) const MAX_VOTES: usize = 32;
/// The most keys that a delta puts or removes: those of a map, and those removed from it.
pub(crate) const MAX_CHANGES: usize = 512;

#[cfg(test)]
pub(crate) mod tests;
