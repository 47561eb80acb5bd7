use std::{sync::Arc, time::Duration};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{
    codec::{Decoded, MAX_ASKING_PARTS},
    *,
};
use crate::{
    Flaw, Flaws, Generation, JoinRefusal, MemberState, Message, OfficeRules, PublishRequest,
    QueryAnswer, QueryId, Record, Revision, Signature, Silence, Term, Ticket, Topic,
    data::map::Head,
    detect::{
        proof::{Nonce, Proof},
        signed::SignedVote,
    },
    expel::statement::{AdminStatement, Standing},
    leadership::refusal::{Refusal, Why},
    member::record::tests::{TestKeys, id, record, version},
    publish::publication::Publication,
    query::{
        reply::Reply,
        request::{QueryHeader, QueryKey},
    },
};

/// One part of each kind, and the cases of those that have several.
pub(crate) fn samples() -> Vec<Part> {
    let pulse = Pulse {
        sequence: Sequence(70_000),
        generation: Generation(3),
        round: Round(9),
        round_age_ms: 250,
        fingerprint: Fingerprint(u64::MAX),
        stall_ms: 40,
    };
    let (sequence, subject, version) = (Sequence(7), id(2), version(1, 300));
    let claim = Claim { subject, version, by: id(3) };
    let silent_for = Duration::from_millis(1_500);
    let tally = Tally { phi: 4.25, silent_for, silence: Silence::Hung, attempts: 3 };
    let (is_accusation, is_observer) = (true, false);
    let line = SummaryLine { id: id(4), version, state: MemberState::Suspect };
    let head = Head { generation: Generation(3), revision: Revision(70_000) };
    let data_line = DataLine { owner: id(4), head };
    let change =
        |key: &str, content| DataChange { key: key.to_owned(), revision: Revision(9), content };
    let changes = vec![
        change("put", Content::Value(b"value"[..].into())),
        change("deleted", Content::Deleted),
        change("expired", Content::Expired),
    ];
    let signature = Signature([8; 64]);
    let ticket = Ticket::new(Generation(2), 9);
    let send = |ticket, body: &[u8]| {
        let topic = "deploy/started".parse().unwrap();
        Part::Send(SentBody {
            ticket,
            from: Generation(2),
            to: Generation(3),
            topic,
            body: body.into(),
        })
    };
    let answer = |answer| Part::SendAck { ticket, answer };
    let delta = Delta { owner: id(4), base: Revision(8), head, changes, signature };
    vec![
        Part::Ping(pulse),
        Part::Ack(pulse),
        Part::PingReq { sequence: Some(sequence), target: id(9), nonce: None },
        Part::PingReq { sequence: Some(sequence), target: id(9), nonce: Some(Nonce([7; 16])) },
        Part::PingReq { sequence: None, target: id(9), nonce: Some(Nonce([7; 16])) },
        Part::Nack { sequence },
        Part::IndirectAck { sequence, generation: Generation(u32::MAX) },
        Part::Entry(Entry { state: MemberState::Suspect, record: record(5, version) }),
        Part::Suspect(claim),
        Part::Dead(Verdict::unsigned(claim, vec![(id(3), tally); MAX_VOTES])),
        Part::Dead(Verdict::unsigned(claim, Vec::new())),
        Part::Dead(signed_verdict(vec![signed_vote(); MAX_VOTES])),
        Part::Dead(signed_verdict(vec![signed_vote()])),
        Part::Certified { claim, digest: u64::MAX },
        Part::VerdictWant { subject, version },
        Part::SizeProbe { sequence: Sequence(300), is_lost: false, padding: 0 },
        Part::SizeProbe { sequence: Sequence(300), is_lost: true, padding: 3 },
        Part::SizeProbeAck { sequence: Sequence(300), padding: 3 },
        Part::Join,
        Part::JoinReply(Ok(())),
        Part::JoinReply(Err(JoinRefusal::Full)),
        Part::JoinReply(Err(JoinRefusal::Leaving)),
        Part::JoinReply(Err(JoinRefusal::NotUnderstood)),
        Part::JoinReply(Err(JoinRefusal::NotAdmitted("wrong rack".to_owned()))),
        Part::JoinReply(Err(JoinRefusal::Busy)),
        Part::Compare(Box::new(std::array::from_fn(|bucket| bucket as u64 * 77))),
        Part::Summary { buckets: 1 << 63, lines: vec![line; 3] },
        Part::Want(vec![id(1), id(2)]),
        Part::Leave { sequence },
        Part::LeaveAck { sequence },
        Part::Vote(VoteBody { subject, version, is_accusation, is_observer, tally }),
        Part::SignedVote(signed_vote_body(), signed_vote()),
        Part::Clear(ClearBody { subject, version, age: Duration::from_millis(20), heard_by: None }),
        Part::Clear(ClearBody {
            subject,
            version,
            age: Duration::from_millis(20),
            heard_by: Some(id(3)),
        }),
        Part::Abstain { subject, version },
        Part::Challenge(Nonce([7; 16])),
        Part::Proof(Proof {
            subject,
            generation: Generation(3),
            nonce: Nonce([7; 16]),
            signature: Signature([8; 64]),
        }),
        Part::Forget(claim),
        Part::Failing {
            subject,
            version,
            links: vec![FailingLinkBody {
                observer: id(5),
                age: Duration::from_millis(61_000),
                attempts: 9,
            }],
        },
        Part::DataFingerprint(Fingerprint(u64::MAX)),
        Part::DataNews(vec![data_line; 2]),
        Part::DataWant(vec![data_line]),
        Part::DataDelta(Box::new(delta)),
        Part::DataCompare(Box::new(std::array::from_fn(|bucket| bucket as u64 * 77))),
        Part::DataSummary { buckets: 1 << 63, lines: vec![data_line; 3] },
        publication("", None),
        publication("role=web", Some("key")),
        query(),
        Part::PublicationNews(vec![
            PublicationLine {
                publisher: id(4),
                generation: Generation(3),
                sequence: 70_000
            };
            2
        ]),
        Part::PublicationWant(vec![PublicationRange {
            publisher: id(4),
            generation: Generation(3),
            first: 70_000,
            last: u64::MAX,
            is_graft: true,
        }]),
        Part::PublicationPrune(id(4)),
        send(Some(ticket), b"body"),
        send(None, b""),
        answer(Answer::Taken),
        answer(Answer::QueueFull),
        answer(Answer::NoReceiver),
        answer(Answer::Restarted),
        answer(Answer::Unknown),
        Part::QueryAsk(Box::new(QueryAsk {
            id: QueryId(70_000),
            generation: Generation(3),
            to_generation: Generation(1),
            within: Duration::from_secs(2),
            topic: "topic".parse().unwrap(),
            body: b"body"[..].into(),
        })),
        replies(),
        Part::LeadAsk(Box::new(LeadAsk {
            office: "office".parse().unwrap(),
            term: Term(70_000),
            generation: Generation(3),
            sequence,
            lease: Duration::from_secs(2),
            rules: OfficeRules::new("role=web".parse().unwrap(), Some(5)),
            size: 4,
        })),
        lead_answer(Ok(())),
        lead_answer(Err(Refusal {
            why: Why::Held,
            promised: Term(70_001),
            remaining: Duration::from_millis(300),
        })),
        lead_answer(Err(Refusal {
            why: Why::Unknown,
            promised: Term(0),
            remaining: Duration::ZERO,
        })),
        Part::LeadRelease(LeadRelease {
            office: "office".parse().unwrap(),
            term: Term(70_000),
            generation: Generation(3),
        }),
        expulsion(Some("n3"), Standing::Expelled, Some(u64::MAX)),
        expulsion(None, Standing::Readmitted, None),
        Part::ExpulsionsFingerprint(Fingerprint(u64::MAX)),
        Part::ExpulsionsWant(vec![(id(3), u64::MAX), (id(4), 1)]),
        Part::Flawed { subject, version, flaws: Flaws::NONE },
        Part::Flawed { subject, version, flaws: [Flaw::Loss, Flaw::OneWay].into_iter().collect() },
    ]
}

