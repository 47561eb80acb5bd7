//! Moments as the core sees them: arguments, never readings of a clock.

use std::{
    fmt,
    ops::{Add, Sub},
    time::Duration,
};

/// A moment on the driver's clock, by default [`START`](Self::START). The core compares moments; it never reads a clock. The crate `phin` calls it `Moment`, as
/// applications have instants of `std` and tokio.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Instant(Duration);

impl Instant {
    /// The driver's first moment; all others are measured from it.
    pub const START: Self = Self(Duration::ZERO);

    /// How long after [`Instant::START`] this moment is.
    pub const fn since_start(self) -> Duration {
        self.0
    }

    /// How long after `earlier` this moment is; zero if it is not after it.
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// Whether something is due again: `interval` after it was last done, or for the first time. If so, it is done now.
    pub(crate) fn mark_if_due(self, last: &mut Option<Self>, interval: Duration) -> bool {
        let is_due = last.is_none_or(|last| self - last >= interval);
        if is_due {
            *last = Some(self);
        }
        is_due
    }

    /// The moment `age` before this one, or [`Instant::START`] if there is none.
    pub const fn saturating_sub(self, age: Duration) -> Self {
        Self(self.0.saturating_sub(age))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    /// Saturates at the end of time, which no deadline ever reaches.
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }
}

impl Sub for Instant {
    type Output = Duration;

    /// Zero if `earlier` is in fact later, as for [`Instant::saturating_since`].
    fn sub(self, earlier: Self) -> Duration {
        self.saturating_since(earlier)
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}s", self.0.as_secs(), self.0.subsec_millis())
    }
}
