//! A member's own word about itself, signed by its key: nobody else can announce, move, or make it leave.
//!
//! A record travels as the exact bytes that were signed. A later release may append fields to them; this one keeps
//! and relays those bytes untouched, so the signature stays good in a cluster of mixed releases.

use std::{
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    net::{IpAddr, SocketAddr},
    ops::Range,
    sync::Arc,
};

use rmp_serde::Deserializer;
use serde::{Deserialize, Serialize};

use crate::{
    AssignedId, Generation, Incarnation, MemberId, MemberState, ServingState, Version,
    member::{
        assigned::Holder,
        flaws::Flaws,
        tags::{Profile, Tags, read_serving, read_tags, read_weight},
    },
    wire::{bytes::Bytes, error::DecodeError},
};

/// An Ed25519 public key (RFC 8032).
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct PublicKey(pub [u8; 32]);

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PublicKey(…)")
    }
}

/// An Ed25519 signature (RFC 8032).
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Signature(pub [u8; 64]);

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signature(…)")
    }
}

/// Signs the records of this node and verifies those of others: Ed25519 in a node, a cheap stand-in in a simulator.
pub trait Keys: Send + Sync {
    /// This member's public key.
    fn public_key(&self) -> PublicKey;
    /// The identity that belongs to a public key to which no CA assigned one.
    fn member_id(&self, key: &PublicKey) -> MemberId;
    /// The id that a CA assigned to this member's key, which is then its identity.
    fn assigned_id(&self) -> Option<AssignedId> {
        None
    }
    /// Whether the holder of `key` may have the id that a CA assigned to it, or none. By default, only ids of keys count.
    fn accepts_id(&self, key: &PublicKey, assigned: Option<&AssignedId>) -> bool {
        let _ = key;
        assigned.is_none()
    }
    /// The bytes that tell the cluster of these keys from others that share a key. They are part of signed votes.
    fn cluster_tag(&self) -> [u8; 8] {
        [0; 8]
    }
    /// Signs with this member's key.
    fn sign(&self, message: &[u8]) -> Signature;
    /// Whether `signature` over `message` was made by the holder of `key`.
    fn verify(&self, key: &PublicKey, message: &[u8], signature: &Signature) -> bool;
}

/// A member's display name: 1 to 64 bytes, without spaces, control characters and invisible characters
/// ([`is_printable`]).
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Name(Arc<str>);

impl Name {
    /// The longest name, in bytes of UTF-8.
    pub const MAX_BYTES: usize = 64;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for Name {
    type Error = NameError;

    fn try_from(name: &str) -> Result<Self, NameError> {
        if name.is_empty() || name.len() > Self::MAX_BYTES {
            return Err(NameError::Length { bytes: name.len() });
        }
        match name.chars().find(|&c| c.is_whitespace() || !is_printable(c)) {
            Some(character) => Err(NameError::Character { character }),
            None => Ok(Self(name.into())),
        }
    }
}

/// Whether a character can be shown without changing how the text around it looks.
///
/// Control characters cannot. Neither can characters that have no glyph of their own or that reorder text: two names that
/// differ in them look the same, and bidirectional controls make a line read as another one. These are the characters
/// with the Unicode property `Default_Ignorable_Code_Point`, and the line and paragraph separators.
pub fn is_printable(c: char) -> bool {
    let is_invisible = matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}');
    !c.is_control() && !is_invisible
}

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Name;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a member's name")
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Name, E> {
                Name::try_from(name).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

/// Why a text cannot be a member's name.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Empty, or longer than [`Name::MAX_BYTES`].
    #[error("a member's name has 1 to {} bytes, not {bytes}", Name::MAX_BYTES)]
    Length {
        /// The length found.
        bytes: usize,
    },
    /// A space or a control character, which would garble logs and tables.
    #[error("a member's name cannot contain {character:?}")]
    Character {
        /// The first such character.
        character: char,
    },
}

/// A member's signed statement about itself. Clones share memory.
#[derive(Clone, Eq, PartialEq)]
pub struct Record {
    id: MemberId,
    version: Version,
    has_left: bool,
    /// A hash of the first address, which distinguishes nearly all addresses without comparing them.
    addr_hash: u16,
    /// Where in `signed` the name is; the addresses follow it.
    name: Range<u16>,
    /// The signed bytes: public key, generation, incarnation, has left, name, addresses, profile, assigned id, flaws, and
    /// whatever a later release appends. The signature follows them.
    signed: Arc<[u8]>,
}

