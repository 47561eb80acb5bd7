//! Runs on all cores: one run per core, sharing nothing.
//!
//! tidy: allow thread: no run knows of another

use std::{
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use indicatif::{ProgressBar, ProgressStyle};

/// Runs all jobs, and returns their results in the order of the jobs. Shows progress on a terminal.
pub fn run_all<J: Sync, R: Send>(
    jobs: &[J],
    threads: usize,
    title: &str,
    work: impl Fn(&J) -> R + Sync,
) -> Vec<R> {
    let bar = ProgressBar::new(jobs.len() as u64);
    if let Ok(style) = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} {eta}") {
        bar.set_style(style);
    }
    bar.set_prefix(title.to_owned());
    let next = AtomicUsize::new(0);
    let results: Vec<Mutex<Option<R>>> = jobs.iter().map(|_| Mutex::new(None)).collect();
    thread::scope(|scope| {
        for _ in 0..threads.clamp(1, jobs.len().max(1)) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(job) = jobs.get(index) else {
                        return;
                    };
                    let result = work(job);
                    if let Ok(mut slot) = results[index].lock() {
                        *slot = Some(result);
                    }
                    bar.inc(1);
                }
            });
        }
    });
    bar.finish_and_clear();
    results.into_iter().filter_map(|slot| slot.into_inner().ok().flatten()).collect()
}

/// The number of available cores.
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// One machine's share of a sweep: every `of`-th job from `index` on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Shard {
    /// The index of the share, from 0.
    pub index: usize,
    /// The number of shares.
    pub of: usize,
}

impl Shard {
    /// The whole sweep.
    pub const WHOLE: Self = Self { index: 0, of: 1 };

    /// Whether the job with this number belongs to the share.
    pub const fn has(self, number: usize) -> bool {
        number % self.of == self.index
    }
}

impl std::str::FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/').and_then(|(index, of)| {
            Some(Self { index: index.parse().ok()?, of: of.parse().ok()? })
        });
        let is_sound = |shard: &Self| shard.index < shard.of;
        parts.filter(is_sound).ok_or_else(|| format!("{text:?} is not I/N with I from 0 to N-1"))
    }
}
