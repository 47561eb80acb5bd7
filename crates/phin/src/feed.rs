//! A feed: the newest snapshot for readers, and every change of it for subscribers, in order, without gap or repetition.

use std::{
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use tokio::sync::{
    broadcast::{self, error::RecvError},
    watch,
};

use crate::{Stopped, receiving::Receiving};

/// The count of its changes: each raises the version by one.
pub(crate) trait Versioned: Clone + Send + Sync + 'static {
    fn version(&self) -> u64;
}

/// The driver's side: a snapshot first, then the changes it holds. Nobody can make it wait.
#[derive(Debug)]
pub(crate) struct Publisher<S, E> {
    snapshot: watch::Sender<S>,
    /// Holds the last changes for those who have not read them; the oldest give way. Room for each is
    /// there from the beginning, so it is room for a pointer.
    events: broadcast::Sender<Arc<E>>,
}

impl<S: Versioned, E: Versioned> Publisher<S, E> {
    pub(crate) fn new(snapshot: S, buffer: NonZeroUsize) -> Self {
        let events = broadcast::Sender::new(buffer.get());
        Self { snapshot: watch::Sender::new(snapshot), events }
    }

    pub(crate) fn source(&self) -> Source<S, E> {
        Source {
            snapshot: self.snapshot.subscribe(),
            events: self.events.downgrade(),
            events_missed: Arc::default(),
        }
    }

    /// Publishes the snapshot, before the changes that led to it: a subscriber that takes its snapshot
    /// between the two knows by the version which of the changes it has.
    pub(crate) fn publish_snapshot(&self, snapshot: S) {
        self.snapshot.send_replace(snapshot);
    }

    /// Publishes changes that the published snapshot holds.
    pub(crate) fn publish_changes(&self, changes: impl IntoIterator<Item = E>) {
        for change in changes {
            // An error means that nobody subscribes.
            let _ = self.events.send(Arc::new(change));
        }
    }
}

/// The handle's side: where snapshots and subscriptions come from. It does not keep the publisher
/// alive.
#[derive(Debug)]
pub(crate) struct Source<S, E> {
    snapshot: watch::Receiver<S>,
    events: broadcast::WeakSender<Arc<E>>,
    events_missed: Arc<AtomicU64>,
}

impl<S, E> Clone for Source<S, E> {
    fn clone(&self) -> Self {
        let events_missed = Arc::clone(&self.events_missed);
        Self { snapshot: self.snapshot.clone(), events: self.events.clone(), events_missed }
    }
}

impl<S: Versioned, E: Versioned> Source<S, E> {
    pub(crate) fn snapshot(&self) -> S {
        self.snapshot.borrow().clone()
    }

    /// A receiver of snapshots alone.
    pub(crate) fn watch(&self) -> watch::Receiver<S> {
        self.snapshot.clone()
    }

    /// Waits until a snapshot satisfies the condition.
    pub(crate) async fn wait_until(
        &self,
        mut condition: impl FnMut(&S) -> bool,
    ) -> Result<S, Stopped> {
        let mut snapshots = self.watch();
        loop {
            // A clone, so that the condition does not run under the lock that the driver publishes with.
            let snapshot = snapshots.borrow_and_update().clone();
            if condition(&snapshot) {
                return Ok(snapshot);
            }
            drop(snapshot);
            snapshots.changed().await.map_err(|_| Stopped)?;
        }
    }

    /// How many changes subscribers missed by falling behind.
    pub(crate) fn events_missed(&self) -> u64 {
        self.events_missed.load(Ordering::Relaxed)
    }

    pub(crate) fn follow(&self) -> Follower<S, E> {
        // The changes before the snapshot: what comes in between is in both, and told once.
        let events = self.events.upgrade().map(|events| Receiving::new(events.subscribe()));
        let snapshot = self.snapshot();
        Follower {
            version: snapshot.version(),
            first: Some(snapshot),
            events,
            snapshot: self.snapshot.clone(),
            events_missed: Arc::clone(&self.events_missed),
        }
    }
}

/// A subscriber's place in a feed.
#[derive(Debug)]
pub(crate) struct Follower<S, E> {
    /// The first snapshot, until it is handed over.
    first: Option<S>,
    /// The version of the snapshot that the subscriber knows.
    version: u64,
    /// `None` where the driver has ended and everything was delivered.
    events: Option<Receiving<Arc<E>>>,
    snapshot: watch::Receiver<S>,
    events_missed: Arc<AtomicU64>,
}

/// The next item for a subscriber.
pub(crate) enum Next<S, E> {
    First(S),
    Event(E),
    /// The number of changes that this snapshot replaces.
    Missed(u64, S),
}

impl<S: Versioned, E: Versioned> Follower<S, E> {
    /// The current snapshot.
    pub(crate) fn snapshot(&self) -> S {
        self.snapshot.borrow().clone()
    }

    /// The version of the list that the subscriber knows.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Next<S, E>>> {
        if let Some(snapshot) = self.first.take() {
            return Poll::Ready(Some(Next::First(snapshot)));
        }
        loop {
            let Some(events) = self.events.as_mut() else {
                return Poll::Ready(None);
            };
            match ready!(events.poll_next(context)) {
                Ok(event) if event.version() > self.version => {
                    self.version = event.version();
                    return Poll::Ready(Some(Next::Event(Arc::unwrap_or_clone(event))));
                }
                // The snapshot that the subscriber has holds this change.
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => {
                    if let Some(missed) = self.catch_up() {
                        return Poll::Ready(Some(missed));
                    }
                }
                Err(RecvError::Closed) => self.events = None,
            }
        }
    }

    /// Takes the newest snapshot in place of what the buffer lost, unless the one at hand holds all
    /// of that.
    fn catch_up(&mut self) -> Option<Next<S, E>> {
        let snapshot = self.snapshot();
        let events = snapshot.version().saturating_sub(self.version);
        if events == 0 {
            return None;
        }
        self.version = snapshot.version();
        self.events_missed.fetch_add(events, Ordering::Relaxed);
        Some(Next::Missed(events, snapshot))
    }
}
