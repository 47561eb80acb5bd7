//! Where the events of a hook come from.

use std::future::pending;

use futures::{Stream, stream};
use phin::{Change, Cluster, Filter, MemberId, Notice, Topic, TopicNotice, TopicSubscription};

use crate::{
    changes::{Changes, Told},
    events::{Line, What},
    message::MessageEvent,
};

/// The events for which a hook runs its program.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Trigger {
    pub(crate) events: Vec<HookEvent>,
    /// The topics whose messages are events, too.
    pub(crate) topics: Vec<Topic>,
    /// Restricts events about members to members that match before or after, and messages to senders that match when
    /// the message arrives.
    pub(crate) filter: Filter,
}

/// An event for which a hook can run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum HookEvent {
    /// A change of a member.
    Change(Change),
    /// The node receives nothing from any member.
    Isolated,
    /// It receives something again.
    Reconnected,
}

/// The next input of a hook.
#[derive(Debug, PartialEq)]
pub(super) enum Arrival {
    /// A line of JSON.
    Line(Vec<u8>),
    /// The hook did not keep up with a subscription, and this many changes or messages are missing.
    Missed(u64),
}

impl HookEvent {
    /// All events.
    pub(crate) const ALL: [Self; 14] = [
        Self::Change(Change::Joined),
        Self::Change(Change::Suspect),
        Self::Change(Change::Alive),
        Self::Change(Change::Dead),
        Self::Change(Change::Left),
        Self::Change(Change::Updated),
        Self::Change(Change::Forgotten),
        Self::Change(Change::NameConflict),
        Self::Change(Change::Suppressed),
        Self::Change(Change::Degraded),
        Self::Change(Change::Recovered),
        Self::Change(Change::Expelled),
        Self::Isolated,
        Self::Reconnected,
    ];

    /// Its name in settings and lines.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Change(change) => change.as_str(),
            Self::Isolated => "isolated",
            Self::Reconnected => "reconnected",
        }
    }

    pub(crate) const fn is_about_a_member(self) -> bool {
        matches!(self, Self::Change(_))
    }
}

impl Trigger {
    fn has(&self, event: HookEvent) -> bool {
        self.events.contains(&event)
    }

    /// One subscription of all topics; `None` if there are none.
    fn subscribe(&self, cluster: &Cluster) -> Option<TopicSubscription> {
        let (first, others) = self.topics.split_first()?;
        let subscription = cluster.subscribe_topic(first);
        Some(others.iter().fold(subscription, TopicSubscription::and_topic))
    }
}

/// The subscriptions of a hook.
struct Source {
    trigger: Trigger,
    cluster: Cluster,
    /// `None` if the hook is for messages only.
    changes: Option<Changes>,
    messages: Option<TopicSubscription>,
}

impl Source {
    async fn next(&mut self) -> Option<Vec<Arrival>> {
        let Self { trigger, cluster, changes, messages } = self;
        let change = async {
            match changes {
                Some(changes) => changes.next().await,
                None => pending().await,
            }
        };
        let message = async {
            match messages {
                Some(messages) => messages.next().await,
                None => pending().await,
            }
        };
        tokio::select! {
            // Changes of members first: there are few of them.
            biased;
            told = change => Some(arrivals(told?, trigger, cluster)),
            notice = message => Some(message_arrival(notice?, trigger, cluster).into_iter().collect()),
        }
    }
}

/// The events of a hook, until the node has stopped.
pub(super) fn events(
    trigger: Trigger,
    cluster: &Cluster,
) -> impl Stream<Item = Vec<Arrival>> + use<> {
    let has_changes = !trigger.events.is_empty();
    let changes = has_changes.then(|| Changes::new(cluster).matching(trigger.filter.clone()));
    let messages = trigger.subscribe(cluster);
    let source = Source { trigger, cluster: cluster.clone(), changes, messages };
    stream::unfold(source, |mut source| async move { Some((source.next().await?, source)) })
}

