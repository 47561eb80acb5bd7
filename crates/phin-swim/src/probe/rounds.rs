//! Whose turn it is, and when: members agree on the number of the protocol period and on when it began, so that each
//! member is pinged once in every period, by its observers in turn, always at the same point of it.
//!
//! On every ping and ack ride the round's number and its age. Who hears of a round that is ahead of its own moves
//! forward, by no more than an eighth of a period at a time; nobody moves back, so all follow the fastest clock. No two
//! clocks are compared: an age means the same to everyone. What the network delays only makes a round seem younger.
//!
//! **Calm.** Where the configuration allows it, a period becomes longer while nothing happens: 2, 4, 8… rounds. Rounds go on
//! as before, each of one shortest period, so members agree on them whatever their periods are; a longer period begins
//! in a round whose number it divides, so those of equal length begin together, and each member is still pinged once in
//! each. Only who pings waits for anything, so nobody needs to know the periods of others.

use std::time::Duration;

use crate::{
    Instant, MemberId, Swim,
    step::Purpose,
    timers::Timer,
    wire::{Pulse, Round},
};

/// Our own protocol period, and whom it is for.
#[derive(Debug)]
pub(crate) struct Rounds {
    round: Round,
    began_at: Instant,
    /// Whether we ever heard of another's round: until then we take its time whole.
    is_aligned: bool,
    /// In which round we last moved; at most once in each.
    moved_in: Option<Round>,
    /// Whom this period is for, until it is pinged.
    planned: Option<Planned>,
    /// A period is two to this power rounds long.
    pace: u32,
    /// How many periods of this length have passed in calm.
    calm_periods: u32,
    /// When the period was last cut short.
    quickened_at: Instant,
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

    pub(crate) const fn round(&self) -> Round {
        self.round
    }

