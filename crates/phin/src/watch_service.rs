//! Serves watchers: a task for each, fed by the list that the driver publishes. The driver does not know of them.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
    time::Duration,
};

use phin_quic::{NotServed, WatchEnd};
use phin_swim::{MemberState, Members, WatchFeed, WatchRequest};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};
use tracing::debug;

use crate::{
    clock::Clock,
    feed::{Follower, Next, Source},
    peers::KnownPeer,
    subscription::Published,
    watch_transport::{FrameSender, IncomingWatcher, Watchers},
};

/// Serves the watchers of a node.
#[derive(Clone)]
pub(crate) struct WatchService {
    pub(crate) clock: Clock,
    pub(crate) source: Source<Members, Published>,
    pub(crate) readiness: Readiness,
    pub(crate) counters: Arc<WatchCounters>,
}

/// The counters of the service, besides those of the transport.
#[derive(Debug, Default)]
pub(crate) struct WatchCounters {
    pub(crate) resyncs: AtomicU64,
    pub(crate) not_ready: AtomicU64,
}

/// Whether the list of this node is worth following: it may be out of date otherwise, or have this node alone.
#[derive(Clone)]
pub(crate) struct Readiness {
    pub(crate) joined: watch::Receiver<bool>,
    pub(crate) isolated: watch::Receiver<bool>,
    pub(crate) members: watch::Receiver<Members>,
    /// Peers of an earlier run that were not met yet.
    pub(crate) unmet: watch::Receiver<Vec<KnownPeer>>,
}

impl Readiness {
    fn is_ready(&self) -> bool {
        let members = self.members.borrow();
        let is_returning = members.live_len() < 2 && !self.unmet.borrow().is_empty();
        let is_isolated = *self.isolated.borrow();
        *self.joined.borrow() && !is_isolated && !is_returning && !has_left(&members)
    }

    /// Waits until this node is isolated, or has left.
    async fn unready(mut self) {
        // An error means that the node has stopped, which ends this task.
        let _ = tokio::select! {
            isolated = self.isolated.wait_for(|isolated| *isolated) => isolated.map(drop),
            left = self.members.wait_for(has_left) => left.map(drop),
        };
    }
}

fn has_left(members: &Members) -> bool {
    members.me().state() == MemberState::Left
}

impl WatchService {
    pub(crate) async fn run(self, mut watchers: impl Watchers) {
        // The transport limits how many there are.
        let mut serving = JoinSet::new();
        loop {
            tokio::select! {
                watcher = watchers.next() => match watcher {
                    Some(watcher) => drop(serving.spawn(self.clone().serve(watcher))),
                    None => return,
                },
                Some(_ended) = serving.join_next() => {}
            }
        }
    }

    async fn serve(self, watcher: impl IncomingWatcher) {
        let (id, addr) = (watcher.id(), watcher.addr());
        if WatchRequest::decode(watcher.request()).is_none() {
            return watcher.refuse(NotServed::NotUnderstood);
        }
        if !self.readiness.is_ready() {
            self.counters.not_ready.fetch_add(1, Ordering::Relaxed);
            return watcher.refuse(NotServed::NotReady);
        }
        let Ok(mut frames) = watcher.accept().await else { return };
        debug!(watcher = %id, %addr, "a watcher follows the list");
        let (gone, unready) = (frames.ended(), self.readiness.clone().unready());
        let is_unready = tokio::select! {
            biased;
            () = gone => false,
            () = unready => true,
            _ = self.feed(&mut frames) => false,
        };
        if is_unready {
            frames.close(NotServed::NotReady);
        }
        debug!(watcher = %id, %addr, "a watcher is no longer served");
    }

    /// Sends the list and its changes, until the watcher is gone or the node has stopped.
    async fn feed(&self, frames: &mut impl FrameSender) -> Result<(), WatchEnd> {
        let mut follower = self.source.follow();
        let mut lists = self.source.watch();
        let Some(Next::First(members)) = next(&mut follower).await else { return Ok(()) };
        let mut feed = WatchFeed::new(members.me().id(), members);
        let mut beat = interval(HEARTBEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            while let Some(frame) = feed.next_frame(self.clock.now()) {
                frames.send(&frame).await?;
                beat.reset();
            }
            tokio::select! {
                biased;
                next = next(&mut follower) => match next {
                    Some(next) => self.take(&mut feed, next),
                    None => return Ok(()),
                },
                Ok(()) = lists.changed() => {}
                _ = beat.tick() => frames.send(&WatchFeed::heartbeat()).await?,
            }
            self.take_waiting(&mut feed, &mut follower).await;
            let members = lists.borrow_and_update().clone();
            // A newer list is published before the changes that led to it: these come first.
            if follower.version() == members.version() {
                feed.settle(self.clock.now(), members);
            }
        }
    }

    /// Takes what waits besides, so that many changes at once share a frame.
    async fn take_waiting(&self, feed: &mut WatchFeed, follower: &mut Following) {
        for _ in 0..MAX_BATCH {
            let waiting = poll_fn(|context| Poll::Ready(follower.poll_next(context))).await;
            let Poll::Ready(Some(next)) = waiting else { return };
            self.take(feed, next);
        }
    }

    fn take(&self, feed: &mut WatchFeed, next: Next<Members, Published>) {
        match next {
            Next::Event(Published { at, event }) => {
                let now = self.clock.now();
                let age = self.clock.wall(now).duration_since(at).unwrap_or_default();
                feed.push_event(now, age, &event);
            }
            Next::Missed(_, members) => {
                self.counters.resyncs.fetch_add(1, Ordering::Relaxed);
                feed.start_snapshot(members);
            }
            Next::First(members) => feed.start_snapshot(members),
        }
    }
}

type Following = Follower<Members, Published>;

async fn next(follower: &mut Following) -> Option<Next<Members, Published>> {
    poll_fn(|context| follower.poll_next(context)).await
}

/// How often a watcher is sent something. One that receives nothing for three times as long leaves.
const HEARTBEAT: Duration = Duration::from_millis(250);
/// Changes that are written at once.
const MAX_BATCH: usize = 64;

#[cfg(test)]
mod tests;
