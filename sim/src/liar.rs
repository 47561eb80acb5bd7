//! A member that holds the cluster key and lies.
//!
//! A [`Liar`] wraps a member's process. The member continues to be pinged and to answer. In addition, the liar sends
//! messages of its own, in the wire format of `docs/reference/protocol.md`. It sends only under its own identity, because
//! connections are authenticated, and cannot sign records of other existing members. It repeats records that they signed,
//! and signs records of members that it makes up.

use std::{collections::BTreeMap, io::Cursor, net::SocketAddr};

use phin_swim::{
    AdminKeyId, AdminStatement, Fingerprint, Generation, Incarnation, Keys, MemberId, Standing,
    Version,
};
use serde::{Deserialize, Serialize, Serializer, de::IgnoredAny};

use crate::{
    keys::SimKeys,
    lie::{Lie, Lies},
    node::{
        Action, Belief, Channel, DataLine, HostId, Input, Instant, Line, NodeId, Peer, Process,
        Usage, millis,
    },
    trace::mix,
};

/// The process of a member that lies.
pub(crate) struct Liar {
    member: Box<dyn Process>,
    keys: SimKeys,
    rings: u8,
    lies: Lies,
    next_at: Instant,
    until: Instant,
    turn: u32,
    /// The last pulse received from each member.
    pulses: BTreeMap<NodeId, Pulse>,
    /// The first changes of the data of each member that were received.
    changes: BTreeMap<NodeId, Vec<Vec<u8>>>,
    /// The first messages of each member that were received.
    messages: BTreeMap<NodeId, Vec<Vec<u8>>>,
    /// The last request for an office of each member.
    asks: BTreeMap<NodeId, OfficeAsk>,
}

/// The member that a lie is about, and its observers according to the liar's list.
struct Subject {
    line: Line,
    observers: Vec<MemberId>,
}

/// A request for an office: its name, the term, and the sequence.
type OfficeAsk = (String, u64, u32);
/// The contents of pings and acks: sequence, generation, round, its age, fingerprint, stall.
type Pulse = (u32, Generation, u16, u32, Fingerprint, u16);
/// Phi in hundredths, milliseconds of silence, the kind of silence, unanswered pings.
type Tally = (u16, u32, u8, u8);
/// The voter, its generation, the round, the kind of silence, the signature.
type SignedVote = (MemberId, Generation, u16, u8, Signature);

impl Liar {
    /// Makes a process lie from now on, in a cluster with this number of rings.
    pub(crate) fn new(
        member: Box<dyn Process>,
        keys: SimKeys,
        rings: u8,
        lies: Lies,
        now: Instant,
    ) -> Self {
        let until = now + lies.lasts;
        Self {
            member,
            keys,
            rings,
            lies,
            next_at: now,
            until,
            turn: 0,
            pulses: BTreeMap::new(),
            changes: BTreeMap::new(),
            messages: BTreeMap::new(),
            asks: BTreeMap::new(),
        }
    }

    fn id(&self, node: NodeId) -> MemberId {
        SimKeys { node, ..self.keys }.id()
    }

    /// Learns changes of data, sequences and rounds. If asked to ping a member, it claims at once that it answered.
    fn hear(&mut self, from: Peer, payload: &[u8], actions: &mut Vec<Action>) {
        for part in split(payload) {
            let (all, id) = match part.first() {
                // The kind, an array of six, and the owner as 16 bytes.
                Some(&kind::DATA_DELTA) => (&mut self.changes, part.get(4..20)),
                // The kind, an array of five, how it comes, an array of four, and the publisher.
                Some(&kind::PUBLICATION) => (&mut self.messages, part.get(7..23)),
                Some(&kind::LEAD_ASK) => {
                    self.hear_ask(from, part, actions);
                    continue;
                }
                _ => continue,
            };
            let owner = id.and_then(|id| Some(MemberId(id.try_into().ok()?)));
            let owner = owner.and_then(|id| self.keys.node_of(id));
            let known = owner.map(|owner| all.entry(owner).or_default());
            if let Some(known) = known.filter(|known| known.len() < MAX_CHANGES) {
                known.push(part.to_vec());
            }
        }
        let mut input = rmp_serde::Deserializer::new(payload.get(1..).unwrap_or_default());
        match u8::deserialize(&mut input) {
            Ok(kind::PING | kind::ACK) => {
                if let Ok(pulse) = Pulse::deserialize(&mut input) {
                    self.pulses.insert(from.node, pulse);
                }
            }
            Ok(kind::PING_REQ) if self.lies.lie.tells(Lie::Ack) => {
                let asked = <(u32, MemberId)>::deserialize(&mut input).ok();
                let target =
                    asked.and_then(|(sequence, id)| Some((sequence, self.keys.node_of(id)?)));
                if let Some((sequence, target)) = target
                    && let Some(known) = self.member.lines().iter().find(|line| line.node == target)
                {
                    let ack = part(kind::INDIRECT_ACK, (sequence, known.version.generation));
                    actions.push(send(from, vec![ack]));
                }
            }
            Ok(kind::PROVING_PING_REQ)
                if self.lies.lie.tells(Lie::Ack) || self.lies.lie.tells(Lie::Clear) =>
            {
                let asked = <(Option<u32>, MemberId, MemberId)>::deserialize(&mut input).ok();
                let proof = asked.and_then(|(_, id, nonce)| self.forged_proof((id, nonce)));
                actions.extend(proof.map(|proof| send(from, vec![proof])));
            }
            _ => {}
        }
    }

