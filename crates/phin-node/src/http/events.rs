//! `GET /v1/events`: the whole list, then every change, as server-sent events with the list's version as id.

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
use phin::{Filter, Members, Notice};
use tokio::sync::OwnedSemaphorePermit;

use super::{connections::Usage, node::Node, query, refusal::Refusal};
use crate::{
    changes::{Changes, Told},
    events::{Line, What, member_list},
};

/// One subscriber. It receives changes at its own pace. A slow one receives the number of missed changes and a
/// snapshot.
struct Subscriber {
    changes: Changes,
    filter: Filter,
    /// The snapshot to send after a `missed`.
    due: Option<Members>,
    _slot: OwnedSemaphorePermit,
}

pub(super) async fn events(
    State(node): State<Node>,
    Extension(usage): Extension<Usage>,
    RawQuery(query): RawQuery,
) -> Result<impl IntoResponse, Refusal> {
    let filter = query::filter(query.as_deref())?;
    let slot = node.subscriber_slot()?;
    usage.goes_on();
    let changes = Changes::new(&node.cluster).matching(filter.clone());
    let subscriber = Subscriber { changes, filter, due: None, _slot: slot };
    Ok(Sse::new(subscriber.into_stream()).keep_alive(KeepAlive::default()))
}

impl Subscriber {
    fn into_stream(self) -> impl Stream<Item = Result<Event, Infallible>> {
        stream::unfold(self, |mut subscriber| async move {
            let event = subscriber.next().await?;
            Some((Ok(event), subscriber))
        })
    }

    async fn next(&mut self) -> Option<Event> {
        if let Some(members) = self.due.take() {
            return self.snapshot(&members).await;
        }
        let notice = match self.changes.next().await? {
            Told::Notice(notice) => notice,
            Told::Isolated(is_isolated) => {
                let line = Line::now(What::isolation(is_isolated));
                return json_event(line.what.name(), &line);
            }
        };
        match notice {
            Notice::Snapshot(members) => self.snapshot(&members).await,
            Notice::Event { at, event } => {
                let line = Line::of_event(at, &event, self.changes.cluster());
                json_event(line.what.name(), &line).map(|sent| sent.id(event.version.to_string()))
            }
            Notice::Missed { events, members } => {
                self.due = Some(members);
                let line = Line::now(What::missed(events));
                json_event(line.what.name(), &line)
            }
            _ => None,
        }
    }

    async fn snapshot(&self, members: &Members) -> Option<Event> {
        let links = self.changes.cluster().links().await.ok()?;
        let phis = self.changes.cluster().phis().await.ok()?;
        let unreached = self.changes.cluster().unreached().await.ok()?;
        let list = member_list(self.changes.cluster(), members, &links, &phis, &unreached);
        let list = list.matching(members, &self.filter);
        json_event("snapshot", &list).map(|sent| sent.id(list.version.to_string()))
    }
}

fn json_event(name: &str, data: &impl serde::Serialize) -> Option<Event> {
    Event::default().event(name).json_data(data).ok()
}
