//! The lies, in the wire format of `docs/reference/protocol.md`.

use std::{collections::BTreeMap, io::Cursor, str::FromStr};

use phin_quic::Identity;
use phin_swim::{Generation, Incarnation, Member, MemberId, Members, Version, WIRE_VERSION};
use serde::{Deserialize, Serialize, Serializer, de::IgnoredAny};

/// A lie about one member, its victim.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Lie {
    /// `Dead`, with votes in the names of the victim's observers.
    Verdict,
    /// The same with signatures: the liar's own under its own vote, and forged ones under the others.
    SignedVerdict,
    /// `Suspect`, in the name of an observer.
    Suspect,
    /// Votes of the liar, of every kind of silence, half of them accusations.
    Vote,
    /// The same, signed by it.
    SignedVote,
    /// The victim's own record, and a line of a summary, with the state dead.
    List,
    /// `Clear`: the liar claims that it has just heard from the victim.
    Clear,
    /// `Abstain`.
    Abstain,
    /// `Forget`, of the highest version and of the present one.
    Forget,
    /// Requests for whole lists: joins, comparisons, summaries and records in turn.
    Requests,
    /// As many requests to ping the victim as fit into a payload.
    PingRequests,
}

impl Lie {
    /// The lies that claim that the victim is dead.
    pub(crate) const OF_DEATH: [Self; 7] = [
        Self::Verdict,
        Self::SignedVerdict,
        Self::Suspect,
        Self::Vote,
        Self::SignedVote,
        Self::List,
        Self::Forget,
    ];
    /// The lies that claim that the victim lives, or that nothing is known of it.
    pub(crate) const OF_LIFE: [Self; 2] = [Self::Clear, Self::Abstain];

    /// No lies, but requests that cost others time.
    pub(crate) const OF_COST: [Self; 2] = [Self::Requests, Self::PingRequests];

    /// The name on the command line.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Verdict => "verdict",
            Self::SignedVerdict => "signed-verdict",
            Self::Suspect => "suspect",
            Self::Vote => "vote",
            Self::SignedVote => "signed-vote",
            Self::List => "list",
            Self::Clear => "clear",
            Self::Abstain => "abstain",
            Self::Forget => "forget",
            Self::Requests => "requests",
            Self::PingRequests => "ping-requests",
        }
    }
}

impl FromStr for Lie {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut all = Self::OF_DEATH.into_iter().chain(Self::OF_LIFE).chain(Self::OF_COST);
        all.find(|lie| lie.as_str() == text).ok_or_else(|| format!("there is no lie `{text}`"))
    }
}

/// The knowledge that a lie is made of.
pub(crate) struct Knowledge<'a> {
    pub(crate) identity: &'a Identity,
    pub(crate) cluster_tag: [u8; 8],
    pub(crate) rings: u8,
    pub(crate) members: &'a Members,
    /// The records that members signed, as the liar received them: whole parts.
    pub(crate) entries: &'a BTreeMap<MemberId, Vec<u8>>,
    pub(crate) victim: &'a Member,
    /// How many lies came before this one.
    pub(crate) turn: u32,
}

/// Phi in hundredths, milliseconds of silence, the kind of silence, unanswered pings.
type Tally = (u16, u32, u8, u8);

