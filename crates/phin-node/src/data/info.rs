//! Member data as others read it: the JSON of HTTP and of lines, and the human-readable line.

use std::time::SystemTime;

use phin::{Generation, Member, MemberData, MemberInfo, OwnerGone, Revision};
use serde::{Deserialize, Serialize};

use crate::{
    brief::BriefMember,
    content::Content,
    text::{printable, readable, rfc3339},
};

/// A member and its data, as a node knows it: the answer of `/v1/data` and `/v1/members/{member}/data`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct DataOf {
    /// The data of a member that is dead is what it was last.
    pub(crate) member: MemberInfo,
    /// The run of the member in which it wrote the data; 0 until it has published any.
    pub(crate) generation: Generation,
    pub(crate) revision: Revision,
    /// The bytes of all keys and values together.
    pub(crate) bytes: usize,
    pub(crate) entries: Vec<Entry>,
}

/// A key and its value.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Entry {
    #[serde(deserialize_with = "printable")]
    pub(crate) key: String,
    /// The length of the value.
    pub(crate) bytes: usize,
    #[serde(flatten)]
    pub(crate) value: Content,
}

/// The answer to a key that was set.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Written {
    #[serde(deserialize_with = "printable")]
    pub(crate) key: String,
    pub(crate) bytes: usize,
}

/// The answer to a key that was deleted.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Deleted {
    #[serde(deserialize_with = "printable")]
    pub(crate) deleted: String,
}

/// One line of a stream of changes.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Line {
    /// When this node reported it, as RFC 3339 in UTC with microseconds.
    #[serde(deserialize_with = "printable")]
    pub(crate) at: String,
    #[serde(flatten)]
    pub(crate) what: What,
}

/// The content of a line; the tag is the field `event`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(crate) enum What {
    /// The data begins anew: this many keys follow, each as a `put`, and an `owner-gone` after those of a dead member.
    Snapshot { version: u64, keys: usize },
    /// A member set a key.
    Put {
        member: BriefMember,
        #[serde(flatten)]
        entry: Entry,
    },
    /// A member deleted a key.
    Delete {
        member: BriefMember,
        #[serde(deserialize_with = "printable")]
        key: String,
    },
    /// The time to live of a key is over.
    Expire {
        member: BriefMember,
        #[serde(deserialize_with = "printable")]
        key: String,
    },
    /// A member is gone, for this reason. Its data is no longer there, unless it is dead.
    OwnerGone {
        member: BriefMember,
        #[serde(deserialize_with = "printable")]
        reason: String,
    },
    /// The reader was too slow for this many changes; a snapshot follows in their place.
    Missed { events: u64 },
}

impl DataOf {
    pub(crate) fn new(member: &Member, data: Option<&MemberData>) -> Self {
        Self {
            member: member.into(),
            generation: data.map_or(Generation(0), MemberData::generation),
            revision: data.map_or(Revision(0), MemberData::revision),
            bytes: data.map_or(0, MemberData::bytes),
            entries: data
                .into_iter()
                .flat_map(MemberData::iter)
                .map(|(key, value)| Entry::new(key, value))
                .collect(),
        }
    }
}

impl Entry {
    pub(crate) fn new(key: &str, value: &[u8]) -> Self {
        Self { key: key.to_owned(), bytes: value.len(), value: Content::new(value) }
    }

    /// The value on one line, as much of it as people read.
    pub(crate) fn shown(&self) -> String {
        self.value.shown(self.bytes, MAX_SHOWN_CHARS)
    }
}

impl Line {
    pub(crate) fn now(what: What) -> Self {
        Self { at: rfc3339(SystemTime::now()), what }
    }

    /// The line as JSON, with its end.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec(self).expect("a line is plain data with text keys");
        json.push(b'\n');
        json
    }

    /// The human-readable line, with its end.
    pub(crate) fn to_text(&self) -> Vec<u8> {
        let (at, event) = (readable(&self.at), self.what.name());
        let text = match &self.what {
            What::Snapshot { version, keys } => format!("{keys} keys version={version}"),
            What::Put { member, entry } => {
                format!("{} {} = {}", member.label(), entry.key, entry.shown())
            }
            What::Delete { member, key } | What::Expire { member, key } => {
                format!("{} {key}", member.label())
            }
            What::OwnerGone { member, reason } => format!("{} reason={reason}", member.label()),
            What::Missed { events } => format!("{events} changes, for the reader was too slow"),
        };
        format!("{at} {event:10} {text}\n").into_bytes()
    }
}

impl What {
    pub(crate) fn owner_gone(member: BriefMember, reason: OwnerGone) -> Self {
        let reason = match reason {
            OwnerGone::Dead => "dead",
            OwnerGone::Left => "left",
            OwnerGone::Restarted => "restarted",
            OwnerGone::Forgotten => "forgotten",
            // A later release may know more.
            _ => "unknown",
        };
        Self::OwnerGone { member, reason: reason.to_owned() }
    }

    /// The field `event`, and the type of the server-sent event.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Snapshot { .. } => "snapshot",
            Self::Put { .. } => "put",
            Self::Delete { .. } => "delete",
            Self::Expire { .. } => "expire",
            Self::OwnerGone { .. } => "owner-gone",
            Self::Missed { .. } => "missed",
        }
    }
}

/// As much of a value as lines and tables show.
const MAX_SHOWN_CHARS: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn member() -> BriefMember {
        let id = "00112233445566778899aabbccddeeff";
        serde_json::from_value(serde_json::json!({ "id": id, "name": "n1" })).unwrap()
    }

    #[test]
    fn a_value_is_text_or_base64() {
        let json = |value: &[u8]| serde_json::to_string(&Entry::new("k", value)).unwrap();
        assert_eq!(json("ü\n".as_bytes()), r#"{"key":"k","bytes":3,"text":"ü\n"}"#);
        assert_eq!(json(b"\xff\0"), r#"{"key":"k","bytes":2,"base64":"/wA="}"#);
        assert_eq!(Entry::new("k", b"\x1b[2J").shown(), "\\u{1b}[2J");
        assert_eq!(Entry::new("k", b"\xff\0").shown(), "(2 bytes)");
        let long = Entry::new("k", "ü".repeat(101).as_bytes()).shown();
        assert_eq!(long, "ü".repeat(100) + "…");
    }

    #[test]
    fn every_kind_of_line_survives_json_and_names_its_event() {
        let key = || "lease/a".to_owned();
        let whats = [
            (What::Snapshot { version: 3, keys: 1 }, "snapshot   1 keys version=3"),
            (What::Put { member: member(), entry: Entry::new("k", b"v") }, "put        n1 k = v"),
            (What::Delete { member: member(), key: key() }, "delete     n1 lease/a"),
            (What::Expire { member: member(), key: key() }, "expire     n1 lease/a"),
            (What::owner_gone(member(), OwnerGone::Dead), "owner-gone n1 reason=dead"),
            (What::Missed { events: 2 }, "missed     2 changes, for the reader was too slow"),
        ];
        for (what, text) in whats {
            let line = Line::now(what);
            let json = line.to_json();
            assert_eq!(serde_json::from_slice::<Line>(&json).unwrap(), line);
            let name = format!("\"event\":\"{}\"", line.what.name());
            assert!(String::from_utf8(json).unwrap().contains(&name));
            let shown = String::from_utf8(line.to_text()).unwrap();
            assert_eq!(shown.split_once(' ').unwrap().1, format!("{text}\n"));
        }
    }
}
