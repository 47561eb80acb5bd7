//! A member by its id and name, as most JSON mentions one.

use phin::{MemberId, Members};
use serde::{Deserialize, Serialize};

use crate::text::{printable_option, short};

/// A member by its id and name.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct BriefMember {
    pub(crate) id: MemberId,
    /// `null` if the list no longer has the member.
    #[serde(deserialize_with = "printable_option")]
    pub(crate) name: Option<String>,
}

impl BriefMember {
    pub(crate) fn new(id: MemberId, members: &Members) -> Self {
        Self { id, name: members.get(id).map(|member| member.name().to_owned()) }
    }

    /// Its name, or else the start of its id.
    pub(crate) fn label(&self) -> String {
        self.name.clone().unwrap_or_else(|| short(&self.id.to_string()))
    }
}

/// A member for tests.
#[cfg(test)]
pub(crate) fn member_info(name: &str, id: &str, state: &str) -> phin::MemberInfo {
    let member = serde_json::json!({
        "id": id, "name": name, "addr": "127.0.0.1:7646", "generation": 1, "incarnation": 2, "state": state,
    });
    serde_json::from_value(member).unwrap()
}