    /// The proof of life that the liar is asked for, signed with its own key.
    fn forged_proof(&self, (subject, nonce): (MemberId, MemberId)) -> Option<Vec<u8>> {
        let lines = self.member.lines();
        let known = lines.iter().find(|line| self.id(line.node) == subject)?;
        let signature = self.keys.sign(&nonce.0);
        let body = (subject, known.version.generation, nonce, Bin(&signature.0));
        Some(part(kind::PROOF, body))
    }

    /// Answers a candidate at once, if that is the lie.
    fn hear_ask(&mut self, from: Peer, part: &[u8], actions: &mut Vec<Action>) {
        let mut input = rmp_serde::Deserializer::new(&part[1..]);
        let asked = <(String, u64, Generation, u32, u32, IgnoredAny)>::deserialize(&mut input);
        if let Ok((office, term, _, sequence, ..)) = asked {
            self.asks.insert(from.node, (office, term, sequence));
            actions.extend(self.lead_answer(from.node).map(|part| send(from, vec![part])));
        }
    }

    /// A false answer to the last request of a member for an office.
    fn lead_answer(&self, to: NodeId) -> Option<Vec<u8>> {
        let (office, term, sequence) = self.asks.get(&to)?;
        let (answer, promised, wait) = match self.lies.lie {
            Lie::OfficeVote => (GRANTED, *term, 0),
            Lie::OfficeRefuse => (HELD, term.saturating_sub(1), u32::MAX),
            Lie::OfficeToken => (TERM_TOO_LOW, u64::MAX, 0),
            _ => return None,
        };
        Some(part(kind::LEAD_ANSWER, (office, term, sequence, answer, promised, wait)))
    }

    /// Data of the liar, all of them new, that announce it as the holder of an office.
    fn claim(&self, lines: &[Line]) -> Vec<u8> {
        let last = self.asks.values().max_by_key(|(_, term, _)| *term);
        let (office, term) = last.map_or(("a", 0), |(office, term, _)| (office, *term));
        let term = if self.turn.is_multiple_of(2) { term + 1 } else { u64::MAX };
        let (key, value) = (format!("phin/leader/{office}"), term.to_string());
        let me = lines.iter().find(|line| line.node == self.keys.node);
        let generation = me.map_or(Generation(1), |me| me.version.generation);
        // Later than all that its own process publishes.
        let revision = (1_u64 << 40) + u64::from(self.turn);
        let entries = [(&*key, revision, Bin(value.as_bytes()))];
        let mut message = b"phin data 1\0".to_vec();
        write(&mut message, (self.keys.id(), (generation, revision), entries.as_slice()));
        let signature = self.keys.sign(&message);
        let body =
            (self.keys.id(), generation, 0_u64, revision, entries.as_slice(), Bin(&signature.0));
        part(kind::DATA_DELTA, body)
    }

