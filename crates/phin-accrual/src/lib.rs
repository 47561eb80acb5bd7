//! Phi-accrual failure detection as arithmetic: no clock, no I/O, no dependencies.
//!
//! *Phi* is a suspicion level: `-log10` of the probability of a silence as long as this one, were
//! the other side alive. Acting at `phi = 8` is a mistake once in 10⁸ times (Hayashibara et al.,
//! *The φ Accrual Failure Detector*, SRDS 2004, §4). Three estimators give it, one for each way of
//! listening:
//!
//! | Type | Learns from | Tells |
//! |---|---|---|
//! | [`PhiAccrual`] | intervals between regular heartbeats | phi of the time since the last |
//! | [`LinkEstimator`] | round trips and losses of pings | what a missing reply is worth |
//! | [`Evidence`] | independent misses, of any observers | their phi together |
//!
//! Time is an argument, as [`Duration`](std::time::Duration): the caller owns the clock. Recording
//! and asking take a bounded number of steps and allocate nothing. Every input has a defined
//! result, none panics. The logarithms and exponentials are the crate's own, made of IEEE 754 basic
//! operations only, so results are the same bits on every platform and a simulation replays
//! anywhere.
//!
//! # Plain heartbeats
//!
//! [`PhiAccrual`] is usable alone, wherever one side sends a heartbeat regularly and the
//! other wonders about silence.
//!
//! ```
//! use phin_accrual::PhiAccrual;
//! use std::time::Duration;
//!
//! const SECOND: Duration = Duration::from_secs(1);
//!
//! // The last 100 intervals count; jitter under 50 ms is never news; one heartbeat a second is
//! // expected.
//! let mut detector = PhiAccrual::new(100, Duration::from_millis(50), SECOND);
//!
//! // At each heartbeat, record the time since the one before. Here that is 2 s, give or take
//! // 100 ms.
//! for beat in 0..100 {
//!     let jitter = Duration::from_millis(100) * (beat % 3);
//!     detector.record(2 * SECOND - Duration::from_millis(100) + jitter);
//! }
//!
//! // Whenever you like, ask about the time since the last one, and act at a level of your own.
//! assert!(detector.phi(2 * SECOND) < 1.0);
//! assert!(detector.phi(3 * SECOND) > 8.0);
//! ```
//!
//! # Pings now and then
//!
//! ```
//! use phin_accrual::{Evidence, LinkEstimator};
//! use std::time::Duration;
//!
//! let mut link = LinkEstimator::new(Duration::from_millis(50));
//! for _ in 0..100 {
//!     link.record_reply(Duration::from_millis(10));
//! }
//! // How long must a reply be missing for a miss of weight 2? A little more than twice the usual
//! // round trip.
//! let wait = link.deadline(2.0).expect("this link loses fewer than one message in a hundred");
//! assert!(wait < Duration::from_millis(25));
//!
//! // Four such misses, far enough apart to be independent, are phi 8. Any sign of life takes it
//! // all back.
//! let mut evidence = Evidence::default();
//! for _ in 0..4 {
//!     evidence.record(link.weight(wait));
//! }
//! assert!(evidence.phi() >= 8.0);
//! evidence.clear();
//! assert_eq!(evidence.phi(), 0.0);
//! ```

mod elementary;
mod evidence;
#[cfg(test)]
mod lcg;
mod link;
mod phi;
mod tail;
mod window;

pub use elementary::{exp, ln};
pub use evidence::{Evidence, MAX_PHI};
pub use link::{
    LONG_LOSS_GAIN, LOSS_GAIN, LinkEstimator, MAX_LONG_LOSS, MAX_LOSS, MAX_ROUND_TRIP, MAX_WAIT,
    MAX_WEIGHT, MIN_LOG_DEVIATION, MIN_LOSS, MIN_ROUND_TRIP, PRIOR_LOG_DEVIATION, PRIOR_LOSS,
    ROUND_TRIP_GAIN, TIMER_JITTER,
};
pub use phi::{MIN_INTERVAL_DEVIATION, PhiAccrual};
pub use window::{MAX_INTERVAL, MAX_SAMPLES, MIN_SAMPLES};

/// Compiles the example of this crate's README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
