//! The node's side: places for watchers, and the frames that they are sent.

use std::{
    future::Future,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use quinn::{Connecting, SendStream};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::timeout,
};

use super::{MAX_FRAME_BYTES, MAX_REQUEST_BYTES};
use crate::{
    close::CloseCode,
    config::Params,
    expelled::Expelled,
    hello::HelloError,
    identity::PeerId,
    peer::canonical,
    stats::{Counters, add},
    tls,
};

/// The places of watchers, and the queue of those that have one.
#[derive(Debug)]
pub(crate) struct Places {
    protocol: Vec<u8>,
    params: Arc<Params>,
    expelled: Arc<Expelled>,
    places: Arc<Semaphore>,
    /// Has room for every watcher that has a place.
    arrived: mpsc::Sender<IncomingWatcher>,
    arrivals: Mutex<Option<Watchers>>,
    /// Handles of the watchers that have a place, and of some that had one.
    served: Mutex<Vec<quinn::Connection>>,
}

impl Places {
    pub(crate) fn new(
        protocol: Vec<u8>,
        params: Arc<Params>,
        expelled: Arc<Expelled>,
    ) -> Arc<Self> {
        let max = params.max_watchers;
        let (arrived, arrivals) = mpsc::channel(max.max(1));
        let arrivals = Mutex::new((max > 0).then_some(Watchers(arrivals)));
        let places = Arc::new(Semaphore::new(max));
        let served = Mutex::default();
        Arc::new(Self { protocol, params, expelled, places, arrived, arrivals, served })
    }

    /// The ALPN id of watchers.
    pub(crate) fn protocol(&self) -> &Vec<u8> {
        &self.protocol
    }

    pub(crate) fn take(&self) -> Option<Watchers> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// How many watchers have a place.
    pub(crate) fn taken(&self) -> usize {
        self.params.max_watchers - self.places.available_permits()
    }

    /// Completes the handshake of a watcher, and reads its request. `None` if it was then closed, and counted. The caller
    /// limits the time.
    pub(crate) async fn greet(
        &self,
        connecting: Connecting,
        counters: &Arc<Counters>,
    ) -> Result<Option<IncomingWatcher>, HelloError> {
        // Only one that has proved itself learns that there is no place.
        let quic = connecting.await?;
        if self.expelled.refuse(&quic) {
            return Err(HelloError::Expelled);
        }
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            add(&counters.watchers_refused, 1);
            quic.close(CloseCode::WATCHERS_FULL.0, b"");
            return Ok(None);
        };
        let mut stream = quic.accept_uni().await?;
        let request = stream.read_to_end(MAX_REQUEST_BYTES).await;
        let (Ok(request), Some(id)) = (request, tls::peer_id(&quic)) else {
            add(&counters.watchers_misused, 1);
            quic.close(CloseCode::MISUSED.0, b"");
            return Ok(None);
        };
        add(&counters.watchers_accepted, 1);
        quic.set_send_window(MAX_UNSENT_BYTES);
        let counters = counters.clone();
        let max_send_time = self.params.stream_timeout;
        let served = Served { quic, counters, max_send_time, _place: place };
        Ok(Some(IncomingWatcher { id, request, served }))
    }

    pub(crate) fn arrived(
        &self,
        watcher: IncomingWatcher,
        is_accepted: impl Fn(&quinn::Connection) -> bool,
    ) {
        let Served { quic, counters, .. } = &watcher.served;
        {
            let mut served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
            // As many as there are places.
            served.retain(|quic| quic.close_reason().is_none());
            served.push(quic.clone());
        }
        // Only now, because the credentials may have been replaced during the handshake.
        if !is_accepted(quic) {
            disown(quic, counters);
        }
        self.expelled.refuse(quic);
        // It is full only for a moment, after a watcher has given its place back: dropping this one closes it.
        let _ = self.arrived.try_send(watcher);
    }
}

impl Places {
    /// Closes the watchers that are accepted no longer, and returns their number.
    pub(crate) fn disown(
        &self,
        is_accepted: impl Fn(&quinn::Connection) -> bool,
        counters: &Counters,
    ) -> usize {
        let mut served = self.served.lock().unwrap_or_else(PoisonError::into_inner).clone();
        served.retain(|quic| quic.close_reason().is_none() && !is_accepted(quic));
        served.iter().for_each(|quic| disown(quic, counters));
        served.len()
    }
}

impl Places {
    /// Closes the watchers that are expelled, and returns their number.
    pub(crate) fn expel(&self) -> usize {
        let mut served = self.served.lock().unwrap_or_else(PoisonError::into_inner).clone();
        served.retain(|quic| quic.close_reason().is_none() && self.expelled.refuse(quic));
        served.len()
    }
}

fn disown(quic: &quinn::Connection, counters: &Counters) {
    add(&counters.connections_disowned, 1);
    quic.close(CloseCode::CREDENTIALS.0, b"");
}

