//! Refuting: a claim that this node is suspect or dead is answered with a later incarnation of it (SWIM §4.2).

use crate::{
    detect::verdicts::Verdicts,
    member::{
        record::{Record, Statement},
        transition::News,
    },
    step::{Source, Step},
    wire::{Claim, Entry, Part},
};

/// What others claim of this node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Accusation {
    Suspicion,
    Death,
}

impl Verdicts<'_> {
    /// Answers a claim against this node. The member that makes it is told by this node itself: it may be the only one
    /// that this node reaches. A claim about an earlier version was answered before.
    pub(crate) fn refute(&mut self, source: Source, claim: Claim, accusation: Accusation) {
        let now = self.ctx.now;
        let mut mine = self.see.list.me().record.clone();
        if claim.version > mine.version() {
            return;
        }
        if claim.version == mine.version() && !mine.has_left() {
            let (me, eviction) = (mine.id(), self.own_eviction());
            if self.own.failing.holds_off(now, me, eviction) {
                self.ctx.stats.refutations_held += 1;
                return;
            }
            self.ctx.stats.refutations += 1;
            self.ctx.stats.deaths_refuted += u64::from(accusation == Accusation::Death);
            self.own.contacts.record_refuted(now);
            let statement = mine.statement();
            let version = statement.version.next_or_generation();
            mine = Record::sign(Statement { version, ..statement }, &*self.ctx.keys);
            self.ctx.then(Step::Apply { news: News::own(mine.clone()), source: Source::Ourselves });
        }
        if let Source::Gossip(peer) | Source::Welcome(peer) = source
            && self.own.contacts.may_answer(now, peer.id)
        {
            let entry = Entry { state: mine.own_state(), record: mine };
            self.ctx.send(peer, &Part::Entry(entry));
        }
    }
}

#[cfg(test)]
mod tests;
