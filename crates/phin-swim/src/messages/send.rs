//! [`Sends`]: messages to one member, in one run of its process.
//!
//! A message sent reliably ends with what the receiving application said, with what became of the member, or at its deadline,
//! whichever comes first. The receiver remembers nothing of it: the driver answers with the receipt that came with it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::{
    Ctx, Generation, Instant, MemberId, MemberState, MembershipList, Message, Output, Part,
    Payload, Peer, Route, Ticket, Timer, Topic, Transition,
    wire::{Answer, SentBody},
};

/// A message for one member ([`Sending::send`](crate::Sending::send)).
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct SendRequest {
    /// The member. This node itself is delivered to at once.
    pub to: MemberId,
    /// The run of its process that the message is for. `None`: the one that is in the list.
    pub generation: Option<Generation>,
    /// The topic of the message.
    pub topic: Topic,
    /// Its content.
    pub body: Arc<[u8]>,
}

impl SendRequest {
    /// A message for the run of the member that is in the list.
    pub fn new(to: MemberId, topic: Topic, body: impl Into<Arc<[u8]>>) -> Self {
        Self { to, generation: None, topic, body: body.into() }
    }
}

/// Why a message cannot be sent to a member.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SendRefusal {
    /// No member in the list has this id.
    #[error("no member has this id")]
    NotAMember,
    /// The member is dead.
    #[error("the member is dead")]
    Dead,
    /// The member has left.
    #[error("the member has left the cluster")]
    Left,
    /// The member runs in a later generation than the one that the message is for.
    #[error("the member was restarted")]
    Restarted,
    /// This node has left the cluster.
    #[error("this node has left the cluster")]
    Departed,
    /// The body is too long.
    #[error("the message has {bytes} bytes; at most {max_bytes} can be sent")]
    TooLong {
        /// The length of the body.
        bytes: usize,
        /// The longest body that can be sent in this way, with this topic.
        max_bytes: usize,
    },
    /// As many messages to this member, or to all members, wait for an answer as may.
    #[error("{max} messages wait for an answer already")]
    TooMany {
        /// How many may wait.
        max: usize,
    },
    /// The messages to this member, or to all members, that wait for an answer would have too many bytes together.
    #[error("messages of {max_bytes} bytes wait for an answer already")]
    TooManyBytes {
        /// How many bytes they may have.
        max_bytes: usize,
    },
    /// Too many datagrams were sent just now.
    #[error("more than {per_second} datagrams a second; send reliably, or later")]
    Busy {
        /// How many may be sent in a second.
        per_second: u32,
    },
}

/// Why a message that was sent reliably did not end with the receiving application having it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, thiserror::Error)]
#[non_exhaustive]
pub enum SendFailure {
    /// The member runs in another generation than the one that the message was for. An earlier run may have taken it.
    #[error("the member was restarted")]
    Restarted,
    /// The member died before it answered. It may have taken the message.
    #[error("the member died")]
    Dead,
    /// The member left before it answered. It may have taken the message.
    #[error("the member left the cluster")]
    Left,
    /// The member was removed from the list before it answered.
    #[error("the member was removed from the list")]
    Forgotten,
    /// The queues of all subscriptions of the topic are full at the member. It did not take the message.
    #[error("the queue of the receiving application is full")]
    QueueFull,
    /// The member has no subscription of the topic. It did not take the message.
    #[error("the member has no subscription of the topic")]
    NoReceiver,
    /// No answer came before the deadline. The member may have taken the message.
    #[error("the member did not answer in time")]
    TimedOut,
    /// The message could not be sent: there is no connection to the member, or too much is under way to it. It did not take
    /// the message.
    #[error("the member could not be reached")]
    Unreachable,
    /// The member refused the message, for a reason that this release does not know.
    #[error("the member refused the message")]
    Refused,
}

impl SendFailure {
    /// The failure's name in metrics and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Restarted => "restarted",
            Self::Dead => "dead",
            Self::Left => "left",
            Self::Forgotten => "forgotten",
            Self::QueueFull => "queue-full",
            Self::NoReceiver => "no-receiver",
            Self::TimedOut => "timed-out",
            Self::Unreachable => "unreachable",
            Self::Refused => "refused",
        }
    }
}

/// Why an application did not take a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NotTaken {
    /// The queues of all subscriptions of the topic are full.
    QueueFull,
    /// There is no subscription of the topic.
    NoReceiver,
}

/// Identifies a message that arrived reliably, for the answer to it ([`Output::Sent`]).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Receipt {
    from: Peer,
    ticket: Ticket,
}

