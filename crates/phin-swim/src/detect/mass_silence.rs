//! Mass silence: several subjects of this member are silent at the same time. Either many members died, or this member
//! receives nothing. It owns how to tell the two apart, and who judges when most observers of a dead member are dead too.
//!
//! While more than half of the subjects are silent, this member looks along its rings past the silent members until it
//! hears from somebody. Those that it hears take the places of silent observers, and nobody is judged without one of
//! them, except a process whose kernel refuses its port.

use std::collections::BTreeSet;

use crate::{Instant, MemberId, Swim, step::Purpose, timers::Timer};

/// When members beyond the subjects are looked at next.
#[derive(Debug, Default)]
pub(crate) struct MassSilence {
    next_look: Option<Instant>,
}

impl Swim {
    /// Whether a member has not answered this one several times in a row.
    pub(crate) fn is_silent_to_us(&self, id: MemberId) -> bool {
        self.cases.misses_of(id).len() >= SILENT_MISSES
    }

    /// Whether more than half of our subjects are silent to us.
    pub(crate) fn is_most_silent(&self) -> bool {
        let subjects = self.list.rings().subjects(self.id());
        let silent = subjects.iter().filter(|&&id| !self.cases.misses_of(id).is_empty()).count();
        subjects.len() >= MIN_SUBJECTS && silent * 2 > subjects.len()
    }

    /// Whether the silence of this member may be a fault of ours: most others are silent too, or its other observers are.
    pub(crate) fn may_be_deaf(&self, now: Instant, subject: MemberId) -> bool {
        self.is_most_silent() || self.hears_few() || self.are_observers_silent(now, subject)
    }

    /// Whether less than half of our subjects answer us themselves. Others may vouch for the rest.
    fn hears_few(&self) -> bool {
        let subjects = self.list.rings().subjects(self.id());
        let unheard = subjects.iter().filter(|&&id| self.gives_no_reply(id));
        subjects.len() >= MIN_DIRECT && unheard.count() * 2 > subjects.len()
    }

    /// Whether a member has other observers, and all of them are silent.
    fn are_observers_silent(&self, now: Instant, subject: MemberId) -> bool {
        let mut others = self.alive_observers(subject);
        others.retain(|&id| id != self.id());
        !others.is_empty() && !others.iter().any(|&id| self.is_able(now, id, subject))
    }

    /// Whether nobody at all was heard since this member was accused to others, a moment ago.
    fn is_unanswered(&self, now: Instant, subject: MemberId) -> bool {
        self.cases.accused_at(subject).is_some_and(|accused_at| {
            now - accused_at >= self.ctx.params.pause_tolerance / 4
                && !self.contacts.is_any_heard_since(accused_at)
        })
    }

    /// When the silence of our subjects began, if at least two are silent, or one and those asked about it.
    fn mass_silence_began(&self, now: Instant) -> Option<Instant> {
        let mut silent = self.list.rings().subjects(self.id());
        silent.retain(|&id| self.is_silent_to_us(id));
        let is_mass = match silent[..] {
            [] => false,
            [one] => self.are_observers_silent(now, one) || self.is_unanswered(now, one),
            [..] => true,
        };
        let began = silent.iter().filter_map(|&id| self.cases.misses_of(id).first().copied());
        began.min().filter(|_| is_mass)
    }

    /// Looks at further members at once when several are silent: first at the other subjects, and if most are silent at
    /// the members that follow them in the rings, up to the first in each ring that was heard since.
    pub(crate) fn look_around(&mut self) {
        let now = self.ctx.now;
        if self.mass_silence.next_look.is_some_and(|next| now < next) {
            return;
        }
        let Some(began) = self.mass_silence_began(now) else {
            return;
        };
        let is_far = self.is_most_silent();
        let limit = if is_far { self.look_limit(now, began) } else { MAX_LOOKED_AT };
        let unheard = self.unheard_in_rings(began, is_far, limit);
        if unheard.is_empty() && !is_far {
            return;
        }
        let next = now + self.ctx.params.pause_tolerance / LOOKS_PER_TOLERANCE;
        self.mass_silence.next_look = Some(next);
        self.ctx.timers.set(next, Timer::Look);
        self.ctx.stats.looks += unheard.len() as u64;
        for id in unheard {
            self.verify(id);
        }
    }

