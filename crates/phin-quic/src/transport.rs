//! The handle of a transport.

use std::{
    collections::HashMap,
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
    credentials::InUse,
    dial::Dialler,
    endpoint::{BindError, QuicConfigs, bind_failed, bind_socket, open_endpoint},
    expelled::Expelled,
    gate::Gate,
    handshake::Handshakes,
    identity::{Identity, PeerId},
    peer::Peer,
    pending::{Message, StreamMessage},
    queue::{Queue, Receiver},
    receive::Inbox,
    refusal::DialError,
    shared::{MAX_PATH_CHECKS, Shared},
    socket::Socket,
    stats::{Counters, TransportStats},
    tls::{Credentials, CredentialsError, Speaks, Tls},
    watch::serve::{Places, Watchers},
};

/// The sending half and handle of a transport. Cheap to clone.
///
/// Only [`dial`](Self::dial) and [`close`](Self::close) wait for the network. When the last clone is dropped, the
/// transport closes as with [`close`](Self::close), without waiting. The crate page has an example.
#[derive(Clone)]
pub struct Transport {
    handle: Arc<TransportHandle>,
}

impl Transport {
    /// Binds the UDP socket and starts to accept and dial connections.
    ///
    /// # Errors
    /// If there is no tokio runtime with time and I/O, if the configuration or the credentials cannot be used, or if
    /// the system refuses the address.
    pub fn bind(
        identity: Arc<Identity>,
        credentials: Credentials,
        config: TransportConfig,
    ) -> Result<(Self, Receiver), BindError> {
        let runtime = Handle::try_current().map_err(|_| BindError::NoRuntime)?;
        let params = Params::try_from(config)?;
        let speaks = match params.max_watchers {
            0 => Speaks::Members,
            _ => Speaks::MembersAndServesWatchers,
        };
        let tls = Tls::new(&identity, &credentials, speaks)?;
        let id = credentials.peer_id(&identity)?;
        tls.warn_if_not_valid();
        let configs = QuicConfigs::new(&tls, &params);
        let credentials = Arc::new(InUse::new(identity.clone(), id, speaks, &tls, &configs));
        let watch_protocol = tls.watch_protocol.clone();
        let socket = bind_socket(params.bind)?;
        let failed = |source| bind_failed(params.bind, source);
        let local_addr = socket.local_addr().map_err(failed)?;
        let counters = Arc::new(Counters::default());
        let gate = Gate::new(counters.clone());
        let socket = Socket::new(socket, gate.clone()).map_err(failed)?;
        let endpoint = open_endpoint(&identity, configs.server, socket.clone()).map_err(failed)?;
        let queue = Arc::new(Queue::new(params.max_received_datagrams, counters.clone()));
        let params = Arc::new(params);
        let expelled = Arc::<Expelled>::default();
        let watchers = Places::new(watch_protocol, params.clone(), expelled.clone());
        let handshakes = Handshakes::new(
            id,
            params.clone(),
            queue.clone(),
            counters.clone(),
            watchers.clone(),
            expelled.clone(),
        );
        let shared = Arc::new(Shared {
            own_id: id,
            local_addr,
            params: params.clone(),
            runtime,
            endpoint: endpoint.clone(),
            credentials: credentials.clone(),
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
            dialler: Dialler::new(
                endpoint,
                credentials,
                handshakes,
                gate,
                counters,
                params.max_dials,
            ),
            watchers,
            expelled,
            path_checks: Semaphore::new(MAX_PATH_CHECKS),
            is_closed: AtomicBool::new(false),
        });
        shared.runtime.spawn(shared.clone().run(socket));
        let handle = Arc::new(TransportHandle { shared });
        Ok((Self { handle }, Receiver::new(queue)))
    }

