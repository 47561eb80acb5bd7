//! `POST /v1/members/{name-or-id}/ping`: tries every path to a member.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Path, RawQuery, State, rejection::PathRejection},
    http::StatusCode,
};
use phin::{Cluster, PingError, PingRefusal};
use tracing::debug;

use super::{lookup::find, node::Node, query::parameters, refusal::Refusal};
use crate::ping::Pinged;

pub(super) async fn ping(
    State(node): State<Node>,
    asked: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<Json<Pinged>, Refusal> {
    let Path(asked) = asked.map_err(|error| Refusal::invalid(error.body_text()))?;
    let [timeout] = parameters(query.as_deref(), ["timeout"])?;
    let timeout = timeout.map_or(Ok(DEFAULT_TIMEOUT), |text| parse_ping_timeout(&text));
    let timeout = timeout.map_err(|error| Refusal::invalid(format!("timeout: {error}")))?;
    let members = node.cluster.members();
    let member = Arc::clone(find(&members, &asked)?.0);
    debug!(member = %member.id(), name = member.name(), "pinging a member by all paths, as asked over HTTP");
    let report = node.cluster.ping(member.id(), timeout).await.map_err(refused)?;
    let refusal = node.cluster.refusal(member.id()).map(|refused| refused.refusal.to_string());
    let members = node.cluster.members();
    let member = members.get(member.id()).unwrap_or(&member);
    Ok(Json(Pinged::new(member, &members, &report, refusal)))
}

fn refused(error: PingError) -> Refusal {
    let text = error.to_string();
    match error {
        PingError::Refused(PingRefusal::Unknown) => Refusal::new(StatusCode::NOT_FOUND, text),
        PingError::Refused(PingRefusal::Myself) => Refusal::new(StatusCode::CONFLICT, text),
        PingError::Refused(PingRefusal::Timeout) => Refusal::invalid(text),
        PingError::Refused(PingRefusal::TooMany) => {
            let refusal = Refusal::new(StatusCode::TOO_MANY_REQUESTS, text);
            refusal.retry_after(Duration::from_secs(1))
        }
        // The node has stopped. A later release may have further reasons.
        _ => Refusal::new(StatusCode::SERVICE_UNAVAILABLE, text),
    }
}

/// How long answers are waited for.
pub(crate) fn parse_ping_timeout(text: &str) -> Result<Duration, String> {
    let allowed = Cluster::MIN_PING_TIMEOUT..=Cluster::MAX_PING_TIMEOUT;
    match humantime::parse_duration(text) {
        Ok(timeout) if allowed.contains(&timeout) => Ok(timeout),
        Ok(_) | Err(_) => Err("expected a duration from 10ms to 60s, such as 2s".to_owned()),
    }
}

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ping_too_many_may_be_tried_again() {
        for (refusal, expected) in [
            (PingRefusal::TooMany, StatusCode::TOO_MANY_REQUESTS),
            (PingRefusal::Unknown, StatusCode::NOT_FOUND),
            (PingRefusal::Myself, StatusCode::CONFLICT),
        ] {
            assert_eq!(refused(refusal.into()).status, expected, "{refusal}");
        }
        assert_eq!(parse_ping_timeout("60s"), Ok(Duration::from_secs(60)));
        assert!(parse_ping_timeout("61s").is_err() && parse_ping_timeout("2").is_err());
    }
}
