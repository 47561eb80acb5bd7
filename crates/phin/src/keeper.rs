//! Keeping what lasts: tasks that write to the data directory, where a slow disk holds up nobody.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use phin_swim::{AdminStatement, Generation, Members, Office, Promises, Term};
use tokio::{
    sync::{mpsc, watch},
    task::{JoinHandle, spawn_blocking},
    time::timeout,
};
use tracing::{debug, error, warn};

use crate::{
    DriverStats,
    admin::Keeping,
    data_dir::DataDir,
    kept_data::KeptEntry,
    peers::{KnownPeer, known_peers},
};

/// The tasks, and what they count.
pub(crate) struct Keeper {
    generation: watch::Sender<Generation>,
    data: watch::Sender<Vec<KeptEntry>>,
    expulsions: watch::Sender<(u64, Vec<Arc<AdminStatement>>)>,
    /// The version of the statements that is written.
    expulsions_written: watch::Receiver<u64>,
    promises: mpsc::Sender<Promised>,
    kept: mpsc::Receiver<Kept>,
    failures: Arc<Failures>,
    tasks: [JoinHandle<()>; 5],
}

/// A promise to be kept, with all others.
type Promised = (Kept, Promises);
/// A promise that is kept.
pub(crate) type Kept = (Office, Term);

/// How often something could not be written.
#[derive(Debug, Default)]
struct Failures {
    generations: AtomicU64,
    peers: AtomicU64,
    data: AtomicU64,
    promises: AtomicU64,
    expulsions: AtomicU64,
}

impl Keeper {
    /// Keeps later generations than this one, and the peers of the list and those not met again, until the senders of
    /// both are gone. `kept` is what the directory has of the latter.
    pub(crate) fn start(
        data_dir: DataDir,
        generation: Generation,
        kept: Vec<KnownPeer>,
        members: watch::Receiver<Members>,
        unmet: watch::Receiver<Vec<KnownPeer>>,
    ) -> Self {
        let (newest, receiver) = watch::channel(generation);
        let (data, written) = watch::channel(Vec::new());
        let (data_dir, failures) = (Arc::new(data_dir), Arc::new(Failures::default()));
        let peers =
            Peers { data_dir: Arc::clone(&data_dir), failures: Arc::clone(&failures), kept, unmet };
        let data_kept = keep_data(Arc::clone(&data_dir), Arc::clone(&failures), written);
        let (promises, promised) = mpsc::channel(PROMISES);
        let (done, kept) = mpsc::channel(PROMISES);
        let writer = PromiseWriter {
            data_dir: Arc::clone(&data_dir),
            failures: Arc::clone(&failures),
            done,
        };
        let (expulsions, stated) = watch::channel((0, Vec::new()));
        let (written, expulsions_written) = watch::channel(0);
        let expulsions_kept =
            keep_expulsions(Arc::clone(&data_dir), Arc::clone(&failures), stated, written);
        let generations = keep_generations(data_dir, Arc::clone(&failures), receiver);
        let tasks = [
            tokio::spawn(generations),
            tokio::spawn(peers.keep(members)),
            tokio::spawn(data_kept),
            tokio::spawn(writer.keep(promised)),
            tokio::spawn(expulsions_kept),
        ];
        let generation = newest;
        Self { generation, data, expulsions, expulsions_written, promises, kept, failures, tasks }
    }

    pub(crate) fn keep(&self, generation: Generation) {
        self.generation.send_replace(generation);
    }

