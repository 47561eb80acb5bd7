//! Statements of a member about itself beside its addresses: [`Tags`], and whether it takes work ([`ServingState`]).

#[cfg(feature = "serde")]
mod json;

use std::{collections::BTreeMap, fmt, sync::Arc};

use crate::{is_printable, wire::error::DecodeError};

/// The tags of a member: short texts by key, such as `role=web`, in its signed record.
///
/// A member's tags are known wherever the member is known. They are meant for facts that rarely change: each change is a
/// new version of the whole record. At most [`Tags::MAX_TAGS`] tags of [`Tags::MAX_BYTES`] bytes together.
///
/// Four keys have a meaning of their own: `role` (one or several roles, separated by commas), `zone` (what fails
/// together, such as a rack or an availability zone), `version` (of the application) and `weight` ([`Tags::WEIGHT`]).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Tags(BTreeMap<String, String>);

impl Tags {
    /// The most tags of a member.
    pub const MAX_TAGS: usize = 16;
    /// The most bytes that the keys and values of a member's tags have together.
    pub const MAX_BYTES: usize = 256;
    /// The longest key, in bytes. Keys consist of `a`-`z`, `0`-`9`, `_`, `.` and `-`.
    pub const MAX_KEY_BYTES: usize = 32;
    /// The longest value, in bytes of UTF-8.
    pub const MAX_VALUE_BYTES: usize = 128;
    /// The key of a member's weight: its share of keys and work, relative to other members. The value is a decimal number from
    /// 0 to [`Tags::MAX_WEIGHT`].
    pub const WEIGHT: &str = "weight";
    /// The largest weight.
    pub const MAX_WEIGHT: u16 = 1_000;
    /// The weight of a member without this tag.
    pub const DEFAULT_WEIGHT: u16 = 100;

    /// No tags.
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Sets a tag, in place of an earlier one with this key.
    ///
    /// # Errors
    /// The key or the value is not allowed, or the tags exceed a limit with it. Nothing changes then.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), TagError> {
        if key == Self::WEIGHT && read_weight(value).is_none() {
            return Err(TagError::Weight { value: value.to_owned() });
        }
        self.insert(key, value)
    }

    /// Sets a tag that another member states. A value that has no meaning here may have one in a later release.
    pub(crate) fn insert(&mut self, key: &str, value: &str) -> Result<(), TagError> {
        check_key(key)?;
        check_value(value)?;
        let replaced = self.0.get(key).map(|value| key.len() + value.len());
        if replaced.is_none() && self.0.len() == Self::MAX_TAGS {
            return Err(TagError::TooMany);
        }
        let bytes = self.bytes() - replaced.unwrap_or(0) + key.len() + value.len();
        if bytes > Self::MAX_BYTES {
            return Err(TagError::TooLong { bytes });
        }
        self.0.insert(key.to_owned(), value.to_owned());
        Ok(())
    }

    /// Removes a tag and returns its value.
    pub fn remove(&mut self, key: &str) -> Option<String> {
        self.0.remove(key)
    }

    /// The value of a tag.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// All tags, in the order of their keys.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// How many tags there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no tag.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn encode(&self, body: &mut Vec<u8>) -> Result<(), EncodeError> {
        let count = u32::try_from(self.len()).expect("tags are few");
        rmp::encode::write_map_len(body, count)?;
        for (key, value) in self.iter() {
            rmp::encode::write_str(body, key)?;
            rmp::encode::write_str(body, value)?;
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.iter().map(|(key, value)| key.len() + value.len()).sum()
    }
}

impl fmt::Display for Tags {
    /// `key=value`, separated by commas.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (key, value)) in self.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{key}={value}")?;
        }
        Ok(())
    }
}

/// Why a tag cannot be set.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TagError {
    /// The key is empty, too long, or has other characters than `a`-`z`, `0`-`9`, `_`, `.` and `-`.
    #[error(
        "the tag key {key:?} does not have 1 to {} characters a-z, 0-9, _, . or -",
        Tags::MAX_KEY_BYTES
    )]
    Key {
        /// The key given.
        key: String,
    },
    /// The value is longer than [`Tags::MAX_VALUE_BYTES`].
    #[error("a tag value has at most {} bytes, not {bytes}", Tags::MAX_VALUE_BYTES)]
    ValueTooLong {
        /// The length of the value given.
        bytes: usize,
    },
    /// The value has a control character or an invisible one ([`is_printable`]).
    #[error("a tag value cannot contain {character:?}")]
    Character {
        /// The first such character.
        character: char,
    },
    /// The weight is not a decimal number from 0 to [`Tags::MAX_WEIGHT`].
    #[error("the tag weight is a number from 0 to {}, not {value:?}", Tags::MAX_WEIGHT)]
    Weight {
        /// The value given.
        value: String,
    },
    /// More than [`Tags::MAX_TAGS`].
    #[error("a member has at most {} tags", Tags::MAX_TAGS)]
    TooMany,
    /// More than [`Tags::MAX_BYTES`].
    #[error("the tags of a member have at most {} bytes together, not {bytes}", Tags::MAX_BYTES)]
    TooLong {
        /// The bytes of all keys and values together.
        bytes: usize,
    },
}