fn expulsion(name: Option<&str>, standing: Standing, until: Option<u64>) -> Part {
    let statement = AdminStatement::new([7; 8], id(3), standing, 1_700_000_000_000);
    let name = name.map(|name| name.try_into().unwrap());
    let statement = AdminStatement { name, until, ..statement };
    Part::Expulsion(Arc::new(statement.sign(&TestKeys(200))))
}

fn signed_vote() -> SignedVote {
    let (voter, generation, round) = (id(3), Generation(70_000), Round(300));
    let (silence, signature) = (Silence::Gone, Signature([8; 64]));
    SignedVote { voter, generation, round, silence, signature }
}

fn signed_vote_body() -> VoteBody {
    let silent_for = Duration::from_millis(1_500);
    let tally = Tally { phi: 4.25, silent_for, silence: Silence::Gone, attempts: 3 };
    let (is_accusation, is_observer) = (false, true);
    VoteBody { subject: id(2), version: version(1, 300), is_accusation, is_observer, tally }
}

/// A verdict on as many votes as there may be, with these signed.
fn signed_verdict(signed: Vec<SignedVote>) -> Verdict {
    let claim = Claim { subject: id(2), version: version(1, 300), by: id(3) };
    Verdict { claim, votes: vec![(id(3), signed_vote_body().tally); MAX_VOTES], signed }
}

