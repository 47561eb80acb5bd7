//! Parts to bytes and back, and what is checked of a payload that is read. How each field looks is in [`field`].

use std::{borrow::Cow, io::Cursor, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize, de::IgnoredAny};

use super::{
    BUCKETS, ClearBody, DataChange, DecodeError, Delta, Entry, LeadAnswer, LeadAsk, Part, QueryAsk,
    QueryReplies, Sequence, Verdict, WIRE_VERSION,
    bytes::{AtMost, Blob, Bytes},
    field::{self, Age, Votes},
};
use crate::{
    Generation, JoinRefusal, Keys, MemberId, MemberState, Office, OfficeRules, PublishRequest,
    QueryAnswer, QueryId, Record, Revision, Signature, Term, Topic,
    data::map::Head,
    expel::statement::StatementBody,
    leadership::refusal::{Refusal, Why},
    member::flaws::FlawBits,
    publish::publication::{Publication, check_coalesce},
    query::{
        reply::Reply,
        request::{QueryHeader, QueryKey, millis, read_timeout},
    },
};

/// The content of a payload.
#[derive(Debug, Default)]
pub(crate) struct Decoded {
    pub(crate) parts: Vec<Part>,
    /// How many parts were of an unknown kind.
    pub(crate) unknown_parts: u64,
    /// How many parts ask or answer.
    asking_parts: usize,
}

/// Decodes a whole payload, or nothing of it.
pub(crate) fn decode(payload: &[u8], keys: &dyn Keys) -> Result<Decoded, DecodeError> {
    let body = body_of(payload)?;
    let mut input = rmp_serde::Deserializer::new(Cursor::new(body));
    // The deepest body is a list of lines; more would only be there to exhaust the stack.
    input.set_max_depth(16);
    let mut decoded = Decoded::default();
    while input.position() < body.len() as u64 {
        let kind = u8::deserialize(&mut input)?;
        decoded.push(decode_part(kind, &mut input, keys)?)?;
    }
    Ok(decoded)
}

/// The bytes of each part of a payload that this node made.
pub(super) fn parts_of(payload: &[u8]) -> Vec<&[u8]> {
    let (mut parts, mut rest) = (Vec::new(), &payload[1..]);
    while !rest.is_empty() {
        let mut input = rmp_serde::Deserializer::new(Cursor::new(rest));
        let is_read =
            u8::deserialize(&mut input).is_ok() && IgnoredAny::deserialize(&mut input).is_ok();
        let end = usize::try_from(input.position()).ok().filter(|_| is_read).unwrap_or(rest.len());
        let (part, after) = rest.split_at(end);
        parts.push(part);
        rest = after;
    }
    parts
}

/// The content after the version byte.
fn body_of(payload: &[u8]) -> Result<&[u8], DecodeError> {
    match payload.split_first() {
        None => Err(DecodeError::Empty),
        Some((&WIRE_VERSION, body)) => Ok(body),
        Some((&version, _)) => Err(DecodeError::UnknownVersion(version)),
    }
}

impl Decoded {
    /// Adds the next part; `None` stands for one of an unknown kind.
    fn push(&mut self, part: Option<Part>) -> Result<(), DecodeError> {
        let Some(part) = part else {
            self.unknown_parts += 1;
            return Ok(());
        };
        self.asking_parts += usize::from(!part.is_telling());
        if self.asking_parts > MAX_ASKING_PARTS {
            return Err(DecodeError::Invalid("number of parts"));
        }
        self.parts.push(part);
        Ok(())
    }
}

impl Part {
    pub(super) fn encode(&self, bytes: &mut Vec<u8>) {
        let mut out = rmp_serde::Serializer::new(bytes);
        self.write_to(&mut out).expect("writing to a vector cannot fail");
    }

