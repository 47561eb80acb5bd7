//! Parts to bytes and back: the bodies as serde writes them, and what is checked of each that is read.

use std::{io::Cursor, time::Duration};

use rmp_serde::Deserializer;
use serde::{Deserialize, Serialize, de::IgnoredAny};

use super::{
    Claim, DecodeError, Entry, FailingLinkBody, MAX_VOTES, Part, Pulse, SummaryLine, Verdict,
    VerdictVote, VoteBody, WIRE_VERSION, bytes::Bytes,
};
use crate::{
    Generation, Incarnation, JoinRefusal, Keys, MemberId, MemberState, Record, Signature, Silence,
    Version,
};

/// What a payload held.
#[derive(Debug)]
pub(crate) struct Decoded {
    pub(crate) parts: Vec<Part>,
    /// How many parts were of an unknown kind.
    pub(crate) unknown_parts: u64,
}

/// Decodes a whole payload, or nothing of it.
pub(crate) fn decode(payload: &[u8], keys: &dyn Keys) -> Result<Decoded, DecodeError> {
    let Some((&version, body)) = payload.split_first() else {
        return Err(DecodeError::Empty);
    };
    if version != WIRE_VERSION {
        return Err(DecodeError::UnknownVersion(version));
    }
    let mut input = Deserializer::new(Cursor::new(body));
    // The deepest body is a list of lines; more would only be there to exhaust the stack.
    input.set_max_depth(16);
    let mut decoded = Decoded { parts: Vec::new(), unknown_parts: 0 };
    let mut asking = 0;
    while input.position() < body.len() as u64 {
        let kind = u8::deserialize(&mut input)?;
        match Part::decode(kind, &mut input, keys)? {
            Some(part) => {
                asking += usize::from(!part.is_telling());
                if asking > MAX_ASKING_PARTS {
                    return Err(DecodeError::Invalid("number of parts"));
                }
                decoded.parts.push(part);
            }
            None => decoded.unknown_parts += 1,
        }
    }
    Ok(decoded)
}

impl Part {
    pub(super) fn encode(&self, bytes: &mut Vec<u8>) {
        let mut out = rmp_serde::Serializer::new(bytes);
        let kind = self.kind();
        let done = match self {
            Self::Ping(pulse) | Self::Ack(pulse) => encode(&mut out, kind, pulse),
            Self::PingReq { sequence, target } => encode(&mut out, kind, (sequence, target)),
            Self::Nack { sequence } | Self::Leave { sequence } | Self::LeaveAck { sequence } => {
                encode(&mut out, kind, sequence)
            }
            Self::IndirectAck { sequence, generation } => {
                encode(&mut out, kind, (sequence, generation))
            }
            Self::Entry(entry) => encode(&mut out, kind, EntryBody::from(entry)),
            Self::Suspect(claim) | Self::Forget(claim) => encode(&mut out, kind, claim),
            Self::Dead(verdict) => {
                let votes: Vec<_> = verdict.votes.iter().map(TalliedBody::from).collect();
                encode(&mut out, kind, (verdict.claim, votes))
            }
            Self::Vote(vote) => encode(&mut out, kind, SentVoteBody::from(vote)),
            Self::Clear { subject, version, age } => {
                encode(&mut out, kind, (subject, version, to_millis(*age)))
            }
            Self::Abstain { subject, version } => encode(&mut out, kind, (subject, version)),
            Self::Failing { subject, version, links } => {
                let links = links.iter().map(|l| (l.observer, to_millis(l.age), l.attempts));
                encode(&mut out, kind, (subject, version, links.collect::<Vec<_>>()))
            }
            Self::Join => encode(&mut out, kind, ()),
            Self::JoinReply(result) => encode(&mut out, kind, JoinReplyBody::from(result)),
            Self::Compare(buckets) => encode(&mut out, kind, &buckets[..]),
            Self::Summary { buckets, lines } => {
                let lines: Vec<LineBody> = lines.iter().map(LineBody::from).collect();
                encode(&mut out, kind, (buckets, lines))
            }
            Self::Want(ids) => encode(&mut out, kind, ids),
        };
        done.expect("writing to a vector cannot fail");
    }

