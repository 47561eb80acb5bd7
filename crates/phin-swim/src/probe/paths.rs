//! Pings for an operator: each path to a member is tried once, all at the same moment, and timed.
//!
//! They stand beside the detector. No round plans them and no case counts them, so a missing answer is no evidence here. An
//! answer of the member itself is a sign of life, as any message of it is. A helper treats its part as any ping-req.

use std::{collections::BTreeMap, fmt, time::Duration};

use crate::{
    Ctx, Instant, MemberId, MembershipList, Output, Part, Payload, Peer, Sequence, Step, Timer,
    Unreachable,
    limit::{Rate, Tokens},
    probe::prober::Prober,
};

/// Names a ping of all paths of this node ([`Operating::ping`](crate::Operating::ping)).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PingId(pub u64);

/// A path to a member.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum PingPath {
    /// A datagram to the member itself, as the detector sends.
    Datagram,
    /// A stream to the member itself: it arrives where datagrams are lost.
    Stream,
    /// A datagram to this other member, which pings the member in turn.
    Helper(MemberId),
}

/// The outcome of a ping by one path.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum PingOutcome {
    /// The member answered. The time is that of the whole way and back, with the handshake if there was no connection.
    Answered(Duration),
    /// The helper answered that it did not reach the member.
    NotReached,
    /// No connection could be made: to the member, or to the helper.
    Unreachable(Unreachable),
    /// Nothing came in time. A helper that was asked too much lately does not answer either.
    TimedOut,
}

/// A path, and the outcome of a ping by it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct PathPing {
    /// The path.
    pub path: PingPath,
    /// Whether there was a connection to the first member on it, so that the time has no handshake.
    pub is_connected: bool,
    /// The outcome.
    pub outcome: PingOutcome,
}

/// A ping that has begun.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PingStarted {
    /// Its name in [`Output::Pinged`].
    pub id: PingId,
    /// The member, whose host can be asked; `None` if hosts are not to be asked ([`Config::ask_hosts`](crate::Config::ask_hosts)).
    /// The answer is no input of the core.
    pub host: Option<Peer>,
}

/// Why a ping did not begin.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PingRefusal {
    /// The member is not in the list.
    #[error("this member is not known")]
    Unknown,
    /// The member is this node.
    #[error("a node does not ping itself")]
    Myself,
    /// The timeout is too short or too long.
    #[error("the timeout of a ping is {MIN_TIMEOUT:?} to {MAX_TIMEOUT:?}")]
    Timeout,
    /// This node pinged for operators too often just now. Helpers answer only so often, and the detector needs them too.
    #[error("this node pings {AT_ONCE} times at once for operators, and then once a second")]
    TooMany,
}

/// The pings for operators that are under way, at most [`MAX_PINGS`].
#[derive(Debug)]
pub(crate) struct PathPings {
    last: u64,
    pings: BTreeMap<PingId, Under>,
    budget: Tokens,
}

/// A ping under way.
#[derive(Debug)]
struct Under {
    member: MemberId,
    sent_at: Instant,
    ends_at: Instant,
    tries: Vec<Try>,
}

/// A path, and what came of it so far.
#[derive(Debug)]
struct Try {
    sequence: Sequence,
    path: PingPath,
    is_connected: bool,
    outcome: Option<PingOutcome>,
}

/// An answer on a path.
#[derive(Debug)]
struct Answer {
    sequence: Sequence,
    /// Whether the member itself sends it, rather than a helper.
    is_direct: bool,
    is_reached: bool,
}

impl Answer {
    fn of(part: &Part) -> Option<Self> {
        let (sequence, is_direct, is_reached) = if let Part::Ack(pulse) = part {
            (pulse.sequence, true, true)
        } else if let Part::IndirectAck { sequence, .. } = part {
            (*sequence, false, true)
        } else if let Part::Nack { sequence } = part {
            (*sequence, false, false)
        } else {
            return None;
        };
        Some(Self { sequence, is_direct, is_reached })
    }

    const fn result(&self, after: Duration) -> PingOutcome {
        if self.is_reached { PingOutcome::Answered(after) } else { PingOutcome::NotReached }
    }
}

