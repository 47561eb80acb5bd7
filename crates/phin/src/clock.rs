//! The driver's clock: moments since the start, and what the wall clock said of them.
//!
//! The system's wall clock is read here alone, and a test replaces it ([`Wall`]).

use std::time::{Duration, SystemTime};

use phin_swim::Instant;
use tokio::time;

/// Measures from the start of one driver, by tokio's clock, so that tests can stop it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: time::Instant,
    start_on_wall: SystemTime,
    wall: Wall,
}

/// The wall clock that a node goes by.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wall {
    /// The system's, which can be set, and goes on while the machine sleeps.
    System,
    /// One that begins at the same time in every run, and goes as tokio's clock does.
    #[cfg(feature = "testing")]
    Since(time::Instant),
}

impl Clock {
    pub(crate) fn start(wall: Wall) -> Self {
        let start = time::Instant::now();
        let start_on_wall = match wall {
            Wall::System => SystemTime::now(),
            #[cfg(feature = "testing")]
            Wall::Since(beginning) => SystemTime::UNIX_EPOCH + EPOCH + (start - beginning),
        };
        Self { start, start_on_wall, wall }
    }

    /// A clock on which the moments of years before the start can be told.
    pub(crate) fn with_past(wall: Wall) -> Self {
        let clock = Self::start(wall);
        let started = clock.start.checked_sub(PAST).zip(clock.start_on_wall.checked_sub(PAST));
        let (start, start_on_wall) = started.unwrap_or((clock.start, clock.start_on_wall));
        Self { start, start_on_wall, wall }
    }

    pub(crate) fn now(&self) -> Instant {
        Instant::START + self.start.elapsed()
    }

    /// The moment on tokio's clock.
    pub(crate) fn instant(&self, at: Instant) -> time::Instant {
        self.start + at.since_start()
    }

    /// Ends at `deadline`, or never where there is none.
    pub(crate) async fn sleep_until(&self, deadline: Option<Instant>) {
        let deadline = deadline.and_then(|at| self.start.checked_add(at.since_start()));
        match deadline {
            Some(deadline) => time::sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    }

    /// The wall clock's time at `at`. One moment gives one time, until the wall clock is found to
    /// have been set or the machine to have slept; from then on it is counted back from the
    /// present.
    pub(crate) fn wall(&self, at: Instant) -> SystemTime {
        let by_start = self.start_on_wall + at.since_start();
        match self.wall {
            Wall::System => self.correct(at, by_start),
            #[cfg(feature = "testing")]
            Wall::Since(_) => by_start,
        }
    }

    /// Replaces the time counted from the start by the one counted back from the present, where these differ.
    fn correct(&self, at: Instant, by_start: SystemTime) -> SystemTime {
        let now = self.now();
        let (age, ahead) = (now.saturating_since(at), at.saturating_since(now));
        let Some(by_now) = (SystemTime::now() + ahead).checked_sub(age) else {
            return by_start;
        };
        let difference = by_now
            .duration_since(by_start)
            .or_else(|_| by_start.duration_since(by_now))
            .unwrap_or_default();
        if difference < MAX_DRIFT { by_start } else { by_now }
    }
}

/// The difference between the two clocks from which on the wall clock counts as set.
const MAX_DRIFT: Duration = Duration::from_millis(500);
/// How far back a clock with a past goes.
const PAST: Duration = Duration::from_secs(10 * 366 * 24 * 3_600);
/// When the wall clock of a test begins: 2001-09-09, 01:46:40 UTC.
#[cfg(feature = "testing")]
const EPOCH: Duration = Duration::from_secs(1_000_000_000);
