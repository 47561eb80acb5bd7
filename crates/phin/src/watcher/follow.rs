//! The task of a watcher: finds a member, follows its list until it is lost, and finds the next.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use phin_quic::WatchError;
use phin_swim::{Fingerprint, Instant, Members, WatchedList};
use tokio::{
    sync::watch,
    time::{self, sleep},
};
use tracing::{info, warn};

use super::{
    Counters, WatchFailure, WatcherState,
    search::{Found, Search},
};
use crate::{
    clock::Clock,
    feed::Publisher,
    keys::member_id,
    seeds::text,
    subscription::Published,
    watch_transport::{FrameReceiver, WatchClient},
};

/// Owns the list of a watcher.
pub(super) struct Task<C> {
    pub(super) search: Search<C>,
    pub(super) list: WatchedList,
    pub(super) clock: Clock,
    pub(super) publisher: Publisher<Members, Published>,
    pub(super) states: watch::Sender<WatcherState>,
    pub(super) counters: Arc<Counters>,
    /// When the list was last that of a member; `None` before the first one.
    pub(super) heard_at: Option<Instant>,
    /// The looks of the published list, which also changes without an event.
    pub(super) looks: Option<(u64, Fingerprint, usize, usize)>,
}

impl<C: WatchClient> Task<C> {
    /// Runs until it is to stop, or every handle was dropped.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let client = self.search.client();
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => {}
            () = self.watch() => {}
        }
        drop(self);
        client.close().await;
        // Last, so that a caller that waits for the end finds the socket closed.
        drop((client, stop));
    }

    async fn watch(&mut self) {
        let mut lost = None;
        loop {
            let (members, states) = (self.list.members(), self.states.clone());
            let report = |failures| states.send_modify(|state| state.set_failures(failures));
            let Found { mut frames, first } = self.search.run(&members, lost, report).await;
            let (addr, began) = (frames.addr(), time::Instant::now());
            let error = self.follow(&mut frames, first).await;
            warn!(through = %addr, %error, "lost the member watched through");
            self.counters.lost.fetch_add(1, Ordering::Relaxed);
            self.set_lost(WatchFailure { through: addr.to_string(), error });
            lost = Some(addr);
            if began.elapsed() < SHORT {
                // A member that serves and ends each time must not be asked without a pause.
                sleep(PAUSE).await;
            }
        }
    }

    /// Follows a member until it is lost, and returns why.
    async fn follow(&mut self, frames: &mut C::Frames, first: Bytes) -> WatchError {
        self.list.start_stream();
        let mut frame = first;
        loop {
            let (now, was_synced) = (self.clock.now(), self.list.is_synced());
            if let Err(error) = self.list.handle_frame(now, &frame) {
                return frames.reject(text(&error));
            }
            self.publish();
            if self.list.is_synced() {
                self.heard_at = Some(now);
                if !was_synced {
                    self.set_connected(frames);
                }
            }
            frame = loop {
                tokio::select! {
                    next = frames.next() => match next {
                        Ok(next) => break next,
                        Err(error) => return error,
                    },
                    () = self.clock.sleep_until(self.list.poll_timeout()) => {
                        self.list.handle_timeout(self.clock.now());
                        self.publish();
                    }
                }
            };
        }
    }

    /// Publishes the list first, then the changes that led to it.
    fn publish(&mut self) {
        let mut changes = Vec::new();
        while let Some((at, event)) = self.list.poll_event() {
            changes.push(Published { at: self.clock.wall(at), event });
        }
        let members = self.list.members();
        let looks =
            (members.version(), members.fingerprint(), members.len(), members.suppressed_len());
        if self.looks.replace(looks) != Some(looks) {
            self.publisher.publish_snapshot(members);
        }
        self.publisher.publish_changes(changes);
    }

    fn set_connected(&self, frames: &C::Frames) {
        let (member, addr) = (member_id(frames.id()), frames.addr());
        let connected = WatcherState::Connected { member, addr };
        if *self.states.borrow() == connected {
            // A later snapshot of the same member.
            return;
        }
        info!(through = %member, %addr, "watching through a member");
        self.counters.connected.fetch_add(1, Ordering::Relaxed);
        self.states.send_replace(connected);
    }

    fn set_lost(&self, failure: WatchFailure) {
        let failures = vec![failure];
        self.states.send_replace(match self.heard_at {
            Some(at) => WatcherState::Stale { since: self.clock.wall(at), failures },
            None => WatcherState::Connecting { failures },
        });
    }
}

impl WatcherState {
    /// Every address has failed.
    fn set_failures(&mut self, new: Vec<WatchFailure>) {
        match self {
            Self::Connecting { failures } | Self::Stale { failures, .. } => *failures = new,
            Self::Connected { .. } => {}
        }
    }
}

/// A member that was followed for less than this is not asked again at once.
const SHORT: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(100);
