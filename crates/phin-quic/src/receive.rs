//! Receives messages on connections and queues them for the receiver.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use quinn::RecvStream;
use tokio::time::{Instant, sleep_until, timeout};

use crate::{
    budget::Budget,
    close::{DisconnectReason, statement_in},
    config::Params,
    connection::{Connection, OpenStream},
    connections::Connections,
    peer::Peer,
    queue::{Queue, Received},
    stats::{Counters, add, count},
    streams::{self, Unreceived},
};

/// The queue for incoming messages, and the budget of those that are incomplete.
pub(crate) struct Inbox {
    params: Arc<Params>,
    queue: Arc<Queue>,
    counters: Arc<Counters>,
    /// Bytes of incoming streams that wait for the receiver.
    incoming: Budget,
}

impl Inbox {
    pub(crate) fn new(params: Arc<Params>, queue: Arc<Queue>, counters: Arc<Counters>) -> Self {
        let incoming = Budget::new(params.max_received_stream_bytes);
        Self { params, queue, counters, incoming }
    }

    fn take_datagram(&self, from: Peer, payload: Bytes) {
        add(&self.counters.datagrams_received, 1);
        add(&self.counters.datagram_bytes_received, count(payload.len()));
        self.queue.push_datagram(from, payload);
    }

    /// Receives one message, within the limits on its length, its duration, and all waiting bytes.
    async fn take_stream(self: Arc<Self>, open: OpenStream, mut stream: RecvStream) {
        let limit = self.params.max_stream_bytes;
        let assembled = streams::assemble(&mut stream, limit, &self.incoming, &open.connection);
        match timeout(self.params.stream_timeout, assembled).await {
            Ok(Ok((payload, reserved))) => {
                add(&self.counters.streams_received, 1);
                add(&self.counters.stream_bytes_received, count(payload.len()));
                self.queue.push_stream(open.connection.peer, payload, reserved);
            }
            Ok(Err(Unreceived::TooLong)) => {
                add(&self.counters.streams_too_long, 1);
                streams::stop(&mut stream);
            }
            Ok(Err(Unreceived::BrokenOff)) => add(&self.counters.streams_broken_off, 1),
            Err(_elapsed) => {
                add(&self.counters.streams_timed_out, 1);
                streams::stop(&mut stream);
            }
        }
    }
}

/// Receives on a connection until it ends, and closes it when it is idle.
pub(crate) async fn run(
    connection: Arc<Connection>,
    inbox: Arc<Inbox>,
    connections: Arc<Connections>,
) {
    let idle_timeout = inbox.params.idle_timeout;
    let mut datagrams = 0_u64;
    let mut take = |payload: Bytes| {
        datagrams += 1;
        connection.touch();
        inbox.take_datagram(connection.peer, payload);
    };
    let check = sleep_until(connection.next_check(idle_timeout));
    tokio::pin!(check);
    let error = loop {
        tokio::select! {
            datagram = connection.quic.read_datagram() => match datagram {
                Ok(payload) => take(payload),
                Err(error) => break error,
            },
            stream = connection.quic.accept_uni() => match stream {
                Ok(stream) => {
                    connection.touch();
                    tokio::spawn(inbox.clone().take_stream(connection.open_stream(), stream));
                }
                Err(error) => break error,
            },
            () = connection.rescheduled.notified() => {
                check.as_mut().reset(connection.next_check(idle_timeout));
            }
            () = &mut check => {
                connections.close_if_overdue(&connection);
                let soonest = Instant::now() + MIN_CHECK_INTERVAL;
                check.as_mut().reset(connection.next_check(idle_timeout).max(soonest));
            }
        }
    };
    // Report all messages before the end of the connection, so that a peer that leaves and then closes counts as left.
    while let Ok(payload) = connection.quic.read_datagram().await {
        take(payload);
    }
    if let Some(statement) = statement_in(&error) {
        let addr = connection.peer.addr;
        inbox.queue.push_event(Received::Expelled { addr, statement });
    }
    connections.lost(&connection, DisconnectReason::of(&error));
    let stats = connection.quic.stats();
    inbox.counters.add_udp(&stats);
    let dropped = stats.frame_rx.datagram.saturating_sub(datagrams);
    add(&inbox.counters.datagrams_dropped_receive_buffer, dropped);
}

/// The interval of checks while streams keep an overdue connection open.
const MIN_CHECK_INTERVAL: Duration = Duration::from_millis(100);
