//! The schedule of probes: members agree on the number of the protocol period and on when it began, so that each
//! member is pinged once in every period, by its observers in turn, always at the same point of it.
//!
//! Every ping and ack carries the round's number and its age. A member that learns of a round ahead of its own moves
//! forward, by no more than an eighth of a period at a time; no member moves back, so all follow the fastest clock.
//! Clocks are not compared: an age means the same to everyone. Network delay only makes a round seem younger.
//!
//! **Calm.** Where the configuration allows it, a period becomes longer while nothing happens: 2, 4, 8… rounds. Rounds go on
//! as before, each of one shortest period, so members agree on them whatever their periods are; a longer period begins
//! in a round whose number it divides, so those of equal length begin together, and each member is still pinged once in
//! each. Only who pings waits for anything, so nobody needs to know the periods of others.

use std::time::Duration;

use rand::RngExt;

use crate::{Ctx, Instant, MemberId, MembershipList, Params, Pulse, Round, Timer};

/// Our own protocol period, and whom it is for.
#[derive(Debug)]
pub(crate) struct Rounds {
    round: Round,
    began_at: Instant,
    /// Whether we ever heard of another's round: until then we take its time whole.
    is_aligned: bool,
    /// The round in which this node last moved; it moves at most once in each.
    moved_in: Option<Round>,
    /// The member to be pinged in this period, until it is.
    planned: Option<Planned>,
    /// A period is two to this power rounds long.
    pace: u32,
    /// How many periods of this length have passed in calm.
    calm_periods: u32,
    /// When the period was last cut short: how long others were not heard before says little.
    pub(crate) quickened_at: Instant,
}

/// A member to ping in a round of the present period.
#[derive(Clone, Copy, Debug)]
struct Planned {
    target: MemberId,
    round: Round,
    /// At which point of that round.
    point: Duration,
}

impl Rounds {
    /// Rounds that begin at a moment of our own.
    pub(crate) const fn new(began_at: Instant) -> Self {
        Self {
            round: Round(0),
            began_at,
            is_aligned: false,
            moved_in: None,
            planned: None,
            pace: 0,
            calm_periods: 0,
            quickened_at: began_at,
        }
    }

    #[cfg(test)]
    pub(crate) const fn in_round(began_at: Instant, round: Round) -> Self {
        Self { round, ..Self::new(began_at) }
    }

    pub(crate) const fn round(&self) -> Round {
        self.round
    }

    /// In how many rounds we ping one member.
    const fn rounds_per_period(&self) -> u16 {
        1 << self.pace
    }

    /// How long ago the round began.
    pub(crate) const fn age(&self, now: Instant) -> Duration {
        now.saturating_since(self.began_at)
    }
}

impl Rounds {
    /// Begins the round after this one, unless this one has ended already; says whether a period of ours begins with it.
    pub(crate) fn advance(&mut self, now: Instant, params: &Params) -> bool {
        let period = params.period;
        let is_late = self.age(now) > period * 2;
        let due = self.began_at + period;
        self.began_at = if is_late { now } else { now.min(due) };
        self.round = self.round.next();
        self.round.0.is_multiple_of(self.rounds_per_period())
    }

    /// Chooses the member that the period which begins now is for.
    pub(crate) fn plan_period(&mut self, ctx: &mut Ctx, list: &MembershipList) {
        let (round, rounds) = (self.round, self.rounds_per_period());
        let target = choose_target(ctx, list, Round(round.0 / rounds));
        let period = ctx.params.period;
        self.planned = target.map(|target| {
            let point = point_of(target, period * u32::from(rounds));
            let after = (point.as_nanos() / period.as_nanos()).min(u128::from(rounds) - 1) as u16;
            let round = Round(round.0.wrapping_add(after));
            Planned { target, round, point: point - period * u32::from(after) }
        });
    }

    /// Lengthens the period where it has been calm for long enough.
    pub(crate) fn slow_down(&mut self, params: &Params) {
        let longest = params.max_period.unwrap_or_default();
        let twice = self.period(params) * 2;
        self.calm_periods = self.calm_periods.saturating_add(1);
        if self.calm_periods >= CALM_PERIODS && twice <= longest {
            self.pace += 1;
            self.calm_periods = 0;
        }
    }

    /// Something happened: the period is as short as it can be from now on. The member that this one is for is pinged in
    /// this round, at once if its point of it has passed: no other observer has its turn before the next.
    pub(crate) fn quicken(&mut self, ctx: &mut Ctx) {
        self.calm_periods = 0;
        if self.pace == 0 {
            return;
        }
        self.pace = 0;
        self.quickened_at = ctx.now;
        let round = self.round;
        self.planned = self.planned.map(|planned| Planned { round, ..planned });
        self.set_timers(ctx);
    }

