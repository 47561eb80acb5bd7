//! `/v1/data` and `/v1/members/{name-or-id}/data`: this node's data, read and written, and that of all members, read.

use std::time::Duration;

use axum::{
    Json,
    body::Body,
    extract::{RawQuery, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use phin::{DataError, Member, PutDataError};
use tracing::debug;

use super::{
    body,
    lookup::find,
    node::Node,
    path::{Asked, asked},
    query::parameters,
    refusal::Refusal,
};
use crate::data::info::{DataOf, Deleted, Written};

/// `GET /v1/data`
pub(super) async fn own(State(node): State<Node>) -> Json<DataOf> {
    Json(data_of(&node, node.cluster.members().me()))
}

/// `GET /v1/data/{key}`
pub(super) async fn own_value(
    State(node): State<Node>,
    key: Asked<String>,
) -> Result<Response, Refusal> {
    value(&node, node.cluster.members().me(), &asked(key)?)
}

/// `PUT /v1/data/{key}`: the body is the value.
pub(super) async fn put(
    State(node): State<Node>,
    key: Asked<String>,
    RawQuery(query): RawQuery,
    body: Body,
) -> Result<Json<Written>, Refusal> {
    let key = asked(key)?;
    let [ttl] = parameters(query.as_deref(), ["ttl"])?;
    let time_to_live = ttl.as_deref().map(time_to_live).transpose()?;
    let value = body::read(body).await?;
    let written = match time_to_live {
        Some(time_to_live) => node.cluster.put_data_for(&key, &value, time_to_live).await,
        None => node.cluster.put_data(&key, &value).await,
    };
    written.map_err(refused)?;
    // Leases are renewed often: this is no news.
    debug!(key, bytes = value.len(), "set a key of this node's data, as asked over HTTP");
    Ok(Json(Written { key, bytes: value.len() }))
}

/// `DELETE /v1/data/{key}`
pub(super) async fn delete(
    State(node): State<Node>,
    key: Asked<String>,
) -> Result<Json<Deleted>, Refusal> {
    let key = asked(key)?;
    if !node.cluster.delete_data(&key).await.map_err(Refusal::stopped)? {
        return Err(no_key(node.cluster.members().me(), &key));
    }
    debug!(key, "deleted a key of this node's data, as asked over HTTP");
    Ok(Json(Deleted { deleted: key }))
}

/// `GET /v1/members/{name-or-id}/data`
pub(super) async fn of_member(
    State(node): State<Node>,
    member: Asked<String>,
) -> Result<Json<DataOf>, Refusal> {
    let members = node.cluster.members();
    let (member, _) = find(&members, &asked(member)?)?;
    Ok(Json(data_of(&node, member)))
}

/// `GET /v1/members/{name-or-id}/data/{key}`
pub(super) async fn value_of_member(
    State(node): State<Node>,
    names: Asked<(String, String)>,
) -> Result<Response, Refusal> {
    let (member, key) = asked(names)?;
    let members = node.cluster.members();
    let (member, _) = find(&members, &member)?;
    value(&node, member, &key)
}

fn data_of(node: &Node, member: &Member) -> DataOf {
    DataOf::new(member, node.cluster.data().of(member.id()).map(|data| &**data))
}

/// The value itself. A header has the member's state, since a dead member's value is the last that it had.
fn value(node: &Node, member: &Member, key: &str) -> Result<Response, Refusal> {
    let data = node.cluster.data();
    let value = data.get(member.id(), key).ok_or_else(|| no_key(member, key))?;
    let content_type = match str::from_utf8(value) {
        Ok(_) => "text/plain; charset=utf-8",
        Err(_) => "application/octet-stream",
    };
    let headers =
        [(header::CONTENT_TYPE.as_str(), content_type), (STATE_HEADER, member.state().as_str())];
    Ok((headers, value.to_vec()).into_response())
}

fn no_key(member: &Member, key: &str) -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, format!("{} has no key {key:?}", member.name()))
}

fn time_to_live(text: &str) -> Result<Duration, Refusal> {
    match humantime::parse_duration(text) {
        Ok(ttl) if (MIN_TTL..=MAX_TTL).contains(&ttl) => Ok(ttl),
        Ok(_) | Err(_) => {
            Err(Refusal::invalid(format!("ttl {text:?}: expected 1ms to 366days, such as 30s")))
        }
    }
}

fn refused(error: PutDataError) -> Refusal {
    let status = match &error {
        PutDataError::Refused(
            DataError::KeyLength { .. } | DataError::KeyCharacter { .. } | DataError::KeyReserved,
        ) => StatusCode::BAD_REQUEST,
        PutDataError::Refused(_) => StatusCode::PAYLOAD_TOO_LARGE,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    Refusal::new(status, error.to_string())
}

/// Has the member's state beside a value.
pub(crate) const STATE_HEADER: &str = "phin-member-state";
const MIN_TTL: Duration = Duration::from_millis(1);
const MAX_TTL: Duration = Duration::from_secs(366 * 24 * 3_600);
