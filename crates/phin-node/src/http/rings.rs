//! `GET /v1/members/{name-or-id}/rings`: the members that observe a member, and those that it observes.

use axum::{Json, extract::State};
use phin::{MemberInfo, MemberState, Members, Neighbour};
use serde::Serialize;

use super::{
    lookup::find,
    node::Node,
    path::{Asked, asked},
    refusal::Refusal,
};
use crate::events::BriefMember;

/// The answer of `/v1/members/{name-or-id}/rings`.
#[derive(Debug, Serialize)]
pub(super) struct Rings {
    member: MemberInfo,
    /// The number of rings.
    rings: u8,
    /// The number of members on each.
    live: usize,
    observers: Vec<Next>,
    subjects: Vec<Next>,
}

/// A member next to another one.
#[derive(Debug, Serialize)]
struct Next {
    #[serde(flatten)]
    member: BriefMember,
    state: Option<MemberState>,
    /// The rings on which it is next, from 0; empty if all members observe all.
    rings: Vec<u8>,
}

pub(super) async fn rings(
    State(node): State<Node>,
    member: Asked<String>,
) -> Result<Json<Rings>, Refusal> {
    let members = node.cluster.members();
    let (found, _) = find(&members, &asked(member)?)?;
    let id = found.id();
    let neighbours = node.cluster.neighbours(id).await.map_err(Refusal::stopped)?;
    // Of the same moment as the neighbours, or later.
    let members = node.cluster.members();
    let found = members.get(id).unwrap_or(found);
    let shown = |all: Vec<Neighbour>| all.into_iter().map(|one| Next::new(one, &members)).collect();
    Ok(Json(Rings {
        member: (&**found).into(),
        rings: node.about.config.rings,
        live: members.live_len(),
        observers: shown(neighbours.observers),
        subjects: shown(neighbours.subjects),
    }))
}

impl Next {
    fn new(next: Neighbour, members: &Members) -> Self {
        let state = members.get(next.id).map(|member| member.state());
        Self { member: BriefMember::new(next.id, members), state, rings: next.rings }
    }
}
