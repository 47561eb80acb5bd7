//! What the core asks of its driver, in order.

use std::{net::SocketAddr, sync::Arc};

use crate::{Generation, Member, MemberId, MemberState, Record, Silence};

/// Whom a message goes to: an identity, and where it is to be found.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Peer {
    /// Who must be there; the transport delivers to nobody else.
    pub id: MemberId,
    /// Where to look for it when no connection is open.
    pub addr: SocketAddr,
}

/// One thing the driver is asked to do. Matched without a wildcard, so that no driver can forget a new kind.
#[derive(Clone, Debug)]
pub enum Output {
    /// Send at once, without any promise of arrival.
    Datagram {
        /// To whom.
        to: Peer,
        /// The encoded messages.
        payload: Vec<u8>,
    },
    /// Send reliably, off the path of datagrams.
    Stream {
        /// To whom.
        to: Peer,
        /// The encoded messages.
        payload: Vec<u8>,
    },
    /// Close the connection to this member, if there is one: it is dead or has left.
    Disconnect(MemberId),
    /// The membership list changed.
    Event(Event),
    /// A join asked for with [`Swim::join`](crate::Swim::join) came to its end.
    JoinEnded {
        /// Whom we had asked.
        through: MemberId,
        /// Whether it let us in.
        result: Result<(), JoinRefusal>,
    },
    /// Ask the application whether this newcomer is to be let in, off the protocol's path, and answer with
    /// [`Swim::handle_decision`](crate::Swim::handle_decision): always, and within some seconds, for the newcomer waits
    /// and so may others. Only where [`Config::ask_application`](crate::Config::ask_application) is set.
    Newcomer {
        /// Whom the connection proved, and where it is seen to be.
        from: Peer,
        /// What it says of itself, under its own signature.
        record: Record,
    },
    /// Ask the host of a member, off the protocol's path, and answer with
    /// [`Swim::handle_host_answer`](crate::Swim::handle_host_answer).
    AskHost {
        /// Whose host.
        to: Peer,
        /// What about.
        question: Question,
    },
    /// Whether this member now hears nobody at all: it then declares nobody dead.
    Isolated(bool),
    /// A member acknowledged that we leave.
    LeaveConfirmed(MemberId),
    /// Another process runs with this one's key, at this address: each generation that we take, it exceeds.
    IdentityInUse(SocketAddr),
    /// This process goes on as a later generation, because an earlier run of it was known by a higher one than ours.
    /// Keep the number: the next start must exceed it.
    Generation(Generation),
}

/// What a member's host is asked. Hosts answer few questions a second, so each is asked rarely.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Question {
    /// Does it answer at all? Asked of a healthy member's host: a datagram to a port that is closed.
    Reachability,
    /// What of the silent member? First the member's own port, then the closed one.
    Silence,
}

/// What a member's host answered.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum HostAnswer {
    /// The member's own port is refused: no process is there.
    PortRefused,
    /// The host is there (it refused the closed port), the member's own port is silent or was not asked.
    Answers,
    /// Nothing answered.
    Nothing,
    /// It could not be asked.
    Unknown,
}

/// A change of the membership list, numbered by the list's version after it.
#[derive(Clone, Debug)]
pub struct Event {
    /// The version of the list that has this change and all before it.
    pub version: u64,
    /// What happened.
    pub change: Change,
    /// The member as it is after the change; as it was last, where it is forgotten.
    pub member: Arc<Member>,
    /// For a death or a suspicion, what kind of silence it was, where this node knows; else `None`.
    pub silence: Option<Silence>,
}

/// What happened to a member.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Change {
    /// It is new here, or returned after it had left.
    Joined,
    /// It does not answer.
    Suspect,
    /// It answers again: a suspicion was refuted, a dead member returned, or its process was restarted.
    Alive,
    /// It is declared dead.
    Dead,
    /// It left by its own choice.
    Left,
    /// It changed what it says of itself, such as its address.
    Updated,
    /// It died or left, and is no longer in the list: that was long enough ago, or an operator asked for it.
    Forgotten,
    /// Another live member has its name ([`Members::namesakes`](crate::Members::namesakes)). Both stay.
    NameConflict,
    /// It returned, but died and returned too often lately: until the penalty for that has decayed
    /// ([`Members::suppressed_until`](crate::Members::suppressed_until)) nothing more is told of it, unless it leaves. Then
    /// comes what it is by that time.
    Suppressed,
    /// Most of its observers, of whom this member is one, do not reach it, though it lives; or this is itself.
    Degraded,
    /// Most of its observers reach it again.
    Recovered,
}

impl Change {
    /// The change that puts a member into this state.
    pub(crate) const fn to(state: MemberState) -> Self {
        match state {
            MemberState::Alive => Self::Alive,
            MemberState::Suspect => Self::Suspect,
            MemberState::Dead => Self::Dead,
            MemberState::Left => Self::Left,
        }
    }

    /// The change's name in logs, metrics and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Joined => "joined",
            Self::Suspect => "suspect",
            Self::Alive => "alive",
            Self::Dead => "dead",
            Self::Left => "left",
            Self::Updated => "updated",
            Self::Forgotten => "forgotten",
            Self::NameConflict => "name-conflict",
            Self::Suppressed => "suppressed",
            Self::Degraded => "degraded",
            Self::Recovered => "recovered",
        }
    }
}

/// Why a member refused to let us join through it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinRefusal {
    /// Its list is as long as its configuration allows.
    #[error("its membership list is full")]
    Full,
    /// It is about to leave the cluster itself.
    #[error("it is leaving the cluster")]
    Leaving,
    /// It could not read what we sent, or we what it answered.
    #[error("the answer could not be understood")]
    NotUnderstood,
    /// Its application said no.
    #[error("not admitted: {0}")]
    NotAdmitted(String),
    /// More members ask it to let them in than it can serve at once. It was asked again for some seconds.
    #[error("it is busy with others that join")]
    Busy,
}

impl JoinRefusal {
    /// How much of an application's reason reaches the joiner; control characters are left out.
    pub const MAX_REASON_CHARS: usize = 200;

    /// The application's reason, made fit to be sent and shown.
    pub(crate) fn not_admitted(reason: &str) -> Self {
        let reason = reason.chars().filter(|&c| crate::member::record::is_printable(c));
        Self::NotAdmitted(reason.take(Self::MAX_REASON_CHARS).collect())
    }
}
