//! Whose turn it is, and when: members agree on the number of the protocol period and on when it began, so that each
//! member is pinged once in every period, by its observers in turn, always at the same point of it.
//!
//! On every ping and ack ride the round's number and its age. Who hears of a round that is ahead of its own moves
//! forward, by no more than an eighth of a period at a time; nobody moves back, so all follow the fastest clock. No two
//! clocks are compared: an age means the same to everyone. What the network delays only makes a round seem younger.

use std::time::Duration;

use crate::{
    Instant, MemberId, Swim,
    probe::Purpose,
    swim::Timer,
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
    /// Whom this round is for, until it is pinged.
    planned: Option<MemberId>,
}

impl Rounds {
    /// Rounds that begin at a moment of our own.
    pub(crate) const fn new(began_at: Instant) -> Self {
        let (round, moved_in, planned) = (Round(0), None, None);
        Self { round, began_at, is_aligned: false, moved_in, planned }
    }

    pub(crate) const fn round(&self) -> Round {
        self.round
    }

    /// How long ago the round began.
    pub(crate) const fn age(&self, now: Instant) -> Duration {
        now.saturating_since(self.began_at)
    }
}

impl Swim {
    /// The round's time is over: the next begins.
    pub(crate) fn start_round(&mut self, now: Instant, round: Round) {
        // A timer from before we moved is for a round that has begun already.
        if round != self.rounds.round {
            return;
        }
        self.ping_planned(now);
        let period = self.params.protocol_period;
        let is_late = self.rounds.age(now) > period * 2;
        let due = self.rounds.began_at + period;
        self.rounds.began_at = if is_late { now } else { now.min(due) };
        self.rounds.round = round.next();
        self.check_isolation(now);
        if self.departure.is_none() {
            self.rounds.planned = self.choose_target(self.rounds.round);
            self.redial(now);
        }
        self.set_round_timers();
    }

    /// The point of the round at which its member is pinged.
    pub(crate) fn ping_planned(&mut self, now: Instant) {
        let target = self.rounds.planned.take();
        let target = target.filter(|&id| self.list.get(id).is_some_and(|m| m.state().is_live()));
        if let Some(peer) = target.and_then(|target| self.peer(target)) {
            self.prune_links();
            self.ping(now, peer, Purpose::Probe);
        }
    }

    /// Hears of another's round, and moves forward to it.
    pub(crate) fn hear_round(&mut self, now: Instant, pulse: &Pulse) {
        let period = self.params.protocol_period;
        let age = Duration::from_millis(pulse.round_age_ms.into()).min(period);
        if !self.rounds.is_aligned {
            self.rounds.is_aligned = true;
            self.rounds.round = pulse.round;
            self.rounds.began_at = now.saturating_sub(age);
            // A newcomer takes part in what is left of the round.
            let target = self.choose_target(pulse.round);
            self.rounds.planned = target.filter(|&target| point_of(target, period) > age);
            self.set_round_timers();
            return;
        }
        let ours = self.rounds.age(now).min(period);
        let rounds_ahead = pulse.round.ahead_of(self.rounds.round);
        match rounds_ahead {
            // So far ahead, it is a cluster that counts otherwise: its number is taken, its time approached.
            2.. => self.rounds.round = pulse.round,
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
        let period = self.params.protocol_period;
        let Rounds { round, began_at, planned, .. } = self.rounds;
        if let Some(target) = planned {
            let point = if self.is_classic() { Duration::ZERO } else { point_of(target, period) };
            self.timers.set(began_at + point, Timer::Probe(round.0));
        }
        self.timers.set(began_at + period, Timer::Period(round.0));
    }
}

/// The point of every period at which a member is pinged, whoever's turn it is: as good as random, and its own.
fn point_of(target: MemberId, period: Duration) -> Duration {
    let share = u32::from_be_bytes([target.0[12], target.0[13], target.0[14], target.0[15]]);
    period.mul_f64(f64::from(share) / f64::from(u32::MAX))
}

/// Being ahead by less than this is the network's doing, or scheduling.
const MIN_MOVE: Duration = Duration::from_millis(1);
