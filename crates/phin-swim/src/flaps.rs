//! Flap damping: a member that dies and returns again and again is suppressed, by a penalty that halves over time.
//!
//! Each member decides by its own observations. A suppressed member stays in the list and takes part as before: it is
//! probed, observes, votes. Only the application receives no notice of its changes until the penalty has decayed.

use std::{collections::BTreeMap, f64::consts::LN_2, time::Duration};

use phin_accrual::{exp, ln};

use crate::{
    Change, Config, Ctx, Instant, MemberId, MembershipList, Stats, Step, Timer, Transition,
    member::list::Suppression,
};

/// How often members died lately: at most [`MAX_FLAPPING`] of them.
#[derive(Debug)]
pub(crate) struct Flaps {
    penalties: BTreeMap<MemberId, Penalty>,
    /// When those that had decayed were last forgotten.
    pruned_at: Instant,
    /// The suspicions of members within the last minute: of at most [`MAX_FLAPPING`] members.
    suspicions: BTreeMap<MemberId, Suspicions>,
}

/// The suspicions of one member within a minute.
#[derive(Clone, Copy, Debug)]
struct Suspicions {
    /// When the first of them was reported.
    since: Instant,
    reported: u32,
    /// Whether the last one was not reported.
    is_hidden: bool,
}

/// One for each death, halved in each half life.
#[derive(Clone, Copy, Debug)]
struct Penalty {
    value: f64,
    at: Instant,
}

impl Flaps {
    pub(crate) const fn new(now: Instant) -> Self {
        Self { penalties: BTreeMap::new(), pruned_at: now, suspicions: BTreeMap::new() }
    }

    /// Whether a change of a member is reported, as far as suspicions are concerned: at most `limit` in a minute, each
    /// with its end. A member that is starved, or that some members do not reach, is suspected and refutes repeatedly.
    /// Its state in the list is not delayed, nor is its death.
    pub(crate) fn reports(
        &mut self,
        now: Instant,
        id: MemberId,
        change: Change,
        limit: u32,
    ) -> bool {
        let is_recent = |last: &Suspicions| now.saturating_since(last.since) < SUSPICION_WINDOW;
        let last = self.suspicions.get_mut(&id);
        match (change, last) {
            (Change::Suspect, Some(last)) if is_recent(last) => {
                last.is_hidden = last.reported >= limit;
                last.reported += u32::from(!last.is_hidden);
                !last.is_hidden
            }
            (Change::Suspect, _) => {
                self.suspicions.retain(|_, last| is_recent(last));
                self.record_first_suspicion(now, id);
                true
            }
            (Change::Alive, Some(last)) => !std::mem::take(&mut last.is_hidden),
            (Change::Dead | Change::Left | Change::Forgotten | Change::Expelled, _) => {
                self.suspicions.remove(&id);
                true
            }
            (
                Change::Alive
                | Change::Joined
                | Change::Updated
                | Change::NameConflict
                | Change::Suppressed
                | Change::Degraded
                | Change::Recovered,
                _,
            ) => true,
        }
    }
}

impl Penalty {
    /// The remaining penalty.
    fn left(self, now: Instant, half_life: Duration) -> f64 {
        let half_lives = (now - self.at).as_secs_f64() / half_life.as_secs_f64();
        self.value * exp(-half_lives * LN_2)
    }
}

impl Config {
    /// The highest penalty that a member can have, so that its suppression ends at some time after its last death.
    fn max_flap_penalty(&self) -> f64 {
        self.flap_suppress * 2.0
    }

    /// How long a penalty takes to decay to the threshold of reuse.
    fn suppression_time(&self, penalty: f64) -> Duration {
        self.flap_half_life.mul_f64((ln(penalty / self.flap_reuse) / LN_2).max(0.0))
    }
}

impl Flaps {
    /// Counts a member that died, or was restarted before anyone noticed its death.
    pub(crate) fn react(&mut self, ctx: &mut Ctx, list: &mut MembershipList, of: &Transition) {
        if of.is_unnoticed_restart() || of.is_death() {
            self.record(ctx, list, of.id());
        }
    }

    fn record(&mut self, ctx: &mut Ctx, list: &mut MembershipList, id: MemberId) {
        let (now, half_life) = (ctx.now, ctx.params.flap_half_life);
        let value = (self.penalty(now, id, half_life) + 1.0).min(ctx.params.max_flap_penalty());
        if !self.has_room(now, id, half_life) {
            ctx.stats.flaps_ignored += 1;
            return;
        }
        self.penalties.insert(id, Penalty { value, at: now });
        if list.snapshot().suppression(id).is_some() || value >= ctx.params.flap_suppress {
            let until = now + ctx.params.suppression_time(value);
            list.suppress_until(id, until);
            ctx.timers.set(until, Timer::Release(id));
        }
    }

