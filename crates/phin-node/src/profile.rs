//! What members say of themselves, as others read it: tags and the serving state, in JSON and in words.

use std::collections::BTreeMap;

use phin::{Member, Reason, ReasonError, ServingState};
use serde::{Deserialize, Deserializer, Serialize};

use crate::text::printable;

/// The tags of a member, and whether it takes work.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Profile {
    #[serde(default)]
    pub(crate) tags: TagMap,
    #[serde(default)]
    pub(crate) serving: ServingInfo,
}

/// Tags as a JSON object: the answer of `/v1/tags`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct TagMap(pub(crate) BTreeMap<String, String>);

/// Whether a member takes work: the answer of `/v1/serving`, and what is sent there.
// Variants with braces, because those without would take any further field.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum ServingInfo {
    Serving {},
    Draining {},
    NotServing {
        #[serde(deserialize_with = "printable")]
        reason: String,
    },
}

impl Profile {
    pub(crate) fn of(member: &Member) -> Self {
        Self { tags: member.tags().collect(), serving: ServingInfo::from(&member.serving()) }
    }

    /// Fields for a line of text, each after a space; nothing for a member without tags that serves.
    pub(crate) fn to_fields(&self) -> String {
        let tags =
            if self.tags.0.is_empty() { String::new() } else { format!(" tags={}", self.tags) };
        match &self.serving {
            ServingInfo::Serving {} => tags,
            serving => format!("{tags} serving={serving}"),
        }
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for TagMap {
    fn from_iter<T: IntoIterator<Item = (&'a str, &'a str)>>(tags: T) -> Self {
        Self(tags.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
    }
}

impl<'de> Deserialize<'de> for TagMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize, Eq, Ord, PartialEq, PartialOrd)]
        struct Text(#[serde(deserialize_with = "printable")] String);
        let tags = BTreeMap::<Text, Text>::deserialize(deserializer)?;
        Ok(Self(tags.into_iter().map(|(Text(key), Text(value))| (key, value)).collect()))
    }
}

impl std::fmt::Display for TagMap {
    /// `key=value`, separated by commas.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tags: Vec<_> = self.0.iter().map(|(key, value)| format!("{key}={value}")).collect();
        f.write_str(&tags.join(","))
    }
}

impl ServingInfo {
    /// The state in words, without the reason.
    pub(crate) const fn as_words(&self) -> &'static str {
        match self {
            Self::Serving {} => "serving",
            Self::Draining {} => "draining",
            Self::NotServing { .. } => "not serving",
        }
    }

    /// Why the member cannot work, if it cannot.
    pub(crate) fn reason(&self) -> Option<&str> {
        match self {
            Self::Serving {} | Self::Draining {} => None,
            Self::NotServing { reason } => Some(reason),
        }
    }
}

impl Default for ServingInfo {
    /// Earlier releases know no other state.
    fn default() -> Self {
        Self::Serving {}
    }
}

impl From<&ServingState> for ServingInfo {
    fn from(serving: &ServingState) -> Self {
        match serving {
            ServingState::Serving => Self::Serving {},
            ServingState::Draining => Self::Draining {},
            ServingState::NotServing(reason) => {
                Self::NotServing { reason: reason.as_str().to_owned() }
            }
        }
    }
}

impl TryFrom<ServingInfo> for ServingState {
    type Error = ReasonError;

    fn try_from(serving: ServingInfo) -> Result<Self, ReasonError> {
        match serving {
            ServingInfo::Serving {} => Ok(Self::Serving),
            ServingInfo::Draining {} => Ok(Self::Draining),
            ServingInfo::NotServing { reason } => Reason::try_from(&*reason).map(Self::NotServing),
        }
    }
}

impl std::fmt::Display for ServingInfo {
    /// `serving`, `draining`, or `not-serving` with the reason, as a field of a line.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Serving {} => f.write_str("serving"),
            Self::Draining {} => f.write_str("draining"),
            Self::NotServing { reason } => write!(f, "not-serving reason={reason:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serving_state_in_json_is_itself_again() {
        let reason = || Reason::try_from("disk full").unwrap();
        let states =
            [ServingState::Serving, ServingState::Draining, ServingState::NotServing(reason())];
        for state in states {
            let json = serde_json::to_string(&ServingInfo::from(&state)).unwrap();
            assert!(json.contains(&format!("\"state\":\"{}\"", state.as_str())), "{json}");
            let read: ServingInfo = serde_json::from_str(&json).unwrap();
            assert_eq!(ServingState::try_from(read).unwrap(), state);
        }
    }

    #[test]
    fn what_is_no_serving_state_is_refused() {
        for json in [
            "{}",
            "{\"state\":\"gone\"}",
            "{\"state\":\"not-serving\"}",
            "{\"state\":\"draining\",\"reason\":\"lost\"}",
            "{\"state\":\"not-serving\",\"reason\":\"\\u001b[2J\"}",
        ] {
            assert!(serde_json::from_str::<ServingInfo>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn a_line_has_tags_and_state_where_there_are_some() {
        let mut profile = Profile::default();
        assert_eq!(profile.to_fields(), "");
        profile.tags = [("role", "web"), ("zone", "a")].into_iter().collect();
        profile.serving = ServingInfo::NotServing { reason: "disk full".into() };
        assert_eq!(
            profile.to_fields(),
            " tags=role=web,zone=a serving=not-serving reason=\"disk full\""
        );
        assert!(serde_json::from_str::<TagMap>("{\"zone\":\"\\u001b[2J\"}").is_err());
    }
}
