//! Newcomers that only others have heard so far.
//!
//! A member accepts a newcomer on the word of another member, as nobody can contact everybody who joins. A member that
//! lies can announce any number that do not exist; these take the places of observers until they are found silent. So
//! their number is limited, and after many of them died without having been heard, this member pings a newcomer itself
//! before it accepts it. A newcomer that contacts this member itself is always accepted.
//!
//! A newcomer that is gone before it was heard here is a ghost. It leaves the list long before other departed members,
//! so that invented members do not fill it. Nobody is informed: a member that did receive from it keeps it, redials
//! it, and recognises it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use crate::{
    Ctx, Instant, Member, MemberId, MemberState, MembershipList, News, Peer, Purpose, Record,
    Source, Step, Transition,
    limit::{Rate, Tokens},
    member::supersedes,
};

/// The newcomers that were not heard here yet.
#[derive(Debug, Default)]
pub(crate) struct Newcomers {
    /// Those in the list.
    unmet: BTreeMap<MemberId, Unmet>,
    /// Members that were gone before they were heard, in the list or not: at most [`MAX_GHOSTS`]; the one gone longest
    /// is dropped, also from the list.
    ghosts: BTreeMap<MemberId, Ghost>,
    /// The same, by when they were gone.
    ghosts_by_age: BTreeSet<(Instant, MemberId)>,
    /// None of the vouched members that vanished before is in the list.
    unlisted_until: Instant,
    /// When the last of them died without having been heard: at most [`MANY`], latest first.
    vanished: VecDeque<Instant>,
    /// Members that are pinged before they are accepted; at most [`MAX_WAITING`], and [`MAX_WAITING_OF_ONE`] announced
    /// by one member. Further ones are announced again later.
    waiting: VecDeque<Waiting>,
}

#[derive(Clone, Copy, Debug)]
struct Unmet {
    /// When it was taken in.
    since: Instant,
    /// The later versions of it that others may announce.
    versions: Tokens,
}

#[derive(Clone, Copy, Debug)]
struct Ghost {
    /// When it was found to be gone.
    gone_at: Instant,
    /// The later versions of it that others may announce.
    versions: Tokens,
}

#[derive(Debug)]
struct Waiting {
    record: Record,
    teller: MemberId,
    since: Instant,
}

impl Newcomers {
    /// Whether a member was gone before it was heard here.
    pub(crate) fn is_ghost(&self, id: MemberId) -> bool {
        self.ghosts.contains_key(&id)
    }

    /// Whether so many newcomers vanished recently that announcements by others are not enough.
    fn are_many_vanished(&self, now: Instant) -> bool {
        self.vanished.len() >= MANY && self.vanished.back().is_some_and(|&at| now - at < MEMORY)
    }

    /// Notes that a newcomer was accepted on the word of others.
    fn record_told(&mut self, now: Instant, id: MemberId) {
        self.unmet.insert(id, Unmet { since: now, versions: Tokens::full(now, VERSIONS) });
    }

    /// A member showed that it exists.
    fn record_heard(&mut self, id: MemberId) {
        self.unmet.remove(&id);
        self.remove_ghost(id);
    }

    /// Follows the death of another member.
    pub(crate) fn react(&mut self, ctx: &mut Ctx, transition: &Transition) {
        if transition.is_death() {
            let exceeding = self.record_death(ctx.now, transition.id());
            exceeding.into_iter().for_each(|id| ctx.then(Step::Unlist(id)));
        }
    }

    /// A member died. Returns the ghost that is dropped for it, if any.
    fn record_death(&mut self, now: Instant, id: MemberId) -> Option<MemberId> {
        let is_ghost = self.is_ghost(id);
        let has_vanished = self.unmet.remove(&id).is_some_and(|unmet| now - unmet.since < MEMORY);
        if has_vanished {
            self.vanished.truncate(MANY - 1);
            self.vanished.push_front(now);
        }
        if !has_vanished && !is_ghost {
            return None;
        }
        self.record_ghost(id, Ghost { gone_at: now, versions: Tokens::empty(now) })
    }

    /// A member is gone that was not heard. Returns the ghost that is dropped for it, if any.
    fn record_ghost(&mut self, id: MemberId, ghost: Ghost) -> Option<MemberId> {
        self.remove_ghost(id);
        let is_full = self.ghosts.len() >= MAX_GHOSTS;
        let exceeding = if is_full { self.ghosts_by_age.pop_first() } else { None };
        let exceeding = exceeding.map(|(_, oldest)| oldest);
        exceeding.into_iter().for_each(|oldest| _ = self.ghosts.remove(&oldest));
        self.ghosts.insert(id, ghost);
        self.ghosts_by_age.insert((ghost.gone_at, id));
        exceeding
    }

