//! Finds a member to watch through.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use phin_quic::{DialError, WatchError};
use phin_swim::{Members, WatchRequest};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{Counters, WatchFailure, candidates::candidates};
use crate::{
    join::resolve,
    random::Random,
    seeds::Seed,
    watch_transport::{FrameReceiver, WatchClient},
};

/// Connects to one address after another until a member sends its list.
pub(super) struct Search<C> {
    client: Arc<C>,
    seeds: Vec<Seed>,
    /// The addresses of the seeds when they were last resolved.
    seed_addrs: Vec<SocketAddr>,
    random: Random,
    counters: Arc<Counters>,
}

/// A member that has begun to send its list.
pub(super) struct Found<F> {
    pub(super) frames: F,
    pub(super) first: Bytes,
}

impl<C: WatchClient> Search<C> {
    pub(super) fn new(
        client: Arc<C>,
        seeds: Vec<Seed>,
        random: Random,
        counters: Arc<Counters>,
    ) -> Self {
        Self { client, seeds, seed_addrs: Vec::new(), random, counters }
    }

    pub(super) fn client(&self) -> Arc<C> {
        Arc::clone(&self.client)
    }

    /// Tries all addresses, again and again, until one works. Reports why the others did not after each round.
    pub(super) async fn run(
        &mut self,
        members: &Members,
        lost: Option<SocketAddr>,
        mut report: impl FnMut(Vec<WatchFailure>),
    ) -> Found<C::Frames> {
        let mut delay = MIN_DELAY;
        let mut failures = Vec::new();
        if members.is_empty() {
            failures = self.resolve().await;
        }
        loop {
            let addrs = candidates(members, &self.seed_addrs, lost, &self.random);
            match self.try_all(addrs, &mut failures).await {
                Some(found) => return found,
                None => report(std::mem::take(&mut failures)),
            }
            sleep(self.random.jittered(delay)).await;
            delay = (delay * 2).min(MAX_DELAY);
            // The names may lead elsewhere by now. If that takes long, the known addresses come first.
            failures = timeout(MAX_RESOLVE_TIME, self.resolve()).await.unwrap_or_default();
        }
    }

    /// Resolves the seeds; one that does not resolve keeps none of its addresses.
    async fn resolve(&mut self) -> Vec<WatchFailure> {
        let (mut addrs, mut failures) = (Vec::new(), Vec::new());
        for seed in &self.seeds {
            match resolve(seed, &self.random).await {
                Ok(resolved) => addrs.extend(resolved),
                Err(error) => {
                    let error = DialError::Unreachable { reason: error.to_string() }.into();
                    failures.push(WatchFailure { through: seed.to_string(), error });
                }
            }
        }
        self.seed_addrs = addrs;
        failures
    }

    /// Begins with one address, and with the next if it has not answered soon (as RFC 8305 does), a few at once. The first
    /// that answers wins.
    async fn try_all(
        &self,
        addrs: Vec<SocketAddr>,
        failures: &mut Vec<WatchFailure>,
    ) -> Option<Found<C::Frames>> {
        let mut addrs = addrs.into_iter();
        let mut tries = JoinSet::new();
        loop {
            if tries.len() < MAX_TRIES
                && let Some(addr) = addrs.next()
            {
                tries.spawn(try_at(self.client(), addr));
            }
            if tries.is_empty() {
                return None;
            }
            // A try that panicked has said so already.
            match timeout(ATTEMPT_DELAY, tries.join_next()).await {
                Ok(Some(Ok(Ok(found)))) => return Some(found),
                Ok(Some(Ok(Err(failure)))) => self.record(failure, failures),
                Ok(Some(Err(_)) | None) | Err(_) => {}
            }
        }
    }

    fn record(&self, failure: WatchFailure, failures: &mut Vec<WatchFailure>) {
        let WatchFailure { through, error } = &failure;
        tracing::debug!(through, %error, "a member cannot be watched through");
        if *error == WatchError::Full {
            self.counters.refused_full.fetch_add(1, Ordering::Relaxed);
        }
        if failures.len() < MAX_FAILURES {
            failures.push(failure);
        }
    }
}

async fn try_at<C: WatchClient>(
    client: Arc<C>,
    addr: SocketAddr,
) -> Result<Found<C::Frames>, WatchFailure> {
    let found = async {
        let mut frames = client.connect(addr, &WatchRequest::members().encode()).await?;
        let first = frames.next().await?;
        Ok(Found { frames, first })
    };
    found.await.map_err(|error| WatchFailure { through: addr.to_string(), error })
}

/// Addresses tried at once.
const MAX_TRIES: usize = 4;
/// How long an address has to answer before the next is tried as well.
const ATTEMPT_DELAY: Duration = Duration::from_millis(150);
/// The delay after the first round; it doubles.
const MIN_DELAY: Duration = Duration::from_millis(100);
const MAX_DELAY: Duration = Duration::from_secs(5);
/// How long a later round waits for the names of seeds.
const MAX_RESOLVE_TIME: Duration = Duration::from_secs(1);
/// Failures reported of one round.
const MAX_FAILURES: usize = 16;
