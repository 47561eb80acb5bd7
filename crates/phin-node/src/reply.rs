//! Outcomes of queries as JSON: the lines of the answer to `POST /v1/query/{topic}`.

use std::collections::BTreeMap;

use phin::{Members, QueryOutcome, QueryReply};
use serde::{Deserialize, Serialize};

use crate::{brief::BriefMember, content::Content, text::printable};

/// One line of the answer to a query.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum QueryLine {
    /// The outcome at one member.
    Outcome(MemberOutcome),
    /// The last line.
    Ended(Summary),
}

/// The outcome at one member that was asked.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct MemberOutcome {
    pub(crate) member: BriefMember,
    #[serde(deserialize_with = "printable")]
    pub(crate) outcome: String,
    /// `None` if it did not reply.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(crate) reply: Option<Reply>,
}

/// The content of a reply.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Reply {
    pub(crate) bytes: usize,
    #[serde(flatten)]
    pub(crate) content: Content,
}

/// How a query ended.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Summary {
    pub(crate) ended: Ended,
    /// The number of members with each outcome.
    pub(crate) outcomes: BTreeMap<String, u64>,
}

/// Why a query ended.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Ended {
    /// Each member that was asked has an outcome.
    Complete,
    /// As many members replied as were wanted. Others may have no outcome.
    Early,
}

impl QueryLine {
    /// As a line of JSON.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).expect("names and numbers can be written as JSON");
        line.push(b'\n');
        line
    }
}

impl MemberOutcome {
    pub(crate) fn new(reply: &QueryReply, members: &Members) -> Self {
        let content = match &reply.outcome {
            QueryOutcome::Reply(body) => {
                Some(Reply { bytes: body.len(), content: Content::new(body) })
            }
            // A later release may have further ones.
            _ => None,
        };
        Self {
            member: BriefMember::new(reply.member, members),
            outcome: reply.outcome.as_str().to_owned(),
            reply: content,
        }
    }
}

#[cfg(test)]
mod tests {
    use phin::MemberId;

    use super::*;

    #[test]
    fn every_line_survives_json() {
        let member = BriefMember { id: MemberId([0x11; 16]), name: Some("n1".to_owned()) };
        let outcome = |outcome: &str, reply| {
            let (member, outcome) = (member.clone(), outcome.to_owned());
            QueryLine::Outcome(MemberOutcome { member, outcome, reply })
        };
        let reply = |bytes: &[u8]| Reply { bytes: bytes.len(), content: Content::new(bytes) };
        let outcomes = BTreeMap::from([("reply".to_owned(), 2), ("dead".to_owned(), 1)]);
        let member = format!("{{\"member\":{{\"id\":\"{}\",\"name\":\"n1\"}},", "11".repeat(16));
        for (line, expected) in [
            (
                outcome("reply", Some(reply(b"17 GiB"))),
                format!("{member}\"outcome\":\"reply\",\"bytes\":6,\"text\":\"17 GiB\"}}\n"),
            ),
            (
                outcome("reply", Some(reply(b"\xff\0"))),
                format!("{member}\"outcome\":\"reply\",\"bytes\":2,\"base64\":\"/wA=\"}}\n"),
            ),
            (outcome("dead", None), format!("{member}\"outcome\":\"dead\"}}\n")),
            (
                QueryLine::Ended(Summary { ended: Ended::Early, outcomes }),
                "{\"ended\":\"early\",\"outcomes\":{\"dead\":1,\"reply\":2}}\n".to_owned(),
            ),
        ] {
            let json = line.to_json();
            assert_eq!(String::from_utf8(json.clone()).unwrap(), expected);
            assert_eq!(serde_json::from_slice::<QueryLine>(&json).unwrap(), line);
        }
    }
}
