//! Phi-accrual failure detection as arithmetic: no clock, no I/O, no dependencies.
//!
//! *Phi* is a suspicion level: `-log10` of the probability that a living peer stays silent for this long. Acting at
//! `phi = 8` is wrong once in 10⁸ times (Hayashibara et al., *The φ Accrual Failure Detector*, SRDS 2004, §4). Choose
//! the type by the kind of messages that you observe:
//!
//! | Type | Input | Result |
//! |---|---|---|
//! | [`PhiAccrual`] | intervals between regular heartbeats | phi of the time since the last |
//! | [`LinkEstimator`] | round trips and losses of pings | phi of a missing reply, and deadlines |
//! | [`Evidence`] | independent misses of any observers | their common phi |
//!
//! Time is an argument, as [`Duration`](std::time::Duration): the caller owns the clock. Recording and querying take
//! a bounded number of steps and allocate nothing. Every input has a defined result, and none panics. The crate has
//! its own logarithm and exponential, which use only basic IEEE 754 operations. So results are the same bits on every
//! platform, and a simulation replays anywhere.
//!
//! # Plain heartbeats
//!
//! Use [`PhiAccrual`] if one side sends heartbeats at regular intervals.
//!
//! ```
//! use phin_accrual::PhiAccrual;
//! use std::time::Duration;
//!
//! const SECOND: Duration = Duration::from_secs(1);
//!
//! // Remember 100 intervals, ignore jitter below 50 ms, and expect one heartbeat a second.
//! let mut detector = PhiAccrual::new(100, Duration::from_millis(50), SECOND);
//!
//! // At each heartbeat, record the time since the previous one. Here it is about 2 s.
//! for beat in 0..100 {
//!     let jitter = Duration::from_millis(100) * (beat % 3);
//!     detector.record(2 * SECOND - Duration::from_millis(100) + jitter);
//! }
//!
//! // At any moment, pass the time since the last heartbeat, and act at a level that you choose.
//! assert!(detector.phi(2 * SECOND) < 1.0);
//! assert!(detector.phi(3 * SECOND) > 8.0);
//! ```
//!
//! # Occasional pings
//!
//! ```
//! use phin_accrual::{Evidence, LinkEstimator};
//! use std::time::Duration;
//!
//! let mut link = LinkEstimator::new(Duration::from_millis(50));
//! for _ in 0..100 {
//!     link.record_reply(Duration::from_millis(10));
//! }
//! // A miss of weight 2 takes a wait of a little more than twice the usual round trip.
//! let wait = link.deadline(2.0).expect("this link loses fewer than one message in a hundred");
//! assert!(wait < Duration::from_millis(25));
//!
//! // Four such misses, far enough apart to be independent, give phi 8. Any sign of life clears it.
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