fn lead_answer(result: Result<(), Refusal>) -> Part {
    let (office, term) = ("office".parse().unwrap(), Term(70_000));
    Part::LeadAnswer(LeadAnswer { office, term, sequence: Sequence(7), result })
}

fn query() -> Part {
    let content = PublishRequest::new("topic".parse().unwrap(), b"body".as_slice());
    let (within, targets) = (Duration::from_secs(2), vec![id(1), id(2)]);
    let header = QueryHeader { id: QueryId(7), within, targets };
    let numbers = (Generation(3), 70_000, 300);
    let publication = Publication::sign(id(4), numbers, (content, Some(header)), &TestKeys(4));
    Part::Publication { is_push: true, hops: 2, publication: Arc::new(publication) }
}

fn replies() -> Part {
    let key = QueryKey { caller: id(4), generation: Generation(3), id: QueryId(70_000) };
    let reply = QueryAnswer::Reply(b"reply"[..].into());
    let answers = [reply, QueryAnswer::NoHandler, QueryAnswer::Refused, QueryAnswer::Busy];
    let replies = answers.into_iter().zip(1..).map(|(answer, node)| {
        Reply::sign(key, (id(node), Generation(1)), answer, &TestKeys(node.into()))
    });
    Part::QueryReplies(Box::new(QueryReplies { key, replies: replies.collect() }))
}

fn publication(filter: &str, coalesce: Option<&str>) -> Part {
    let mut content = PublishRequest::new("topic".parse().unwrap(), b"body".as_slice());
    content.filter = filter.parse().unwrap();
    content.coalesce = coalesce.map(Into::into);
    let numbers = (Generation(3), 70_000, 300);
    let publication = Publication::sign(id(4), numbers, (content, None), &TestKeys(4));
    Part::Publication { is_push: true, hops: 2, publication: Arc::new(publication) }
}

fn read(payload: &[u8]) -> Result<Decoded, DecodeError> {
    decode(payload, &TestKeys(0))
}

/// The kinds that this release knows.
const KINDS: [std::ops::RangeInclusive<u8>; 2] = [1..=42, 44..=52];

/// A payload of raw bytes after the version.
fn raw(body: &[u8]) -> Vec<u8> {
    [&[WIRE_VERSION][..], body].concat()
}

#[test]
fn each_part_decodes_to_itself_alone_and_with_all_others() {
    let mut all = Payload::new();
    for part in samples() {
        let decoded = read(&Payload::of(&part).into_bytes()).unwrap();
        assert_eq!((decoded.parts, decoded.unknown_parts), (vec![part.clone()], 0));
        if part.is_telling() {
            all.push(&part);
        }
    }
    let telling: Vec<_> = samples().into_iter().filter(Part::is_telling).collect();
    assert_eq!(read(&all.into_bytes()).unwrap().parts, telling);
}

