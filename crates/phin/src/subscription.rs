//! [`Subscription`]: the membership list and every change of it.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
    time::SystemTime,
};

use futures_core::Stream;
use phin_swim::{Event, Filter, Members};

use crate::feed::{Follower, Next, Versioned};

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
        /// The change.
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
    follower: Follower<Members, Published>,
    filter: Filter,
}

impl Subscription {
    pub(crate) fn new(follower: Follower<Members, Published>) -> Self {
        Self { follower, filter: Filter::default() }
    }

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
    ///
    /// A subscription is a [`Stream`] of notices, too, for the combinators of `futures` and `tokio-stream`.
    pub async fn next(&mut self) -> Option<Notice> {
        poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }

    /// The current list. It contains every change that [`next`](Self::next) has returned, and may contain later ones. After
    /// a shutdown it is the last list.
    pub fn members(&self) -> Members {
        self.follower.snapshot()
    }
}

impl Stream for Subscription {
    type Item = Notice;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Notice>> {
        loop {
            let Some(next) = ready!(self.follower.poll_next(context)) else {
                return Poll::Ready(None);
            };
            let notice = match next {
                Next::First(members) => Notice::Snapshot(members),
                Next::Event(Published { event, .. }) if !event.matches(&self.filter) => continue,
                Next::Event(Published { at, event }) => Notice::Event { at, event },
                Next::Missed(events, members) => Notice::Missed { events, members },
            };
            return Poll::Ready(Some(notice));
        }
    }
}

/// One change on its way to the subscribers.
#[derive(Clone, Debug)]
pub(crate) struct Published {
    pub(crate) at: SystemTime,
    pub(crate) event: Event,
}

impl Versioned for Members {
    fn version(&self) -> u64 {
        Self::version(self)
    }
}

impl Versioned for Published {
    fn version(&self) -> u64 {
        self.event.version
    }
}
