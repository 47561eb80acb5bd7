//! Nodes on loopback sockets: each has a thread of its own, which can be stopped or ended at any point of its work, and
//! a transport that drops what a cut forbids.

use std::{
    collections::HashMap,
    future::Future,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError, mpsc as blocking},
    thread,
    time::Duration,
};

use bytes::Bytes;
use phin_quic::{
    CloseReason, Credentials, CredentialsError, DialError, HostAnswer, HostQuestion, Peer, PeerId,
    Received, TransportStats, Watchers,
};
use tokio::{
    runtime,
    sync::{mpsc, oneshot},
    time::sleep,
};

use crate::{
    Builder, Cluster, StartError,
    clock::Wall,
    random::Random,
    start::{Persisted, Surroundings, bind_quic, start_in},
    testing::cuts::Cuts,
    transport::{Quic, Receiver, Transport},
};

/// The thread of one node. Dropping it ends the node where it is.
#[derive(Debug)]
pub(crate) struct NodeThread {
    /// Each order stops the thread until its sender is dropped.
    orders: mpsc::UnboundedSender<blocking::Receiver<()>>,
    /// Dropped to let the thread go on.
    stopped: Mutex<Option<blocking::Sender<()>>>,
}

impl NodeThread {
    /// Starts a node on a thread of its own.
    pub(crate) async fn start(
        builder: Builder,
        persisted: Persisted,
        random: Random,
        cuts: Cuts,
    ) -> Result<(Self, Cluster), StartError> {
        let (orders, mut received) = mpsc::unbounded_channel::<blocking::Receiver<()>>();
        let (started, starting) = oneshot::channel();
        thread::spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("the system has room for a node of a test");
            runtime.block_on(async {
                // An error means that the test has ended.
                let _ = started.send(start(builder, persisted, random, cuts).await);
                while let Some(order) = received.recv().await {
                    // The node does not run until the other end is dropped.
                    let _ = order.recv();
                }
            });
            // The node's tasks end here, and its socket is closed.
            drop(runtime);
        });
        let cluster =
            starting.await.expect("a node's thread does not end before it has started")?;
        Ok((Self { orders, stopped: Mutex::default() }, cluster))
    }

    /// Stops the node where it is, or lets it go on.
    pub(crate) fn set_running(&self, is_running: bool) {
        let mut stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        if is_running {
            *stopped = None;
        } else if stopped.is_none() {
            let (resume, order) = blocking::channel();
            // An error means that the thread has panicked, and does not run either.
            let _ = self.orders.send(order);
            *stopped = Some(resume);
        }
    }
}

async fn start(
    builder: Builder,
    persisted: Persisted,
    random: Random,
    cuts: Cuts,
) -> Result<Cluster, StartError> {
    let surroundings = Surroundings {
        persisted: Some(persisted),
        wall: Wall::System,
        random,
        bind: |builder: &Builder, identity: &Arc<_>, credentials| {
            let (inner, receiver) = bind_quic(builder, identity, credentials)?;
            let way = Way { from: inner.local_addr(), cuts };
            let receiver = CuttableReceiver { inner: receiver, way: way.clone() };
            Ok((Cuttable { inner, way }, receiver))
        },
    };
    let (cluster, driver) = start_in(builder, surroundings).await?;
    tokio::spawn(driver.run());
    Ok(cluster)
}

/// The ways from one node to others.
#[derive(Clone, Debug)]
struct Way {
    from: SocketAddr,
    cuts: Cuts,
}

impl Way {
    fn is_cut(&self, to: SocketAddr) -> bool {
        self.cuts.is_cut(self.from, to)
    }
}

/// A transport over a socket that can be cut off from some addresses: neither messages nor answers of hosts pass.
/// Connections stay, as do packets of QUIC that carry no message.
struct Cuttable {
    inner: Quic,
    way: Way,
}

impl Transport for Cuttable {
    type Receiver = CuttableReceiver;
    type Watchers = Watchers;

    fn local_addr(&self) -> SocketAddr {
        self.inner.local_addr()
    }

    fn send_datagram(&self, to: Peer, payload: Bytes) {
        if !self.way.is_cut(to.addr) {
            self.inner.send_datagram(to, payload);
        }
    }

    fn send_stream(&self, to: Peer, payload: Bytes) {
        if !self.way.is_cut(to.addr) {
            self.inner.send_stream(to, payload);
        }
    }

    fn send_bulk(&self, to: Peer, payload: Bytes, number: u64) {
        if !self.way.is_cut(to.addr) {
            self.inner.send_bulk(to, payload, number);
        }
    }

    fn dial(
        &self,
        addr: SocketAddr,
    ) -> impl Future<Output = Result<PeerId, DialError>> + Send + 'static {
        let dialled = (!self.way.is_cut(addr)).then(|| Transport::dial(&self.inner, addr));
        async move {
            match dialled {
                Some(dialled) => dialled.await,
                None => {
                    sleep(DIAL_TIMEOUT).await;
                    Err(DialError::TimedOut)
                }
            }
        }
    }

    fn replace_credentials(&self, credentials: &Credentials) -> Result<usize, CredentialsError> {
        self.inner.replace_credentials(credentials)
    }

    fn set_expelled(&self, expelled: HashMap<PeerId, Bytes>) -> usize {
        self.inner.set_expelled(expelled)
    }

    fn redial(&self, to: Peer) {
        if !self.way.is_cut(to.addr) {
            self.inner.redial(to);
        }
    }

    fn close_peer(&self, id: PeerId, reason: CloseReason) {
        self.inner.close_peer(id, reason);
    }

    fn give_up_all(&self) {
        self.inner.give_up_all();
    }

    fn ask_host(
        &self,
        peer: SocketAddr,
        question: HostQuestion,
        patience: Duration,
    ) -> impl Future<Output = HostAnswer> + Send + 'static {
        let is_cut = self.way.is_cut(peer);
        let asked = self.inner.ask_host(peer, question, patience);
        async move {
            if is_cut {
                sleep(patience).await;
                return HostAnswer::Nothing;
            }
            asked.await
        }
    }

    fn hosts_not_asked(&self) -> u64 {
        self.inner.hosts_not_asked()
    }

    fn take_watchers(&self) -> Option<Watchers> {
        self.inner.take_watchers()
    }

    fn stats(&self) -> TransportStats {
        self.inner.stats()
    }

    async fn close(&self) {
        self.inner.close().await;
    }

    async fn released(addr: SocketAddr) {
        Quic::released(addr).await;
    }
}

/// The next arrival, except those that a cut forbids.
struct CuttableReceiver {
    inner: phin_quic::Receiver,
    way: Way,
}

impl CuttableReceiver {
    fn passes(&self, received: &Received) -> bool {
        match received {
            Received::Datagram { from: peer, .. }
            | Received::Stream { from: peer, .. }
            | Received::PortRefused { peer } => !self.way.is_cut(peer.addr),
            // The two ends keep the same view of their connections.
            _ => true,
        }
    }
}

impl Receiver for CuttableReceiver {
    async fn receive(&mut self) -> Option<Received> {
        loop {
            let received = self.inner.receive().await?;
            if self.passes(&received) {
                return Some(received);
            }
        }
    }

    fn try_receive(&mut self) -> Option<Received> {
        loop {
            let received = self.inner.try_receive()?;
            if self.passes(&received) {
                return Some(received);
            }
        }
    }
}

/// As `phin_quic::TransportConfig` has it by default.
const DIAL_TIMEOUT: Duration = Duration::from_secs(3);