/// Earlier releases read everything that this one writes, and the other way round: a body never changes its shape.
#[test]
fn each_part_is_written_as_the_first_release_that_had_it_wrote_it() {
    let recorded = include_str!("parts.txt").lines().filter(|line| !line.starts_with('#'));
    let recorded: Vec<_> = recorded.collect();
    let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let written =
        samples().iter().map(|part| hex(Payload::of(part).into_bytes())).collect::<Vec<_>>();
    let unheard_of: Vec<_> =
        written.iter().filter(|written| !recorded.contains(&written.as_str())).collect();
    assert!(
        unheard_of.is_empty(),
        "in no release so far; if new, append to parts.txt: {unheard_of:#?}"
    );
    for line in recorded {
        let digits = line.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        let bytes: Vec<_> = digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect();
        let decoded = read(&bytes).unwrap();
        assert_eq!((decoded.parts.len(), decoded.unknown_parts), (1, 0), "{line}");
        assert!(samples().contains(&decoded.parts[0]), "without a sample: {:?}", decoded.parts);
    }
}

#[test]
fn each_kind_has_a_number_of_its_own() {
    let mut kinds: Vec<_> =
        samples().iter().map(|part| Payload::of(part).into_bytes()[1]).collect();
    kinds.dedup();
    let count = kinds.len();
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds.len(), count);
    let known: Vec<_> = KINDS.into_iter().flatten().collect();
    assert_eq!(kinds, known, "a new kind has a sample");
}

#[test]
fn a_payload_truncated_at_any_byte_is_refused_whole() {
    for part in samples() {
        let payload = Payload::of(&part).into_bytes();
        for length in (0..payload.len()).filter(|&length| length != 1) {
            assert!(read(&payload[..length]).is_err(), "{part:?} of {length} bytes");
        }
    }
    assert!(read(&[WIRE_VERSION]).unwrap().parts.is_empty(), "no parts are no error");
}

#[test]
fn trailing_bytes_are_refused_with_all_before_them() {
    for part in samples() {
        for trailing in [&[0x01][..], &[0xc1], &[0xff], &[0xc0, 0xc0], b"phi"] {
            let mut payload = Payload::of(&part).into_bytes();
            payload.extend_from_slice(trailing);
            assert!(read(&payload).is_err(), "{part:?} then {trailing:?}");
        }
    }
}

#[test]
fn other_versions_and_empty_payloads_are_told_apart() {
    assert!(matches!(read(&[]), Err(DecodeError::Empty)));
    for version in (0..=u8::MAX).filter(|&version| version != WIRE_VERSION) {
        assert!(
            matches!(read(&[version, 9, 0xc0]), Err(DecodeError::UnknownVersion(v)) if v == version)
        );
    }
}

#[test]
fn a_part_of_an_unknown_kind_is_skipped_and_counted_whatever_its_body() {
    let body = [0x93, 0x01, 0x81, 0xa1, b'k', 0xc3, 0xc4, 0x02, 0xc1, 0xc1];
    let mut payload = Payload::of(&Part::Nack { sequence: Sequence(1) }).into_bytes();
    for kind in [0, 100, 127] {
        payload.push(kind);
        payload.extend_from_slice(&body);
    }
    payload.extend_from_slice(&[0xcc, 200, 0xc0]);
    Part::Join.encode(&mut payload);
    let decoded = read(&payload).unwrap();
    assert_eq!(decoded.unknown_parts, 4);
    assert_eq!(decoded.parts, [Part::Nack { sequence: Sequence(1) }, Part::Join]);
}

/// The kinds of signed verdicts and votes are new ones, so earlier releases skip them and read the rest.
#[test]
fn a_signed_kind_is_skipped_by_a_release_that_does_not_know_it() {
    for part in [
        Part::Dead(signed_verdict(vec![signed_vote()])),
        Part::SignedVote(signed_vote_body(), signed_vote()),
    ] {
        let mut payload = Payload::of(&Part::Nack { sequence: Sequence(1) }).into_bytes();
        let kind = payload.len();
        part.encode(&mut payload);
        Part::Join.encode(&mut payload);
        payload[kind] = 127;
        let decoded = read(&payload).unwrap();
        assert_eq!(decoded.unknown_parts, 1);
        assert_eq!(decoded.parts, [Part::Nack { sequence: Sequence(1) }, Part::Join]);
    }
}