    /// Writes the number that stands for this kind, never given to another kind, and the body.
    fn write_to(&self, out: &mut Output<'_>) -> Result<(), rmp_serde::encode::Error> {
        match self {
            Self::Ping(pulse) => write(out, 1, pulse),
            Self::Ack(pulse) => write(out, 2, pulse),
            Self::PingReq { sequence: Some(sequence), target, nonce: None } => {
                write(out, 3, (sequence, target))
            }
            Self::PingReq { sequence, target, nonce } => write(out, 40, (sequence, target, nonce)),
            Self::Nack { sequence } => write(out, 4, sequence),
            Self::IndirectAck { sequence, generation } => write(out, 5, (sequence, generation)),
            Self::Entry(entry) => write(out, 6, EntryBody::from(entry)),
            Self::Suspect(claim) => write(out, 7, claim),
            Self::Dead(verdict) if verdict.signed.is_empty() => write(out, 8, verdict),
            Self::Dead(verdict) => write(out, 38, (verdict, &verdict.signed)),
            Self::SizeProbe { sequence, is_lost, padding } => {
                write(out, 50, (sequence, is_lost, Blob(&zeros(*padding))))
            }
            Self::SizeProbeAck { sequence, padding } => {
                write(out, 51, (sequence, Blob(&zeros(*padding))))
            }
            Self::Certified { claim, digest } => write(out, 48, (claim, digest)),
            Self::VerdictWant { subject, version } => write(out, 49, (subject, version)),
            Self::Join => write(out, 9, ()),
            Self::JoinReply(result) => write(out, 10, JoinReplyBody::from(result)),
            Self::Compare(buckets) => write(out, 11, &buckets[..]),
            Self::Summary { buckets, lines } => write(out, 12, (buckets, lines)),
            Self::Want(ids) => write(out, 13, ids),
            Self::Leave { sequence } => write(out, 14, sequence),
            Self::LeaveAck { sequence } => write(out, 15, sequence),
            Self::Vote(vote) => write(out, 16, vote),
            Self::SignedVote(vote, signed) => write(out, 39, (vote, signed)),
            Self::Challenge(nonce) => write(out, 42, nonce),
            Self::Proof(proof) => write(out, 41, proof),
            Self::Clear(ClearBody { subject, version, age, heard_by: None }) => {
                write(out, 17, (subject, version, Age(*age)))
            }
            Self::Clear(ClearBody { subject, version, age, heard_by: Some(by) }) => {
                write(out, 52, (subject, version, Age(*age), by))
            }
            Self::Abstain { subject, version } => write(out, 18, (subject, version)),
            Self::Forget(claim) => write(out, 19, claim),
            Self::Failing { subject, version, links } => write(out, 20, (subject, version, links)),
            Self::DataFingerprint(fingerprint) => write(out, 21, fingerprint),
            Self::DataNews(lines) => write(out, 22, lines),
            Self::DataWant(lines) => write(out, 23, lines),
            Self::DataDelta(delta) => write(out, 24, DeltaBody::from(&**delta)),
            Self::DataCompare(buckets) => write(out, 25, &buckets[..]),
            Self::DataSummary { buckets, lines } => write(out, 26, (buckets, lines)),
            Self::Publication { is_push, hops, publication } => {
                write(out, 29, publication_body(*is_push, *hops, publication))
            }
            Self::PublicationNews(lines) => write(out, 30, lines),
            Self::PublicationWant(ranges) => write(out, 31, ranges),
            Self::PublicationPrune(publisher) => write(out, 32, publisher),
            Self::QueryAsk(ask) => write(out, 33, ask_body(ask)),
            Self::QueryReplies(replies) => write(out, 34, replies_body(replies)),
            Self::LeadAsk(ask) => write(out, 35, lead_ask_body(ask)),
            Self::LeadAnswer(answer) => write(out, 36, lead_answer_body(answer)),
            Self::LeadRelease(release) => write(out, 37, release),
            Self::Expulsion(statement) => write(out, 44, StatementBody::from(&**statement)),
            Self::ExpulsionsFingerprint(fingerprint) => write(out, 45, fingerprint),
            Self::ExpulsionsWant(known) => write(out, 46, known),
            Self::Flawed { subject, version, flaws } => {
                write(out, 47, (subject, version, FlawBits::from(*flaws)))
            }
            Self::Send(sent) => write(out, 27, sent),
            Self::SendAck { ticket, answer } => write(out, 28, (ticket, answer)),
        }
    }
}

/// Writes the number of a kind, then a body.
fn write(
    out: &mut Output<'_>,
    kind: u8,
    body: impl Serialize,
) -> Result<(), rmp_serde::encode::Error> {
    kind.serialize(&mut *out)?;
    body.serialize(out)
}

/// Bytes that only make a part long.
fn zeros(padding: u16) -> Vec<u8> {
    vec![0; padding.into()]
}

/// The length of what is ignored.
struct Padding(u16);

impl From<&[u8]> for Padding {
    fn from(bytes: &[u8]) -> Self {
        Self(u16::try_from(bytes.len()).unwrap_or(u16::MAX))
    }
}

/// Padding as it is read.
type ReadPadding = AtMost<{ u16::MAX as usize }, Padding>;

