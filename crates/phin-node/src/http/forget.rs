//! `POST /v1/members/{name-or-id}/forget`: forgets a member that died or left.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
    http::StatusCode,
};
use phin::{ForgetError, ForgetRefusal};
use tracing::info;

use super::{lookup::find_departed, node::Node, refusal::Refusal};
use crate::events::Forgotten;

pub(super) async fn forget(
    State(node): State<Node>,
    asked: Result<Path<String>, PathRejection>,
) -> Result<Json<Forgotten>, Refusal> {
    let Path(asked) =
        asked.map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, error.body_text()))?;
    let found = Arc::clone(find_departed(&node.cluster.members(), &asked)?);
    node.cluster.forget(found.id()).await.map_err(|error| {
        let status = match &error {
            ForgetError::Refused(ForgetRefusal::Unknown) => StatusCode::NOT_FOUND,
            ForgetError::Refused(_) => StatusCode::CONFLICT,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        Refusal::new(status, format!("{:?} is not forgotten: {error}", found.name()))
    })?;
    info!(member = %found.id(), name = found.name(), "forgot a member on request over HTTP");
    Ok(Json(Forgotten { forgotten: (&*found).into() }))
}