/// How many messages ended in which way.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct SendStats {
    /// The receiving application's queue took it.
    pub taken: u64,
    /// [`SendFailure::Restarted`].
    pub restarted: u64,
    /// [`SendFailure::Dead`].
    pub dead: u64,
    /// [`SendFailure::Left`].
    pub left: u64,
    /// [`SendFailure::Forgotten`].
    pub forgotten: u64,
    /// [`SendFailure::QueueFull`].
    pub queue_full: u64,
    /// [`SendFailure::NoReceiver`].
    pub no_receiver: u64,
    /// [`SendFailure::TimedOut`].
    pub timed_out: u64,
    /// [`SendFailure::Unreachable`].
    pub unreachable: u64,
    /// [`SendFailure::Refused`].
    pub refused: u64,
}

impl SendStats {
    const fn of(&mut self, result: Result<(), SendFailure>) -> &mut u64 {
        match result {
            Ok(()) => &mut self.taken,
            Err(SendFailure::Restarted) => &mut self.restarted,
            Err(SendFailure::Dead) => &mut self.dead,
            Err(SendFailure::Left) => &mut self.left,
            Err(SendFailure::Forgotten) => &mut self.forgotten,
            Err(SendFailure::QueueFull) => &mut self.queue_full,
            Err(SendFailure::NoReceiver) => &mut self.no_receiver,
            Err(SendFailure::TimedOut) => &mut self.timed_out,
            Err(SendFailure::Unreachable) => &mut self.unreachable,
            Err(SendFailure::Refused) => &mut self.refused,
        }
    }
}

/// The messages that wait for an answer, and what was spent on datagrams.
#[derive(Debug)]
pub(crate) struct Sends {
    count: u32,
    /// At most [`MAX_SENDS`].
    waiting: BTreeMap<Ticket, Waiting>,
    /// Up to when the datagrams that may be sent are spent.
    datagrams_until: Instant,
}

/// A message that has no answer yet.
#[derive(Debug)]
struct Waiting {
    to: MemberId,
    generation: Generation,
    bytes: usize,
    deadline: Instant,
}

/// The rules of sending, with what they work on.
pub(crate) struct Sender<'a> {
    pub(crate) ctx: &'a mut Ctx,
    pub(crate) list: &'a MembershipList,
    pub(crate) own: &'a mut Sends,
}

impl Sends {
    pub(crate) const fn new(now: Instant) -> Self {
        Self { count: 0, waiting: BTreeMap::new(), datagrams_until: now }
    }

    /// Whether another message of so many bytes may wait for an answer of this member.
    fn check_room(&self, to: MemberId, bytes: usize) -> Result<(), SendRefusal> {
        let to_it = self.waiting.values().filter(|waiting| waiting.to == to);
        let (all, of_it) = (self.waiting.len(), to_it.count());
        match reached([(all, MAX_SENDS), (of_it, MAX_SENDS_TO_ONE)]) {
            Some(max) => Err(SendRefusal::TooMany { max }),
            None => self.check_bytes(to, bytes),
        }
    }

    /// The same for the bytes of a message alone.
    fn check_bytes(&self, to: MemberId, bytes: usize) -> Result<(), SendRefusal> {
        let to_it = self.waiting.values().filter(|waiting| waiting.to == to);
        let all = bytes + self.waiting.values().map(|waiting| waiting.bytes).sum::<usize>();
        let of_it = bytes + to_it.map(|waiting| waiting.bytes).sum::<usize>();
        // The longest message may have just so many bytes.
        let bytes = [(all, MAX_SEND_BYTES + 1), (of_it, MAX_SEND_BYTES_TO_ONE + 1)];
        match reached(bytes) {
            Some(max) => Err(SendRefusal::TooManyBytes { max_bytes: max - 1 }),
            None => Ok(()),
        }
    }

    /// Ends the messages to a member for which a change of it is the answer.
    pub(crate) fn react(&mut self, ctx: &mut Ctx, transition: &Transition) {
        let id = transition.id();
        let to_it = self.waiting.iter().filter(|(_, waiting)| waiting.to == id);
        let ended = to_it.filter_map(|(&ticket, waiting)| {
            Some((ticket, failure_by(transition, waiting.generation)?))
        });
        for (ticket, failure) in ended.collect::<Vec<_>>() {
            self.end(ctx, ticket, Err(failure));
        }
    }

    /// No answer came in time, unless the message has ended.
    pub(crate) fn expire(&mut self, ctx: &mut Ctx, ticket: Ticket) {
        self.end(ctx, ticket, Err(SendFailure::TimedOut));
    }

