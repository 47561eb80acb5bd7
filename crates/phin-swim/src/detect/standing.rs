//! Standing observers: those that observed a member before others of its observers died. Where many members die together,
//! the members that take the places of dead observers cannot have votes yet, so a majority is one of those that stand.

use std::{collections::BTreeMap, time::Duration};

use crate::{Instant, MemberId, MembershipList, limit::make_room, member::rings::Rings};

/// The members that lost observers lately, with the rings and the last such moment of each: at most [`MAX_BEREFT`].
#[derive(Debug, Default)]
pub(crate) struct Bereft(BTreeMap<MemberId, Losses>);

#[derive(Debug)]
struct Losses {
    at: Instant,
    rings: BTreeMap<usize, Instant>,
}

impl Bereft {
    /// A member is no longer on the rings: those that followed it there have another observer from now on.
    pub(crate) fn record_gone(&mut self, now: Instant, list: &MembershipList, gone: MemberId) {
        let rings = list.rings();
        for ring in 0..rings.count() {
            let Some(follower) = rings.successor(ring, gone) else {
                continue;
            };
            make_room(&mut self.0, follower, MAX_BEREFT, |losses| losses.at);
            let losses = self.0.entry(follower);
            let losses = losses.or_insert_with(|| Losses { at: now, rings: BTreeMap::new() });
            losses.at = now;
            losses.rings.insert(ring, now);
        }
    }

    /// The observers of a member that were so for this time. If fewer than [`MIN_STANDING`] are left, all.
    pub(crate) fn standing_observers(
        &self,
        (now, time): (Instant, Duration),
        rings: &Rings,
        subject: MemberId,
    ) -> Vec<MemberId> {
        let Some(losses) = self.0.get(&subject).filter(|losses| now - losses.at < time) else {
            return rings.observers(subject);
        };
        let lost_lately = |ring| losses.rings.get(&ring).is_some_and(|&at| now - at < time);
        let standing = rings.observers_on(subject, |ring| !lost_lately(ring));
        if standing.len() < MIN_STANDING { rings.observers(subject) } else { standing }
    }
}

/// How many members are remembered that lost observers.
const MAX_BEREFT: usize = 4_096;
/// Of fewer standing observers a majority would be one or two members, which one liar could be.
const MIN_STANDING: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MemberState, member::record::tests::id, testing::Rooms};

    fn at(seconds: u64) -> Instant {
        Instant::START + Duration::from_secs(seconds)
    }

    /// A cluster of two hundred, and what a member that is told of their deaths remembers.
    fn without(dead: &[MemberId]) -> (Rooms, Bereft) {
        let (mut rooms, mut bereft) = (Rooms::of(200), Bereft::default());
        for node in (1..200).filter(|&node| dead.contains(&id(node))) {
            rooms.put(node, MemberState::Dead, 0);
            bereft.record_gone(at(10), &rooms.list, id(node));
        }
        (rooms, bereft)
    }

    #[test]
    fn an_observer_in_the_place_of_a_dead_one_does_not_stand_for_a_while() {
        let before = Rooms::of(200).list.rings().observers(id(1));
        let stand = Duration::from_secs(4);
        // How many of the observers died, when, and whether those that stand are the ones that are left.
        for (dead, now, is_rest) in [
            (0, 10, true),
            (1, 10, true),
            (3, 13, true),
            (3, 14, false),
            (before.len() - 2, 10, false),
        ] {
            let (rooms, bereft) = without(&before[..dead]);
            let found = bereft.standing_observers((at(now), stand), rooms.list.rings(), id(1));
            let present = rooms.list.rings().observers(id(1));
            let (is_present, what) = (found == present, format!("{dead} at {now} s: {found:?}"));
            assert_eq!(is_present, !is_rest || dead == 0, "{what}");
            // One that observes on two rings stands if it did so on one of them.
            assert_eq!(found.iter().all(|id| before[dead..].contains(id)), is_rest, "{what}");
        }
    }

    #[test]
    fn the_members_that_lost_observers_have_a_limit() {
        let rooms = Rooms::of(30);
        let mut bereft = Bereft::default();
        for number in 0..MAX_BEREFT {
            bereft.0.insert(
                MemberId::from_u128(number as u128),
                Losses { at: at(1), rings: BTreeMap::new() },
            );
        }
        bereft.record_gone(at(2), &rooms.list, id(1));
        assert_eq!(bereft.0.len(), MAX_BEREFT);
        assert!(bereft.0.values().any(|losses| losses.at == at(2)));
    }
}