impl Try {
    /// The member that this node sends to, on the way to `target`.
    const fn first(&self, target: MemberId) -> MemberId {
        match self.path {
            PingPath::Datagram | PingPath::Stream => target,
            PingPath::Helper(helper) => helper,
        }
    }

    fn is_answer(&self, target: MemberId, from: MemberId, answer: &Answer) -> bool {
        let is_direct = !matches!(self.path, PingPath::Helper(_));
        let is_on_path = self.first(target) == from && is_direct == answer.is_direct;
        is_on_path && self.sequence == answer.sequence
    }

    /// A helper that gave up may still reach the member; an answer is not taken back.
    const fn record(&mut self, outcome: PingOutcome) {
        if !matches!(self.outcome, Some(PingOutcome::Answered(_))) {
            self.outcome = Some(outcome);
        }
    }
}

impl PathPings {
    pub(crate) const fn new(now: Instant) -> Self {
        Self { last: 0, pings: BTreeMap::new(), budget: Tokens::full(now, RATE) }
    }

    /// Counts one more, if there may be one.
    fn admit(&mut self, ctx: &mut Ctx) -> Result<(), PingRefusal> {
        let left = self.budget.left(ctx.now, RATE);
        if self.pings.len() >= MAX_PINGS || *left < 1.0 {
            ctx.stats.operator_pings_refused += 1;
            return Err(PingRefusal::TooMany);
        }
        *left -= 1.0;
        Ok(())
    }

    /// Takes what answers one of these pings. Returns whether it does.
    pub(crate) fn take_answer(&mut self, ctx: &mut Ctx, from: MemberId, part: &Part) -> bool {
        let Some(answer) = Answer::of(part) else {
            return false;
        };
        let Some((id, sent_at, tried)) = self.find(from, &answer) else {
            return false;
        };
        tried.record(answer.result(ctx.now - sent_at));
        // An ack shows life when its ping was sent; a helper speaks now.
        let at = if answer.is_direct { sent_at } else { ctx.now };
        ctx.then(Step::Heard { id: from, at });
        self.end_if_complete(ctx, id);
        true
    }

    /// The path that this member answers, of a ping that began at that moment.
    fn find(&mut self, from: MemberId, answer: &Answer) -> Option<(PingId, Instant, &mut Try)> {
        self.pings.iter_mut().find_map(|(&id, ping)| {
            let (member, sent_at) = (ping.member, ping.sent_at);
            let tried = ping.tries.iter_mut().find(|tried| tried.is_answer(member, from, answer));
            Some((id, sent_at, tried?))
        })
    }

    /// No connection could be made to this member.
    pub(crate) fn record_unreachable(&mut self, ctx: &mut Ctx, id: MemberId, why: Unreachable) {
        for ping in self.pings.values_mut() {
            let member = ping.member;
            let waiting = ping.tries.iter_mut().filter(|tried| tried.outcome.is_none());
            for tried in waiting.filter(|tried| tried.first(member) == id) {
                tried.outcome = Some(PingOutcome::Unreachable(why));
            }
        }
        let ids: Vec<_> = self.pings.keys().copied().collect();
        ids.into_iter().for_each(|id| self.end_if_complete(ctx, id));
    }

    fn end_if_complete(&mut self, ctx: &mut Ctx, id: PingId) {
        let is_complete = |ping: &Under| ping.tries.iter().all(|tried| tried.outcome.is_some());
        if let Some(ping) = self.pings.get(&id).filter(|ping| is_complete(ping)) {
            ctx.timers.cancel(ctx.now, ping.ends_at, Timer::PingEnd(id));
            self.end(ctx, id);
        }
    }

    /// The ping is over: what has not come yet comes too late.
    pub(crate) fn end(&mut self, ctx: &mut Ctx, id: PingId) {
        let Some(ping) = self.pings.remove(&id) else {
            return;
        };
        let paths = ping.tries.into_iter().map(|tried| PathPing {
            path: tried.path,
            is_connected: tried.is_connected,
            outcome: tried.outcome.unwrap_or(PingOutcome::TimedOut),
        });
        ctx.output(Output::Pinged { id, paths: paths.collect() });
    }
}