    /// Ends a message, if it has not ended.
    pub(crate) fn end(&mut self, ctx: &mut Ctx, ticket: Ticket, result: Result<(), SendFailure>) {
        if let Some(Waiting { deadline, .. }) = self.waiting.remove(&ticket) {
            ctx.timers.cancel(ctx.now, deadline, Timer::SendDeadline(ticket));
            *ctx.stats.sends.of(result) += 1;
            ctx.output(Output::SendEnded { ticket, result });
        }
    }

    /// Whether a datagram may be sent now; then it counts.
    fn take_datagram(&mut self, now: Instant) -> bool {
        let after = self.datagrams_until.max(now) + DATAGRAM_INTERVAL;
        let may_be_sent = after <= now + DATAGRAM_INTERVAL * MAX_DATAGRAM_BURST;
        if may_be_sent {
            self.datagrams_until = after;
        }
        may_be_sent
    }
}

impl Sender<'_> {
    /// Sends a message reliably, and waits for the answer until then.
    pub(crate) fn send(
        &mut self,
        request: SendRequest,
        deadline: Duration,
    ) -> Result<Ticket, SendRefusal> {
        let (to, generation) = self.addressee(&request)?;
        let (bytes, max_bytes) = (request.body.len(), Message::MAX_SENT_BYTES);
        if bytes > max_bytes {
            return Err(SendRefusal::TooLong { bytes, max_bytes });
        }
        self.own.check_room(to.id, bytes)?;
        self.own.count = self.own.count.wrapping_add(1);
        let ticket = Ticket::new(self.list.me().generation(), self.own.count);
        let deadline = self.ctx.now + deadline;
        self.own.waiting.insert(ticket, Waiting { to: to.id, generation, bytes, deadline });
        self.ctx.timers.set(deadline, Timer::SendDeadline(ticket));
        let body = self.body(Some(ticket), generation, request);
        if self.is_me(to.id) {
            self.handle_send(to, body);
        } else {
            let mut payload = Payload::of(&Part::Send(body));
            // A member that does not list this node yet would drop the message: just after this node joined, for instance.
            payload.push(&self.list.own_entry());
            self.ctx.output(Output::SendMessage { to, ticket, payload: payload.into_bytes() });
        }
        Ok(ticket)
    }

    /// Sends a message that may be lost.
    pub(crate) fn send_datagram(&mut self, request: SendRequest) -> Result<(), SendRefusal> {
        let (to, generation) = self.addressee(&request)?;
        let (bytes, max_bytes) = (request.body.len(), self.max_datagram_body(&request.topic));
        if bytes > max_bytes {
            return Err(SendRefusal::TooLong { bytes, max_bytes });
        }
        if !self.own.take_datagram(self.ctx.now) {
            return Err(SendRefusal::Busy { per_second: MAX_DATAGRAMS_PER_SECOND });
        }
        self.dispatch(to, self.body(None, generation, request));
        Ok(())
    }

    fn dispatch(&mut self, to: Peer, body: SentBody) {
        match self.is_me(to.id) {
            true => self.handle_send(to, body),
            false => self.ctx.send(to, &Part::Send(body)),
        }
    }

    /// The receiver of a message, and the run of its process.
    fn addressee(&self, request: &SendRequest) -> Result<(Peer, Generation), SendRefusal> {
        if self.list.me().state == MemberState::Left {
            return Err(SendRefusal::Departed);
        }
        let member = self.list.get(request.to).ok_or(SendRefusal::NotAMember)?;
        let known = member.generation();
        let generation = request.generation.unwrap_or(known);
        if generation < known {
            return Err(SendRefusal::Restarted);
        }
        // A state in the list that is of an earlier run says nothing of this one.
        let state = Some(member.state).filter(|_| generation == known);
        match state {
            Some(MemberState::Dead) => Err(SendRefusal::Dead),
            Some(MemberState::Left) => Err(SendRefusal::Left),
            Some(MemberState::Alive | MemberState::Suspect) | None => {
                Ok((Peer { id: member.id(), addr: member.addr() }, generation))
            }
        }
    }

    /// The longest body that fits in a datagram. A short one would fit with a byte more.
    fn max_datagram_body(&self, topic: &Topic) -> usize {
        let nobody = SendRequest::new(MemberId([0; 16]), topic.clone(), [0_u8; LONG_BODY]);
        let longest = self.body(None, Generation(u32::MAX), nobody);
        let overhead = Payload::of(&Part::Send(longest)).len() - LONG_BODY;
        self.ctx.params.max_datagram_bytes.saturating_sub(overhead)
    }

    fn body(&self, ticket: Option<Ticket>, to: Generation, request: SendRequest) -> SentBody {
        let SendRequest { topic, body, .. } = request;
        SentBody { ticket, from: self.list.me().generation(), to, topic, body }
    }

    /// A message of another member, or of this one to itself, arrives.
    pub(crate) fn handle_send(&mut self, from: Peer, sent: SentBody) {
        // The application knows its members from the list.
        if self.list.get(from.id).is_none() {
            self.ctx.stats.unknown_senders += 1;
            return;
        }
        let SentBody { ticket, from: generation, to, topic, body } = sent;
        let receipt = ticket.map(|ticket| Receipt { from, ticket });
        if to != self.list.me().generation() {
            self.ctx.stats.messages_of_other_runs += 1;
            receipt.into_iter().for_each(|receipt| self.answer(receipt, Answer::Restarted));
            return;
        }
        let message = Message { from: from.id, generation, topic, body, route: Route::Sent };
        self.ctx.output(Output::Sent { message, receipt });
    }

    /// The application has taken a message, or not.
    pub(crate) fn handle_receipt(&mut self, receipt: Receipt, result: Result<(), NotTaken>) {
        let answer = match result {
            Ok(()) => Answer::Taken,
            Err(NotTaken::QueueFull) => Answer::QueueFull,
            Err(NotTaken::NoReceiver) => Answer::NoReceiver,
        };
        self.answer(receipt, answer);
    }

    fn answer(&mut self, Receipt { from, ticket }: Receipt, answer: Answer) {
        match self.is_me(from.id) {
            true => self.handle_ack(from.id, ticket, answer),
            // By stream: a lost answer would have the sender report a message as failed that was taken.
            false => self.ctx.send_stream(from, Payload::of(&Part::SendAck { ticket, answer })),
        }
    }

    /// A member answers a message.
    pub(crate) fn handle_ack(&mut self, from: MemberId, ticket: Ticket, answer: Answer) {
        if self.own.waiting.get(&ticket).is_none_or(|waiting| waiting.to != from) {
            self.ctx.stats.send_acks_ignored += 1;
            return;
        }
        let result = match answer {
            Answer::Taken => Ok(()),
            Answer::QueueFull => Err(SendFailure::QueueFull),
            Answer::NoReceiver => Err(SendFailure::NoReceiver),
            Answer::Restarted => Err(SendFailure::Restarted),
            Answer::Unknown => Err(SendFailure::Refused),
        };
        self.own.end(self.ctx, ticket, result);
    }

    fn is_me(&self, id: MemberId) -> bool {
        self.list.me().id() == id
    }
}

