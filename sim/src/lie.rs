//! The lies that a member can tell, as data. `liar.rs` puts them into messages.

use std::time::Duration;

use serde::Deserialize;

use crate::id::NodeId;

/// What a liar says again and again, to everybody.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd)]
#[serde(rename_all = "kebab-case")]
pub enum Lie {
    /// `Dead`, with votes in the names of the member's observers.
    Verdict,
    /// `Suspect`, in the name of an observer.
    Suspect,
    /// Accusations and votes of its own, of every kind of silence.
    Vote,
    /// The member's own record, and a line of a summary, with the state dead.
    List,
    /// `Clear`: it has just heard from the member.
    Clear,
    /// `IndirectAck` and `Nack` with sequences that were guessed, and an `IndirectAck` for every request to ping.
    Ack,
    /// `Abstain`.
    Abstain,
    /// `Forget`, of the highest version and of the present one.
    Forget,
    /// Records of members that never existed; if it is about members, with their names and addresses.
    Members,
    /// `Failing`: no observer reaches the member. The member is told so too.
    Failing,
    /// Pings that claim a stall of 65 s.
    Stall,
    /// Pings of rounds that are far ahead.
    Round,
    /// Pings with a fingerprint that is nobody's.
    Fingerprint,
    /// Requests for whole lists.
    Ask,
    /// Requests to ping the member.
    PingReq,
    /// Answers to questions that nobody asked: to joins, departures and pings.
    Answer,
    /// Changes of the member's data that it did not sign.
    DataForged,
    /// The first changes of the member's data that the liar received.
    DataReplayed,
    /// The changes of the member's data that the liar received, each without its last key.
    DataHalf,
    /// Announcements of revisions of the member's data that do not exist.
    DataNews,
    /// Fingerprints of data that are nobody's.
    DataFingerprint,
    /// Requests for data, and for comparisons; answers to comparisons that nobody asked for.
    DataAsk,
}

impl Lie {
    /// Those about members and lists.
    pub const OF_MEMBERS: [Self; 16] = [
        Self::Verdict,
        Self::Suspect,
        Self::Vote,
        Self::List,
        Self::Clear,
        Self::Ack,
        Self::Abstain,
        Self::Forget,
        Self::Members,
        Self::Failing,
        Self::Stall,
        Self::Round,
        Self::Fingerprint,
        Self::Ask,
        Self::PingReq,
        Self::Answer,
    ];

    /// Those about data.
    pub const OF_DATA: [Self; 6] = [
        Self::DataForged,
        Self::DataReplayed,
        Self::DataHalf,
        Self::DataNews,
        Self::DataFingerprint,
        Self::DataAsk,
    ];

    /// Whether it is about one member at a time.
    pub const fn has_subject(self) -> bool {
        match self {
            Self::Verdict
            | Self::Suspect
            | Self::Vote
            | Self::List
            | Self::Clear
            | Self::Ack
            | Self::Abstain
            | Self::Forget
            | Self::Failing
            | Self::PingReq
            | Self::DataForged
            | Self::DataReplayed
            | Self::DataHalf
            | Self::DataNews => true,
            Self::Members
            | Self::Stall
            | Self::Round
            | Self::Fingerprint
            | Self::Ask
            | Self::Answer
            | Self::DataFingerprint
            | Self::DataAsk => false,
        }
    }

    /// Whether it hides a death. Then the liar says nothing of what its own process finds out.
    pub(crate) const fn hides(self) -> bool {
        matches!(self, Self::Clear | Self::Ack | Self::Abstain)
    }

    /// Whether the member itself is told too. Who is not told cannot answer before it hears of it from others.
    pub(crate) const fn is_told_to_subject(self) -> bool {
        !matches!(
            self,
            Self::Verdict | Self::Suspect | Self::Vote | Self::List | Self::Forget | Self::PingReq
        )
    }
}

/// A lie, about whom, and how often.
#[derive(Clone, Debug)]
pub struct Lies {
    /// What is said.
    pub lie: Lie,
    /// About whom, in turn.
    pub about: Vec<NodeId>,
    /// How long after one lie the next is told.
    pub every: Duration,
    /// How many members are made up.
    pub count: u32,
    /// For how long.
    pub lasts: Duration,
}
