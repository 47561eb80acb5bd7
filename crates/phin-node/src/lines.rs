//! Lines for standard output or error, written by a separate thread, so that a reader that does not read blocks
//! neither the node nor its logs. The queue is limited; the writer decides what to drop if it is full.

use std::{
    io::{self, Write},
    sync::{
        Arc, OnceLock,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use tokio::sync::mpsc as tokio_mpsc;

/// A writer of lines. Clones share one queue and one thread.
#[derive(Clone)]
pub(crate) struct Lines {
    queue: tokio_mpsc::Sender<Item>,
    /// The error that ended the thread.
    error: Arc<OnceLock<io::Error>>,
}

/// A task for the thread.
enum Item {
    Line(Vec<u8>),
    /// Signal that everything before this was written.
    Flush(mpsc::SyncSender<()>),
}

/// Why a line was not queued.
#[derive(Debug, PartialEq)]
pub(crate) enum NotTaken {
    /// The queue is full.
    Full,
    /// The reader closed its end.
    Closed,
}

impl Lines {
    /// Starts the thread. It ends when the reader has closed its end, or when every clone was dropped.
    pub(crate) fn start(mut to: impl Write + Send + 'static) -> Self {
        let (queue, mut items) = tokio_mpsc::channel(MAX_QUEUED);
        let error = Arc::new(OnceLock::new());
        let lines = Self { queue, error: Arc::clone(&error) };
        thread::spawn(move || {
            while let Some(item) = items.blocking_recv() {
                if let Err(failed) = write(&mut to, item) {
                    error.get_or_init(|| failed);
                    return;
                }
            }
        });
        lines
    }

    /// Queues a line, or fails immediately.
    pub(crate) fn try_send(&self, line: Vec<u8>) -> Result<(), NotTaken> {
        self.queue.try_send(Item::Line(line)).map_err(|error| match error {
            tokio_mpsc::error::TrySendError::Full(_) => NotTaken::Full,
            tokio_mpsc::error::TrySendError::Closed(_) => NotTaken::Closed,
        })
    }

    /// Queues a line as soon as there is room. Fails once the reader has closed its end.
    pub(crate) async fn send(&self, line: Vec<u8>) -> Result<(), NotTaken> {
        self.queue.send(Item::Line(line)).await.map_err(|_| NotTaken::Closed)
    }

    /// Returns the reason once lines can no longer be written.
    pub(crate) async fn closed(&self) -> String {
        self.queue.closed().await;
        self.error.get().map_or_else(String::new, io::Error::to_string)
    }

    /// Waits until everything queued before is written, but no longer than `limit`.
    pub(crate) fn flush(&self, limit: Duration) -> Result<(), RecvTimeoutError> {
        let (written, all_written) = mpsc::sync_channel(1);
        match self.queue.try_send(Item::Flush(written)) {
            Ok(()) => all_written.recv_timeout(limit),
            Err(_) => Err(RecvTimeoutError::Disconnected),
        }
    }
}

fn write(to: &mut impl Write, item: Item) -> io::Result<()> {
    match item {
        Item::Line(line) => to.write_all(&line).and_then(|()| to.flush()),
        Item::Flush(written) => {
            // The caller may have stopped waiting.
            let _ = written.send(());
            Ok(())
        }
    }
}

/// Lines that wait for the reader. With the 64 KiB of a pipe, this bridges a pause of a slow reader.
const MAX_QUEUED: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes nothing until told; what it took can be looked at.
    struct Stuck {
        go: mpsc::Receiver<()>,
        taken: mpsc::Sender<Vec<u8>>,
    }

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.go.recv().map_err(|_| io::ErrorKind::BrokenPipe)?;
            self.taken.send(bytes.to_vec()).map_err(|_| io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_never_reads_costs_a_bounded_queue() {
        let (_go, gate) = mpsc::channel();
        let (taken, _look) = mpsc::channel();
        let lines = Lines::start(Stuck { go: gate, taken });
        let sent = (0..10_000).take_while(|_| lines.try_send(b"x".to_vec()).is_ok()).count();
        assert!((MAX_QUEUED..=MAX_QUEUED + 1).contains(&sent), "{sent}");
        assert_eq!(lines.try_send(b"x".to_vec()), Err(NotTaken::Full));
        assert!(lines.flush(Duration::from_millis(1)).is_err(), "and nobody waits for it");
    }

    #[test]
    fn a_flush_waits_for_what_was_queued_before() {
        let (go, gate) = mpsc::channel();
        let (taken, look) = mpsc::channel();
        let lines = Lines::start(Stuck { go: gate, taken });
        lines.try_send(b"one".to_vec()).unwrap();
        go.send(()).unwrap();
        lines.flush(Duration::from_secs(60)).unwrap();
        assert_eq!(look.try_recv().unwrap(), b"one");
    }

    #[tokio::test]
    async fn a_reader_that_has_gone_is_noticed() {
        let (go, gate) = mpsc::channel();
        let (taken, _) = mpsc::channel();
        let lines = Lines::start(Stuck { go: gate, taken });
        go.send(()).unwrap();
        lines.send(b"x".to_vec()).await.unwrap();
        assert_eq!(lines.closed().await, io::Error::from(io::ErrorKind::BrokenPipe).to_string());
        assert_eq!(lines.try_send(b"x".to_vec()), Err(NotTaken::Closed));
    }
}