    /// Removes parts about the subjects of the lies from the messages of the liar's own process, or lists them as dead.
    fn censor(&self, action: Action) -> Option<Action> {
        let Action::Send { to, channel, payload } = action else {
            return Some(action);
        };
        let ids: Vec<_> = self.lies.about.iter().map(|&node| self.id(node).0).collect();
        let is_named = |part: &[u8]| part.windows(16).any(|bytes| ids.iter().any(|id| bytes == id));
        let lie = self.lies.lie;
        let is_hidden = |part: &[u8]| match part.first() {
            _ if lie.hides() => is_named(part),
            Some(&kind::PUBLICATION) => lie.withholds(),
            Some(&kind::LEAD_ANSWER) => lie.votes(),
            _ => false,
        };
        let mut kept = vec![phin_swim::WIRE_VERSION];
        for part in split(&payload) {
            if is_hidden(part) {
                continue;
            }
            let begins_at = kept.len();
            kept.extend_from_slice(part);
            // The kind, an array of three, and the state.
            if lie.rewrites() && part.first() == Some(&kind::ENTRY) && is_named(part) {
                kept[begins_at + 2] = DEAD;
            }
        }
        (kept.len() > 1).then_some(Action::Send { to, channel, payload: kept })
    }

    /// Sends the lie of this turn to all members.
    fn tell(&mut self, actions: &mut Vec<Action>) {
        let lines = self.member.lines();
        let about = &self.lies.about;
        let subject = about.get(self.turn as usize % about.len().max(1)).copied();
        let subject = lines.iter().find(|line| Some(line.node) == subject).copied();
        let subject = subject.map(|line| Subject {
            line,
            observers: observers(self.keys, self.rings, &lines, line.node),
        });
        if subject.is_none() && self.lies.lie.has_subject() {
            return;
        }
        for line in &lines {
            let is_told = line.node != self.keys.node && line.belief.is_live();
            let is_subject = subject.as_ref().is_some_and(|subject| subject.line.node == line.node);
            if !is_told || (is_subject && !self.lies.lie.is_told_to_subject()) {
                continue;
            }
            if let Some(host) = self.member.address(line.node) {
                let parts = self.parts(&lines, line.node, subject.as_ref());
                let to = Peer { node: line.node, host };
                // Receivers decode no more; single lies stay below that.
                let most = match self.lies.lie.parts() {
                    [] => parts.len().max(1),
                    _ => MAX_ASKING_PARTS as usize,
                };
                actions.extend(parts.chunks(most).map(|parts| send(to, parts.to_vec())));
            }
        }
    }

    /// The parts for one member in this turn.
    fn parts(&self, lines: &[Line], to: NodeId, subject: Option<&Subject>) -> Vec<Vec<u8>> {
        let turn = self.turn;
        match (self.lies.lie, subject) {
            (Lie::Members, _) => self.made_up_members(),
            (Lie::Stall, _) => {
                vec![part(kind::PING, self.pulse(lines, to, |pulse| pulse.5 = u16::MAX))]
            }
            (Lie::Round, _) => {
                // Always the turn of the same ring, so the others are never used.
                let step = 2 * u16::from(self.rings);
                let round = step.wrapping_mul(turn as u16);
                vec![part(
                    kind::PING,
                    self.pulse(lines, to, |pulse| (pulse.2, pulse.3) = (round, 0)),
                )]
            }
            (Lie::Fingerprint, _) => {
                let wrong = Fingerprint(mix(u64::from(turn)));
                vec![part(kind::PING, self.pulse(lines, to, |pulse| pulse.4 = wrong))]
            }
            (Lie::Ask, _) => vec![match turn % 4 {
                0 => part(kind::JOIN, ()),
                1 => part(kind::COMPARE, (0..64).map(mix).collect::<Vec<_>>()),
                2 => part(kind::SUMMARY, (u64::MAX, Vec::<u8>::new())),
                _ => {
                    let ids = lines.iter().map(|line| self.id(line.node));
                    part(kind::WANT, ids.collect::<Vec<_>>())
                }
            }],
            (Lie::Answer, _) => {
                let near = self.sequences_near(to);
                let acks = near.iter().take(6).map(|&sequence| {
                    part(kind::ACK, self.pulse(lines, to, |pulse| pulse.0 = sequence))
                });
                let leave_acks =
                    near.iter().take(6).map(|sequence| part(kind::LEAVE_ACK, sequence));
                let replies = [(0, ""), (1, ""), (4, "no"), (5, "")];
                let replies = replies.map(|reply: (u8, &str)| part(kind::JOIN_REPLY, reply));
                acks.chain(leave_acks).chain(replies).collect()
            }
            (Lie::DataFingerprint, _) => {
                vec![part(kind::DATA_FINGERPRINT, Fingerprint(mix(u64::from(turn))))]
            }
            (Lie::DataAsk, _) => {
                let line = |line: &Line| (self.id(line.node), line.version.generation, 0_u64);
                vec![match turn % 3 {
                    0 => part(kind::DATA_WANT, lines.iter().map(line).collect::<Vec<_>>()),
                    1 => part(kind::DATA_COMPARE, (0..64).map(mix).collect::<Vec<_>>()),
                    _ => {
                        let lines = lines.iter().map(line).map(|line| (line.0, line.1, u64::MAX));
                        part(kind::DATA_SUMMARY, (u64::MAX, lines.collect::<Vec<_>>()))
                    }
                }]
            }
            (Lie::MessageAsk, _) => {
                let range = |line: &Line| {
                    (self.id(line.node), line.version.generation, 1_u64, u64::MAX, true)
                };
                vec![part(kind::PUBLICATION_WANT, lines.iter().map(range).collect::<Vec<_>>())]
            }
            (Lie::MessagePrune, _) => {
                lines.iter().map(|line| part(kind::PUBLICATION_PRUNE, self.id(line.node))).collect()
            }
            (Lie::OfficeClaim, _) => vec![self.claim(lines)],
            (Lie::OfficeVote | Lie::OfficeRefuse | Lie::OfficeToken, _) => {
                self.lead_answer(to).into_iter().collect()
            }
            (lie, Some(subject)) => self.parts_about(lie, lines, to, subject),
            (_, None) => Vec::new(),
        }
    }

