//! [`Watcher`]: follows a cluster's membership list without being a member.

mod builder;
mod candidates;
mod follow;
mod search;

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use phin_quic::WatchError;
use phin_swim::{MemberId, Members};
use tokio::sync::watch;

#[cfg(feature = "testing")]
pub(crate) use self::builder::Launch;
pub use self::builder::WatcherBuilder;
use crate::{Moment, Stopped, Subscription, clock::Clock, feed::Source, subscription::Published};

/// A handle that follows the membership list of a cluster without being a member: for gateways, dashboards and sidecars.
///
/// It connects to one member at a time, with the credentials of the cluster and an identity of its own. From that member it
/// receives the list, and then every change. If the member dies, hangs, leaves, or is isolated, the watcher goes on with
/// another within a second. It is neither probed nor in anyone's list, and costs the cluster one connection.
///
/// Clones are cheap and refer to the same watcher. It ends with its last handle, or with [`shutdown`](Self::shutdown).
///
/// ```no_run
/// # async fn example(key: phin::ClusterKey) -> Result<(), Box<dyn std::error::Error>> {
/// use phin::{Notice, Watcher};
///
/// let watcher = Watcher::builder().seeds(["10.0.0.1:7646", "10.0.0.2:7646"]).key(key).start()?;
/// watcher.connected().await?;
/// let mut changes = watcher.subscribe();
/// while let Some(notice) = changes.next().await {
///     if let Notice::Event { event, .. } = notice {
///         println!("{} {}", event.change, event.member.name());
///     }
/// }
/// # Ok(())
/// # }
/// ```
///
/// # From member to member
///
/// Each member has a list of its own, and the next may be a moment behind the last. So a newer state of a member counts at
/// once. An older state, or a member that is missing, counts only if it is still so after three seconds. Differences are
/// reported as changes; a live member that the next one does not know is reported as
/// [`Dead`](crate::Change::Dead), then [`Forgotten`](crate::Change::Forgotten).
///
/// While no member can be reached, the watcher keeps the last list and says since when it is [`Stale`](WatcherState::Stale).
#[derive(Clone)]
pub struct Watcher {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Clock,
    source: Source<Members, Published>,
    state: watch::Receiver<WatcherState>,
    counters: Arc<Counters>,
    /// Closed once the watcher's task has ended.
    stop: watch::Sender<bool>,
}

/// How a watcher is connected.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum WatcherState {
    /// No member has sent its list yet.
    Connecting {
        /// Why each address did not work when all were tried last; empty during the first try. At most 16.
        failures: Vec<WatchFailure>,
    },
    /// The list is that of this member, as of now.
    Connected {
        /// The member.
        member: MemberId,
        /// Its address.
        addr: SocketAddr,
    },
    /// The last member was lost, and no other was found yet. The list is as it was.
    Stale {
        /// When the list was last known to be that of a member.
        since: SystemTime,
        /// Why the last member was lost, and why each other address did not work when all were tried last. At most 16.
        failures: Vec<WatchFailure>,
    },
}

/// Why a watcher did not get the list through an address, or lost it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("cannot watch through {through}")]
#[non_exhaustive]
pub struct WatchFailure {
    /// The address, or the seed whose name does not resolve.
    pub through: String,
    /// The reason.
    #[source]
    pub error: WatchError,
}

/// Why a watcher is not connected.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NotConnected {
    /// Every address was tried. The watcher goes on trying.
    #[error("no member could be watched through: {}", texts(failures))]
    Failed {
        /// Why each address did not work; at most 16.
        failures: Vec<WatchFailure>,
    },
    /// The watcher has been shut down.
    #[error("the watcher has been shut down")]
    Stopped,
}

/// The counters of a watcher since its start.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct WatcherStats {
    /// Times that a member sent its list to the end, and was followed from then on.
    pub connected: u64,
    /// Members that refused because they had no place.
    pub refused_full: u64,
    /// Times that a member was lost.
    pub lost: u64,
    /// Changes that subscribers did not receive one by one, because they fell behind.
    pub events_missed: u64,
}

