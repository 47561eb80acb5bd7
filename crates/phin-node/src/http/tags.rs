//! `/v1/tags`: the tags of this node, read and changed.

use std::collections::BTreeMap;

use axum::{
    Json,
    body::Body,
    extract::{Path, State, rejection::PathRejection},
    http::StatusCode,
};
use phin::{SetTagError, Tags};
use tracing::info;

use super::{body, node::Node, refusal::Refusal};

/// A tag key in a path.
type Key = Result<Path<String>, PathRejection>;
type Answer = Result<Json<Tags>, Refusal>;

/// `GET /v1/tags`
pub(super) async fn get(State(node): State<Node>) -> Answer {
    Ok(Json(node.cluster.tags().await.map_err(Refusal::stopped)?))
}

/// `PUT /v1/tags`: replaces all tags.
pub(super) async fn replace(State(node): State<Node>, body: Body) -> Answer {
    let wanted: BTreeMap<String, String> = body::json(body).await?;
    let mut tags = Tags::new();
    for (key, value) in &wanted {
        tags.set(key, value).map_err(|error| Refusal::invalid(error.to_string()))?;
    }
    info!("replacing the tags, as asked over HTTP");
    node.cluster.set_tags(tags.clone()).await.map_err(Refusal::stopped)?;
    Ok(Json(tags))
}

/// `PATCH /v1/tags`: sets tags, and removes those that are `null` (RFC 7396).
pub(super) async fn change(State(node): State<Node>, body: Body) -> Answer {
    let changes: BTreeMap<String, Option<String>> = body::json(body).await?;
    apply(&node, changes).await
}

/// `PUT /v1/tags/{key}`: sets one tag; the body is the value.
pub(super) async fn set(State(node): State<Node>, key: Key, body: Body) -> Answer {
    let key = key_of(key)?;
    let value = body::text(body).await?;
    apply(&node, [(key, Some(value))]).await
}

/// `DELETE /v1/tags/{key}`
pub(super) async fn remove(State(node): State<Node>, key: Key) -> Answer {
    let key = key_of(key)?;
    let removed = node.cluster.remove_tag(&key).await.map_err(Refusal::stopped)?;
    if removed.is_none() {
        return Err(Refusal::new(StatusCode::NOT_FOUND, format!("this node has no tag {key:?}")));
    }
    info!(key, "removed a tag, as asked over HTTP");
    get(State(node)).await
}

async fn apply(node: &Node, changes: impl IntoIterator<Item = (String, Option<String>)>) -> Answer {
    info!("changing tags, as asked over HTTP");
    let tags = node.cluster.change_tags(changes).await.map_err(|error| match error {
        SetTagError::Tag(error) => Refusal::invalid(error.to_string()),
        error => Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    })?;
    Ok(Json(tags))
}

fn key_of(key: Key) -> Result<String, Refusal> {
    key.map(|Path(key)| key).map_err(|error| Refusal::invalid(error.body_text()))
}