    /// The parts for one member about another.
    fn parts_about(&self, lie: Lie, lines: &[Line], to: NodeId, about: &Subject) -> Vec<Vec<u8>> {
        if !lie.parts().is_empty() {
            let parts = lie.parts().iter();
            return parts.flat_map(|&lie| self.parts_about(lie, lines, to, about)).collect();
        }
        let Subject { line: subject, observers } = about;
        let (turn, id) = (self.turn, self.id(subject.node));
        let by = observers.get(turn as usize % observers.len().max(1)).copied();
        let by = by.unwrap_or(self.keys.id());
        let mut version = subject.version;
        if matches!(lie, Lie::Verdict | Lie::SignedVerdict | Lie::Suspect) && turn % 8 == 7 {
            version.incarnation.0 += 1;
        }
        let tally = self.tally();
        vec![match lie {
            Lie::Verdict => {
                let voters = observers.iter().filter(|_| turn % 13 != 12);
                let votes: Vec<(MemberId, Tally)> = voters.map(|&voter| (voter, tally)).collect();
                part(kind::DEAD, ((id, version, by), votes))
            }
            Lie::SignedVerdict => {
                let liars = self.lies.liars.iter().map(|&node| self.id(node));
                let voters: Vec<_> = liars.chain(observers.iter().copied()).collect();
                let votes: Vec<_> = voters.iter().take(MAX_VOTES).map(|&id| (id, tally)).collect();
                let signed: Vec<_> = votes
                    .iter()
                    .map(|&(voter, _)| self.signed(lines, to, (id, version), (voter, tally.2)))
                    .collect();
                part(kind::SIGNED_DEAD, (((id, version, by), votes), signed))
            }
            Lie::SignedVote => {
                let signed = self.signed(lines, to, (id, version), (self.keys.id(), tally.2));
                part(kind::SIGNED_VOTE, ((id, version, turn % 2 == 0, true, tally), signed))
            }
            Lie::Suspect => part(kind::SUSPECT, (id, version, by)),
            Lie::Vote => part(kind::VOTE, (id, version, turn % 2 == 0, true, tally)),
            Lie::List if turn % 2 == 0 => {
                let host = self.member.address(subject.node).unwrap_or(NOWHERE);
                let name = subject.node.to_string();
                let record = (subject.node, version, name.as_str(), host);
                self.record(DEAD, record)
            }
            Lie::List => {
                let line = (id, version.generation, version.incarnation, DEAD);
                part(kind::SUMMARY, (1_u64 << (id.0[0] >> 2), vec![line]))
            }
            Lie::Clear => part(kind::CLEAR, (id, version, 0_u32)),
            Lie::Abstain => part(kind::ABSTAIN, (id, version)),
            Lie::Forget => {
                let highest = Version {
                    generation: Generation(u32::MAX),
                    incarnation: Incarnation(u32::MAX),
                };
                let version = if turn % 2 == 0 { highest } else { version };
                part(kind::FORGET, (id, version, self.keys.id()))
            }
            Lie::Expulsion => {
                let at = u64::MAX - u64::from(turn);
                let keys = self.keys;
                let forged = AdminStatement::new(keys.cluster_tag(), id, Standing::Expelled, at);
                let mut forged = forged.sign(&keys);
                forged.key = AdminKeyId::of(&keys, &keys.admin().public_key());
                [&[kind::EXPULSION][..], &forged.to_bytes()].concat()
            }
            Lie::Failing => {
                let age = if turn.is_multiple_of(2) { 600_000_u32 } else { 0 };
                let links = observers.iter().map(|&observer| (observer, age, u8::MAX));
                let failing = part(kind::FAILING, (id, version, links.collect::<Vec<_>>()));
                return vec![failing, part(kind::FLAWED, (id, version, u8::MAX))];
            }
            Lie::PingReq => {
                let request = |sequence: u32| part(kind::PING_REQ, (sequence, id));
                return (0..MAX_ASKING_PARTS)
                    .map(|i| request(turn * MAX_ASKING_PARTS + i))
                    .collect();
            }
            Lie::Ack => {
                let sequences = self.sequences_near(to).into_iter();
                let ack = |sequence: u32| match turn % 4 {
                    3 => part(kind::NACK, sequence),
                    _ => part(kind::INDIRECT_ACK, (sequence, version.generation)),
                };
                return sequences.map(ack).collect();
            }
            Lie::DataForged => {
                let revision = self.member.data_of(subject.node).map_or(0, |data| data.revision);
                let (base, next) =
                    if turn % 2 == 0 { (0, u64::MAX) } else { (revision, revision + 1) };
                let change = ("k0", next, Bin(b"forged"));
                let signature = [turn as u8; 64];
                let body = (id, version.generation, base, next, [change], Bin(&signature));
                part(kind::DATA_DELTA, body)
            }
            Lie::DataReplayed | Lie::DataHalf => {
                let known = self.changes.get(&subject.node).filter(|known| !known.is_empty());
                let known = known.map(|known| &known[turn as usize % known.len()]);
                let part = match lie {
                    Lie::DataHalf => known.and_then(|part| without_last_change(part)),
                    _ => known.cloned(),
                };
                return part.into_iter().collect();
            }
            Lie::DataNews => part(kind::DATA_NEWS, [(id, version.generation, u64::MAX)]),
            Lie::MessageForged => {
                let sequence = if turn % 2 == 0 { u64::from(turn) + 1 } else { u64::MAX };
                let numbers = (id, version.generation, sequence, 0_u16);
                let content = ("t0", "", None::<&str>, Bin(b"forged"));
                let signature = [turn as u8; 64];
                part(kind::PUBLICATION, (true, 0_u8, numbers, content, None::<()>, Bin(&signature)))
            }
            Lie::MessageReplayed => {
                let known = self.messages.get(&subject.node).filter(|known| !known.is_empty());
                let known = known.map(|known| known[turn as usize % known.len()].clone());
                return known.into_iter().collect();
            }
            Lie::MessageNews => {
                let sequence = if turn % 2 == 0 { u64::from(turn) + 1 } else { u64::MAX };
                part(kind::PUBLICATION_NEWS, [(id, version.generation, sequence)])
            }
            Lie::Members
            | Lie::Stall
            | Lie::Round
            | Lie::Fingerprint
            | Lie::Ask
            | Lie::Answer
            | Lie::DataFingerprint
            | Lie::DataAsk
            | Lie::MessageAsk
            | Lie::MessagePrune
            | Lie::MessageWithheld
            | Lie::OfficeClaim
            | Lie::OfficeVote
            | Lie::OfficeRefuse
            | Lie::OfficeToken
            | Lie::Accusations
            | Lie::SignsOfLife
            | Lie::Welcome => return Vec::new(),
        }]
    }

