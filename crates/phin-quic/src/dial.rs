//! Dialling: to a peer that messages wait for, or to a seed address where anybody may answer.

use std::{
    future::{Future, pending},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use dashmap::Entry;
use quinn::Connecting;
use tokio::{
    net::UdpSocket,
    sync::{OwnedSemaphorePermit, watch},
    time::{Instant, sleep, timeout},
};

use crate::{
    connection::{CloseCode, Connection, Peer, canonical},
    hello::{Hello, HelloError},
    identity::PeerId,
    precedence::{Initiator, Standing},
    queue::Received,
    refusal::{DialError, Refusal, RefusedBy},
    stats::add,
    tls,
    transport::Shared,
};

/// What a dial to a seed address came to; `None` while it is under way.
pub(crate) type SeedDial = watch::Receiver<Option<Result<PeerId, DialError>>>;

impl Shared {
    /// Dials a peer that messages wait for.
    pub(crate) async fn dial_peer(
        self: Arc<Self>,
        to: Peer,
        attempt: u64,
        slot: OwnedSemaphorePermit,
    ) {
        let error = match self.establish(to.addr).await {
            Ok(found) if found == to.id => return,
            Ok(found) => DialError::WrongPeer { expected: to.id, found },
            Err(error) => error,
        };
        drop(slot);
        add(&self.counters.dials_failed, 1);
        tracing::debug!(peer_addr = %to.addr, peer_id = %to.id, reason = %error, "dial failed");
        self.dial_failed(to, attempt, error);
    }

    /// Dials an address, or joins a dial to it that is under way.
    ///
    /// The dial is a task of its own, so that giving up waiting for it disturbs nobody.
    pub(crate) fn dial_seed(
        self: &Arc<Self>,
        addr: SocketAddr,
    ) -> impl Future<Output = Result<PeerId, DialError>> + Send + use<> {
        let joined = self.join_seed_dial(canonical(addr));
        async move {
            let mut dial = joined?;
            match dial.wait_for(Option::is_some).await {
                Ok(result) => result.clone().unwrap_or(Err(DialError::GivenUp)),
                Err(_task_is_gone) => Err(DialError::GivenUp),
            }
        }
    }

    fn join_seed_dial(self: &Arc<Self>, addr: SocketAddr) -> Result<SeedDial, DialError> {
        if self.is_closed() {
            return Err(DialError::GivenUp);
        }
        match self.seed_dials.entry(addr) {
            Entry::Occupied(entry) => Ok(entry.get().clone()),
            Entry::Vacant(entry) => {
                let slot = self.dial_slot().ok_or(DialError::TooManyDials)?;
                let (sender, receiver) = watch::channel(None);
                drop(entry.insert(receiver.clone()));
                self.runtime.spawn(self.clone().run_seed_dial(addr, sender, slot));
                Ok(receiver)
            }
        }
    }

    async fn run_seed_dial(
        self: Arc<Self>,
        addr: SocketAddr,
        sender: watch::Sender<Option<Result<PeerId, DialError>>>,
        _slot: OwnedSemaphorePermit,
    ) {
        let result = tokio::select! {
            result = self.establish(addr) => result,
            () = port_closed(addr) => Err(DialError::PortClosed),
        };
        if let Err(error) = &result {
            add(&self.counters.dials_failed, 1);
            tracing::debug!(peer_addr = %addr, reason = %error, "dial failed");
        }
        self.seed_dials.remove(&addr);
        // Nobody may be waiting any more.
        let _ = sender.send(Some(result));
    }

    /// Makes a connection to whoever is at the address, and takes it up.
    pub(crate) async fn establish(self: &Arc<Self>, addr: SocketAddr) -> Result<PeerId, DialError> {
        add(&self.counters.dials, 1);
        self.check_way(addr)?;
        self.gate.know(canonical(addr));
        let connecting = self
            .endpoint
            .connect(addr, tls::SERVER_NAME)
            .map_err(|error| DialError::Unreachable { reason: error.to_string() })?;
        let hello = Hello { instance: self.instance, number: 0, observed: None };
        let shaken = timeout(self.params.handshake_timeout, shake_hands(connecting, hello)).await;
        let (connection, theirs) = match shaken {
            Ok(Ok(shaken)) => shaken,
            Ok(Err(error)) => return Err(self.dial_refused(addr, error)),
            Err(_elapsed) => return Err(DialError::TimedOut),
        };
        let Some(key) = tls::peer_key(&connection) else {
            return Err(self.dial_refused(addr, HelloError::Malformed));
        };
        let id = PeerId::of(&key);
        if id == self.own_id {
            return Err(self.met_own_identity(&connection, theirs.instance));
        }
        add(&self.counters.connections_dialled, 1);
        let standing = Standing {
            initiator: Initiator::Us,
            peer_instance: theirs.instance,
            number: theirs.number,
            established: Instant::now(),
        };
        let connection = Connection::new(connection, id, standing, self.incoming_of_peer(), None);
        let by = connection.peer;
        self.register(Arc::new(connection));
        if let Some(addr) = theirs.observed.filter(|addr| *addr != self.local_addr) {
            self.queue.push_event(Received::Observed { by, addr });
        }
        Ok(id)
    }

    /// A socket takes addresses that cannot be reached from where it is bound, and then sends nothing to them, or what is
    /// said of it helps nobody.
    fn check_way(&self, addr: SocketAddr) -> Result<(), DialError> {
        let Ok(bound) = self.endpoint.local_addr().map(|bound| bound.ip().to_canonical()) else {
            return Ok(());
        };
        let is_ipv4_alone = bound.is_ipv4();
        let is_ipv6_alone = bound.is_ipv6() && !bound.is_unspecified();
        let what = match addr.ip() {
            IpAddr::V6(_) if is_ipv4_alone => "IPv6",
            IpAddr::V4(_) if is_ipv6_alone => "IPv4",
            ip if bound.is_loopback() && !ip.is_loopback() && !is_reached(bound, addr) => {
                "another machine's"
            }
            _ => return Ok(()),
        };
        let reason = format!("{addr} is {what}, and this node is bound to {bound} alone");
        Err(DialError::Unreachable { reason })
    }

    fn dial_refused(&self, addr: SocketAddr, error: HelloError) -> DialError {
        let error = match error {
            HelloError::Connection(error) => DialError::from_connection_error(&error),
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

    /// Closes a connection whose far end proved this node's own identity. The hello tells whether it is this process.
    pub(crate) fn met_own_identity(
        &self,
        connection: &quinn::Connection,
        instance: u64,
    ) -> DialError {
        if instance == self.instance {
            connection.close(CloseCode::OWN_IDENTITY.0, b"");
            return DialError::OwnIdentity;
        }
        connection.close(CloseCode::IDENTITY_IN_USE.0, b"");
        let addr = canonical(connection.remote_address());
        self.queue.push_event(Received::IdentityInUse { addr });
        DialError::IdentityInUse
    }
}

/// Whether the system would send from here to there; asking sends nothing.
fn is_reached(from: IpAddr, to: SocketAddr) -> bool {
    std::net::UdpSocket::bind((from, 0)).and_then(|socket| socket.connect(to)).is_ok()
}

/// Completes the handshake: the connection exists when the server has said hello.
async fn shake_hands(
    connecting: Connecting,
    hello: Hello,
) -> Result<(quinn::Connection, Hello), HelloError> {
    let connection = connecting.await?;
    hello.send(&connection).await?;
    let theirs = Hello::receive(&connection).await?;
    Ok((connection, theirs))
}

/// Returns when the host has answered that nobody listens on this UDP port.
///
/// The socket of the endpoint is never told; a connected one is. A healthy peer answers before
/// this begins, and ignores the byte otherwise.
async fn port_closed(addr: SocketAddr) {
    sleep(PORT_PROBE_DELAY).await;
    match probe_port(addr).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
        Ok(()) | Err(_) => pending().await,
    }
}

async fn probe_port(addr: SocketAddr) -> io::Result<()> {
    let any: SocketAddr = match addr {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(addr).await?;
    socket.send(&[0]).await?;
    socket.recv(&mut [0]).await.map(|_| ())
}

const PORT_PROBE_DELAY: Duration = Duration::from_millis(100);