/// The watchers that arrive at a transport, from [`Transport::take_watchers`](crate::Transport::take_watchers).
#[derive(Debug)]
pub struct Watchers(mpsc::Receiver<IncomingWatcher>);

impl Watchers {
    /// Waits for the next watcher. Returns `None` once the transport is gone. Cancel safe.
    pub async fn next(&mut self) -> Option<IncomingWatcher> {
        self.0.recv().await
    }
}

/// A watcher that proved itself and sent a request. Dropping it closes its connection.
#[derive(Debug)]
pub struct IncomingWatcher {
    id: PeerId,
    request: Vec<u8>,
    served: Served,
}

/// Why a watcher is sent nothing, or nothing more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum NotServed {
    /// The list of this node may be out of date.
    NotReady,
    /// The request cannot be understood.
    NotUnderstood,
}

impl IncomingWatcher {
    /// The identity that the watcher proved: an ephemeral one, or that of its certificate.
    pub fn id(&self) -> PeerId {
        self.id
    }

    /// The address of the watcher.
    pub fn addr(&self) -> SocketAddr {
        canonical(self.served.quic.remote_address())
    }

    /// The request of the watcher.
    pub fn request(&self) -> &[u8] {
        &self.request
    }

    /// Opens the stream of frames.
    ///
    /// # Errors
    /// The watcher is gone.
    pub async fn accept(self) -> Result<FrameSender, WatchEnd> {
        let opened = self.served.quic.open_uni().await;
        let stream = opened.map_err(|_| WatchEnd)?;
        Ok(FrameSender { stream, served: Arc::new(self.served) })
    }

    /// Closes the connection for this reason.
    pub fn refuse(self, why: NotServed) {
        self.served.close(why);
    }
}

/// The connection of a watcher, with its place.
#[derive(Debug)]
struct Served {
    quic: quinn::Connection,
    counters: Arc<Counters>,
    max_send_time: Duration,
    _place: OwnedSemaphorePermit,
}

impl Served {
    fn close(&self, why: NotServed) {
        let code = match why {
            NotServed::NotReady => CloseCode::NOT_READY,
            NotServed::NotUnderstood => {
                add(&self.counters.watchers_misused, 1);
                CloseCode::MISUSED
            }
        };
        self.quic.close(code.0, b"");
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // A reason that closed it before takes precedence.
        self.quic.close(CloseCode::SHUTDOWN.0, b"");
    }
}

/// A watcher is gone.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the watcher is gone")]
pub struct WatchEnd;

/// Sends frames to one watcher. Dropping it closes the connection.
///
/// At most [`MAX_FRAME_BYTES`] wait for a watcher besides the frame being sent.
#[derive(Debug)]
pub struct FrameSender {
    stream: SendStream,
    served: Arc<Served>,
}

impl FrameSender {
    /// Sends a frame, and waits while the watcher has not read enough of those before. A watcher that does not read for
    /// [`TransportConfig::stream_timeout`](crate::TransportConfig::stream_timeout) is closed. If the future is dropped before it has completed, the stream is useless.
    ///
    /// # Errors
    /// The watcher is gone, or was closed.
    ///
    /// # Panics
    /// If the frame is longer than [`MAX_FRAME_BYTES`].
    pub async fn send(&mut self, frame: &[u8]) -> Result<(), WatchEnd> {
        assert!(frame.len() <= MAX_FRAME_BYTES, "a frame of {} bytes", frame.len());
        let length = u32::try_from(frame.len()).expect("a frame has at most 64 KiB");
        let written = async {
            self.stream.write_all(&length.to_be_bytes()).await?;
            self.stream.write_all(frame).await
        };
        match timeout(self.served.max_send_time, written).await {
            Ok(written) => written.map_err(|_| WatchEnd),
            Err(_elapsed) => {
                add(&self.served.counters.watchers_stalled, 1);
                self.served.quic.close(CloseCode::STALLED.0, b"");
                Err(WatchEnd)
            }
        }
    }

    /// Returns when the watcher is gone, or has sent more than its request, for which it is closed.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + use<> {
        let served = self.served.clone();
        async move {
            let quic = &served.quic;
            let has_sent_more = tokio::select! {
                stream = quic.accept_uni() => stream.is_ok(),
                stream = quic.accept_bi() => stream.is_ok(),
                datagram = quic.read_datagram() => datagram.is_ok(),
            };
            if has_sent_more {
                served.close(NotServed::NotUnderstood);
            }
        }
    }

    /// Closes the connection for this reason. Frames sent before may not arrive.
    pub fn close(self, why: NotServed) {
        self.served.close(why);
    }
}

/// Bytes that wait in QUIC for a watcher.
const MAX_UNSENT_BYTES: u64 = MAX_FRAME_BYTES as u64;
