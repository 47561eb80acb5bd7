//! `/v1/serving`: whether this node takes work, read and set.

use axum::{Json, body::Body, extract::State};
use phin::ServingState;
use tracing::info;

use super::{body, node::Node, refusal::Refusal};
use crate::profile::ServingInfo;

/// `GET /v1/serving`
pub(super) async fn get(State(node): State<Node>) -> Result<Json<ServingInfo>, Refusal> {
    let serving = node.cluster.serving().await.map_err(Refusal::stopped)?;
    Ok(Json(ServingInfo::from(&serving)))
}

/// `PUT /v1/serving`
pub(super) async fn set(
    State(node): State<Node>,
    body: Body,
) -> Result<Json<ServingInfo>, Refusal> {
    let serving: ServingInfo = body::json(body).await?;
    let state = ServingState::try_from(serving.clone());
    let state = state.map_err(|error| Refusal::invalid(error.to_string()))?;
    info!(serving = %state, "set the serving state, as asked over HTTP");
    node.cluster.set_serving(state).await.map_err(Refusal::stopped)?;
    Ok(Json(serving))
}
