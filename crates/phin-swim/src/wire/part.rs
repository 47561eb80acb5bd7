//! The messages: one part of a payload each. The section of the SWIM paper (Das, Gupta, Motivala, DSN 2002) or of
//! Lifeguard (Dadgar, Phillips, Currey, DSN-W 2018) that a message comes from stands with it; those without are phin's.
//!
//! Clocks differ, so no moment is sent. Votes and links become ages when sent and moments again when received, here.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{BUCKETS, Fingerprint, Round, Sequence, field};
use crate::{
    FailingLink, Flaws, Generation, Incarnation, Instant, JoinRefusal, Member, MemberId,
    MemberState, Office, OfficeRules, QueryId, Record, Revision, Signature, Silence, Term, Ticket,
    Topic, Version, Vote,
    data::map::Head,
    detect::{
        proof::{Nonce, Proof},
        signed::SignedVote,
    },
    expel::statement::AdminStatement,
    leadership::refusal::Refusal,
    publish::publication::Publication,
    query::{reply::Reply, request::QueryKey},
};

/// The body of pings and acks (SWIM §3.1).
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Pulse {
    /// Ties the ack to the ping.
    pub(crate) sequence: Sequence,
    /// Which run of the sender's process speaks.
    pub(crate) generation: Generation,
    /// The sender's protocol period.
    pub(crate) round: Round,
    /// How long ago it began, in milliseconds.
    pub(crate) round_age_ms: u32,
    /// The fingerprint of the sender's membership list.
    pub(crate) fingerprint: Fingerprint,
    /// The longest stall that the sender measured in itself lately, in milliseconds.
    pub(crate) stall_ms: u16,
}

/// A claim about another member (SWIM §4.2). It counts only for the version that it names.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Claim {
    pub(crate) subject: MemberId,
    pub(crate) version: Version,
    /// The member that found it.
    pub(crate) by: MemberId,
}

/// One observer's evidence against a member, alone or with a verdict: a [`Vote`] with an age in place of its moment.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Tally {
    #[serde(with = "field::hundredths")]
    pub(crate) phi: f64,
    /// How long ago the first ping was sent that was not answered.
    #[serde(with = "field::age")]
    pub(crate) silent_for: Duration,
    #[serde(with = "field::silence")]
    pub(crate) silence: Silence,
    pub(crate) attempts: u8,
}

impl Tally {
    /// The evidence of a vote, to be sent now.
    pub(crate) fn of(vote: &Vote, now: Instant) -> Self {
        let &Vote { observer: _, phi, silent_since, silence, attempts } = vote;
        Self { phi, silent_for: now - silent_since, silence, attempts }
    }

    /// The vote of the observer whose evidence this is, received now.
    pub(crate) const fn vote_of(self, observer: MemberId, now: Instant) -> Vote {
        let Self { phi, silent_for, silence, attempts } = self;
        Vote { observer, phi, silent_since: now.saturating_sub(silent_for), silence, attempts }
    }
}

/// The sender's evidence against a member, and whether the receiver is asked for its own.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct VoteBody {
    pub(crate) subject: MemberId,
    pub(crate) version: Version,
    /// Whether the receiver is asked to look for itself.
    pub(crate) is_accusation: bool,
    /// Whether the sender observes the subject, so that its vote counts.
    pub(crate) is_observer: bool,
    pub(crate) tally: Tally,
}

/// The statement that a member lives, for those that suspect it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ClearBody {
    pub(crate) subject: MemberId,
    pub(crate) version: Version,
    /// How long ago it was heard.
    pub(crate) age: Duration,
    /// The other member that heard it, if the sender did not: all that pass on the word of one say no more than that one.
    pub(crate) heard_by: Option<MemberId>,
}

