//! `POST /v1/reload`: reads the settings and credentials again.

use axum::{Json, extract::State, http::StatusCode};

use super::{node::Node, refusal::Refusal};
use crate::run::{Reloaded, Scope};

pub(super) async fn reload(State(node): State<Node>) -> Result<Json<Reloaded>, Refusal> {
    let none = || Refusal::new(StatusCode::NOT_FOUND, "this node has no settings to reload");
    let reloader = node.reloader.as_ref().ok_or_else(none)?;
    let reloaded = reloader.reload(Scope::Everything, "a request over HTTP").await;
    reloaded.map(Json).map_err(|error| Refusal::new(StatusCode::CONFLICT, error.to_string()))
}
