//! Which members were heard and which were silent lately, and who refuted: whether this node may have been apart from the
//! others for a while.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use crate::{Instant, MemberId, limit::make_room};

/// The members that this node received from and those it found silent, each with the last such moment: at most
/// [`MAX_CONTACTS`] of each.
#[derive(Debug, Default)]
pub(crate) struct Contacts {
    heard: BTreeMap<MemberId, Instant>,
    silent: BTreeMap<MemberId, Instant>,
    /// The members that were sent the claim against them.
    informed: BTreeMap<MemberId, Instant>,
    /// When we last refuted what others held us for.
    refuted_at: Option<Instant>,
    /// The member that this node last sent a refutation to, when, and how often at that moment.
    answered: Option<(MemberId, Instant)>,
    answers: u32,
    /// When members fell, that is became suspect or dead here, latest first: at most [`MAX_CONTACTS`].
    falls: VecDeque<Instant>,
    /// The members that fell one soon after another, if nobody has refuted since.
    wave: Option<Wave>,
    /// When one of them last refuted.
    other_refuted_at: Option<Instant>,
}

/// Members that fell one soon after another.
#[derive(Clone, Copy, Debug)]
struct Wave {
    began_at: Instant,
    last_at: Instant,
    falls: usize,
}

impl Contacts {
    pub(crate) fn record_heard(&mut self, id: MemberId, at: Instant) {
        record(&mut self.heard, id, at);
    }

    /// Whether misses of a member make this node accuse it.
    pub(crate) fn record_silent(&mut self, id: MemberId, now: Instant) {
        record(&mut self.silent, id, now);
    }

    /// Notes that a member was sent the claim that it is suspect or dead.
    pub(crate) fn record_informed(&mut self, id: MemberId, now: Instant) {
        record(&mut self.informed, id, now);
    }

    /// When a member was last sent that claim.
    pub(crate) fn informed_at(&self, id: MemberId) -> Option<Instant> {
        self.informed.get(&id).copied()
    }

    pub(crate) const fn record_refuted(&mut self, now: Instant) {
        self.refuted_at = Some(now);
    }

    /// Another run of a member's process begins: what was of the former says nothing of it.
    pub(crate) fn forget(&mut self, id: MemberId) {
        self.heard.remove(&id);
        self.silent.remove(&id);
    }

    /// Whether to answer a member that considers this node suspect or dead once more at this moment: one message may
    /// contain the claim any number of times.
    pub(crate) fn may_answer(&mut self, now: Instant, to: MemberId) -> bool {
        let is_another = self.answered.replace((to, now)) != Some((to, now));
        self.answers = if is_another { 1 } else { self.answers.saturating_add(1) };
        self.answers <= MAX_ANSWERS
    }

    /// A member fell. Those that fall at most a `gap` after another are of one wave, which lasts no longer than some gaps.
    pub(crate) fn record_fall(&mut self, now: Instant, gap: Duration) {
        self.falls.truncate(MAX_CONTACTS - 1);
        self.falls.push_front(now);
        let is_of = |wave: &Wave| now - wave.last_at <= gap && now - wave.began_at <= gap * WAVE;
        let wave = self.wave.filter(is_of);
        let wave = wave.unwrap_or(Wave { began_at: now, last_at: now, falls: 0 });
        self.wave = Some(Wave { last_at: now, falls: wave.falls.saturating_add(1), ..wave });
    }

    /// A member that had fallen refuted: it may be so with others, and a wave is no longer one of the dead.
    pub(crate) const fn record_other_refuted(&mut self, now: Instant) {
        self.other_refuted_at = Some(now);
        self.wave = None;
    }

    /// Since when many members fell together, of a list of so many, if none of them has refuted.
    pub(crate) fn wave_began(&self, members: usize) -> Option<Instant> {
        self.wave.filter(|wave| wave.falls > few_falls(members)).map(|wave| wave.began_at)
    }

    /// Whether so many members or more fell since then, of a list of so many.
    pub(crate) fn have_many_fallen(&self, since: Instant, members: usize) -> bool {
        self.falls.get(few_falls(members)).is_some_and(|&at| at >= since)
    }

    pub(crate) fn has_other_refuted(&self, since: Instant) -> bool {
        self.other_refuted_at.is_some_and(|at| at >= since)
    }

    /// The members heard since then, beginning with those after `place` in the order of ids.
    pub(crate) fn heard_since(
        &self,
        began: Instant,
        place: MemberId,
    ) -> impl Iterator<Item = MemberId> {
        let (before, after) = (self.heard.range(..=place), self.heard.range(place..));
        after.chain(before).filter(move |&(_, &at)| at >= began).map(|(&id, _)| id)
    }

    pub(crate) fn is_any_heard_since(&self, began: Instant) -> bool {
        self.heard.values().any(|&at| at >= began)
    }

    pub(crate) fn last_heard(&self) -> Option<MemberId> {
        self.heard.iter().max_by_key(|&(_, at)| at).map(|(&id, _)| id)
    }

    pub(crate) fn heard_at(&self, id: MemberId) -> Option<Instant> {
        self.heard.get(&id).copied()
    }

    /// Whether, since then, we were perhaps apart from most: others held us for suspect or dead, or we found silent, this
    /// member aside, half as many as we heard.
    pub(crate) fn were_apart(&self, since: Instant, aside: MemberId) -> bool {
        let is_since = |&(id, &at): &(&MemberId, &Instant)| *id != aside && at >= since;
        let silent = self.silent.iter().filter(is_since).count();
        let is_heard = |&(id, _): &(&MemberId, &Instant)| {
            self.silent.get(id).is_none_or(|&silent_at| silent_at < since)
        };
        let heard = self.heard.iter().filter(is_since).filter(is_heard).count();
        self.refuted_at.is_some_and(|at| at >= since) || (silent > 0 && silent * 2 >= heard)
    }
}

/// How many of so many members may fall at a time without being many.
pub(crate) fn few_falls(members: usize) -> usize {
    (FEW_FALLS + members / FALLS_OF_MEMBERS).min(MAX_CONTACTS - 1)
}

fn record(contacts: &mut BTreeMap<MemberId, Instant>, id: MemberId, at: Instant) {
    make_room(contacts, id, MAX_CONTACTS, |&at| at);
    let last = contacts.entry(id).or_insert(at);
    *last = at.max(*last);
}

/// This many members that fall within one silence are no sign of a split, plus one for each so many in the list.
const FEW_FALLS: usize = 3;
const FALLS_OF_MEMBERS: usize = 32;
/// How many gaps a wave lasts at most: where members fall all the time, it is none.
const WAVE: u32 = 3;
/// How often one member is answered at one moment that we live: more often than it accuses us while we pause.
const MAX_ANSWERS: u32 = 64;
/// How many members are remembered as heard, and as silent: more than a member talks to in the time that counts.
const MAX_CONTACTS: usize = 64;

#[cfg(test)]
mod tests;
