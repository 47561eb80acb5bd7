//! Watchers on the network in memory: where nodes let them in, and the frames on their way.
//!
//! Frames take as long as packets do. A node that was killed or shut down is noticed that much later, one that is paused or
//! whose host is off after the silence that a watcher bears. A watcher reaches every node.

use std::{
    collections::BTreeMap,
    future::{Future, pending},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use phin_quic::{DialError, NotServed, PeerId, WatchEnd, WatchError};
use tokio::{
    select,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    time::{Instant, sleep, sleep_until, timeout_at},
};

use crate::{
    testing::{cuts::Cuts, gate::Gate, world::DELAY},
    watch_transport::{FrameReceiver, FrameSender, IncomingWatcher, WatchClient, Watchers},
};

/// The doors of all nodes of one network, by their addresses.
#[derive(Clone, Debug, Default)]
pub(crate) struct Doors(Arc<Mutex<BTreeMap<SocketAddr, Door>>>);

/// The entrance of watchers to one node. Its connections end when it is dropped.
#[derive(Debug)]
struct Door {
    id: PeerId,
    gate: Gate,
    places: Arc<Semaphore>,
    /// `None` if the node serves no watchers.
    arrivals: Option<mpsc::Sender<Incoming>>,
    /// Whether the node ends in good order.
    end: watch::Sender<bool>,
}

impl Doors {
    /// Opens that of a node, which serves so many watchers.
    pub(crate) fn open(
        &self,
        addr: SocketAddr,
        id: PeerId,
        gate: Gate,
        places: usize,
    ) -> Option<Arrivals> {
        let (sender, arrivals) = mpsc::channel(places.max(1));
        let arrivals = (places > 0).then_some((sender, Arrivals(arrivals)));
        let (sender, arrivals) = arrivals.unzip();
        let places = Arc::new(Semaphore::new(places));
        let end = watch::Sender::new(false);
        self.all().insert(addr, Door { id, gate, places, arrivals: sender, end });
        arrivals
    }

    /// The node at an address ends, in good order or not.
    pub(crate) fn shut(&self, addr: SocketAddr, is_orderly: bool) {
        if let Some(door) = self.all().remove(&addr) {
            door.end.send_replace(is_orderly);
        }
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, Door>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection of a watcher to a node, whose process runs.
    fn enter(&self, addr: SocketAddr, request: &[u8], cuts: &Cuts) -> Result<Frames, WatchError> {
        let doors = self.all();
        let door = doors.get(&addr).ok_or(DialError::PortClosed)?;
        let arrivals = door.arrivals.as_ref().ok_or(WatchError::NotServed)?;
        let place = Arc::clone(&door.places).try_acquire_owned().map_err(|_| WatchError::Full)?;
        let (sender, frames) = mpsc::channel(MAX_FRAMES);
        let reason = Arc::<Mutex<Option<WatchError>>>::default();
        let sender = Sender {
            frames: sender,
            gate: door.gate.clone(),
            reason: Arc::clone(&reason),
            _place: place,
        };
        let incoming = Incoming { id: door.id, request: request.into(), sender };
        // It has room for every watcher that has a place.
        arrivals.try_send(incoming).map_err(|_| WatchError::Full)?;
        let (end, cuts, heard_at) = (door.end.subscribe(), cuts.clone(), Instant::now());
        Ok(Frames { id: door.id, addr, frames, waiting: None, reason, end, cuts, heard_at })
    }

    /// The gate of the node at an address, if there is one.
    fn gate(&self, addr: SocketAddr) -> Option<Gate> {
        self.all().get(&addr).map(|door| door.gate.clone())
    }
}

/// The watchers that arrive at a node.
#[derive(Debug)]
pub(crate) struct Arrivals(mpsc::Receiver<Incoming>);

impl Watchers for Arrivals {
    type Incoming = Incoming;

    async fn next(&mut self) -> Option<Incoming> {
        self.0.recv().await
    }
}

/// A watcher that sent its request.
#[derive(Debug)]
pub(crate) struct Incoming {
    id: PeerId,
    request: Vec<u8>,
    sender: Sender,
}

impl IncomingWatcher for Incoming {
    type Frames = Sender;

    fn id(&self) -> PeerId {
        self.id
    }

    fn addr(&self) -> SocketAddr {
        WATCHER_ADDR
    }

    fn request(&self) -> &[u8] {
        &self.request
    }

    async fn accept(self) -> Result<Sender, WatchEnd> {
        Ok(self.sender)
    }

    fn refuse(self, why: NotServed) {
        self.sender.close(why);
    }
}

/// The node's end of a connection.
#[derive(Debug)]
pub(crate) struct Sender {
    /// Frames, and when they arrive.
    frames: mpsc::Sender<(Instant, Bytes)>,
    gate: Gate,
    /// Why the node ended the connection.
    reason: Arc<Mutex<Option<WatchError>>>,
    _place: OwnedSemaphorePermit,
}

impl FrameSender for Sender {
    async fn send(&mut self, frame: &[u8]) -> Result<(), WatchEnd> {
        self.gate.opened().await;
        let frame = (Instant::now() + DELAY, Bytes::copy_from_slice(frame));
        self.frames.send(frame).await.map_err(|_| WatchEnd)
    }

    fn ended(&self) -> impl Future<Output = ()> + Send + use<> {
        let frames = self.frames.clone();
        async move { frames.closed().await }
    }

    fn close(self, why: NotServed) {
        let reason = match why {
            NotServed::NotReady => WatchError::NotReady,
            _ => WatchError::NotUnderstood { reason: "the request".to_owned() },
        };
        *self.reason.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
    }
}

/// The watcher's end of a connection.
#[derive(Debug)]
pub(crate) struct Frames {
    id: PeerId,
    addr: SocketAddr,
    frames: mpsc::Receiver<(Instant, Bytes)>,
    /// A frame on its way.
    waiting: Option<(Instant, Bytes)>,
    reason: Arc<Mutex<Option<WatchError>>>,
    end: watch::Receiver<bool>,
    cuts: Cuts,
    heard_at: Instant,
}

impl Frames {
    async fn arrival(&mut self) -> Result<Bytes, WatchError> {
        if self.waiting.is_none() {
            self.waiting = select! {
                biased;
                frame = self.frames.recv() => frame,
                error = ended(&mut self.end) => return Err(self.lose(error).await),
            };
        }
        let Some((at, _)) = self.waiting else {
            let reason = self.reason.lock().unwrap_or_else(PoisonError::into_inner).clone();
            return Err(self.lose(reason.unwrap_or(WatchError::Closed)).await);
        };
        sleep_until(at).await;
        let (at, frame) = self.waiting.take().ok_or(WatchError::Closed)?;
        self.heard_at = at;
        Ok(frame)
    }

    /// The error, as soon as it is known here: never if nothing answers in place of the node.
    async fn lose(&self, error: WatchError) -> WatchError {
        sleep(DELAY).await;
        if self.cuts.is_off(self.addr) {
            pending::<()>().await;
        }
        error
    }
}

/// Waits for the end of a node's process.
async fn ended(end: &mut watch::Receiver<bool>) -> WatchError {
    let is_orderly = end.wait_for(|is_orderly| *is_orderly).await.is_ok();
    if is_orderly { WatchError::Closed } else { WatchError::Lost }
}

impl FrameReceiver for Frames {
    fn id(&self) -> PeerId {
        self.id
    }

    fn addr(&self) -> SocketAddr {
        self.addr
    }

    async fn next(&mut self) -> Result<Bytes, WatchError> {
        let deadline = self.heard_at + MAX_SILENCE;
        let arrival = timeout_at(deadline, self.arrival()).await;
        arrival.unwrap_or(Err(WatchError::Silent))
    }

    fn reject(&self, reason: String) -> WatchError {
        WatchError::NotUnderstood { reason }
    }
}

/// A watcher on the network.
#[derive(Debug)]
pub(crate) struct MemoryWatcher {
    pub(crate) doors: Doors,
    pub(crate) cuts: Cuts,
}

impl WatchClient for MemoryWatcher {
    type Frames = Frames;

    async fn connect(&self, addr: SocketAddr, request: &[u8]) -> Result<Frames, WatchError> {
        let deadline = Instant::now() + HANDSHAKE_TIMEOUT;
        let answered = async {
            sleep(2 * DELAY).await;
            if self.cuts.is_off(addr) {
                pending::<()>().await;
            }
            if let Some(gate) = self.doors.gate(addr) {
                gate.opened().await;
            }
        };
        timeout_at(deadline, answered).await.map_err(|_| DialError::TimedOut)?;
        self.doors.enter(addr, request, &self.cuts)
    }

    async fn close(&self) {}
}

/// The address that nodes see.
const WATCHER_ADDR: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)), 7_646);
/// Frames on their way to a watcher; the node waits with the next.
const MAX_FRAMES: usize = 64;
/// As `phin_quic` has them.
const MAX_SILENCE: Duration = Duration::from_millis(750);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);
