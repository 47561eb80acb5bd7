//! Joining through a member, and letting others in: at once, or once the application has said yes.
//!
//! Where the application is asked ([`Config::ask_application`](crate::Config::ask_application)), a *stranger* is who is
//! neither in our list nor asked by us to let us in. What a stranger sends has no effect but two: its pings are
//! answered, without news, and its join is put to the application, until it leaves again. Everybody else's word on newcomers counts: whom one
//! member has admitted, all have.

use std::{collections::BTreeMap, time::Duration};

use rand::RngExt;

use crate::{
    Instant, JoinRefusal, MemberId, MemberState, Output, Peer, Record, Swim,
    step::Channel,
    step::{Source, Step},
    swim::Origin,
    sync::budget::MAX_PAGE_BYTES,
    timers::Timer,
    wire::{Entry, Part, Payload},
};

/// Joins under way, in both directions.
#[derive(Debug, Default)]
pub(crate) struct Joins {
    /// Whom we asked to let us in.
    asked: BTreeMap<MemberId, Asked>,
    /// Newcomers whom the application has yet to decide on; at most [`MAX_UNDECIDED`].
    undecided: BTreeMap<MemberId, Undecided>,
    /// Who is telling us, who were alone, its list, and until when the next page of it counts as such.
    welcome: Option<(MemberId, Instant)>,
}

/// A member that we asked to let us in.
#[derive(Debug)]
struct Asked {
    peer: Peer,
    /// How often it was too busy.
    times_busy: u32,
    /// When we ask it again; any other timer is of an earlier request.
    again_at: Option<Instant>,
}

#[derive(Debug)]
struct Undecided {
    peer: Peer,
    record: Record,
}

impl Joins {
    /// Whom we asked to let us in, and who has not answered.
    pub(crate) fn asked(&self) -> impl Iterator<Item = Peer> {
        self.asked.values().map(|asked| asked.peer)
    }

    /// The member cannot be reached: its answer will not come.
    pub(crate) fn give_up(&mut self, through: MemberId) {
        self.asked.remove(&through);
    }
}

impl Swim {
    pub(crate) fn ask_to_join(&mut self, through: Peer) {
        self.departure.undo(&mut self.ctx, &self.list);
        self.run();
        self.joins.asked.insert(through.id, Asked { peer: through, times_busy: 0, again_at: None });
        self.send_join(through);
    }

    /// A member was too busy to let us in when we asked.
    pub(crate) fn ask_again_to_join(&mut self, through: MemberId) {
        let now = self.ctx.now;
        let asked = self.joins.asked.get_mut(&through);
        if let Some(asked) = asked.filter(|asked| asked.again_at.is_some_and(|at| at <= now)) {
            asked.again_at = None;
            let peer = asked.peer;
            match self.departure.is_under_way() {
                false => self.send_join(peer),
                true => self.end_join(through, Err(JoinRefusal::Busy)),
            }
        }
    }

    fn end_join(&mut self, through: MemberId, result: Result<(), JoinRefusal>) {
        self.joins.asked.remove(&through);
        if result.is_err() {
            // Who did not let us in does not miss us.
            self.ctx.then(Step::ConfirmDeparture(through));
        }
        self.ctx.output(Output::JoinEnded { through, result });
    }

    fn send_join(&mut self, through: Peer) {
        let mut payload = Payload::of(&Part::Join);
        payload.push(&self.entry_of_ourselves());
        self.ctx.send_stream(through, payload);
    }

    /// Whether the application has yet to decide on this peer.
    pub(crate) fn is_stranger(&self, id: MemberId) -> bool {
        self.ctx.params.ask_application
            && self.list.get(id).is_none()
            && !self.joins.asked.contains_key(&id)
    }

    /// What a stranger sends: nothing of it is believed, and nothing told in return.
    pub(crate) fn handle_stranger(&mut self, from: Peer, channel: Channel, parts: Vec<Part>) {
        for part in parts {
            if let Part::Leave { sequence } = part
                && self.joins.undecided.remove(&from.id).is_some()
            {
                // It would not be there any more when the application has decided.
                self.ctx.send(from, &Part::LeaveAck { sequence });
                continue;
            }
            let Part::Ping(pulse) = part else {
                self.ctx.stats.stranger_parts += 1;
                continue;
            };
            // Whoever let it in may only not have told us yet.
            self.ctx.stats.unknown_senders += 1;
            let ack = self.probe(|probe| Part::Ack(probe.pulse(pulse.sequence)));
            match channel {
                Channel::Datagram => self.ctx.send(from, &ack),
                Channel::Stream => self.ctx.send_stream(from, Payload::of(&ack)),
            }
        }
    }

    /// A request to be let in, with all that came beside it.
    pub(crate) fn handle_join(&mut self, origin: Origin, parts: Vec<Part>) {
        let now = self.ctx.now;
        let from = origin.peer;
        if self.departure.is_under_way() {
            return self.refuse(from, JoinRefusal::Leaving);
        }
        if !self.budget.has_room(now) {
            self.ctx.stats.joins_busy += 1;
            return self.refuse(from, JoinRefusal::Busy);
        }
        self.budget.spend(now, MIN_COST_BYTES);
        let rest = parts.into_iter().filter(|part| !matches!(part, Part::Join));
        if !self.is_stranger(from.id) {
            rest.for_each(|part| self.handle_part(origin, part));
            return self.answer_join(from);
        }
        let mut records = rest.filter_map(|part| match part {
            Part::Entry(Entry { state: MemberState::Alive, record }) if record.id() == from.id => {
                Some(record)
            }
            _ => None,
        });
        match records.next() {
            Some(record) => self.ask_application(from, record),
            None => self.refuse(from, JoinRefusal::NotUnderstood),
        }
    }

