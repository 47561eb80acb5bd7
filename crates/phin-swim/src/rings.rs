//! The K rings: pseudo-random orders of the live members, the same at every member that has the same list.
//!
//! Ids are hashes, so every rotation of their bits is as random an order as any other; ring *r* orders members by
//! their id rotated by *r* of K equal steps. A member's neighbours in all rings are found in O(K log n), and a join or
//! a death changes only its own links.

use std::ops::Bound::{Excluded, Unbounded};

use imbl::OrdSet;

use crate::MemberId;

/// The live members in K orders. Clones share what they have in common.
#[derive(Clone, Debug)]
pub(crate) struct Rings(Vec<OrdSet<u128>>);

impl Rings {
    pub(crate) fn new(rings: u8) -> Self {
        Self(vec![OrdSet::new(); rings.into()])
    }

    pub(crate) fn insert(&mut self, id: MemberId) {
        for ring in 0..self.0.len() {
            let place = self.place(ring, id);
            self.0[ring].insert(place);
        }
    }

    pub(crate) fn remove(&mut self, id: MemberId) {
        for ring in 0..self.0.len() {
            let place = self.place(ring, id);
            self.0[ring].remove(&place);
        }
    }

    /// How many members are on the rings.
    pub(crate) fn len(&self) -> usize {
        self.0[0].len()
    }

    /// Whether there are so few members that everyone observes everyone.
    pub(crate) fn are_complete(&self) -> bool {
        self.len() <= self.0.len() + 1
    }

    /// The member that `id` observes in this round: its successor in ring `round mod K`, or, where everyone observes
    /// everyone, the one as many places further on as makes each member somebody's turn in every round.
    pub(crate) fn subject_in_round(&self, id: MemberId, round: u16) -> Option<MemberId> {
        let round = usize::from(round);
        if !self.are_complete() {
            return self.successor(round % self.0.len(), id);
        }
        let others = self.len().checked_sub(1).filter(|&others| others > 0)?;
        (0..=round % others).try_fold(id, |at, _| self.successor(0, at))
    }

    /// The members that `id` observes: each once, in the order of the rings.
    pub(crate) fn subjects(&self, id: MemberId) -> Vec<MemberId> {
        self.neighbours(id, Self::successor)
    }

    /// The members that observe `id`: each once, in the order of the rings.
    pub(crate) fn observers(&self, id: MemberId) -> Vec<MemberId> {
        self.neighbours(id, Self::predecessor)
    }

    /// Whether `observer` observes `subject`, or would if one member between them were gone: lists that differ by a
    /// recent death differ by as much.
    pub(crate) fn is_near_predecessor(&self, observer: MemberId, subject: MemberId) -> bool {
        if observer == subject {
            return false;
        }
        self.are_complete()
            || (0..self.0.len()).any(|ring| {
                let first = self.predecessor(ring, subject);
                let second = first.and_then(|first| self.predecessor(ring, first));
                [first, second].contains(&Some(observer))
            })
    }

    /// The live member at or after a random place, which makes every member about equally likely.
    pub(crate) fn at_or_after(&self, place: u128) -> Option<MemberId> {
        let ring = self.0.first()?;
        ring.range(place..).next().or_else(|| ring.get_min()).copied().map(MemberId::from_u128)
    }

    fn neighbours(
        &self,
        id: MemberId,
        next: impl Fn(&Self, usize, MemberId) -> Option<MemberId>,
    ) -> Vec<MemberId> {
        let mut found = Vec::with_capacity(self.0.len());
        if self.are_complete() {
            let members = self.0[0].iter().copied().map(MemberId::from_u128);
            found.extend(members.filter(|&member| member != id));
            return found;
        }
        for ring in 0..self.0.len() {
            if let Some(member) = next(self, ring, id)
                && !found.contains(&member)
            {
                found.push(member);
            }
        }
        found
    }

    fn successor(&self, ring: usize, id: MemberId) -> Option<MemberId> {
        let place = self.place(ring, id);
        let members = &self.0[ring];
        let next = members.range((Excluded(place), Unbounded)).next();
        self.member_at(ring, next.or_else(|| members.get_min()), id)
    }

