//! Messages as streams: one unidirectional stream carries one message and ends with it.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use quinn::{ConnectionError, ReadError, RecvStream, SendStream, VarInt, WriteError};
use tokio::time::timeout;

use crate::{
    budget::{Budget, Reservation},
    config::STREAM_OVERHEAD,
    connection::{CloseCode, Connection, OpenStream, SendError},
    pending::Message,
    stats::{add, count},
    transport::Shared,
};

/// Sends a message in the background. It ends delivered, or with one `SendFailed`.
pub(crate) fn send(shared: &Arc<Shared>, connection: &Arc<Connection>, payload: Bytes) {
    let bytes = payload.len();
    if bytes > shared.params.max_stream_bytes {
        return shared.stream_failed(connection.peer, SendError::TooLarge, bytes);
    }
    let queued = connection.outgoing_bytes.fetch_add(bytes, Ordering::Relaxed);
    let max_queued = 2 * shared.params.max_stream_bytes;
    if connection.open_streams() >= MAX_OPEN_STREAMS || queued + bytes > max_queued {
        connection.outgoing_bytes.fetch_sub(bytes, Ordering::Relaxed);
        return shared.stream_failed(connection.peer, SendError::TooMany, bytes);
    }
    add(&shared.counters.streams_sent, 1);
    add(&shared.counters.stream_bytes_sent, count(bytes));
    let (shared, open) = (shared.clone(), connection.open_stream());
    shared.runtime.clone().spawn(async move {
        let result = write(&open.connection, payload.clone(), shared.params.stream_timeout).await;
        open.connection.outgoing_bytes.fetch_sub(bytes, Ordering::Relaxed);
        match result {
            Ok(()) => {}
            // The peer closed a connection that it held to be quiet: it had taken no stream of
            // ours that it did not confirm, so sending it anew cannot deliver it twice.
            Err(SendError::ConnectionLost) if was_closed_as_quiet(&open.connection) => {
                shared.send(open.connection.peer, Message::Stream(payload));
            }
            Err(error) => shared.stream_failed(open.connection.peer, error, bytes),
        }
    });
}

/// Receives one message: within the limits on its length, its time, and what waits altogether.
pub(crate) async fn receive(shared: Arc<Shared>, open: OpenStream, mut stream: RecvStream) {
    let counters = &shared.counters;
    let limit = shared.params.max_stream_bytes;
    let assembled = assemble(&mut stream, limit, &shared.incoming, &open.connection);
    match timeout(shared.params.stream_timeout, assembled).await {
        Ok(Ok((payload, reserved))) => {
            add(&counters.streams_received, 1);
            add(&counters.stream_bytes_received, count(payload.len()));
            shared.queue.push_stream(open.connection.peer, payload, reserved);
        }
        Ok(Err(Unreceived::TooLong)) => {
            add(&counters.streams_too_long, 1);
            stop(&mut stream);
        }
        Ok(Err(Unreceived::BrokenOff)) => add(&counters.streams_broken_off, 1),
        Err(_elapsed) => {
            add(&counters.streams_timed_out, 1);
            stop(&mut stream);
        }
    }
}

enum Unreceived {
    TooLong,
    BrokenOff,
}

/// Bytes are copied as they arrive: a chunk from QUIC may be one byte that holds on to a whole
/// packet. Nothing is allocated for what is only announced.
async fn assemble(
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

fn stop(stream: &mut RecvStream) {
    // It fails for a stream that has ended already, which is as good.
    let _ = stream.stop(UNFINISHED);
}

async fn write(connection: &Connection, payload: Bytes, limit: Duration) -> Result<(), SendError> {
    let written = async {
        let stream = connection.quic.open_uni().await.map_err(|_| SendError::ConnectionLost)?;
        let mut stream = Unfinished { stream, is_finished: false };
        stream.stream.write_all_chunks(&mut [payload]).await.map_err(write_failed)?;
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

/// Breaks the stream off unless it was delivered: merely dropping it would end it, and what was
/// written so far would look like a whole message.
struct Unfinished {
    stream: SendStream,
    is_finished: bool,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.is_finished {
            // It fails when the peer stopped it, which is as good.
            let _ = self.stream.reset(UNFINISHED);
        }
    }
}

/// The one error code of streams: the message does not get through.
const UNFINISHED: VarInt = VarInt::from_u32(1);
const MAX_CHUNK_BYTES: usize = 64 * 1024;
/// Streams under way on one connection, in both directions; further ones fail.
const MAX_OPEN_STREAMS: usize = 256;