    /// Puts a newcomer to the application, unless it is told at once that it cannot be let in.
    fn ask_application(&mut self, peer: Peer, record: Record) {
        if self.list.snapshot().len() >= self.ctx.params.max_members {
            self.ctx.stats.members_refused += 1;
            return self.refuse(peer, JoinRefusal::Full);
        }
        if !record.is_authentic(&*self.ctx.keys) {
            self.ctx.stats.forged_records += 1;
            return self.refuse(peer, JoinRefusal::NotUnderstood);
        }
        if let Some(known) = self.joins.undecided.get_mut(&peer.id)
            && known.record == record
        {
            // It asks again; one answer will do.
            known.peer = peer;
            return;
        }
        // A later run of one that is being decided on waits for that.
        let is_waiting = self.joins.undecided.contains_key(&peer.id);
        if is_waiting || self.joins.undecided.len() >= MAX_UNDECIDED {
            self.ctx.stats.joins_busy += 1;
            return self.refuse(peer, JoinRefusal::Busy);
        }
        self.ctx.output(Output::Newcomer { from: peer, record: record.clone() });
        self.joins.undecided.insert(peer.id, Undecided { peer, record });
    }

    /// The application has decided. One whom another member has admitted meanwhile is in, whatever was said here.
    pub(crate) fn decided(&mut self, id: MemberId, decision: Result<(), String>) {
        let Some(Undecided { peer, record }) = self.joins.undecided.remove(&id) else {
            return;
        };
        if self.departure.is_under_way() {
            return self.refuse(peer, JoinRefusal::Leaving);
        }
        if let Err(reason) = decision
            && self.list.get(id).is_none()
        {
            self.ctx.stats.joins_refused += 1;
            return self.refuse(peer, JoinRefusal::not_admitted(&reason));
        }
        let state = MemberState::Alive;
        self.handle_entry(Source::Gossip(peer), Entry { state, record });
        self.answer_join(peer);
    }

    /// Lets in whoever is in our list by now, and tells it the list: what goes into one page, the rest by comparing.
    fn answer_join(&mut self, from: Peer) {
        if self.list.get(from.id).is_none() {
            let is_full = self.list.snapshot().len() >= self.ctx.params.max_members;
            let refusal = if is_full { JoinRefusal::Full } else { JoinRefusal::NotUnderstood };
            return self.refuse(from, refusal);
        }
        let mut payload = Payload::of(&Part::JoinReply(Ok(())));
        payload.push(&self.entry_of_ourselves());
        let me = self.id();
        for member in self.list.snapshot().iter().filter(|member| member.id() != me) {
            let (state, record) = (member.state, member.record().clone());
            if !payload.push_within(&Part::Entry(Entry { state, record }), MAX_PAGE_BYTES) {
                break;
            }
        }
        self.budget.spend(self.ctx.now, payload.len());
        self.ctx.send_stream(from, payload);
    }

    fn refuse(&mut self, from: Peer, refusal: JoinRefusal) {
        self.ctx.send_stream(from, Payload::of(&Part::JoinReply(Err(refusal))));
    }

    /// The answer to our join; the page of the list that came with it has been taken already.
    pub(crate) fn handle_join_reply(&mut self, origin: Origin, result: Result<(), JoinRefusal>) {
        let now = self.ctx.now;
        let from = origin.peer;
        let Some(asked) = self.joins.asked.get_mut(&from.id) else {
            self.ctx.stats.misdirected_messages += 1;
            return;
        };
        if result == Err(JoinRefusal::Busy) && asked.times_busy < MAX_TIMES_BUSY {
            asked.times_busy += 1;
            let wait = BUSY_DELAY * asked.times_busy.min(10);
            let again_at = now + wait.mul_f64(self.ctx.rng.random_range(0.5..1.5));
            asked.again_at = Some(again_at);
            self.ctx.timers.set(again_at, Timer::JoinRetry(from.id));
            return;
        }
        let is_admitted = result.is_ok();
        self.end_join(from.id, result);
        if is_admitted {
            if matches!(origin.source, Source::Welcome(_)) {
                self.joins.welcome = Some((from.id, now + WELCOME_TIMEOUT));
            }
            // What only we knew, the other side learns by comparing, and we what did not go into the page.
            self.ctx.then(Step::Exchange(from));
        }
    }

    /// Whether what this member sends by stream is a further page of the list that it welcomes us with.
    pub(crate) fn is_welcomed_by(&self, now: Instant, from: MemberId) -> bool {
        self.joins.welcome.is_some_and(|(by, until)| by == from && now < until)
    }

    /// A page of the list of a member has been compared with ours; says whether it left something to ask for.
    pub(crate) fn turn_page(&mut self, of: MemberId, is_last: bool) {
        let now = self.ctx.now;
        if self.is_welcomed_by(now, of) {
            self.joins.welcome = (!is_last).then(|| (of, now + WELCOME_TIMEOUT));
        }
    }
}

/// What a request to join is charged at least: it is news to tell everybody.
const MIN_COST_BYTES: usize = 4 * 1024;
/// How many newcomers the application can be deciding on; further ones are told to come back.
const MAX_UNDECIDED: usize = 64;
/// The first wait after a member was too busy; longer each time, up to ten times.
const BUSY_DELAY: Duration = Duration::from_millis(100);
/// How often we come back to a busy member: over some 8 s.
const MAX_TIMES_BUSY: u32 = 12;
/// How long the next page of a list may take.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
