//! `/v1/log`: which lines the node logs, shown and changed for a while, and the last lines.

use std::time::Duration;

use axum::{
    Json,
    body::Body,
    extract::{RawQuery, State},
    http::StatusCode,
};

use super::{body, node::Node, query::parameters, refusal::Refusal};
use crate::{
    logging::{DEFAULT_FOR, Log, LogFilter, LogStatus, MAX_FOR, MIN_FOR},
    settings::log_filter,
};

/// `GET /v1/log`
pub(super) async fn get(State(node): State<Node>) -> Result<Json<LogStatus>, Refusal> {
    Ok(Json(of(&node)?.1.status()))
}

/// `PUT /v1/log`: the body is the filter.
pub(super) async fn set(
    State(node): State<Node>,
    RawQuery(query): RawQuery,
    body: Body,
) -> Result<Json<LogStatus>, Refusal> {
    let [duration] = parameters(query.as_deref(), ["for"])?;
    let duration = duration.map_or(Ok(DEFAULT_FOR), |text| parse_for(&text));
    let duration = duration.map_err(|error| Refusal::invalid(format!("for: {error}")))?;
    let filter = body::text(body).await?;
    let filter = log_filter(filter.trim()).map_err(Refusal::invalid)?;
    Ok(Json(of(&node)?.1.set_for(&filter, duration)))
}

/// `DELETE /v1/log`
pub(super) async fn reset(State(node): State<Node>) -> Result<Json<LogStatus>, Refusal> {
    Ok(Json(of(&node)?.1.reset()))
}

/// `GET /v1/log/recent`
pub(super) async fn recent(State(node): State<Node>) -> Result<String, Refusal> {
    Ok(of(&node)?.0.recent_lines())
}

fn of(node: &Node) -> Result<&(Log, LogFilter), Refusal> {
    let none = || Refusal::new(StatusCode::NOT_FOUND, "this node has no log");
    node.log.as_ref().ok_or_else(none)
}

/// How long a filter is in effect.
pub(crate) fn parse_for(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if (MIN_FOR..=MAX_FOR).contains(&duration) => Ok(duration),
        Ok(_) | Err(_) => Err("expected a duration from 1s to 24h, such as 5m".to_owned()),
    }
}