    /// Keeps a promise; [`kept`](Self::kept) returns it once it is. If too many wait, it is not kept.
    pub(crate) fn keep_promise(&self, promise: Kept, all: Promises) {
        if self.promises.try_send((promise, all)).is_err() {
            self.failures.promises.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The next promise that was kept.
    pub(crate) async fn kept(&mut self) -> Kept {
        match self.kept.recv().await {
            Some(kept) => kept,
            // The task panicked, which was reported.
            None => std::future::pending().await,
        }
    }

    pub(crate) fn keep_data(&self, data: Vec<KeptEntry>) {
        self.data.send_if_modified(|kept| {
            let is_other = *kept != data;
            *kept = data;
            is_other
        });
    }

    /// Keeps the statements of administrators, these and no others.
    pub(crate) fn keep_expulsions(&self, statements: Vec<Arc<AdminStatement>>) -> Keeping {
        let mut version = 0;
        self.expulsions.send_modify(|(last, kept)| {
            *last += 1;
            (version, *kept) = (*last, statements);
        });
        Keeping { written: self.expulsions_written.clone(), version }
    }

    pub(crate) fn count(&self, stats: &mut DriverStats) {
        stats.generations_not_kept = self.failures.generations.load(Ordering::Relaxed);
        stats.peers_not_kept = self.failures.peers.load(Ordering::Relaxed);
        stats.promises_not_kept = self.failures.promises.load(Ordering::Relaxed);
        stats.expulsions_not_kept = self.failures.expulsions.load(Ordering::Relaxed);
        stats.data_not_kept = self.failures.data.load(Ordering::Relaxed);
    }

    /// Ends when the last is written or cannot be, or the disk takes too long. The list's sender must be gone.
    pub(crate) async fn finish(self) {
        let Self { generation, data, expulsions, promises, kept, tasks, .. } = self;
        drop((generation, data, expulsions, promises, kept));
        let written = async {
            for task in tasks {
                // An error is a panic in it, which has been reported.
                let _ = task.await;
            }
        };
        if timeout(MAX_CLOSING_TIME, written).await.is_err() {
            warn!(
                "writing to the data directory takes too long; the node stops with the last state not saved"
            );
        }
    }
}

async fn keep_generations(
    data_dir: Arc<DataDir>,
    failures: Arc<Failures>,
    mut newest: watch::Receiver<Generation>,
) {
    while newest.changed().await.is_ok() {
        let generation = *newest.borrow_and_update();
        let this = Arc::clone(&data_dir);
        let kept = spawn_blocking(move || this.keep_generation(generation)).await;
        if let Ok(Err(error)) = kept {
            failures.generations.fetch_add(1, Ordering::Relaxed);
            let (path, generation) = (data_dir.generation_path(), generation.0);
            error!(path = %path.display(), generation, %error, "cannot save the generation");
        }
    }
}

/// Keeps the data that this node writes, once for all writes of a moment.
async fn keep_data(
    data_dir: Arc<DataDir>,
    failures: Arc<Failures>,
    mut written: watch::Receiver<Vec<KeptEntry>>,
) {
    while written.changed().await.is_ok() {
        let _ = timeout(DATA_DELAY, async { while written.changed().await.is_ok() {} }).await;
        let (this, data) = (Arc::clone(&data_dir), written.borrow_and_update().clone());
        let kept = spawn_blocking(move || this.keep_data(&data)).await;
        if let Ok(Err(error)) = kept {
            failures.data.fetch_add(1, Ordering::Relaxed);
            let path = data_dir.data_path();
            error!(path = %path.display(), %error, "cannot save this node's data");
        }
    }
}

/// Keeps the statements of administrators. A failed write is tried again, until there is something later.
async fn keep_expulsions(
    data_dir: Arc<DataDir>,
    failures: Arc<Failures>,
    mut stated: watch::Receiver<(u64, Vec<Arc<AdminStatement>>)>,
    written: watch::Sender<u64>,
) {
    while stated.changed().await.is_ok() {
        let mut delay = MIN_RETRY_DELAY;
        loop {
            let (this, (version, statements)) =
                (Arc::clone(&data_dir), stated.borrow_and_update().clone());
            match spawn_blocking(move || this.keep_expulsions(&statements)).await {
                Ok(Ok(())) => {
                    written.send_replace(version);
                    break;
                }
                Ok(Err(error)) => {
                    failures.expulsions.fetch_add(1, Ordering::Relaxed);
                    let path = data_dir.expulsions_path();
                    error!(path = %path.display(), %error, "cannot save the statements of administrators; trying again");
                }
                // A panic, which was reported, or the end of the runtime.
                Err(_) => return,
            }
            if matches!(timeout(delay, stated.changed()).await, Ok(Err(_))) {
                return;
            }
            delay = (delay * 2).min(MAX_RETRY_DELAY);
        }
    }
}

/// The promises' task.
struct PromiseWriter {
    data_dir: Arc<DataDir>,
    failures: Arc<Failures>,
    done: mpsc::Sender<Kept>,
}

impl PromiseWriter {
    /// Writes all promises that wait at once: the last of them has all before it.
    async fn keep(self, mut promised: mpsc::Receiver<Promised>) {
        while let Some((promise, mut all)) = promised.recv().await {
            let mut waiting = vec![promise];
            while let Ok((promise, later)) = promised.try_recv() {
                waiting.push(promise);
                all = later;
            }
            let this = Arc::clone(&self.data_dir);
            match spawn_blocking(move || this.keep_promises(&all)).await {
                Ok(Ok(())) => {
                    for kept in waiting {
                        // An error means that the node ends.
                        let _ = self.done.send(kept).await;
                    }
                }
                Ok(Err(error)) => self.record(&error),
                // A panic, which was reported, or the end of the runtime.
                Err(_) => return,
            }
        }
    }

    fn record(&self, error: &io::Error) {
        self.failures.promises.fetch_add(1, Ordering::Relaxed);
        let path = self.data_dir.promises_path();
        error!(path = %path.display(), %error, "cannot save the votes of this node; they are not given");
    }
}

/// The peers' task.
struct Peers {
    data_dir: Arc<DataDir>,
    failures: Arc<Failures>,
    /// The content of the directory.
    kept: Vec<KnownPeer>,
    unmet: watch::Receiver<Vec<KnownPeer>>,
}

impl Peers {
    async fn keep(mut self, mut members: watch::Receiver<Members>) {
        let mut failing: Option<Failing> = None;
        loop {
            let has_ended = match &failing {
                None => members.changed().await.is_err(),
                Some(failing) => ends_within(&mut members, failing.delay).await,
            };
            // Changes that follow soon are written together with this one.
            let has_ended = has_ended || ends_within(&mut members, WRITE_DELAY).await;
            let peers = known_peers(&members.borrow_and_update(), &self.unmet.borrow());
            failing = match self.write(peers).await {
                Ok(()) => None,
                Err(error) => Some(self.record(failing, &error)),
            };
            if has_ended {
                return;
            }
        }
    }

    async fn write(&mut self, peers: Vec<KnownPeer>) -> io::Result<()> {
        if peers == self.kept {
            return Ok(());
        }
        let this = Arc::clone(&self.data_dir);
        let written = spawn_blocking(move || this.keep_peers(&peers).map(|()| peers)).await;
        // An error is a panic in it, or the end of the runtime.
        self.kept = written.map_err(io::Error::other)??;
        debug!(peers = self.kept.len(), "saved the known peers");
        Ok(())
    }

    /// Counts a failure, and warns where it is a new one.
    fn record(&self, before: Option<Failing>, error: &io::Error) -> Failing {
        self.failures.peers.fetch_add(1, Ordering::Relaxed);
        let (path, reason) = (self.data_dir.peers_path(), error.to_string());
        let path = path.display();
        match before {
            Some(before) if before.reason == reason => {
                debug!(%path, %error, "still cannot save the known peers");
                Failing { delay: (before.delay * 2).min(MAX_RETRY_DELAY), reason }
            }
            _ => {
                warn!(%path, %error, "cannot save the known peers; trying again");
                Failing { delay: MIN_RETRY_DELAY, reason }
            }
        }
    }
}

/// Why the last write failed, and how long the next one waits.
struct Failing {
    delay: Duration,
    reason: String,
}

/// Whether the node ends before the delay does.
async fn ends_within(members: &mut watch::Receiver<Members>, delay: Duration) -> bool {
    timeout(delay, async { while members.changed().await.is_ok() {} }).await.is_ok()
}

/// How long a change waits for others to be written with it, so that there is at most one write in that time.
const WRITE_DELAY: Duration = Duration::from_secs(1);
/// The same for this node's data.
const DATA_DELAY: Duration = Duration::from_millis(200);
const MIN_RETRY_DELAY: Duration = Duration::from_secs(1);
const MAX_RETRY_DELAY: Duration = Duration::from_secs(60);
/// How many promises wait to be written, and as many to be read by the driver.
const PROMISES: usize = 1_024;
/// How long the end of a node waits for its disk.
const MAX_CLOSING_TIME: Duration = Duration::from_secs(2);
