//! The state that the tasks of a transport share, and the cooperation of its parts.

use std::{
    collections::HashMap,
    future::Future,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use quinn::{Endpoint, Incoming};
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
    task::{AbortHandle, coop},
    time::{MissedTickBehavior, interval, sleep},
};

use crate::{
    accept::Acceptor,
    close::CloseCode,
    config::Params,
    connection::{Connection, NotSent},
    connections::Connections,
    credentials::InUse,
    dial::Dialler,
    expelled::Expelled,
    handshake::{Accepted, Dialled},
    identity::PeerId,
    peer::{Peer, canonical},
    pending::{Message, StreamMessage},
    queue::{Queue, Received, SendError},
    receive::{self, Inbox},
    refusal::{DialError, Refusal, RefusedBy},
    socket::Socket,
    stats::{Counters, TransportStats, add, count},
    streams::{Outgoing, Undelivered},
    tls::{Credentials, CredentialsError},
    watch::serve::Places,
};

/// The parts of a transport.
pub(crate) struct Shared {
    pub(crate) own_id: PeerId,
    pub(crate) local_addr: SocketAddr,
    pub(crate) params: Arc<Params>,
    pub(crate) runtime: Handle,
    pub(crate) endpoint: Endpoint,
    pub(crate) credentials: Arc<InUse>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) connections: Arc<Connections>,
    pub(crate) acceptor: Acceptor,
    pub(crate) dialler: Arc<Dialler>,
    pub(crate) watchers: Arc<Places>,
    pub(crate) expelled: Arc<Expelled>,
    pub(crate) path_checks: Semaphore,
    pub(crate) is_closed: AtomicBool,
}