/// Decodes the body of a part of this kind, or skips it where the kind is unknown.
fn decode_part(
    kind: u8,
    input: &mut Input<'_>,
    keys: &dyn Keys,
) -> Result<Option<Part>, DecodeError> {
    let part = match kind {
        1 => read(input, Part::Ping),
        2 => read(input, Part::Ack),
        3 => read(input, |(sequence, target)| Part::PingReq {
            sequence: Some(sequence),
            target,
            nonce: None,
        }),
        4 => read(input, |sequence| Part::Nack { sequence }),
        5 => read(input, |(sequence, generation)| Part::IndirectAck { sequence, generation }),
        6 => EntryBody::deserialize(input)?.into_entry(keys).map(Part::Entry),
        7 => read(input, Part::Suspect),
        8 => read(input, Part::Dead),
        9 => read(input, |()| Part::Join),
        10 => read(input, |reply: JoinReplyBody| Part::JoinReply(reply.into_result())),
        11 => read_buckets(input).map(Part::Compare),
        12 => read(input, |(buckets, lines)| Part::Summary { buckets, lines }),
        13 => read(input, Part::Want),
        14 => read(input, |sequence| Part::Leave { sequence }),
        15 => read(input, |sequence| Part::LeaveAck { sequence }),
        16 => read(input, Part::Vote),
        17 => read(input, |(subject, version, Age(age))| {
            Part::Clear(ClearBody { subject, version, age, heard_by: None })
        }),
        52 => read(input, |(subject, version, Age(age), by)| {
            Part::Clear(ClearBody { subject, version, age, heard_by: Some(by) })
        }),
        18 => read(input, |(subject, version)| Part::Abstain { subject, version }),
        19 => read(input, Part::Forget),
        20 => read(input, |(subject, version, Votes(links))| Part::Failing {
            subject,
            version,
            links,
        }),
        21 => read(input, Part::DataFingerprint),
        22 => read(input, Part::DataNews),
        23 => read(input, Part::DataWant),
        24 => read(input, |body: DeltaBody<'_>| Part::DataDelta(Box::new(body.into()))),
        25 => read_buckets(input).map(Part::DataCompare),
        26 => read(input, |(buckets, lines)| Part::DataSummary { buckets, lines }),
        29 => PublicationBody::deserialize(input)?.into_part(),
        30 => read(input, Part::PublicationNews),
        31 => read(input, Part::PublicationWant),
        32 => read(input, Part::PublicationPrune),
        33 => AskBody::deserialize(input)?.into_part(),
        34 => RepliesBody::deserialize(input)?.into_part(),
        35 => LeadAskBody::deserialize(input)?.into_part(),
        36 => read(input, |body: LeadAnswerBody| Part::LeadAnswer(body.into_answer())),
        37 => read(input, Part::LeadRelease),
        38 => read(input, |(verdict, Votes(signed)): (Verdict, _)| {
            Part::Dead(Verdict { signed, ..verdict })
        }),
        39 => read(input, |(vote, signed)| Part::SignedVote(vote, signed)),
        40 => read(input, |(sequence, target, nonce)| Part::PingReq {
            sequence,
            target,
            nonce: Some(nonce),
        }),
        42 => read(input, Part::Challenge),
        41 => read(input, Part::Proof),
        44 => {
            let statement = StatementBody::deserialize(input)?.read()?;
            Ok(Part::Expulsion(Arc::new(statement)))
        }
        45 => read(input, Part::ExpulsionsFingerprint),
        46 => read(input, Part::ExpulsionsWant),
        47 => read(input, |(subject, version, flaws): (_, _, FlawBits)| Part::Flawed {
            subject,
            version,
            flaws: flaws.into(),
        }),
        48 => read(input, |(claim, digest)| Part::Certified { claim, digest }),
        49 => read(input, |(subject, version)| Part::VerdictWant { subject, version }),
        50 => read(input, |(sequence, is_lost, AtMost(Padding(padding))): (_, _, ReadPadding)| {
            Part::SizeProbe { sequence, is_lost, padding }
        }),
        51 => read(input, |(sequence, AtMost(Padding(padding))): (_, ReadPadding)| {
            Part::SizeProbeAck { sequence, padding }
        }),
        27 => read(input, Part::Send),
        28 => read(input, |(ticket, answer)| Part::SendAck { ticket, answer }),
        _ => {
            IgnoredAny::deserialize(input)?;
            return Ok(None);
        }
    };
    part.map(Some)
}

/// The part that is made of the next value.
fn read<'de, T: Deserialize<'de>>(
    input: &mut Input<'_>,
    part: impl FnOnce(T) -> Part,
) -> Result<Part, DecodeError> {
    Ok(part(T::deserialize(input)?))
}

fn read_buckets(input: &mut Input<'_>) -> Result<Box<[u64; BUCKETS]>, DecodeError> {
    let buckets = Vec::<u64>::deserialize(input)?.into_boxed_slice();
    buckets.try_into().map_err(|_| DecodeError::Invalid("buckets"))
}

type Input<'a> = rmp_serde::Deserializer<rmp_serde::decode::ReadReader<Cursor<&'a [u8]>>>;
type Output<'a> = rmp_serde::Serializer<&'a mut Vec<u8>>;

/// A record, and the state that the sender considers its member to be in.
#[derive(Deserialize, Serialize)]
pub(crate) struct EntryBody {
    #[serde(with = "field::state")]
    state: MemberState,
    #[serde(with = "field::record_body")]
    body: Vec<u8>,
    signature: Bytes<64>,
}

impl From<&Entry> for EntryBody {
    fn from(entry: &Entry) -> Self {
        Self {
            state: entry.state,
            body: entry.record.body().to_vec(),
            signature: Bytes(entry.record.signature().0),
        }
    }
}

impl EntryBody {
    pub(crate) fn into_entry(self, keys: &dyn Keys) -> Result<Entry, DecodeError> {
        let record = Record::decode(&self.body, Signature(self.signature.0), keys)?;
        if record.has_left() != (self.state == MemberState::Left) {
            return Err(DecodeError::Invalid("state of a record"));
        }
        Ok(Entry { state: self.state, record })
    }
}

/// A delta as it is written.
#[derive(Deserialize, Serialize)]
struct DeltaBody<'a>(
    MemberId,
    Generation,
    Revision,
    Revision,
    #[serde(with = "field::changes")] Cow<'a, [DataChange]>,
    Bytes<64>,
);

