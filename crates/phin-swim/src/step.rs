//! [`Step`]: what a rule of one room asks of another, and the words that such requests need.

use crate::{MemberId, Peer, wire::Sequence};

/// What another room is to do. Steps are carried out in the order in which they were asked for, each with all that it asks
/// for in turn, before the next one.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Ping a member.
    Ping { to: Peer, purpose: Purpose },
}

/// Why a member is pinged.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    /// The probe of a protocol period.
    Probe,
    /// A further look at a member that did not answer this one or others.
    Retry,
    /// A look at a dead member, which may have returned.
    Redial,
    /// A look at a member that others declare dead, though it refuted lately.
    Look,
    /// Another member asked for it.
    Relay { requester: Peer, sequence: Sequence },
}

impl Purpose {
    pub(crate) const fn is_relay(self) -> bool {
        matches!(self, Self::Relay { .. })
    }
}

/// By which way a message came, so that its answer takes the same.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Channel {
    Datagram,
    Stream,
}

/// How an update came to this member, which decides whom else it concerns.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Source {
    /// This member found it out.
    Ourselves,
    /// Another member sent what it had just heard: news.
    Gossip(Peer),
    /// Another member sent its whole list when this one joined, alone: known to everyone there.
    Welcome(Peer),
}

impl Source {
    /// The member to name as the one that said so.
    pub(crate) const fn from(self) -> MemberId {
        match self {
            Self::Ourselves => MemberId([0; 16]),
            Self::Gossip(from) | Self::Welcome(from) => from.id,
        }
    }
}
