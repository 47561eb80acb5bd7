//! The seam between a node and what moves its messages: everything that the driver and the tasks beside it need of a
//! network.
//!
//! Real nodes have [`Quic`]; clusters in a test have a network in memory, or sockets that can be cut off.

use std::{
    collections::HashMap,
    future::Future,
    net::{SocketAddr, UdpSocket},
    pin::Pin,
    time::Duration,
};

use bytes::Bytes;
use phin_quic::{
    CloseReason, Credentials, CredentialsError, DialError, HostAnswer, HostQuestion, HostQuestions,
    Peer, PeerId, Received, TransportStats,
};
use tokio::time;

use crate::watch_transport::Watchers;

/// Moves messages to peers, and asks their hosts. Each method promises what the method of that name in
/// [`phin_quic::Transport`] or [`HostQuestions`] does; none waits for the network but those that return a future.
pub(crate) trait Transport: Send + Sync + 'static {
    type Receiver: Receiver;
    type Watchers: Watchers;

    fn local_addr(&self) -> SocketAddr;

    fn send_datagram(&self, to: Peer, payload: Bytes);

    fn send_stream(&self, to: Peer, payload: Bytes);

    fn send_bulk(&self, to: Peer, payload: Bytes, number: u64);

    fn dial(
        &self,
        addr: SocketAddr,
    ) -> impl Future<Output = Result<PeerId, DialError>> + Send + 'static;

    fn redial(&self, to: Peer);

    fn close_peer(&self, id: PeerId, reason: CloseReason);

    fn give_up_all(&self);

    fn ask_host(
        &self,
        peer: SocketAddr,
        question: HostQuestion,
        patience: Duration,
    ) -> impl Future<Output = HostAnswer> + Send + 'static;

    fn hosts_not_asked(&self) -> u64;

    fn stats(&self) -> TransportStats;

    /// Where there are no handshakes, there is nothing to replace.
    fn replace_credentials(&self, _credentials: &Credentials) -> Result<usize, CredentialsError> {
        Ok(0)
    }

    /// Where there are no handshakes, messages of expelled members are dropped later.
    fn set_expelled(&self, _expelled: HashMap<PeerId, Bytes>) -> usize {
        0
    }

    fn take_watchers(&self) -> Option<Self::Watchers>;

    fn close(&self) -> impl Future<Output = ()> + Send;

    /// Waits until the address of a transport that was dropped is free, a second at most.
    fn released(addr: SocketAddr) -> impl Future<Output = ()> + Send;
}

/// The next arrival. Dropping the future of [`receive`](Self::receive) loses nothing.
pub(crate) trait Receiver: Send + 'static {
    fn receive(&mut self) -> impl Future<Output = Option<Received>> + Send;

    fn try_receive(&mut self) -> Option<Received>;
}

/// The part of a transport of any kind that a handle needs.
pub(crate) trait Dial: Send + Sync {
    fn dial(&self, addr: SocketAddr) -> Dialling;

    fn replace_credentials(&self, credentials: &Credentials) -> Result<usize, CredentialsError>;
}

/// A dial under way.
pub(crate) type Dialling = Pin<Box<dyn Future<Output = Result<PeerId, DialError>> + Send>>;

impl<T: Transport> Dial for T {
    fn dial(&self, addr: SocketAddr) -> Dialling {
        Box::pin(Transport::dial(self, addr))
    }

    fn replace_credentials(&self, credentials: &Credentials) -> Result<usize, CredentialsError> {
        Transport::replace_credentials(self, credentials)
    }
}

/// QUIC over a UDP socket, and questions to hosts by sockets of their own.
pub(crate) struct Quic {
    pub(crate) transport: phin_quic::Transport,
    pub(crate) hosts: HostQuestions,
}

impl Transport for Quic {
    type Receiver = phin_quic::Receiver;
    type Watchers = phin_quic::Watchers;

    fn local_addr(&self) -> SocketAddr {
        self.transport.local_addr()
    }

    fn send_datagram(&self, to: Peer, payload: Bytes) {
        self.transport.send_datagram(to, payload);
    }

    fn send_stream(&self, to: Peer, payload: Bytes) {
        self.transport.send_stream(to, payload);
    }

    fn send_bulk(&self, to: Peer, payload: Bytes, number: u64) {
        self.transport.send_bulk(to, payload, number);
    }

    fn dial(
        &self,
        addr: SocketAddr,
    ) -> impl Future<Output = Result<PeerId, DialError>> + Send + 'static {
        self.transport.dial(addr)
    }

    fn redial(&self, to: Peer) {
        self.transport.redial(to);
    }

    fn close_peer(&self, id: PeerId, reason: CloseReason) {
        self.transport.close_peer(id, reason);
    }

    fn give_up_all(&self) {
        self.transport.give_up_all();
    }

    fn ask_host(
        &self,
        peer: SocketAddr,
        question: HostQuestion,
        patience: Duration,
    ) -> impl Future<Output = HostAnswer> + Send + 'static {
        let hosts = self.hosts.clone();
        async move { hosts.ask(peer, question, patience).await }
    }

    fn hosts_not_asked(&self) -> u64 {
        self.hosts.not_asked()
    }

    fn stats(&self) -> TransportStats {
        self.transport.stats()
    }

    fn replace_credentials(&self, credentials: &Credentials) -> Result<usize, CredentialsError> {
        self.transport.replace_credentials(credentials)
    }

    fn set_expelled(&self, expelled: HashMap<PeerId, Bytes>) -> usize {
        self.transport.set_expelled(expelled)
    }

    fn take_watchers(&self) -> Option<phin_quic::Watchers> {
        self.transport.take_watchers()
    }

    async fn close(&self) {
        self.transport.close().await;
    }

    /// The socket is closed by a task of the transport's, a moment after the transport was dropped.
    async fn released(addr: SocketAddr) {
        let is_free = async {
            while UdpSocket::bind(addr).is_err() {
                time::sleep(RELEASE_INTERVAL).await;
            }
        };
        let _ = time::timeout(MAX_RELEASE_TIME, is_free).await;
    }
}

impl Receiver for phin_quic::Receiver {
    async fn receive(&mut self) -> Option<Received> {
        Self::receive(self).await
    }

    fn try_receive(&mut self) -> Option<Received> {
        Self::try_receive(self)
    }
}

/// How long an ended node waits for its socket to be closed, and how often it looks.
const MAX_RELEASE_TIME: Duration = Duration::from_secs(1);
const RELEASE_INTERVAL: Duration = Duration::from_millis(5);