#[test]
fn what_is_nested_too_deep_is_refused_without_exhausting_the_stack() {
    for opening in [&[0x91][..], &[0x81, 0xc0], &[0xdd, 0, 0, 0, 1], &[0xdf, 0, 0, 0, 1, 0xc0]] {
        for kind in [127, 9, 12, 13] {
            let nested = [&[kind][..], &opening.repeat(100_000)].concat();
            assert!(read(&raw(&nested)).is_err());
        }
    }
}

#[test]
fn a_claimed_length_is_not_believed() {
    // Arrays, maps, strings, bytes and extensions that claim up to 4 GiB and bring nothing.
    for marker in [0xdd, 0xdf, 0xdb, 0xc6, 0xc9] {
        for kind in KINDS.into_iter().flatten() {
            for nested in [&[][..], &[0x92], &[0x93, 0x00]] {
                let claim = [&[kind][..], nested, &[marker, 0xff, 0xff, 0xff, 0xff, 0x01]].concat();
                assert!(read(&raw(&claim)).is_err(), "kind {kind}, marker {marker:#x}");
            }
        }
    }
}

#[test]
fn a_payload_asks_only_so_much() {
    for part in samples().into_iter().filter(|part| !part.is_telling()) {
        let mut payload = Payload::new();
        (0..MAX_ASKING_PARTS).for_each(|_| payload.push(&part));
        let telling = samples().into_iter().filter(Part::is_telling);
        telling.for_each(|part| payload.push(&part));
        assert!(read(&payload.0).is_ok());
        payload.push(&part);
        assert!(read(&payload.into_bytes()).is_err(), "{part:?}");
    }
}

#[test]
fn what_exceeds_a_limit_is_refused() {
    let claim = Claim { subject: id(1), version: version(0, 0), by: id(2) };
    let Some(Part::Dead(verdict)) =
        samples().into_iter().find(|part| matches!(part, Part::Dead(_)))
    else {
        panic!("there is a verdict")
    };
    let votes = vec![verdict.votes[0]; MAX_VOTES + 1];
    assert!(read(&Payload::of(&Part::Dead(Verdict::unsigned(claim, votes))).into_bytes()).is_err());

    for (count, is_read) in [(MAX_VOTES, true), (MAX_VOTES + 1, false)] {
        let signed = Part::Dead(signed_verdict(vec![signed_vote(); count]));
        assert_eq!(read(&Payload::of(&signed).into_bytes()).is_ok(), is_read, "{count} signed");
        let mut verdict = signed_verdict(vec![signed_vote()]);
        verdict.votes.resize(count, verdict.votes[0]);
        let payload = Payload::of(&Part::Dead(verdict)).into_bytes();
        assert_eq!(read(&payload).is_ok(), is_read, "{count} votes, of which one is signed");
    }

    let link = FailingLinkBody { observer: id(1), age: Duration::ZERO, attempts: 1 };
    for (count, is_read) in [(MAX_VOTES, true), (MAX_VOTES + 1, false)] {
        let (subject, version, links) = (claim.subject, claim.version, vec![link; count]);
        let part = Part::Failing { subject, version, links };
        assert_eq!(read(&Payload::of(&part).into_bytes()).is_ok(), is_read, "{count} links");
    }

    for buckets in [0, 1, BUCKETS - 1, BUCKETS + 1] {
        let mut body = vec![11];
        vec![0_u64; buckets].serialize(&mut rmp_serde::Serializer::new(&mut body)).unwrap();
        assert!(read(&raw(&body)).is_err(), "{buckets} buckets");
    }

    let sent = |topic_bytes: usize, body_bytes: usize| {
        let mut body = vec![27, 0x95, 0xc0, 0x00, 0x00, 0xd9, topic_bytes as u8];
        body.resize(body.len() + topic_bytes, b't');
        body.push(0xc6);
        body.extend_from_slice(&u32::try_from(body_bytes).unwrap().to_be_bytes());
        body.resize(body.len() + body_bytes, 0);
        read(&raw(&body)).is_ok()
    };
    assert!(sent(Topic::MAX_BYTES, Message::MAX_SENT_BYTES));
    assert!(!sent(Topic::MAX_BYTES, Message::MAX_SENT_BYTES + 1));
    assert!(!sent(Topic::MAX_BYTES + 1, 0) && !sent(0, 0));

    let mut body = vec![6, 0x93, 0x00, 0xc5, 0x02, 0x01];
    body.resize(body.len() + Record::MAX_BODY_BYTES + 1, 0xc0);
    body.extend_from_slice(&[0xc4, 64]);
    body.resize(body.len() + 64, 0);
    assert!(read(&raw(&body)).is_err());
}

