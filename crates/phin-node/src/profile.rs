//! What members say of themselves, as others read it: tags and the serving state.

use phin::{Member, ServingState, Tags};
use serde::{Deserialize, Serialize};

/// The tags of a member, and whether it takes work; none and `serving` from earlier releases.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Profile {
    #[serde(default)]
    pub(crate) tags: Tags,
    #[serde(default)]
    pub(crate) serving: ServingState,
}

impl Profile {
    pub(crate) fn of(member: &Member) -> Self {
        let mut tags = Tags::new();
        for (key, value) in member.tags() {
            tags.set(key, value).expect("tags of a record are within their limits");
        }
        Self { tags, serving: member.serving() }
    }

    /// Fields for a line of text, each after a space; nothing for a member without tags that serves.
    pub(crate) fn to_fields(&self) -> String {
        let mut fields = String::new();
        if !self.tags.is_empty() {
            fields.push_str(&format!(" tags={}", self.tags));
        }
        if self.serving != ServingState::Serving {
            fields.push_str(&format!(" serving={}", self.serving.as_str()));
        }
        if let Some(reason) = self.serving.reason() {
            fields.push_str(&format!(" reason={reason:?}"));
        }
        fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_tags_and_state_where_there_are_some() {
        let mut profile = Profile::default();
        assert_eq!(profile.to_fields(), "");
        profile.tags.set("role", "web").unwrap();
        profile.tags.set("zone", "a").unwrap();
        profile.serving = ServingState::NotServing("disk full".try_into().unwrap());
        let fields = " tags=role=web,zone=a serving=not-serving reason=\"disk full\"";
        assert_eq!(profile.to_fields(), fields);
    }
}