    /// Decodes the body of a part of this kind, or skips it where the kind is unknown.
    fn decode(
        kind: u8,
        input: &mut Input<'_>,
        keys: &dyn Keys,
    ) -> Result<Option<Self>, DecodeError> {
        Ok(Some(match kind {
            1 => Self::Ping(Pulse::deserialize(input)?),
            2 => Self::Ack(Pulse::deserialize(input)?),
            3 => {
                let (sequence, target) = <_>::deserialize(input)?;
                Self::PingReq { sequence, target }
            }
            4 => Self::Nack { sequence: <_>::deserialize(input)? },
            5 => {
                let (sequence, generation) = <_>::deserialize(input)?;
                Self::IndirectAck { sequence, generation }
            }
            6 => Self::Entry(EntryBody::deserialize(input)?.into_entry(keys)?),
            7 => Self::Suspect(Claim::deserialize(input)?),
            8 => {
                let (claim, votes) = <(Claim, Vec<TalliedBody>)>::deserialize(input)?;
                if votes.len() > MAX_VOTES {
                    return Err(DecodeError::TooLong { what: "verdict", bytes: votes.len() });
                }
                let votes = votes.iter().map(TalliedBody::to_vote).collect::<Result<_, _>>()?;
                Self::Dead(Verdict { claim, votes })
            }
            9 => {
                <()>::deserialize(input)?;
                Self::Join
            }
            10 => Self::JoinReply(JoinReplyBody::deserialize(input)?.into_result()),
            11 => {
                let buckets = Vec::<u64>::deserialize(input)?.into_boxed_slice();
                let buckets = buckets.try_into().map_err(|_| DecodeError::Invalid("buckets"))?;
                Self::Compare(buckets)
            }
            12 => {
                let (buckets, lines) = <(u64, Vec<LineBody>)>::deserialize(input)?;
                let lines = lines.iter().map(LineBody::to_line).collect::<Result<_, _>>()?;
                Self::Summary { buckets, lines }
            }
            13 => Self::Want(<_>::deserialize(input)?),
            14 => Self::Leave { sequence: <_>::deserialize(input)? },
            15 => Self::LeaveAck { sequence: <_>::deserialize(input)? },
            16 => Self::Vote(SentVoteBody::deserialize(input)?.to_vote()?),
            17 => {
                let (subject, version, age_ms) = <(_, _, u32)>::deserialize(input)?;
                Self::Clear { subject, version, age: Duration::from_millis(age_ms.into()) }
            }
            18 => {
                let (subject, version) = <_>::deserialize(input)?;
                Self::Abstain { subject, version }
            }
            19 => Self::Forget(Claim::deserialize(input)?),
            20 => {
                let (subject, version, links) =
                    <(_, _, Vec<(MemberId, u32, u8)>)>::deserialize(input)?;
                if links.len() > MAX_VOTES {
                    return Err(DecodeError::TooLong { what: "failing links", bytes: links.len() });
                }
                let links = links.into_iter().map(|(observer, age_ms, attempts)| {
                    let age = Duration::from_millis(age_ms.into());
                    FailingLinkBody { observer, age, attempts }
                });
                Self::Failing { subject, version, links: links.collect() }
            }
            _ => {
                IgnoredAny::deserialize(input)?;
                return Ok(None);
            }
        }))
    }
}

type Input<'a> = Deserializer<rmp_serde::decode::ReadReader<Cursor<&'a [u8]>>>;

fn encode<W: std::io::Write>(
    out: &mut rmp_serde::Serializer<W>,
    kind: u8,
    body: impl Serialize,
) -> Result<(), rmp_serde::encode::Error> {
    kind.serialize(&mut *out)?;
    body.serialize(out)
}

impl Serialize for MemberId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Bytes(self.0).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for MemberId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Bytes::deserialize(deserializer)?.0))
    }
}

#[derive(Deserialize, Serialize)]
struct EntryBody {
    state: u8,
    #[serde(with = "body_bytes")]
    body: Vec<u8>,
    signature: Bytes<64>,
}

impl From<&Entry> for EntryBody {
    fn from(entry: &Entry) -> Self {
        Self {
            state: state_to_wire(entry.state),
            body: entry.record.body().to_vec(),
            signature: Bytes(entry.record.signature().0),
        }
    }
}

impl EntryBody {
    fn into_entry(self, keys: &dyn Keys) -> Result<Entry, DecodeError> {
        let record = Record::decode(&self.body, Signature(self.signature.0), keys)?;
        let state = state_from_wire(self.state)?;
        if record.has_left() != (state == MemberState::Left) {
            return Err(DecodeError::Invalid("state of a record"));
        }
        Ok(Entry { state, record })
    }
}

/// Bytes as one MessagePack `bin`, refused beyond what a record may have.
mod body_bytes {
    use super::Record;

    #[expect(clippy::ptr_arg, reason = "serde passes a reference to the field")]
    pub(super) fn serialize<S: serde::Serializer>(
        bytes: &Vec<u8>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Vec<u8>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "at most {} bytes", Record::MAX_BODY_BYTES)
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                if bytes.len() > Record::MAX_BODY_BYTES {
                    return Err(E::invalid_length(bytes.len(), &self));
                }
                Ok(bytes.to_vec())
            }
        }
        deserializer.deserialize_bytes(Visitor)
    }
}

#[derive(Deserialize, Serialize)]
struct LineBody(MemberId, Generation, Incarnation, u8);

impl From<&SummaryLine> for LineBody {
    fn from(line: &SummaryLine) -> Self {
        let Version { generation, incarnation } = line.version;
        Self(line.id, generation, incarnation, state_to_wire(line.state))
    }
}

impl LineBody {
    fn to_line(&self) -> Result<SummaryLine, DecodeError> {
        let &Self(id, generation, incarnation, state) = self;
        let version = Version { generation, incarnation };
        Ok(SummaryLine { id, version, state: state_from_wire(state)? })
    }
}

