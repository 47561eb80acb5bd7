//! Tags and serving states of members, in a line of text.

use phin::{MemberInfo, ServingState};

/// Fields for a line of text, each after a space; nothing for a member without tags that serves.
pub(crate) fn to_fields(member: &MemberInfo) -> String {
    let MemberInfo { tags, serving, .. } = member;
    let mut fields = String::new();
    if !tags.is_empty() {
        fields.push_str(&format!(" tags={tags}"));
    }
    if *serving != ServingState::Serving {
        fields.push_str(&format!(" serving={}", serving.as_str()));
    }
    if let Some(reason) = serving.reason() {
        fields.push_str(&format!(" reason={reason:?}"));
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::brief::member_info;

    #[test]
    fn a_line_has_tags_and_state_where_there_are_some() {
        let mut member = member_info("n1", "00112233445566778899aabbccddeeff", "alive");
        assert_eq!(to_fields(&member), "");
        member.tags.set("role", "web").unwrap();
        member.tags.set("zone", "a").unwrap();
        member.serving = ServingState::NotServing("disk full".try_into().unwrap());
        let fields = " tags=role=web,zone=a serving=not-serving reason=\"disk full\"";
        assert_eq!(to_fields(&member), fields);
    }
}