#[test]
fn what_cannot_be_is_refused() {
    let member = [&[0xc4, 16][..], &id(1).0].concat();
    // A kind of silence and a state that do not exist, an id of 15 bytes, numbers out of range or of another type.
    let tally = [&member[..], &[0x92, 0, 0, 0xc2, 0xc3, 0x94, 0, 0, 4, 1]].concat();
    assert!(read(&raw(&[&[16, 0x95][..], &tally].concat())).is_err());
    let line = [&[12, 0x92, 0, 0x91, 0x94][..], &member, &[0, 0, 4]].concat();
    assert!(read(&raw(&line)).is_err());
    let good = [&[12, 0x92, 0, 0x91, 0x94][..], &member, &[0, 0, 3]].concat();
    assert!(read(&raw(&good)).is_ok());
    assert!(read(&raw(&[&[13, 0x91, 0xc4, 15][..], &[0; 15]].concat())).is_err());
    assert!(read(&raw(&[4, 0xcf, 0, 0, 0, 1, 0, 0, 0, 0])).is_err());
    assert!(read(&raw(&[4, 0xff])).is_err());
    assert!(read(&raw(&[4, 0xcb, 0, 0, 0, 0, 0, 0, 0, 0])).is_err());

    // A signature that is too short or too long, a kind of silence and a round that do not exist, a vote that lacks its
    // signature or has more than that, and none: in a signed vote, and in a verdict.
    let body = [&[0x95][..], &member, &[0x92, 0, 0, 0xc2, 0xc3, 0x94, 0, 0, 3, 1]].concat();
    let verdict = [&[0x92, 0x93][..], &member, &[0x92, 0, 0], &member, &[0x90]].concat();
    let signed = |fields: u8, round: &[u8], silence: u8, signature: &[u8]| {
        [&[0x90 + fields][..], &member, &[0], round, &[silence], signature].concat()
    };
    let signature = |length: u8| [&[0xc4, length][..], &vec![8; length.into()]].concat();
    for (signed, is_read) in [
        (signed(5, &[9], 3, &signature(64)), true),
        (signed(5, &[9], 3, &signature(63)), false),
        (signed(5, &[9], 3, &signature(65)), false),
        (signed(5, &[9], 3, &signature(0)), false),
        (signed(5, &[9], 3, &[0xc0]), false),
        (signed(5, &[9], 4, &signature(64)), false),
        (signed(5, &[0xce, 0, 1, 0, 0], 3, &signature(64)), false),
        (signed(5, &[0xff], 3, &signature(64)), false),
        (signed(4, &[9], 3, &[]), false),
        (signed(6, &[9], 3, &[&signature(64)[..], &[0]].concat()), false),
        (vec![0xc0], false),
        (vec![0x90], false),
    ] {
        let vote = [&[39, 0x92][..], &body, &signed].concat();
        assert_eq!(read(&raw(&vote)).is_ok(), is_read, "vote {signed:x?}");
        let verdict = [&[38, 0x92][..], &verdict, &[0x91], &signed].concat();
        assert_eq!(read(&raw(&verdict)).is_ok(), is_read, "verdict {signed:x?}");
    }

    // A statement with a standing that does not exist, with a name that is none, and without its signature.
    let statement = |standing: u8, name: &[u8], signature: &[u8]| {
        let fields = [&[0xc4, 8][..], &[7; 8], &member, name, &[9, standing, 0xc0, 0xc4, 8]];
        [&[44, 0x98][..], &fields.concat(), &[5; 8], signature].concat()
    };
    for (statement, is_read) in [
        (statement(1, &[0xa1, b'n'], &signature(64)), true),
        (statement(2, &[0xa0], &signature(64)), true),
        (statement(0, &[0xa0], &signature(64)), false),
        (statement(3, &[0xa0], &signature(64)), false),
        (statement(1, &[0xa1, b' '], &signature(64)), false),
        (statement(1, &[0xa0], &signature(63)), false),
    ] {
        assert_eq!(read(&raw(&statement)).is_ok(), is_read, "{statement:x?}");
    }

    let left = Entry { state: MemberState::Left, record: record(5, version(0, 0)) };
    assert!(read(&Payload::of(&Part::Entry(left)).into_bytes()).is_err(), "it has not left");
}