/// A verdict: who is dead, and whose evidence shows it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Verdict {
    pub(crate) claim: Claim,
    /// At most [`MAX_VOTES`](super::MAX_VOTES), each with its observer.
    #[serde(deserialize_with = "field::votes")]
    pub(crate) votes: Vec<(MemberId, Tally)>,
    /// Those of them that are signed, at most as many. A verdict without any is another kind of part.
    #[serde(skip)]
    pub(crate) signed: Vec<SignedVote>,
}

impl Verdict {
    /// A verdict of which no vote is signed.
    pub(crate) const fn unsigned(claim: Claim, votes: Vec<(MemberId, Tally)>) -> Self {
        Self { claim, votes, signed: Vec::new() }
    }
}

/// A link on which its observer does not reach a member: a [`FailingLink`] with an age in place of its moment.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct FailingLinkBody {
    pub(crate) observer: MemberId,
    /// How long ago the first ping was sent that was not answered.
    #[serde(with = "field::age")]
    pub(crate) age: Duration,
    pub(crate) attempts: u8,
}

impl FailingLinkBody {
    /// The link, to be sent now.
    pub(crate) fn of(link: &FailingLink, now: Instant) -> Self {
        let &FailingLink { observer, since, attempts } = link;
        Self { observer, age: now - since, attempts }
    }

    /// The link, received now.
    pub(crate) const fn received(self, now: Instant) -> FailingLink {
        let Self { observer, age, attempts } = self;
        FailingLink { observer, since: now.saturating_sub(age), attempts }
    }
}

/// A member's record with the state in which the sender lists it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) state: MemberState,
    pub(crate) record: Record,
}

impl Entry {
    /// A member's record as this node lists it.
    pub(crate) fn of(member: &Member) -> Self {
        Self { state: member.state, record: member.record.clone() }
    }
}

/// One line of a summary: the version and the state in which the sender lists a member.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(from = "LineBody", into = "LineBody")]
pub(crate) struct SummaryLine {
    pub(crate) id: MemberId,
    pub(crate) version: Version,
    pub(crate) state: MemberState,
}

/// A line as it is written: the version has no array of its own.
#[derive(Deserialize, Serialize)]
struct LineBody(MemberId, Generation, Incarnation, #[serde(with = "field::state")] MemberState);

impl From<SummaryLine> for LineBody {
    fn from(line: SummaryLine) -> Self {
        Self(line.id, line.version.generation, line.version.incarnation, line.state)
    }
}

impl From<LineBody> for SummaryLine {
    fn from(LineBody(id, generation, incarnation, state): LineBody) -> Self {
        Self { id, version: Version { generation, incarnation }, state }
    }
}

/// Which data the sender has of a member, or knows of.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(from = "DataLineBody", into = "DataLineBody")]
pub(crate) struct DataLine {
    pub(crate) owner: MemberId,
    pub(crate) head: Head,
}

/// A line as it is written: the head has no array of its own.
#[derive(Deserialize, Serialize)]
struct DataLineBody(MemberId, Generation, Revision);

impl From<DataLine> for DataLineBody {
    fn from(line: DataLine) -> Self {
        Self(line.owner, line.head.generation, line.head.revision)
    }
}

impl From<DataLineBody> for DataLine {
    fn from(DataLineBody(owner, generation, revision): DataLineBody) -> Self {
        Self { owner, head: Head { generation, revision } }
    }
}

/// The difference between two revisions of a member's data.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Delta {
    pub(crate) owner: MemberId,
    /// The revision that it changes; 0 if it has the whole map.
    pub(crate) base: Revision,
    pub(crate) head: Head,
    /// One for each key, at most [`MAX_CHANGES`](super::MAX_CHANGES).
    pub(crate) changes: Vec<DataChange>,
    /// The owner's signature over the whole map after it.
    pub(crate) signature: Signature,
}

/// The change of one key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DataChange {
    pub(crate) key: String,
    /// The revision that did it.
    pub(crate) revision: Revision,
    pub(crate) content: Content,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Content {
    Value(Arc<[u8]>),
    Deleted,
    Expired,
}

