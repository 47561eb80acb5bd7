//! `GET /v1/events`: the whole list, then every change, as server-sent events with the list's version as id; and the messages of
//! topics, in the same stream or without the list.

use std::convert::Infallible;

use axum::{
    Extension,
    extract::{RawQuery, State},
    response::{
        IntoResponse,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures::stream::{self, Stream};
use phin::{Cluster, Filter, Members, Notice, Topic, TopicNotice, TopicSubscription};
use tokio::sync::OwnedSemaphorePermit;

use super::{
    connections::Usage,
    node::Node,
    path::topic,
    query::{parse_filter, with_repeated},
    refusal::Refusal,
};
use crate::{
    changes::{Changes, Told},
    events::{Line, What, member_list},
    message::MessageEvent,
};

/// One subscriber. It receives changes and messages at its own pace. A slow one receives the number of missed changes and a
/// snapshot, or the number of missed messages.
struct Subscriber {
    cluster: Cluster,
    /// The changes of the list; `None` if only messages are wanted.
    changes: Option<Changes>,
    messages: Option<TopicSubscription>,
    filter: Filter,
    /// The first line of a stream that has messages.
    subscribed: Option<MessageEvent>,
    /// The snapshot to send after a `missed`.
    due: Option<Members>,
    _slot: OwnedSemaphorePermit,
}

/// The subscriber's request.
struct Wanted {
    filter: Filter,
    has_members: bool,
    topics: Vec<Topic>,
    topic_prefixes: Vec<String>,
}

pub(super) async fn events(
    State(node): State<Node>,
    Extension(usage): Extension<Usage>,
    RawQuery(query): RawQuery,
) -> Result<impl IntoResponse, Refusal> {
    let wanted = Wanted::read(query.as_deref())?;
    let slot = node.subscriber_slot()?;
    usage.goes_on();
    let subscriber = Subscriber::new(node.cluster, wanted, slot);
    Ok(Sse::new(subscriber.into_stream()).keep_alive(KeepAlive::default()))
}

impl Wanted {
    fn read(query: Option<&str>) -> Result<Self, Refusal> {
        let ([filter, members], [topics, topic_prefixes]) =
            with_repeated(query, ["filter", "members"], ["topic", "topic-prefix"])?;
        let has_filter = filter.is_some();
        let has_members = match members.as_deref() {
            None | Some("true") => true,
            Some("false") if has_filter => {
                return Err(Refusal::invalid("a filter selects changes of members"));
            }
            Some("false") => false,
            Some(other) => {
                return Err(Refusal::invalid(format!("members {other:?}: expected true or false")));
            }
        };
        if !has_members && topics.is_empty() && topic_prefixes.is_empty() {
            return Err(Refusal::invalid("without members, name a topic or a topic-prefix"));
        }
        let topics = topics.iter().map(|text| topic(text)).collect::<Result<_, _>>()?;
        Ok(Self { filter: parse_filter(filter)?, has_members, topics, topic_prefixes })
    }

    /// One subscription of all topics.
    fn subscribe(&self, cluster: &Cluster) -> Option<TopicSubscription> {
        let Self { topics, topic_prefixes, .. } = self;
        let (subscription, topics, prefixes) = match (&topics[..], &topic_prefixes[..]) {
            ([first, topics @ ..], prefixes) => (cluster.subscribe_topic(first), topics, prefixes),
            ([], [first, prefixes @ ..]) => (cluster.subscribe_topics(first), &[][..], prefixes),
            ([], []) => return None,
        };
        let subscription = topics.iter().fold(subscription, TopicSubscription::and_topic);
        Some(prefixes.iter().fold(subscription, |all, prefix| all.and_topics(prefix)))
    }
}

impl Subscriber {
    fn new(cluster: Cluster, wanted: Wanted, slot: OwnedSemaphorePermit) -> Self {
        let messages = wanted.subscribe(&cluster);
        let Wanted { filter, has_members, topics, topic_prefixes } = wanted;
        let changes = has_members.then(|| Changes::new(&cluster).matching(filter.clone()));
        let subscribed =
            messages.is_some().then_some(MessageEvent::Subscribed { topics, topic_prefixes });
        Self { cluster, changes, messages, filter, subscribed, due: None, _slot: slot }
    }

    fn into_stream(self) -> impl Stream<Item = Result<Event, Infallible>> {
        stream::unfold(self, |mut subscriber| async move {
            let event = subscriber.next().await?;
            Some((Ok(event), subscriber))
        })
    }

    async fn next(&mut self) -> Option<Event> {
        if let Some(subscribed) = self.subscribed.take() {
            return line_event(What::Messages(subscribed));
        }
        if let Some(members) = self.due.take() {
            return self.snapshot(&members).await;
        }
        tokio::select! {
            // Changes of members first: there are few of them.
            biased;
            told = next_change(&mut self.changes) => self.change(told?).await,
            notice = next_message(&mut self.messages) => self.message(notice?),
        }
    }

    async fn change(&mut self, told: Told) -> Option<Event> {
        let notice = match told {
            Told::Notice(notice) => notice,
            Told::Isolated(is_isolated) => return line_event(What::isolation(is_isolated)),
        };
        match notice {
            Notice::Snapshot(members) => self.snapshot(&members).await,
            Notice::Event { at, event } => {
                let line = Line::of_event(at, &event, &self.cluster);
                json_event(line.what.name(), &line).map(|sent| sent.id(event.version.to_string()))
            }
            Notice::Missed { events, members } => {
                self.due = Some(members);
                line_event(What::missed(events))
            }
            _ => None,
        }
    }

    fn message(&self, notice: TopicNotice) -> Option<Event> {
        line_event(What::Messages(MessageEvent::of(notice, &self.cluster.members())?))
    }

    async fn snapshot(&self, members: &Members) -> Option<Event> {
        let links = self.cluster.links().await.ok()?;
        let phis = self.cluster.phis().await.ok()?;
        let unreached = self.cluster.unreached().await.ok()?;
        let list = member_list(&self.cluster, members, &links, &phis, &unreached);
        let list = list.matching(members, &self.filter);
        json_event("snapshot", &list).map(|sent| sent.id(list.version.to_string()))
    }
}

/// The next change, if the subscriber wants any.
async fn next_change(changes: &mut Option<Changes>) -> Option<Told> {
    match changes {
        Some(changes) => changes.next().await,
        None => std::future::pending().await,
    }
}

/// The next message, if the subscriber wants any.
async fn next_message(messages: &mut Option<TopicSubscription>) -> Option<TopicNotice> {
    match messages {
        Some(messages) => messages.next().await,
        None => std::future::pending().await,
    }
}

/// The present moment as an event.
fn line_event(what: What) -> Option<Event> {
    let line = Line::now(what);
    json_event(line.what.name(), &line)
}

fn json_event(name: &str, data: &impl serde::Serialize) -> Option<Event> {
    Event::default().event(name).json_data(data).ok()
}