/// The input of a hook for one notice about messages.
fn message_arrival(notice: TopicNotice, trigger: &Trigger, cluster: &Cluster) -> Option<Arrival> {
    let members = cluster.members();
    let matches = |id: MemberId| {
        // A sender that the list no longer has has no tags here.
        trigger.filter.is_empty()
            || members.get(id).is_some_and(|member| trigger.filter.matches(member))
    };
    let is_wanted = match &notice {
        TopicNotice::Message(message) => matches(message.from),
        TopicNotice::Missed { from, .. } => matches(*from),
        // As if they had found the queue of the hook full.
        TopicNotice::Lagged { count } => return Some(Arrival::Missed(*count)),
        _ => false,
    };
    let told = MessageEvent::of(notice, &members).filter(|_| is_wanted)?;
    Some(Arrival::Line(Line::now(What::Messages(told)).to_json()))
}

/// The input of a hook for one notice.
fn arrivals(told: Told, trigger: &Trigger, cluster: &Cluster) -> Vec<Arrival> {
    let line = |line: Line| Arrival::Line(line.to_json());
    let notice = match told {
        Told::Notice(notice) => notice,
        Told::Isolated(is_isolated) => {
            let event = if is_isolated { HookEvent::Isolated } else { HookEvent::Reconnected };
            let wanted = trigger.has(event).then(|| line(Line::now(What::isolation(is_isolated))));
            return wanted.into_iter().collect();
        }
    };
    match notice {
        // As on standard output: the first list as if each member had just joined.
        Notice::Snapshot(members) if trigger.has(HookEvent::Change(Change::Joined)) => members
            .live()
            .filter(|member| trigger.filter.matches(member))
            .map(|member| line(Line::now(What::joined(member, members.version()))))
            .collect(),
        Notice::Event { at, event } if trigger.has(HookEvent::Change(event.change)) => {
            vec![line(Line::of_event(at, &event, cluster))]
        }
        Notice::Missed { events, .. }
            if trigger.events.iter().any(|event| event.is_about_a_member()) =>
        {
            vec![Arrival::Missed(events)]
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::StreamExt;

    use super::*;

    async fn cluster() -> Cluster {
        let key = phin::ClusterKey::generate();
        let builder = Cluster::builder().name("n1").key(key).tag("role", "db");
        builder.start().await.unwrap()
    }

    fn trigger(events: &[HookEvent], filter: &str) -> Trigger {
        let (events, topics) = (events.to_vec(), Vec::new());
        Trigger { events, topics, filter: filter.parse().unwrap() }
    }

    /// A hook of the topic `news`.
    fn of_news(events: &[HookEvent], filter: &str) -> Trigger {
        Trigger { topics: vec!["news".parse().unwrap()], ..trigger(events, filter) }
    }

    /// The events in the lines, and the missed ones.
    fn names(arrivals: Vec<Arrival>) -> Vec<String> {
        let name = |arrival| match arrival {
            Arrival::Line(line) => {
                let line: serde_json::Value = serde_json::from_slice(&line).unwrap();
                line["event"].as_str().unwrap().to_owned()
            }
            Arrival::Missed(events) => format!("missed {events}"),
        };
        arrivals.into_iter().map(name).collect()
    }

    #[tokio::test]
    async fn the_first_list_is_joined_members_that_match() {
        let cluster = cluster().await;
        let joined = HookEvent::Change(Change::Joined);
        let cases: [(_, _, &[&str]); 3] = [
            ([joined], "role=db", &["joined"]),
            ([joined], "role=web", &[]),
            ([HookEvent::Change(Change::Dead)], "", &[]),
        ];
        for (events, filter, expected) in cases {
            let snapshot = Told::Notice(Notice::Snapshot(cluster.members()));
            assert_eq!(names(arrivals(snapshot, &trigger(&events, filter), &cluster)), expected);
        }
    }

    #[tokio::test]
    async fn a_hook_receives_its_events_only() {
        let cluster = cluster().await;
        let [joined, isolated] = [HookEvent::Change(Change::Joined), HookEvent::Isolated];
        let missed = || Told::Notice(Notice::Missed { events: 3, members: cluster.members() });
        let cases: [(_, _, &[&str]); 5] = [
            (Told::Isolated(true), [isolated], &["isolated"]),
            (Told::Isolated(false), [isolated], &[]),
            (Told::Isolated(true), [joined], &[]),
            (missed(), [joined], &["missed 3"]),
            // The changes that it missed are about members.
            (missed(), [isolated], &[]),
        ];
        for (told, events, expected) in cases {
            assert_eq!(names(arrivals(told, &trigger(&events, ""), &cluster)), expected);
        }
    }

    #[tokio::test]
    async fn a_change_of_tags_reaches_the_hooks_of_matching_members() {
        let cluster = cluster().await;
        let updated = [HookEvent::Change(Change::Updated)];
        let mut matching = pin!(events(trigger(&updated, "role=db"), &cluster));
        let mut other = pin!(events(trigger(&updated, "role=web"), &cluster));
        for source in [&mut matching, &mut other] {
            assert_eq!(source.next().await, Some(Vec::new()), "the first list has no update");
        }
        cluster.set_tag("zone", "a").await.unwrap();
        assert_eq!(names(matching.next().await.unwrap()), ["updated"]);
        cluster.shutdown().await;
        assert_eq!(other.next().await, None);
    }

    /// The text of each message in the lines, or what else they report.
    fn texts(arrivals: Vec<Arrival>) -> Vec<String> {
        let text = |arrival| match arrival {
            Arrival::Line(line) => {
                let line: serde_json::Value = serde_json::from_slice(&line).unwrap();
                line["text"].as_str().or(line["event"].as_str()).unwrap().to_owned()
            }
            Arrival::Missed(messages) => format!("missed {messages}"),
        };
        arrivals.into_iter().map(text).collect()
    }

    #[tokio::test]
    async fn messages_reach_the_hooks_of_their_topic_and_sender() {
        let cluster = cluster().await;
        let mut all = pin!(events(of_news(&[HookEvent::Change(Change::Updated)], ""), &cluster));
        let mut matching = pin!(events(of_news(&[], "role=db"), &cluster));
        assert_eq!(all.next().await, Some(Vec::new()), "the first list has no update");
        let [news, other] = ["news", "other"].map(|topic| topic.parse().unwrap());
        cluster.publish(&other, "unread").await.unwrap();
        cluster.publish(&news, "one").await.unwrap();
        for source in [&mut all, &mut matching] {
            assert_eq!(texts(source.next().await.unwrap()), ["one"]);
        }
        cluster.set_tag("role", "web").await.unwrap();
        assert_eq!(names(all.next().await.unwrap()), ["updated"]);
        cluster.send(cluster.id(), &news, "two").await.unwrap();
        assert_eq!(texts(all.next().await.unwrap()), ["two"]);
        assert_eq!(texts(matching.next().await.unwrap()), [""; 0], "the sender is no db any more");
        cluster.shutdown().await;
        assert_eq!((all.next().await, matching.next().await), (None, None));
    }

    #[tokio::test]
    async fn a_hook_learns_of_missing_messages() {
        let cluster = cluster().await;
        let missed = || TopicNotice::Missed { from: cluster.id(), count: 3 };
        let lagged = || TopicNotice::Lagged { count: 2 };
        for (notice, filter, expected) in [
            (missed(), "", Some("messages-missed")),
            (missed(), "role=db", Some("messages-missed")),
            (missed(), "role=web", None),
            (lagged(), "role=web", Some("missed 2")),
        ] {
            let arrival = message_arrival(notice, &of_news(&[], filter), &cluster);
            let told = texts(arrival.into_iter().collect());
            assert_eq!(told, expected.map_or(vec![], |told| vec![told]), "{filter}");
        }
    }
}
