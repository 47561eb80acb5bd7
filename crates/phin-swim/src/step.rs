//! [`Step`]: what a rule of one room asks of another, and the words that such requests need.

use std::sync::Arc;

use crate::{
    Change, Instant, Member, MemberId, Office, Peer, PublishRequest, Record, Silence, Version,
    member::transition::News,
    publish::publication::Publication,
    query::request::QueryHeader,
    wire::{Claim, LeadAnswer, Payload, QueryAsk, QueryReplies, Sequence},
};

/// A task for another room. Steps are carried out in the order in which they were asked for, each with all that it
/// asks for in turn, before the next one.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Something became known of a member, by this way.
    Apply { news: News, source: Source },
    /// A change of a member is reported to the application.
    Announce { change: Change, member: Arc<Member> },
    /// Ping a member.
    Ping { to: Peer, purpose: Purpose },
    /// Repeat this ping by stream.
    PingByStream { target: MemberId, sequence: Sequence },
    /// Send this with as much news as fits in.
    SendWithNews { to: Peer, channel: Channel, payload: Payload },
    /// A ping has no direct reply in time.
    Unanswered { subject: MemberId, sent_at: Instant },
    /// The same ping, as evidence.
    Missed(Miss),
    /// A member answered a ping as it was sent.
    Reached(Peer),
    /// A member was alive when this was sent, by its own reply.
    Heard { id: MemberId, at: Instant },
    /// Missing answers to what was sent since then say nothing: ask again.
    AskAnew { since: Instant },
    /// The host of a member answered a question about its process.
    HostSays { id: MemberId, silence: Silence },
    /// No process is where this member is said to be.
    Gone(MemberId),
    /// Nor is any other at its address.
    PortFree(MemberId),
    /// A pending verdict on this version may be due.
    EndPending(MemberId, Version),
    /// The votes of a pending verdict may make a majority with our own.
    WeighPending(MemberId),
    /// Review the links to this member that fail.
    ReviewLinks(MemberId),
    /// An exchange with this member had no answer: check whether packets of full size pass.
    CheckSize(MemberId),
    /// Another list has a member dead that this one has alive.
    DeathElsewhere { source: Source, claim: Claim },
    /// Answer a claim that this node is suspect.
    Refute { source: Source, claim: Claim },
    /// Answer a claim that this node is dead.
    RefuteDeath { source: Source, claim: Claim },
    /// Make news of the present state of a member once more.
    Spread(MemberId),
    /// A member that is dead here and was never heard states a later version, by others. It stays dead, without notice.
    Renew(Record),
    /// Compare lists with a member.
    Exchange(Peer),
    /// A page of a member's list was compared; whether it left nothing to ask for.
    TurnPage { of: MemberId, is_last: bool },
    /// This member sent news of another one that is known here already.
    Repeated { id: MemberId, by: MemberId },
    /// A member that is gone and was never heard here is removed from the list, without notice.
    Unlist(MemberId),
    /// A member is expelled: it is dead from now on, and then removed from the list, without a word to others.
    Expel(MemberId),
    /// Plan when members are forgotten next.
    PlanSweep,
    /// A query of this node is to be published.
    PublishQuery { content: PublishRequest, header: QueryHeader },
    /// A query was published and arrived, for the first time or once more.
    Query { way: Option<Way>, is_new: bool, publication: Arc<Publication> },
    /// This node asks itself.
    AskMyself { me: Peer, ask: Box<QueryAsk> },
    /// Answers to a query of this node arrived here, where its own application gave them.
    OwnReplies { me: Peer, replies: Box<QueryReplies> },
    /// This node votes on a term that it asks for.
    OwnVote(LeadAnswer),
    /// A member announced that it holds an office, or no longer does.
    HolderAnnounced(Office),
    /// Answer a ping, without news.
    AckOnly { to: Peer, channel: Channel, sequence: Sequence },
    /// Announce the departure of this node.
    AnnounceDeparture,
    /// This member does not, or no longer, consider this node a member of the cluster.
    ConfirmDeparture(MemberId),
}

/// A member that passed a query on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    pub(crate) peer: Peer,
    /// How many members it is away from the one that asks.
    pub(crate) hops: u8,
}

/// A ping whose reply is overdue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Miss {
    pub(crate) subject: MemberId,
    pub(crate) sequence: Sequence,
    pub(crate) sent_at: Instant,
    pub(crate) purpose: Purpose,
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
    Relay { requester: Peer, sequence: Option<Sequence> },
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

/// Where a message came from, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    pub(crate) peer: Peer,
    pub(crate) channel: Channel,
    pub(crate) source: Source,
}

impl Source {
    /// The member that sent this, as one update among others: its rate is limited. A whole list, as a node that is
    /// alone accepts it, is limited by the pages that this node asks for.
    pub(crate) const fn teller(self) -> Option<MemberId> {
        match self {
            Self::Gossip(from) => Some(from.id),
            Self::Welcome(_) | Self::Ourselves => None,
        }
    }

    /// The member to name as the one that said so.
    pub(crate) const fn from(self) -> MemberId {
        match self {
            Self::Ourselves => MemberId([0; 16]),
            Self::Gossip(from) | Self::Welcome(from) => from.id,
        }
    }
}