/// The statement of a record's owner.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    pub(crate) name: Name,
    pub(crate) addrs: Vec<SocketAddr>,
    pub(crate) version: Version,
    pub(crate) has_left: bool,
    pub(crate) profile: Profile,
    pub(crate) flaws: Flaws,
}

impl Record {
    /// The most addresses of a member; further ones are ignored.
    pub const MAX_ADDRS: usize = 4;
    /// The longest signed part: fields at their limits have some 680 bytes, the rest is for fields of later releases.
    pub(crate) const MAX_BODY_BYTES: usize = 768;

    /// Signs a statement of our own.
    pub(crate) fn sign(mut statement: Statement, keys: &dyn Keys) -> Self {
        statement.addrs.truncate(Self::MAX_ADDRS);
        let body = encode_body(&keys.public_key(), &statement, keys.assigned_id().as_ref());
        let signature = keys.sign(&signed_message(&body));
        Self::decode(&body, signature, keys).expect("a statement has an address")
    }

    /// Decodes a record without checking its signature: see [`Record::is_authentic`].
    pub(crate) fn decode(
        body: &[u8],
        signature: Signature,
        keys: &dyn Keys,
    ) -> Result<Self, DecodeError> {
        if body.len() > Self::MAX_BODY_BYTES {
            return Err(DecodeError::TooLong { what: "record", bytes: body.len() });
        }
        let mut fields = Deserializer::new(body);
        let key = PublicKey(Bytes::deserialize(&mut fields)?.0);
        let version = Version {
            generation: Generation::deserialize(&mut fields)?,
            incarnation: Incarnation::deserialize(&mut fields)?,
        };
        let has_left = bool::deserialize(&mut fields)?;
        let name = Name::deserialize(&mut fields)?.as_str().len();
        let name_ends = body.len() - fields.get_ref().len();
        let (first, mut rest) = split_addrs(fields.get_ref())?;
        Profile::decode(&mut rest)?;
        let assigned = decode_assigned(&mut rest)?;
        let at = |index| u16::try_from(index).expect("a body has no more than 768 bytes");
        Ok(Self {
            id: assigned.map_or_else(|| keys.member_id(&key), |assigned| assigned.id),
            version,
            has_left,
            addr_hash: addr_hash(first),
            name: at(name_ends - name)..at(name_ends),
            signed: [body, &signature.0].concat().into(),
        })
    }

    /// Whether the member it speaks of signed it: the holder of a key that has this id.
    pub(crate) fn is_authentic(&self, keys: &dyn Keys) -> bool {
        self.has_accepted_id(keys) && self.is_signed(keys)
    }

    /// Whether the key in it has the id. Until it is, the id is a claim.
    pub(crate) fn has_accepted_id(&self, keys: &dyn Keys) -> bool {
        keys.accepts_id(&self.public_key(), self.assigned_id().as_ref())
    }

    /// Whether the holder of the key in it signed it.
    pub(crate) fn is_signed(&self, keys: &dyn Keys) -> bool {
        keys.verify(&self.public_key(), &signed_message(self.body()), &self.signature())
    }

    /// The id that a CA assigned to the member; `None` if it has the id of its key.
    pub fn assigned_id(&self) -> Option<AssignedId> {
        let mut rest = self.profile_bytes();
        Profile::decode(&mut rest).expect("profiles are checked as they are decoded");
        decode_assigned(&mut rest).expect("assigned ids are checked as they are decoded")
    }

    /// The reasons for which the member is degraded, as it states itself.
    pub fn flaws(&self) -> Flaws {
        let mut rest = self.profile_bytes();
        // Most records end before.
        if rest.is_empty() {
            return Flaws::NONE;
        }
        Profile::decode(&mut rest).expect("profiles are checked as they are decoded");
        decode_assigned(&mut rest).expect("assigned ids are checked as they are decoded");
        decode_flaws(rest)
    }

