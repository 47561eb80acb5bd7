//! Leaving, so that those who would miss us know.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    MemberId, MemberState, Output, Peer, Swim,
    member::record::Statement,
    timers::Timer,
    wire::{Part, Payload, Sequence},
};

/// A departure under way.
#[derive(Debug)]
pub(crate) struct Departure {
    sequence: Sequence,
    /// Who has not confirmed yet, and where it was when we began.
    unconfirmed: BTreeMap<MemberId, Peer>,
    asked: usize,
    attempts: u32,
}

impl Swim {
    pub(crate) fn start_leaving(&mut self) -> usize {
        if let Some(departure) = &self.departure {
            return departure.asked;
        }
        let statement = self.list.me().record.statement();
        let Some(version) = statement.version.next() else {
            return 0;
        };
        let id = self.id();
        let rings = self.list.rings();
        let neighbours = rings.subjects(id).into_iter().chain(rings.observers(id));
        let neighbours = neighbours.filter_map(|id| self.peer(id));
        // Who has yet to answer our join may let us in after we have gone.
        let unconfirmed = neighbours.chain(self.joins.asked()).map(|peer| (peer.id, peer));
        let unconfirmed: BTreeMap<_, _> = unconfirmed.collect();
        let asked = unconfirmed.len();
        let sequence = self.pings.next_sequence();
        self.departure = Some(Departure { sequence, unconfirmed, asked, attempts: 0 });
        self.restate(Statement { version, has_left: true, ..statement });
        self.ask_to_confirm();
        asked
    }

    /// Tells every member that has not confirmed, and comes back to it until all have.
    pub(crate) fn ask_to_confirm(&mut self) {
        let now = self.ctx.now;
        let entry = self.entry_of_ourselves();
        let Some(departure) = &mut self.departure else {
            return;
        };
        if departure.unconfirmed.is_empty() || departure.attempts == MAX_LEAVE_ATTEMPTS {
            return;
        }
        departure.attempts += 1;
        let sequence = departure.sequence;
        let retry_at = now + LEAVE_RETRY * departure.attempts;
        for (id, peer) in departure.unconfirmed.clone() {
            let peer = self.peer(id).unwrap_or(peer);
            let mut payload = Payload::of(&Part::Leave { sequence });
            payload.push(&entry);
            self.ctx.send_datagram(peer, payload);
        }
        self.ctx.timers.set(retry_at, Timer::LeaveRetry);
    }

    /// Confirms a departure once it is in our list.
    pub(crate) fn handle_leave(&mut self, from: Peer, sequence: Sequence) {
        if self.list.get(from.id).is_some_and(|member| member.state == MemberState::Left) {
            self.ctx.send(from, &Part::LeaveAck { sequence });
        }
    }

    pub(crate) fn handle_leave_ack(&mut self, from: MemberId, sequence: Sequence) {
        if self.departure.as_ref().is_some_and(|departure| departure.sequence == sequence) {
            self.confirm_departure(from);
        }
    }

    /// This member does not, or no longer, hold us for one of the cluster.
    pub(crate) fn confirm_departure(&mut self, by: MemberId) {
        let departure = self.departure.as_mut();
        if departure.is_some_and(|departure| departure.unconfirmed.remove(&by).is_some()) {
            self.ctx.output(Output::LeaveConfirmed(by));
        }
    }

    pub(crate) fn return_after_leaving(&mut self) {
        self.departure = None;
        let statement = self.list.me().record.statement();
        if let Some(version) = statement.version.next() {
            self.restate(Statement { version, has_left: false, ..statement });
        }
    }
}

/// The wait before members are told again of our departure; longer each time.
const LEAVE_RETRY: Duration = Duration::from_millis(100);
/// How often they are told at most: over about 20 s.
const MAX_LEAVE_ATTEMPTS: u32 = 20;
