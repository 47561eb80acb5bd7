//! Leaving, so that those who would miss us know.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    Instant, MemberId, MemberState, Output, Peer, Swim,
    record::Statement,
    swim::Timer,
    wire::{Part, Payload, Sequence},
};

/// A departure under way.
#[derive(Debug)]
pub(crate) struct Departure {
    sequence: Sequence,
    /// Who has not confirmed yet.
    unconfirmed: BTreeSet<MemberId>,
    asked: usize,
    attempts: u32,
}

impl Swim {
    pub(crate) fn start_leaving(&mut self, now: Instant) -> usize {
        if let Some(departure) = &self.departure {
            return departure.asked;
        }
        let statement = self.list.me().record.statement();
        let Some(version) = statement.version.next() else {
            return 0;
        };
        let id = self.id();
        let mut unconfirmed: BTreeSet<_> = self.list.rings().subjects(id).into_iter().collect();
        unconfirmed.extend(self.list.rings().observers(id));
        let asked = unconfirmed.len();
        let sequence = self.probes.next_sequence();
        self.departure = Some(Departure { sequence, unconfirmed, asked, attempts: 0 });
        self.restate(now, Statement { version, has_left: true, ..statement });
        self.ask_to_confirm(now);
        asked
    }

    /// Tells every member that has not confirmed, and comes back to it until all have.
    pub(crate) fn ask_to_confirm(&mut self, now: Instant) {
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
        let unconfirmed: Vec<_> = departure.unconfirmed.iter().copied().collect();
        for peer in unconfirmed {
            let Some(peer) = self.peer(peer) else {
                continue;
            };
            let mut payload = Payload::of(&Part::Leave { sequence });
            payload.push(&entry);
            self.send_datagram(peer, payload);
        }
        self.timers.set(retry_at, Timer::LeaveRetry);
    }

    /// Confirms a departure once it is in our list.
    pub(crate) fn handle_leave(&mut self, from: Peer, sequence: Sequence) {
        if self.list.get(from.id).is_some_and(|member| member.state == MemberState::Left) {
            self.send(from, &Part::LeaveAck { sequence });
        }
    }

    pub(crate) fn handle_leave_ack(&mut self, from: MemberId, sequence: Sequence) {
        let Some(departure) = &mut self.departure else {
            return;
        };
        if departure.sequence == sequence && departure.unconfirmed.remove(&from) {
            self.output(Output::LeaveConfirmed(from));
        }
    }

    pub(crate) fn return_after_leaving(&mut self, now: Instant) {
        self.departure = None;
        let statement = self.list.me().record.statement();
        if let Some(version) = statement.version.next() {
            self.restate(now, Statement { version, has_left: false, ..statement });
        }
    }
}

/// The wait before members are told again of our departure; longer each time.
const LEAVE_RETRY: Duration = Duration::from_millis(100);
/// How often they are told at most: over about 20 s.
const MAX_LEAVE_ATTEMPTS: u32 = 20;