    pub(crate) fn holder(&self) -> Holder {
        let assigned_at_ms = self.assigned_id().map(|assigned| assigned.assigned_at_ms);
        Holder { key: self.public_key(), assigned_at_ms }
    }

    /// The public key of the member that it describes.
    pub(crate) fn public_key(&self) -> PublicKey {
        let key = Bytes::deserialize(&mut Deserializer::new(self.body()));
        PublicKey(key.expect("keys are checked as they are decoded").0)
    }

    /// The member that it describes.
    pub const fn id(&self) -> MemberId {
        self.id
    }

    /// Its version.
    pub const fn version(&self) -> Version {
        self.version
    }

    /// Whether the member says that it has left.
    pub const fn has_left(&self) -> bool {
        self.has_left
    }

    /// The state that the member says it is in.
    pub(crate) const fn own_state(&self) -> MemberState {
        if self.has_left { MemberState::Left } else { MemberState::Alive }
    }

    /// The member's display name.
    pub fn name(&self) -> &str {
        let Range { start, end } = self.name;
        let name = &self.signed[start.into()..end.into()];
        str::from_utf8(name).expect("names are checked as they are decoded")
    }

    /// The member's preferred address.
    pub fn addr(&self) -> SocketAddr {
        self.addrs().next().expect("a record has an address")
    }

    /// Whether both say that they are reached at one address.
    pub(crate) fn has_addr_of(&self, other: &Self) -> bool {
        self.addr_hash == other.addr_hash && self.addr() == other.addr()
    }

    /// All addresses of the member, the preferred one first; 1 to [`Record::MAX_ADDRS`].
    pub fn addrs(&self) -> impl Iterator<Item = SocketAddr> {
        let mut bytes = self.after_name();
        let addrs = read_addrs_len(&mut bytes);
        let addrs = (0..addrs).map(move |_| read_addr(&mut bytes));
        addrs.map(|addr| addr.expect("addresses are checked as they are decoded"))
    }

    /// The tags of the member, in the order of their keys.
    pub fn tags(&self) -> impl Iterator<Item = (&str, &str)> {
        read_tags(self.profile_bytes())
    }

    /// Whether the member takes work, as it says itself.
    pub fn serving(&self) -> ServingState {
        read_serving(self.profile_bytes())
    }

    /// The weight that its tags state, or the default.
    pub(crate) fn weight(&self) -> u16 {
        let stated = self.tags().find_map(|(key, value)| (key == Tags::WEIGHT).then_some(value));
        stated.and_then(read_weight).unwrap_or(Tags::DEFAULT_WEIGHT)
    }

    pub(crate) fn profile(&self) -> Profile {
        let mut bytes = self.profile_bytes();
        Profile::decode(&mut bytes).expect("profiles are checked as they are decoded")
    }

    fn profile_bytes(&self) -> &[u8] {
        split_addrs(self.after_name()).expect("addresses are checked as they are decoded").1
    }

    fn after_name(&self) -> &[u8] {
        &self.body()[self.name.end.into()..]
    }

    pub(crate) fn body(&self) -> &[u8] {
        self.split().0
    }

    pub(crate) fn signature(&self) -> Signature {
        Signature(*self.split().1)
    }

    pub(crate) fn statement(&self) -> Statement {
        Statement {
            name: self.name().try_into().expect("names are checked as they are decoded"),
            addrs: self.addrs().collect(),
            version: self.version,
            has_left: self.has_left,
            profile: self.profile(),
            flaws: self.flaws(),
        }
    }

