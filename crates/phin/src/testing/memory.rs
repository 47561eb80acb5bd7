//! A transport on the network in memory.

use std::{
    future::Future,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use phin_quic::{
    BindError, CloseReason, DialError, HostAnswer, HostQuestion, Peer, PeerId, Received,
    TransportStats,
};
use tokio::{
    select,
    sync::Notify,
    time::{Instant, sleep, sleep_until},
};

use crate::{
    testing::{
        cuts::Cuts,
        doors::{Arrivals, Doors},
        gate::Gate,
        world::{DELAY, Endpoint, Message, Next, StreamMessage, World},
    },
    transport::{Receiver, Transport},
};

/// A network in memory.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    world: Arc<Mutex<World>>,
    doors: Doors,
}

impl Network {
    pub(crate) fn new(cuts: Cuts) -> Self {
        Self { world: Arc::new(Mutex::new(World::new(cuts))), doors: Doors::default() }
    }

    /// The doors by which nodes let watchers in.
    pub(crate) fn doors(&self) -> Doors {
        self.doors.clone()
    }

    /// Starts a process at an address, which serves so many watchers.
    ///
    /// # Errors
    /// Another one is there.
    pub(crate) fn bind(
        &self,
        addr: SocketAddr,
        id: PeerId,
        gate: Gate,
        watchers: usize,
    ) -> Result<(Memory, MemoryReceiver), BindError> {
        let listening = |world: &mut World| {
            let endpoint = world.listen(addr, id)?;
            Some((endpoint, world.ready(endpoint)?))
        };
        let listening = listening(&mut self.world());
        let (endpoint, ready) = listening.ok_or(BindError::AddressInUse { addr })?;
        let watchers = Mutex::new(self.doors.open(addr, id, gate.clone(), watchers));
        let memory = Memory { network: self.clone(), endpoint, gate, watchers };
        Ok((memory, MemoryReceiver { network: self.clone(), endpoint, ready }))
    }

    /// Ends a process without a word.
    pub(crate) fn kill(&self, endpoint: Endpoint) {
        self.doors.shut(endpoint.addr, false);
        self.world().kill(endpoint);
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One process on the network.
#[derive(Debug)]
pub(crate) struct Memory {
    network: Network,
    pub(crate) endpoint: Endpoint,
    gate: Gate,
    /// Those that arrive, until they are taken.
    watchers: Mutex<Option<Arrivals>>,
}

impl Memory {
    fn send_as_stream(&self, to: Peer, stream: StreamMessage) {
        self.network.world().send(Instant::now(), self.endpoint, to, Message::Stream(stream));
    }
}

impl Transport for Memory {
    type Receiver = MemoryReceiver;
    type Watchers = Arrivals;

    fn local_addr(&self) -> SocketAddr {
        self.endpoint.addr
    }

    fn send_datagram(&self, to: Peer, payload: Bytes) {
        self.network.world().send(Instant::now(), self.endpoint, to, Message::Datagram(payload));
    }

    fn send_stream(&self, to: Peer, payload: Bytes) {
        self.send_as_stream(to, StreamMessage { payload, bulk: None });
    }

    fn send_bulk(&self, to: Peer, payload: Bytes, number: u64) {
        self.send_as_stream(to, StreamMessage { payload, bulk: Some(number) });
    }

    fn dial(
        &self,
        addr: SocketAddr,
    ) -> impl Future<Output = Result<PeerId, DialError>> + Send + 'static {
        let (network, endpoint, gate) = (self.network.clone(), self.endpoint, self.gate.clone());
        async move {
            gate.opened().await;
            let dialled = network.world().dial(Instant::now(), endpoint, addr);
            dialled.await.unwrap_or(Err(DialError::GivenUp))
        }
    }

    fn redial(&self, to: Peer) {
        self.network.world().redial(Instant::now(), self.endpoint, to);
    }

    fn close_peer(&self, id: PeerId, reason: CloseReason) {
        self.network.world().close_peer(Instant::now(), self.endpoint, id, reason);
    }

    fn give_up_all(&self) {
        self.network.world().give_up_all(Instant::now(), self.endpoint);
    }

    fn ask_host(
        &self,
        peer: SocketAddr,
        question: HostQuestion,
        patience: Duration,
    ) -> impl Future<Output = HostAnswer> + Send + 'static {
        let (network, from) = (self.network.clone(), self.local_addr());
        async move {
            sleep(2 * DELAY).await;
            let answer = network.world().host_answer(from, peer, question);
            if answer == HostAnswer::Nothing {
                sleep(patience).await;
            }
            answer
        }
    }

    fn hosts_not_asked(&self) -> u64 {
        0
    }

    fn take_watchers(&self) -> Option<Arrivals> {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn stats(&self) -> TransportStats {
        self.network.world().stats(self.endpoint)
    }

    async fn close(&self) {
        self.network.doors.shut(self.endpoint.addr, true);
        self.network.world().close(Instant::now(), self.endpoint);
    }

    async fn released(_: SocketAddr) {}
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.network.world().close(Instant::now(), self.endpoint);
    }
}

/// The packets that arrive at one process.
#[derive(Debug)]
pub(crate) struct MemoryReceiver {
    network: Network,
    endpoint: Endpoint,
    ready: Arc<Notify>,
}

impl Receiver for MemoryReceiver {
    async fn receive(&mut self) -> Option<Received> {
        loop {
            let next = self.network.world().poll(Instant::now(), self.endpoint);
            let due = match next {
                Next::Received(received) => return Some(received),
                Next::Ended => return None,
                Next::At(due) => due,
            };
            select! {
                biased;
                () = self.ready.notified() => {}
                () = at(due) => {}
            }
        }
    }

    fn try_receive(&mut self) -> Option<Received> {
        match self.network.world().poll(Instant::now(), self.endpoint) {
            Next::Received(received) => Some(received),
            Next::At(_) | Next::Ended => None,
        }
    }
}

/// Ends then, or never.
async fn at(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}