/// The latest publication of a member that the sender has.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct PublicationLine {
    pub(crate) publisher: MemberId,
    pub(crate) generation: Generation,
    pub(crate) sequence: u64,
}

/// Publications of a member that the sender lacks: those from `first` to `last`.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct PublicationRange {
    pub(crate) publisher: MemberId,
    pub(crate) generation: Generation,
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// Whether later ones are to be pushed, too.
    pub(crate) is_graft: bool,
}

/// A message of the sender's application for that of the receiver.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct SentBody {
    /// The ticket that the answer names; `None` if no answer is wanted.
    pub(crate) ticket: Option<Ticket>,
    /// Which run of the sender's process speaks.
    pub(crate) from: Generation,
    /// Which run of the receiver's process is spoken to.
    pub(crate) to: Generation,
    pub(crate) topic: Topic,
    #[serde(with = "field::message_body")]
    pub(crate) body: Arc<[u8]>,
}

/// The reaction of a message's receiver.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(from = "u8", into = "u8")]
pub(crate) enum Answer {
    Taken,
    QueueFull,
    NoReceiver,
    /// The message was for another run.
    Restarted,
    /// An answer of a later release.
    Unknown,
}

impl From<Answer> for u8 {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Taken => 0,
            Answer::QueueFull => 1,
            Answer::NoReceiver => 2,
            Answer::Restarted => 3,
            Answer::Unknown => Self::MAX,
        }
    }
}

impl From<u8> for Answer {
    fn from(code: u8) -> Self {
        match code {
            0 => Self::Taken,
            1 => Self::QueueFull,
            2 => Self::NoReceiver,
            3 => Self::Restarted,
            _ => Self::Unknown,
        }
    }
}

/// A question to the application of the receiver alone.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct QueryAsk {
    pub(crate) id: QueryId,
    /// Which run of the sender asks.
    pub(crate) generation: Generation,
    /// Which run of the receiver is asked.
    pub(crate) to_generation: Generation,
    /// The time in which the receiver replies.
    pub(crate) within: Duration,
    pub(crate) topic: Topic,
    /// At most [`PublishRequest::MAX_BODY_BYTES`](crate::PublishRequest::MAX_BODY_BYTES).
    pub(crate) body: Arc<[u8]>,
}

/// Answers of members to a query.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct QueryReplies {
    pub(crate) key: QueryKey,
    pub(crate) replies: Vec<Reply>,
}

/// A candidate asks for a term of an office, or for longer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LeadAsk {
    pub(crate) office: Office,
    pub(crate) term: Term,
    /// Which run of the candidate's process asks.
    pub(crate) generation: Generation,
    /// Ties the answer to it.
    pub(crate) sequence: Sequence,
    /// How long the voter is to grant the office to no other.
    pub(crate) lease: Duration,
    pub(crate) rules: OfficeRules,
    /// How many voters the candidate knows.
    pub(crate) size: u16,
}

/// The answer of a voter.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LeadAnswer {
    pub(crate) office: Office,
    /// The term that was asked for.
    pub(crate) term: Term,
    pub(crate) sequence: Sequence,
    pub(crate) result: Result<(), Refusal>,
}

/// A candidate gives up a term.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct LeadRelease {
    pub(crate) office: Office,
    pub(crate) term: Term,
    pub(crate) generation: Generation,
}

