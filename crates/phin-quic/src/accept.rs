//! Decides whether an incoming handshake may continue.

use std::sync::Arc;

use quinn::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    gate::{Gate, Source},
    handshake::{Accepted, Handshakes},
    peer::canonical,
    stats::{Counters, add},
};

/// Admits incoming connections, within limits.
pub(crate) struct Acceptor {
    handshakes: Arc<Handshakes>,
    gate: Arc<Gate>,
    counters: Arc<Counters>,
    handshake_slots: Arc<Semaphore>,
    connection_slots: Arc<Semaphore>,
}

/// An incoming handshake that holds a place among [`MAX_HANDSHAKES`].
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

    /// Admits a handshake if there is room. Otherwise refuses it, ignores it, or asks for a Retry.
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
        // Send no answer, so that a client with the key tries again within the same dial.
        add(&self.counters.handshakes_over_budget, 1);
        incoming.ignore();
        None
    }

    /// Completes a handshake. Returns `None` and counts it if there is no connection.
    pub(crate) async fn complete(&self, admitted: Admitted) -> Option<Accepted> {
        let Admitted { incoming, source, handshake_slot: _held, connection_slot } = admitted;
        let addr = canonical(incoming.remote_address());
        let accepted = self.handshakes.accept(incoming, connection_slot).await?;
        self.gate.complete_handshake(source, addr);
        if let Accepted::Member(_) = accepted {
            // Watchers have many addresses, each for a moment: they would displace those of members.
            self.gate.know(addr);
        }
        Some(accepted)
    }

    /// Asks the client to prove that it receives at its source address (RFC 9000 §8.1.2).
    fn demand_retry(&self, incoming: Incoming) {
        add(&self.counters.retries_demanded, 1);
        // This fails for a client that answered a Retry already, which `may_retry` excludes.
        let _ = incoming.retry();
    }
}

/// Incoming handshakes under way at once. Further ones are turned away.
pub(crate) const MAX_HANDSHAKES: usize = 256;
/// Incoming handshakes under way before clients must prove their address, which costs them a round trip.
const MAX_UNPROVEN_HANDSHAKES: usize = 64;
