//! Standing observers: those that observed a member before others of its observers died. Where many members die together,
//! the members that take the places of dead observers cannot have votes yet, so a majority is one of those that stand.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use crate::{
    Instant, MemberId, MembershipList, detect::contacts::few_falls, limit::make_room,
    member::rings::Rings,
};

/// The members that lost observers lately.
#[derive(Debug, Default)]
pub(crate) struct Bereft {
    /// With the rings and the last such moment of each: at most [`MAX_BEREFT`].
    members: BTreeMap<MemberId, Losses>,
    /// When the latest members went, the last one first: at most [`MAX_GONE`].
    gone: VecDeque<Instant>,
}

#[derive(Debug)]
struct Losses {
    at: Instant,
    rings: BTreeMap<usize, Instant>,
}

impl Bereft {
    /// A member is no longer on the rings: those that followed it there have another observer from now on.
    pub(crate) fn record_gone(&mut self, now: Instant, list: &MembershipList, gone: MemberId) {
        let rings = list.rings();
        self.gone.truncate(MAX_GONE - 1);
        self.gone.push_front(now);
        for ring in 0..rings.count() {
            let Some(follower) = rings.successor(ring, gone) else {
                continue;
            };
            make_room(&mut self.members, follower, MAX_BEREFT, |losses| losses.at);
            let losses = self.members.entry(follower);
            let losses = losses.or_insert_with(|| Losses { at: now, rings: BTreeMap::new() });
            losses.at = now;
            losses.rings.insert(ring, now);
        }
    }

    /// The observers of a member that were so for this time; all, if fewer than [`MIN_STANDING`] were, or no more members went
    /// than at any time: then nearly all votes can come, and liars are not to gain by a single death.
    pub(crate) fn standing_observers(
        &self,
        (now, time): (Instant, Duration),
        rings: &Rings,
        subject: MemberId,
    ) -> Vec<MemberId> {
        let are_many = self.gone.get(few_falls(rings.len())).is_some_and(|&at| now - at < time);
        let Some(losses) = self.members.get(&subject).filter(|_| are_many) else {
            return rings.observers(subject);
        };
        let lost_lately = |ring| losses.rings.get(&ring).is_some_and(|&at| now - at < time);
        let standing = rings.observers_on(subject, |ring| !lost_lately(ring));
        if standing.len() < MIN_STANDING { rings.observers(subject) } else { standing }
    }
}

/// How many moments are remembered at which members went.
const MAX_GONE: usize = 64;
/// How many members are remembered that lost observers.
const MAX_BEREFT: usize = 4_096;
/// Of fewer standing observers a majority would be one or two members, which one liar could be.
const MIN_STANDING: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        MemberState, Source,
        member::{
            record::tests::{id, record, version},
            transition::News,
        },
        testing::Rooms,
    };

    fn at(seconds: u64) -> Instant {
        Instant::START + Duration::from_secs(seconds)
    }

    /// A cluster of two hundred in which these members died and so many others, and what a member remembers of it.
    fn without(dead: &[MemberId], others: usize) -> (Rooms, Bereft) {
        let (mut rooms, mut bereft) = (Rooms::of(200), Bereft::default());
        bereft.gone.extend(vec![at(10); others]);
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
        // How many of the observers died at 10 s, how many others, the moment, and whether the observers that stand are the ones
        // that are left.
        for (dead, others, now, is_rest) in [
            (0, 10, 10, true),
            (1, 9, 10, true),
            (1, 8, 10, false),
            (3, 7, 13, true),
            (3, 7, 14, false),
            (before.len() - 2, 10, 10, false),
        ] {
            let (rooms, bereft) = without(&before[..dead], others);
            let found = bereft.standing_observers((at(now), stand), rooms.list.rings(), id(1));
            let present = rooms.list.rings().observers(id(1));
            let (is_present, what) =
                (found == present, format!("{dead}, {others} at {now} s: {found:?}"));
            assert_eq!(is_present, !is_rest || dead == 0, "{what}");
            // One that observes on two rings stands if it did so on one of them.
            assert_eq!(found.iter().all(|id| before[dead..].contains(id)), is_rest, "{what}");
        }
    }

    #[test]
    fn a_member_goes_once_whatever_is_said_of_it_afterwards() {
        let mut rooms = Rooms::of(30);
        let left = |incarnation| News::Record {
            record: record(1, version(0, incarnation)),
            state: MemberState::Left,
        };
        for news in [News::State(id(1), MemberState::Dead), left(1), left(2)] {
            rooms.apply(news, Source::Ourselves);
        }
        assert_eq!(rooms.list.state(id(1)), Some(MemberState::Left));
        assert_eq!(rooms.detector.bereft.gone.len(), 1);
    }

    #[test]
    fn the_members_that_lost_observers_have_a_limit() {
        let rooms = Rooms::of(30);
        let mut bereft = Bereft::default();
        for number in 0..MAX_BEREFT {
            bereft.members.insert(
                MemberId::from_u128(number as u128),
                Losses { at: at(1), rings: BTreeMap::new() },
            );
        }
        bereft.record_gone(at(2), &rooms.list, id(1));
        assert_eq!(bereft.members.len(), MAX_BEREFT);
        assert!(bereft.members.values().any(|losses| losses.at == at(2)));
    }
}
