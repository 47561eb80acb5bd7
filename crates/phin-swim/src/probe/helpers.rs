//! Ping-req: other members are asked to ping one that does not answer (SWIM §3.1), and what they say counts.

use rand::seq::SliceRandom;

use crate::{
    Generation, MemberId,
    detect::{clear::LifeSigns, rules::Detect},
    probe::pings::Helped,
    timers::Timer,
    wire::{Part, Sequence},
};

impl Detect<'_> {
    /// Asks others to ping a member: its observers, except those that are silent themselves. If this member's own link to
    /// it is known to fail, any member may help, and the one that reached it last is asked first.
    pub(crate) fn ask_helpers(&mut self, target: MemberId, sequence: Sequence) {
        let helpers = self.choose_helpers(target);
        let helpers: Vec<_> = helpers.into_iter().filter_map(|id| self.list.peer(id)).collect();
        if let Some(ping) = self.pings.get_mut(sequence) {
            ping.record_helpers(helpers.iter().map(|helper| helper.id).collect());
            let patience = self.ctx.params.protocol_period;
            self.ctx.timers.set(self.ctx.now + patience, Timer::NackTimeout(sequence));
        }
        for helper in helpers {
            self.ctx.stats.ping_reqs_sent += 1;
            self.ctx.send(helper, &Part::PingReq { sequence, target });
        }
    }

    fn choose_helpers(&mut self, target: MemberId) -> Vec<MemberId> {
        let is_cut_off = self.view().own_failing_link(target).is_some();
        let mut candidates = self.list.rings().observers(target);
        if is_cut_off {
            let rng = &mut self.ctx.rng;
            candidates.extend((0..RANDOM_HELPERS).filter_map(|_| self.list.random_other(rng)));
            candidates.sort_unstable();
            candidates.dedup();
        }
        let view = self.view();
        let may_help = |id| view.list.is_alive(id) && !view.is_silent_to_us(id);
        candidates.retain(|&id| id != view.me() && id != target && may_help(id));
        candidates.shuffle(&mut self.ctx.rng);
        let reached_by = self.links.reached_by(target);
        if let Some(helper) = reached_by.filter(|&id| is_cut_off && self.list.is_alive(id)) {
            candidates.retain(|&id| id != helper);
            candidates.insert(0, helper);
        }
        candidates.truncate(self.ctx.params.indirect_probes.into());
        candidates
    }

    /// A helper is there, but could not reach the member either.
    pub(crate) fn handle_nack(&mut self, from: MemberId, sequence: Sequence) {
        let target = match self.pings.helped_by(from, sequence) {
            Helped::Asked(ping) => {
                ping.record_helper_heard(from);
                ping.target
            }
            Helped::TooLate => return self.ctx.stats.late_acks += 1,
            Helped::Unasked => return self.ctx.stats.unasked_answers += 1,
        };
        self.health.forgive_silent_helper();
        self.escalate(target, None);
    }

    /// Helpers that were asked to ping a member have had time to send at least a nack. If somebody reached the member, it
    /// does not matter any more. If another observer voted that it misses the member too, this member hears well: the
    /// helpers may be as silent as the member, when many are stopped at once. The same holds when most subjects are
    /// silent but others have answered since: then the rule against lone verdicts protects the silent ones.
    pub(crate) fn count_silent_helpers(&mut self, sequence: Sequence) {
        let Some(ping) = self.pings.get(sequence) else {
            return;
        };
        let silent = u32::try_from(ping.silent_helpers()).unwrap_or(u32::MAX);
        self.ctx.stats.nacks_missed += u64::from(silent);
        let is_confirmed = self.own.cases.votes_of(ping.target).next().is_some();
        let is_answered = self.view().is_most_silent() && self.health.last_answer() > ping.sent_at;
        if !is_confirmed && !is_answered {
            self.health.record_silent_helpers(silent);
        }
    }
}

impl LifeSigns<'_> {
    /// A helper reached the member that it was asked about.
    pub(crate) fn handle_indirect_ack(
        &mut self,
        from: MemberId,
        sequence: Sequence,
        generation: Generation,
    ) {
        let (target, sent_at) = match self.pings.helped_by(from, sequence) {
            Helped::Asked(ping) => (ping.target, ping.sent_at),
            Helped::TooLate => return self.ctx.stats.late_acks += 1,
            Helped::Unasked => return self.ctx.stats.unasked_answers += 1,
        };
        if !self.list.is_current(target, generation) || !self.takes_word_of(target, from) {
            return;
        }
        self.health.forgive_silent_helper();
        if let Some(ping) = self.pings.get_mut(sequence) {
            ping.forgive_helpers();
        }
        self.links.record_reached_by(target, from);
        self.pings.record_lost(self.links, target, sent_at);
        let was_open = self.own.cases.is_open(target);
        self.record_alive(target, sent_at);
        if was_open && !self.own.cases.is_open(target) {
            self.ask_to_refute(target);
        }
    }
}

/// How many random members are candidates to help, beside the observers, where the link to a member is known to fail.
const RANDOM_HELPERS: usize = 8;

#[cfg(test)]
mod tests;
