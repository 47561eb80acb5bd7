//! The K rings: pseudo-random orders of the live members, the same at every member that has the same list.
//!
//! Ids are hashes, so every rotation of their bits is as random an order as any other; ring *r* orders members by
//! their id rotated by *r* of K equal steps. A member's neighbours in all rings are found in O(K log n), and a join or
//! a death changes only its own links.

use std::{
    ops::Bound::{Excluded, Unbounded},
    sync::Arc,
};

use imbl::OrdMap;

use crate::MemberId;

/// The members next to one on the rings: see [`Swim::neighbours`](crate::Swim::neighbours).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Neighbours {
    /// The members that observe it, each once, in the order of the rings.
    pub observers: Vec<Neighbour>,
    /// The members that it observes, each once, in the order of the rings.
    pub subjects: Vec<Neighbour>,
}

/// A member next to another one on the rings.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Neighbour {
    /// The member.
    pub id: MemberId,
    /// The rings on which it is next, counted from 0. Empty if there are at most K + 1 live members: then all observe all,
    /// and no ring decides.
    pub rings: Vec<u8>,
}

/// The live members in K orders. Clones share what they have in common.
#[derive(Clone, Debug)]
pub(crate) struct Rings {
    ids: Ids,
    rings: Vec<Ring>,
}

impl Rings {
    pub(crate) fn new(rings: u8) -> Self {
        let rotations = (0..u32::from(rings)).map(|ring| ring * 128 / u32::from(rings));
        Self { ids: Ids::default(), rings: rotations.map(Ring::new).collect() }
    }

    pub(crate) fn insert(&mut self, id: MemberId) {
        let index = self.ids.insert(id);
        for ring in &mut self.rings {
            ring.edit(&self.ids, id, |stretch, at| {
                stretch.reserve_exact(1);
                stretch.insert(at, index);
            });
        }
    }

    pub(crate) fn remove(&mut self, id: MemberId) {
        let Some(index) = self.rings[0].index(&self.ids, id) else {
            return;
        };
        for ring in &mut self.rings {
            ring.edit(&self.ids, id, |stretch, at| _ = stretch.remove(at));
        }
        self.ids.remove(index);
    }

    /// How many members are on the rings.
    pub(crate) fn len(&self) -> usize {
        self.ids.len as usize
    }

    /// Whether there are so few members that everyone observes everyone.
    pub(crate) fn are_complete(&self) -> bool {
        self.len() <= self.rings.len() + 1
    }

