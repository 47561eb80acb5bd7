//! The queue of pending events, in the order of their time.

use std::{cmp::Ordering, collections::BinaryHeap};

use crate::node::Instant;

/// Pending events in order. At one moment, arrivals come before timers, because a reply that has arrived is not
/// missing; otherwise the event that was scheduled first.
#[derive(Debug)]
pub(crate) struct Queue<E> {
    heap: BinaryHeap<Entry<E>>,
    scheduled: u64,
}

/// The kind of an event, for the order within one moment.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Class {
    Arrival,
    Timer,
}

#[derive(Debug)]
struct Entry<E> {
    at: Instant,
    class: Class,
    number: u64,
    event: E,
}

impl<E> Queue<E> {
    pub(crate) const fn new() -> Self {
        Self { heap: BinaryHeap::new(), scheduled: 0 }
    }

    pub(crate) fn push(&mut self, at: Instant, class: Class, event: E) {
        self.scheduled += 1;
        self.heap.push(Entry { at, class, number: self.scheduled, event });
    }

    /// Takes the next event that is not after `until`.
    pub(crate) fn pop_until(&mut self, until: Instant) -> Option<(Instant, E)> {
        if self.heap.peek()?.at > until {
            return None;
        }
        self.heap.pop().map(|entry| (entry.at, entry.event))
    }

    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }
}

impl<E> Entry<E> {
    const fn key(&self) -> (Instant, Class, u64) {
        (self.at, self.class, self.number)
    }
}

impl<E> Ord for Entry<E> {
    /// The earliest is the greatest, because the heap returns the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        other.key().cmp(&self.key())
    }
}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<E> Eq for Entry<E> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::millis;

    #[test]
    fn events_come_by_time_then_arrivals_then_in_order_of_scheduling() {
        let mut queue = Queue::new();
        let at = |ms| Instant::START + millis(ms);
        queue.push(at(2), Class::Timer, "timer");
        queue.push(at(2), Class::Arrival, "first");
        queue.push(at(2), Class::Arrival, "second");
        queue.push(at(1), Class::Timer, "early");
        queue.push(at(3), Class::Arrival, "late");
        let mut order = Vec::new();
        while let Some((_, event)) = queue.pop_until(at(2)) {
            order.push(event);
        }
        assert_eq!(order, ["early", "first", "second", "timer"]);
        assert_eq!(queue.len(), 1);
    }
}