    /// A signed vote. Liars have the keys of each other, and of nobody else.
    fn signed(
        &self,
        lines: &[Line],
        to: NodeId,
        (subject, version): (MemberId, Version),
        (voter, silence): (MemberId, u8),
    ) -> SignedVote {
        let node = self.keys.node_of(voter).filter(|node| self.lies.liars.contains(node));
        let keys = node.map(|node| SimKeys { node, ..self.keys });
        let line = lines.iter().find(|line| self.id(line.node) == voter);
        let generation = line.map_or(Generation(1), |line| line.version.generation);
        let round = self.pulses.get(&to).map_or(0, |pulse| pulse.2);
        let statement = [
            b"phin vote 1\0".as_slice(),
            &[0; 8],
            &subject.0,
            &version.generation.0.to_be_bytes(),
            &version.incarnation.0.to_be_bytes(),
            &voter.0,
            &generation.0.to_be_bytes(),
            &round.to_be_bytes(),
            &[silence],
        ]
        .concat();
        let signature = keys.map_or([self.turn as u8; 64], |keys| keys.sign(&statement).0);
        (voter, generation, round, silence, Signature(signature))
    }

    /// Every second time the most credible silence: refused just now, since the member was last heard. Otherwise
    /// silences of every kind and length in turn.
    const fn tally(&self) -> Tally {
        let silences = [GONE, SILENT, HUNG];
        let millis = [20, 1_500, 12_000, 60_000];
        let turn = self.turn as usize;
        match turn % 2 {
            0 => (5_000, 20, GONE, 9),
            _ => (5_000, millis[turn / 6 % 4], silences[turn / 2 % 3], 9),
        }
    }

