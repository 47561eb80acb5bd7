//! Members of neighbouring releases: what they send and understand besides, or not yet (docs/reference/protocol.md, *Versions and
//! compatibility*).

use std::io::Cursor;

use phin_swim::Keys;
use rmp_serde::Deserializer;
use serde::{Deserialize, de::IgnoredAny};

use super::keys::TestKeys;

/// Which release a member runs.
#[derive(Clone, Copy, Default, Eq, PartialEq)]
pub(crate) enum Release {
    /// It knows the kinds of parts of the first release, and skips all others.
    Previous,
    #[default]
    This,
    /// It has more to say in each payload, and in its own record, than this release understands.
    Next,
}

impl Release {
    pub(crate) fn read(word: &str) -> Self {
        match word {
            "previous" => Self::Previous,
            "this" => Self::This,
            "next" => Self::Next,
            _ => panic!("no release is called {word}"),
        }
    }

    /// A payload as this member of this release sends it.
    pub(crate) fn sent(self, from: usize, payload: &[u8]) -> Vec<u8> {
        match self {
            Self::Previous | Self::This => payload.to_vec(),
            Self::Next => {
                let (version, parts) = payload.split_at(1);
                let parts = with_own_record(parts, from, add_later_field);
                [version, UNKNOWN_FIRST, &parts, UNKNOWN_LAST].concat()
            }
        }
    }

    /// The parts of a payload that this member of this release understands.
    pub(crate) fn understood(self, by: usize, payload: &[u8]) -> Vec<u8> {
        let (version, parts) = payload.split_at(1);
        let parts = match self {
            Self::This => parts.to_vec(),
            // Its core, which is of this release, has to find its own record as it was.
            Self::Next => with_own_record(parts, by, remove_later_field),
            Self::Previous => {
                let known = split(parts).into_iter().filter(|&(kind, _)| kind <= LAST_KIND);
                known.flat_map(|(_, part)| part.to_vec()).collect()
            }
        };
        [version, &parts].concat()
    }
}

/// Whether a payload has a record with a field that this release does not know.
pub(crate) fn has_later_field(payload: &[u8]) -> bool {
    payload.windows(LATER_FIELD.len()).any(|bytes| bytes == LATER_FIELD)
}

/// The same parts, but the node's own record is changed and signed anew. `change` has the body, and where its tags begin.
fn with_own_record(parts: &[u8], node: usize, change: fn(&mut Vec<u8>, usize)) -> Vec<u8> {
    let keys = TestKeys(node);
    let changed = split(parts).into_iter().flat_map(|(kind, part)| {
        // The kind, an array of three, the state, and the body as `bin 8` or `bin 16`; then the signature as `bin 8`.
        let (head, record) = part.split_at(part.len().min(3));
        let (length, record) = match record {
            [0xc4, length, record @ ..] if kind == ENTRY => (usize::from(*length), record),
            [0xc5, a, b, record @ ..] if kind == ENTRY => {
                (u16::from_be_bytes([*a, *b]).into(), record)
            }
            _ => return part.to_vec(),
        };
        let mut body = record[..length].to_vec();
        if body[2..34] != keys.public_key().0 {
            return part.to_vec();
        }
        let mut fields = Deserializer::new(Cursor::new(&body));
        for _ in 0..FIELDS_BEFORE_TAGS {
            IgnoredAny::deserialize(&mut fields).unwrap();
        }
        let tags = fields.position() as usize;
        change(&mut body, tags);
        let signature = keys.sign(&[b"phin record 1\0", &body[..]].concat());
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [head, &[0xc5], &length, &body, &[0xc4, 64], &signature.0].concat()
    });
    changed.collect()
}

fn add_later_field(body: &mut Vec<u8>, tags: usize) {
    if body.len() == tags {
        body.extend_from_slice(NO_TAGS_SERVING);
    }
    body.push(NO_ASSIGNED_ID);
    body.extend_from_slice(LATER_FIELD);
}

fn remove_later_field(body: &mut Vec<u8>, tags: usize) {
    if body.ends_with(LATER_FIELD) {
        body.truncate(body.len() - LATER_FIELD.len() - 1);
    }
    if body[tags..] == *NO_TAGS_SERVING {
        body.truncate(tags);
    }
}

/// The parts of a payload with their kinds.
fn split(parts: &[u8]) -> Vec<(u8, &[u8])> {
    let mut input = Deserializer::new(Cursor::new(parts));
    let (mut split, mut start) = (Vec::new(), 0);
    while start < parts.len() {
        let kind = u8::deserialize(&mut input).unwrap();
        IgnoredAny::deserialize(&mut input).unwrap();
        let end = input.position() as usize;
        split.push((kind, &parts[start..end]));
        start = end;
    }
    split
}

/// The kind of an entry.
const ENTRY: u8 = 6;
/// Public key, generation, incarnation, has left, name, addresses.
const FIELDS_BEFORE_TAGS: usize = 6;
const NO_TAGS_SERVING: &[u8] = &[0x80, 0];
const NO_ASSIGNED_ID: u8 = 0xc0;
const LATER_FIELD: &[u8] = b"\xaba later field";
/// The last kind of part that the first release knows.
const LAST_KIND: u8 = 18;
/// Parts of kinds that no release has yet: 250 with a map and a list in it, 251 with nothing, 252 with bytes.
const UNKNOWN_FIRST: &[u8] = &[0xcc, 250, 0x81, 0xa1, b'k', 0x92, 0x01, 0xc3, 0xcc, 251, 0xc0];
const UNKNOWN_LAST: &[u8] = &[0xcc, 252, 0xc4, 0x03, 1, 2, 3];
