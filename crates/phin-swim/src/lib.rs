//! The membership protocol of phin as a state machine: SWIM (Das, Gupta, Motivala, DSN 2002) over K rings.
//!
//! [`Swim`] is a value. It has no clock, socket or thread, and its only randomness is a seed: the same inputs give the same
//! outputs, to the byte. Most applications want the crate `phin`, which drives it over QUIC.
//!
//! # The run loop
//!
//! A driver passes each event to a `handle_*` method, with the moment at which it happens. After each of them it drains
//! [`Swim::poll_output`]. It calls [`Swim::handle_timeout`] when [`Swim::poll_timeout`] is due, and before that handles
//! everything that it has received: a reply that has arrived is no miss.
//!
//! ```
//! use phin_swim::{Instant, Output, Swim};
//!
//! /// Carries out what the core asks for. Returns when it wants to be called again.
//! fn drive(swim: &mut Swim, now: Instant) -> Option<Instant> {
//!     if swim.poll_timeout().is_some_and(|due| due <= now) {
//!         swim.handle_timeout(now);
//!     }
//!     while let Some(output) = swim.poll_output() {
//!         match output {
//!             Output::Datagram { to, payload } => println!("send {} bytes to {}", payload.len(), to.addr),
//!             Output::Stream { to, payload } => println!("stream {} bytes to {}", payload.len(), to.addr),
//!             Output::Event(event) => println!("{}: {}", event.member.name(), event.change),
//!             // A driver handles each kind; see `phin/src/driver.rs`.
//!             other => println!("{other:?}"),
//!         }
//!     }
//!     swim.poll_timeout()
//! }
//! ```
//!
//! # Hostile input
//!
//! Everything from the network is checked, and everything that can grow has a limit. Each type documents its own.
//! [`Stats`] counts what was dropped.

mod accept;
mod admission;
mod config;
mod core;
mod ctx;
mod data;
mod detect;
mod expel;
mod expelling;
mod flaps;
mod forget;
mod gossip;
mod identity;
#[cfg(feature = "serde")]
mod info;
mod inspect;
mod join;
mod leadership;
mod leading;
mod leave;
mod limit;
mod link;
#[cfg(feature = "measured")]
#[doc(hidden)]
pub mod measured;
mod member;
mod messages;
mod newcomers;
mod operating;
mod output;
mod probe;
mod publish;
mod query;
mod querying;
mod refute;
mod sending;
mod senses;
mod stats;
mod step;
mod swim;
mod sync;
#[cfg(test)]
mod testing;
mod time;
mod timers;
mod warm;
mod watch;
mod wire;

pub use config::{Config, ConfigError, SignedVotes};
pub use data::map::{DataError, MemberData, Revision};
pub use data::store::{Data, DataEvent, DataUpdate, OwnerGone};
pub use detect::failing::{Degradation, FailingLink, Unreached};
pub use detect::reports::{Outcome, Report, Silence, Vote};
pub use expel::{
    ExpelRefusal, ExpulsionEvent,
    statement::{AdminKeyId, AdminStatement, Standing},
};
pub use expelling::Expelling;
pub use forget::ForgetRefusal;
#[cfg(feature = "serde")]
pub use info::{EventInfo, MemberInfo};
pub use leadership::office::{
    LostReason, Office, OfficeError, OfficeEvent, OfficeRules, OfficeState, Promise, Promises,
    StandError, Term, Vacancy,
};
pub use leading::{Leading, Offices};
pub use member::assigned::AssignedId;
pub use member::filter::{Filter, FilterError};
pub use member::flaws::{Flaw, Flaws};
pub use member::list::{Members, MembersIter};
pub use member::record::{Keys, Name, NameError, PublicKey, Record, Signature, is_printable};
pub use member::rings::{Neighbour, Neighbours};
pub use member::tags::{Profile, Reason, ReasonError, ServingState, TagError, Tags};
pub use member::{Generation, Incarnation, Member, MemberId, MemberIdError, MemberState, Version};
pub use messages::{
    Message, Route, Ticket,
    send::{NotTaken, Receipt, SendFailure, SendRefusal, SendRequest, SendStats},
    topic::{Topic, TopicError},
};
pub use operating::Operating;
pub use output::{Change, Event, HostAnswer, JoinRefusal, Output, Peer, Question};
pub use probe::{
    Disconnection, Link, Unreachable,
    paths::{PathPing, PingId, PingOutcome, PingPath, PingRefusal, PingStarted},
};
pub use publish::publication::{PublishError, PublishRequest};
pub use query::{
    answer::{QueryAnswer, QueryOutcome, QueryToken, ReplyError},
    request::{QueryError, QueryId, QueryRequest, Select},
};
pub use querying::Querying;
pub use sending::Sending;
pub use stats::{OfficeRefusals, Stats};
pub use swim::{Local, Swim};
pub use time::Instant;
pub use warm::Template;
pub use watch::{
    WATCH_VERSION, WatchRequest, feed::WatchFeed, frame::WatchFrameError, list::WatchedList,
};
pub use wire::{Fingerprint, WIRE_VERSION, describe};

/// Compiles the example of this crate's README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

// Types that nearly every rule uses, all of them below the rules.
pub(crate) use {
    config::Params,
    ctx::Ctx,
    member::{
        list::MembershipList,
        transition::{News, Transition},
    },
    step::{Channel, Miss, Origin, Purpose, Source, Step},
    timers::Timer,
    wire::{
        Claim, ClearBody, Entry, Part, Payload, Pulse, Round, Sequence, SummaryLine, Tally,
        Verdict, VoteBody,
    },
};
