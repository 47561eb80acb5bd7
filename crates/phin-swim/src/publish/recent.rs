//! [`Recent`]: recent publications, for members that lack them.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
    time::Duration,
};

use crate::{Instant, MemberId, publish::publisher::Arrived};

/// Recent publications, of all publishers.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    publications: BTreeMap<(MemberId, u64), (Instant, Arrived)>,
    /// Which of them came when, in that order.
    by_age: VecDeque<(Instant, MemberId, u64)>,
    bytes: usize,
}

impl Recent {
    /// Keeps a publication. The oldest are dropped while all have more than `max_bytes`; returns how many were.
    pub(crate) fn insert(&mut self, now: Instant, arrived: Arrived, max_bytes: usize) -> u64 {
        let (id, sequence) = (arrived.publication.publisher, arrived.publication.sequence);
        self.bytes += arrived.publication.bytes();
        if let Some((_, before)) = self.publications.insert((id, sequence), (now, arrived)) {
            self.bytes -= before.publication.bytes();
        }
        self.by_age.push_back((now, id, sequence));
        let mut evicted = 0;
        while self.bytes > max_bytes && self.by_age.len() > 1 {
            self.forget_oldest();
            evicted += 1;
        }
        evicted
    }

    fn forget_oldest(&mut self) {
        if let Some((_, id, sequence)) = self.by_age.pop_front()
            && let Some((_, arrived)) = self.publications.remove(&(id, sequence))
        {
            self.bytes -= arrived.publication.bytes();
        }
    }

    /// Forgets what is old. Returns when the next one will be.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<Instant> {
        while self.oldest().is_some_and(|at| at + KEPT <= now) {
            self.forget_oldest();
        }
        self.oldest().map(|at| at + KEPT)
    }

    fn oldest(&self) -> Option<Instant> {
        self.by_age.front().map(|(at, ..)| *at)
    }

    /// When the latest kept publication of a member came.
    pub(crate) fn latest_at(&self, id: MemberId) -> Option<Instant> {
        self.publications.range((id, 0)..=(id, u64::MAX)).next_back().map(|(_, (at, _))| *at)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.publications.is_empty()
    }

    /// When what is kept now will be old; `None` if there is nothing.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        self.oldest().map(|at| at + KEPT)
    }

    /// Forgets what a member published.
    pub(crate) fn forget(&mut self, id: MemberId) {
        let all = self.publications.range((id, 0)..=(id, u64::MAX)).map(|(key, _)| *key);
        for key in all.collect::<Vec<_>>() {
            if let Some((_, arrived)) = self.publications.remove(&key) {
                self.bytes -= arrived.publication.bytes();
            }
        }
    }

    /// The kept publications of a member in this range.
    pub(crate) fn range(
        &self,
        id: MemberId,
        (first, last): (u64, u64),
    ) -> impl Iterator<Item = &Arrived> {
        let is_range = first <= last;
        let all = is_range.then(|| self.publications.range((id, first)..=(id, last)));
        all.into_iter().flatten().map(|(_, (_, arrived))| arrived)
    }

    /// The members of whose publications something is kept, from this place in the order of their ids on.
    pub(crate) fn publishers_from(&self, place: MemberId) -> impl Iterator<Item = MemberId> {
        let next = |after: Bound<(MemberId, u64)>| {
            let mut keys = self.publications.range((after, Bound::Unbounded)).map(|(key, _)| *key);
            keys.next().map(|(id, _)| id)
        };
        let from = move |first| {
            std::iter::successors(next(first), move |&id| next(Bound::Excluded((id, u64::MAX))))
        };
        let before = from(Bound::Unbounded).take_while(move |&id| id < place);
        from(Bound::Included((place, 0))).chain(before)
    }
}

/// How long publications are kept.
pub(super) const KEPT: Duration = Duration::from_secs(30);