/// One part of a payload. The number of each kind stands in `codec` and in `docs/reference/protocol.md`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Part {
    /// Are you there? (SWIM §3.1, `ping`)
    Ping(Pulse),
    /// The answer to a ping, with its sequence. (SWIM §3.1, `ack`)
    Ack(Pulse),
    /// Ping `target` for me. (SWIM §3.1, `ping-req`) With a number, have it sign that too; the ping that this is about
    /// then need not be given.
    PingReq { sequence: Option<Sequence>, target: MemberId, nonce: Option<Nonce> },
    /// `target` did not answer me either, but I am here. (Lifeguard §IV.A, LHA-Probe)
    Nack { sequence: Sequence },
    /// `target` answered me, as this generation: the ack that a helper passes on. (SWIM §3.1)
    IndirectAck { sequence: Sequence, generation: Generation },
    /// Sign this number. It comes with a ping, for the member that asked for that.
    Challenge(Nonce),
    /// A member signed the number of a [`Part::Challenge`], to show that it lives.
    Proof(Proof),
    /// A member's signed record: SWIM's `Alive` (§4.2) and its news of joins and departures (§3.2).
    Entry(Entry),
    /// A member is suspected. (SWIM §4.2, `Suspect`)
    Suspect(Claim),
    /// A member is declared dead. (SWIM §4.2, `Confirm`; here with the votes, so that receivers can check it)
    Dead(Verdict),
    /// Let me in; my record follows as an [`Part::Entry`]. (SWIM §3.2)
    Join,
    /// The answer to a join; where it admits, the whole list follows as entries. (SWIM §3.2)
    JoinReply(Result<(), JoinRefusal>),
    /// The fingerprints of the buckets of my list. (Anti-entropy, which SWIM has not: Demers et al., PODC 1987)
    Compare(Box<[u64; BUCKETS]>),
    /// My list in those buckets (a bit each) in which ours differ. (Anti-entropy)
    Summary { buckets: u64, lines: Vec<SummaryLine> },
    /// Send me your records of these members. (Anti-entropy)
    Want(Vec<MemberId>),
    /// I depart; my record follows as an entry. Confirm. (SWIM §3.2; the confirmation is ours)
    Leave { sequence: Sequence },
    /// I know that you depart.
    LeaveAck { sequence: Sequence },
    /// I missed replies of a member. (In place of the independent suspicions of Lifeguard §IV.B, with their weight)
    Vote(VoteBody),
    /// The same, and signed: I would declare it dead.
    SignedVote(VoteBody, SignedVote),
    /// The member you doubt lived so long ago.
    Clear(ClearBody),
    /// I am not able to judge that member now. (After Lifeguard's local health, §IV.A)
    Abstain { subject: MemberId, version: Version },
    /// I have forgotten a member that was dead or had left.
    Forget(Claim),
    /// These links to a member fail, though it lives; mine among them, or else mine works.
    Failing { subject: MemberId, version: Version, links: Vec<FailingLinkBody> },
    /// My link to a member has these flaws, or none any more.
    Flawed { subject: MemberId, version: Version, flaws: Flaws },
    /// The fingerprint of the data that I have of live members; beside a ping or an ack.
    DataFingerprint(Fingerprint),
    /// I have this data.
    DataNews(Vec<DataLine>),
    /// Send me what comes after this data.
    DataWant(Vec<DataLine>),
    /// The later data of a member.
    DataDelta(Box<Delta>),
    /// The fingerprints of the buckets of my data. (Anti-entropy)
    DataCompare(Box<[u64; BUCKETS]>),
    /// The entries of the sender in the buckets (a bit each) that differ. (Anti-entropy)
    DataSummary { buckets: u64, lines: Vec<DataLine> },
    /// A message to all members; `hops` of them have passed it on. (Plumtree, `Gossip`)
    Publication { is_push: bool, hops: u8, publication: Arc<Publication> },
    /// I have the publications up to these. (Plumtree, `IHave`)
    PublicationNews(Vec<PublicationLine>),
    /// Send me these publications. (Plumtree, `Graft`)
    PublicationWant(Vec<PublicationRange>),
    /// I receive what this member publishes sooner from others. (Plumtree, `Prune`)
    PublicationPrune(MemberId),
    /// A message of my application for yours.
    Send(SentBody),
    /// The result for the message with this ticket.
    SendAck { ticket: Ticket, answer: Answer },
    /// I ask your application.
    QueryAsk(Box<QueryAsk>),
    /// These members answer, to you or by way of you.
    QueryReplies(Box<QueryReplies>),
    /// Grant me this office. (Leases: Gray and Cheriton, SOSP 1989)
    LeadAsk(Box<LeadAsk>),
    /// I grant it, or not.
    LeadAnswer(LeadAnswer),
    /// I give this office up.
    LeadRelease(LeadRelease),
    /// An administrator states that a member is expelled, or admitted again.
    Expulsion(Arc<AdminStatement>),
    /// I have a verdict with signed votes of this digest.
    Certified { claim: Claim, digest: u64 },
    /// Send me that verdict.
    VerdictWant { subject: MemberId, version: Version },
    /// The fingerprint of the statements of administrators that I have; beside a ping or an ack.
    ExpulsionsFingerprint(Fingerprint),
    /// Answer by as many bytes. Two of these, one of them as long as a datagram may be, check what the link passes. It also
    /// says whether those of full size were lost before.
    SizeProbe { sequence: Sequence, is_lost: bool, padding: u16 },
    /// The answer, as long.
    SizeProbeAck { sequence: Sequence, padding: u16 },
    /// Send me the statements that are not these: each the member that it is about, and its digest.
    ExpulsionsWant(Vec<(MemberId, u64)>),
}