impl Knowledge<'_> {
    /// The payload for a member whose last ping or ack was of this round. It ends with a part of a kind that nobody knows,
    /// by which its receivers count it.
    pub(crate) fn payload(&self, lie: Lie, round: u16) -> Option<Vec<u8>> {
        let lie = self.part(lie, round)?;
        Some([&[WIRE_VERSION][..], &lie, &part(kind::UNKNOWN, ())].concat())
    }

    fn part(&self, lie: Lie, round: u16) -> Option<Vec<u8>> {
        let (turn, id, tally) = (self.turn, self.victim.id(), self.tally());
        let observers = self.observers();
        let by = *observers.get(turn as usize % observers.len().max(1))?;
        let mut version = self.victim.version();
        if matches!(lie, Lie::Verdict | Lie::SignedVerdict | Lie::Suspect) && turn % 8 == 7 {
            version.incarnation.0 += 1;
        }
        let subject = (id, version);
        Some(match lie {
            Lie::Verdict => {
                let votes: Vec<_> = observers.iter().map(|&observer| (observer, tally)).collect();
                part(kind::DEAD, ((id, version, by), votes))
            }
            Lie::SignedVerdict => {
                let voters = [&[self.members.me().id()], &observers[..]].concat();
                let signed = voters.iter().map(|&id| self.signed(subject, (id, tally.2), round));
                let signed: Vec<_> = signed.collect();
                let votes: Vec<_> = voters.iter().map(|&voter| (voter, tally)).collect();
                part(kind::SIGNED_DEAD, (((id, version, by), votes), signed))
            }
            Lie::Suspect => part(kind::SUSPECT, (id, version, by)),
            Lie::Vote => part(kind::VOTE, (id, version, turn % 2 == 0, true, tally)),
            Lie::SignedVote => {
                let signed = self.signed(subject, (self.members.me().id(), tally.2), round);
                part(kind::SIGNED_VOTE, ((id, version, turn % 2 == 0, true, tally), signed))
            }
            Lie::List if turn % 2 == 0 => {
                let mut entry = self.entries.get(&id)?.clone();
                // The kind, an array of three, and the state.
                *entry.get_mut(2)? = DEAD;
                entry
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
                part(kind::FORGET, (id, version, self.members.me().id()))
            }
            Lie::Requests => match turn % 4 {
                0 => part(kind::JOIN, ()),
                1 => part(kind::COMPARE, vec![u64::from(turn); 64]),
                2 => part(kind::SUMMARY, (u64::MAX, Vec::<u8>::new())),
                _ => {
                    let ids = self.members.live().map(|member| member.id());
                    part(kind::WANT, ids.collect::<Vec<_>>())
                }
            },
            Lie::PingRequests => {
                let numbers = (0..MAX_ASKING_PARTS).map(|number| turn.wrapping_mul(16) + number);
                numbers.flat_map(|sequence| part(kind::PING_REQ, (sequence, id))).collect()
            }
        })
    }

    /// A signed vote. The liar has no key but its own, so the signature of any other voter is forged.
    fn signed(
        &self,
        (subject, version): (MemberId, Version),
        (voter, silence): (MemberId, u8),
        round: u16,
    ) -> impl Serialize + use<> {
        let generation = self.members.get(voter).map_or(Generation(1), |voter| voter.generation());
        let statement = [
            b"phin vote 1\0".as_slice(),
            &self.cluster_tag,
            &subject.0,
            &version.generation.0.to_be_bytes(),
            &version.incarnation.0.to_be_bytes(),
            &voter.0,
            &generation.0.to_be_bytes(),
            &round.to_be_bytes(),
            &[silence],
        ];
        let mut signature = self.identity.sign(&statement.concat()).0;
        if voter != self.members.me().id() {
            // Another forgery each time, or it would be checked once only.
            signature[..4].copy_from_slice(&self.turn.to_be_bytes());
        }
        (voter, generation, round, silence, Bin(signature))
    }

    /// Every second time the most credible silence: refused just now, since the member was last heard. Otherwise silences
    /// of every kind and length in turn.
    const fn tally(&self) -> Tally {
        let (silences, millis) = ([GONE, SILENT, HUNG], [20, 1_500, 12_000, 60_000]);
        let turn = self.turn as usize;
        match turn % 2 {
            0 => (5_000, 20, GONE, 9),
            _ => (5_000, millis[turn / 6 % 4], silences[turn / 2 % 3], 9),
        }
    }

    /// The observers of the victim: its predecessors in each ring.
    fn observers(&self) -> Vec<MemberId> {
        let live = self.members.live().map(|member| member.id());
        let ids: Vec<_> = live.filter(|&id| id != self.victim.id()).collect();
        if ids.len() <= usize::from(self.rings) {
            return ids;
        }
        let mut observers: Vec<MemberId> = Vec::new();
        for ring in 0..u32::from(self.rings) {
            let rotation = ring * 128 / u32::from(self.rings);
            let place = |id: MemberId| u128::from_be_bytes(id.0).rotate_left(rotation);
            let own = place(self.victim.id());
            let before = ids.iter().copied().min_by_key(|&id| own.wrapping_sub(place(id)));
            observers.extend(before.filter(|id| !observers.contains(id)));
        }
        observers
    }
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

/// The round in a part that is a ping or an ack.
pub(crate) fn round_in(part: &[u8]) -> Option<u16> {
    let (&kind, body) = part.split_first()?;
    let is_pulse = kind == kind::PING || kind == kind::ACK;
    let pulse = is_pulse.then(|| rmp_serde::from_slice::<(u32, u32, u16, u32, u64, u16)>(body))?;
    pulse.ok().map(|pulse| pulse.2)
}

/// The public key in a part that is a record.
pub(crate) fn key_in(part: &[u8]) -> Option<[u8; 32]> {
    let (&kind, body) = part.split_first()?;
    let entry = (kind == kind::ENTRY).then(|| rmp_serde::from_slice::<(u8, Blob, Blob)>(body))?;
    // A record begins with a `bin` of 32 bytes.
    entry.ok()?.1.0.get(2..34)?.try_into().ok()
}

/// An encoded part: its kind, then its body.
fn part(kind: u8, body: impl Serialize) -> Vec<u8> {
    let mut bytes = vec![kind];
    let written = body.serialize(&mut rmp_serde::Serializer::new(&mut bytes));
    written.expect("writing to a vector cannot fail");
    bytes
}

/// A signature as one MessagePack `bin`.
struct Bin([u8; 64]);

impl Serialize for Bin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

/// The content of a MessagePack `bin`.
struct Blob(Vec<u8>);

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Blob;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Blob, E> {
                Ok(Blob(bytes.to_vec()))
            }
        }
        deserializer.deserialize_bytes(Visitor)
    }
}

/// The kinds of parts, as `docs/reference/protocol.md` numbers them.
mod kind {
    pub(super) const PING: u8 = 1;
    pub(super) const ACK: u8 = 2;
    pub(super) const PING_REQ: u8 = 3;
    pub(super) const ENTRY: u8 = 6;
    pub(super) const SUSPECT: u8 = 7;
    pub(super) const DEAD: u8 = 8;
    pub(super) const JOIN: u8 = 9;
    pub(super) const COMPARE: u8 = 11;
    pub(super) const SUMMARY: u8 = 12;
    pub(super) const WANT: u8 = 13;
    pub(super) const VOTE: u8 = 16;
    pub(super) const CLEAR: u8 = 17;
    pub(super) const ABSTAIN: u8 = 18;
    pub(super) const FORGET: u8 = 19;
    pub(super) const SIGNED_DEAD: u8 = 38;
    pub(super) const SIGNED_VOTE: u8 = 39;
    /// No release knows it.
    pub(super) const UNKNOWN: u8 = 120;
}

/// Requests in a payload, and the mark beside them.
const MAX_ASKING_PARTS: u32 = 15;
/// A state and kinds of silence on the wire.
const DEAD: u8 = 2;
const SILENT: u8 = 1;
const HUNG: u8 = 2;
const GONE: u8 = 3;
