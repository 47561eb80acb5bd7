//! `/v1/serving`: whether this node takes work, read and set.

use axum::{Json, body::Body, extract::State};
use phin::ServingState;
use tracing::info;

use super::{body, node::Node, refusal::Refusal};

/// `GET /v1/serving`
pub(super) async fn get(State(node): State<Node>) -> Result<Json<ServingState>, Refusal> {
    Ok(Json(node.cluster.serving().await.map_err(Refusal::stopped)?))
}

/// `PUT /v1/serving`
pub(super) async fn set(
    State(node): State<Node>,
    body: Body,
) -> Result<Json<ServingState>, Refusal> {
    let serving: ServingState = body::json(body).await?;
    info!(%serving, "set the serving state, as asked over HTTP");
    node.cluster.set_serving(serving.clone()).await.map_err(Refusal::stopped)?;
    Ok(Json(serving))
}
