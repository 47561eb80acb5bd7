//! The handle on a transport.

use std::{
    fmt,
    future::Future,
    net::SocketAddr,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use bytes::Bytes;
use tokio::{runtime::Handle, sync::Semaphore, time::timeout};

use crate::{
    accept::Acceptor,
    close::CloseReason,
    config::{Params, TransportConfig},
    connections::Connections,
    dial::Dialler,
    endpoint::{BindError, bind_failed, bind_socket, open_endpoint},
    gate::Gate,
    handshake::Handshakes,
    identity::{Identity, PeerId},
    peer::Peer,
    pending::Message,
    queue::{Queue, Receiver},
    receive::Inbox,
    refusal::DialError,
    shared::{MAX_PATH_CHECKS, Shared},
    socket::Socket,
    stats::{Counters, TransportStats},
    tls::{Credentials, Tls},
};

/// The sending half, and the handle on everything: cloned at no cost.
///
/// No method waits for the network except [`dial`](Self::dial) and [`close`](Self::close). When
/// the last clone is dropped, everything is closed as by [`close`](Self::close), without waiting.
#[derive(Clone)]
pub struct Transport {
    handle: Arc<TransportHandle>,
}

impl Transport {
    /// Binds the UDP socket and starts to accept and to dial.
    ///
    /// # Errors
    /// When there is no tokio runtime with time and I/O, when the configuration or the
    /// credentials cannot be used, or when the system refuses the address.
    pub fn bind(
        identity: Arc<Identity>,
        credentials: Credentials,
        config: TransportConfig,
    ) -> Result<(Self, Receiver), BindError> {
        let runtime = Handle::try_current().map_err(|_| BindError::NoRuntime)?;
        let params = Params::try_from(config)?;
        let tls = Tls::new(&identity, &credentials)?;
        let socket = bind_socket(params.bind)?;
        let failed = |source| bind_failed(params.bind, source);
        let local_addr = socket.local_addr().map_err(failed)?;
        let counters = Arc::new(Counters::default());
        let gate = Gate::new(counters.clone());
        let socket = Socket::new(socket, gate.clone()).map_err(failed)?;
        let endpoint = open_endpoint(&identity, tls, &params, socket.clone()).map_err(failed)?;
        let queue = Arc::new(Queue::new(params.max_received_datagrams, counters.clone()));
        let (id, params) = (identity.id(), Arc::new(params));
        let handshakes = Handshakes::new(id, params.clone(), queue.clone(), counters.clone());
        let shared = Arc::new(Shared {
            own_id: id,
            local_addr,
            params: params.clone(),
            runtime,
            endpoint: endpoint.clone(),
            queue: queue.clone(),
            counters: counters.clone(),
            inbox: Arc::new(Inbox::new(params.clone(), queue.clone(), counters.clone())),
            connections: Connections::new(id, params.clone(), queue.clone(), counters.clone()),
            acceptor: Acceptor::new(
                handshakes.clone(),
                gate.clone(),
                counters.clone(),
                params.max_connections,
            ),
            dialler: Dialler::new(endpoint, handshakes, gate, counters, params.max_dials),
            path_checks: Semaphore::new(MAX_PATH_CHECKS),
            is_closed: AtomicBool::new(false),
        });
        shared.runtime.spawn(shared.clone().run(socket));
        let handle = Arc::new(TransportHandle { shared });
        Ok((Self { handle }, Receiver::new(queue)))
    }

    /// The address of the socket; the port is the one the system chose, if it was to choose.
    pub fn local_addr(&self) -> SocketAddr {
        self.shared().local_addr
    }

    /// Sends a message that may be lost. One that is too long for a datagram goes as a stream.
    ///
    /// Without a connection the message waits for a dial to the peer's address; with one, the
    /// address does not matter.
    pub fn send_datagram(&self, to: Peer, payload: Bytes) {
        self.shared().send(to, Message::Datagram(payload));
    }

    /// Sends a message that arrives whole at the peer's transport, or is reported by one
    /// [`Received::SendFailed`](crate::Received::SendFailed). In rare cases both: the peer had it,
    /// and the connection broke before it could say so.
    pub fn send_stream(&self, to: Peer, payload: Bytes) {
        self.shared().send(to, Message::Stream(payload));
    }

    /// Connects to the peer at an address and returns its id. The peer is then connected.
    ///
    /// Calls for one address share one dial, and it goes on when one of them is cancelled.
    ///
    /// # Errors
    /// When there is no connection: see [`DialError`].
    pub fn dial(
        &self,
        addr: SocketAddr,
    ) -> impl Future<Output = Result<PeerId, DialError>> + Send + 'static {
        self.shared().dial_seed(addr)
    }

    /// Whether there is a connection to this peer now.
    pub fn is_connected(&self, id: PeerId) -> bool {
        self.shared().connections.is_connected(id)
    }

    /// Closes everything towards a peer at once: connections, dials, and what waits for them.
    pub fn close_peer(&self, id: PeerId, reason: CloseReason) {
        self.shared().connections.close_peer(id, reason);
    }

    /// Gives up every connection to a peer that leads elsewhere than to `to.addr`, and dials there if none is left: for
    /// a way that was refused, or no longer leads to the peer.
    pub fn redial(&self, to: Peer) {
        self.shared().redial(to);
    }

    /// Gives up all connections, for the addresses of this host have changed. Messages dial anew.
    pub fn give_up_all(&self) {
        self.shared().connections.give_up_all();
    }

    /// Closes everything, and waits until the peers should have been told, at most a second.
    /// The receiver ends when what it still has was taken.
    pub async fn close(&self) {
        self.shared().close();
        // Either the peers are told by then or they will not be.
        let _ = timeout(CLOSE_TIMEOUT, self.shared().endpoint.wait_idle()).await;
    }

    /// What was done so far.
    pub fn stats(&self) -> TransportStats {
        self.shared().stats()
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shared = self.shared();
        f.debug_struct("Transport")
            .field("id", &shared.own_id)
            .field("local_addr", &shared.local_addr)
            .finish_non_exhaustive()
    }
}

/// What clones of a [`Transport`] have in common, and its tasks have not: its end is theirs.
struct TransportHandle {
    shared: Arc<Shared>,
}

impl Drop for TransportHandle {
    fn drop(&mut self) {
        self.shared.close();
    }
}

const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