impl Part {
    /// The same in few bytes: of a verdict with signed votes, their digest.
    pub(crate) fn brief(&self) -> Self {
        match self {
            Self::Dead(Verdict { claim, signed, .. }) if !signed.is_empty() => {
                Self::Certified { claim: *claim, digest: SignedVote::digest(signed) }
            }
            other => other.clone(),
        }
    }

    /// Whether it answers something we sent, which shows that we are heard.
    pub(crate) const fn is_answer(&self) -> bool {
        match self {
            Self::Ack(_)
            | Self::SizeProbeAck { .. }
            | Self::Nack { .. }
            | Self::IndirectAck { .. }
            | Self::JoinReply(_)
            | Self::Summary { .. }
            | Self::DataDelta(_)
            | Self::DataSummary { .. }
            | Self::SendAck { .. }
            | Self::LeadAnswer(_)
            | Self::LeaveAck { .. }
            | Self::Clear(_)
            | Self::Proof(_)
            | Self::Abstain { .. } => true,
            Self::Vote(vote) | Self::SignedVote(vote, _) => !vote.is_accusation,
            Self::Ping(_)
            | Self::SizeProbe { .. }
            | Self::PingReq { .. }
            | Self::Challenge(_)
            | Self::Entry(_)
            | Self::Suspect(_)
            | Self::Dead(_)
            | Self::Forget(_)
            | Self::Join
            | Self::Compare(_)
            | Self::Want(_)
            | Self::Leave { .. }
            | Self::Failing { .. }
            | Self::Flawed { .. }
            | Self::DataFingerprint(_)
            | Self::DataNews(_)
            | Self::DataWant(_)
            | Self::DataCompare(_)
            | Self::Publication { .. }
            | Self::PublicationNews(_)
            | Self::PublicationWant(_)
            | Self::PublicationPrune(_)
            | Self::Send(_)
            | Self::QueryAsk(_)
            | Self::LeadAsk(_)
            | Self::LeadRelease(_)
            | Self::Expulsion(_)
            | Self::ExpulsionsFingerprint(_)
            | Self::ExpulsionsWant(_)
            | Self::Certified { .. }
            | Self::VerdictWant { .. }
            // Most members only pass them on.
            | Self::QueryReplies(_) => false,
        }
    }

    /// Whether it reports on a member, rather than asking or answering.
    pub(crate) const fn is_telling(&self) -> bool {
        matches!(
            self,
            Self::Entry(_)
                | Self::Suspect(_)
                | Self::Dead(_)
                | Self::Certified { .. }
                | Self::Forget(_)
                | Self::DataDelta(_)
                | Self::Publication { .. }
                | Self::Expulsion(_)
        )
    }
}
