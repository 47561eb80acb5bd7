//! `GET /v1/data/watch`: the data of all members, then every change of it, as server-sent events.
//!
//! The data is sent key by key, at the reader's pace, from a snapshot that shares its memory with the node. So a reader costs
//! little, however much data there is.

use std::{collections::VecDeque, convert::Infallible, sync::Arc};

use axum::{
    Extension,
    extract::{RawQuery, State},
    response::{
        IntoResponse,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures::stream::{self, Stream};
use phin::{
    Cluster, Data, DataNotice, DataSubscription, DataUpdate, MemberData, MemberId, MemberState,
    OwnerGone,
};
use tokio::sync::OwnedSemaphorePermit;

use super::{
    connections::Usage,
    node::Node,
    query::{parameters, parse_filter},
    refusal::Refusal,
};
use crate::{
    brief::BriefMember,
    data::info::{Entry, Line, What},
};

/// One subscriber.
struct Subscriber {
    cluster: Cluster,
    changes: DataSubscription,
    /// The owners that are still to be sent of a snapshot.
    owners: VecDeque<(MemberId, Arc<MemberData>)>,
    /// Lines to be sent before the next owner: those of one owner at most.
    due: VecDeque<What>,
    _slot: OwnedSemaphorePermit,
}

pub(super) async fn watch(
    State(node): State<Node>,
    Extension(usage): Extension<Usage>,
    RawQuery(query): RawQuery,
) -> Result<impl IntoResponse, Refusal> {
    let [prefix, filter] = parameters(query.as_deref(), ["prefix", "filter"])?;
    let filter = parse_filter(filter)?;
    let slot = node.subscriber_slot()?;
    usage.goes_on();
    let changes = node.cluster.subscribe_data();
    let subscriber = Subscriber {
        changes: changes.with_prefix(prefix.unwrap_or_default()).of_members(filter),
        cluster: node.cluster,
        owners: VecDeque::new(),
        due: VecDeque::new(),
        _slot: slot,
    };
    Ok(Sse::new(subscriber.into_stream()).keep_alive(KeepAlive::default()))
}

impl Subscriber {
    fn into_stream(self) -> impl Stream<Item = Result<Event, Infallible>> {
        stream::unfold(self, |mut subscriber| async move {
            let line = Line::now(subscriber.next().await?);
            let event = Event::default().event(line.what.name()).json_data(&line).ok()?;
            Some((Ok(event), subscriber))
        })
    }

    async fn next(&mut self) -> Option<What> {
        loop {
            if let Some(what) = self.due.pop_front() {
                return Some(what);
            }
            if let Some((owner, data)) = self.owners.pop_front() {
                self.take_owner(owner, &data);
                continue;
            }
            match self.changes.next().await? {
                DataNotice::Snapshot(data) => self.take_snapshot(&data),
                DataNotice::Missed { events, data } => {
                    self.due.push_back(What::Missed { events });
                    self.take_snapshot(&data);
                }
                DataNotice::Update { owner, update } => self.due.extend(self.what(owner, update)),
                _ => {}
            }
        }
    }

    fn take_snapshot(&mut self, data: &Data) {
        let keys = data.iter().map(|(_, data)| data.len()).sum();
        self.due.push_back(What::Snapshot { version: data.version(), keys });
        self.owners = data.iter().map(|(owner, data)| (owner, Arc::clone(data))).collect();
    }

    fn take_owner(&mut self, owner: MemberId, data: &MemberData) {
        let members = self.cluster.members();
        let is_dead = members.get(owner).is_some_and(|owner| owner.state() == MemberState::Dead);
        let member = BriefMember::new(owner, &members);
        let put = |(key, value): (&str, &Arc<[u8]>)| What::Put {
            member: member.clone(),
            entry: Entry::new(key, value),
        };
        self.due.extend(data.iter().map(put));
        if is_dead && !data.is_empty() {
            self.due.push_back(What::owner_gone(member, OwnerGone::Dead));
        }
    }

    fn what(&self, owner: MemberId, update: DataUpdate) -> Option<What> {
        let member = BriefMember::new(owner, &self.cluster.members());
        Some(match update {
            DataUpdate::Put { key, value } => What::Put { member, entry: Entry::new(&key, &value) },
            DataUpdate::Delete { key } => What::Delete { member, key: key.to_string() },
            DataUpdate::Expire { key } => What::Expire { member, key: key.to_string() },
            DataUpdate::OwnerGone(reason) => What::owner_gone(member, reason),
            // A later release may report more.
            _ => return None,
        })
    }
}
