//! Refuting: a claim that this node is suspect or dead is answered with a later incarnation of it (SWIM §4.2).

use std::cmp::Ordering;

use crate::{
    Claim, Entry, News, Part, Source,
    detect::verdicts::Verdicts,
    member::record::{Record, Statement},
};

/// A claim of others about this node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Accusation {
    Suspicion,
    Death,
}

impl Verdicts<'_> {
    /// Answers a claim against this node. This node also informs the member that makes it directly: it may be the only
    /// one that this node reaches. A claim about an earlier version was answered before.
    pub(crate) fn refute(&mut self, source: Source, claim: Claim, accusation: Accusation) {
        let mine = self.list.me().record.clone();
        let answer = match claim.version.cmp(&mine.version()) {
            Ordering::Greater => None,
            Ordering::Equal if !mine.has_left() => self.renew(&mine, accusation),
            Ordering::Equal | Ordering::Less => Some(mine),
        };
        if let Some(record) = answer {
            self.answer(source, record);
        }
    }

    fn answer(&mut self, source: Source, record: Record) {
        let (Source::Gossip(peer) | Source::Welcome(peer)) = source else {
            return;
        };
        if self.own.contacts.may_answer(self.ctx.now, peer.id) {
            let entry = Entry { state: record.own_state(), record };
            self.ctx.send(peer, &Part::Entry(entry));
        }
    }

    /// The next version of this node's record, unless the policy has the accusation stand for now.
    fn renew(&mut self, mine: &Record, accusation: Accusation) -> Option<Record> {
        let (now, eviction) = (self.ctx.now, self.own_eviction());
        if self.own.failing.holds_off(now, mine.id(), eviction) {
            self.ctx.stats.refutations_held += 1;
            return None;
        }
        self.ctx.stats.refutations += 1;
        self.ctx.stats.deaths_refuted += u64::from(accusation == Accusation::Death);
        self.own.contacts.record_refuted(now);
        let statement = mine.statement();
        let version = statement.version.next_or_generation();
        let renewed = Record::sign(Statement { version, ..statement }, &*self.ctx.keys);
        self.ctx.apply(News::own(renewed.clone()), Source::Ourselves);
        Some(renewed)
    }
}

#[cfg(test)]
mod tests;
