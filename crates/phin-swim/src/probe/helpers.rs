//! Ping-req: other members are asked to ping one that does not answer (SWIM §3.1), and what they say counts.

use rand::seq::SliceRandom;

use crate::{
    Ctx, Generation, Instant, MemberId, MembershipList, Part, Peer, Sequence, Stats, Timer,
    detect::{clear::LifeSigns, rules::Detect, view::View},
    link::Word,
    probe::pings::{Helped, Ping, Pings},
};

impl Detect<'_> {
    /// Asks others to ping a member: its observers, except those that are silent themselves. If this member's own link to
    /// it is known to fail, any member may help, and the one that reached it last is asked first.
    pub(crate) fn ask_helpers(&mut self, target: MemberId, sequence: Sequence) {
        let helpers = self.choose_helpers(target);
        let needs_proof = self.view().needs_signatures();
        if let Some(ping) = self.senses.pings.get_mut(sequence) {
            ping.record_helpers(helpers.iter().map(|helper| helper.id).collect());
            let patience = self.ctx.params.period;
            self.ctx.timers.set(self.ctx.now + patience, Timer::NackTimeout(sequence));
        }
        for helper in helpers {
            self.ctx.stats.ping_reqs_sent += 1;
            let nonce = needs_proof.then(|| self.own.proofs.ask(self.ctx, helper.id, target));
            self.ctx.send(helper, &Part::PingReq { sequence: Some(sequence), target, nonce });
        }
    }

    fn choose_helpers(&mut self, target: MemberId) -> Vec<Peer> {
        let is_cut_off = self.view().own_failing_link(target).is_some();
        let mut helpers = self.list.rings().observers(target);
        if is_cut_off {
            add_random_members(self.ctx, self.list, &mut helpers);
        }
        helpers.retain(|&id| id != target && may_help(self.view(), id));
        helpers.shuffle(&mut self.ctx.rng);
        let last = self.senses.links.reached_by(target);
        let last = last.filter(|&id| is_cut_off && self.list.is_alive(id));
        last.into_iter().for_each(|last| put_first(&mut helpers, last));
        helpers.truncate(self.ctx.params.indirect_probes.into());
        self.list.peers(helpers)
    }

    /// A helper is there, but could not reach the member either.
    pub(crate) fn handle_nack(&mut self, from: MemberId, sequence: Sequence) {
        let Some(ping) = helped_ping(&mut self.senses.pings, &mut self.ctx.stats, from, sequence)
        else {
            return;
        };
        ping.record_helper_heard(from);
        let target = ping.target;
        self.senses.health.forgive_silent_helper();
        self.escalate(target, None);
    }

    /// Helpers that were asked to ping a member have had time to send at least a nack. If somebody reached the member, it
    /// does not matter any more. If another observer voted that it misses the member too, this member hears well: the
    /// helpers may be as silent as the member, when many are stopped at once. The same holds when most subjects are
    /// silent but others have answered since: then the rule against lone verdicts protects the silent ones.
    pub(crate) fn count_silent_helpers(&mut self, sequence: Sequence) {
        let Some(ping) = self.senses.pings.get_mut(sequence) else {
            return;
        };
        let (target, sent_at) = (ping.target, ping.sent_at);
        let silent = u32::try_from(ping.take_silent_helpers()).unwrap_or(u32::MAX);
        self.ctx.stats.nacks_missed += u64::from(silent);
        let is_confirmed = self.own.cases.votes_of(target).next().is_some();
        let is_answered =
            self.view().is_most_silent() && self.senses.health.last_answer() > sent_at;
        if !is_confirmed && !is_answered {
            self.senses.health.record_silent_helpers(silent);
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
        let ping = helped_ping(&mut self.senses.pings, &mut self.ctx.stats, from, sequence);
        let reached = ping.map(|ping| (ping.target, ping.sent_at));
        if let Some((target, at)) = reached.filter(|&(id, _)| self.list.is_current(id, generation))
        {
            self.hear_of(from, sequence, (target, at));
        }
    }

    /// A helper says that it reached this member. Where votes are to be signed, the signature of the member follows.
    fn hear_of(&mut self, by: MemberId, sequence: Sequence, (target, at): (MemberId, Instant)) {
        let needs_proof = self.needs_proof();
        if needs_proof || self.takes_word(target, Word::of(by)) {
            self.senses.health.forgive_silent_helper();
            self.senses.pings.forgive_helpers(sequence);
            if !needs_proof {
                self.record_reached(target, by, at);
            }
        }
    }

    /// Another member reached this one, which lived at `at`.
    pub(crate) fn record_reached(&mut self, target: MemberId, by: MemberId, at: Instant) {
        self.senses.links.record_reached_by(target, by);
        self.senses.pings.record_lost(&mut self.senses.links, target, at);
        self.record_alive(target, at, by);
    }
}

/// The ping that a member was asked to help with. Answers that nobody waits for are counted.
fn helped_ping<'a>(
    pings: &'a mut Pings,
    stats: &mut Stats,
    helper: MemberId,
    sequence: Sequence,
) -> Option<&'a mut Ping> {
    match pings.helped_by(helper, sequence) {
        Helped::Asked(ping) => return Some(ping),
        Helped::TooLate => stats.late_acks += 1,
        Helped::Unasked => stats.unasked_answers += 1,
    }
    None
}

fn add_random_members(ctx: &mut Ctx, list: &MembershipList, helpers: &mut Vec<MemberId>) {
    helpers.extend((0..RANDOM_HELPERS).filter_map(|_| list.random_other(&mut ctx.rng)));
    helpers.sort_unstable();
    helpers.dedup();
}

/// Puts the helper that reached the member last before the others.
fn put_first(helpers: &mut Vec<MemberId>, last: MemberId) {
    helpers.retain(|&id| id != last);
    helpers.insert(0, last);
}

/// Whether a member may be asked to ping another one: not if it is silent itself.
fn may_help(view: View<'_>, id: MemberId) -> bool {
    id != view.me() && view.list.is_alive(id) && !view.cases.is_silent(id)
}

/// How many random members are candidates to help, beside the observers, where the link to a member is known to fail.
const RANDOM_HELPERS: usize = 8;

#[cfg(test)]
mod tests;
