//! Messages as streams: each unidirectional stream carries one message and ends with it.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use quinn::{ConnectionError, ReadError, RecvStream, SendStream, VarInt, WriteError};
use tokio::time::timeout;

use crate::{
    budget::{Budget, Reservation},
    close::CloseCode,
    config::{Params, STREAM_OVERHEAD},
    connection::{Connection, OpenStream},
    pending::StreamMessage,
    queue::SendError,
};

/// A message to send as a stream, within the limits of its connection.
pub(crate) struct Outgoing {
    open: OpenStream,
    stream: StreamMessage,
}

/// Why a stream may not have reached the peer.
pub(crate) enum Undelivered {
    /// The peer closed a connection that was idle to it. It had accepted no stream of ours without confirming it, so
    /// sending the message again cannot deliver it twice.
    NotTaken(StreamMessage),
    Failed(SendError, StreamMessage),
}

impl Outgoing {
    /// Opens a stream and reserves the bytes of the message on its connection.
    pub(crate) fn new(
        connection: &Arc<Connection>,
        stream: StreamMessage,
        params: &Params,
    ) -> Result<Self, (SendError, StreamMessage)> {
        let bytes = stream.payload.len();
        if bytes > params.max_stream_bytes {
            return Err((SendError::TooLarge, stream));
        }
        let open = match stream.bulk {
            Some(_) => connection.open_bulk(bytes, MAX_BULK_STREAMS, params.max_stream_bytes),
            None => connection.open_outgoing(bytes, MAX_OPEN_STREAMS, 2 * params.max_stream_bytes),
        };
        match open {
            Some(open) => Ok(Self { open, stream }),
            None => Err((SendError::TooMany, stream)),
        }
    }

    /// The length of the message in bytes.
    pub(crate) fn len(&self) -> usize {
        self.stream.payload.len()
    }

    /// Sends the message, and waits until the peer has confirmed it.
    pub(crate) async fn deliver(self, limit: Duration) -> Result<(), Undelivered> {
        let Self { open, stream } = self;
        match write(&open.connection, &stream, limit).await {
            Ok(()) => Ok(()),
            Err(SendError::ConnectionLost) if was_closed_as_quiet(&open.connection) => {
                Err(Undelivered::NotTaken(stream))
            }
            Err(error) => Err(Undelivered::Failed(error, stream)),
        }
    }
}

/// Why a stream was not received.
pub(crate) enum Unreceived {
    TooLong,
    BrokenOff,
}

/// Receives one message. Copies bytes as they arrive, because a one-byte chunk from QUIC may keep a whole packet in
/// memory. Allocates nothing for bytes that are only announced.
pub(crate) async fn assemble(
    stream: &mut RecvStream,
    limit: usize,
    all: &Budget,
    connection: &Connection,
) -> Result<(Bytes, Reservation), Unreceived> {
    let mut reserved = Reservation::default();
    reserved.add(STREAM_OVERHEAD, &connection.incoming, all).await;
    let mut message = BytesMut::new();
    loop {
        let chunk = match stream.read_chunk(MAX_CHUNK_BYTES, true).await {
            Ok(Some(chunk)) => chunk.bytes,
            Ok(None) => return Ok((message.freeze(), reserved)),
            Err(
                ReadError::Reset(_)
                | ReadError::ConnectionLost(_)
                | ReadError::ClosedStream
                | ReadError::IllegalOrderedRead
                | ReadError::ZeroRttRejected,
            ) => return Err(Unreceived::BrokenOff),
        };
        connection.touch();
        if message.len() + chunk.len() > limit {
            return Err(Unreceived::TooLong);
        }
        reserved.add(chunk.len(), &connection.incoming, all).await;
        message.extend_from_slice(&chunk);
    }
}

/// Asks the peer to stop sending a stream.
pub(crate) fn stop(stream: &mut RecvStream) {
    // This fails if the stream has ended already, which is fine.
    let _ = stream.stop(UNFINISHED);
}

async fn write(
    connection: &Connection,
    message: &StreamMessage,
    limit: Duration,
) -> Result<(), SendError> {
    let written = async {
        let stream = connection.quic.open_uni().await.map_err(|_| SendError::ConnectionLost)?;
        let mut stream = Unfinished { stream, is_finished: false };
        if message.bulk.is_some() {
            // This fails if the peer stopped the stream, and then writing to it does too.
            let _ = stream.stream.set_priority(BULK_PRIORITY);
        }
        let chunk = message.payload.clone();
        stream.stream.write_all_chunks(&mut [chunk]).await.map_err(write_failed)?;
        stream.stream.finish().map_err(|_closed| SendError::Stopped)?;
        match stream.stream.stopped().await {
            Ok(None) => {
                stream.is_finished = true;
                Ok(())
            }
            Ok(Some(_)) => Err(SendError::Stopped),
            Err(_) => Err(SendError::ConnectionLost),
        }
    };
    timeout(limit, written).await.unwrap_or(Err(SendError::TimedOut))
}

fn write_failed(error: WriteError) -> SendError {
    match error {
        WriteError::Stopped(_) | WriteError::ClosedStream => SendError::Stopped,
        WriteError::ConnectionLost(_) | WriteError::ZeroRttRejected => SendError::ConnectionLost,
    }
}

fn was_closed_as_quiet(connection: &Connection) -> bool {
    match connection.quic.close_reason() {
        Some(ConnectionError::ApplicationClosed(close)) => {
            let code = CloseCode(close.error_code);
            code == CloseCode::IDLE || code == CloseCode::SUPERSEDED
        }
        _ => false,
    }
}

/// Resets the stream when dropped, unless it was delivered. Dropping the stream itself would finish it, and the part
/// written so far would look like a complete message.
struct Unfinished {
    stream: SendStream,
    is_finished: bool,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.is_finished {
            // This fails if the peer stopped the stream, which is fine.
            let _ = self.stream.reset(UNFINISHED);
        }
    }
}

/// The only error code of streams: the message is not complete.
const UNFINISHED: VarInt = VarInt::from_u32(1);
const MAX_CHUNK_BYTES: usize = 64 * 1024;
/// Streams under way on one connection, in both directions. Further ones fail.
const MAX_OPEN_STREAMS: usize = 256;
/// Bulk messages under way on one connection. Further ones fail.
const MAX_BULK_STREAMS: usize = 64;
/// Other streams, which have priority 0, are sent first.
const BULK_PRIORITY: i32 = -1;
