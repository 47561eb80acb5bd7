//! The lies that a member can tell, as data. `liar.rs` puts them into messages.

use std::time::Duration;

use serde::Deserialize;

use crate::id::NodeId;

/// A lie that a liar sends to all members repeatedly.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd)]
#[serde(rename_all = "kebab-case")]
pub enum Lie {
    /// `Dead`, with forged votes of the member's observers.
    Verdict,
    /// The same, with the signatures of all liars under votes of their own, and others under those of the observers.
    SignedVerdict,
    /// `Suspect`, with an observer as its source.
    Suspect,
    /// Accusations and votes of its own, of every kind of silence.
    Vote,
    /// The same, signed.
    SignedVote,
    /// The member's own record, and a line of a summary, with the state dead.
    List,
    /// `Clear`: the liar claims that it has just heard from the member.
    Clear,
    /// `IndirectAck` and `Nack` with sequences that were guessed, and an `IndirectAck` for every request to ping.
    Ack,
    /// `Abstain`.
    Abstain,
    /// `Forget`, of the highest version and of the present one.
    Forget,
    /// Records of members that never existed. If the lie has subjects, with their names and addresses.
    Members,
    /// `Failing`: no observer reaches the member. Sent to the member too.
    Failing,
    /// Pings that claim a stall of 65 s.
    Stall,
    /// Pings of rounds that are far ahead.
    Round,
    /// Pings with a fingerprint of no list.
    Fingerprint,
    /// Requests for whole lists.
    Ask,
    /// Requests to ping the member.
    PingReq,
    /// Answers without a request: to joins, departures and pings.
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
    /// Messages to all in the name of the member.
    MessageForged,
    /// The first messages of the member that the liar received.
    MessageReplayed,
    /// Announcements of messages of the member that do not exist.
    MessageNews,
    /// Requests for all messages of all members, and to be sent all later ones.
    MessageAsk,
    /// Requests to be sent no messages, of any member.
    MessagePrune,
    /// Messages are announced, and neither passed on nor sent on request.
    MessageWithheld,
    /// The liar's data announce that it holds an office, in a later term or in the highest.
    OfficeClaim,
    /// Every term is granted to every candidate.
    OfficeVote,
    /// Every term is refused to every candidate, with the longest wait.
    OfficeRefuse,
    /// The same, with the highest term as the last one granted.
    OfficeToken,
    /// Statements that the member is expelled, in the name of the administrator.
    Expulsion,
    /// All lies by which a living member may be declared dead, at once.
    Accusations,
    /// All lies that hide a death, at once.
    SignsOfLife,
    /// The records of the member that the liar's own process sends have the state dead: newcomers learn their list so.
    Welcome,
}

impl Lie {
    /// Those about members and lists.
    pub const OF_MEMBERS: [Self; 18] = [
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
        Self::SignedVerdict,
        Self::SignedVote,
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

    /// Those about messages.
    pub const OF_MESSAGES: [Self; 6] = [
        Self::MessageForged,
        Self::MessageReplayed,
        Self::MessageNews,
        Self::MessageAsk,
        Self::MessagePrune,
        Self::MessageWithheld,
    ];

    /// Those about offices.
    pub const OF_OFFICES: [Self; 4] =
        [Self::OfficeClaim, Self::OfficeVote, Self::OfficeRefuse, Self::OfficeToken];

    /// Those about what an administrator states.
    pub const OF_ADMINISTRATORS: [Self; 1] = [Self::Expulsion];

    /// Those that consist of others, told at once.
    pub const COMBINED: [Self; 2] = [Self::Accusations, Self::SignsOfLife];

    /// The lies that this one consists of; empty for a single lie.
    pub(crate) const fn parts(self) -> &'static [Self] {
        const ACCUSATIONS: [Lie; 6] =
            [Lie::Verdict, Lie::SignedVerdict, Lie::Vote, Lie::SignedVote, Lie::Suspect, Lie::List];
        const SIGNS_OF_LIFE: [Lie; 3] = [Lie::Clear, Lie::Ack, Lie::Abstain];
        if matches!(self, Self::Accusations) {
            return &ACCUSATIONS;
        }
        if matches!(self, Self::SignsOfLife) { &SIGNS_OF_LIFE } else { &[] }
    }

    /// Whether the lie is this one, or has it as a part.
    pub(crate) fn tells(self, lie: Self) -> bool {
        self == lie || self.parts().contains(&lie)
    }

    /// Whether it is about one member at a time.
    pub const fn has_subject(self) -> bool {
        match self {
            Self::Verdict
            | Self::SignedVerdict
            | Self::Suspect
            | Self::Vote
            | Self::SignedVote
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
            | Self::DataNews
            | Self::MessageForged
            | Self::MessageReplayed
            | Self::MessageNews
            | Self::Expulsion
            | Self::Accusations
            | Self::SignsOfLife
            | Self::Welcome => true,
            Self::Members
            | Self::Stall
            | Self::Round
            | Self::Fingerprint
            | Self::Ask
            | Self::Answer
            | Self::DataFingerprint
            | Self::DataAsk
            | Self::MessageAsk
            | Self::MessagePrune
            | Self::MessageWithheld
            | Self::OfficeClaim
            | Self::OfficeVote
            | Self::OfficeRefuse
            | Self::OfficeToken => false,
        }
    }

    /// Whether the lie hides a death. Then the liar also hides what its own process finds out.
    pub(crate) const fn hides(self) -> bool {
        matches!(self, Self::Clear | Self::Ack | Self::Abstain | Self::SignsOfLife)
    }

    /// Whether the liar changes the records that its own process sends.
    pub(crate) const fn rewrites(self) -> bool {
        matches!(self, Self::Welcome)
    }

    /// Whether the liar passes no messages on.
    pub(crate) const fn withholds(self) -> bool {
        matches!(self, Self::MessageWithheld)
    }

    /// Whether the liar answers candidates in place of its own process.
    pub(crate) const fn votes(self) -> bool {
        matches!(self, Self::OfficeVote | Self::OfficeRefuse | Self::OfficeToken)
    }

    /// Whether the lie is sent to its subject too. Otherwise the subject cannot refute before it learns of it from
    /// others.
    pub(crate) const fn is_told_to_subject(self) -> bool {
        !matches!(
            self,
            Self::Verdict
                | Self::SignedVerdict
                | Self::Suspect
                | Self::Vote
                | Self::SignedVote
                | Self::List
                | Self::Forget
                | Self::PingReq
                | Self::Accusations
        )
    }
}

/// A lie, its subjects, and its schedule.
#[derive(Clone, Debug)]
pub struct Lies {
    /// The lie.
    pub lie: Lie,
    /// All members that tell it: they know each other's keys.
    pub liars: Vec<NodeId>,
    /// The subjects, in turn.
    pub about: Vec<NodeId>,
    /// The interval between lies.
    pub every: Duration,
    /// The number of made-up members.
    pub count: u32,
    /// The duration.
    pub lasts: Duration,
}
