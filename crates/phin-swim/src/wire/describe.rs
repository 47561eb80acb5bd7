//! Payloads in words, for traces and scenarios.

use super::{Answer, Claim, ClearBody, DataLine, Part, QueryReplies, SentBody, Verdict, decode};
use crate::{
    Keys, MemberId, Ticket, Version, expel::statement::AdminStatement,
    leadership::refusal::Refusal, publish::publication::Publication,
};

/// Tells each part of a payload in a few words, naming members by `name`. Meant for traces and tests: the words may
/// change from release to release.
pub fn describe(payload: &[u8], keys: &dyn Keys, name: &dyn Fn(MemberId) -> String) -> Vec<String> {
    match decode(payload, keys) {
        Ok(decoded) => decoded.parts.iter().map(|part| describe_part(part, name)).collect(),
        Err(error) => vec![format!("undecodable: {error}")],
    }
}

fn describe_part(part: &Part, name: &dyn Fn(MemberId) -> String) -> String {
    let claim = |word: &str, claim: &Claim| {
        format!("{word} {} {} by={}", name(claim.subject), version(claim.version), name(claim.by))
    };
    match part {
        Part::Ping(pulse) => format!("ping seq={}", pulse.sequence.0),
        Part::Ack(pulse) => format!("ack seq={}", pulse.sequence.0),
        Part::PingReq { sequence, target, nonce } => {
            let sequence =
                sequence.map_or_else(String::new, |sequence| format!(" seq={}", sequence.0));
            let proof = if nonce.is_some() { " with proof" } else { "" };
            format!("ping-req{sequence} target={}{proof}", name(*target))
        }
        Part::Nack { sequence } => format!("nack seq={}", sequence.0),
        Part::IndirectAck { sequence, .. } => format!("indirect-ack seq={}", sequence.0),
        Part::Challenge(_) => "challenge".to_owned(),
        Part::Proof(proof) => format!("proof {}", name(proof.subject)),
        Part::Entry(entry) => {
            let (id, known) = (entry.record.id(), version(entry.record.version()));
            format!("entry {} {known} {}", name(id), entry.state)
        }
        Part::Suspect(suspect) => claim("suspect", suspect),
        Part::Dead(verdict) => {
            let Verdict { votes, signed, .. } = verdict;
            let counted = format!("{} votes={}", claim("dead", &verdict.claim), votes.len());
            match signed.len() {
                0 => counted,
                signed => format!("{counted} signed={signed}"),
            }
        }
        Part::Certified { claim: certified, .. } => claim("certified", certified),
        Part::VerdictWant { subject, version: of } => {
            format!("verdict-want {} {}", name(*subject), version(*of))
        }
        Part::Forget(forgotten) => claim("forget", forgotten),
        Part::Vote(vote) | Part::SignedVote(vote, _) => format!(
            "{} {} {} phi={:.1} silent_for={:?} {}",
            match (part, vote.is_accusation) {
                (Part::SignedVote(..), _) => "signed-vote",
                (_, true) => "accuse",
                (_, false) => "vote",
            },
            name(vote.subject),
            version(vote.version),
            vote.tally.phi,
            vote.tally.silent_for,
            vote.tally.silence.as_str(),
        ),
        Part::Clear(ClearBody { subject, version: of, age, heard_by }) => {
            let by = heard_by.map_or_else(String::new, |by| format!(" heard_by={}", name(by)));
            format!("clear {} {} age={age:?}{by}", name(*subject), version(*of))
        }
        Part::Abstain { subject, version: of } => {
            format!("abstain {} {}", name(*subject), version(*of))
        }
        Part::Failing { subject, version: of, links } => {
            let links: Vec<_> = links.iter().map(|link| name(link.observer)).collect();
            format!("failing {} {} links={}", name(*subject), version(*of), links.join(","))
        }
        Part::Flawed { subject, version: of, flaws } => {
            let flaws = if flaws.is_empty() { "none".to_owned() } else { flaws.to_string() };
            format!("flawed {} {} {flaws}", name(*subject), version(*of))
        }
        Part::Join => "join".to_owned(),
        Part::JoinReply(Ok(())) => "join-reply admitted".to_owned(),
        Part::JoinReply(Err(refusal)) => format!("join-reply refused: {refusal}"),
        Part::Compare(_) => "compare".to_owned(),
        Part::Summary { buckets, lines } => {
            format!("summary buckets={} lines={}", buckets.count_ones(), lines.len())
        }
        Part::Want(ids) => {
            format!("want {}", ids.iter().map(|&id| name(id)).collect::<Vec<_>>().join(","))
        }
        Part::DataFingerprint(fingerprint) => format!("data-fingerprint {fingerprint}"),
        Part::DataNews(lines) => format!("data-news {}", data_lines(lines, name)),
        Part::DataWant(lines) => format!("data-want after {}", data_lines(lines, name)),
        Part::DataDelta(delta) => {
            let line = DataLine { owner: delta.owner, head: delta.head };
            let (line, base) = (data_lines(&[line], name), delta.base.0);
            format!("data {line} after {base} changes={}", delta.changes.len())
        }
        Part::DataCompare(_) => "data-compare".to_owned(),
        Part::DataSummary { buckets, lines } => {
            format!("data-summary buckets={} lines={}", buckets.count_ones(), lines.len())
        }
        Part::Publication { is_push, hops, publication } => {
            let Publication { publisher, sequence, content, query, .. } = &**publication;
            let word = if *is_push { "publication" } else { "publication-answer" };
            let query =
                query.as_ref().map_or(String::new(), |query| format!(" query={}", query.id));
            let (publisher, topic) = (name(*publisher), &content.topic);
            format!("{word} {publisher} {sequence} hops={hops} topic={topic}{query}")
        }
        Part::PublicationNews(lines) => {
            let lines =
                lines.iter().map(|line| format!("{} {}", name(line.publisher), line.sequence));
            format!("publication-news {}", lines.collect::<Vec<_>>().join(","))
        }
        Part::PublicationWant(ranges) => {
            let ranges = ranges.iter().map(|range| {
                let graft = if range.is_graft { " graft" } else { "" };
                format!("{} {}-{}{graft}", name(range.publisher), range.first, range.last)
            });
            format!("publication-want {}", ranges.collect::<Vec<_>>().join(","))
        }
        Part::PublicationPrune(publisher) => format!("publication-prune {}", name(*publisher)),
        Part::Send(SentBody { ticket, to, topic, body, .. }) => {
            let (number, bytes) = (ticket.map_or_else(String::new, number), body.len());
            format!("send{number} to r{} topic={topic} bytes={bytes}", to.0)
        }
        Part::SendAck { ticket, answer } => {
            let answer = match answer {
                Answer::Taken => "taken",
                Answer::QueueFull => "queue-full",
                Answer::NoReceiver => "no-receiver",
                Answer::Restarted => "restarted",
                Answer::Unknown => "unknown",
            };
            format!("send-ack{} {answer}", number(*ticket))
        }
        Part::QueryAsk(ask) => format!("query-ask {} topic={}", ask.id, ask.topic),
        Part::QueryReplies(replies) => query_replies(replies, name),
        Part::LeadAsk(ask) => format!("lead-ask {} {}", ask.office, ask.term),
        Part::LeadAnswer(answer) => {
            let refused = |refusal: Refusal| format!("refused: {:?}", refusal.why);
            let result = answer.result.map_or_else(refused, |()| "granted".to_owned());
            format!("lead-answer {} {} {result}", answer.office, answer.term)
        }
        Part::LeadRelease(release) => format!("lead-release {} {}", release.office, release.term),
        Part::Expulsion(statement) => {
            let AdminStatement { subject, standing, at, .. } = &**statement;
            format!("{standing} {} at={at}", name(*subject))
        }
        Part::ExpulsionsFingerprint(fingerprint) => format!("expulsions-fingerprint {fingerprint}"),
        Part::ExpulsionsWant(known) => format!("expulsions-want beside={}", known.len()),
        Part::SizeProbe { sequence, is_lost, padding } => {
            let lost = if *is_lost { " lost" } else { "" };
            format!("size-probe seq={} padding={padding}{lost}", sequence.0)
        }
        Part::SizeProbeAck { sequence, padding } => {
            format!("size-ack seq={} padding={padding}", sequence.0)
        }
        Part::Leave { sequence } => format!("leave seq={}", sequence.0),
        Part::LeaveAck { sequence } => format!("leave-ack seq={}", sequence.0),
    }
}

fn query_replies(replies: &QueryReplies, name: &dyn Fn(MemberId) -> String) -> String {
    let QueryReplies { key, replies } = replies;
    let from: Vec<_> = replies.iter().map(|reply| name(reply.from)).collect();
    format!("query-replies {} {} from {}", name(key.caller), key.id, from.join(","))
}

fn data_lines(lines: &[DataLine], name: &dyn Fn(MemberId) -> String) -> String {
    let words = lines.iter().map(|DataLine { owner, head }| {
        format!("{} r{}.{}", name(*owner), head.generation.0, head.revision.0)
    });
    words.collect::<Vec<_>>().join(",")
}

/// The number of a message among all of a run.
fn number(ticket: Ticket) -> String {
    format!(" #{}", ticket.0 & u64::from(u32::MAX))
}

fn version(version: Version) -> String {
    format!("v{}.{}", version.generation.0, version.incarnation.0)
}
