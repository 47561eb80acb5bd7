//! Bodies of requests: short, and sent in time.

use std::time::Duration;

use axum::{
    body::{Body, Bytes, to_bytes},
    http::StatusCode,
};
use phin::MemberData;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::refusal::Refusal;

/// The body as JSON.
pub(super) async fn json<T: DeserializeOwned>(body: Body) -> Result<T, Refusal> {
    let bytes = read(body).await?;
    serde_json::from_slice(&bytes).map_err(|error| Refusal::invalid(format!("the body: {error}")))
}

/// The body as text, as it is.
pub(super) async fn text(body: Body) -> Result<String, Refusal> {
    let bytes = read(body).await?;
    String::from_utf8(bytes.into()).map_err(|_| Refusal::invalid("the body is not UTF-8"))
}

/// The body as it is.
pub(super) async fn read(body: Body) -> Result<Bytes, Refusal> {
    match timeout(MAX_BODY_TIME, to_bytes(body, MAX_BODY_BYTES)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        // A body of unknown length. A client that broke it off reads no answer.
        Ok(Err(_)) => Err(Refusal::too_long()),
        Err(_) => Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "the body did not come in time")),
    }
}

/// The longest body is a value of member data.
pub(super) const MAX_BODY_BYTES: usize = MemberData::MAX_VALUE_BYTES;
/// How long a client may take to send a body.
const MAX_BODY_TIME: Duration = Duration::from_secs(5);