    fn split(&self) -> (&[u8], &[u8; 64]) {
        self.signed.split_last_chunk().expect("a signature follows the body")
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("id", &self.id)
            .field("version", &self.version)
            .field("has_left", &self.has_left)
            .field("name", &self.name())
            .field("addrs", &self.addrs().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

fn encode_body(key: &PublicKey, statement: &Statement, assigned: Option<&AssignedId>) -> Vec<u8> {
    let Statement { name, addrs, version, has_left, profile, flaws } = statement;
    let addrs: Vec<_> = addrs.iter().copied().map(Addr).collect();
    let mut body = Vec::with_capacity(128);
    let mut fields = rmp_serde::Serializer::new(&mut body);
    Bytes(key.0)
        .serialize(&mut fields)
        .and_then(|()| version.generation.serialize(&mut fields))
        .and_then(|()| version.incarnation.serialize(&mut fields))
        .and_then(|()| has_left.serialize(&mut fields))
        .and_then(|()| name.as_str().serialize(&mut fields))
        .and_then(|()| addrs.serialize(&mut fields))
        .expect("writing to a vector cannot fail");
    if assigned.is_none() && flaws.is_empty() {
        profile.encode(&mut body);
        return body;
    }
    profile.encode_always(&mut body);
    let mut fields = rmp_serde::Serializer::new(&mut body);
    let assigned = assigned.map(|assigned| Bytes(assigned.to_bytes()));
    assigned.serialize(&mut fields).expect("writing to a vector cannot fail");
    if !flaws.is_empty() {
        flaws.to_bits().serialize(&mut fields).expect("writing to a vector cannot fail");
    }
    body
}

/// Decodes the assigned id that follows the profile of a record, `nil` or nothing, and leaves what follows it.
fn decode_assigned(bytes: &mut &[u8]) -> Result<Option<AssignedId>, DecodeError> {
    if let Some(rest) = bytes.strip_prefix(&[NIL]) {
        *bytes = rest;
        return Ok(None);
    }
    if bytes.is_empty() {
        return Ok(None);
    }
    let mut fields = Deserializer::new(*bytes);
    let assigned = Bytes::deserialize(&mut fields);
    let assigned = assigned.map_err(|_| DecodeError::Invalid("assigned id"))?;
    *bytes = fields.get_ref();
    Ok(Some(AssignedId::from_bytes(&assigned.0)))
}

/// Reads the flaws that follow the assigned id of a record: nothing, or a number. Anything else of a later release is ignored.
fn decode_flaws(mut bytes: &[u8]) -> Flaws {
    rmp::decode::read_int(&mut bytes).map_or(Flaws::NONE, Flaws::from_bits)
}

/// The first of the addresses that these bytes begin with, if all are valid, and what follows the last.
fn split_addrs(mut bytes: &[u8]) -> Result<(SocketAddr, &[u8]), DecodeError> {
    let addrs = read_addrs_len(&mut bytes);
    if !(1..=Record::MAX_ADDRS).contains(&addrs) {
        return Err(DecodeError::Invalid("number of addresses"));
    }
    let addrs: Option<Vec<_>> = (0..addrs).map(|_| read_addr(&mut bytes)).collect();
    let addrs = addrs.ok_or(DecodeError::Invalid("address"))?;
    Ok((addrs[0], bytes))
}

fn read_addrs_len(bytes: &mut &[u8]) -> usize {
    rmp::decode::read_array_len(bytes).unwrap_or_default() as usize
}

fn addr_hash(addr: SocketAddr) -> u16 {
    let mut hasher = DefaultHasher::new();
    addr.hash(&mut hasher);
    (hasher.finish() >> 48) as u16
}

fn read_addr(bytes: &mut &[u8]) -> Option<SocketAddr> {
    let length = rmp::decode::read_bin_len(bytes).ok()?;
    let (ip, port) = bytes.split_off(..length as usize)?.split_last_chunk()?;
    let ip = match <[u8; 4]>::try_from(ip) {
        Ok(ip) => IpAddr::from(ip),
        Err(_) => IpAddr::from(<[u8; 16]>::try_from(ip).ok()?).to_canonical(),
    };
    Some(SocketAddr::new(ip, u16::from_be_bytes(*port)))
}

/// Keeps a signature over a record from being one over anything else.
fn signed_message(body: &[u8]) -> Vec<u8> {
    [b"phin record 1\0".as_slice(), body].concat()
}

/// A socket address as 6 or 18 bytes: the IP address, then the port, in network order.
struct Addr(SocketAddr);

impl Serialize for Addr {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let port = self.0.port().to_be_bytes();
        match self.0.ip() {
            IpAddr::V4(ip) => serializer.serialize_bytes(&[&ip.octets()[..], &port].concat()),
            IpAddr::V6(ip) => serializer.serialize_bytes(&[&ip.octets()[..], &port].concat()),
        }
    }
}

/// MessagePack's `nil`: no CA assigned the id of the member.
const NIL: u8 = 0xc0;

#[cfg(test)]
pub(crate) mod tests;