#[test]
fn a_reason_for_refusal_is_made_fit_to_print() {
    let reason = format!("a\u{1b}[31m\nb{}", "x".repeat(1_000));
    let refusal = Part::JoinReply(Err(JoinRefusal::NotAdmitted(reason)));
    let decoded = read(&Payload::of(&refusal).into_bytes()).unwrap().parts;
    let [Part::JoinReply(Err(JoinRefusal::NotAdmitted(reason)))] = &decoded[..] else {
        panic!("{decoded:?}")
    };
    assert!(reason.starts_with("a[31mbx") && reason.chars().count() == 200);
    let mut unknown = vec![10, 0x92, 77];
    unknown.extend_from_slice(&[0xa0]);
    let decoded = read(&raw(&unknown)).unwrap().parts;
    assert_eq!(decoded, [Part::JoinReply(Err(JoinRefusal::NotUnderstood))]);
}

#[test]
fn a_payload_holds_no_more_than_it_may() {
    let part = Part::Nack { sequence: Sequence(1) };
    let mut payload = Payload::new();
    assert!(payload.is_empty());
    assert!(payload.push_within(&part, 3) && !payload.is_empty());
    assert!(!payload.push_within(&part, 4));
    assert_eq!(payload.into_bytes(), Payload::of(&part).into_bytes());
}

#[test]
fn rounds_and_numbers_wrap() {
    assert_eq!(Round(u16::MAX).next(), Round(0));
    let sent_as = |phi, silent_for| {
        let tally = Tally { phi, silent_for, silence: Silence::Gone, attempts: 0 };
        let Tally { phi, silent_for, .. } =
            rmp_serde::from_slice(&rmp_serde::to_vec(&tally).unwrap()).unwrap();
        (phi, silent_for)
    };
    let longest = Duration::from_millis(0xffff_ffff);
    assert_eq!(sent_as(f64::INFINITY, Duration::MAX), (655.35, longest));
    assert_eq!(sent_as(f64::NAN, Duration::ZERO), (0.0, Duration::ZERO));
    assert_eq!(sent_as(-1.0, Duration::ZERO), (0.0, Duration::ZERO));
}

#[test]
fn no_bytes_whatever_make_decoding_panic() {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let samples: Vec<_> = samples().iter().map(|part| Payload::of(part).into_bytes()).collect();
    for _ in 0..20_000 {
        let mut payload = samples[rng.random_range(0..samples.len())].clone();
        for _ in 0..rng.random_range(1..4) {
            let at = rng.random_range(0..payload.len());
            payload[at] = rng.random();
        }
        // A payload that was read can be written, and read again as the same.
        if let Ok(decoded) = read(&payload) {
            let mut again = Payload::new();
            decoded.parts.iter().for_each(|part| again.push(part));
            assert_eq!(read(&again.into_bytes()).unwrap().parts, decoded.parts);
        }
        let noise: Vec<u8> = (0..rng.random_range(0..60)).map(|_| rng.random()).collect();
        drop(read(&raw(&noise)));
    }
}
