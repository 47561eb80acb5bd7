//! The parts of a path.

use axum::extract::{Path, rejection::PathRejection};
use phin::Topic;

use super::refusal::Refusal;

/// A part of a path, or several.
pub(super) type Asked<T> = Result<Path<T>, PathRejection>;

/// The part as text.
pub(super) fn asked<T>(asked: Asked<T>) -> Result<T, Refusal> {
    asked.map(|Path(asked)| asked).map_err(|error| Refusal::invalid(error.body_text()))
}

/// The topic that a text names.
pub(super) fn topic(text: &str) -> Result<Topic, Refusal> {
    text.parse().map_err(|error: phin::TopicError| Refusal::invalid(error.to_string()))
}
