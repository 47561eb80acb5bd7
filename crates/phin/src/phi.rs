//! Subscriptions to a member's phi: the driver knows when each threshold will next be reached, and sleeps until then.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::SystemTime,
};

use futures_core::Stream;
use phin_swim::{Instant, MemberId, Swim};
use tokio::sync::broadcast::{self, error::RecvError};

use crate::{SubscribePhiError, clock::Clock, receiving::Receiving};

/// A member's phi came to the threshold of a subscription, or fell below it.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct PhiCrossing {
    /// When this node found it, by the wall clock.
    pub at: SystemTime,
    /// The value of phi then: infinite if the member is declared dead, 0 if there is no evidence against it.
    pub phi: f64,
    /// Whether phi is now at the threshold or above it.
    pub is_above: bool,
    /// How many crossings before this one were not told, because the subscriber read too slowly.
    pub missed: u64,
}

/// The crossings of one threshold by the phi of one member, from [`Cluster::subscribe_phi`](crate::Cluster::subscribe_phi).
#[derive(Debug)]
pub struct PhiSubscription {
    /// `None` where the driver has ended and everything was delivered.
    crossings: Option<Receiving<PhiCrossing>>,
    crossings_missed: Arc<AtomicU64>,
    missed: u64,
}

impl PhiSubscription {
    /// Returns the next crossing, or `None` once the node has been shut down and everything before has been delivered.
    /// Dropping the future loses nothing. If more than 16 were not read, the oldest are lost and counted.
    ///
    /// A subscription is a [`Stream`] of crossings, too.
    pub async fn next(&mut self) -> Option<PhiCrossing> {
        poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }
}

impl Stream for PhiSubscription {
    type Item = PhiCrossing;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<PhiCrossing>> {
        let this = &mut *self;
        loop {
            let Some(crossings) = this.crossings.as_mut() else {
                return Poll::Ready(None);
            };
            match ready!(crossings.poll_next(context)) {
                Ok(crossing) => {
                    let missed = std::mem::take(&mut this.missed);
                    return Poll::Ready(Some(PhiCrossing { missed, ..crossing }));
                }
                Err(RecvError::Lagged(missed)) => {
                    this.missed += missed;
                    this.crossings_missed.fetch_add(missed, Ordering::Relaxed);
                }
                Err(RecvError::Closed) => this.crossings = None,
            }
        }
    }
}

/// The driver's side: who watches what, and when to look again.
#[derive(Debug, Default)]
pub(crate) struct PhiWatches {
    watches: Vec<Watch>,
    next: Option<Instant>,
    crossings_missed: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Watch {
    member: MemberId,
    threshold: f64,
    is_above: bool,
    crossings: broadcast::Sender<PhiCrossing>,
}

impl PhiWatches {
    pub(crate) fn add(
        &mut self,
        member: MemberId,
        threshold: f64,
    ) -> Result<PhiSubscription, SubscribePhiError> {
        if !(threshold.is_finite() && threshold > 0.0) {
            return Err(SubscribePhiError::Threshold { threshold });
        }
        self.watches.retain(Watch::is_wanted);
        if self.watches.len() >= MAX_PHI_SUBSCRIPTIONS {
            return Err(SubscribePhiError::TooMany { limit: MAX_PHI_SUBSCRIPTIONS });
        }
        let (sender, crossings) = broadcast::channel(MAX_UNREAD);
        self.watches.push(Watch { member, threshold, is_above: false, crossings: sender });
        Ok(PhiSubscription {
            crossings: Some(Receiving::new(crossings)),
            crossings_missed: Arc::clone(&self.crossings_missed),
            missed: 0,
        })
    }

    /// When the next threshold is reached, if nothing happens before.
    pub(crate) const fn next(&self) -> Option<Instant> {
        self.next
    }

    pub(crate) fn crossings_missed(&self) -> u64 {
        self.crossings_missed.load(Ordering::Relaxed)
    }

    /// Tells what has been crossed by now.
    pub(crate) fn publish(&mut self, clock: &Clock, swim: &Swim) {
        self.next = None;
        if self.watches.is_empty() {
            return;
        }
        self.watches.retain(Watch::is_wanted);
        let now = clock.now();
        for watch in &mut self.watches {
            let phi = swim.phi(now, watch.member).unwrap_or_default();
            let is_above = phi >= watch.threshold;
            if is_above != watch.is_above {
                watch.is_above = is_above;
                // An error means that the subscription has just been dropped.
                let at = clock.wall(now);
                let _ = watch.crossings.send(PhiCrossing { at, phi, is_above, missed: 0 });
            }
            if !is_above && let Some(at) = swim.phi_reaches(now, watch.member, watch.threshold) {
                self.next = Some(self.next.map_or(at, |next| next.min(at)));
            }
        }
    }
}

impl Watch {
    fn is_wanted(&self) -> bool {
        self.crossings.receiver_count() > 0
    }
}

/// How many thresholds one node watches at once, of all subscribers together.
pub(crate) const MAX_PHI_SUBSCRIPTIONS: usize = 256;
/// How many crossings wait for one subscriber.
const MAX_UNREAD: usize = 16;

#[cfg(test)]
mod tests;