    /// How long our protocol period is at present.
    pub(crate) fn period(&self, params: &Params) -> Duration {
        params.period * u32::from(self.rounds_per_period())
    }

    /// Takes the member that this period is for, if that was due by the end of this round.
    pub(crate) fn take_overdue(&mut self) -> Option<MemberId> {
        let round = self.round;
        self.planned.take_if(|planned| planned.round.ahead_of(round) <= 0).map(|p| p.target)
    }

    /// Takes the member that is to be pinged at a point of this round, if the plan is still the same.
    pub(crate) fn take_due(&mut self, round: Round) -> Option<MemberId> {
        let is_current = self.round == round;
        self.planned.take_if(|planned| is_current && planned.round == round).map(|p| p.target)
    }

    /// Hears of another's round, and moves forward to it.
    pub(crate) fn hear(&mut self, ctx: &mut Ctx, list: &MembershipList, pulse: &Pulse) {
        let period = ctx.params.period;
        let age = Duration::from_millis(pulse.round_age_ms.into()).min(period);
        if !self.is_aligned {
            return self.align(ctx, list, pulse.round, age);
        }
        match pulse.round.ahead_of(self.round) {
            ahead @ (0 | 1) => self.approach(ctx, period * ahead as u32 + age),
            2.. => self.skip_to(ctx, pulse.round),
            _ => {}
        }
    }

    /// Takes another's time whole.
    fn align(&mut self, ctx: &mut Ctx, list: &MembershipList, round: Round, age: Duration) {
        self.is_aligned = true;
        self.round = round;
        self.began_at = ctx.now.saturating_sub(age);
        // A newcomer takes part in what is left of the round.
        self.plan_period(ctx, list);
        let period = ctx.params.period;
        self.planned.take_if(|planned| point_of(planned.target, period) <= age);
        self.set_timers(ctx);
    }

    /// So far ahead, it is a cluster that counts otherwise: its number is taken, its time approached.
    fn skip_to(&mut self, ctx: &mut Ctx, round: Round) {
        self.round = round;
        // The member that our period is for is pinged before the round ends.
        if let Some(planned) = &mut self.planned {
            planned.round = round;
        }
        self.set_timers(ctx);
    }

    /// Moves towards another's time, which is this far into our round; at most once in each round.
    fn approach(&mut self, ctx: &mut Ctx, theirs: Duration) {
        let period = ctx.params.period;
        let ahead = theirs.saturating_sub(self.age(ctx.now).min(period));
        if ahead < MIN_MOVE || self.moved_in == Some(self.round) {
            return;
        }
        self.moved_in = Some(self.round);
        self.began_at = self.began_at.saturating_sub(ahead.min(period / 8));
        self.set_timers(ctx);
    }

    /// Sets the timers of this round; those set before are recognised as stale.
    pub(crate) fn set_timers(&self, ctx: &mut Ctx) {
        let Self { round, began_at, planned, .. } = *self;
        if let Some(planned) = planned.filter(|planned| planned.round == round) {
            ctx.timers.set(began_at + planned.point, Timer::Probe(round.0));
        }
        ctx.timers.set(began_at + ctx.params.period, Timer::Period(round.0));
    }
}

/// The member that a round is for: seldom a random one, which finds what the rings alone would miss, as it costs a
/// handshake; never where everyone observes everyone.
fn choose_target(ctx: &mut Ctx, list: &MembershipList, round: Round) -> Option<MemberId> {
    let is_random =
        !list.rings().are_complete() && ctx.rng.random_range(0..RANDOM_PROBE_ONE_IN) == 0;
    match is_random {
        true => list.random_other(&mut ctx.rng),
        false => list.rings().subject_in_round(list.me().id(), round.0),
    }
}

/// The point of every period at which a member is pinged, whoever's turn it is: as good as random, and its own.
fn point_of(target: MemberId, period: Duration) -> Duration {
    let share = u32::from_be_bytes([target.0[12], target.0[13], target.0[14], target.0[15]]);
    period.mul_f64(f64::from(share) / f64::from(u32::MAX))
}

/// One probe in so many goes to a random member. At 4.4 kB for a handshake it adds some 35 bytes a second; one in
/// K + 1 would add 490, twice the rest of the idle load.
const RANDOM_PROBE_ONE_IN: u32 = 128;
/// After so many periods without anything the period is doubled: each link was used once where there are as many rings.
const CALM_PERIODS: u32 = 8;
/// Being ahead by less than this is the network's doing, or scheduling.
const MIN_MOVE: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests;
