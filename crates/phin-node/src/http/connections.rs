//! The open HTTP connections, up to a limit. Beyond it, the connection with the oldest last request is closed. So a
//! client that idles, sends slowly or never reads its answer cannot keep others out.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use tokio::task::{AbortHandle, JoinSet};

/// Counters of all connections.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Numbers connections and requests in their order.
    uses: AtomicU64,
    closed_for_others: AtomicU64,
}

/// The last use of a connection.
#[derive(Clone)]
pub(super) struct Usage {
    counts: Arc<Counts>,
    last: Arc<AtomicU64>,
}

/// The tasks of all connections.
pub(super) struct Connections {
    counts: Arc<Counts>,
    tasks: JoinSet<()>,
    open: Vec<(AbortHandle, Usage)>,
}

impl Counts {
    /// The number of connections closed for others.
    pub(super) fn closed_for_others(&self) -> u64 {
        self.closed_for_others.load(Relaxed)
    }
}

impl Usage {
    fn new(counts: Arc<Counts>) -> Self {
        let usage = Self { counts, last: Arc::default() };
        usage.used();
        usage
    }

    /// Records the start of a request.
    pub(super) fn used(&self) {
        self.last.store(self.counts.uses.fetch_add(1, Relaxed), Relaxed);
    }

    /// Exempts a connection with an endless answer, which has a limit of its own.
    pub(super) fn goes_on(&self) {
        self.last.store(u64::MAX, Relaxed);
    }
}

impl Connections {
    pub(super) fn new(counts: Arc<Counts>) -> Self {
        Self { counts, tasks: JoinSet::new(), open: Vec::new() }
    }

    /// Serves a connection. Closes another one if there is no room.
    pub(super) fn start<S>(&mut self, serve: impl FnOnce(Usage) -> S)
    where
        S: Future<Output = ()> + Send + 'static,
    {
        self.open.retain(|(task, _)| !task.is_finished());
        if self.open.len() == MAX_CONNECTIONS {
            self.close_least_used();
        }
        let usage = Usage::new(Arc::clone(&self.counts));
        let task = self.tasks.spawn(serve(usage.clone()));
        self.open.push((task, usage));
    }

    fn close_least_used(&mut self) {
        let last = |(_, (_, usage)): &(usize, &(AbortHandle, Usage))| usage.last.load(Relaxed);
        if let Some((least, _)) = self.open.iter().enumerate().min_by_key(last) {
            self.open.swap_remove(least).0.abort();
            self.counts.closed_for_others.fetch_add(1, Relaxed);
        }
    }

    /// Returns when a connection has ended; `None` if there is none.
    pub(super) async fn ended(&mut self) -> Option<()> {
        self.tasks.join_next().await.map(drop)
    }
}

/// Connections served at once, including subscribers.
pub(super) const MAX_CONNECTIONS: usize = 64;
