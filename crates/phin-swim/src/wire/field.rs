//! How single fields are written, for serde's `with`; whatever has a limit is refused beyond it.

use std::{borrow::Cow, sync::Arc, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use super::{
    Content, DataChange, MAX_CHANGES, MAX_VOTES,
    bytes::{AtMost, Bytes},
};
use crate::{MemberData, MemberId, MemberState, Message, Record, Revision, Signature, Silence};

/// 16 bytes in messages; in readable formats such as JSON, the digits that are shown.
impl Serialize for MemberId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match serializer.is_human_readable() {
            true => serializer.collect_str(self),
            false => Bytes(self.0).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for MemberId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.is_human_readable() {
            true => String::deserialize(deserializer)?.parse().map_err(D::Error::custom),
            false => Ok(Self(Bytes::deserialize(deserializer)?.0)),
        }
    }
}

/// Whole milliseconds, at most 49 days of them.
pub(super) mod age {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(age: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u32(u32::try_from(age.as_millis()).unwrap_or(u32::MAX))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        Ok(Duration::from_millis(u32::deserialize(from)?.into()))
    }
}

/// An age that is no field of a struct.
#[derive(Deserialize, Serialize)]
pub(super) struct Age(#[serde(with = "age")] pub(super) Duration);

/// Hundredths, up to 655.35.
pub(super) mod hundredths {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(number: &f64, to: S) -> Result<S::Ok, S::Error> {
        let hundredths = (number * 100.0).round().clamp(0.0, f64::from(u16::MAX));
        to.serialize_u16(hundredths as u16)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        Ok(f64::from(u16::deserialize(from)?) / 100.0)
    }
}

/// A number for each kind of silence.
pub(crate) mod silence {
    use super::*;

    /// The number that stands for a kind.
    pub(crate) const fn code(silence: Silence) -> u8 {
        match silence {
            Silence::Unknown => 0,
            Silence::Silent => 1,
            Silence::Hung => 2,
            Silence::Gone => 3,
        }
    }

    pub(crate) fn serialize<S: Serializer>(silence: &Silence, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u8(code(*silence))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Silence, D::Error> {
        match u8::deserialize(from)? {
            0 => Ok(Silence::Unknown),
            1 => Ok(Silence::Silent),
            2 => Ok(Silence::Hung),
            3 => Ok(Silence::Gone),
            _ => Err(D::Error::custom("kind of silence")),
        }
    }
}

/// A signature as 64 bytes.
pub(crate) mod signature {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(
        signature: &Signature,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        Bytes(signature.0).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Signature, D::Error> {
        Ok(Signature(Bytes::deserialize(from)?.0))
    }
}

/// A number for each state.
pub(super) mod state {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(state: &MemberState, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u8(match state {
            MemberState::Alive => 0,
            MemberState::Suspect => 1,
            MemberState::Dead => 2,
            MemberState::Left => 3,
        })
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<MemberState, D::Error> {
        match u8::deserialize(from)? {
            0 => Ok(MemberState::Alive),
            1 => Ok(MemberState::Suspect),
            2 => Ok(MemberState::Dead),
            3 => Ok(MemberState::Left),
            _ => Err(D::Error::custom("state")),
        }
    }
}

/// A list with an item from each observer of a member.
pub(super) fn votes<'de, D, T>(from: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let votes = Vec::deserialize(from)?;
    match votes.len() {
        0..=MAX_VOTES => Ok(votes),
        many => Err(D::Error::invalid_length(many, &"at most as many as there are observers")),
    }
}

/// [Votes](votes) that are no field of a struct.
#[derive(Deserialize)]
#[serde(bound = "T: Deserialize<'de>")]
pub(super) struct Votes<T>(#[serde(deserialize_with = "votes")] pub(super) Vec<T>);

/// The changes of a delta; a removed key has `nil` in place of a value, an expired one `false`.
pub(super) mod changes {
    use super::*;

    #[derive(Deserialize, Serialize)]
    struct Body<'a>(Cow<'a, str>, Revision, ContentBody);

    struct ContentBody(Content);

    impl Serialize for ContentBody {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            match &self.0 {
                Content::Value(value) => to.serialize_bytes(value),
                Content::Deleted => to.serialize_unit(),
                Content::Expired => to.serialize_bool(false),
            }
        }
    }

    impl<'de> Deserialize<'de> for ContentBody {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            struct Visitor;
            impl serde::de::Visitor<'_> for Visitor {
                type Value = Content;

                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    write!(f, "at most {} bytes, nil, or false", MemberData::MAX_VALUE_BYTES)
                }

                fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Content, E> {
                    match bytes.len() {
                        0..=MemberData::MAX_VALUE_BYTES => Ok(Content::Value(Arc::from(bytes))),
                        many => Err(E::invalid_length(many, &self)),
                    }
                }

                fn visit_unit<E: Error>(self) -> Result<Content, E> {
                    Ok(Content::Deleted)
                }

                fn visit_bool<E: Error>(self, _: bool) -> Result<Content, E> {
                    Ok(Content::Expired)
                }
            }
            from.deserialize_any(Visitor).map(Self)
        }
    }

    pub(crate) fn serialize<S: Serializer>(
        changes: &[DataChange],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(changes.iter().map(|change| {
            let DataChange { key, revision, content } = change;
            Body(Cow::Borrowed(key), *revision, ContentBody(content.clone()))
        }))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Cow<'static, [DataChange]>, D::Error> {
        let changes = Vec::<Body<'_>>::deserialize(from)?;
        if changes.len() > MAX_CHANGES {
            return Err(D::Error::invalid_length(changes.len(), &"at most two for each key"));
        }
        let changes = changes.into_iter().map(|Body(key, revision, ContentBody(content))| {
            DataChange { key: key.into_owned(), revision, content }
        });
        Ok(changes.collect())
    }
}

/// Bytes as one MessagePack `bin`, refused beyond what a message to one member may have.
pub(super) mod message_body {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(body: &Arc<[u8]>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(body)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<[u8]>, D::Error> {
        Ok(AtMost::<{ Message::MAX_SENT_BYTES }>::deserialize(from)?.0)
    }
}

/// Bytes as one MessagePack `bin`, refused beyond what a record may have.
pub(super) mod record_body {
    use super::*;

    #[expect(clippy::ptr_arg, reason = "serde passes a reference to the field")]
    pub(crate) fn serialize<S: Serializer>(
        bytes: &Vec<u8>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        Ok(AtMost::<{ Record::MAX_BODY_BYTES }, Vec<u8>>::deserialize(from)?.0)
    }
}
