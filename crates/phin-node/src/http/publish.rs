//! `POST /v1/publish/{topic}`: publishes the body to all members.

use axum::{
    Json,
    body::Body,
    extract::{RawQuery, State},
    http::StatusCode,
};
use phin::{Publication, PublishError, PublishRefusal};
use tracing::debug;

use super::{
    body,
    node::Node,
    path::{Asked, asked, topic},
    query::{parameters, parse_filter},
    refusal::Refusal,
};
use crate::message::Published;

pub(super) async fn publish(
    State(node): State<Node>,
    to: Asked<String>,
    RawQuery(query): RawQuery,
    body: Body,
) -> Result<Json<Published>, Refusal> {
    let topic = topic(&asked(to)?)?;
    let [filter, coalesce] = parameters(query.as_deref(), ["filter", "coalesce"])?;
    let filter = parse_filter(filter)?;
    let body = body::message(body, Publication::MAX_BODY_BYTES, &node.message_bodies).await?;
    let publication = Publication::new(&topic, &body.bytes).to(filter);
    let publication = match coalesce {
        Some(key) => publication.coalesce(key),
        None => publication,
    };
    let sequence = node.cluster.publish_with(publication).await.map_err(refused)?;
    let bytes = body.bytes.len();
    debug!(%topic, sequence, bytes, "published a message, as asked over HTTP");
    Ok(Json(Published { topic, sequence, bytes }))
}

fn refused(error: PublishError) -> Refusal {
    let text = error.to_string();
    match error {
        PublishError::Refused(refusal) => of_refusal(&refusal, text),
        // The node has stopped. A later release may have further reasons.
        _ => Refusal::new(StatusCode::SERVICE_UNAVAILABLE, text),
    }
}

/// The answer to what the node does not publish. A query counts as a publication.
pub(super) fn of_refusal(refusal: &PublishRefusal, text: String) -> Refusal {
    match refusal {
        PublishRefusal::TooLong { .. } => Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, text),
        PublishRefusal::CoalesceKey => Refusal::invalid(text),
        PublishRefusal::Busy { retry_after } => {
            Refusal::new(StatusCode::TOO_MANY_REQUESTS, text).retry_after(*retry_after)
        }
        // The node has left. A later release may have further reasons.
        _ => Refusal::new(StatusCode::SERVICE_UNAVAILABLE, text),
    }
}
