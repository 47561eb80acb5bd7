//! [`Subscription`]: the membership list and every change of it.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
    time::SystemTime,
};

use futures_core::Stream;
use phin_swim::{Event, Members};

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
pub struct Subscription(pub(crate) Follower<Members, Published>);

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
        self.0.snapshot()
    }
}

impl Stream for Subscription {
    type Item = Notice;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Notice>> {
        Poll::Ready(ready!(self.0.poll_next(context)).map(|next| match next {
            Next::First(members) => Notice::Snapshot(members),
            Next::Event(Published { at, event }) => Notice::Event { at, event },
            Next::Missed(events, members) => Notice::Missed { events, members },
        }))
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
