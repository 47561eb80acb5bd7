//! Publishing the membership list: the newest snapshot for readers, every change for subscribers.

use std::{
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use phin_swim::{Event, Filter, Members};
use tokio::sync::{broadcast, watch};

/// A notice to a subscriber.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Notice {
    /// The list when the subscription began. Always the first notice, and never a later one.
    Snapshot(Members),
    /// The next change. Its version is one more than the last that the subscriber knows.
    Event {
        /// When this node learned of it, in wall-clock time.
        at: SystemTime,
        /// What changed.
        event: Event,
    },
    /// The subscriber fell behind by more than the buffer. The current list replaces the changes that it missed.
    Missed {
        /// The number of changes that it missed.
        events: u64,
        /// The list that contains all of them.
        members: Members,
    },
}

/// The membership list and each change to it, in order, without gap or repetition.
///
/// Changes are those of members that this node knows. A member that had died or left before this node first
/// heard of it is in later lists without a change, until it is forgotten. A suppressed member
/// ([`Members::suppressed_until`]) has no changes until its suppression ends, unless it leaves.
#[derive(Debug)]
pub struct Subscription {
    /// The first snapshot, until it is handed over.
    first: Option<Members>,
    /// The version of the list that the subscriber knows.
    version: u64,
    filter: Filter,
    /// `None` where the driver had ended already.
    events: Option<broadcast::Receiver<Arc<Published>>>,
    members: watch::Receiver<Members>,
    events_missed: Arc<AtomicU64>,
}

impl Subscription {
    /// Leaves out the changes of members for which the filter holds neither before nor after the change. So a member
    /// that loses the tag is reported once more, as [`Updated`](phin_swim::Change::Updated), and then no longer.
    ///
    /// Snapshots are whole lists: read them with [`Members::matching`]. Versions of events skip the changes left out.
    ///
    /// ```
    /// # async fn watch(cluster: phin::Cluster) -> Result<(), phin::FilterError> {
    /// let changes = cluster.subscribe().matching("role=web,zone!=b".parse()?);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use = "the subscription is changed by value"]
    pub fn matching(mut self, filter: Filter) -> Self {
        self.filter = filter;
        self
    }

    /// Returns the next notice, or `None` once the node has been shut down and everything before has been
    /// delivered. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Notice> {
        if let Some(members) = self.first.take() {
            return Some(Notice::Snapshot(members));
        }
        loop {
            match self.events.as_mut()?.recv().await {
                Ok(published) if published.event.version > self.version => {
                    self.version = published.event.version;
                    if !published.event.matches(&self.filter) {
                        continue;
                    }
                    let Published { at, event } = Arc::unwrap_or_clone(published);
                    return Some(Notice::Event { at, event });
                }
                // The snapshot that the subscriber has holds this change.
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(_)) => {
                    if let Some(missed) = self.catch_up() {
                        return Some(missed);
                    }
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    /// Takes the newest snapshot in place of what the buffer lost, unless the one at hand holds all
    /// of that.
    fn catch_up(&mut self) -> Option<Notice> {
        let members = self.members.borrow().clone();
        let events = members.version().saturating_sub(self.version);
        if events == 0 {
            return None;
        }
        self.version = members.version();
        self.events_missed.fetch_add(events, Ordering::Relaxed);
        Some(Notice::Missed { events, members })
    }
}

/// One change on its way to the subscribers.
#[derive(Clone, Debug)]
pub(crate) struct Published {
    pub(crate) at: SystemTime,
    pub(crate) event: Event,
}

/// The driver's side: a snapshot first, then the changes it holds. Nobody can make it wait.
#[derive(Debug)]
pub(crate) struct Publisher {
    members: watch::Sender<Members>,
    /// Holds the last changes for those who have not read them; the oldest give way. Room for each is
    /// there from the beginning, so it is room for a pointer.
    events: broadcast::Sender<Arc<Published>>,
}

impl Publisher {
    pub(crate) fn new(members: Members, buffer: NonZeroUsize) -> Self {
        Self { members: watch::Sender::new(members), events: broadcast::Sender::new(buffer.get()) }
    }

    pub(crate) fn source(&self) -> Source {
        Source {
            members: self.members.subscribe(),
            events: self.events.downgrade(),
            events_missed: Arc::default(),
        }
    }

    /// Publishes the list, before the changes that led to it: a subscriber that takes its snapshot
    /// between the two knows by the version which of the changes it has.
    pub(crate) fn publish_list(&self, members: Members) {
        self.members.send_replace(members);
    }

    /// Publishes changes that the published list holds.
    pub(crate) fn publish_changes(&self, changes: impl IntoIterator<Item = Published>) {
        for change in changes {
            // An error means that nobody subscribes.
            let _ = self.events.send(Arc::new(change));
        }
    }
}

/// The handle's side: where snapshots and subscriptions come from. It does not keep the publisher
/// alive.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    members: watch::Receiver<Members>,
    events: broadcast::WeakSender<Arc<Published>>,
    events_missed: Arc<AtomicU64>,
}

impl Source {
    pub(crate) fn members(&self) -> Members {
        self.members.borrow().clone()
    }

    /// A receiver of snapshots alone.
    pub(crate) fn watch(&self) -> watch::Receiver<Members> {
        self.members.clone()
    }

    /// How many changes subscribers missed by falling behind.
    pub(crate) fn events_missed(&self) -> u64 {
        self.events_missed.load(Ordering::Relaxed)
    }

    pub(crate) fn subscribe(&self) -> Subscription {
        // The changes before the snapshot: what comes in between is in both, and told once.
        let events = self.events.upgrade().map(|events| events.subscribe());
        let members = self.members();
        Subscription {
            version: members.version(),
            first: Some(members),
            filter: Filter::default(),
            events,
            members: self.members.clone(),
            events_missed: Arc::clone(&self.events_missed),
        }
    }
}