    /// The member that `id` observes in this round: its successor in ring `round mod K`, or, where everyone observes
    /// everyone, the one as many places further on as makes each member somebody's turn in every round.
    pub(crate) fn subject_in_round(&self, id: MemberId, round: u16) -> Option<MemberId> {
        let round = usize::from(round);
        if !self.are_complete() {
            return self.successor(round % self.rings.len(), id);
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

    /// The same on some of the rings; all where everyone observes everyone.
    pub(crate) fn observers_on(
        &self,
        id: MemberId,
        is_one: impl Fn(usize) -> bool,
    ) -> Vec<MemberId> {
        self.neighbours(id, |rings, ring, id| rings.predecessor(ring, id).filter(|_| is_one(ring)))
    }

    /// How many rings there are.
    pub(crate) fn count(&self) -> usize {
        self.rings.len()
    }

    /// Both, with the rings on which each is next.
    pub(crate) fn neighbours_of(&self, id: MemberId) -> Neighbours {
        let found = |ids: Vec<MemberId>, next: fn(&Self, usize, MemberId) -> Option<MemberId>| {
            let rings_of = |other| {
                let rings = 0..if self.are_complete() { 0 } else { self.rings.len() };
                let rings = rings.filter(|&ring| next(self, ring, id) == Some(other));
                rings.filter_map(|ring| u8::try_from(ring).ok()).collect()
            };
            ids.into_iter().map(|id| Neighbour { id, rings: rings_of(id) }).collect()
        };
        Neighbours {
            observers: found(self.observers(id), Self::predecessor),
            subjects: found(self.subjects(id), Self::successor),
        }
    }

    /// Whether `observer` observes `subject`, or would if one member between them were gone: lists that differ by a
    /// recent death differ by as much.
    pub(crate) fn is_near_predecessor(&self, observer: MemberId, subject: MemberId) -> bool {
        if observer == subject {
            return false;
        }
        self.are_complete()
            || (0..self.rings.len()).any(|ring| {
                let first = self.predecessor(ring, subject);
                let second = first.and_then(|first| self.predecessor(ring, first));
                [first, second].contains(&Some(observer))
            })
    }

    /// The live member at or after a random place, which makes every member about equally likely.
    pub(crate) fn at_or_after(&self, place: u128) -> Option<MemberId> {
        self.rings[0].from(&self.ids, place)
    }

    fn neighbours(
        &self,
        id: MemberId,
        next: impl Fn(&Self, usize, MemberId) -> Option<MemberId>,
    ) -> Vec<MemberId> {
        if self.are_complete() {
            return self.others(id);
        }
        without_repetitions((0..self.rings.len()).filter_map(|ring| next(self, ring, id)))
    }

    fn others(&self, id: MemberId) -> Vec<MemberId> {
        let members = self.rings[0].iter().map(|index| self.ids.get(index));
        members.filter(|&member| member != id).collect()
    }

    /// The member after this one in a ring.
    pub(crate) fn successor(&self, ring: usize, id: MemberId) -> Option<MemberId> {
        let ring = &self.rings[ring];
        let next = ring.from(&self.ids, ring.place(id).wrapping_add(1));
        next.filter(|&next| next != id)
    }

    fn predecessor(&self, ring: usize, id: MemberId) -> Option<MemberId> {
        let ring = &self.rings[ring];
        ring.before(&self.ids, ring.place(id)).filter(|&previous| previous != id)
    }
}

/// One order: the members' indices, cut into stretches, because a whole tree of ids would take four times the memory.
#[derive(Clone, Debug)]
struct Ring {
    rotation: u32,
    /// Each has the places from its key up to the next one's. The first, whose key is 0, may be empty.
    stretches: OrdMap<u128, Arc<Vec<u32>>>,
}

/// Where one stretch becomes two: longer ones take less memory, shorter ones are searched and changed sooner.
const MAX_STRETCH: usize = 64;

impl Ring {
    fn new(rotation: u32) -> Self {
        Self { rotation, stretches: OrdMap::unit(0, Arc::default()) }
    }

    /// Changes the stretch that has this member's place, given how many in it are before that.
    fn edit(&mut self, ids: &Ids, id: MemberId, change: impl FnOnce(&mut Vec<u32>, usize)) {
        let place = |id: MemberId| id.as_u128().rotate_left(self.rotation);
        let found = self.stretches.get_prev_mut(&place(id));
        let (&start, stretch) = found.expect("the first stretch starts at 0");
        let stretch = Arc::make_mut(stretch);
        let at = stretch.partition_point(|&index| place(ids.get(index)) < place(id));
        change(stretch, at);
        if stretch.len() > MAX_STRETCH {
            let rest = halve(stretch);
            self.stretches.insert(place(ids.get(rest[0])), Arc::new(rest));
        } else if stretch.is_empty() && start > 0 {
            self.stretches.remove(&start);
        }
    }

    fn index(&self, ids: &Ids, id: MemberId) -> Option<u32> {
        let (_, stretch, at) = self.find(ids, self.place(id));
        stretch.get(at).copied().filter(|&index| ids.get(index) == id)
    }

    /// The first member from a place on, all around the ring.
    fn from(&self, ids: &Ids, place: u128) -> Option<MemberId> {
        let (start, stretch, at) = self.find(ids, place);
        let first = |(_, stretch): (_, &Arc<Vec<u32>>)| stretch.first().copied();
        let following = || self.stretches.range((Excluded(start), Unbounded)).find_map(first);
        let found = stretch.get(at).copied().or_else(following);
        found.or_else(|| self.iter().next()).map(|index| ids.get(index))
    }

    /// The last member before a place, all around the ring.
    fn before(&self, ids: &Ids, place: u128) -> Option<MemberId> {
        let (start, stretch, at) = self.find(ids, place);
        let last = |(_, stretch): (_, &Arc<Vec<u32>>)| stretch.last().copied();
        let preceding = || self.stretches.range(..start).rev().find_map(last);
        let found = stretch[..at].last().copied().or_else(preceding);
        found.or_else(|| self.iter().next_back()).map(|index| ids.get(index))
    }

    fn iter(&self) -> impl DoubleEndedIterator<Item = u32> {
        self.stretches.values().flat_map(|stretch| stretch.iter().copied())
    }

    /// The stretch that has a place: its key, itself, and how many in it are before the place.
    fn find(&self, ids: &Ids, place: u128) -> (u128, &[u32], usize) {
        let found = self.stretches.get_prev(&place);
        let (&start, stretch) = found.expect("the first stretch starts at 0");
        (start, stretch, stretch.partition_point(|&index| self.place(ids.get(index)) < place))
    }

    fn place(&self, id: MemberId) -> u128 {
        id.as_u128().rotate_left(self.rotation)
    }
}

/// Takes the second half of a stretch that became too long.
fn halve(stretch: &mut Vec<u32>) -> Vec<u32> {
    let rest = stretch.split_off(MAX_STRETCH / 2);
    stretch.shrink_to_fit();
    rest
}

/// The ids of the members, each under an index that is a quarter as long and stays the same.
#[derive(Clone, Debug, Default)]
struct Ids {
    blocks: Vec<Arc<[MemberId; BLOCK]>>,
    len: u32,
    /// The places of removed members.
    free: Vec<u32>,
}

/// How many ids are copied when one changes that a clone shares.
const BLOCK: usize = 64;

impl Ids {
    fn insert(&mut self, id: MemberId) -> u32 {
        // Where nobody's is free, as many are taken as there are members.
        let index = self.free.pop().unwrap_or(self.len);
        self.len += 1;
        match self.blocks.get_mut(index as usize / BLOCK) {
            Some(block) => Arc::make_mut(block)[index as usize % BLOCK] = id,
            None => self.blocks.push(Arc::new([id; BLOCK])),
        }
        index
    }

    fn remove(&mut self, index: u32) {
        self.len -= 1;
        self.free.push(index);
    }

    fn get(&self, index: u32) -> MemberId {
        self.blocks[index as usize / BLOCK][index as usize % BLOCK]
    }
}

/// The same members in their order, each once. There are few.
fn without_repetitions(members: impl Iterator<Item = MemberId>) -> Vec<MemberId> {
    let mut found = Vec::with_capacity(members.size_hint().1.unwrap_or_default());
    for member in members {
        if !found.contains(&member) {
            found.push(member);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use rand::{RngExt, SeedableRng, seq::IndexedRandom};
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
    fn each_ring_has_one_observer_and_one_subject() {
        for n in [1, 2, 9, 10, 12, 300] {
            let ids = members(n);
            let rings = rings(&ids);
            for &id in &ids {
                let Neighbours { observers, subjects } = rings.neighbours_of(id);
                let ids = |all: &[Neighbour]| all.iter().map(|one| one.id).collect::<Vec<_>>();
                assert_eq!(ids(&observers), rings.observers(id));
                assert_eq!(ids(&subjects), rings.subjects(id));
                let expected: Vec<u8> = if n <= 9 { Vec::new() } else { (0..8).collect() };
                for all in [&observers, &subjects] {
                    let mut found: Vec<u8> = all.iter().flat_map(|one| one.rings.clone()).collect();
                    found.sort_unstable();
                    assert_eq!(found, expected, "{n} members");
                }
                for observer in &observers {
                    let seen = rings.neighbours_of(observer.id).subjects;
                    let seen = seen.iter().find(|seen| seen.id == id).unwrap();
                    assert_eq!(seen.rings, observer.rings);
                }
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

    /// Random ids, and some that share half of their bits, which anyone can make who tries many keys.
    fn hostile_ids(rng: &mut ChaCha8Rng) -> Vec<MemberId> {
        let few = || (0..80).chain([u64::MAX]).map(u128::from);
        let numbers =
            few().chain(few().map(|bits| !0 << 64 | bits)).chain(few().map(|bits| bits << 64));
        let chance = (0..400).map(|_| MemberId(rng.random()));
        numbers.map(MemberId::from_u128).chain(chance).collect()
    }

    #[test]
    fn whoever_comes_and_goes_a_ring_is_the_order_of_its_places() {
        const STEPS: u32 = 6_000;
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let ids = hostile_ids(&mut rng);
        let mut rings = Rings::new(8);
        let mut present = BTreeSet::new();
        for step in 0..STEPS {
            let id = *ids.choose(&mut rng).unwrap();
            // The rings fill, and then empty.
            if rng.random_ratio(step, STEPS) {
                rings.remove(id);
                present.remove(&id);
            } else if present.insert(id) {
                rings.insert(id);
            }
            assert_eq!(rings.len(), present.len());
            if step % 20 == 0 {
                (0..8).for_each(|ring| assert_order(&rings, ring, &present));
            }
        }
    }

    fn assert_order(rings: &Rings, ring: usize, present: &BTreeSet<MemberId>) {
        let mut order: Vec<_> = present.iter().copied().collect();
        order.sort_by_key(|id| id.as_u128().rotate_left(ring as u32 * 16));
        let found = rings.rings[ring].iter().map(|index| rings.ids.get(index));
        assert_eq!(found.collect::<Vec<_>>(), order);
        let lengths: Vec<_> = rings.rings[ring].stretches.values().map(|s| s.len()).collect();
        assert!(lengths.iter().all(|&length| length <= MAX_STRETCH));
        assert!(lengths[1..].iter().all(|&length| length > 0));
        let following = order.iter().cycle().skip(1);
        for (&id, &next) in order.iter().zip(following).filter(|(id, next)| id != next) {
            assert_eq!(rings.successor(ring, id), Some(next));
            assert_eq!(rings.predecessor(ring, next), Some(id));
        }
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
