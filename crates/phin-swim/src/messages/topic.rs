//! [`Topic`]: what a message is about.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::is_printable;

/// The topic of a message: a name that applications choose, such as `deploy/started`. 1 to 128 bytes of UTF-8 without
/// spaces, control characters or invisible ones ([`is_printable`]). Clones share memory.
///
/// ```
/// # use phin_swim::Topic;
/// let topic: Topic = "deploy/started".parse()?;
/// assert_eq!(topic.as_str(), "deploy/started");
/// assert!("two words".parse::<Topic>().is_err());
/// # Ok::<(), phin_swim::TopicError>(())
/// ```
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Topic(Arc<str>);

impl Topic {
    /// The longest topic, in bytes.
    pub const MAX_BYTES: usize = 128;

    /// The topic as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Topic {
    type Err = TopicError;

    fn from_str(topic: &str) -> Result<Self, TopicError> {
        if topic.is_empty() || topic.len() > Self::MAX_BYTES {
            return Err(TopicError::Length { bytes: topic.len() });
        }
        match topic.chars().find(|&c| c.is_whitespace() || !is_printable(c)) {
            Some(character) => Err(TopicError::Character { character }),
            None => Ok(Self(topic.into())),
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Serialize for Topic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Topic {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Why a text is no [`Topic`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TopicError {
    /// It is empty, or longer than [`Topic::MAX_BYTES`].
    #[error("a topic has 1 to {} bytes, not {bytes}", Topic::MAX_BYTES)]
    Length {
        /// The length of the text.
        bytes: usize,
    },
    /// It has a space, a control character or an invisible one.
    #[error("a topic cannot contain {character:?}")]
    Character {
        /// The first such character.
        character: char,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_short_and_printable() {
        let long = "t".repeat(Topic::MAX_BYTES);
        for topic in ["t", "deploy/started", "größe", &long] {
            assert_eq!(topic.parse::<Topic>().unwrap().as_str(), topic);
        }
        let refused = |topic: &str| topic.parse::<Topic>().unwrap_err().to_string();
        assert_eq!(refused(""), "a topic has 1 to 128 bytes, not 0");
        assert_eq!(refused(&(long + "t")), "a topic has 1 to 128 bytes, not 129");
        assert_eq!(refused("two words"), "a topic cannot contain ' '");
        assert_eq!(refused("line\n"), "a topic cannot contain '\\n'");
        assert_eq!(refused("bidi\u{202e}"), "a topic cannot contain '\\u{202e}'");
    }
}
