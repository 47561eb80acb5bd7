//! `GET /v1/diagnostics`: what the node says of itself, for a bundle.

use axum::{Json, extract::State, http::StatusCode};

use super::{node::Node, refusal::Refusal};
use crate::{diagnostics::Diagnostics, system::facts};

pub(super) async fn diagnostics(State(node): State<Node>) -> Result<Json<Diagnostics>, Refusal> {
    let none = || Refusal::new(StatusCode::NOT_FOUND, "this node has no settings to show");
    let reloader = node.reloader.as_ref().ok_or_else(none)?;
    let (settings, config) = reloader.shown().await;
    // Files of the kernel are read without a disk, but under pressure that takes its time too.
    let system = tokio::task::spawn_blocking(facts).await;
    let stopped = |_| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the node stops");
    Ok(Json(Diagnostics {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        settings,
        config,
        system: system.map_err(stopped)?,
        recent_events: node.recent_events.to_vec(),
    }))
}
