//! Admission: letting other nodes join, at once or once the application has decided.
//!
//! If the application decides ([`Config::ask_application`](crate::Config::ask_application)), a node is *unadmitted*
//! while it is not in the list, was not asked by this node to admit it, and is not pinged to be accepted on the word
//! of others. Its messages have only two effects: its pings are answered, without news, and its join is put to the
//! application, until it leaves again. News of newcomers from any other node counts: a node that one member has
//! admitted is admitted by all.

use std::collections::BTreeMap;

use crate::{
    Channel, Ctx, Entry, JoinRefusal, MemberId, MemberState, MembershipList, Output, Part, Payload,
    Peer, Record, Step,
    expel::Expulsions,
    join::Joins,
    leave::Departure,
    newcomers::Newcomers,
    sync::budget::{ListBudget, fill_page, max_page_bytes},
};

/// The nodes that the application has yet to decide on; at most [`MAX_UNDECIDED`].
#[derive(Debug, Default)]
pub(crate) struct Undecided(BTreeMap<MemberId, Applicant>);

/// A node that asked to be admitted.
#[derive(Debug)]
struct Applicant {
    peer: Peer,
    record: Record,
}

/// The rules of admission, with what they work on.
pub(crate) struct Admission<'a> {
    pub(crate) ctx: &'a mut Ctx,
    pub(crate) list: &'a MembershipList,
    pub(crate) joins: &'a Joins,
    pub(crate) departure: &'a Departure,
    pub(crate) newcomers: &'a Newcomers,
    pub(crate) expulsions: &'a Expulsions,
    pub(crate) budget: &'a mut ListBudget,
    pub(crate) own: &'a mut Undecided,
}

impl Admission<'_> {
    /// Whether the application has yet to decide on this node.
    pub(crate) fn is_unadmitted(&self, id: MemberId) -> bool {
        // One that is pinged before it is taken in was admitted by another member, and has to be heard.
        self.ctx.params.ask_application
            && self.list.get(id).is_none()
            && !self.joins.is_asked(id)
            && !self.newcomers.is_waiting(id)
    }

    /// An unadmitted node sends something other than a join: nothing of it is believed, and no news is sent in return.
    pub(crate) fn handle_unadmitted(&mut self, from: Peer, channel: Channel, part: &Part) {
        match part {
            // The member that admitted it may only not have announced it yet.
            Part::Ping(pulse) => {
                self.ctx.stats.unknown_senders += 1;
                self.ctx.then(Step::AckOnly { to: from, channel, sequence: pulse.sequence });
            }
            // It would not be there any more when the application has decided.
            Part::Leave { sequence } if self.own.0.remove(&from.id).is_some() => {
                self.ctx.send(from, &Part::LeaveAck { sequence: *sequence });
            }
            _ => self.ctx.stats.unadmitted_parts += 1,
        }
    }

    /// A node asks to be admitted, with all that came beside that. Returns whether what came is to be handled, and the
    /// join to be answered, at once.
    pub(crate) fn handle_join(&mut self, from: Peer, parts: &[Part]) -> bool {
        let now = self.ctx.now;
        if self.departure.is_under_way() {
            self.refuse(from, JoinRefusal::Leaving);
            return false;
        }
        if !self.budget.has_room(now) {
            self.ctx.stats.joins_busy += 1;
            self.refuse(from, JoinRefusal::Busy);
            return false;
        }
        self.budget.spend(now, MIN_COST_BYTES);
        if !self.is_unadmitted(from.id) {
            return true;
        }
        match record_of(from.id, parts) {
            Some(record) => self.ask_application(from, record),
            None => self.refuse(from, JoinRefusal::NotUnderstood),
        }
        false
    }

    /// Asks the application about a node, unless it cannot be admitted anyway.
    fn ask_application(&mut self, peer: Peer, record: &Record) {
        if self.is_full() {
            self.ctx.stats.members_refused += 1;
            return self.refuse(peer, JoinRefusal::Full);
        }
        if !record.is_authentic(&*self.ctx.keys) {
            // An id that is not accepted is refused in the handshake already.
            self.ctx.stats.forged_records += 1;
            return self.refuse(peer, JoinRefusal::NotUnderstood);
        }
        let applicants = &mut self.own.0;
        let known = applicants.get_mut(&peer.id);
        let is_waiting = known.is_some();
        if let Some(known) = known.filter(|known| known.record == *record) {
            // It asks again; one answer will do.
            known.peer = peer;
            return;
        }
        // A later run of a node that is being decided on waits for that.
        if is_waiting || applicants.len() >= MAX_UNDECIDED {
            self.ctx.stats.joins_busy += 1;
            return self.refuse(peer, JoinRefusal::Busy);
        }
        applicants.insert(peer.id, Applicant { peer, record: record.clone() });
        self.ctx.output(Output::Newcomer { from: peer, record: record.clone() });
    }

    /// The application has decided on a node. Returns the record to be handled, and the node to be answered, if it is
    /// admitted. A node that another member has admitted meanwhile is in, whatever was decided here.
    pub(crate) fn decide(
        &mut self,
        id: MemberId,
        decision: Result<(), String>,
    ) -> Option<(Peer, Entry)> {
        let Applicant { peer, record } = self.own.0.remove(&id)?;
        if self.departure.is_under_way() {
            self.refuse(peer, JoinRefusal::Leaving);
            return None;
        }
        if let Err(reason) = decision
            && self.list.get(id).is_none()
        {
            self.ctx.stats.joins_refused += 1;
            self.refuse(peer, JoinRefusal::not_admitted(&reason));
            return None;
        }
        Some((peer, Entry { state: MemberState::Alive, record }))
    }

    /// Admits a node that is in the list by now, and sends it the list: what fits in one page, the rest by comparing.
    pub(crate) fn answer(&mut self, from: Peer) {
        if self.list.get(from.id).is_none() {
            let is_full = self.is_full();
            let refusal = if is_full { JoinRefusal::Full } else { JoinRefusal::NotUnderstood };
            return self.refuse(from, refusal);
        }
        let mut payload = Payload::of(&Part::JoinReply(Ok(())));
        // Before the list, so that the newcomer takes nothing from an expelled member.
        self.expulsions.push_all(&mut payload);
        payload.push(&self.list.own_entry());
        let me = self.list.me().id();
        // A member that nobody here ever received from would stay longer in a new list than in this one.
        let is_told =
            |id| id != me && (self.list.live(id).is_some() || !self.newcomers.is_ghost(id));
        let others = self.list.snapshot().iter().filter(|member| is_told(member.id()));
        fill_page(&mut payload, max_page_bytes(self.ctx, from.id), others);
        self.budget.spend(self.ctx.now, payload.len());
        self.ctx.send_stream(from, payload);
    }

    fn refuse(&mut self, from: Peer, refusal: JoinRefusal) {
        self.ctx.send_stream(from, Payload::of(&Part::JoinReply(Err(refusal))));
    }

    fn is_full(&self) -> bool {
        self.list.snapshot().len() >= self.ctx.params.max_members
    }
}

/// The statement of a node that asks to be admitted.
fn record_of(id: MemberId, parts: &[Part]) -> Option<&Record> {
    parts.iter().find_map(|part| match part {
        Part::Entry(Entry { state: MemberState::Alive, record }) if record.id() == id => {
            Some(record)
        }
        _ => None,
    })
}

/// The least that a request to join is charged: news of it goes to everybody.
const MIN_COST_BYTES: usize = 4 * 1024;
/// How many nodes the application can be deciding on; further ones are asked to come back.
const MAX_UNDECIDED: usize = 64;

#[cfg(test)]
mod tests;