impl<'a> From<&'a Delta> for DeltaBody<'a> {
    fn from(delta: &'a Delta) -> Self {
        let Delta { owner, base, head, ref changes, signature } = *delta;
        let changes = Cow::Borrowed(&changes[..]);
        Self(owner, head.generation, base, head.revision, changes, Bytes(signature.0))
    }
}

impl From<DeltaBody<'_>> for Delta {
    fn from(
        DeltaBody(owner, generation, base, revision, changes, signature): DeltaBody<'_>,
    ) -> Self {
        let (head, changes) = (Head { generation, revision }, changes.into_owned());
        Self { owner, base, head, changes, signature: Signature(signature.0) }
    }
}

/// A publication as it is written.
fn publication_body(
    is_push: bool,
    hops: u8,
    publication: &Publication,
) -> impl Serialize + use<'_> {
    let Publication { publisher, generation, sequence, recent, content, query, signature } =
        publication;
    let PublishRequest { topic, body, filter, coalesce } = content;
    let numbers = (publisher, generation, sequence, recent);
    let content = (topic, filter.to_string(), coalesce.as_deref(), Blob(body));
    let query = query.as_ref().map(QueryHeader::body);
    (is_push, hops, numbers, content, query, Bytes(signature.0))
}

/// A publication as it is read.
#[derive(Deserialize)]
struct PublicationBody {
    is_push: bool,
    hops: u8,
    numbers: (MemberId, Generation, u64, u16),
    content: (Topic, String, Option<String>, AtMost<{ PublishRequest::MAX_BODY_BYTES }>),
    query: Option<(QueryId, u32, Vec<MemberId>)>,
    signature: Bytes<64>,
}

impl PublicationBody {
    fn into_part(self) -> Result<Part, DecodeError> {
        let Self { is_push, hops, numbers, content, query, signature } = self;
        let (publisher, generation, sequence, recent) = numbers;
        let (topic, filter, coalesce, AtMost(body)) = content;
        let filter = filter.parse().map_err(|_| DecodeError::Invalid("filter"))?;
        let is_key = |key: &str| check_coalesce(key).is_ok();
        if sequence == 0 || !coalesce.as_deref().is_none_or(is_key) {
            return Err(DecodeError::Invalid("publication"));
        }
        let content = PublishRequest { topic, body, filter, coalesce: coalesce.map(Into::into) };
        let read = |header| QueryHeader::read(header).ok_or(DecodeError::Invalid("query"));
        let query = query.map(read).transpose()?;
        let signature = Signature(signature.0);
        let publication =
            Publication { publisher, generation, sequence, recent, content, query, signature };
        Ok(Part::Publication { is_push, hops, publication: Arc::new(publication) })
    }
}

