//! The membership protocol of phin as a state machine: SWIM (Das, Gupta, Motivala, DSN 2002) over K rings.
//!
//! [`Swim`] is a value. Its inputs are the `handle_*` methods, each with the moment it happens; its outputs are one
//! queue, drained with [`Swim::poll_output`], and one next deadline, [`Swim::poll_timeout`]. It has no clock, no socket,
//! no thread, and no randomness but the seed it is given: the same inputs give the same outputs, to the byte. Most
//! applications want the crate `phin`, which drives it over QUIC.
//!
//! What everything from the network is checked for, and the limits of everything that can grow, stand with each type;
//! what was dropped is counted in [`Stats`].

mod accept;
mod admission;
mod config;
mod core;
mod ctx;
mod detect;
mod flaps;
mod forget;
mod gossip;
mod identity;
mod join;
mod leave;
mod link;
#[cfg(feature = "measured")]
pub mod measured;
mod member;
mod newcomers;
mod output;
mod probe;
mod query;
mod refute;
mod stats;
mod step;
mod swim;
mod sync;
#[cfg(test)]
mod testing;
mod time;
mod timers;
mod warm;
mod wire;

pub use config::{Config, ConfigError};
pub use detect::failing::{FailingLink, Unreached};
pub use detect::reports::{Outcome, Report, Silence, Vote};
pub use forget::ForgetRefusal;
pub use member::list::Members;
pub use member::record::{Keys, Name, NameError, PublicKey, Record, Signature, is_printable};
pub use member::{Generation, Incarnation, Member, MemberId, MemberState, Version};
pub use output::{Change, Event, HostAnswer, JoinRefusal, Output, Peer, Question};
pub use probe::{Disconnection, Link, Unreachable};
pub use stats::Stats;
pub use swim::{Local, Swim};
pub use time::Instant;
pub use warm::Template;
pub use wire::{Fingerprint, WIRE_VERSION, describe};
