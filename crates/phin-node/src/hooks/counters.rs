//! Counters of a hook, for metrics.

use std::{
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

/// The counters of one hook.
#[derive(Debug)]
pub(crate) struct Counters {
    /// The place of the hook among all, from 1.
    pub(crate) number: usize,
    pub(crate) program: PathBuf,
    counts: Mutex<Counts>,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Counts {
    /// Runs begun, those included that could not start.
    pub(crate) runs: u64,
    /// Runs that ended with an exit code other than 0, or by a signal.
    pub(crate) failed: u64,
    /// Runs that were killed after the time limit.
    pub(crate) timed_out: u64,
    /// Runs that could not start.
    pub(crate) not_run: u64,
    /// Events that the program did not receive.
    pub(crate) events_missed: u64,
    pub(crate) events_waiting: usize,
    pub(crate) is_running: bool,
}

impl Counters {
    pub(super) fn new(number: usize, program: PathBuf) -> Self {
        Self { number, program, counts: Mutex::default() }
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn counts(&self) -> Counts {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