    /// Returns the address of the socket, with the port that the system chose if `bind` had port 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.shared().local_addr
    }

    /// Sends a message that may be lost. A message too long for a datagram is sent as a stream.
    ///
    /// With a connection to the peer, the address does not matter. Without one, the message waits for a dial to the
    /// address.
    pub fn send_datagram(&self, to: Peer, payload: Bytes) {
        self.shared().send(to, Message::Datagram(payload));
    }

    /// Sends a message that arrives complete at the peer, or is reported by one
    /// [`Received::SendFailed`](crate::Received::SendFailed). In rare cases both happen: the connection breaks before
    /// the peer's confirmation arrives.
    pub fn send_stream(&self, to: Peer, payload: Bytes) {
        self.shared().send(to, Message::Stream(StreamMessage { payload, bulk: None }));
    }

    /// Sends a message like [`send_stream`](Self::send_stream), but after other streams to the peer, and within limits of its
    /// own, so that it takes no room from other messages. [`Received::SendFailed`](crate::Received::SendFailed) has its
    /// `number`, which the caller chooses.
    pub fn send_bulk(&self, to: Peer, payload: Bytes, number: u64) {
        self.shared().send(to, Message::Stream(StreamMessage { payload, bulk: Some(number) }));
    }

    /// Connects to the node at an address and returns its id.
    ///
    /// Calls for the same address share one dial, which continues if one of them is cancelled.
    ///
    /// # Errors
    /// If the dial fails: see [`DialError`].
    pub fn dial(
        &self,
        addr: SocketAddr,
    ) -> impl Future<Output = Result<PeerId, DialError>> + Send + 'static {
        self.shared().dial_seed(addr)
    }

    /// Returns whether there is a connection to this peer now.
    pub fn is_connected(&self, id: PeerId) -> bool {
        self.shared().connections.is_connected(id)
    }

    /// Closes the connections and dials to a peer immediately, and drops the messages that wait for them.
    pub fn close_peer(&self, id: PeerId, reason: CloseReason) {
        self.shared().connections.close_peer(id, reason);
    }

    /// Gives up every connection to a peer at an address other than `to.addr`, and dials `to.addr` if none is left.
    /// Use it if the path was refused, or no longer leads to the peer.
    pub fn redial(&self, to: Peer) {
        self.shared().redial(to);
    }

    /// Gives up all connections. Use it when the addresses of this host have changed. The next messages dial.
    pub fn give_up_all(&self) {
        self.shared().connections.give_up_all();
    }

    /// Closes all connections and waits at most a second until the peers are notified. The receiver ends once its
    /// remaining items were taken.
    pub async fn close(&self) {
        self.shared().close();
        // After that time, waiting longer does not help.
        let _ = timeout(CLOSE_TIMEOUT, self.shared().endpoint.wait_idle()).await;
    }

    /// Returns the watchers that arrive from now on; `None` if it was called before, or if none are served.
    ///
    /// Until it is called, watchers that connect wait.
    pub fn take_watchers(&self) -> Option<Watchers> {
        self.shared().watchers.take()
    }

    /// Uses other credentials for all handshakes from now on, as client and as server. Closes the connections whose far end
    /// proved itself with a certificate that they do not accept, and returns their number. All others stay.
    ///
    /// A certificate that expires does not end a connection; one of a CA that is not among the new ones, or in a
    /// revocation list, does. A peer that has other credentials by now dials again. Checking a thousand connections takes
    /// a tenth of a second, so call it where that delays nothing.
    ///
    /// # Errors
    /// The credentials cannot be used, the node's certificate is not valid now or for another key, or they are of a cluster
    /// with another name. Then nothing has changed.
    pub fn replace_credentials(
        &self,
        credentials: &Credentials,
    ) -> Result<usize, CredentialsError> {
        self.shared().replace_credentials(credentials)
    }

    /// Refuses these peers from now on, whatever they prove, and no others. Closes their connections, those of watchers
    /// among them, and returns the number of the connections closed.
    ///
    /// Each one receives its statement, cut to about 1,000 bytes, as
    /// [`Received::Expelled`](crate::Received::Expelled). Handshakes with them end with [`Refusal::Expelled`] on both sides.
    /// Messages to them fail. The table is checked at each message and handshake; the caller limits its length.
    ///
    /// [`Refusal::Expelled`]: crate::Refusal::Expelled
    pub fn set_expelled(&self, expelled: HashMap<PeerId, Bytes>) -> usize {
        self.shared().set_expelled(expelled)
    }

    /// Returns the counters since the transport was bound.
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

/// Shared by the clones of a [`Transport`] but not by its tasks: dropping it ends them.
struct TransportHandle {
    shared: Arc<Shared>,
}

impl Drop for TransportHandle {
    fn drop(&mut self) {
        self.shared.close();
    }
}

const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
