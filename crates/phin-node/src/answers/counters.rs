//! Counters of a program that answers queries, for metrics.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use phin::Topic;

/// The counters of one program.
#[derive(Debug)]
pub(crate) struct Counters {
    pub(crate) topic: Topic,
    pub(crate) program: PathBuf,
    counts: Mutex<Counts>,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Counts {
    /// Runs begun, those included that could not start.
    pub(crate) runs: u64,
    /// Runs that ended with an exit code other than 0, or by a signal.
    pub(crate) refused: u64,
    /// Runs whose output was too long for a reply.
    pub(crate) too_long: u64,
    /// Runs that were killed: after the time limit, or because the query or the node ended.
    pub(crate) timed_out: u64,
    /// Runs that could not start.
    pub(crate) not_run: u64,
    /// Runs under way.
    pub(crate) running: u64,
}

/// How a run ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ending {
    Replied,
    Refused,
    TooLong,
    TimedOut,
    NotRun,
}

/// A run under way. Dropped before its end, it was killed.
pub(super) struct Run {
    counters: Arc<Counters>,
    ending: Ending,
}

impl Counters {
    pub(super) fn new(topic: Topic, program: PathBuf) -> Self {
        Self { topic, program, counts: Mutex::default() }
    }

    pub(crate) fn counts(&self) -> Counts {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Run {
    pub(super) fn begin(counters: &Arc<Counters>) -> Self {
        counters.update(|counts| {
            counts.runs += 1;
            counts.running += 1;
        });
        Self { counters: Arc::clone(counters), ending: Ending::TimedOut }
    }

    pub(super) fn end(mut self, ending: Ending) {
        self.ending = ending;
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.counters.update(|counts| {
            counts.running -= 1;
            match self.ending {
                Ending::Replied => {}
                Ending::Refused => counts.refused += 1,
                Ending::TooLong => counts.too_long += 1,
                Ending::TimedOut => counts.timed_out += 1,
                Ending::NotRun => counts.not_run += 1,
            }
        });
    }
}
