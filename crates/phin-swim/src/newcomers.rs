//! Newcomers that only others have heard so far.
//!
//! A member takes a newcomer into its list on the word of another member, as nobody can meet everybody who joins. A member
//! that lies can announce any number that do not exist; these take the places of observers until they are found silent.
//! So their number is limited, and after many of them died without having been heard, this member pings a newcomer itself
//! before it takes it in. A newcomer that speaks for itself is always taken in.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use crate::{
    Instant, Member, MemberId, MemberState, Peer, Record,
    ctx::Ctx,
    member::{
        list::MembershipList,
        supersedes,
        transition::{News, Transition},
    },
    step::{Purpose, Source, Step},
};

/// The newcomers that were not heard here yet.
#[derive(Debug, Default)]
pub(crate) struct Newcomers {
    /// Those in the list.
    unmet: BTreeMap<MemberId, Unmet>,
    /// Those that died without having been heard, with when others last told a later version of them: at most
    /// [`MAX_GHOSTS`], one of them gives way.
    ghosts: BTreeMap<MemberId, Instant>,
    /// When the last of them died without having been heard: at most [`MANY`], latest first.
    vanished: VecDeque<Instant>,
    /// Those that are pinged before they are taken in; at most [`MAX_WAITING`], and [`MAX_WAITING_OF_ONE`] told by one
    /// member. Further ones are told of again.
    waiting: VecDeque<Waiting>,
}

#[derive(Clone, Copy, Debug)]
struct Unmet {
    /// When it was taken in.
    since: Instant,
    /// When others last told a later version of it.
    renewed_at: Option<Instant>,
}

#[derive(Debug)]
struct Waiting {
    record: Record,
    teller: MemberId,
    since: Instant,
}

impl Newcomers {
    /// Whether so many newcomers vanished lately that others' word on them is not enough.
    fn are_many_vanished(&self, now: Instant) -> bool {
        self.vanished.len() >= MANY && self.vanished.back().is_some_and(|&at| now - at < MEMORY)
    }

    /// Takes note of a newcomer taken in on the word of others.
    fn record_told(&mut self, now: Instant, id: MemberId) {
        self.unmet.insert(id, Unmet { since: now, renewed_at: None });
    }

    /// A member showed that it exists.
    fn record_heard(&mut self, id: MemberId) {
        self.unmet.remove(&id);
        self.ghosts.remove(&id);
    }

    /// Follows the death of another member.
    pub(crate) fn react(&mut self, now: Instant, transition: &Transition) {
        if transition.is_death() {
            self.record_death(now, transition.id());
        }
    }

    /// A member died.
    fn record_death(&mut self, now: Instant, id: MemberId) {
        if self.unmet.remove(&id).is_some_and(|unmet| now - unmet.since < MEMORY) {
            self.vanished.truncate(MANY - 1);
            self.vanished.push_front(now);
            if self.ghosts.len() >= MAX_GHOSTS {
                self.ghosts.pop_first();
            }
            self.ghosts.insert(id, now);
        }
    }

    /// Whether a later version of a member is taken on the word of others. Each one sets the case against it back, so one
    /// that was never heard is granted few.
    fn takes_version(&mut self, now: Instant, id: MemberId) -> bool {
        if let Some(unmet) = self.unmet.get_mut(&id) {
            return now.mark_if_due(&mut unmet.renewed_at, VERSION_INTERVAL);
        }
        let Some(renewed_at) = self.ghosts.get_mut(&id) else {
            return true;
        };
        let is_taken = now - *renewed_at >= VERSION_INTERVAL;
        *renewed_at = if is_taken { now } else { *renewed_at };
        is_taken
    }

    /// Whether there is room for one more that was not heard, in a list of so many live members.
    fn has_room(&mut self, now: Instant, live: usize) -> bool {
        let limit = MAX_UNMET + live;
        if self.unmet.len() >= limit {
            self.unmet.retain(|_, unmet| now - unmet.since < SETTLED_AFTER);
        }
        self.unmet.len() < limit
    }

    /// Keeps a newcomer that is to be pinged first; `false` if it waits already, or too many do.
    fn wait(&mut self, now: Instant, teller: MemberId, record: Record) -> bool {
        self.waiting.retain(|waiting| now - waiting.since < WAITING_TIME);
        if self.waiting.iter().any(|waiting| waiting.record.id() == record.id()) {
            return false;
        }
        let of_teller = self.waiting.iter().filter(|waiting| waiting.teller == teller).count();
        if of_teller >= MAX_WAITING_OF_ONE || self.waiting.len() >= MAX_WAITING {
            return false;
        }
        self.waiting.push_back(Waiting { record, teller, since: now });
        true
    }

    /// The record of a newcomer that waited, and answered.
    fn take(&mut self, id: MemberId) -> Option<Record> {
        let place = self.waiting.iter().position(|waiting| waiting.record.id() == id)?;
        self.waiting.remove(place).map(|waiting| waiting.record)
    }
}

