//! Publishing the membership list: the newest snapshot for readers, every change for subscribers.

use std::{
    future::poll_fn,
    num::NonZeroUsize,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::SystemTime,
};

use futures_core::Stream;
use phin_swim::{Event, Members};
use tokio::sync::{
    broadcast::{self, error::RecvError},
    watch,
};

use crate::receiving::Receiving;

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
///
/// A subscription does not keep the node running.
#[derive(Debug)]
pub struct Subscription {
    /// The first snapshot, until it is handed over.
    first: Option<Members>,
    /// The version of the list that the subscriber knows.
    version: u64,
    /// `None` where the driver has ended and everything was delivered.
    events: Option<Receiving<Arc<Published>>>,
    members: watch::Receiver<Members>,
    events_missed: Arc<AtomicU64>,
}

impl Subscription {
    /// Returns the next notice, or `None` once the node has been shut down and everything before has been
    /// delivered. Dropping the future loses nothing.
    ///
    /// A subscription is a [`Stream`] of notices, too, for the combinators of `futures` and `tokio-stream`.
    pub async fn next(&mut self) -> Option<Notice> {
        poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }

    /// The current list. It contains every change that [`next`](Self::next) has returned, and may contain later ones. After
    /// a shutdown it is the last list.
    pub fn members(&self) -> Members {
        self.members.borrow().clone()
    }

    /// Takes the newest snapshot in place of what the buffer lost, unless the one at hand holds all
    /// of that.
    fn catch_up(&mut self) -> Option<Notice> {
        let members = self.members();
        let events = members.version().saturating_sub(self.version);
        if events == 0 {
            return None;
        }
        self.version = members.version();
        self.events_missed.fetch_add(events, Ordering::Relaxed);
        Some(Notice::Missed { events, members })
    }
}

impl Stream for Subscription {
    type Item = Notice;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Notice>> {
        let this = &mut *self;
        if let Some(members) = this.first.take() {
            return Poll::Ready(Some(Notice::Snapshot(members)));
        }
        loop {
            let Some(events) = this.events.as_mut() else {
                return Poll::Ready(None);
            };
            match ready!(events.poll_next(context)) {
                Ok(published) if published.event.version > this.version => {
                    this.version = published.event.version;
                    let Published { at, event } = Arc::unwrap_or_clone(published);
                    return Poll::Ready(Some(Notice::Event { at, event }));
                }
                // The snapshot that the subscriber has holds this change.
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => {
                    if let Some(missed) = this.catch_up() {
                        return Poll::Ready(Some(missed));
                    }
                }
                Err(RecvError::Closed) => this.events = None,
            }
        }
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
        let events = self.events.upgrade().map(|events| Receiving::new(events.subscribe()));
        let members = self.members();
        Subscription {
            version: members.version(),
            first: Some(members),
            events,
            members: self.members.clone(),
            events_missed: Arc::clone(&self.events_missed),
        }
    }
}