    /// How many members are looked at together. Where anybody answers, or kernels refuse packets, the network works and
    /// there is no time to lose. If nothing
    /// answers at all, the fault is probably here, so few are asked, and late.
    fn look_limit(&self, now: Instant, began: Instant) -> usize {
        // What was held up arrives at once, but not all of it at the same moment.
        let is_settled = now - self.health.resumed_at() >= self.ctx.params.pause_tolerance / 4;
        if (self.health.last_answer() > began && is_settled)
            || self.health.last_refusal().is_some_and(|at| at >= began)
        {
            return MAX_LOOKED_AT;
        }
        let patience = self.ctx.params.pause_tolerance * 2;
        let is_early = now - began < patience;
        usize::from(!is_early && self.cases.len() < MAX_UNHEARD)
    }

    /// Pings the member that was heard last, once in each period, while few of the subjects answer: so the two stay in
    /// contact, and this member is not isolated.
    pub(crate) fn keep_contact(&mut self) {
        if !self.hears_few() {
            return;
        }
        let last = self.contacts.last_heard().filter(|&id| {
            self.is_alive(id) && !self.is_silent_to_us(id) && self.waiting_since(id).is_none()
        });
        if let Some(peer) = last.and_then(|id| self.peer(id)) {
            self.ping(peer, Purpose::Probe);
        }
    }

    /// The next members in the rings that were neither heard since then nor looked at: at most so many.
    fn unheard_in_rings(&self, began: Instant, is_far: bool, limit: usize) -> BTreeSet<MemberId> {
        let me = self.id();
        let steps = if is_far { MAX_STEPS } else { 1 };
        let rings = self.list.rings();
        let mut places: Vec<_> =
            (0..usize::from(self.ctx.params.rings)).map(|ring| (ring, me)).collect();
        let mut unheard = BTreeSet::new();
        for _ in 0..steps {
            places.retain_mut(|(ring, place)| {
                let next = rings.successor(*ring, *place).filter(|&next| next != me);
                *place = next.unwrap_or(me);
                next.is_some_and(|next| !self.was_heard_since(next, began))
            });
            for &(_, id) in &places {
                let is_looked_at =
                    !self.cases.misses_of(id).is_empty() || self.waiting_since(id).is_some();
                if !is_looked_at && unheard.len() < limit {
                    unheard.insert(id);
                }
            }
            if places.is_empty() || unheard.len() >= limit {
                break;
            }
        }
        unheard
    }

    fn was_heard_since(&self, id: MemberId, began: Instant) -> bool {
        self.contacts.heard_at(id).is_some_and(|heard_at| heard_at >= began)
    }

    /// Those that judge a member: its observers that are able to. If fewer than two are, and most subjects are silent, this
    /// member and some others that it heard since take the places of the rest.
    pub(crate) fn voters(&self, now: Instant, subject: MemberId) -> Vec<MemberId> {
        if !self.may_be_deaf(now, subject) || self.is_starved() {
            // One that is silent to us may still vote: a majority of fewer would not convince the others. On a starved machine
            // those that are silent now will vote later.
            return self.alive_observers(subject);
        }
        let mut voters = self.able_observers(now, subject);
        if voters.len() >= 2 {
            return voters;
        }
        let Some(began) = self.mass_silence_began(now) else {
            return voters;
        };
        let stand_ins = self.contacts.heard_since(began, subject).filter(|&id| {
            !voters.contains(&id) && self.is_able(now, id, subject) && !self.is_silent_to_us(id)
        });
        let stand_ins: Vec<_> = stand_ins.take(MAX_STAND_INS).collect();
        voters.extend(stand_ins);
        if !voters.contains(&self.id()) {
            voters.push(self.id());
        }
        voters
    }
}

/// So many missed replies in a row are a silence.
const SILENT_MISSES: usize = 2;
/// Of fewer subjects, no share says anything.
const MIN_SUBJECTS: usize = 4;
/// The same for subjects that do not answer us themselves, whatever others say of them.
const MIN_DIRECT: usize = 3;
/// How many members are looked at together, and how often in a pause tolerance: 48 of them, each with one ping and, where
/// that is missed, the retries of any case.
const MAX_LOOKED_AT: usize = 6;
const LOOKS_PER_TOLERANCE: u32 = 8;
/// So many cases may be open while nothing at all is received; then no further member is looked at.
const MAX_UNHEARD: usize = 64;
/// How far along a ring is looked.
const MAX_STEPS: usize = 512;
/// How many members take the places of silent observers.
const MAX_STAND_INS: usize = 3;
