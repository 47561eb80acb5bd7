//! Whether our list agrees with those of the members we exchange pings with, by the fingerprints that rode on them.

use std::{collections::BTreeMap, time::Duration};

use crate::{Fingerprint, Instant, MemberId, MemberState, Swim};

/// The fingerprint that each member said last, as far as it may still count; at most [`MAX_WORDS`].
#[derive(Debug, Default)]
pub(crate) struct Convergence(BTreeMap<MemberId, Word>);

/// A fingerprint heard on a ping or an ack.
#[derive(Clone, Copy, Debug)]
struct Word {
    theirs: Fingerprint,
    /// Our own at that moment: what others said of an earlier list of ours does not count.
    ours: Fingerprint,
    heard_at: Instant,
}

impl Swim {
    /// Whether the members that this one exchanges pings with hold the same live members in the same versions: of all
    /// from whom a ping or an ack came since our own list last changed, but in the last two periods, each one's last
    /// fingerprint is ours, and there is at least one. So it is false from each change until it is known to be shared,
    /// and where nobody is heard. A member alone in its list is converged, one that has left is not.
    pub fn is_converged(&self, now: Instant) -> bool {
        if self.list.me().state() == MemberState::Left {
            return false;
        }
        let ours = self.fingerprint();
        let max_age = self.max_word_age();
        let mut counted =
            self.convergence.0.values().filter(|word| word.counts(now, ours, max_age)).peekable();
        let is_alone = self.list.snapshot().live_len() == 1;
        is_alone || (counted.peek().is_some() && counted.all(|word| word.theirs == ours))
    }

    /// A live member's list had this fingerprint when it sent what has just arrived.
    pub(crate) fn hear_fingerprint(&mut self, from: MemberId, theirs: Fingerprint) {
        let now = self.ctx.now;
        if !self.list.get(from).is_some_and(|member| member.state().is_live()) {
            return;
        }
        let (ours, max_age) = (self.fingerprint(), self.max_word_age());
        let words = &mut self.convergence.0;
        words.retain(|_, word| word.counts(now, ours, max_age));
        if words.len() >= MAX_WORDS && !words.contains_key(&from) {
            let oldest = words.iter().min_by_key(|(_, word)| word.heard_at).map(|(&id, _)| id);
            oldest.map(|oldest| words.remove(&oldest));
        }
        words.insert(from, Word { theirs, ours, heard_at: now });
    }

    fn max_word_age(&self) -> Duration {
        self.rounds.period(&self.ctx.params) * 2
    }
}

impl Word {
    fn counts(&self, now: Instant, ours: Fingerprint, max_age: Duration) -> bool {
        self.ours == ours && now - self.heard_at <= max_age
    }
}

/// How many members' fingerprints are kept: many times what two periods bring. The oldest gives way.
const MAX_WORDS: usize = 64;