#[derive(Debug, Default)]
struct Counters {
    connected: AtomicU64,
    refused_full: AtomicU64,
    lost: AtomicU64,
}

impl Watcher {
    /// Returns a [`WatcherBuilder`].
    pub fn builder() -> WatcherBuilder {
        WatcherBuilder::default()
    }

    /// An immutable snapshot of the membership list, empty before the first member has sent its own. It has no
    /// [owner](Members::owner). After a shutdown it is the last one.
    pub fn members(&self) -> Members {
        self.shared.source.snapshot()
    }

    /// Subscribes to the membership list: a snapshot, and from then on each change. Versions count the changes of this
    /// watcher, not those of a member.
    pub fn subscribe(&self) -> Subscription {
        Subscription::new(self.shared.source.follow())
    }

    /// Waits until the membership list satisfies `condition`, as [`Cluster::wait_until`](crate::Cluster::wait_until) does.
    ///
    /// # Errors
    /// The watcher was shut down, and its last list does not satisfy the condition.
    pub async fn wait_until(
        &self,
        condition: impl FnMut(&Members) -> bool,
    ) -> Result<Members, Stopped> {
        self.shared.source.wait_until(condition).await
    }

    /// How the watcher is connected.
    pub fn state(&self) -> WatcherState {
        self.shared.state.borrow().clone()
    }

    /// Waits until the state satisfies `condition`, and returns it. States that follow each other quickly may be skipped.
    ///
    /// # Errors
    /// The watcher was shut down first.
    pub async fn wait_for_state(
        &self,
        mut condition: impl FnMut(&WatcherState) -> bool,
    ) -> Result<WatcherState, Stopped> {
        let mut states = self.shared.state.clone();
        loop {
            // A clone, so that the condition does not run under a lock.
            let state = states.borrow_and_update().clone();
            if condition(&state) {
                return Ok(state);
            }
            states.changed().await.map_err(|_| Stopped)?;
        }
    }

    /// The member through which the list comes now.
    pub fn connected_to(&self) -> Option<MemberId> {
        match *self.shared.state.borrow() {
            WatcherState::Connected { member, .. } => Some(member),
            WatcherState::Connecting { .. } | WatcherState::Stale { .. } => None,
        }
    }

    /// Waits until the list is that of a member.
    ///
    /// # Errors
    /// The watcher was never connected, and every address has failed; or it was shut down. It goes on trying, so a later call
    /// may succeed. Once it was connected, this waits for the next member.
    pub async fn connected(&self) -> Result<(), NotConnected> {
        let is_known = |state: &WatcherState| match state {
            WatcherState::Connected { .. } => true,
            WatcherState::Connecting { failures } => !failures.is_empty(),
            WatcherState::Stale { .. } => false,
        };
        let state = self.wait_for_state(is_known).await.map_err(|Stopped| NotConnected::Stopped)?;
        match state {
            WatcherState::Connecting { failures } => Err(NotConnected::Failed { failures }),
            WatcherState::Connected { .. } | WatcherState::Stale { .. } => Ok(()),
        }
    }

    /// Converts a moment of this watcher's clock, such as [`Member::since`](crate::Member::since), to wall-clock time.
    pub fn wall_clock(&self, at: Moment) -> SystemTime {
        self.shared.clock.wall(at)
    }

    /// The counters of the watcher since its start.
    pub fn stats(&self) -> WatcherStats {
        let Counters { connected, refused_full, lost } = &*self.shared.counters;
        let [connected, refused_full, lost] =
            [connected, refused_full, lost].map(|counter| counter.load(Ordering::Relaxed));
        let events_missed = self.shared.source.events_missed();
        WatcherStats { connected, refused_full, lost, events_missed }
    }

    /// Stops the watcher and releases its socket.
    pub async fn shutdown(&self) {
        self.shared.stop.send_replace(true);
        self.shared.stop.closed().await;
    }
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher").field("state", &self.state()).finish_non_exhaustive()
    }
}

/// Failures on one line.
fn texts(failures: &[WatchFailure]) -> String {
    let texts: Vec<_> =
        failures.iter().map(|failure| format!("{}: {}", failure.through, failure.error)).collect();
    texts.join("; ")
}