    fn remove_ghost(&mut self, id: MemberId) {
        if let Some(ghost) = self.ghosts.remove(&id) {
            self.ghosts_by_age.remove(&(ghost.gone_at, id));
        }
    }

    /// Takes ghosts out of the list that are gone for long enough; all of them where they leave others little room.
    pub(crate) fn unlist_ghosts(&mut self, ctx: &mut Ctx, list: &MembershipList) {
        let age = if is_crowded(ctx, list) { Duration::ZERO } else { GHOST_RETENTION };
        let (now, listed) = (ctx.now, self.ghosts_by_age.range((self.unlisted_until, FIRST_ID)..));
        for &(gone_at, id) in listed.take_while(|(gone_at, _)| now - *gone_at >= age) {
            self.unlisted_until = gone_at;
            if list.get(id).is_some() {
                ctx.then(Step::Unlist(id));
            }
        }
    }

    /// Whether a later version of a member is accepted on the word of others. Each one resets the case against it, so
    /// few are accepted for a member that was never heard.
    fn takes_version(&mut self, now: Instant, id: MemberId) -> bool {
        let unmet = self.unmet.get_mut(&id).map(|unmet| &mut unmet.versions);
        let versions = unmet.or_else(|| self.ghosts.get_mut(&id).map(|ghost| &mut ghost.versions));
        versions.is_none_or(|versions| versions.take(now, VERSIONS))
    }

    /// Whether there is room for one more that was not heard, in a list of so many live members.
    fn has_room(&mut self, now: Instant, live: usize) -> bool {
        let limit = MAX_UNMET + live;
        if self.unmet.len() < limit {
            return true;
        }
        // One that takes no place any more may still be found to be a ghost.
        self.unmet.retain(|_, unmet| now - unmet.since < MEMORY);
        let is_unsettled = |unmet: &&Unmet| now - unmet.since < SETTLED_AFTER;
        self.unmet.values().filter(is_unsettled).count() < limit
    }

    /// Keeps a newcomer that is to be pinged first; `false` if it waits already, or too many do.
    fn wait(&mut self, now: Instant, teller: MemberId, record: Record) -> bool {
        self.waiting.retain(|waiting| now - waiting.since < WAITING_TIME);
        if self.is_waiting(record.id()) {
            return false;
        }
        let of_teller = self.waiting.iter().filter(|waiting| waiting.teller == teller).count();
        if of_teller >= MAX_WAITING_OF_ONE || self.waiting.len() >= MAX_WAITING {
            return false;
        }
        self.waiting.push_back(Waiting { record, teller, since: now });
        true
    }

    /// Whether a newcomer is pinged before it is taken in.
    pub(crate) fn is_waiting(&self, id: MemberId) -> bool {
        self.waiting.iter().any(|waiting| waiting.record.id() == id)
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
        list: &MembershipList,
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
        // There is nothing to find out about a member that is gone.
        if !is_live {
            let is_taken = is_taken && !is_crowded(ctx, list);
            if is_taken {
                let ghost = Ghost { gone_at: ctx.now, versions: Tokens::full(ctx.now, VERSIONS) };
                let exceeding = self.record_ghost(id, ghost);
                exceeding.into_iter().for_each(|id| ctx.then(Step::Unlist(id)));
            }
            return is_taken;
        }
        if is_taken {
            self.record_told(ctx.now, id);
        } else {
            self.examine(ctx, teller, record);
        }
        is_taken
    }

    /// Whether a later version of a member in the list is accepted as another one announces it.
    fn takes_later(
        &mut self,
        ctx: &mut Ctx,
        list: &MembershipList,
        teller: MemberId,
        record: &Record,
    ) -> bool {
        let id = record.id();
        if !self.takes_version(ctx.now, id) {
            ctx.stats.hearsay_ignored += 1;
            // It may refute what is said here: one that lives answers at once, and then all its versions count. At the
            // address of another member it would not be reached.
            if !list.is_address_taken(id) {
                self.examine(ctx, teller, record);
            }
            return false;
        }
        // One that left said so itself; what it says later needs no proof.
        let is_doubtful =
            |known: &Arc<Member>| known.state == MemberState::Dead && self.is_ghost(id);
        if !list.get(id).is_some_and(is_doubtful) {
            return true;
        }
        // It stays dead in its later version, until it answers. Others that heard it know better.
        ctx.then(Step::Renew(record.clone()));
        self.examine(ctx, teller, record);
        false
    }

