//! `GET /v1/members/{name-or-id}/rings`: the members that observe a member, and those that it observes.

use axum::{Json, extract::State};
use phin::{Members, Neighbour};

use super::{
    lookup::find,
    node::Node,
    path::{Asked, asked},
    refusal::Refusal,
};
use crate::{
    brief::BriefMember,
    rings::{MemberRings, RingNeighbour},
};

pub(super) async fn rings(
    State(node): State<Node>,
    member: Asked<String>,
) -> Result<Json<MemberRings>, Refusal> {
    let members = node.cluster.members();
    let (found, _) = find(&members, &asked(member)?)?;
    let id = found.id();
    let neighbours = node.cluster.neighbours(id).await.map_err(Refusal::stopped)?;
    // Of the same moment as the neighbours, or later.
    let members = node.cluster.members();
    let found = members.get(id).unwrap_or(found);
    let shown = |all: Vec<Neighbour>| all.into_iter().map(|one| neighbour(one, &members)).collect();
    Ok(Json(MemberRings {
        member: (&**found).into(),
        rings: node.about.config.rings,
        live: members.live_len(),
        observers: shown(neighbours.observers),
        subjects: shown(neighbours.subjects),
    }))
}

fn neighbour(next: Neighbour, members: &Members) -> RingNeighbour {
    let state = members.get(next.id).map(|member| member.state());
    RingNeighbour { member: BriefMember::new(next.id, members), state, rings: next.rings }
}
