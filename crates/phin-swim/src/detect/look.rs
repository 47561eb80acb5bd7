//! Mass silence: several subjects of this member are silent at the same time. Either many members died, or this member
//! receives nothing. It owns how to find out which.
//!
//! While more than half of the subjects are silent, this member looks along its rings past the silent members until it
//! hears from somebody. Those that it hears take the places of silent observers, and nobody is judged without one of
//! them, except a process whose kernel refuses its port.

use std::collections::BTreeSet;

use crate::{
    Ctx, Instant, MemberId, MembershipList, Peer, Purpose, Step, Timer,
    detect::{rules::Detect, view::View},
};

/// Whether nothing was received for so long, while most subjects are silent, that the fault is most likely here.
pub(crate) fn hears_nobody(view: View<'_>) -> bool {
    view.mass_silence_began().is_some_and(|began| {
        let is_late = view.now - began >= view.params.pause_tolerance * 2;
        let is_refused = view.health.last_refusal.is_some_and(|at| at >= began);
        is_late && !is_refused && view.is_most_silent() && view.health.last_answer() <= began
    })
}

/// How many members are looked at together. Where anybody answers, or kernels refuse packets, the network works and
/// there is no time to lose. If nothing answers at all, the fault is probably here, so few are asked, and late.
fn look_limit(view: View<'_>, began: Instant) -> usize {
    let (health, tolerance) = (view.health, view.params.pause_tolerance);
    // Delayed packets arrive together, but not all at the same moment.
    let is_settled = view.now - health.resumed_at >= tolerance / 4;
    let is_answered = health.last_answer() > began && is_settled;
    if is_answered || health.last_refusal.is_some_and(|at| at >= began) {
        return MAX_LOOKED_AT;
    }
    let is_early = view.now - began < tolerance * 2;
    usize::from(!is_early && view.cases.len() < MAX_UNHEARD)
}

/// How many steps are looked along each ring, and at how many members: beyond the subjects only if most are silent.
fn reach(view: View<'_>, began: Instant) -> (usize, usize) {
    match view.is_most_silent() {
        true => (MAX_STEPS, look_limit(view, began)),
        false => (1, MAX_LOOKED_AT),
    }
}

/// The next members in the rings that were neither heard since then nor looked at: at most so many.
fn unheard_in_rings(
    view: View<'_>,
    began: Instant,
    steps: usize,
    limit: usize,
) -> BTreeSet<MemberId> {
    let (me, rings) = (view.me(), view.list.rings());
    let is_unheard = |id| view.heard_at(id).is_none_or(|heard_at| heard_at < began);
    let is_looked_at =
        |id| !view.cases.misses_of(id).is_empty() || view.waiting_since(id).is_some();
    let mut places: Vec<_> = (0..usize::from(view.params.rings)).map(|ring| (ring, me)).collect();
    let mut unheard = BTreeSet::new();
    for _ in 0..steps {
        places.retain_mut(|(ring, place)| {
            let next = rings.successor(*ring, *place).filter(|&next| next != me);
            *place = next.unwrap_or(me);
            next.is_some_and(is_unheard)
        });
        for &(_, id) in &places {
            if !is_looked_at(id) && unheard.len() < limit {
                unheard.insert(id);
            }
        }
        if places.is_empty() || unheard.len() >= limit {
            break;
        }
    }
    unheard
}

/// The member that was heard last, to be pinged once in each period while few of the subjects answer: so the two stay in
/// contact, and this member is not isolated.
pub(crate) fn last_contact(view: View<'_>) -> Option<Peer> {
    let last = view.contacts.last_heard().filter(|_| view.hears_few());
    let last = last.filter(|&id| view.list.is_alive(id) && !view.cases.is_silent(id));
    let last = last.filter(|&id| view.waiting_since(id).is_none());
    last.and_then(|id| view.list.peer(id))
}

/// Whether so many members were looked at in vain that no further one is examined.
fn is_exhausted(view: View<'_>) -> bool {
    view.cases.len() >= MAX_UNHEARD && hears_nobody(view)
}

/// Pings any member: the few that survive a mass failure find each other in the end.
fn search(ctx: &mut Ctx, list: &MembershipList) {
    let other = list.random_other(&mut ctx.rng);
    if let Some(to) = other.and_then(|id| list.peer(id)) {
        ctx.stats.looks += 1;
        ctx.then(Step::Ping { to, purpose: Purpose::Redial });
    }
}

impl Detect<'_> {
    /// Looks at further members at once when several are silent: first at the other subjects, and if most are silent at
    /// the members that follow them in the rings, up to the first in each ring that was heard since.
    pub(crate) fn look_around(&mut self) {
        let now = self.ctx.now;
        if Some(now) < self.own.next_look {
            return;
        }
        let view = self.view();
        let Some(began) = view.mass_silence_began() else {
            return;
        };
        let (steps, limit) = reach(view, began);
        let unheard = unheard_in_rings(view, began, steps, limit);
        if unheard.is_empty() && !view.is_most_silent() {
            return;
        }
        let next = now + self.ctx.params.pause_tolerance / LOOKS_PER_TOLERANCE;
        self.own.next_look = Some(next);
        self.ctx.timers.set(next, Timer::Look);
        let is_exhausted = is_exhausted(self.view());
        self.ctx.stats.looks += unheard.len() as u64;
        unheard.into_iter().for_each(|id| self.verify(id));
        if is_exhausted {
            search(self.ctx, self.list);
        }
    }
}

/// How many members are looked at together, and how often in a pause tolerance: 48 of them, each with one ping and, where
/// that is missed, the retries of any case.
const MAX_LOOKED_AT: usize = 6;
const LOOKS_PER_TOLERANCE: u32 = 8;
/// This many cases may be open while nothing at all is received; then no further member is examined, only pinged.
const MAX_UNHEARD: usize = 64;
/// How far along a ring is looked.
const MAX_STEPS: usize = 512;

#[cfg(test)]
mod tests;