    /// The settings have changed: members are suppressed until their penalties have decayed by the new ones.
    pub(crate) fn plan_releases(&self, ctx: &mut Ctx, list: &mut MembershipList) {
        let (now, half_life) = (ctx.now, ctx.params.flap_half_life);
        let suppressed =
            self.penalties.keys().filter(|&&id| list.snapshot().suppression(id).is_some());
        for id in suppressed.copied().collect::<Vec<_>>() {
            let penalty = self.penalty(now, id, half_life);
            let until = now + ctx.params.suppression_time(penalty);
            list.suppress_until(id, until);
            ctx.timers.set(until, Timer::Release(id));
        }
    }

    /// The penalty of a member as it is now: one for each death, halved in each half-life; zero of a steady one.
    pub(crate) fn penalty(&self, now: Instant, id: MemberId, half_life: Duration) -> f64 {
        self.penalties.get(&id).map_or(0.0, |penalty| penalty.left(now, half_life))
    }

    fn record_first_suspicion(&mut self, now: Instant, id: MemberId) {
        if self.suspicions.len() < MAX_FLAPPING {
            let first = Suspicions { since: now, reported: 1, is_hidden: false };
            self.suspicions.insert(id, first);
        }
    }

    fn has_room(&mut self, now: Instant, id: MemberId, half_life: Duration) -> bool {
        let is_full = self.penalties.len() >= MAX_FLAPPING;
        if is_full && now - self.pruned_at >= half_life {
            self.pruned_at = now;
            self.penalties.retain(|_, penalty| penalty.left(now, half_life) >= 0.5);
        }
        self.penalties.len() < MAX_FLAPPING || self.penalties.contains_key(&id)
    }
}

/// The change to report instead of this one, if any, where the member is suppressed.
pub(crate) fn damp(
    stats: &mut Stats,
    list: &mut MembershipList,
    id: MemberId,
    change: Change,
) -> Option<Change> {
    let Some(suppression) = list.snapshot().suppression(id) else {
        return Some(change);
    };
    // A departure is the member's own choice, and its last word.
    if change == Change::Left {
        list.suppress(id, None);
        return Some(change);
    }
    if suppression.is_told {
        return None;
    }
    // It returns from the death for which it is suppressed.
    if change == Change::Alive {
        stats.returns_suppressed += 1;
        list.suppress(id, Some(Suppression { is_told: true, ..suppression }));
        return Some(Change::Suppressed);
    }
    Some(change)
}

/// The penalty of a member has decayed, unless it died again meanwhile: its state now is reported.
pub(crate) fn release(ctx: &mut Ctx, list: &mut MembershipList, id: MemberId) {
    let now = ctx.now;
    let Some(suppression) =
        list.snapshot().suppression(id).filter(|suppression| suppression.until <= now)
    else {
        return;
    };
    list.suppress(id, None);
    if let Some(member) = list.get(id).filter(|_| suppression.is_told).cloned() {
        ctx.then(Step::Announce { change: Change::to(member.state), member });
    }
}

/// How many members' penalties are kept, and how many members' suspicions; further ones are not damped.
const MAX_FLAPPING: usize = 1_024;
/// The suspicions of a member within this time are counted together.
const SUSPICION_WINDOW: Duration = Duration::from_secs(60);
/// This many suspicions are reported.
pub(crate) const MAX_SUSPICIONS: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_suspicions_are_reported_in_a_minute_each_with_its_end() {
        use Change::{Alive, Dead, Suspect};
        /// At which second, what happens, and whether it is reported.
        type Step = (u64, Change, bool);
        let cases: &[(u32, &[Step])] = &[
            (1, &[(0, Suspect, true), (1, Alive, true), (5, Suspect, false), (6, Alive, false)]),
            (1, &[(0, Suspect, true), (1, Alive, true), (60, Suspect, true), (61, Alive, true)]),
            (2, &[(0, Suspect, true), (1, Alive, true), (2, Suspect, true), (3, Alive, true)]),
            // A death is never hidden, nor what follows it.
            (1, &[(0, Suspect, true), (1, Alive, true), (2, Suspect, false), (3, Dead, true)]),
            (1, &[(0, Suspect, true), (1, Dead, true), (2, Alive, true), (3, Suspect, true)]),
            (1, &[(0, Alive, true), (1, Alive, true)]),
        ];
        for (limit, case) in cases {
            let mut flaps = Flaps::new(Instant::START);
            for &(at, change, expected) in *case {
                let now = Instant::START + Duration::from_secs(at);
                let found = flaps.reports(now, MemberId([1; 16]), change, *limit);
                assert_eq!(found, expected, "{change:?} at {at} s of {case:?}");
            }
        }
    }
}
