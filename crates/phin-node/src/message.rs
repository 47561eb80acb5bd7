//! Messages of applications as JSON: the lines of `/v1/events`, and the answers to a message that was published or sent.

use phin::{Generation, Members, Message, Route, Topic, TopicNotice};
use serde::{Deserialize, Serialize};

use crate::{
    brief::BriefMember,
    content::Content,
    text::{escaped, printable_option},
};

/// The lines that a subscriber of topics receives. The tag is the field `event`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(crate) enum MessageEvent {
    /// The subscription of these topics begins. Earlier messages are not in the stream.
    Subscribed { topics: Vec<Topic>, topic_prefixes: Vec<String> },
    /// The next message.
    Message(Box<Arrived>),
    /// Messages that a member published did not reach this node, and no longer will.
    MessagesMissed { member: BriefMember, messages: u64 },
    /// The reader was too slow for this many messages.
    MessagesLagged { messages: u64 },
}

/// A message as it arrived.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Arrived {
    /// The member that published or sent it.
    pub(crate) member: BriefMember,
    /// The run of that member's process.
    pub(crate) generation: Generation,
    pub(crate) topic: Topic,
    #[serde(flatten)]
    pub(crate) way: Way,
    /// The length of the content.
    pub(crate) bytes: usize,
    #[serde(flatten)]
    pub(crate) content: Content,
}

/// How a message came; the tag is the field `route`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "route", rename_all = "lowercase")]
pub(crate) enum Way {
    /// It was published to all members.
    Published {
        /// Its number among all that the member published in this run.
        sequence: u64,
        /// How many members passed it on.
        hops: u8,
        #[serde(
            default,
            deserialize_with = "printable_option",
            skip_serializing_if = "Option::is_none"
        )]
        coalesce: Option<String>,
    },
    /// It was sent to this member alone.
    Sent,
    /// In a way that only a later release knows.
    #[serde(other)]
    Unknown,
}

/// The answer to a message that was published.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Published {
    pub(crate) topic: Topic,
    /// Its number among all that this run of the node published.
    pub(crate) sequence: u64,
    pub(crate) bytes: usize,
}

/// The answer to a message that was sent to one member.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Delivered {
    /// Whether the queue of the receiving application took it; `null` for a datagram, of which nobody reports that.
    pub(crate) delivered: Option<bool>,
    pub(crate) member: BriefMember,
    pub(crate) topic: Topic,
    pub(crate) bytes: usize,
}

impl MessageEvent {
    /// The line for a notice of a subscription; `None` if only a later release knows it.
    pub(crate) fn of(notice: TopicNotice, members: &Members) -> Option<Self> {
        let brief = |id| BriefMember::new(id, members);
        Some(match notice {
            TopicNotice::Message(message) => {
                let from = brief(message.from);
                Self::Message(Box::new(Arrived::new(message, from)))
            }
            TopicNotice::Missed { from, count } => {
                Self::MessagesMissed { member: brief(from), messages: count }
            }
            TopicNotice::Lagged { count } => Self::MessagesLagged { messages: count },
            _ => return None,
        })
    }

    /// The field `event`, and the type of the server-sent event.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Subscribed { .. } => "subscribed",
            Self::Message(_) => "message",
            Self::MessagesMissed { .. } => "messages-missed",
            Self::MessagesLagged { .. } => "messages-lagged",
        }
    }

    /// The human-readable text after the time and the event.
    pub(crate) fn to_text(&self) -> String {
        match self {
            Self::Subscribed { topics, topic_prefixes } => {
                let topics = topics.iter().map(|topic| format!(" topic={topic}"));
                let prefixes = topic_prefixes.iter();
                let prefixes = prefixes.map(|prefix| format!(" topic-prefix={}", escaped(prefix)));
                topics.chain(prefixes).collect::<String>().trim_start().to_owned()
            }
            Self::Message(arrived) => {
                let Arrived { member, topic, bytes, content, .. } = &**arrived;
                format!("{} {topic}: {}", member.label(), content.shown(*bytes, MAX_SHOWN_CHARS))
            }
            Self::MessagesMissed { member, messages } => {
                format!("{messages} of {}", member.label())
            }
            Self::MessagesLagged { messages } => {
                format!("{messages}, because the reader was too slow")
            }
        }
    }
}