#[derive(Deserialize, Serialize)]
struct SentVoteBody(MemberId, Version, bool, bool, TallyBody);

impl From<&VoteBody> for SentVoteBody {
    fn from(vote: &VoteBody) -> Self {
        let tally = TallyBody::new(vote.phi, vote.silent_for, vote.silence, vote.attempts);
        Self(vote.subject, vote.version, vote.is_accusation, vote.is_observer, tally)
    }
}

impl SentVoteBody {
    fn to_vote(&self) -> Result<VoteBody, DecodeError> {
        let &Self(subject, version, is_accusation, is_observer, ref tally) = self;
        Ok(VoteBody {
            subject,
            version,
            is_accusation,
            is_observer,
            phi: tally.phi(),
            silent_for: tally.silent_for(),
            silence: silence_from_wire(tally.2)?,
            attempts: tally.3,
        })
    }
}

#[derive(Deserialize, Serialize)]
struct TalliedBody(MemberId, TallyBody);

impl From<&VerdictVote> for TalliedBody {
    fn from(vote: &VerdictVote) -> Self {
        let tally = TallyBody::new(vote.phi, vote.silent_for, vote.silence, vote.attempts);
        Self(vote.observer, tally)
    }
}

impl TalliedBody {
    fn to_vote(&self) -> Result<VerdictVote, DecodeError> {
        let Self(observer, tally) = self;
        Ok(VerdictVote {
            observer: *observer,
            phi: tally.phi(),
            silent_for: tally.silent_for(),
            silence: silence_from_wire(tally.2)?,
            attempts: tally.3,
        })
    }
}

/// Phi in hundredths, milliseconds of silence, the kind of silence, unanswered pings.
#[derive(Deserialize, Serialize)]
pub(super) struct TallyBody(u16, u32, u8, u8);

impl TallyBody {
    pub(super) fn new(phi: f64, silent_for: Duration, silence: Silence, attempts: u8) -> Self {
        let centiphi = (phi * 100.0).round().clamp(0.0, f64::from(u16::MAX)) as u16;
        Self(centiphi, to_millis(silent_for), silence_to_wire(silence), attempts)
    }

    pub(super) fn phi(&self) -> f64 {
        f64::from(self.0) / 100.0
    }

    pub(super) fn silent_for(&self) -> Duration {
        Duration::from_millis(self.1.into())
    }
}

/// Whole milliseconds, at most 49 days of them.
fn to_millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

const fn silence_to_wire(silence: Silence) -> u8 {
    match silence {
        Silence::Unknown => 0,
        Silence::Silent => 1,
        Silence::Hung => 2,
        Silence::Gone => 3,
    }
}

const fn silence_from_wire(silence: u8) -> Result<Silence, DecodeError> {
    Ok(match silence {
        0 => Silence::Unknown,
        1 => Silence::Silent,
        2 => Silence::Hung,
        3 => Silence::Gone,
        _ => return Err(DecodeError::Invalid("kind of silence")),
    })
}

const fn state_to_wire(state: MemberState) -> u8 {
    match state {
        MemberState::Alive => 0,
        MemberState::Suspect => 1,
        MemberState::Dead => 2,
        MemberState::Left => 3,
    }
}

const fn state_from_wire(state: u8) -> Result<MemberState, DecodeError> {
    Ok(match state {
        0 => MemberState::Alive,
        1 => MemberState::Suspect,
        2 => MemberState::Dead,
        3 => MemberState::Left,
        _ => return Err(DecodeError::Invalid("state")),
    })
}

/// A code, and for people a text.
#[derive(Deserialize, Serialize)]
struct JoinReplyBody(u8, String);

impl From<&Result<(), JoinRefusal>> for JoinReplyBody {
    fn from(result: &Result<(), JoinRefusal>) -> Self {
        match result {
            Ok(()) => Self(0, String::new()),
            Err(JoinRefusal::Full) => Self(1, String::new()),
            Err(JoinRefusal::Leaving) => Self(2, String::new()),
            Err(JoinRefusal::NotUnderstood) => Self(3, String::new()),
            Err(JoinRefusal::NotAdmitted(reason)) => Self(4, reason.clone()),
            Err(JoinRefusal::Busy) => Self(5, String::new()),
        }
    }
}

impl JoinReplyBody {
    fn into_result(self) -> Result<(), JoinRefusal> {
        match self.0 {
            0 => Ok(()),
            1 => Err(JoinRefusal::Full),
            2 => Err(JoinRefusal::Leaving),
            4 => Err(JoinRefusal::not_admitted(&self.1)),
            5 => Err(JoinRefusal::Busy),
            _ => Err(JoinRefusal::NotUnderstood),
        }
    }
}

/// How many parts of a payload may ask or answer; the others tell, and cost their sender about what they cost us. A
/// join is two bytes and its answer is a whole list, and no release sends more than two such parts together.
pub(super) const MAX_ASKING_PARTS: usize = 16;
