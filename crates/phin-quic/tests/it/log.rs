//! Captures the log of a test that runs on one thread. phin's tests of whole nodes use this file too.
//!
//! One subscriber receives the lines of all threads, from before the first node. With one per test, tests would miss
//! lines: `tracing` decides once per call site whether it is enabled, and while there is only one subscriber, it asks
//! that of the thread that gets there first. A test without a subscriber answers "never" for all.

use std::{
    cell::RefCell,
    io::{self, Write},
    sync::Once,
};

/// Every test calls it before anything can log.
pub(crate) fn listen() {
    static LISTENING: Once = Once::new();
    LISTENING.call_once(|| {
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::WARN)
            .with_ansi(false)
            .with_writer(|| OfThisThread);
        tracing::subscriber::set_global_default(subscriber.finish()).expect("nobody else sets one");
    });
}

/// The lines that this thread logged since the last call.
pub(crate) fn take() -> String {
    String::from_utf8(LOG.take()).expect("logs are text")
}

struct OfThisThread;

impl Write for OfThisThread {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.with_borrow_mut(|log| log.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

thread_local! {
    static LOG: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}
