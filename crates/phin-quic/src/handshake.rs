//! Completes handshakes as client and as server: the conditions for a [`Connection`].

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use quinn::{Connecting, Incoming};
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, timeout},
};

use crate::{
    budget::Budget,
    close::{CloseCode, statement_in},
    config::{Params, STREAM_OVERHEAD},
    connection::Connection,
    expelled::Expelled,
    hello::{Hello, HelloError},
    identity::PeerId,
    peer::canonical,
    precedence::{Initiator, Standing},
    queue::{Queue, Received},
    refusal::{DialError, Refusal, RefusalLog, RefusedBy},
    secret::random,
    stats::{Counters, add},
    tls,
    watch::serve::{IncomingWatcher, Places},
};

/// Completes handshakes.
pub(crate) struct Handshakes {
    own_id: PeerId,
    /// Identifies this run of the process: see [`Hello`].
    instance: u64,
    params: Arc<Params>,
    queue: Arc<Queue>,
    counters: Arc<Counters>,
    refusal_log: RefusalLog,
    next_accepted: AtomicU64,
    watchers: Arc<Places>,
    expelled: Arc<Expelled>,
}

/// An incoming connection whose handshake is complete.
pub(crate) enum Accepted {
    Member(Connection),
    /// `None` if it proved itself, and was closed and counted nevertheless.
    Watcher(Option<IncomingWatcher>),
}

/// The result of a dial.
pub(crate) struct Dialled {
    pub(crate) connection: Connection,
    /// The source address of this node's packets as the peer sees it.
    pub(crate) observed: Option<SocketAddr>,
}

impl Handshakes {
    pub(crate) fn new(
        own_id: PeerId,
        params: Arc<Params>,
        queue: Arc<Queue>,
        counters: Arc<Counters>,
        watchers: Arc<Places>,
        expelled: Arc<Expelled>,
    ) -> Arc<Self> {
        Arc::new(Self {
            own_id,
            instance: u64::from_be_bytes(random()),
            params,
            queue,
            counters,
            refusal_log: RefusalLog::default(),
            next_accepted: AtomicU64::new(0),
            watchers,
            expelled,
        })
    }

    /// Completes a handshake as client. The connection exists once the server's hello has arrived.
    pub(crate) async fn complete_dial(
        &self,
        addr: SocketAddr,
        connecting: Connecting,
    ) -> Result<Dialled, DialError> {
        let hello = Hello { instance: self.instance, number: 0, observed: None };
        let greeted = self.greet_server(connecting, hello);
        let shaken = timeout(self.params.handshake_timeout, greeted).await;
        let (quic, theirs) = match shaken {
            Ok(Ok(shaken)) => shaken,
            Ok(Err(error)) => return Err(self.dial_refused(addr, error)),
            Err(_elapsed) => return Err(DialError::TimedOut),
        };
        let Some(id) = tls::peer_id(&quic) else {
            return Err(self.dial_refused(addr, HelloError::Malformed));
        };
        if id == self.own_id {
            return Err(self.met_own_identity(&quic, theirs.instance));
        }
        add(&self.counters.connections_dialled, 1);
        let standing = standing(Initiator::Us, &theirs, theirs.number);
        let connection = Connection::new(quic, id, standing, self.incoming_of_peer(), None);
        Ok(Dialled { connection, observed: theirs.observed })
    }

    /// Completes a handshake as server. Returns `None` and counts it if there is no connection.
    pub(crate) async fn accept(
        &self,
        incoming: Incoming,
        slot: OwnedSemaphorePermit,
    ) -> Option<Accepted> {
        let addr = canonical(incoming.remote_address());
        let shaken =
            timeout(self.params.handshake_timeout, self.greet_client(incoming, slot)).await;
        let (quic, standing, slot) = match shaken {
            Ok(Ok(Greeted::Member(quic, standing, slot))) => (quic, standing, slot),
            Ok(Ok(Greeted::Watcher(watcher))) => return Some(Accepted::Watcher(watcher)),
            Ok(Err(HelloError::Malformed)) => {
                self.refused(addr, &Refusal::NotPhin, RefusedBy::Us);
                return None;
            }
            Ok(Err(HelloError::Expelled)) => {
                self.refused(addr, &Refusal::Expelled, RefusedBy::Us);
                return None;
            }
            Ok(Err(HelloError::Connection(error))) => {
                self.report_expulsion(addr, &error);
                match Refusal::from_connection_error(&error) {
                    Some((refusal, by)) => self.refused(addr, &refusal, by),
                    None => add(&self.counters.handshakes_abandoned, 1),
                }
                return None;
            }
            Err(_elapsed) => {
                add(&self.counters.handshakes_abandoned, 1);
                return None;
            }
        };
        let Some(id) = tls::peer_id(&quic) else {
            self.refused(addr, &Refusal::NotPhin, RefusedBy::Us);
            return None;
        };
        if id == self.own_id {
            self.met_own_identity(&quic, standing.peer_instance);
            return None;
        }
        add(&self.counters.connections_accepted, 1);
        let budget = self.incoming_of_peer();
        Some(Accepted::Member(Connection::new(quic, id, standing, budget, Some(slot))))
    }

