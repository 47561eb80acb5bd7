//! Connections that peers make to this node.

use std::{sync::Arc, time::Duration};

use quinn::Incoming;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, MissedTickBehavior, interval, timeout},
};

use crate::{
    connection::{Connection, canonical},
    gate::Source,
    hello::{Hello, HelloError},
    identity::PeerId,
    precedence::{Initiator, Standing},
    refusal::{Refusal, RefusedBy},
    stats::add,
    tls,
    transport::Shared,
};

/// Accepts, and hears of refused ports, until the endpoint is closed; then ends the receiver.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut sweep = interval(SWEEP_INTERVAL);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            incoming = shared.endpoint.accept() => match incoming {
                Some(incoming) => {
                    shared.admit(incoming);
                    // While there is always a next one, this task would never let others run.
                    tokio::task::coop::consume_budget().await;
                }
                None => break,
            },
            Ok(refusal) = shared.socket.refusal() => shared.port_refused(refusal),
            _ = sweep.tick() => shared.sweep(),
        }
    }
    shared.queue.close();
}

impl Shared {
    /// Begins a handshake, if there is room for it.
    fn admit(self: &Arc<Self>, incoming: Incoming) {
        if self.is_closed() {
            return incoming.ignore();
        }
        let handshakes = MAX_HANDSHAKES - self.handshake_slots.available_permits();
        if handshakes >= MAX_UNPROVEN_HANDSHAKES && incoming.may_retry() {
            return self.demand_retry(incoming);
        }
        let handshake_slot = self.handshake_slots.clone().try_acquire_owned();
        let connection_slot = self.connection_slots.clone().try_acquire_owned();
        let (Ok(handshake_slot), Ok(connection_slot)) = (handshake_slot, connection_slot) else {
            add(&self.counters.connections_turned_away, 1);
            incoming.refuse();
            return;
        };
        let addr = canonical(incoming.remote_address());
        let source = self.gate.source(addr, incoming.remote_address_validated());
        if !self.gate.begin_handshake(source, addr) {
            if incoming.may_retry() {
                return self.demand_retry(incoming);
            }
            // Without an answer, so that a client with the key tries again within the same dial.
            add(&self.counters.handshakes_over_budget, 1);
            return incoming.ignore();
        }
        let handshake = self.clone().handshake(incoming, source, handshake_slot, connection_slot);
        self.runtime.spawn(handshake);
    }

    /// Asks for proof that the client receives at the address it sends from (RFC 9000 §8.1.2).
    fn demand_retry(&self, incoming: Incoming) {
        add(&self.counters.retries_demanded, 1);
        // It fails for a client that was asked before, which `may_retry` excludes.
        let _ = incoming.retry();
    }

    async fn handshake(
        self: Arc<Self>,
        incoming: Incoming,
        source: Source,
        handshake_slot: OwnedSemaphorePermit,
        connection_slot: OwnedSemaphorePermit,
    ) {
        let addr = canonical(incoming.remote_address());
        let shaken = timeout(self.params.handshake_timeout, self.shake_hands(incoming)).await;
        let (connection, standing) = match shaken {
            Ok(Ok(shaken)) => shaken,
            Ok(Err(HelloError::Malformed)) => {
                return self.refused(addr, &Refusal::NotPhin, RefusedBy::Us);
            }
            Ok(Err(HelloError::Connection(error))) => {
                return match Refusal::from_connection_error(&error) {
                    Some((refusal, by)) => self.refused(addr, &refusal, by),
                    None => add(&self.counters.handshakes_abandoned, 1),
                };
            }
            Err(_elapsed) => return add(&self.counters.handshakes_abandoned, 1),
        };
        drop(handshake_slot);
        let Some(key) = tls::peer_key(&connection) else {
            return self.refused(addr, &Refusal::NotPhin, RefusedBy::Us);
        };
        let id = PeerId::of(&key);
        if id == self.own_id {
            self.met_own_identity(&connection, standing.peer_instance);
            return;
        }
        self.gate.complete_handshake(source, addr);
        add(&self.counters.connections_accepted, 1);
        let (incoming, slot) = (self.incoming_of_peer(), Some(connection_slot));
        self.register(Arc::new(Connection::new(connection, id, standing, incoming, slot)));
    }

    /// Completes the handshake, and says hello, by which the client knows that it is accepted.
    async fn shake_hands(
        &self,
        incoming: Incoming,
    ) -> Result<(quinn::Connection, Standing), HelloError> {
        let connection = incoming.await?;
        let theirs = Hello::receive(&connection).await?;
        let number = self.next_accepted();
        let observed = Some(canonical(connection.remote_address()));
        Hello { instance: self.instance, number, observed }.send(&connection).await?;
        let standing = Standing {
            initiator: Initiator::Peer,
            peer_instance: theirs.instance,
            number,
            established: Instant::now(),
        };
        Ok((connection, standing))
    }
}

/// How many handshakes of peers may be under way at once; further ones are turned away.
pub(crate) const MAX_HANDSHAKES: usize = 256;
/// From so many on, peers must first prove their address, which costs them a round trip.
const MAX_UNPROVEN_HANDSHAKES: usize = 64;
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);
