//! The seam between watchers and what moves their frames: what the service of a node and a watcher need of a network.
//!
//! Real ones have `phin_quic`; clusters in a test have a network in memory. Each method promises what the method of that name
//! in `phin_quic` does.

use std::{future::Future, net::SocketAddr};

use bytes::Bytes;
use phin_quic::{NotServed, PeerId, WatchEnd, WatchError};

/// The watchers that arrive at a node.
pub(crate) trait Watchers: Send + 'static {
    type Incoming: IncomingWatcher;

    fn next(&mut self) -> impl Future<Output = Option<Self::Incoming>> + Send;
}

/// A watcher that sent a request.
pub(crate) trait IncomingWatcher: Send + 'static {
    type Frames: FrameSender;

    fn id(&self) -> PeerId;

    fn addr(&self) -> SocketAddr;

    fn request(&self) -> &[u8];

    fn accept(self) -> impl Future<Output = Result<Self::Frames, WatchEnd>> + Send;

    fn refuse(self, why: NotServed);
}

/// Sends frames to one watcher.
pub(crate) trait FrameSender: Send + Sync + 'static {
    fn send(&mut self, frame: &[u8]) -> impl Future<Output = Result<(), WatchEnd>> + Send;

    fn ended(&self) -> impl Future<Output = ()> + Send + use<Self>;

    fn close(self, why: NotServed);
}

/// Connects to nodes as a watcher.
pub(crate) trait WatchClient: Send + Sync + 'static {
    type Frames: FrameReceiver;

    fn connect(
        &self,
        addr: SocketAddr,
        request: &[u8],
    ) -> impl Future<Output = Result<Self::Frames, WatchError>> + Send;

    fn close(&self) -> impl Future<Output = ()> + Send;
}

/// Receives the frames of one node.
pub(crate) trait FrameReceiver: Send + Sync + 'static {
    fn id(&self) -> PeerId;

    fn addr(&self) -> SocketAddr;

    fn next(&mut self) -> impl Future<Output = Result<Bytes, WatchError>> + Send;

    fn reject(&self, reason: String) -> WatchError;
}

impl Watchers for phin_quic::Watchers {
    type Incoming = phin_quic::IncomingWatcher;

    async fn next(&mut self) -> Option<Self::Incoming> {
        Self::next(self).await
    }
}

impl IncomingWatcher for phin_quic::IncomingWatcher {
    type Frames = phin_quic::FrameSender;

    fn id(&self) -> PeerId {
        self.id()
    }

    fn addr(&self) -> SocketAddr {
        self.addr()
    }

    fn request(&self) -> &[u8] {
        self.request()
    }

    async fn accept(self) -> Result<Self::Frames, WatchEnd> {
        Self::accept(self).await
    }

    fn refuse(self, why: NotServed) {
        self.refuse(why);
    }
}

impl FrameSender for phin_quic::FrameSender {
    async fn send(&mut self, frame: &[u8]) -> Result<(), WatchEnd> {
        Self::send(self, frame).await
    }

    fn ended(&self) -> impl Future<Output = ()> + Send + use<> {
        self.ended()
    }

    fn close(self, why: NotServed) {
        self.close(why);
    }
}

impl WatchClient for phin_quic::WatchClient {
    type Frames = phin_quic::FrameReceiver;

    async fn connect(&self, addr: SocketAddr, request: &[u8]) -> Result<Self::Frames, WatchError> {
        Self::connect(self, addr, request).await
    }

    async fn close(&self) {
        Self::close(self).await;
    }
}

impl FrameReceiver for phin_quic::FrameReceiver {
    fn id(&self) -> PeerId {
        self.id()
    }

    fn addr(&self) -> SocketAddr {
        self.addr()
    }

    async fn next(&mut self) -> Result<Bytes, WatchError> {
        Self::next(self).await
    }

    fn reject(&self, reason: String) -> WatchError {
        self.reject(reason)
    }
}