    /// Sequences that a member may have used lately, by its messages to us, and some in order from the first.
    fn sequences_near(&self, of: NodeId) -> Vec<u32> {
        let last = self.pulses.get(&of).map_or(0, |pulse| pulse.0);
        let near = (0..MAX_ASKING_PARTS - SWEPT).map(|i| last.wrapping_add(i).wrapping_sub(3));
        let swept = (0..SWEPT).map(|i| self.turn.wrapping_mul(SWEPT).wrapping_add(i));
        near.chain(swept).collect()
    }

    /// A correct pulse with one change.
    fn pulse(&self, lines: &[Line], to: NodeId, change: impl FnOnce(&mut Pulse)) -> Pulse {
        let me = lines.iter().find(|line| line.node == self.keys.node);
        let generation = me.map_or(Generation(1), |me| me.version.generation);
        let round = self.pulses.get(&to).map_or((0, 0), |pulse| (pulse.2, pulse.3));
        let fingerprint = Fingerprint(self.member.fingerprint());
        let mut pulse = (!self.turn, generation, round.0, round.1, fingerprint, 0);
        change(&mut pulse);
        pulse
    }

    /// Some of the made-up members in turn, each time in a later version.
    fn made_up_members(&self) -> Vec<Vec<u8>> {
        let first = self.turn * RECORDS_AT_ONCE;
        let count = self.lies.count.max(1);
        let numbers = first..first + RECORDS_AT_ONCE.min(count);
        let record = |number: u32| {
            let version =
                Version { generation: Generation(1), incarnation: Incarnation(number / count) };
            let node = NodeId(MADE_UP + number % count);
            let about = &self.lies.about;
            let like = about.get(number as usize % about.len().max(1));
            let host = like.and_then(|&like| self.member.address(like)).unwrap_or(NOWHERE);
            let name = like.unwrap_or(&node).to_string();
            self.record(ALIVE, (node, version, name.as_str(), host))
        };
        numbers.map(record).collect()
    }

    /// A record with this state. The signature is valid: it is made again here, because every member can repeat the
    /// record of another.
    fn record(&self, state: u8, record: (NodeId, Version, &str, HostId)) -> Vec<u8> {
        let (node, version, name, host) = record;
        let keys = SimKeys { node, ..self.keys };
        let addr = match host.addr() {
            SocketAddr::V4(addr) => [&addr.ip().octets()[..], &addr.port().to_be_bytes()].concat(),
            SocketAddr::V6(addr) => [&addr.ip().octets()[..], &addr.port().to_be_bytes()].concat(),
        };
        let mut body = Vec::new();
        write(&mut body, Bin(&keys.public_key().0));
        write(&mut body, version.generation);
        write(&mut body, version.incarnation);
        write(&mut body, false);
        write(&mut body, name);
        write(&mut body, [Bin(&addr)]);
        let signature = keys.sign(&[b"phin record 1\0".as_slice(), &body].concat());
        part(kind::ENTRY, (state, Bin(&body), Bin(&signature.0)))
    }
}