    /// When our period was last cut short: how long others were not heard before says little.
    pub(crate) const fn quickened_at(&self) -> Instant {
        self.quickened_at
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

impl Swim {
    /// The round's time is over: the next begins.
    pub(crate) fn start_round(&mut self, round: Round) {
        let now = self.ctx.now;
        // A timer from before we moved is for a round that has begun already.
        if round != self.rounds.round {
            return;
        }
        self.ping_planned_by(round);
        let period = self.ctx.params.protocol_period;
        let is_late = self.rounds.age(now) > period * 2;
        let due = self.rounds.began_at + period;
        self.rounds.began_at = if is_late { now } else { now.min(due) };
        self.rounds.round = round.next();
        self.check_isolation();
        self.review_links();
        let is_new_period = self.rounds.round.0.is_multiple_of(self.rounds.rounds_per_period());
        if self.departure.is_none() && is_new_period {
            self.plan_period();
            self.redial();
            self.keep_contact();
            self.slow_down();
        }
        self.set_round_timers();
    }

    /// Chooses whom the period that begins now is for.
    fn plan_period(&mut self) {
        let (round, rounds) = (self.rounds.round, self.rounds.rounds_per_period());
        let target = self.choose_target(Round(round.0 / rounds));
        let period = self.ctx.params.protocol_period;
        self.rounds.planned = target.map(|target| {
            let point = point_of(target, period * u32::from(rounds));
            let after = (point.as_nanos() / period.as_nanos()).min(u128::from(rounds) - 1) as u16;
            let round = Round(round.0.wrapping_add(after));
            Planned { target, round, point: point - period * u32::from(after) }
        });
    }

    /// Lengthens the period where it has been calm for long enough.
    fn slow_down(&mut self) {
        let longest = self.ctx.params.max_protocol_period.unwrap_or_default();
        let twice = self.period() * 2;
        self.rounds.calm_periods = self.rounds.calm_periods.saturating_add(1);
        if self.rounds.calm_periods >= CALM_PERIODS && twice <= longest {
            self.rounds.pace += 1;
            self.rounds.calm_periods = 0;
        }
    }

    /// Something happened: the period is as short as it can be from now on. Whom this one is for is pinged in this
    /// round, at once if its point of it has passed: no other observer has its turn before the next.
    pub(crate) fn quicken(&mut self) {
        let now = self.ctx.now;
        self.rounds.calm_periods = 0;
        if self.rounds.pace == 0 {
            return;
        }
        self.rounds.pace = 0;
        self.rounds.quickened_at = now;
        let round = self.rounds.round;
        self.rounds.planned = self.rounds.planned.map(|planned| Planned { round, ..planned });
        self.set_round_timers();
    }

    /// How long our protocol period is at present.
    pub(crate) fn period(&self) -> Duration {
        self.ctx.params.protocol_period * u32::from(self.rounds.rounds_per_period())
    }

    /// Pings whom this period is for, if that was due by the end of this round.
    fn ping_planned_by(&mut self, round: Round) {
        if self.rounds.planned.is_some_and(|planned| planned.round.ahead_of(round) <= 0) {
            self.ping_planned();
        }
    }

    /// The point of the round at which its member is pinged.
    pub(crate) fn ping_planned(&mut self) {
        let target = self.rounds.planned.take().map(|planned| planned.target);
        let target = target.filter(|&id| self.list.get(id).is_some_and(|m| m.state().is_live()));
        if let Some(peer) = target.and_then(|target| self.peer(target)) {
            self.prune_links();
            self.ping(peer, Purpose::Probe);
        }
    }

    /// The point of this round at which somebody is to be pinged, if the plan is still the same.
    pub(crate) fn ping_in_round(&mut self, round: Round) {
        let is_due = |planned: &Planned| planned.round == round;
        if self.rounds.round == round && self.rounds.planned.as_ref().is_some_and(is_due) {
            self.ping_planned();
        }
    }

    /// Hears of another's round, and moves forward to it.
    pub(crate) fn hear_round(&mut self, pulse: &Pulse) {
        let now = self.ctx.now;
        let period = self.ctx.params.protocol_period;
        let age = Duration::from_millis(pulse.round_age_ms.into()).min(period);
        if !self.rounds.is_aligned {
            self.rounds.is_aligned = true;
            self.rounds.round = pulse.round;
            self.rounds.began_at = now.saturating_sub(age);
            // A newcomer takes part in what is left of the round.
            self.plan_period();
            self.rounds.planned =
                self.rounds.planned.filter(|planned| point_of(planned.target, period) > age);
            self.set_round_timers();
            return;
        }
        let ours = self.rounds.age(now).min(period);
        let rounds_ahead = pulse.round.ahead_of(self.rounds.round);
        match rounds_ahead {
            // So far ahead, it is a cluster that counts otherwise: its number is taken, its time approached.
            2.. => {
                self.rounds.round = pulse.round;
                // Whom our period is for is pinged before the round ends.
                if let Some(planned) = &mut self.rounds.planned {
                    planned.round = pulse.round;
                }
            }
            0 | 1 => {
                let ahead = (period * rounds_ahead as u32 + age).saturating_sub(ours);
                let is_moved = self.rounds.moved_in == Some(self.rounds.round);
                if ahead < MIN_MOVE || is_moved {
                    return;
                }
                self.rounds.moved_in = Some(self.rounds.round);
                self.rounds.began_at = self.rounds.began_at.saturating_sub(ahead.min(period / 8));
            }
            _ => return,
        }
        self.set_round_timers();
    }

    /// Sets the timers of this round; those set before are recognised as stale.
    fn set_round_timers(&mut self) {
        let period = self.ctx.params.protocol_period;
        let Rounds { round, began_at, planned, .. } = self.rounds;
        if let Some(planned) = planned.filter(|planned| planned.round == round) {
            self.ctx.timers.set(began_at + planned.point, Timer::Probe(round.0));
        }
        self.ctx.timers.set(began_at + period, Timer::Period(round.0));
    }
}

/// The point of every period at which a member is pinged, whoever's turn it is: as good as random, and its own.
fn point_of(target: MemberId, period: Duration) -> Duration {
    let share = u32::from_be_bytes([target.0[12], target.0[13], target.0[14], target.0[15]]);
    period.mul_f64(f64::from(share) / f64::from(u32::MAX))
}

/// After so many periods without anything the period is doubled: each link was used once where there are as many rings.
const CALM_PERIODS: u32 = 8;
/// Being ahead by less than this is the network's doing, or scheduling.
const MIN_MOVE: Duration = Duration::from_millis(1);