impl Shared {
    /// Accepts connections and reports refused ports until the endpoint is closed. Then ends the receiver.
    pub(crate) async fn run(self: Arc<Self>, socket: Arc<Socket>) {
        let mut sweep = interval(SWEEP_INTERVAL);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                incoming = self.endpoint.accept() => match incoming {
                    Some(incoming) => {
                        self.accept(incoming);
                        // A flood would otherwise keep this task from yielding to others.
                        coop::consume_budget().await;
                    }
                    None => break,
                },
                Ok(refusal) = socket.refusal() => self.connections.port_refused(refusal),
                _ = sweep.tick() => self.connections.sweep(),
            }
        }
        self.queue.close();
    }

    fn accept(self: &Arc<Self>, incoming: Incoming) {
        if self.is_closed() {
            return incoming.ignore();
        }
        let Some(admitted) = self.acceptor.admit(incoming) else { return };
        let shared = self.clone();
        self.runtime.spawn(async move {
            match shared.acceptor.complete(admitted).await {
                Some(Accepted::Member(connection)) => shared.register(connection),
                Some(Accepted::Watcher(Some(watcher))) => {
                    let is_accepted = |quic: &quinn::Connection| shared.credentials.accepts(quic);
                    shared.watchers.arrived(watcher, is_accepted);
                }
                Some(Accepted::Watcher(None)) | None => {}
            }
        });
    }

    /// Sends a message over the connection to the peer, or queues it for a dial.
    pub(crate) fn send(self: &Arc<Self>, to: Peer, mut message: Message) {
        if self.is_closed() {
            add(&self.counters.dropped_after_close, 1);
            return;
        }
        if self.expelled.statement_for(to.id).is_some() {
            let (refusal, by) = (Refusal::Expelled, RefusedBy::Us);
            return self.connections.fail_message(to, message, DialError::Refused { refusal, by });
        }
        // If the connection turns out to be lost, the second round dials.
        for _ in 0..2 {
            let start_dial = |to, attempt| self.start_dial(to, attempt);
            let routed = self.connections.route(to, message, &start_dial);
            let Some((connection, routed)) = routed else { return };
            match self.send_over(&connection, routed) {
                Ok(()) => return self.watch_path(&connection, to),
                Err(returned) => message = returned,
            }
            self.connections.lost(&connection, connection.end());
        }
        match message {
            Message::Datagram(_) => add(&self.counters.datagrams_dropped_connection_lost, 1),
            Message::Stream(stream) => {
                self.queue.push_send_failed(to, SendError::ConnectionLost, &stream);
            }
        }
    }

    /// Passes a message to QUIC, or returns it if the connection is lost.
    fn send_over(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        message: Message,
    ) -> Result<(), Message> {
        let stream = match message {
            Message::Datagram(payload) => match connection.send_datagram(payload, &self.counters) {
                Ok(()) => return Ok(()),
                Err(NotSent::Lost(payload)) => return Err(Message::Datagram(payload)),
                Err(NotSent::TooLong(payload)) => {
                    add(&self.counters.datagrams_sent_as_streams, 1);
                    StreamMessage { payload, bulk: None }
                }
            },
            Message::Stream(_) if connection.is_closed() => return Err(message),
            Message::Stream(stream) => stream,
        };
        self.send_stream(connection, stream);
        Ok(())
    }

    /// Sends a stream in the background. It is delivered, or reported by one `SendFailed`.
    fn send_stream(self: &Arc<Self>, connection: &Arc<Connection>, stream: StreamMessage) {
        let peer = connection.peer;
        let outgoing = match Outgoing::new(connection, stream, &self.params) {
            Ok(outgoing) => outgoing,
            Err((error, stream)) => return self.queue.push_send_failed(peer, error, &stream),
        };
        add(&self.counters.streams_sent, 1);
        add(&self.counters.stream_bytes_sent, count(outgoing.len()));
        let shared = self.clone();
        self.runtime.spawn(async move {
            match outgoing.deliver(shared.params.stream_timeout).await {
                Ok(()) => {}
                Err(Undelivered::NotTaken(stream)) => shared.send(peer, Message::Stream(stream)),
                Err(Undelivered::Failed(error, stream)) => {
                    shared.queue.push_send_failed(peer, error, &stream);
                }
            }
        });
    }

    /// Dials the advertised address if nothing arrives after a message was sent. QUIC acknowledges every message, so
    /// silence means that the peer is silent, or that the path is lost although both ends live: a gateway forgot the
    /// flow, and no error reports it.
    fn watch_path(self: &Arc<Self>, connection: &Arc<Connection>, to: Peer) {
        if !connection.begin_path_watch() {
            return;
        }
        let received = connection.packets_received();
        let is_elsewhere = connection.peer.addr != to.addr;
        // Weak, so that this task does not keep the socket of a closed transport open.
        let (connection, waiting) = (Arc::downgrade(connection), Arc::downgrade(self));
        self.runtime.spawn(async move {
            sleep(if is_elsewhere { PATH_PATIENCE } else { ADVERTISED_PATH_PATIENCE }).await;
            let (Some(connection), Some(shared)) = (connection.upgrade(), waiting.upgrade()) else {
                return;
            };
            if connection.packets_received() == received && !connection.is_closed() {
                match is_elsewhere {
                    true => shared.redial(to),
                    false => shared.replace_if_silent(&connection, to, received).await,
                }
            }
            connection.end_path_watch();
        });
    }

    /// Gives up every connection to a peer at an address other than `to.addr`. If none is left, dials `to.addr`.
    pub(crate) fn redial(self: &Arc<Self>, to: Peer) {
        self.connections.redial(to, &|to, attempt| self.start_dial(to, attempt));
    }

    /// Dials a second connection beside a silent one, and gives the silent one up if the dial succeeds. Reports
    /// nothing if it fails.
    async fn replace_if_silent(
        self: &Arc<Self>,
        silent: &Arc<Connection>,
        to: Peer,
        received: u64,
    ) {
        // On a starved machine all connections seem silent, and handshakes must not add to the load.
        let (Ok(_permit), Some(_slot)) = (self.path_checks.try_acquire(), self.dialler.slot())
        else {
            return;
        };
        if self.establish(to.addr).await == Ok(to.id) && silent.packets_received() == received {
            self.connections.replaced(silent);
        }
    }

    /// Starts a dial to a peer, unless too many are under way.
    fn start_dial(self: &Arc<Self>, to: Peer, attempt: u64) -> Option<AbortHandle> {
        let slot = self.dialler.slot()?;
        Some(self.runtime.spawn(self.clone().dial_peer(to, attempt, slot)).abort_handle())
    }

    /// Dials a peer that messages wait for.
    async fn dial_peer(self: Arc<Self>, to: Peer, attempt: u64, slot: OwnedSemaphorePermit) {
        let error = match self.establish(to.addr).await {
            Ok(found) if found == to.id => return,
            Ok(found) => DialError::WrongPeer { expected: to.id, found },
            Err(error) => error,
        };
        drop(slot);
        self.dialler.failed(to.addr, Some(to.id), &error);
        self.connections.dial_failed(to, attempt, error);
    }

    /// Connects to the peer at an address, or joins a dial to it that is under way.
    pub(crate) fn dial_seed(
        self: &Arc<Self>,
        addr: SocketAddr,
    ) -> impl Future<Output = Result<PeerId, DialError>> + Send + 'static + use<> {
        let addr = canonical(addr);
        let dialled = (!self.is_closed()).then(|| {
            let shared = self.clone();
            let establish = move || async move { shared.establish(addr).await };
            self.dialler.dial_seed(addr, &self.runtime, establish)
        });
        async move {
            match dialled {
                Some(dialled) => dialled.await,
                None => Err(DialError::GivenUp),
            }
        }
    }

    /// Connects to the peer at the address, and registers the connection.
    async fn establish(self: &Arc<Self>, addr: SocketAddr) -> Result<PeerId, DialError> {
        let Dialled { connection, observed } = self.dialler.dial(addr).await?;
        let by = connection.peer;
        self.register(connection);
        if let Some(addr) = observed.filter(|addr| *addr != self.local_addr) {
            self.queue.push_event(Received::Observed { by, addr });
        }
        Ok(by.id)
    }

    /// Registers a connection whose handshake is complete, whichever side dialled.
    fn register(self: &Arc<Self>, connection: Connection) {
        let connection = Arc::new(connection);
        let waiting = self.connections.take_up(&connection);
        let (inbox, connections) = (self.inbox.clone(), self.connections.clone());
        self.runtime.spawn(receive::run(connection.clone(), inbox, connections));
        for message in waiting.into_messages() {
            self.send(connection.peer, message);
        }
        // The credentials may have been replaced during the handshake, and the connections examined before this one was
        // among them.
        if !self.credentials.accepts(&connection.quic) {
            self.connections.disown_one(&connection);
        }
        // The same of a peer that was expelled meanwhile.
        if let Some(statement) = self.expelled.statement_for(connection.peer.id) {
            self.connections.expel(connection.peer.id, &statement);
        }
        // A close of all connections may have missed one that was established at that moment.
        if self.is_closed() {
            connection.close(CloseCode::SHUTDOWN);
        }
    }

    /// Uses other credentials from now on, and closes the connections that they do not accept. Returns their number.
    pub(crate) fn replace_credentials(
        &self,
        credentials: &Credentials,
    ) -> Result<usize, CredentialsError> {
        let server = self.credentials.replace(credentials)?;
        self.endpoint.set_server_config(Some(server));
        if self.is_closed() {
            // As `close` does, which may have come first.
            self.endpoint.set_server_config(None);
        }
        let members =
            self.connections.disown(|connection| self.credentials.accepts(&connection.quic));
        let watchers = self.watchers.disown(|quic| self.credentials.accepts(quic), &self.counters);
        Ok(members + watchers)
    }

    /// Refuses these peers from now on, and no others, and closes their connections. Returns the number of the latter.
    pub(crate) fn set_expelled(&self, expelled: HashMap<PeerId, Bytes>) -> usize {
        self.expelled.replace(expelled.clone());
        let members = expelled.iter().map(|(id, statement)| self.connections.expel(*id, statement));
        members.sum::<usize>() + self.watchers.expel()
    }

    pub(crate) fn stats(&self) -> TransportStats {
        let mut all = self.counters.snapshot();
        self.connections.add_to(&mut all);
        all.watchers = count(self.watchers.taken());
        all
    }

    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        // A closed endpoint would refuse new connections as if it were full. Ignoring them is closer to the truth,
        // and a dial under way can still reach the next process at this address.
        self.endpoint.set_server_config(None);
        self.endpoint.close(CloseCode::SHUTDOWN.0, b"");
    }

    fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::SeqCst)
    }
}

/// Silent connections replaced at once. Further ones wait for their next message.
pub(crate) const MAX_PATH_CHECKS: usize = 4;
/// How long a connection at another address than the advertised one may be silent after a message. QUIC repeats an
/// unanswered probe several times in it, unless the round trip is very long. A mistake costs one handshake.
const PATH_PATIENCE: Duration = Duration::from_secs(1);
/// The same at the advertised address, where a silent peer is the more likely cause.
const ADVERTISED_PATH_PATIENCE: Duration = Duration::from_secs(3);
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);
