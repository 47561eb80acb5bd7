//! Outputs: the requests of the core to its driver, in order.

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use crate::{
    DataEvent, Degradation, ExpulsionEvent, Filter, Generation, Member, MemberId, MemberState,
    Message, Office, OfficeEvent, PathPing, PingId, QueryId, QueryOutcome, QueryToken, Receipt,
    Record, SendFailure, Silence, Term, Ticket, Topic,
};

/// A member with the address at which to dial it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Peer {
    /// The identity that the far end must prove; the transport delivers to nobody else.
    pub id: MemberId,
    /// The address to dial if no connection is open.
    pub addr: SocketAddr,
}

/// One thing for the driver to do. Match it without a wildcard, so that a new kind cannot be forgotten.
#[derive(Clone, Debug)]
pub enum Output {
    /// Send now, unreliably.
    Datagram {
        /// To whom.
        to: Peer,
        /// The encoded messages.
        payload: Vec<u8>,
    },
    /// Send reliably, without delaying datagrams.
    Stream {
        /// To whom.
        to: Peer,
        /// The encoded messages.
        payload: Vec<u8>,
    },
    /// Send a message of the application reliably, without delaying datagrams, and after other streams. If it certainly does not
    /// arrive, or not in time, report that with [`Sending::handle_failure`](crate::Sending::handle_failure).
    SendMessage {
        /// To whom.
        to: Peer,
        /// The message, for that report.
        ticket: Ticket,
        /// The encoded message.
        payload: Vec<u8>,
    },
    /// A message was sent to this member. If it came with a receipt, answer at once whether the application takes it
    /// ([`Sending::handle_receipt`](crate::Sending::handle_receipt)).
    Sent {
        /// The message.
        message: Message,
        /// `None` if no answer is wanted.
        receipt: Option<Receipt>,
    },
    /// A message that this node sent ([`Sending::send`](crate::Sending::send)) has ended.
    SendEnded {
        /// The message.
        ticket: Ticket,
        /// Whether the receiving application has it.
        result: Result<(), SendFailure>,
    },
    /// Close the connection to this member, if there is one: it is dead, has left, or has moved.
    Disconnect(MemberId),
    /// The membership list changed.
    Event(Event),
    /// The data of a member changed.
    Data(DataEvent),
    /// A message for the application.
    Message(Message),
    /// The next publications of a member are missing: this node did not receive them, and no other sent them.
    MessagesMissed {
        /// The member that published them.
        from: MemberId,
        /// How many.
        count: u64,
    },
    /// A member asks this node's application. Answer with [`Querying::reply`](crate::Querying::reply), without blocking the driver.
    Query {
        /// Names the query in the answer.
        token: QueryToken,
        /// The member that asks, perhaps this node itself.
        from: MemberId,
        /// The run of that member's process.
        generation: Generation,
        /// Its topic.
        topic: Topic,
        /// Its content.
        body: Arc<[u8]>,
        /// How long an answer is of use.
        remaining: Duration,
    },
    /// The outcome of a query at a member that this node asked ([`Querying::ask`](crate::Querying::ask)). Comes once
    /// for each member that was expected, unless the query ends before.
    QueryOutcome {
        /// The query.
        id: QueryId,
        /// The member.
        member: MemberId,
        /// The outcome.
        outcome: QueryOutcome,
    },
    /// A query of this node has ended: each expected member has an outcome, there are as many replies as were wanted, or it was
    /// cancelled.
    QueryEnded {
        /// The query.
        id: QueryId,
    },
    /// A ping for an operator is over ([`Operating::ping`](crate::Operating::ping)).
    Pinged {
        /// The ping.
        id: PingId,
        /// Each path, and the outcome by it: the direct ones first.
        paths: Vec<PathPing>,
    },
    /// This node votes for a term of an office. Keep [`Offices::promises`](crate::Offices::promises), so that they survive this process,
    /// then report that with [`Leading::handle_kept`](crate::Leading::handle_kept): the vote is given then. If they cannot be kept, do
    /// not report it. A node that keeps nothing between its runs reports it at once.
    KeepPromise {
        /// The office.
        office: Office,
        /// The term.
        term: Term,
    },
    /// Something happened to an office.
    Office(OfficeEvent),
    /// A statement of an administrator took effect, or ended. Keep all statements
    /// ([`Expelling::statements`](crate::Expelling::statements)) for the next run, close the connections to members that are
    /// expelled, and accept none of them.
    Expulsion(ExpulsionEvent),
    /// A join started by [`Swim::join`](crate::Swim::join) has ended.
    JoinEnded {
        /// The member that was asked.
        through: MemberId,
        /// Whether it admitted this node.
        result: Result<(), JoinRefusal>,
    },
    /// Ask the application whether to admit this newcomer, without blocking the driver, and answer with
    /// [`Swim::handle_decision`](crate::Swim::handle_decision). Always answer, and within seconds: the newcomer is waiting.
    /// Occurs only if [`Config::ask_application`](crate::Config::ask_application) is set.
    Newcomer {
        /// The authenticated identity, and the address that it connected from.
        from: Peer,
        /// Its signed record.
        record: Record,
    },
    /// Ask the host of a member, without blocking the driver, and answer with
    /// [`Swim::handle_host_answer`](crate::Swim::handle_host_answer).
    AskHost {
        /// The member.
        to: Peer,
        /// The question.
        question: Question,
        /// How long to wait for the answer to each datagram: nearly all round trips to the member take less.
        patience: Duration,
    },
    /// This node receives nothing from any member (`true`), or does so again (`false`).
    Isolated(bool),
    /// A member confirmed that this node leaves.
    LeaveConfirmed(MemberId),
    /// Another process at this address uses the same key: it exceeds each generation that this node takes.
    IdentityInUse(SocketAddr),
    /// This node has taken a later generation, because an earlier run of it is known by a higher one. Store the number: the
    /// next start must exceed it.
    Generation(Generation),
}

