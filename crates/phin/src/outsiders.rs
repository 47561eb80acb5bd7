//! How much work nodes that are not members may cause.
//!
//! A node with the cluster's key can connect without ever joining. A request to join is short, and so is everything else that
//! a node outside the list has to say; so its messages have a budget of bytes here, before they are decoded. One that this
//! node has asked to let it in sends its whole list, and is not limited.

use std::time::Duration;

use phin_swim::{Instant, MemberId};

/// The budgets of all nodes outside the list.
#[derive(Debug)]
pub(crate) struct Outsiders {
    total: Budget,
    /// A budget for each node, the one that sent the latest message last; at most [`MAX_OUTSIDERS`].
    each: Vec<(MemberId, Budget)>,
}

impl Default for Outsiders {
    fn default() -> Self {
        Self { total: Budget::full(TOTAL), each: Vec::new() }
    }
}

impl Outsiders {
    /// Charges a message to its sender, unless that exceeds a budget: then it is to be dropped, and costs nothing.
    pub(crate) fn take(&mut self, from: MemberId, bytes: usize, now: Instant) -> bool {
        let cost = u64::try_from(bytes).unwrap_or(u64::MAX).max(MIN_COST);
        let place = self.each.iter().position(|(known, _)| *known == from);
        let mut own = place.map_or(Budget::full(EACH), |place| self.each.remove(place).1);
        own.refill(EACH, now);
        self.total.refill(TOTAL, now);
        let is_within = own.left >= cost && self.total.left >= cost;
        if is_within {
            own.left -= cost;
            self.total.left -= cost;
        }
        if self.each.len() >= MAX_OUTSIDERS {
            // The node that was silent for the longest time has most of its budget back.
            self.each.remove(0);
        }
        self.each.push((from, own));
        is_within
    }
}

/// How many bytes may come at once, and in each second after that.
#[derive(Clone, Copy, Debug)]
struct Limit {
    burst: u64,
    per_second: u64,
}

#[derive(Clone, Copy, Debug)]
struct Budget {
    left: u64,
    at: Instant,
}

impl Budget {
    const fn full(limit: Limit) -> Self {
        Self { left: limit.burst, at: Instant::START }
    }

    fn refill(&mut self, limit: Limit, now: Instant) {
        let passed = now.saturating_since(self.at).min(Duration::from_secs(60)).as_millis();
        let refilled = u64::try_from(passed).unwrap_or(u64::MAX) * limit.per_second / 1_000;
        // A moment too short for a byte is counted with the next.
        if refilled > 0 {
            *self = Self { left: (self.left + refilled).min(limit.burst), at: now };
        }
    }
}

/// The budget of one node: a thousand requests to join at once.
const EACH: Limit = Limit { burst: 1024 * 1024, per_second: 64 * 1024 };
/// The budget of all together: sixteen thousand newcomers at once, then four thousand in a second.
const TOTAL: Limit = Limit { burst: 16 * 1024 * 1024, per_second: 4 * 1024 * 1024 };
/// The cost of the shortest message.
const MIN_COST: u64 = 1_024;
/// The number of nodes that have a budget: more than can be connected.
const MAX_OUTSIDERS: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u32) -> MemberId {
        MemberId(u128::from(number).to_be_bytes())
    }

    #[test]
    fn one_node_has_a_budget_that_refills_and_takes_none_of_the_others() {
        let mut outsiders = Outsiders::default();
        let start = Instant::START + Duration::from_secs(1);
        let passed = (0..2_000).filter(|_| outsiders.take(id(1), 1, start)).count();
        assert_eq!(passed, 1_024);
        assert!(outsiders.take(id(2), 1, start));
        let later = start + Duration::from_secs(1);
        let passed = (0..2_000).filter(|_| outsiders.take(id(1), 1, later)).count();
        assert_eq!(passed, 64);
        assert!(!outsiders.take(id(3), 1024 * 1024 + 1, later), "longer than all that it may send");
    }

    #[test]
    fn all_together_have_a_budget_and_a_bounded_memory() {
        let mut outsiders = Outsiders::default();
        let start = Instant::START + Duration::from_secs(1);
        let passed = (0..100_000).filter(|&number| outsiders.take(id(number), 1, start)).count();
        assert_eq!(passed, 16 * 1_024);
        assert_eq!(outsiders.each.len(), MAX_OUTSIDERS);
        // A message that is dropped uses up nothing.
        let later = start + Duration::from_millis(1);
        assert!(outsiders.take(id(200_000), 1, later));
    }
}