/// Pings a member by all paths.
pub(crate) fn ping_all(
    prober: &mut Prober<'_>,
    own: &mut PathPings,
    member: MemberId,
    timeout: Duration,
) -> Result<PingStarted, PingRefusal> {
    let to = addressee(prober.list, member, timeout)?;
    own.admit(prober.ctx)?;
    let (now, mut tries) = (prober.ctx.now, Vec::new());
    tries.push(ping_directly(prober, to, PingPath::Datagram));
    tries.push(ping_directly(prober, to, PingPath::Stream));
    let helpers = choose_helpers(prober.ctx, prober.list, member);
    tries.extend(helpers.into_iter().map(|helper| ask_helper(prober, helper, member)));
    own.last += 1;
    let (id, ends_at) = (PingId(own.last), now + timeout);
    own.pings.insert(id, Under { member, sent_at: now, ends_at, tries });
    prober.ctx.timers.set(ends_at, Timer::PingEnd(id));
    prober.ctx.stats.operator_pings += 1;
    let host = prober.ctx.params.ask_hosts.then_some(to);
    Ok(PingStarted { id, host })
}

fn addressee(
    list: &MembershipList,
    member: MemberId,
    timeout: Duration,
) -> Result<Peer, PingRefusal> {
    if !(MIN_TIMEOUT..=MAX_TIMEOUT).contains(&timeout) {
        return Err(PingRefusal::Timeout);
    }
    let to = list.peer(member).ok_or(PingRefusal::Unknown)?;
    let is_me = member == list.me().id();
    if is_me { Err(PingRefusal::Myself) } else { Ok(to) }
}

fn ping_directly(prober: &mut Prober<'_>, to: Peer, path: PingPath) -> Try {
    let sequence = prober.senses.pings.next_sequence();
    let is_connected = prober.senses.links.is_connected(to.id);
    let payload = Payload::of(&Part::Ping(prober.pulse(sequence)));
    match path {
        PingPath::Stream => prober.ctx.send_stream(to, payload),
        PingPath::Datagram | PingPath::Helper(_) => prober.ctx.send_datagram(to, payload),
    }
    Try { sequence, path, is_connected, outcome: None }
}

fn ask_helper(prober: &mut Prober<'_>, helper: Peer, target: MemberId) -> Try {
    let sequence = prober.senses.pings.next_sequence();
    let is_connected = prober.senses.links.is_connected(helper.id);
    prober.ctx.stats.ping_reqs_sent += 1;
    prober.ctx.send(helper, &Part::PingReq { sequence: Some(sequence), target, nonce: None });
    Try { sequence, path: PingPath::Helper(helper.id), is_connected, outcome: None }
}

/// The members that observe this one, and then random ones.
fn choose_helpers(ctx: &mut Ctx, list: &MembershipList, target: MemberId) -> Vec<Peer> {
    let random = (0..CANDIDATES).filter_map(|_| list.random_other(&mut ctx.rng));
    let candidates = list.rings().observers(target).into_iter().chain(random);
    let mut helpers: Vec<MemberId> = Vec::new();
    for id in candidates {
        let may_help = id != target && id != list.me().id() && list.is_alive(id);
        if may_help && helpers.len() < MAX_HELPERS && !helpers.contains(&id) {
            helpers.push(id);
        }
    }
    list.peers(helpers)
}

impl PingOutcome {
    /// The outcome's name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Answered(_) => "ok",
            Self::NotReached => "not-reached",
            Self::Unreachable(Unreachable::NoAnswer) => "no-connection",
            Self::Unreachable(Unreachable::Refused) => "port-refused",
            Self::Unreachable(Unreachable::OtherIdentity) => "other-member",
            Self::Unreachable(Unreachable::NotAdmitted) => "handshake-refused",
            Self::TimedOut => "timeout",
        }
    }
}

impl fmt::Display for PingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How many may be under way.
const MAX_PINGS: usize = 8;
/// How many other members are asked to ping the member.
const MAX_HELPERS: usize = 8;
/// How many random members are looked at to find helpers.
const CANDIDATES: usize = 4 * MAX_HELPERS;
const AT_ONCE: u32 = 4;
/// Helpers ping 32 times at once, and then 4 times a second, for one member: most of that is for the detector.
const RATE: Rate = Rate { at_once: AT_ONCE as f64, per_second: 1.0 };
pub(crate) const MIN_TIMEOUT: Duration = Duration::from_millis(10);
pub(crate) const MAX_TIMEOUT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