impl Process for Liar {
    fn handle(&mut self, now: Instant, input: Input<'_>, actions: &mut Vec<Action>) {
        if let Input::Message { from, payload, .. } = input
            && now < self.until
        {
            self.hear(from, payload, actions);
        }
        let mut own = Vec::new();
        self.member.handle(now, input, &mut own);
        let lie = self.lies.lie;
        let is_censor = lie.hides() || lie.withholds() || lie.votes() || lie.rewrites();
        let is_hiding = is_censor && now < self.until;
        let censored = |action| if is_hiding { self.censor(action) } else { Some(action) };
        actions.extend(own.into_iter().filter_map(censored));
        if now >= self.next_at && now < self.until {
            self.tell(actions);
            self.turn = self.turn.wrapping_add(1);
            self.next_at = now + self.lies.every.max(millis(1));
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let lie_at = Some(self.next_at).filter(|&at| at < self.until);
        self.member.next_deadline().into_iter().chain(lie_at).min()
    }

    fn fingerprint(&self) -> u64 {
        self.member.fingerprint()
    }

    fn belief(&self, node: NodeId) -> Option<Belief> {
        self.member.belief(node)
    }

    fn address(&self, node: NodeId) -> Option<HostId> {
        self.member.address(node)
    }

    fn live_len(&self) -> usize {
        self.member.live_len()
    }

    fn lines(&self) -> Vec<Line> {
        self.member.lines()
    }

    fn data_of(&self, owner: NodeId) -> Option<DataLine> {
        self.member.data_of(owner)
    }

    fn usage(&self, now: Instant) -> Usage {
        self.member.usage(now)
    }
}

/// The observers of a member according to a list.
fn observers(keys: SimKeys, rings: u8, lines: &[Line], subject: NodeId) -> Vec<MemberId> {
    let live = lines.iter().filter(|line| line.belief.is_live());
    observers_among(keys, rings, live.map(|line| line.node), subject)
}

/// The observers of a member among these: its predecessors in each ring (`docs/reference/protocol.md`).
pub(crate) fn observers_among(
    keys: SimKeys,
    rings: u8,
    live: impl Iterator<Item = NodeId>,
    subject: NodeId,
) -> Vec<MemberId> {
    let id = |node| SimKeys { node, ..keys }.id();
    let ids: Vec<_> = live.filter(|&node| node != subject).map(id).collect();
    if ids.len() <= usize::from(rings) {
        return ids;
    }
    let mut observers: Vec<MemberId> = Vec::new();
    for ring in 0..u32::from(rings) {
        let rotation = ring * 128 / u32::from(rings);
        let place = |id: MemberId| u128::from_be_bytes(id.0).rotate_left(rotation);
        let own = place(id(subject));
        let before = ids.iter().copied().min_by_key(|&id| own.wrapping_sub(place(id)));
        observers.extend(before.filter(|id| !observers.contains(id)));
    }
    observers
}

fn send(to: Peer, parts: Vec<Vec<u8>>) -> Action {
    let payload = [vec![phin_swim::WIRE_VERSION], parts.concat()].concat();
    Action::Send { to, channel: Channel::Datagram, payload }
}

/// The parts of a payload, each with its kind.
pub(crate) fn split(payload: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    let mut rest = payload.get(1..).unwrap_or_default();
    while !rest.is_empty() {
        let mut input = rmp_serde::Deserializer::new(Cursor::new(rest));
        let skipped = u8::deserialize(&mut input).and_then(|_| IgnoredAny::deserialize(&mut input));
        let (part, after) = rest.split_at(input.position() as usize);
        if skipped.is_err() {
            return parts;
        }
        parts.push(part);
        rest = after;
    }
    parts
}

/// A change of data without the last of its keys, if it has several.
fn without_last_change(part: &[u8]) -> Option<Vec<u8>> {
    // The kind, an array of six, its first four fields, and an array of changes.
    let skip = |from: usize| {
        let mut input = rmp_serde::Deserializer::new(Cursor::new(part.get(from..)?));
        IgnoredAny::deserialize(&mut input).ok()?;
        Some(from + input.position() as usize)
    };
    let mut at = 2;
    for _ in 0..4 {
        at = skip(at)?;
    }
    let count = part.get(at)?.checked_sub(FIX_ARRAY).filter(|count| (2..16).contains(count))?;
    let mut last = at + 1;
    for _ in 1..count {
        last = skip(last)?;
    }
    let signature = skip(last)?;
    let kept = [&part[..at], &[FIX_ARRAY + count - 1], &part[at + 1..last], &part[signature..]];
    Some(kept.concat())
}

/// An encoded part: its kind, then its body.
fn part(kind: u8, body: impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes, kind);
    write(&mut bytes, body);
    bytes
}

