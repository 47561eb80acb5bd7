//! When texts were known, and what they cost.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use crate::{Cost, machine::millis_between, protocol::Change};

/// Changes or messages, and when they were known.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Spread {
    /// For each change that half of the members knew in time: until they did.
    pub half_ms: Vec<f64>,
    /// For each change that all members knew in time: until the last of them did.
    pub all_ms: Vec<f64>,
    /// How many changes there were.
    pub changes: usize,
    /// The cost of a node meanwhile.
    pub cost: Cost,
}

/// Faults of messages that must not occur, counted at each node.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Faults {
    /// Messages that an application received again.
    pub repeated: u64,
    /// Messages that an application received before an earlier one of the same member.
    pub disordered: u64,
    /// Messages of which an application was informed that it would not receive them.
    pub reported_missing: u64,
}

impl AddAssign for Faults {
    fn add_assign(&mut self, other: Self) {
        self.repeated += other.repeated;
        self.disordered += other.disordered;
        self.reported_missing += other.reported_missing;
    }
}

impl Spread {
    /// Adds a change in a cluster of so many members.
    pub(crate) fn add(&mut self, change: &Change, members: usize) {
        let mut times: Vec<_> =
            change.known.iter().map(|&at| millis_between(change.written, at)).collect();
        times.sort_unstable_by(f64::total_cmp);
        self.changes += 1;
        self.half_ms.extend(times.get(members.div_ceil(2) - 1));
        self.all_ms.extend(times.get(members - 1));
    }

    /// Changes that not all members knew in time.
    pub fn incomplete(&self) -> usize {
        self.changes - self.all_ms.len()
    }

    /// The cost that a change added at a node, beyond the cost while nothing changes.
    pub(crate) fn for_each_change(
        &self,
        idle: &Cost,
        a_second: impl Fn(&Cost) -> Option<f64>,
    ) -> Option<f64> {
        self.cost.for_each(self.changes, idle, a_second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_the_last_of_all_members_and_half_the_middle_one() {
        let mut spread = Spread::default();
        let millis = |times: &[u64]| times.iter().map(|ms| 7 + ms * 1_000_000).collect();
        spread.add(&Change { written: 7, known: millis(&[40, 0, 10, 20]) }, 4);
        spread.add(&Change { written: 7, known: millis(&[30, 0, 5]) }, 4);
        spread.add(&Change { written: 7, known: millis(&[0]) }, 4);
        assert_eq!(
            (spread.half_ms.as_slice(), spread.all_ms.as_slice()),
            (&[10.0, 5.0][..], &[40.0][..])
        );
        assert_eq!((spread.changes, spread.incomplete()), (3, 2));
    }

    #[test]
    fn a_change_costs_what_is_beyond_the_cost_without_any() {
        let cost = |seconds, bytes| Cost { seconds, bytes_per_second: bytes, ..Cost::default() };
        let bytes = |cost: &Cost| cost.bytes_per_second;
        let spread = |bytes| Spread { changes: 5, cost: cost(10.0, bytes), ..Spread::default() };
        let idle = cost(30.0, Some(100.0));
        assert_eq!(spread(Some(150.0)).for_each_change(&idle, bytes), Some(100.0));
        assert_eq!(spread(None).for_each_change(&idle, bytes), None);
        let none = Spread { changes: 0, ..spread(Some(150.0)) };
        assert_eq!(none.for_each_change(&idle, bytes), None);
    }
}
