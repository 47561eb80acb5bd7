//! Members of neighbouring releases: what they send and understand besides, or not yet (docs/protocol.md, *Versions and
//! compatibility*).

use std::io::Cursor;

use rmp_serde::Deserializer;
use serde::{Deserialize, de::IgnoredAny};

/// Which release a member runs.
#[derive(Clone, Copy, Default, Eq, PartialEq)]
pub(crate) enum Release {
    /// It knows the kinds of parts of the first release, and skips all others.
    Previous,
    #[default]
    This,
    /// It has more to say in each payload than this release understands.
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

    /// A payload as a member of this release sends it.
    pub(crate) fn sent(self, payload: &[u8]) -> Vec<u8> {
        match self {
            Self::Previous | Self::This => payload.to_vec(),
            Self::Next => {
                let (version, parts) = payload.split_at(1);
                [version, UNKNOWN_FIRST, parts, UNKNOWN_LAST].concat()
            }
        }
    }

    /// What a member of this release understands of a payload.
    pub(crate) fn understood(self, payload: &[u8]) -> Vec<u8> {
        match self {
            Self::This | Self::Next => payload.to_vec(),
            Self::Previous => {
                let (version, parts) = payload.split_at(1);
                let known = split(parts).into_iter().filter(|&(kind, _)| kind <= LAST_KIND);
                known.fold(version.to_vec(), |bytes, (_, part)| [&bytes, part].concat())
            }
        }
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

/// The last kind of part that the first release knows.
const LAST_KIND: u8 = 18;
/// Parts of kinds that no release has yet: 250 with a map and a list in it, 251 with nothing, 252 with bytes.
const UNKNOWN_FIRST: &[u8] = &[0xcc, 250, 0x81, 0xa1, b'k', 0x92, 0x01, 0xc3, 0xcc, 251, 0xc0];
const UNKNOWN_LAST: &[u8] = &[0xcc, 252, 0xc4, 0x03, 1, 2, 3];