impl Arrived {
    pub(crate) fn new(message: Message, member: BriefMember) -> Self {
        let way = match message.route {
            Route::Published { sequence, hops, coalesce } => {
                Way::Published { sequence, hops, coalesce: coalesce.map(|key| key.to_string()) }
            }
            Route::Sent => Way::Sent,
            // A later release may know more.
            _ => Way::Unknown,
        };
        Self {
            member,
            generation: message.generation,
            topic: message.topic,
            way,
            bytes: message.body.len(),
            content: Content::new(&message.body),
        }
    }
}

/// As much of a message as a line shows. Programs get all of it from JSON.
const MAX_SHOWN_CHARS: usize = 1_000;

#[cfg(test)]
mod tests {
    use phin::MemberId;

    use super::*;
    use crate::events::{Line, What};

    fn member() -> BriefMember {
        BriefMember { id: MemberId([0x11; 16]), name: Some("n1".to_owned()) }
    }

    fn message(body: &[u8], route: Route) -> MessageEvent {
        let topic = "news".parse().unwrap();
        let message = Message::new(member().id, Generation(2), topic, body, route);
        MessageEvent::Message(Box::new(Arrived::new(message, member())))
    }

    #[test]
    fn every_kind_of_line_survives_json_and_is_one_line_for_people() {
        let published = Route::Published { sequence: 3, hops: 1, coalesce: Some("key".into()) };
        let prefixes = vec!["a/\u{202e}".to_owned()];
        let cases = [
            (
                MessageEvent::Subscribed {
                    topics: vec!["news".parse().unwrap()],
                    topic_prefixes: prefixes,
                },
                "subscribed topic=news topic-prefix=a/\\u{202e}",
            ),
            (message(b"v42", published), "message    n1 news: v42"),
            (
                message("ü\n\u{1b}[2J".as_bytes(), Route::Sent),
                "message    n1 news: ü\\u{a}\\u{1b}[2J",
            ),
            (message(b"\xff\0", Route::Sent), "message    n1 news: (2 bytes)"),
            (
                MessageEvent::MessagesMissed { member: member(), messages: 2 },
                "messages-missed 2 of n1",
            ),
            (
                MessageEvent::MessagesLagged { messages: 7 },
                "messages-lagged 7, because the reader was too slow",
            ),
        ];
        for (told, text) in cases {
            let line = Line::now(What::Messages(told));
            let json = line.to_json();
            assert_eq!(serde_json::from_slice::<Line>(&json).unwrap(), line);
            let name = format!("\"event\":\"{}\"", line.what.name());
            assert!(String::from_utf8(json).unwrap().contains(&name));
            let shown = String::from_utf8(line.to_text()).unwrap();
            assert_eq!(shown.split_once(' ').unwrap().1, format!("{text}\n"));
        }
    }

    #[test]
    fn a_message_is_one_line_of_json() {
        let published = Route::Published { sequence: 3, hops: 1, coalesce: None };
        let json = |told: MessageEvent| serde_json::to_value(told).unwrap();
        let mut expected = serde_json::json!({
            "event": "message", "member": { "id": "11".repeat(16), "name": "n1" }, "generation": 2, "topic": "news",
            "route": "published", "sequence": 3, "hops": 1, "bytes": 3, "text": "v42",
        });
        assert_eq!(json(message(b"v42", published)), expected);
        let fields = expected.as_object_mut().unwrap();
        fields.retain(|name, _| !["sequence", "hops", "text"].contains(&&**name));
        fields.extend([("route".into(), "sent".into()), ("bytes".into(), 2.into())]);
        fields.insert("base64".into(), "/wA=".into());
        assert_eq!(json(message(b"\xff\0", Route::Sent)), expected);
    }
}
