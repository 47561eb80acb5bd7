//! Where the events of a hook come from.

use futures::{Stream, stream};
use phin::{Change, Cluster, Filter, Notice};

use crate::{
    changes::{Changes, Told},
    events::{Line, What},
};

/// The events for which a hook runs its program.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Trigger {
    pub(crate) events: Vec<HookEvent>,
    /// Of the events about members, only those of members that match, before or after.
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

/// What a hook receives next.
#[derive(Debug, PartialEq)]
pub(super) enum Arrival {
    /// A line of JSON.
    Line(Vec<u8>),
    /// The node did not keep up with its own subscription, and this many changes are missing.
    Missed(u64),
}

impl HookEvent {
    /// All events.
    pub(crate) const ALL: [Self; 13] = [
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
}

/// The events of a hook, until the node has stopped.
pub(super) fn events(
    trigger: Trigger,
    cluster: &Cluster,
) -> impl Stream<Item = Vec<Arrival>> + use<> {
    let changes = Changes::new(cluster).matching(trigger.filter.clone());
    stream::unfold((changes, trigger), |(mut changes, trigger)| async move {
        let told = changes.next().await?;
        Some((arrivals(told, &trigger, changes.cluster()), (changes, trigger)))
    })
}

/// What a hook receives of one notice.
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
        Trigger { events: events.to_vec(), filter: filter.parse().unwrap() }
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
}