pub(crate) fn check_key(key: &str) -> Result<(), TagError> {
    let is_valid = |c: u8| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-');
    let has_length = (1..=Tags::MAX_KEY_BYTES).contains(&key.len());
    match has_length && key.bytes().all(is_valid) {
        true => Ok(()),
        false => Err(TagError::Key { key: key.to_owned() }),
    }
}

/// The weight that a tag's value states: one to four decimal digits.
pub(crate) fn read_weight(value: &str) -> Option<u16> {
    let is_number = (1..=4).contains(&value.len()) && value.bytes().all(|c| c.is_ascii_digit());
    let weight = Some(value).filter(|_| is_number)?.parse().ok();
    weight.filter(|&weight| weight <= Tags::MAX_WEIGHT)
}

fn check_value(value: &str) -> Result<(), TagError> {
    if value.len() > Tags::MAX_VALUE_BYTES {
        return Err(TagError::ValueTooLong { bytes: value.len() });
    }
    let unprintable = value.chars().find(|&c| !is_printable(c));
    unprintable.map_or(Ok(()), |character| Err(TagError::Character { character }))
}

/// Whether a member takes work, as it says itself. This is independent of whether it is alive: a member that answers pings
/// may be unable to work, or about to stop.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum ServingState {
    /// It takes work.
    #[default]
    Serving,
    /// It finishes the work it has and takes no more.
    Draining,
    /// It cannot work.
    NotServing(Reason),
}

impl ServingState {
    /// The state's name in logs, metrics and JSON.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Draining => "draining",
            Self::NotServing(_) => "not-serving",
        }
    }

    /// Why it cannot work, if it cannot.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Serving | Self::Draining => None,
            Self::NotServing(reason) => Some(reason.as_str()),
        }
    }
}

impl ServingState {
    fn encode(&self, body: &mut Vec<u8>) -> Result<(), EncodeError> {
        let code = match self {
            Self::Serving => 0,
            Self::Draining => 1,
            Self::NotServing(_) => NOT_SERVING.into(),
        };
        rmp::encode::write_uint(body, code)?;
        self.reason().map_or(Ok(()), |reason| rmp::encode::write_str(body, reason))
    }
}

impl fmt::Display for ServingState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason() {
            None => f.write_str(self.as_str()),
            Some(reason) => write!(f, "{} ({reason})", self.as_str()),
        }
    }
}

/// Why a member cannot work: a text of 1 to [`Reason::MAX_BYTES`] printable bytes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reason(Arc<str>);

impl Reason {
    /// The longest reason, in bytes of UTF-8.
    pub const MAX_BYTES: usize = 64;

    /// The reason as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for Reason {
    type Error = ReasonError;

    fn try_from(reason: &str) -> Result<Self, ReasonError> {
        if reason.is_empty() || reason.len() > Self::MAX_BYTES {
            return Err(ReasonError::Length { bytes: reason.len() });
        }
        match reason.chars().find(|&c| !is_printable(c)) {
            Some(character) => Err(ReasonError::Character { character }),
            None => Ok(Self(reason.into())),
        }
    }
}

/// Why a text cannot be a [`Reason`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ReasonError {
    /// Empty, or longer than [`Reason::MAX_BYTES`].
    #[error("a reason has 1 to {} bytes, not {bytes}", Reason::MAX_BYTES)]
    Length {
        /// The length found.
        bytes: usize,
    },
    /// It has a control character or an invisible one ([`is_printable`]).
    #[error("a reason cannot contain {character:?}")]
    Character {
        /// The first such character.
        character: char,
    },
}

/// Statements of a member about itself beside its addresses.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Profile {
    /// Its tags.
    pub tags: Tags,
    /// Whether it takes work.
    pub serving: ServingState,
}

impl Profile {
    /// Appends it to the body of a record: nothing at all for a member without tags that serves, as most do.
    pub(crate) fn encode(&self, body: &mut Vec<u8>) {
        if *self != Self::default() {
            self.encode_always(body);
        }
    }

