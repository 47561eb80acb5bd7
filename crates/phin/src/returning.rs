//! Finding back: the peers that an earlier run knew are tried beside the seeds, so that a restarted node needs none.

use std::time::Duration;

use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep},
};
use tracing::{debug, info, warn};

use crate::{
    command::AfterLeaving, join::Joiner, peers::KnownPeer, random::Random, seeds::Company,
};

/// Tries the peers of an earlier run until each was met: found in the list, or found to be another at its address.
///
/// While the node is alone, it asks a few at once, then more, until one admits it. Afterwards it goes on with the
/// others, but slowly: when all of a cluster restart together, or while the network is split, its parts may each find
/// only themselves. A peer that was not met for as long as the dead are remembered is given up.
pub(crate) struct Returning {
    /// The peers that were not met yet; the task that keeps the known peers reads them.
    pub(crate) unmet: watch::Sender<Vec<KnownPeer>>,
    pub(crate) joiner: Joiner,
    pub(crate) company: Company,
    pub(crate) retention: Duration,
    pub(crate) random: Random,
}

impl Returning {
    pub(crate) async fn run(mut self) {
        let began = Instant::now();
        let mut pace = Pace::new(self.company.is_alone());
        let mut queue: Vec<KnownPeer> = Vec::new();
        loop {
            if self.company.wait_until_staying().await.is_err() {
                return;
            }
            if began.elapsed() >= self.retention {
                self.unmet.send_replace(Vec::new());
            }
            let members = self.company.members.borrow().clone();
            self.meet(|peer| members.get(peer.id).is_some());
            if self.unmet.borrow().is_empty() {
                return;
            }
            let is_alone = self.company.is_alone();
            if is_alone != pace.is_alone {
                pace = Pace::new(is_alone);
            }
            queue.retain(|peer| self.unmet.borrow().contains(peer));
            if queue.is_empty() {
                queue = self.in_order_of_chance();
            }
            let batch = queue.split_off(queue.len().saturating_sub(pace.width));
            self.try_all(batch).await;
            let is_through = queue.is_empty();
            if is_alone && self.company.is_alone() && is_through && !pace.has_warned {
                pace.has_warned = true;
                let peers = self.unmet.borrow().len();
                warn!(peers, "no peer of an earlier run accepts this node; trying again");
            }
            if let Some(delay) = pace.next(is_through) {
                let delay = self.random.jittered(delay);
                let changed = tokio::select! {
                    biased;
                    () = sleep(delay) => Ok(()),
                    changed = self.company.wait_until(!is_alone) => changed,
                };
                if changed.is_err() {
                    return;
                }
            }
        }
    }

    /// The live last, as the end of the queue is tried first.
    fn in_order_of_chance(&self) -> Vec<KnownPeer> {
        let mut peers = self.unmet.borrow().clone();
        self.random.shuffle(&mut peers);
        peers.sort_by_key(|peer| !peer.is_dead);
        peers
    }

    async fn try_all(&self, peers: Vec<KnownPeer>) {
        let mut tries = JoinSet::new();
        for peer in peers {
            let (joiner, company) = (self.joiner.clone(), self.company.clone());
            tries.spawn(async move { find(&peer, &joiner, &company).await.then_some(peer) });
        }
        while let Some(found) = tries.join_next().await {
            // A try that panicked has said so already; it is made again.
            if let Ok(Some(found)) = found {
                self.meet(|peer| *peer == found);
            }
        }
    }

    fn meet(&self, is_met: impl Fn(&KnownPeer) -> bool) {
        self.unmet.send_if_modified(|unmet| {
            let before = unmet.len();
            unmet.retain(|peer| !is_met(peer));
            unmet.len() != before
        });
    }
}

/// Whether someone was met at an address of this peer: itself, who lets us in; another, so that it is not there any
/// more.
async fn find(peer: &KnownPeer, joiner: &Joiner, company: &Company) -> bool {
    for &addr in &peer.addrs {
        if company.has(addr) {
            return true;
        }
        match joiner.join_at(addr, AfterLeaving::StayAway).await {
            Ok(Some(joined)) => {
                info!(%addr, member = %joined.through, "joined through a peer of an earlier run");
                return true;
            }
            // The address is our own by now.
            Ok(None) => return true,
            Err(error) => {
                debug!(%addr, member = %peer.id, %error, "cannot join through a peer of an earlier run");
            }
        }
    }
    false
}

/// How many are tried at once, and how soon the next.
struct Pace {
    is_alone: bool,
    width: usize,
    delay: Duration,
    has_warned: bool,
}

impl Pace {
    const fn new(is_alone: bool) -> Self {
        let width = if is_alone { MIN_WIDTH } else { COMPANY_WIDTH };
        Self { is_alone, width, delay: MIN_DELAY, has_warned: false }
    }

    /// The wait after some were tried; `None` for one who is alone and has others to try.
    fn next(&mut self, is_through: bool) -> Option<Duration> {
        if self.is_alone {
            self.width = (self.width * 2).min(MAX_WIDTH);
            if !is_through {
                return None;
            }
        }
        let max = if self.is_alone { MAX_DELAY_ALONE } else { MAX_DELAY };
        let delay = self.delay;
        self.delay = (delay * 2).min(max);
        Some(delay)
    }
}

/// How many are tried at once by a node that is alone: at first, and at most.
const MIN_WIDTH: usize = 4;
const MAX_WIDTH: usize = 32;
/// How many by one that is in.
const COMPANY_WIDTH: usize = 8;
/// The first delay after a round; it doubles.
const MIN_DELAY: Duration = Duration::from_millis(200);
const MAX_DELAY_ALONE: Duration = Duration::from_secs(10);
const MAX_DELAY: Duration = Duration::from_secs(60);