/// How a change of a member ends a message to this run of it, if it does.
fn failure_by(transition: &Transition, generation: Generation) -> Option<SendFailure> {
    let after = &transition.after;
    if transition.is_forgotten() {
        return Some(SendFailure::Forgotten);
    }
    if after.generation() > generation {
        return Some(SendFailure::Restarted);
    }
    // The end of an earlier run says nothing of this one.
    let state = Some(after.state).filter(|_| after.generation() == generation);
    match state {
        Some(MemberState::Dead) => Some(SendFailure::Dead),
        Some(MemberState::Left) => Some(SendFailure::Left),
        Some(MemberState::Alive | MemberState::Suspect) | None => None,
    }
}

/// The first limit that is reached.
fn reached(limits: [(usize, usize); 2]) -> Option<usize> {
    limits.into_iter().find_map(|(value, max)| (value >= max).then_some(max))
}

/// The most messages that wait for an answer, and of those the most to one member. The transport has room for these and for some
/// that ended before they were sent.
const MAX_SENDS: usize = 1_024;
const MAX_SENDS_TO_ONE: usize = 32;
/// The most bytes of messages that wait for an answer, and of those to one member: the longest message.
const MAX_SEND_BYTES: usize = 4 * Message::MAX_SENT_BYTES;
const MAX_SEND_BYTES_TO_ONE: usize = Message::MAX_SENT_BYTES;
/// How many datagrams applications may send in a second, and at once: they share the buffers of connections with pings, of
/// which the oldest datagram is dropped.
const MAX_DATAGRAMS_PER_SECOND: u32 = 256;
const MAX_DATAGRAM_BURST: u32 = 32;
const DATAGRAM_INTERVAL: Duration =
    Duration::from_nanos(1_000_000_000 / MAX_DATAGRAMS_PER_SECOND as u64);
/// A body whose length is written in as many bytes as that of the longest in a datagram.
const LONG_BODY: usize = 256;

#[cfg(test)]
mod tests;
