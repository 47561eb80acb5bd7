//! `GET /v1/links`: the evidence that this node has now on each member of which it has any.
//!
//! It is what changes in `/v1/members` without an event, and short: a node observes at most K members.

use std::time::Duration;

use axum::{Json, extract::State};
use phin::{Link, MemberId};

use super::{node::Node, refusal::Refusal};
use crate::{
    brief::BriefMember,
    events::Failing,
    links::{KnownLink, LinkList},
};

pub(super) async fn links(State(node): State<Node>) -> Result<Json<LinkList>, Refusal> {
    let links = node.cluster.links().await.map_err(Refusal::stopped)?;
    let phis = node.cluster.phis().await.map_err(Refusal::stopped)?;
    let unreached = node.cluster.unreached().await.map_err(Refusal::stopped)?;
    let members = node.cluster.members();
    let mut ids: Vec<MemberId> =
        links.iter().map(|link| link.id).chain(phis.keys().copied()).collect();
    ids.extend(unreached.iter().map(|unreached| unreached.id));
    ids.sort_unstable();
    ids.dedup();
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    let known = ids.into_iter().map(|id| {
        let link: Option<&Link> = links.iter().find(|link| link.id == id);
        let failing = unreached.iter().find(|unreached| unreached.id == id);
        KnownLink {
            member: BriefMember::new(id, &members),
            observed: link.is_some(),
            phi: phis.get(&id).copied(),
            rtt_ms: link.and_then(|link| link.round_trip).map(milliseconds),
            rtt_p99_ms: link.and_then(|link| link.round_trip_p99).map(milliseconds),
            rtt_samples: link.map(|link| link.samples),
            loss: link.map(|link| link.loss),
            failing: failing.cloned().map(Failing::new).unwrap_or_default(),
        }
    });
    Ok(Json(LinkList { links: known.collect() }))
}
