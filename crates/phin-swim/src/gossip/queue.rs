//! The members of which there is news, and how often each was sent.

use std::collections::BTreeMap;

use crate::MemberId;

/// How often the news of each member was piggybacked; at most [`MAX_UPDATES`] members.
#[derive(Debug, Default)]
pub(crate) struct Queue(BTreeMap<MemberId, u32>);

impl Queue {
    /// There is news of this member, sent to nobody yet. Returns whether other news gave way to it.
    pub(crate) fn insert(&mut self, id: MemberId) -> bool {
        let is_full = self.0.len() >= MAX_UPDATES && !self.0.contains_key(&id);
        if is_full {
            // The update sent most often is the one most likely known everywhere.
            let known_best = self.0.iter().max_by_key(|&(_, sent)| sent).map(|(&id, _)| id);
            known_best.map(|known_best| self.0.remove(&known_best));
        }
        self.0.insert(id, 0);
        is_full
    }

    /// The members of which there is news, those first whose news was sent least often.
    pub(crate) fn in_order(&self) -> Vec<MemberId> {
        let mut queue: Vec<_> = self.0.iter().map(|(&id, &sent)| (sent, id)).collect();
        queue.sort_unstable();
        queue.into_iter().map(|(_, id)| id).collect()
    }

    /// The news of this member was sent once more; enough is so many times.
    pub(crate) fn record_sent(&mut self, id: MemberId, enough: u32) {
        if let Some(sent) = self.0.get_mut(&id) {
            *sent += 1;
            if *sent >= enough {
                self.0.remove(&id);
            }
        }
    }

    /// There is no news of this member any more.
    pub(crate) fn remove(&mut self, id: MemberId) {
        self.0.remove(&id);
    }
}

/// λ log n: how often an update is sent to reach everyone of so many members with high probability (SWIM §4.1).
pub(crate) fn retransmit_limit(multiplier: u8, members: usize) -> u32 {
    u32::from(multiplier) * ceil_log10(members + 1).max(1)
}

/// ⌈log₁₀ n⌉, the same on every platform; `n` is at least 1.
const fn ceil_log10(n: usize) -> u32 {
    match n.checked_sub(1) {
        None | Some(0) => 0,
        Some(below) => below.ilog10() + 1,
    }
}

/// How many members can have news waiting to be piggybacked.
const MAX_UPDATES: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> MemberId {
        MemberId::from_u128(number as u128)
    }

    #[test]
    fn news_sent_least_often_comes_first_until_it_was_sent_often_enough() {
        let mut queue = Queue::default();
        assert!(![1, 2, 3].into_iter().any(|number| queue.insert(id(number))));
        queue.record_sent(id(1), 2);
        assert_eq!(queue.in_order(), [id(2), id(3), id(1)]);
        queue.record_sent(id(1), 2);
        assert_eq!(queue.in_order(), [id(2), id(3)]);
        queue.insert(id(1));
        queue.remove(id(2));
        assert_eq!(queue.in_order(), [id(1), id(3)], "what is new is sent anew");
    }

    #[test]
    fn the_news_sent_most_often_gives_way() {
        let mut queue = Queue::default();
        assert!(!(0..MAX_UPDATES).any(|number| queue.insert(id(number))));
        queue.record_sent(id(7), 9);
        assert!(!queue.insert(id(0)), "there is news of it already");
        assert!(queue.insert(id(MAX_UPDATES)));
        assert!(!queue.in_order().contains(&id(7)));
    }

    #[test]
    fn the_logarithm_rounds_up_at_each_power_of_ten() {
        assert_eq!((ceil_log10(1), ceil_log10(2), ceil_log10(9)), (0, 1, 1));
        for power in 1..=9 {
            let ten = 10_usize.pow(power);
            let around = [ten - 1, ten, ten + 1].map(ceil_log10);
            assert_eq!(around, [power, power, power + 1], "around {ten}");
        }
    }
}
