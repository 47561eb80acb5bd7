//! What a test logs, for tests on one thread each. phin's tests of whole nodes use this file too.
//!
//! One subscriber hears all threads, from before the first node on. With one for each test, tests would be deaf now and
//! then: whether a line is logged at all is decided where it is reached first, and while there is but one subscriber,
//! `tracing` asks that of the thread which gets there. A test without a subscriber answers "never", for all.

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

/// What this thread logged since it was asked last.
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
