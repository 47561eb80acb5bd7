//! Whether a handshake that a peer begins may go on.

use std::sync::Arc;

use quinn::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    connection::Connection,
    gate::{Gate, Source},
    handshake::Handshakes,
    peer::canonical,
    stats::{Counters, add},
};

/// Admits connections that peers make to this node.
pub(crate) struct Acceptor {
    handshakes: Arc<Handshakes>,
    gate: Arc<Gate>,
    counters: Arc<Counters>,
    handshake_slots: Arc<Semaphore>,
    connection_slots: Arc<Semaphore>,
}

/// A handshake for which there is room.
pub(crate) struct Admitted {
    incoming: Incoming,
    source: Source,
    handshake_slot: OwnedSemaphorePermit,
    connection_slot: OwnedSemaphorePermit,
}

impl Acceptor {
    pub(crate) fn new(
        handshakes: Arc<Handshakes>,
        gate: Arc<Gate>,
        counters: Arc<Counters>,
        max_connections: usize,
    ) -> Self {
        let handshake_slots = Arc::new(Semaphore::new(MAX_HANDSHAKES));
        let connection_slots = Arc::new(Semaphore::new(max_connections));
        Self { handshakes, gate, counters, handshake_slots, connection_slots }
    }

    /// Takes in a handshake if there is room for it; otherwise answers it.
    pub(crate) fn admit(&self, incoming: Incoming) -> Option<Admitted> {
        let handshakes = MAX_HANDSHAKES - self.handshake_slots.available_permits();
        if handshakes >= MAX_UNPROVEN_HANDSHAKES && incoming.may_retry() {
            self.demand_retry(incoming);
            return None;
        }
        let handshake_slot = self.handshake_slots.clone().try_acquire_owned();
        let connection_slot = self.connection_slots.clone().try_acquire_owned();
        let (Ok(handshake_slot), Ok(connection_slot)) = (handshake_slot, connection_slot) else {
            add(&self.counters.connections_turned_away, 1);
            incoming.refuse();
            return None;
        };
        let addr = canonical(incoming.remote_address());
        let source = self.gate.source(addr, incoming.remote_address_validated());
        if self.gate.begin_handshake(source, addr) {
            return Some(Admitted { incoming, source, handshake_slot, connection_slot });
        }
        if incoming.may_retry() {
            self.demand_retry(incoming);
            return None;
        }
        // Without an answer, so that a client with the key tries again within the same dial.
        add(&self.counters.handshakes_over_budget, 1);
        incoming.ignore();
        None
    }

    /// Completes a handshake; `None` when there is no connection, which is counted.
    pub(crate) async fn complete(&self, admitted: Admitted) -> Option<Connection> {
        let Admitted { incoming, source, handshake_slot: _held, connection_slot } = admitted;
        let addr = canonical(incoming.remote_address());
        let connection = self.handshakes.accept(incoming, connection_slot).await?;
        self.gate.complete_handshake(source, addr);
        Some(connection)
    }

    /// Asks for proof that the client receives at the address it sends from (RFC 9000 §8.1.2).
    fn demand_retry(&self, incoming: Incoming) {
        add(&self.counters.retries_demanded, 1);
        // It fails for a client that was asked before, which `may_retry` excludes.
        let _ = incoming.retry();
    }
}

/// How many handshakes of peers may be under way at once; further ones are turned away.
pub(crate) const MAX_HANDSHAKES: usize = 256;
/// From so many on, peers must first prove their address, which costs them a round trip.
const MAX_UNPROVEN_HANDSHAKES: usize = 64;
