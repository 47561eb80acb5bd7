//! Limits of memory and of rates: a map with a limit drops the oldest entry, and a budget limits what a member may ask
//! for in a time.

use std::{collections::BTreeMap, time::Duration};

use crate::{Instant, MemberId};

/// Makes room for an entry of this member in a map of at most `max`. The oldest entry says the least of the present.
pub(crate) fn make_room<T>(
    map: &mut BTreeMap<MemberId, T>,
    id: MemberId,
    max: usize,
    at: impl Fn(&T) -> Instant,
) {
    if map.len() >= max
        && !map.contains_key(&id)
        && let Some((&oldest, _)) = map.iter().min_by_key(|(_, value)| at(value))
    {
        map.remove(&oldest);
    }
}

/// A number at once, then a number in a second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    pub(crate) at_once: f64,
    pub(crate) per_second: f64,
}

impl Rate {
    /// The rate for each second, and the burst of one second.
    pub(crate) const fn per_second(number: f64) -> Self {
        Self { at_once: number, per_second: number }
    }
}

/// A token bucket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tokens {
    left: f64,
    at: Instant,
}

impl Tokens {
    /// A full one.
    pub(crate) const fn full(now: Instant, rate: Rate) -> Self {
        Self { left: rate.at_once, at: now }
    }

    /// An empty one.
    pub(crate) const fn empty(now: Instant) -> Self {
        Self { left: 0.0, at: now }
    }

    /// The budget that is left now.
    pub(crate) fn left(&mut self, now: Instant, rate: Rate) -> &mut f64 {
        let earned = (now - self.at).as_secs_f64() * rate.per_second;
        *self = Self { left: (self.left + earned).min(rate.at_once), at: now };
        &mut self.left
    }

    /// Takes one, if there is one left.
    pub(crate) fn take(&mut self, now: Instant, rate: Rate) -> bool {
        let left = self.left(now, rate);
        let has_one = *left >= 1.0;
        *left -= f64::from(u8::from(has_one));
        has_one
    }

    /// After how long so many will be there; at most a full bucket is waited for.
    pub(crate) fn wait(&mut self, now: Instant, rate: Rate, number: f64) -> Duration {
        let lacking = number.min(rate.at_once) - *self.left(now, rate);
        Duration::from_secs_f64((lacking / rate.per_second).max(0.0))
    }
}

/// A token bucket for each member: at most [`MAX_SPEAKERS`]; the one used longest ago is dropped.
#[derive(Debug, Default)]
pub(crate) struct Budgets(BTreeMap<MemberId, Tokens>);

impl Budgets {
    /// The budget that is left for a member.
    pub(crate) fn left(&mut self, now: Instant, id: MemberId, rate: Rate) -> &mut f64 {
        self.of(now, id, rate).left(now, rate)
    }

    /// Takes one, if there is one left.
    pub(crate) fn take(&mut self, now: Instant, id: MemberId, rate: Rate) -> bool {
        self.of(now, id, rate).take(now, rate)
    }

    fn of(&mut self, now: Instant, id: MemberId, rate: Rate) -> &mut Tokens {
        make_room(&mut self.0, id, MAX_SPEAKERS, |tokens| tokens.at);
        self.0.entry(id).or_insert(Tokens::full(now, rate))
    }
}

/// For how many members budgets are kept.
const MAX_SPEAKERS: usize = 1_024;
