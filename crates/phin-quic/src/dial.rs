//! Dials a peer that messages wait for, or a seed address at which any node may answer.

use std::{
    future::{Future, pending},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use dashmap::{DashMap, Entry};
use quinn::Endpoint;
use tokio::{
    net::UdpSocket,
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::sleep,
};

use crate::{
    credentials::InUse,
    gate::Gate,
    handshake::{Dialled, Handshakes},
    identity::PeerId,
    peer::canonical,
    refusal::DialError,
    stats::{Counters, add},
    tls,
};

/// Dials addresses, within limits.
pub(crate) struct Dialler {
    endpoint: Endpoint,
    credentials: Arc<InUse>,
    handshakes: Arc<Handshakes>,
    gate: Arc<Gate>,
    counters: Arc<Counters>,
    slots: Arc<Semaphore>,
    seed_dials: DashMap<SocketAddr, SeedDial>,
}

/// The result of a dial to a seed address; `None` while it is under way.
type SeedDial = watch::Receiver<Option<Result<PeerId, DialError>>>;

impl Dialler {
    pub(crate) fn new(
        endpoint: Endpoint,
        credentials: Arc<InUse>,
        handshakes: Arc<Handshakes>,
        gate: Arc<Gate>,
        counters: Arc<Counters>,
        max_dials: usize,
    ) -> Arc<Self> {
        let slots = Arc::new(Semaphore::new(max_dials));
        let seed_dials = DashMap::new();
        Arc::new(Self { endpoint, credentials, handshakes, gate, counters, slots, seed_dials })
    }

    /// Takes a place among the dials under way; `None` if there are too many.
    pub(crate) fn slot(&self) -> Option<OwnedSemaphorePermit> {
        self.slots.clone().try_acquire_owned().ok()
    }

    /// Connects to the peer at this address.
    pub(crate) async fn dial(&self, addr: SocketAddr) -> Result<Dialled, DialError> {
        add(&self.counters.dials, 1);
        self.check_way(addr)?;
        self.gate.know(canonical(addr));
        let connecting = self
            .endpoint
            .connect_with(self.credentials.client(), addr, tls::SERVER_NAME)
            .map_err(|error| DialError::Unreachable { reason: error.to_string() })?;
        self.handshakes.complete_dial(addr, connecting).await
    }

    /// Counts and logs a dial that did not reach the intended peer.
    pub(crate) fn failed(&self, addr: SocketAddr, id: Option<PeerId>, error: &DialError) {
        add(&self.counters.dials_failed, 1);
        let peer_id = id.map(tracing::field::display);
        tracing::debug!(peer_addr = %addr, peer_id, reason = %error, "dial failed");
    }

    /// Joins the dial under way to an address, or starts one, in which `establish` makes the connection.
    ///
    /// The dial is a separate task, so that a caller that stops waiting does not affect the others.
    pub(crate) fn dial_seed<E, D>(
        self: &Arc<Self>,
        addr: SocketAddr,
        runtime: &Handle,
        establish: E,
    ) -> impl Future<Output = Result<PeerId, DialError>> + Send + use<E, D>
    where
        E: FnOnce() -> D,
        D: Future<Output = Result<PeerId, DialError>> + Send + 'static,
    {
        let joined = self.join(addr, runtime, establish);
        async move {
            let mut dial = joined?;
            match dial.wait_for(Option::is_some).await {
                Ok(result) => result.clone().unwrap_or(Err(DialError::GivenUp)),
                Err(_task_is_gone) => Err(DialError::GivenUp),
            }
        }
    }

    fn join<D>(
        self: &Arc<Self>,
        addr: SocketAddr,
        runtime: &Handle,
        establish: impl FnOnce() -> D,
    ) -> Result<SeedDial, DialError>
    where
        D: Future<Output = Result<PeerId, DialError>> + Send + 'static,
    {
        match self.seed_dials.entry(addr) {
            Entry::Occupied(entry) => Ok(entry.get().clone()),
            Entry::Vacant(entry) => {
                let slot = self.slot().ok_or(DialError::TooManyDials)?;
                let (sender, receiver) = watch::channel(None);
                drop(entry.insert(receiver.clone()));
                let (dialler, establish) = (self.clone(), establish());
                runtime.spawn(async move {
                    let _slot = slot;
                    let result = tokio::select! {
                        result = establish => result,
                        () = port_closed(addr) => Err(DialError::PortClosed),
                    };
                    if let Err(error) = &result {
                        dialler.failed(addr, None, error);
                    }
                    dialler.seed_dials.remove(&addr);
                    // All callers may have stopped waiting.
                    let _ = sender.send(Some(result));
                });
                Ok(receiver)
            }
        }
    }

    /// Fails for an address that the bound address cannot reach. The socket would accept it and send nothing, or
    /// report an error that does not help.
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
}

/// Whether the system has a route from one address to the other. Sends nothing.
fn is_reached(from: IpAddr, to: SocketAddr) -> bool {
    std::net::UdpSocket::bind((from, 0)).and_then(|socket| socket.connect(to)).is_ok()
}

/// Returns when the host has answered that no process listens on this UDP port.
///
/// Needs a connected socket, because the endpoint's own receives no such errors on most systems. A healthy peer
/// answers the dial before this sends its byte, and otherwise ignores it.
pub(crate) async fn port_closed(addr: SocketAddr) {
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
