//! `GET /v1/links`: the evidence that this node has now on each member of which it has any.
//!
//! It is what changes in `/v1/members` without an event, and short: a node observes at most K members.

use axum::{Json, extract::State};
use phin::{Link, MemberId};
use serde::Serialize;

use super::{node::Node, refusal::Refusal};
use crate::events::{BriefMember, Failing};

/// The answer of `/v1/links`.
#[derive(Debug, Serialize)]
pub(super) struct Links {
    links: Vec<Known>,
}

/// What is known of one live member.
#[derive(Debug, Serialize)]
struct Known {
    member: BriefMember,
    /// Whether this node observes it.
    observed: bool,
    /// `null` without evidence here.
    phi: Option<f64>,
    /// The typical round trip; `null` before the first measurement, and for members that this node does not observe.
    rtt_ms: Option<f64>,
    /// The estimated probability that a ping or its reply is lost; `null` for members that this node does not observe.
    loss: Option<f64>,
    #[serde(flatten)]
    failing: Failing,
}

pub(super) async fn links(State(node): State<Node>) -> Result<Json<Links>, Refusal> {
    let links = node.cluster.links().await.map_err(Refusal::stopped)?;
    let phis = node.cluster.phis().await.map_err(Refusal::stopped)?;
    let unreached = node.cluster.unreached().await.map_err(Refusal::stopped)?;
    let members = node.cluster.members();
    let mut ids: Vec<MemberId> =
        links.iter().map(|link| link.id).chain(phis.keys().copied()).collect();
    ids.extend(unreached.iter().map(|unreached| unreached.id));
    ids.sort_unstable();
    ids.dedup();
    let known = ids.into_iter().map(|id| {
        let link: Option<&Link> = links.iter().find(|link| link.id == id);
        let failing = unreached.iter().find(|unreached| unreached.id == id);
        Known {
            member: BriefMember::new(id, &members),
            observed: link.is_some(),
            phi: phis.get(&id).copied(),
            rtt_ms: link.and_then(|link| link.round_trip).map(|trip| trip.as_secs_f64() * 1e3),
            loss: link.map(|link| link.loss),
            failing: failing.cloned().map(Failing::new).unwrap_or_default(),
        }
    });
    Ok(Json(Links { links: known.collect() }))
}