    /// The same also for a member without tags that serves, where something follows.
    pub(crate) fn encode_always(&self, body: &mut Vec<u8>) {
        let written = self.tags.encode(body).and_then(|()| self.serving.encode(body));
        written.expect("writing to a vector cannot fail");
    }

    /// Decodes what follows the addresses of a record, and leaves what follows it.
    pub(crate) fn decode(bytes: &mut &[u8]) -> Result<Self, DecodeError> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let tags = decode_tags(bytes)?;
        Ok(Self { tags, serving: decode_serving(bytes)? })
    }
}

fn decode_tags(bytes: &mut &[u8]) -> Result<Tags, DecodeError> {
    let (mut tags, mut last) = (Tags::new(), "");
    let count = rmp::decode::read_map_len(bytes).map_err(|_| DecodeError::Invalid("tags"))?;
    for _ in 0..count {
        let (key, value) = (read_str(bytes)?, read_str(bytes)?);
        // A set of tags has exactly one encoding.
        if key <= last || tags.insert(key, value).is_err() {
            return Err(DecodeError::Invalid("tags"));
        }
        last = key;
    }
    Ok(tags)
}

fn decode_serving(bytes: &mut &[u8]) -> Result<ServingState, DecodeError> {
    let code = rmp::decode::read_int(bytes);
    Ok(match code.map_err(|_| DecodeError::Invalid("serving state"))? {
        0_u8 => ServingState::Serving,
        1 => ServingState::Draining,
        NOT_SERVING => {
            let reason = Reason::try_from(read_str(bytes)?);
            ServingState::NotServing(reason.map_err(|_| DecodeError::Invalid("reason"))?)
        }
        // A state of a later release: whatever it is, it is not the plain `Serving`.
        _ => ServingState::NotServing(Reason("unknown serving state".into())),
    })
}

/// The tags of a profile that was decoded before.
pub(crate) fn read_tags(mut bytes: &[u8]) -> impl Iterator<Item = (&str, &str)> {
    let count = rmp::decode::read_map_len(&mut bytes).unwrap_or_default();
    (0..count).map_while(move |_| Some((read_str(&mut bytes).ok()?, read_str(&mut bytes).ok()?)))
}

/// The serving state of a profile that was decoded before.
pub(crate) fn read_serving(mut bytes: &[u8]) -> ServingState {
    let tags = rmp::decode::read_map_len(&mut bytes).unwrap_or_default();
    let skipped: Result<(), _> = (0..2 * tags).try_for_each(|_| read_str(&mut bytes).map(drop));
    skipped.and_then(|()| decode_serving(&mut bytes)).unwrap_or_default()
}

fn read_str<'a>(bytes: &mut &'a [u8]) -> Result<&'a str, DecodeError> {
    let invalid = DecodeError::Invalid("text in a record");
    let Ok(length) = rmp::decode::read_str_len(bytes) else {
        return Err(invalid);
    };
    let text = bytes.split_off(..length as usize).and_then(|text| str::from_utf8(text).ok());
    text.ok_or(invalid)
}

type EncodeError = rmp::encode::ValueWriteError;

