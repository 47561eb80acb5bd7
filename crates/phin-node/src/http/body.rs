//! Bodies of requests: short or counted, and sent in time.

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes, to_bytes},
    http::StatusCode,
};
use futures::StreamExt;
use phin::{MemberData, Message, Publication};
use serde::de::DeserializeOwned;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::refusal::Refusal;

/// The body of a message. It holds its place among all of them.
pub(super) struct MessageBody {
    pub(super) bytes: Vec<u8>,
    _room: OwnedSemaphorePermit,
}

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

/// The body as it is, of at most the length of a value of member data.
pub(super) async fn read(body: Body) -> Result<Bytes, Refusal> {
    match timeout(MAX_BODY_TIME, to_bytes(body, MAX_BODY_BYTES)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        // A body of unknown length. A client that broke it off reads no answer.
        Ok(Err(_)) => Err(Refusal::too_long(MAX_BODY_BYTES)),
        Err(_) => Err(late()),
    }
}

/// The body of a message, as it is. Its bytes take room of those that all bodies of messages may have together.
pub(super) async fn message(
    body: Body,
    max_bytes: usize,
    room: &Arc<Semaphore>,
) -> Result<MessageBody, Refusal> {
    timeout(MAX_BODY_TIME, collect(body, max_bytes, room)).await.map_err(|_| late())?
}

async fn collect(
    body: Body,
    max_bytes: usize,
    room: &Arc<Semaphore>,
) -> Result<MessageBody, Refusal> {
    let take = |bytes: usize| {
        // No chunk is longer than a u32 can say; such a body would be too long anyway.
        let bytes = u32::try_from(bytes).map_err(|_| Refusal::too_long(max_bytes))?;
        Arc::clone(room).try_acquire_many_owned(bytes).map_err(|_| {
            let error = "the bodies of messages under way are too long together; try again later";
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error)
        })
    };
    let (mut bytes, mut taken) = (Vec::new(), take(0)?);
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Refusal::invalid("the body broke off"))?;
        if bytes.len() + chunk.len() > max_bytes {
            return Err(Refusal::too_long(max_bytes));
        }
        taken.merge(take(chunk.len())?);
        bytes.extend_from_slice(&chunk);
    }
    Ok(MessageBody { bytes, _room: taken })
}

/// The longest body of a request to this path.
pub(super) fn max_bytes(path: &str) -> usize {
    match path {
        path if path.starts_with("/v1/publish/") || path.starts_with("/v1/query/") => {
            Publication::MAX_BODY_BYTES
        }
        path if path.starts_with("/v1/send/") => Message::MAX_SENT_BYTES,
        _ => MAX_BODY_BYTES,
    }
}

fn late() -> Refusal {
    Refusal::new(StatusCode::REQUEST_TIMEOUT, "the body did not come in time")
}

/// The longest body that is no message is a value of member data.
const MAX_BODY_BYTES: usize = MemberData::MAX_VALUE_BYTES;
/// The most bytes that the bodies of all messages under way have together: as many as messages that wait for an
/// answer.
pub(super) const MAX_MESSAGE_BODIES_BYTES: usize = 64 * 1_024 * 1_024;
/// How long a client may take to send a body.
const MAX_BODY_TIME: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bodies_of_messages_share_their_room_and_give_it_back() {
        let room = Arc::new(Semaphore::new(10));
        let read = async |bytes: usize| message(Body::from(vec![0; bytes]), 8, &room).await;
        let first = read(6).await.ok().unwrap();
        assert_eq!(first.bytes.len(), 6);
        assert_eq!(read(6).await.err().unwrap().status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(read(9).await.err().unwrap().status, StatusCode::PAYLOAD_TOO_LARGE);
        drop(first);
        assert!(read(8).await.is_ok());
        assert_eq!(room.available_permits(), 10);
    }
}