impl Newcomers {
    /// Whether news of a member is taken as another one sends it. A newcomer that is not to be taken in so is pinged, and
    /// taken in when it answers.
    pub(crate) fn takes_news(
        &mut self,
        ctx: &mut Ctx,
        list: &mut MembershipList,
        source: Source,
        record: &Record,
        state: MemberState,
    ) -> bool {
        let id = record.id();
        let Some(teller) = source.teller().filter(|&teller| teller != id) else {
            return true;
        };
        let is_live = state.is_live();
        if list.get(id).is_some() {
            return !is_live || self.takes_later(ctx, list, teller, record);
        }
        let is_taken = self.is_word_enough(ctx.now, id, list.snapshot().live_len());
        // Of one that is gone there is nothing to find out.
        if !is_live {
            return is_taken;
        }
        if is_taken {
            self.record_told(ctx.now, id);
        } else {
            self.examine(ctx, teller, record);
        }
        is_taken
    }

    /// Whether a later version of a member in the list is taken as another one tells it.
    fn takes_later(
        &mut self,
        ctx: &mut Ctx,
        list: &mut MembershipList,
        teller: MemberId,
        record: &Record,
    ) -> bool {
        let id = record.id();
        if !self.takes_version(ctx.now, id) {
            ctx.stats.hearsay_ignored += 1;
            return false;
        }
        let Some(known) = list.get(id).filter(|_| self.ghosts.contains_key(&id)) else {
            return true;
        };
        // It stays dead in its later version, until it answers. Others that heard it know better, so this is no
        // news, nor is what is still queued of the earlier version's death.
        let (state, since) = (known.state, known.since);
        list.put(Member { record: record.clone(), state, since });
        ctx.then(Step::Withdraw(id));
        self.examine(ctx, teller, record);
        false
    }

    /// Whether a newcomer is taken on the word of others.
    fn is_word_enough(&mut self, now: Instant, id: MemberId, live: usize) -> bool {
        !self.ghosts.contains_key(&id) && !self.are_many_vanished(now) && self.has_room(now, live)
    }

    /// Pings a newcomer before it is taken in, if one more can wait.
    fn examine(&mut self, ctx: &mut Ctx, teller: MemberId, record: &Record) {
        if self.wait(ctx.now, teller, record.clone()) {
            ctx.stats.newcomers_examined += 1;
            let to = Peer { id: record.id(), addr: record.addr() };
            ctx.then(Step::Ping { to, purpose: Purpose::Look });
        }
    }

    /// A member was heard: it exists. One that waited for that is taken in.
    pub(crate) fn meet(&mut self, ctx: &mut Ctx, list: &MembershipList, id: MemberId) {
        self.record_heard(id);
        let Some(record) = self.take(id) else {
            return;
        };
        let state = MemberState::Alive;
        if list.get(id).is_none_or(|known| {
            supersedes((record.version(), state), (known.version(), known.state))
        }) {
            let news = News::Record { record, state };
            ctx.then(Step::Apply { news, source: Source::Ourselves });
        }
    }
}

/// So many newcomers that vanish within [`MEMORY`] make their word suspicious.
const MANY: usize = 16;
const MEMORY: Duration = Duration::from_secs(60);
/// How many newcomers that were not heard are taken in at a time, and one more for each live member.
const MAX_UNMET: usize = 1_024;
/// Whoever lived for so long is no newcomer: its observers would have found it silent.
const SETTLED_AFTER: Duration = Duration::from_secs(10);
/// How often others may tell a later version of one.
const VERSION_INTERVAL: Duration = Duration::from_secs(5);
/// How many that died without having been heard are remembered as such.
const MAX_GHOSTS: usize = 4_096;
/// How many newcomers are pinged before they are taken in.
const MAX_WAITING: usize = 64;
/// How many of them on the word of one member.
const MAX_WAITING_OF_ONE: usize = 8;
/// How long such a newcomer has to answer.
const WAITING_TIME: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::START + Duration::from_secs(seconds)
    }

    fn id(number: u128) -> MemberId {
        MemberId::from_u128(number)
    }

    #[test]
    fn newcomers_that_vanish_unheard_make_others_word_suspicious_for_a_while() {
        // How many vanish, whether they were heard before, after how many seconds they died.
        let cases = [
            (15, false, 10, false),
            (16, false, 10, true),
            (16, true, 10, false),
            (16, false, 60, false),
        ];
        for (vanish, are_heard, after, expected) in cases {
            let mut newcomers = Newcomers::default();
            for number in 0..vanish {
                newcomers.record_told(at(0), id(number));
                if are_heard {
                    newcomers.record_heard(id(number));
                }
                newcomers.record_death(at(after), id(number));
            }
            let found = newcomers.are_many_vanished(at(after));
            assert_eq!(found, expected, "{vanish} heard: {are_heard} after {after} s");
            assert!(!newcomers.are_many_vanished(at(after + 60)));
        }
    }

    #[test]
    fn later_versions_of_an_unheard_newcomer_are_few() {
        let mut newcomers = Newcomers::default();
        newcomers.record_told(at(0), id(1));
        let taken = [0, 1, 4, 5, 6, 10].map(|second| newcomers.takes_version(at(second), id(1)));
        assert_eq!(taken, [true, false, false, true, false, true]);
        newcomers.record_heard(id(1));
        assert!(newcomers.takes_version(at(11), id(1)));
    }

    #[test]
    fn unheard_newcomers_have_a_limit_and_settle_in_time() {
        let mut newcomers = Newcomers::default();
        let mut told = 0;
        while newcomers.has_room(at(0), 16) {
            newcomers.record_told(at(0), id(told));
            told += 1;
        }
        assert_eq!(told, 1_024 + 16);
        assert!(!newcomers.has_room(at(9), 16));
        assert!(newcomers.has_room(at(10), 16));
    }
}