const NOT_SERVING: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(pairs: &[(&str, &str)]) -> Tags {
        let mut tags = Tags::new();
        pairs.iter().for_each(|(key, value)| tags.set(key, value).unwrap());
        tags
    }

    #[test]
    fn a_tag_beyond_a_limit_is_refused_and_changes_nothing() {
        let long = |length| "x".repeat(length);
        let key = |key: String| Err(TagError::Key { key });
        let cases = [
            (long(32), long(128), Ok(())),
            ("a-z_0.9".to_owned(), String::new(), Ok(())),
            (String::new(), long(1), key(String::new())),
            (long(33), long(1), key(long(33))),
            ("Role".to_owned(), long(1), key("Role".to_owned())),
            ("a b".to_owned(), long(1), key("a b".to_owned())),
            ("a".to_owned(), long(129), Err(TagError::ValueTooLong { bytes: 129 })),
            ("a".to_owned(), "a\nb".to_owned(), Err(TagError::Character { character: '\n' })),
            (
                "a".to_owned(),
                "\u{202e}b".to_owned(),
                Err(TagError::Character { character: '\u{202e}' }),
            ),
            ("a".to_owned(), "zwei Wörter, ja".to_owned(), Ok(())),
            ("weight".to_owned(), "1000".to_owned(), Ok(())),
            ("weight".to_owned(), "0".to_owned(), Ok(())),
        ];
        for (key, value, expected) in cases {
            let mut tags = tags(&[("zone", "a")]);
            let before = tags.clone();
            assert_eq!(tags.set(&key, &value), expected, "{key:?} {value:?}");
            assert_eq!(tags == before, expected.is_err());
        }
    }

    #[test]
    fn a_weight_is_a_number_up_to_a_thousand() {
        for value in ["", "1001", "-1", "+1", "1.5", "0x10", "00001", "\u{662}", "heavy"] {
            let refused = Err(TagError::Weight { value: value.to_owned() });
            assert_eq!(Tags::new().set("weight", value), refused, "{value:?}");
        }
        // A later release may allow more: the record of such a member is accepted, and its weight is the default.
        let mut tags = Tags::new();
        tags.insert("weight", "heavy").unwrap();
        let profile = Profile { tags, serving: ServingState::Serving };
        let mut body = Vec::new();
        profile.encode(&mut body);
        assert_eq!(Profile::decode(&mut &*body).unwrap(), profile);
        assert_eq!((read_weight("0070"), read_weight("heavy")), (Some(70), None));
    }

    #[test]
    fn tags_are_limited_in_number_and_in_bytes_together() {
        let mut many = Tags::new();
        (0..16).for_each(|number| many.set(&format!("k{number}"), "").unwrap());
        assert_eq!(many.set("k16", ""), Err(TagError::TooMany));
        assert_eq!(many.set("k15", "replaced"), Ok(()));

        let mut long = tags(&[("a", &"x".repeat(127)), ("b", &"x".repeat(127))]);
        assert_eq!(long.set("c", ""), Err(TagError::TooLong { bytes: 257 }));
        // A value that replaces another counts in place of it.
        assert_eq!(long.set("b", &"y".repeat(127)), Ok(()));
        assert_eq!(long.set("b", &"y".repeat(128)), Err(TagError::TooLong { bytes: 257 }));
        long.remove("a");
        assert_eq!(long.set("c", ""), Ok(()));
    }

    fn profiles() -> Vec<Profile> {
        let reason = Reason::try_from("disk full").unwrap();
        let serving =
            [ServingState::Serving, ServingState::Draining, ServingState::NotServing(reason)];
        let tags = [tags(&[]), tags(&[("role", "web,db"), ("zone", "a")])];
        let of =
            |tags: &Tags| serving.clone().map(|serving| Profile { tags: tags.clone(), serving });
        tags.iter().flat_map(of).collect()
    }

    #[test]
    fn a_profile_decodes_to_itself_whatever_a_later_release_appends() {
        for profile in profiles() {
            let mut body = Vec::new();
            profile.encode(&mut body);
            assert_eq!(Profile::decode(&mut &*body).unwrap(), profile);
            assert_eq!(read_serving(&body), profile.serving);
            assert!(read_tags(&body).eq(profile.tags.iter()));
            assert_eq!(body.is_empty(), profile == Profile::default());
            if !body.is_empty() {
                body.extend_from_slice(b"\xa5later");
                assert_eq!(Profile::decode(&mut &*body).unwrap(), profile);
            }
        }
    }

    #[test]
    fn a_truncated_profile_is_an_error_at_every_byte() {
        for profile in profiles() {
            let mut body = Vec::new();
            profile.encode(&mut body);
            for length in 1..body.len() {
                assert!(
                    Profile::decode(&mut &body[..length]).is_err(),
                    "{profile:?} {length} bytes"
                );
            }
        }
    }

    #[test]
    fn a_hostile_profile_is_refused() {
        let cases: &[(&str, &[u8])] = &[
            ("a key twice", b"\x82\xa1a\xa1x\xa1a\xa1y\x00"),
            ("out of order", b"\x82\xa1b\xa1x\xa1a\xa1y\x00"),
            ("a key of other characters", b"\x81\xa1A\xa1x\x00"),
            ("an invisible character", b"\x81\xa1a\xa3\xe2\x80\xae\x00"),
            ("no UTF-8", b"\x81\xa1a\xa1\xff\x00"),
            ("no map", b"\x91\xa1a\x00"),
            ("four billion tags", b"\xdf\xff\xff\xff\xff\xa1a\xa1x\x00"),
            ("an empty reason", b"\x80\x02\xa0"),
        ];
        for (what, body) in cases {
            assert!(Profile::decode(&mut &body[..]).is_err(), "{what}");
        }
        // Seventeen tags.
        let mut body = b"\xde\x00\x11".to_vec();
        (b'a'..b'a' + 17).for_each(|key| body.extend_from_slice(&[0xa1, key, 0xa0]));
        body.push(0);
        assert!(Profile::decode(&mut &*body).is_err());
    }

    #[test]
    fn a_serving_state_of_a_later_release_is_not_serving() {
        let found = Profile::decode(&mut &b"\x80\x07\xa3new"[..]).unwrap().serving;
        assert_eq!(found.to_string(), "not-serving (unknown serving state)");
    }
}