/// A question to a member's host. Hosts answer few of them per second, so each is asked rarely.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Question {
    /// Does the host answer at all? Sent to a healthy member's host: a datagram to a closed port.
    Reachability,
    /// Is the process of a silent member there? First the member's own port is asked, then the closed one.
    Silence,
}

/// The answer of a member's host.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum HostAnswer {
    /// The member's own port is refused: no process is there.
    PortRefused,
    /// The host refused the closed port, so it is there. The member's own port is silent, or was not asked.
    Answers,
    /// Nothing answered.
    Nothing,
    /// The host could not be asked.
    Unknown,
}

/// A change of the membership list, numbered by the list's version after it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Event {
    /// The version of the list that contains this change and all before it.
    pub version: u64,
    /// The change.
    pub change: Change,
    /// The member after the change. If it was forgotten, the member as it was last.
    pub member: Arc<Member>,
    /// The member before the change: its earlier tags and addresses, for instance. `None` if it was not in the list.
    pub before: Option<Arc<Member>>,
    /// The kind of silence, for a death or a suspicion, if this node knows it.
    pub silence: Option<Silence>,
    /// For [`Change::Degraded`], the reason. `None` in the events of a watcher.
    pub degraded: Option<Degradation>,
}

impl Event {
    /// Whether the filter holds for the member after the change, or did before it: so a member that no longer matches is
    /// reported once more.
    pub fn matches(&self, filter: &Filter) -> bool {
        let before = self.before.as_deref();
        filter.matches(&self.member) || before.is_some_and(|before| filter.matches(before))
    }
}

/// A change of a member.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Deserialize, serde::Serialize),
    serde(rename_all = "kebab-case")
)]
#[non_exhaustive]
pub enum Change {
    /// It is new, or returned after it had left.
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
    /// It died or left, and was removed from the list: after the retention time, or on request.
    Forgotten,
    /// Another live member has its name ([`Members::namesakes`](crate::Members::namesakes)). Both stay.
    NameConflict,
    /// It returned, but died and returned too often lately (RFC 2439). No further change of it is reported until its penalty
    /// has decayed ([`Members::suppressed_until`](crate::Members::suppressed_until)), unless it leaves. Then a change reports
    /// its state.
    Suppressed,
    /// It lives, but most of its observers do not reach it or find [flaws](crate::Flaws) in it. Reported once, by all members if it
    /// states its flaws, and otherwise by its observers and by itself.
    Degraded,
    /// It is degraded no longer.
    Recovered,
    /// An administrator expelled it, and it was removed from the list. If it was live, [`Dead`](Self::Dead) came before.
    Expelled,
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
            Self::Expelled => "expelled",
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a member did not admit this node.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinRefusal {
    /// Its list is as long as its configuration allows.
    #[error("its membership list is full")]
    Full,
    /// It is about to leave the cluster itself.
    #[error("it is leaving the cluster")]
    Leaving,
    /// One side could not read what the other sent.
    #[error("the answer could not be understood")]
    NotUnderstood,
    /// Its application decided against it.
    #[error("not admitted: {0}")]
    NotAdmitted(String),
    /// Too many nodes were joining through it at once. This node asked again for some seconds.
    #[error("it is busy with others that join")]
    Busy,
}

impl JoinRefusal {
    /// The most characters of an application's reason that are sent. Control characters are left out.
    pub const MAX_REASON_CHARS: usize = 200;

    /// The application's reason, shortened and without control characters.
    pub(crate) fn not_admitted(reason: &str) -> Self {
        let reason = reason.chars().filter(|&c| crate::member::record::is_printable(c));
        Self::NotAdmitted(reason.take(Self::MAX_REASON_CHARS).collect())
    }
}