fn ask_body(ask: &QueryAsk) -> impl Serialize + use<'_> {
    let QueryAsk { id, generation, to_generation, within, topic, body } = ask;
    (id, generation, to_generation, millis(*within), topic, Blob(body))
}

/// A question to one member as it is read.
#[derive(Deserialize)]
struct AskBody(
    QueryId,
    Generation,
    Generation,
    u32,
    Topic,
    AtMost<{ PublishRequest::MAX_BODY_BYTES }>,
);

impl AskBody {
    fn into_part(self) -> Result<Part, DecodeError> {
        let Self(id, generation, to_generation, within, topic, AtMost(body)) = self;
        let within = read_timeout(within).ok_or(DecodeError::Invalid("timeout"))?;
        let ask = QueryAsk { id, generation, to_generation, within, topic, body };
        Ok(Part::QueryAsk(Box::new(ask)))
    }
}

fn replies_body(replies: &QueryReplies) -> impl Serialize + use<'_> {
    let QueryReplies { key, replies } = replies;
    let lines = replies.iter().map(|reply| {
        let Reply { from, generation, answer, signature } = reply;
        (from, generation, answer.code(), Blob(answer.body()), Bytes(signature.0))
    });
    (key, lines.collect::<Vec<_>>())
}

/// Answers as they are read.
#[derive(Deserialize)]
struct RepliesBody(QueryKey, Vec<ReplyBody>);

#[derive(Deserialize)]
struct ReplyBody(MemberId, Generation, u8, AtMost<{ QueryAnswer::MAX_REPLY_BYTES }>, Bytes<64>);

impl RepliesBody {
    fn into_part(self) -> Result<Part, DecodeError> {
        let Self(key, lines) = self;
        let replies: Option<_> = lines.into_iter().map(ReplyBody::into_reply).collect();
        let replies = replies.ok_or(DecodeError::Invalid("answer"))?;
        Ok(Part::QueryReplies(Box::new(QueryReplies { key, replies })))
    }
}

impl ReplyBody {
    fn into_reply(self) -> Option<Reply> {
        let Self(from, generation, code, AtMost(body), signature) = self;
        let (answer, signature) = (QueryAnswer::read(code, body)?, Signature(signature.0));
        Some(Reply { from, generation, answer, signature })
    }
}

fn lead_ask_body(ask: &LeadAsk) -> impl Serialize + use<'_> {
    let LeadAsk { office, term, generation, sequence, lease, rules, size } = ask;
    let rules = (rules.voters.to_string(), rules.expected, size);
    (office, term, generation, sequence, Age(*lease), rules)
}

/// A request for an office as it is read.
#[derive(Deserialize)]
struct LeadAskBody(Office, Term, Generation, Sequence, Age, (String, Option<u16>, u16));

impl LeadAskBody {
    fn into_part(self) -> Result<Part, DecodeError> {
        let Self(office, term, generation, sequence, Age(lease), (voters, expected, size)) = self;
        let voters = voters.parse().map_err(|_| DecodeError::Invalid("filter"))?;
        let rules = OfficeRules::new(voters, expected);
        let ask = LeadAsk { office, term, generation, sequence, lease, rules, size };
        Ok(Part::LeadAsk(Box::new(ask)))
    }
}

fn lead_answer_body(answer: &LeadAnswer) -> impl Serialize + use<'_> {
    let LeadAnswer { office, term, sequence, result } = answer;
    let (code, promised, remaining) = match result {
        Ok(()) => (0, *term, Duration::ZERO),
        Err(Refusal { why, promised, remaining }) => (why.code(), *promised, *remaining),
    };
    (office, term, sequence, code, promised, Age(remaining))
}

/// An answer to it as it is read.
#[derive(Deserialize)]
struct LeadAnswerBody(Office, Term, Sequence, u8, Term, Age);

impl LeadAnswerBody {
    fn into_answer(self) -> LeadAnswer {
        let Self(office, term, sequence, code, promised, Age(remaining)) = self;
        let result = match code {
            0 => Ok(()),
            code => Err(Refusal { why: Why::of_code(code), promised, remaining }),
        };
        LeadAnswer { office, term, sequence, result }
    }
}

/// A code, and a human-readable text.
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

/// How many parts of a payload may ask or answer; the others report, and cost their sender about as much as the
/// receiver. A join is two bytes and its answer is a whole list, and no release sends more than two such parts
/// together.
pub(super) const MAX_ASKING_PARTS: usize = 16;
