//! Random numbers of the tasks beside the core: unpredictable in a real node, from a seed in a test.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rand::{RngExt, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

/// A generator; clones draw from the same one.
///
/// Each task has its own ([`fork`](Self::fork)): the order in which tasks wake is not repeatable.
#[derive(Clone, Debug)]
pub(crate) struct Random(Arc<Mutex<ChaCha8Rng>>);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self::of(ChaCha8Rng::seed_from_u64(seed))
    }

    /// A generator whose numbers do not depend on what is drawn from this one later.
    pub(crate) fn fork(&self) -> Self {
        Self::of(ChaCha8Rng::from_rng(&mut *self.rng()))
    }

    /// A seed for something that has a generator of its own.
    pub(crate) fn seed(&self) -> u64 {
        self.rng().random()
    }

    /// Makes a delay up to a quarter longer or shorter, so that a node of many that lost the same seed does not return
    /// at the same moment as the others.
    pub(crate) fn jittered(&self, delay: Duration) -> Duration {
        delay.mul_f64(self.rng().random_range(0.75..1.25))
    }

    /// A number below this one; none is below zero.
    pub(crate) fn below(&self, end: u64) -> Option<u64> {
        (end > 0).then(|| self.rng().random_range(0..end))
    }

    pub(crate) fn is_hit(&self, probability: f64) -> bool {
        self.rng().random_bool(probability)
    }

    pub(crate) fn shuffle<T>(&self, items: &mut [T]) {
        items.shuffle(&mut *self.rng());
    }

    fn of(rng: ChaCha8Rng) -> Self {
        Self(Arc::new(Mutex::new(rng)))
    }

    fn rng(&self) -> MutexGuard<'_, ChaCha8Rng> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_task_draws_does_not_change_what_another_draws() {
        let draw = |drawn_between: usize| {
            let random = Random::new(7);
            let (one, other) = (random.fork(), random.fork());
            let _drawn: Vec<u64> = (0..drawn_between).map(|_| one.seed()).collect();
            other.seed()
        };
        assert_eq!(draw(0), draw(3));
        assert_ne!(Random::new(7).seed(), Random::new(8).seed());
    }
}