    /// Completes the handshake and sends the hello, which tells the client that it is accepted. A watcher gives the place
    /// back as soon as it is known for one.
    async fn greet_client(
        &self,
        incoming: Incoming,
        slot: OwnedSemaphorePermit,
    ) -> Result<Greeted, HelloError> {
        let mut connecting = incoming.accept()?;
        let protocol = tls::negotiated(connecting.handshake_data().await?);
        if protocol.as_ref() == Some(self.watchers.protocol()) {
            drop(slot);
            return Ok(Greeted::Watcher(self.watchers.greet(connecting, &self.counters).await?));
        }
        let quic = connecting.await?;
        if self.expelled.refuse(&quic) {
            return Err(HelloError::Expelled);
        }
        let theirs = Hello::receive(&quic).await?;
        let number = self.next_accepted.fetch_add(1, Ordering::Relaxed);
        let observed = Some(canonical(quic.remote_address()));
        Hello { instance: self.instance, number, observed }.send(&quic).await?;
        Ok(Greeted::Member(quic, standing(Initiator::Peer, &theirs, number), slot))
    }

    /// A peer may hold a quarter of the common budget, but at least one message.
    fn incoming_of_peer(&self) -> Budget {
        let message = self.params.max_stream_bytes + STREAM_OVERHEAD;
        Budget::new(message.max(self.params.max_received_stream_bytes / 4))
    }

    fn dial_refused(&self, addr: SocketAddr, error: HelloError) -> DialError {
        let error = match error {
            HelloError::Connection(error) => {
                self.report_expulsion(addr, &error);
                DialError::from_connection_error(&error)
            }
            HelloError::Expelled => {
                DialError::Refused { refusal: Refusal::Expelled, by: RefusedBy::Us }
            }
            HelloError::Malformed => {
                DialError::Refused { refusal: Refusal::NotPhin, by: RefusedBy::Us }
            }
        };
        if let DialError::Refused { refusal, by } = &error {
            self.refused(addr, refusal, *by);
        }
        if error == DialError::IdentityInUse {
            self.queue.push_event(Received::IdentityInUse { addr });
        }
        error
    }

    /// Closes a connection whose far end proved this node's own identity. The hello shows whether it is this process.
    fn met_own_identity(&self, quic: &quinn::Connection, instance: u64) -> DialError {
        if instance == self.instance {
            quic.close(CloseCode::OWN_IDENTITY.0, b"");
            return DialError::OwnIdentity;
        }
        quic.close(CloseCode::IDENTITY_IN_USE.0, b"");
        let addr = canonical(quic.remote_address());
        self.queue.push_event(Received::IdentityInUse { addr });
        DialError::IdentityInUse
    }

    /// Completes the handshake, and waits for the hello, which shows that the server accepts this node.
    async fn greet_server(
        &self,
        connecting: Connecting,
        hello: Hello,
    ) -> Result<(quinn::Connection, Hello), HelloError> {
        let quic = connecting.await?;
        if self.expelled.refuse(&quic) {
            return Err(HelloError::Expelled);
        }
        hello.send(&quic).await?;
        let theirs = Hello::receive(&quic).await?;
        Ok((quic, theirs))
    }

    /// The far end may have refused this node because it is expelled.
    fn report_expulsion(&self, addr: SocketAddr, error: &quinn::ConnectionError) {
        if let Some(statement) = statement_in(error) {
            self.queue.push_event(Received::Expelled { addr, statement });
        }
    }

    /// Counts and logs a refusal.
    fn refused(&self, addr: SocketAddr, refusal: &Refusal, by: RefusedBy) {
        self.counters.record_refusal(refusal);
        self.refusal_log.log(addr, refusal, by, std::time::Instant::now());
    }
}

/// A client that proved what it has to, and said what it is.
enum Greeted {
    Member(quinn::Connection, Standing, OwnedSemaphorePermit),
    Watcher(Option<IncomingWatcher>),
}

/// The standing of a new connection, by which [`precedence`](crate::precedence) compares it with others.
fn standing(initiator: Initiator, theirs: &Hello, number: u64) -> Standing {
    Standing { initiator, peer_instance: theirs.instance, number, established: Instant::now() }
}
