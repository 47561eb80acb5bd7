//! Whether our list agrees with those of the members we exchange pings with, by the fingerprints that rode on them.

use std::{collections::BTreeMap, time::Duration};

use crate::{Fingerprint, Instant, MemberId, limit::make_room};

/// The fingerprint that each member said last, as far as it may still count; at most [`MAX_WORDS`].
#[derive(Debug, Default)]
pub(crate) struct Convergence(BTreeMap<MemberId, Word>);

/// A fingerprint heard on a ping or an ack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Word {
    pub(crate) theirs: Fingerprint,
    /// Our own at that moment: what others said of an earlier list of ours does not count.
    pub(crate) ours: Fingerprint,
    pub(crate) heard_at: Instant,
}

impl Convergence {
    /// Whether each of these fingerprints that counts is this node's own, and there is at least one.
    pub(crate) fn is_shared(&self, now: Instant, ours: Fingerprint, max_age: Duration) -> bool {
        let counts = |word: &&Word| word.counts(now, ours, max_age);
        let mut counted = self.0.values().filter(counts).peekable();
        counted.peek().is_some() && counted.all(|word| word.theirs == ours)
    }

    /// A live member's list had this fingerprint when it sent what has just arrived.
    pub(crate) fn hear(&mut self, from: MemberId, word: Word, max_age: Duration) {
        let (now, ours) = (word.heard_at, word.ours);
        self.0.retain(|_, word| word.counts(now, ours, max_age));
        make_room(&mut self.0, from, MAX_WORDS, |word| word.heard_at);
        self.0.insert(from, word);
    }
}

/// For how long a fingerprint counts, in periods of this length.
pub(crate) fn max_age(period: Duration) -> Duration {
    period * 2
}

impl Word {
    fn counts(&self, now: Instant, ours: Fingerprint, max_age: Duration) -> bool {
        self.ours == ours && now - self.heard_at <= max_age
    }
}

/// How many members' fingerprints are kept: many times as many as arrive in two periods. The oldest is dropped.
const MAX_WORDS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_shared_when_every_fingerprint_since_its_last_change_is_its_own() {
        let at = |seconds| Instant::START + Duration::from_secs(seconds);
        let (ours, other) = (Fingerprint(1), Fingerprint(2));
        let two_seconds = max_age(Duration::from_secs(1));
        // Which members said what (theirs, our own at that moment, at which second), and whether the list is shared at 10 s.
        type Said = (u8, Fingerprint, Fingerprint, u64);
        let cases: [(&[Said], bool); 7] = [
            (&[], false),
            (&[(1, ours, ours, 9)], true),
            (&[(1, ours, ours, 7)], false),
            (&[(1, ours, ours, 9), (2, other, ours, 9)], false),
            // It has caught up since.
            (&[(1, other, ours, 8), (1, ours, ours, 9)], true),
            // Statements about an earlier list do not count.
            (&[(1, other, other, 9)], false),
            (&[(1, other, other, 9), (2, ours, ours, 9)], true),
        ];
        for (said, expected) in cases {
            let mut convergence = Convergence::default();
            for &(member, theirs, ours, second) in said {
                let word = Word { theirs, ours, heard_at: at(second) };
                convergence.hear(MemberId([member; 16]), word, two_seconds);
            }
            assert_eq!(convergence.is_shared(at(10), ours, two_seconds), expected, "{said:?}");
        }
    }

    #[test]
    fn the_oldest_fingerprint_gives_way() {
        let mut convergence = Convergence::default();
        for number in 0..=MAX_WORDS as u128 {
            let fingerprint = Fingerprint(1);
            let heard_at = Instant::START + Duration::from_millis(number as u64);
            let word = Word { theirs: fingerprint, ours: fingerprint, heard_at };
            convergence.hear(MemberId::from_u128(number), word, Duration::from_secs(9));
        }
        assert_eq!(convergence.0.len(), MAX_WORDS);
        assert!(!convergence.0.contains_key(&MemberId::from_u128(0)));
    }
}
