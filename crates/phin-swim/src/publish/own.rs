//! [`Own`]: what this node publishes: its numbers, and how much it may publish.

use std::{collections::VecDeque, time::Duration};

use crate::{
    Instant,
    config::Params,
    limit::{Rate, Tokens},
    publish::publication::{PublishError, RECENT},
};

/// The numbers of this node's publications, and what it may still publish.
#[derive(Debug)]
pub(crate) struct Own {
    /// That of the last one.
    sequence: u64,
    /// When the recent ones were published; at most [`u16::MAX`].
    times: VecDeque<Instant>,
    /// The rates fill these, in number and in bytes. `None` before the first publication.
    left: Option<(Tokens, Tokens)>,
}

/// The limits of publications in a second, in number and in bytes.
pub(crate) fn rates(params: &Params) -> (Rate, Rate) {
    let number = f64::from(params.max_publications_per_second);
    (Rate::per_second(number), Rate::per_second(params.max_published_bytes_per_second as f64))
}

impl Own {
    pub(crate) const fn new() -> Self {
        Self { sequence: 0, times: VecDeque::new(), left: None }
    }

    /// In another run of this node, numbers start again.
    pub(crate) fn restart(&mut self) {
        self.sequence = 0;
        self.times.clear();
    }

    /// Takes what a publication of this length costs.
    ///
    /// # Errors
    /// Too much was published.
    pub(crate) fn take(
        &mut self,
        now: Instant,
        params: &Params,
        bytes: usize,
    ) -> Result<(), PublishError> {
        let (number_rate, byte_rate) = rates(params);
        let full = || (Tokens::full(now, number_rate), Tokens::full(now, byte_rate));
        let (numbers, bytes_left) = self.left.get_or_insert_with(full);
        // One that is longer than what is published in a second is published after a second of nothing.
        let bytes = (bytes as f64).min(byte_rate.at_once);
        let wait = numbers.wait(now, number_rate, 1.0).max(bytes_left.wait(now, byte_rate, bytes));
        if wait > Duration::ZERO {
            return Err(PublishError::Busy { retry_after: wait });
        }
        *numbers.left(now, number_rate) -= 1.0;
        *bytes_left.left(now, byte_rate) -= bytes;
        Ok(())
    }

    /// The number of the next publication, and how many before it are recent.
    pub(crate) fn next(&mut self, now: Instant) -> (u64, u16) {
        while self.times.front().is_some_and(|&at| at + RECENT < now)
            || self.times.len() >= u16::MAX.into()
        {
            self.times.pop_front();
        }
        let recent = self.times.len() as u16;
        self.times.push_back(now);
        self.sequence += 1;
        (self.sequence, recent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, testing::at};

    fn params() -> Params {
        Config::lan().try_into().unwrap()
    }

    #[test]
    fn a_second_of_publications_goes_at_once_and_then_one_after_the_other() {
        let (mut own, params) = (Own::new(), params());
        let burst = (0..1_000).take_while(|_| own.take(at(0), &params, 10).is_ok()).count();
        assert_eq!(burst, 256);
        let Err(PublishError::Busy { retry_after }) = own.take(at(0), &params, 10) else {
            panic!("no limit");
        };
        assert!(own.take(at(0) + retry_after, &params, 10).is_ok());
        assert!(own.take(at(0) + retry_after, &params, 10).is_err());
        let burst = (0..1_000).take_while(|_| own.take(at(9_000), &params, 10).is_ok()).count();
        assert_eq!(burst, 256, "what was not used is not saved beyond a second");
    }

    #[test]
    fn bytes_are_limited_apart_and_a_refusal_costs_nothing() {
        let (mut own, params) = (Own::new(), params());
        let long = 64 * 1_024;
        let burst = (0..1_000).take_while(|_| own.take(at(0), &params, long).is_ok()).count();
        assert_eq!(burst, 16);
        let short = (0..1_000).take_while(|_| own.take(at(0), &params, 0).is_ok()).count();
        assert_eq!(short, 256 - 16);
    }

    #[test]
    fn numbers_rise_and_those_of_the_last_ten_seconds_are_recent() {
        let mut own = Own::new();
        assert_eq!(own.next(at(0)), (1, 0));
        assert_eq!(own.next(at(5_000)), (2, 1));
        assert_eq!(own.next(at(10_000)), (3, 2));
        assert_eq!(own.next(at(10_001)), (4, 2));
        own.restart();
        assert_eq!(own.next(at(10_002)), (1, 0));
    }
}