fn write(bytes: &mut Vec<u8>, value: impl Serialize) {
    let written = value.serialize(&mut rmp_serde::Serializer::new(bytes));
    written.expect("writing to a vector cannot fail");
}

/// 64 bytes.
struct Signature([u8; 64]);

impl Serialize for Signature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

/// Bytes as one MessagePack `bin`.
struct Bin<'a>(&'a [u8]);

impl Serialize for Bin<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

/// The kinds of parts, as `docs/reference/protocol.md` numbers them.
mod kind {
    pub(super) const PING: u8 = 1;
    pub(super) const ACK: u8 = 2;
    pub(super) const PING_REQ: u8 = 3;
    pub(super) const NACK: u8 = 4;
    pub(super) const INDIRECT_ACK: u8 = 5;
    pub(super) const ENTRY: u8 = 6;
    pub(super) const SUSPECT: u8 = 7;
    pub(super) const DEAD: u8 = 8;
    pub(super) const JOIN: u8 = 9;
    pub(super) const JOIN_REPLY: u8 = 10;
    pub(super) const COMPARE: u8 = 11;
    pub(super) const SUMMARY: u8 = 12;
    pub(super) const WANT: u8 = 13;
    pub(super) const LEAVE_ACK: u8 = 15;
    pub(super) const VOTE: u8 = 16;
    pub(super) const CLEAR: u8 = 17;
    pub(super) const ABSTAIN: u8 = 18;
    pub(super) const FORGET: u8 = 19;
    pub(super) const FAILING: u8 = 20;
    pub(super) const DATA_FINGERPRINT: u8 = 21;
    pub(super) const DATA_NEWS: u8 = 22;
    pub(super) const DATA_WANT: u8 = 23;
    pub(super) const DATA_DELTA: u8 = 24;
    pub(super) const DATA_COMPARE: u8 = 25;
    pub(super) const DATA_SUMMARY: u8 = 26;
    pub(super) const PUBLICATION: u8 = 29;
    pub(super) const PUBLICATION_NEWS: u8 = 30;
    pub(super) const PUBLICATION_WANT: u8 = 31;
    pub(super) const PUBLICATION_PRUNE: u8 = 32;
    pub(super) const LEAD_ASK: u8 = 35;
    pub(super) const LEAD_ANSWER: u8 = 36;
    pub(super) const SIGNED_DEAD: u8 = 38;
    pub(super) const SIGNED_VOTE: u8 = 39;
    pub(super) const PROVING_PING_REQ: u8 = 40;
    pub(super) const PROOF: u8 = 41;
    pub(super) const EXPULSION: u8 = 44;
    pub(super) const FLAWED: u8 = 47;
}

/// States and kinds of silence on the wire.
const ALIVE: u8 = 0;
const DEAD: u8 = 2;
const SILENT: u8 = 1;
const HUNG: u8 = 2;
const GONE: u8 = 3;
/// Answers to requests for offices.
const GRANTED: u8 = 0;
const HELD: u8 = 4;
const TERM_TOO_LOW: u8 = 7;
/// The first byte of a MessagePack array of up to 15 elements, without their number.
const FIX_ARRAY: u8 = 0x90;
/// How many changes of a member's data, and how many of its messages, are kept.
const MAX_CHANGES: usize = 8;
/// Votes of one verdict.
const MAX_VOTES: usize = 32;
/// Requests and answers in one payload.
const MAX_ASKING_PARTS: u32 = 16;
/// Sequences in one payload that are tried in order.
const SWEPT: u32 = 4;
/// Records in one payload.
const RECORDS_AT_ONCE: u32 = 40;
/// The first number of made-up members, which no member of a run has.
const MADE_UP: u32 = 1 << 31;
/// A host that does not exist: packets to it are lost.
const NOWHERE: HostId = HostId((1 << 24) - 1);

#[cfg(test)]
mod tests;