    fn predecessor(&self, ring: usize, id: MemberId) -> Option<MemberId> {
        let place = self.place(ring, id);
        let members = &self.0[ring];
        let next = members.range(..place).next_back();
        self.member_at(ring, next.or_else(|| members.get_max()), id)
    }

    fn member_at(
        &self,
        ring: usize,
        place: Option<&u128>,
        other_than: MemberId,
    ) -> Option<MemberId> {
        let id = MemberId::from_u128(place?.rotate_right(self.rotation(ring)));
        (id != other_than).then_some(id)
    }

    fn place(&self, ring: usize, id: MemberId) -> u128 {
        id.as_u128().rotate_left(self.rotation(ring))
    }

    fn rotation(&self, ring: usize) -> u32 {
        (ring * 128 / self.0.len()) as u32
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn members(n: usize) -> Vec<MemberId> {
        let mut rng = ChaCha8Rng::seed_from_u64(n as u64);
        (0..n).map(|_| MemberId(rng.random())).collect()
    }

    fn rings(ids: &[MemberId]) -> Rings {
        let mut rings = Rings::new(8);
        ids.iter().for_each(|&id| rings.insert(id));
        rings
    }

    #[test]
    fn subjects_and_observers_are_two_sides_of_one_relation() {
        for n in [1, 2, 3, 8, 9, 10, 50, 300] {
            let ids = members(n);
            let rings = rings(&ids);
            for &id in &ids {
                let subjects = rings.subjects(id);
                assert!(subjects.len() <= (n - 1).min(8), "{n} members");
                assert!(subjects.iter().all(|&subject| rings.observers(subject).contains(&id)));
                assert!(!subjects.contains(&id));
            }
        }
    }

    #[test]
    fn few_members_all_observe_one_another() {
        for n in 1..=9 {
            let ids = members(n);
            let rings = rings(&ids);
            assert!(ids.iter().all(|&id| rings.subjects(id).len() == n - 1));
        }
        let ids = members(10);
        assert!(!rings(&ids).are_complete());
    }

    #[test]
    fn in_each_round_each_member_is_probed_exactly_once() {
        for n in [2, 5, 9, 10, 100] {
            let ids = members(n);
            let rings = rings(&ids);
            for round in [0, 1, 7, 8, 12_345, u16::MAX] {
                let mut probed = BTreeMap::new();
                for &id in &ids {
                    *probed.entry(rings.subject_in_round(id, round).unwrap()).or_insert(0) += 1;
                }
                assert_eq!(probed.len(), n);
                assert!(probed.values().all(|&times| times == 1));
            }
        }
    }

    #[test]
    fn a_death_changes_only_its_own_links_and_order_of_arrival_does_not_matter() {
        let ids = members(200);
        let mut rings = rings(&ids);
        let before: Vec<_> = ids.iter().map(|&id| rings.subjects(id)).collect();
        let victim = ids[77];
        let observers = rings.observers(victim);
        rings.remove(victim);
        for (id, before) in ids.iter().zip(before) {
            if *id != victim && !observers.contains(id) {
                assert_eq!(rings.subjects(*id), before);
            }
        }
        let mut reversed: Vec<_> = ids.iter().copied().filter(|&id| id != victim).collect();
        reversed.reverse();
        let again = self::rings(&reversed);
        assert!(reversed.iter().all(|&id| again.subjects(id) == rings.subjects(id)));
    }

    #[test]
    fn rings_are_different_orders() {
        let ids = members(1_000);
        let rings = rings(&ids);
        let average =
            ids.iter().map(|&id| rings.subjects(id).len()).sum::<usize>() as f64 / 1_000.0;
        assert!(average > 7.9, "{average} distinct subjects");
    }

    #[test]
    fn alone_there_is_nobody() {
        let ids = members(1);
        let rings = rings(&ids);
        assert_eq!(rings.subject_in_round(ids[0], 3), None);
        assert!(rings.subjects(ids[0]).is_empty());
    }
}
