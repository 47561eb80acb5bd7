//! `GET /v1/members/{name-or-id}/why`: the last suspicion of a member.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
    http::StatusCode,
};

use super::{
    lookup::{MAX_SHOWN, find},
    node::Node,
    refusal::Refusal,
};
use crate::{events::Failing, suspicion::Why};

pub(super) async fn why(
    State(node): State<Node>,
    asked: Result<Path<String>, PathRejection>,
) -> Result<Json<Why>, Refusal> {
    let Path(asked) =
        asked.map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, error.body_text()))?;
    let members = node.cluster.members();
    let (found, others) = find(&members, &asked)?;
    let others = others.into_iter().take(MAX_SHOWN).map(|other| (&**other).into()).collect();
    let found = Arc::clone(found);
    let report = node.cluster.why(found.id()).await.map_err(Refusal::stopped)?;
    let penalty = node.cluster.flap_penalty(found.id()).await.map_err(Refusal::stopped)?;
    let unreached = node.cluster.unreached().await.map_err(Refusal::stopped)?;
    // After the report, so that the list contains the outcome of the report.
    let members = node.cluster.members();
    let member = members.get(found.id()).unwrap_or(&found);
    let failing = unreached.into_iter().find(|unreached| unreached.id == found.id());
    let failing = failing.map(Failing::new);
    let why = Why::new(&node.cluster, &members, member, report, penalty);
    Ok(Json(Why { failing: failing.unwrap_or_default(), others, ..why }))
}
