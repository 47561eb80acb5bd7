//! Error answers.

use std::time::Duration;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value};

/// An error answer: `{"error": …}` with a status, perhaps with further fields.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(super) status: StatusCode,
    fields: Map<String, Value>,
    retry_after: Option<Duration>,
    /// How to authenticate.
    challenge: Option<&'static str>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        let fields = Map::from_iter([("error".to_owned(), Value::String(error.into()))]);
        Self { status, fields, retry_after: None, challenge: None }
    }

    /// The request says something that cannot be.
    pub(super) fn invalid(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }

    /// The request has no valid credentials; `challenge` says which (RFC 9110 §11.6.1).
    pub(super) fn unauthorized(challenge: &'static str, error: impl Into<String>) -> Self {
        let refusal = Self::new(StatusCode::UNAUTHORIZED, error);
        Self { challenge: Some(challenge), ..refusal }
    }

    /// A further field of the answer.
    pub(super) fn field(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(name.to_owned(), value.into());
        self
    }

    /// When the same request is worth another try.
    pub(super) fn retry_after(self, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..self }
    }

    pub(super) fn too_long(max_bytes: usize) -> Self {
        let error = format!("a body has at most {max_bytes} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, error)
    }

    pub(super) fn stopped(stopped: phin::Stopped) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, stopped.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.fields)).into_response();
        if let Some(after) = self.retry_after {
            // Whole seconds (RFC 9110 §10.2.3), and never too early.
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(challenge) = self.challenge {
            let challenge = HeaderValue::from_static(challenge);
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
