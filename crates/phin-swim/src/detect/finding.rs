//! [`Finding`]: the flaws that the observers of a member find in it together.
//!
//! One observer may be flawed itself, or its path. So only what most of them find is a flaw of the member, and it remains one
//! until hardly any of them finds it.

use std::{collections::BTreeMap, time::Duration};

use crate::{Flaw, Flaws, Instant, MemberId};

/// The reports on a member that count at one moment.
#[derive(Debug)]
pub(crate) struct Observed {
    /// The observers that find flaws, and those flaws.
    pub(crate) by: BTreeMap<MemberId, Flaws>,
    /// How many of its observers are alive.
    pub(crate) observers: usize,
    /// The flaws of this node that it found by itself.
    pub(crate) own: Flaws,
    /// The flaws that this node states in its record; `None` of another member.
    pub(crate) stated: Option<Flaws>,
}

/// The flaws that are found in a member.
#[derive(Debug, Default)]
pub(crate) struct Finding {
    flaws: Flaws,
    changed_at: Option<Instant>,
    /// Since when so few observers find a flaw that it does not last.
    fading: BTreeMap<Flaw, Instant>,
}

impl Observed {
    /// Whether this flaw is there, or lasts if it was there: at least a quarter of the observers find it.
    fn is_seen(&self, flaw: Flaw) -> bool {
        let seen = self.by.values().filter(|flaws| flaws.contains(flaw)).count();
        self.own.contains(flaw) || (seen > 0 && seen * 4 >= self.observers)
    }
}

impl Finding {
    pub(crate) const fn flaws(&self) -> Flaws {
        self.flaws
    }

    /// Finds the flaws anew. They change at most once in [`MIN_INTERVAL`], as each change is news to all members.
    pub(crate) fn update(&mut self, now: Instant, observed: &Observed) -> Flaws {
        let before = observed.stated.unwrap_or(self.flaws);
        let found: Flaws = Flaw::ALL
            .into_iter()
            .filter(|&flaw| self.is_found(now, flaw, before, observed))
            .collect();
        let may_change = self.changed_at.is_none_or(|at| now - at >= MIN_INTERVAL);
        self.flaws = if may_change { found } else { before };
        if self.flaws != before {
            self.changed_at = Some(now);
        }
        self.flaws
    }

    fn is_found(&mut self, now: Instant, flaw: Flaw, before: Flaws, observed: &Observed) -> bool {
        let is_most = is_most(observed.by.len(), observed.observers);
        if observed.is_seen(flaw) {
            self.fading.remove(&flaw);
            return before.contains(flaw) || observed.own.contains(flaw) || is_most;
        }
        if !before.contains(flaw) {
            self.fading.remove(&flaw);
            return false;
        }
        now - *self.fading.entry(flaw).or_insert(now) < FADING
    }
}

/// Whether so many of a member's observers are most of them. A single one is not enough.
pub(crate) const fn is_most(some: usize, observers: usize) -> bool {
    some >= 2 && some * 2 > observers
}

/// The flaws of a member change at most once in this time.
const MIN_INTERVAL: Duration = Duration::from_secs(10);
/// A flaw lasts for this long after hardly any observer finds it.
const FADING: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{member::record::tests::id, testing::at};

    const LOSS: &[Flaw] = &[Flaw::Loss];
    const BOTH: &[Flaw] = &[Flaw::Loss, Flaw::OneWay];

    fn observed(by: &[&[Flaw]], observers: usize, own: &[Flaw]) -> Observed {
        let flaws = |flaws: &[Flaw]| flaws.iter().copied().collect();
        let by = (1..).map(id).zip(by.iter().map(|by| flaws(by)));
        Observed { by: by.collect(), observers, own: flaws(own), stated: None }
    }

    #[test]
    fn most_observers_find_a_flaw_and_each_kind_is_found_by_a_quarter() {
        // The flaws that each observer finds, the number of observers, the flaws found by itself; the flaws of the member.
        type Case = (&'static [&'static [Flaw]], usize, &'static [Flaw], &'static [Flaw]);
        let cases: [Case; 9] = [
            (&[], 8, &[], &[]),
            (&[LOSS; 4], 8, &[], &[]),
            (&[LOSS; 5], 8, &[], LOSS),
            (&[LOSS, LOSS, LOSS, BOTH, BOTH], 8, &[], BOTH),
            (&[LOSS, LOSS, LOSS, LOSS, BOTH], 8, &[], LOSS),
            (&[LOSS], 1, &[], &[]),
            (&[LOSS; 2], 2, &[], LOSS),
            (&[], 8, &[Flaw::OneWay], &[Flaw::OneWay]),
            (&[LOSS], 8, &[Flaw::OneWay], &[Flaw::OneWay]),
        ];
        for (by, observers, own, expected) in cases {
            let observed = observed(by, observers, own);
            let found = Finding::default().update(at(0), &observed);
            assert_eq!(found, expected.iter().copied().collect(), "{observed:?}");
        }
    }

    #[test]
    fn a_flaw_lasts_until_hardly_any_observer_has_found_it_for_half_a_minute() {
        let mut finding = Finding::default();
        // When how many of eight observers find loss, and whether it is a flaw then.
        let steps = [
            (0, 5, true),
            (20_000, 2, true),
            (60_000, 2, true),
            (61_000, 1, true),
            (90_999, 0, true),
            (90_999, 2, true),
            (91_000, 1, true),
            (120_999, 1, true),
            (121_000, 1, false),
            (122_000, 4, false),
            (130_999, 5, false),
            (131_000, 5, true),
            // Not so soon.
            (131_001, 8, true),
        ];
        for (millis, finders, is_flaw) in steps {
            let found = finding.update(at(millis), &observed(&vec![LOSS; finders], 8, &[]));
            assert_eq!(found.contains(Flaw::Loss), is_flaw, "{millis}");
            assert_eq!(finding.flaws(), found);
        }
    }

    #[test]
    fn this_node_goes_on_from_what_it_states() {
        let nothing = Observed { stated: Some(Flaw::Loss.into()), ..observed(&[], 8, &[]) };
        let mut finding = Finding::default();
        assert_eq!(finding.update(at(0), &nothing), Flaw::Loss.into(), "an earlier finding fades");
        assert_eq!(finding.update(at(30_000), &nothing), Flaws::NONE);
    }
}