    /// Whether a newcomer is accepted on the word of others.
    fn is_word_enough(&mut self, now: Instant, id: MemberId, live: usize) -> bool {
        !self.is_ghost(id) && !self.are_many_vanished(now) && self.has_room(now, live)
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
            ctx.apply(News::Record { record, state }, Source::Ourselves);
        }
    }
}

/// Whether the list is so full that there is no room for members that are gone and were never heard.
fn is_crowded(ctx: &Ctx, list: &MembershipList) -> bool {
    list.snapshot().len() > ctx.params.max_members / 2
}

/// This many newcomers that vanish within [`MEMORY`] make their word suspicious.
const MANY: usize = 16;
const MEMORY: Duration = Duration::from_secs(60);
/// How many newcomers that were not heard are taken in at a time, and one more for each live member.
const MAX_UNMET: usize = 1_024;
/// A member that lived for this long is no newcomer: its observers would have found it silent.
const SETTLED_AFTER: Duration = Duration::from_secs(10);
/// How many later versions of one others may announce: some at once, as a member that starts anew refutes what was said of its
/// earlier run, then one in five seconds.
const VERSIONS: Rate = Rate { at_once: 8.0, per_second: 0.2 };
/// How many that were gone before they were heard are remembered as such.
const MAX_GHOSTS: usize = 4_096;
/// For how long such a one stays in the list: longer than most splits and restarts, after which it may be heard.
const GHOST_RETENTION: Duration = Duration::from_secs(600);
const FIRST_ID: MemberId = MemberId([0; 16]);
/// How many newcomers are pinged before they are taken in.
const MAX_WAITING: usize = 64;
/// How many of them one member may announce.
const MAX_WAITING_OF_ONE: usize = 8;
/// How long such a newcomer has to answer.
const WAITING_TIME: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Config, Entry, Generation, Output, PublishRequest,
        member::record::tests::{TestKeys, id as id_of, record, version},
        publish::{publication::Publication, publisher::Arrived},
        testing::{Rooms, peer},
    };

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
        assert!((0..8).all(|_| newcomers.takes_version(at(0), id(1))));
        let taken = [0, 1, 4, 5, 6, 10].map(|second| newcomers.takes_version(at(second), id(1)));
        assert_eq!(taken, [false, false, false, true, false, true]);
        newcomers.record_heard(id(1));
        assert!(newcomers.takes_version(at(11), id(1)));
    }

    #[test]
    fn a_newcomer_with_too_many_versions_is_pinged_and_all_count_once_it_answers() {
        let mut rooms = Rooms::of(3);
        let mut newcomers = Newcomers::default();
        assert!(tell(&mut newcomers, &mut rooms, 3, MemberState::Alive));
        let mut renew = |newcomers: &mut Newcomers, incarnation| {
            let record = record(3, version(0, incarnation));
            let Rooms { ctx, list, .. } = &mut rooms;
            let (source, state) = (Source::Gossip(peer(1)), MemberState::Alive);
            let is_taken = newcomers.takes_news(ctx, list, source, &record, state);
            (is_taken, rooms.effects().len())
        };
        assert!((1..8).all(|incarnation| renew(&mut newcomers, incarnation) == (true, 0)));
        let found = [8, 9, 10].map(|incarnation| renew(&mut newcomers, incarnation));
        assert_eq!(found, [(true, 0), (false, 1), (false, 0)]);
        newcomers.record_heard(id_of(3));
        assert_eq!(renew(&mut newcomers, 10), (true, 0));
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

    #[test]
    fn a_member_that_was_never_heard_and_is_dead_stays_so_in_its_next_run_and_begins_anew() {
        let mut rooms = Rooms::of(3);
        let tell = |rooms: &mut Rooms, version| {
            let entry = Entry { state: MemberState::Alive, record: record(9, version) };
            rooms.records().handle_entry(Source::Gossip(peer(1)), entry);
            rooms.run();
        };
        let publish = |rooms: &mut Rooms, generation, sequence| {
            let content = PublishRequest::new("news".parse().unwrap(), b"text".as_slice());
            let numbers = (generation, sequence, 0);
            let publication = Publication::sign(id_of(9), numbers, (content, None), &TestKeys(9));
            let arrived = Arrived { publication: Arc::new(publication), hops: 1 };
            rooms.broadcast().handle_publication(peer(1), true, arrived);
            rooms.run();
            let is_message = |output: &Output| matches!(output, Output::Message(_));
            rooms.outputs.drain(..).filter(is_message).count()
        };
        tell(&mut rooms, version(0, 0));
        assert_eq!(publish(&mut rooms, Generation(0), 5), 1);
        rooms.apply(News::State(id_of(9), MemberState::Dead), Source::Ourselves);
        rooms.run();
        let died_at = rooms.ctx.now;
        rooms.at(20_000);
        tell(&mut rooms, version(1, 0));
        let known = rooms.list.get(id_of(9)).unwrap();
        let expected = (MemberState::Dead, died_at, version(1, 0));
        assert_eq!((known.state, known.since, known.version()), expected);
        let events = rooms.outputs.drain(..).filter(|output| matches!(output, Output::Event(_)));
        assert_eq!(events.count(), 1, "the death, and nothing of the next run");
        // The numbers of its earlier run are none of this one.
        assert_eq!(publish(&mut rooms, Generation(1), 1), 1);
    }

    /// Member 1 announces a newcomer, which is put into the list if it is accepted.
    fn tell(newcomers: &mut Newcomers, rooms: &mut Rooms, node: u8, state: MemberState) -> bool {
        let record = record(node, version(0, 0));
        let Rooms { ctx, list, .. } = rooms;
        let source = Source::Gossip(peer(1));
        let is_taken = newcomers.takes_news(ctx, list, source, &record, state);
        if is_taken {
            list.put(Member { record, state, since: ctx.now });
        }
        is_taken
    }

    #[test]
    fn a_newcomer_gone_before_it_was_heard_leaves_the_list_early() {
        use MemberState::{Alive, Dead, Left};
        // The announced state, whether it is heard before it dies, how many members the list may have, after how many
        // seconds it leaves the list.
        let cases = [
            (Alive, false, 100, Some(600)),
            (Dead, false, 100, Some(600)),
            (Left, false, 100, Some(600)),
            (Alive, true, 100, None),
            (Alive, false, 7, Some(0)),
            (Alive, true, 7, None),
        ];
        for (told, is_heard, max_members, expected) in cases {
            let mut rooms = Rooms::with(3, Config { max_members, ..Config::lan() });
            let mut newcomers = Newcomers::default();
            assert!(tell(&mut newcomers, &mut rooms, 3, told));
            if is_heard {
                newcomers.record_heard(id_of(3));
            }
            if told == Alive {
                assert_eq!(newcomers.record_death(rooms.ctx.now, id_of(3)), None);
                rooms.put(3, Dead, 10_000);
            }
            let gone_at = rooms.ctx.now;
            let found = (0..700).find(|&seconds| {
                rooms.ctx.now = gone_at + Duration::from_secs(seconds);
                newcomers.unlist_ghosts(&mut rooms.ctx, &rooms.list);
                rooms.effects() == ["Unlist(n3)"]
            });
            assert_eq!(found, expected, "{told}, heard: {is_heard}, at most {max_members}");
        }
    }

    #[test]
    fn a_crowded_list_has_no_room_for_those_gone_already() {
        for (max_members, expected) in [(6, true), (5, false)] {
            let mut rooms = Rooms::with(3, Config { max_members, ..Config::lan() });
            let mut newcomers = Newcomers::default();
            let is_taken = tell(&mut newcomers, &mut rooms, 3, MemberState::Dead);
            assert_eq!(is_taken, expected, "at most {max_members}");
            assert!(tell(&mut newcomers, &mut rooms, 4, MemberState::Alive));
        }
    }

    #[test]
    fn the_ghost_gone_longest_gives_way() {
        let mut newcomers = Newcomers::default();
        let die = |newcomers: &mut Newcomers, number: usize| {
            let (at, id) = (at(number as u64), id(number as u128));
            newcomers.record_told(at, id);
            newcomers.record_death(at, id)
        };
        assert!((0..MAX_GHOSTS).all(|number| die(&mut newcomers, number).is_none()));
        // One that is heard makes room.
        newcomers.record_heard(id(0));
        let exceeding = [0, 1].map(|more| die(&mut newcomers, MAX_GHOSTS + more));
        assert_eq!(exceeding, [None, Some(id(1))]);
        assert_eq!(
            (newcomers.ghosts.len(), newcomers.ghosts_by_age.len()),
            (MAX_GHOSTS, MAX_GHOSTS)
        );
    }

    #[test]
    fn one_that_settled_before_it_vanished_is_a_ghost_all_the_same() {
        let mut newcomers = Newcomers::default();
        let many = MAX_UNMET as u128;
        (0..many).for_each(|number| newcomers.record_told(at(0), id(number)));
        assert!(newcomers.has_room(at(10), 0));
        assert_eq!(newcomers.record_death(at(20), id(1)), None);
        assert!(newcomers.is_ghost(id(1)));
    }
}
