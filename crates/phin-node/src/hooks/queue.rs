//! The events that wait for a hook.

use std::{collections::VecDeque, time::SystemTime};

use crate::{
    events::{Line, What},
    text::rfc3339,
};

/// Lines in their order. If it is full, the newest are left out, and the number of them takes their place: the order stays,
/// and the program learns where it missed some.
#[derive(Debug, Default)]
pub(super) struct Queue {
    items: VecDeque<Item>,
    bytes: usize,
}

#[derive(Debug)]
enum Item {
    Line(Vec<u8>),
    /// This many events are missing here, the first at this time.
    Missed {
        at: SystemTime,
        events: u64,
    },
}

/// The queue has no room for a line.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Full;

impl Queue {
    /// Adds a line. If there is no room, it counts as missed instead.
    pub(super) fn push(&mut self, line: Vec<u8>) -> Result<(), Full> {
        if self.items.len() >= MAX_EVENTS || self.bytes + line.len() > MAX_BYTES {
            self.push_missed(1);
            return Err(Full);
        }
        self.bytes += line.len();
        self.items.push_back(Item::Line(line));
        Ok(())
    }

    /// Adds the number of events that are missing here.
    pub(super) fn push_missed(&mut self, count: u64) {
        match self.items.back_mut() {
            Some(Item::Missed { events, .. }) => *events += count,
            Some(Item::Line(_)) | None => {
                self.items.push_back(Item::Missed { at: SystemTime::now(), events: count });
            }
        }
    }

    /// Takes the input of the next run: the oldest lines. `None` if the queue is empty.
    pub(super) fn take_batch(&mut self) -> Option<Vec<u8>> {
        let count = self.items.len().min(MAX_BATCH);
        let lines: Vec<_> = self.items.drain(..count).map(Item::into_line).collect();
        let batch = lines.concat();
        self.bytes = self.items.iter().map(Item::bytes).sum();
        (count > 0).then_some(batch)
    }

    /// The number of lines.
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }
}

impl Item {
    fn into_line(self) -> Vec<u8> {
        match self {
            Self::Line(line) => line,
            Self::Missed { at, events } => {
                Line { at: rfc3339(at), what: What::missed(events) }.to_json()
            }
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Line(line) => line.len(),
            Self::Missed { .. } => 0,
        }
    }
}

/// Events that wait for one hook: of each member of a large cluster one, while a program runs for its whole time.
const MAX_EVENTS: usize = 1_024;
/// Bytes of all waiting events. Those of members are far below it; a longer message is left out.
const MAX_BYTES: usize = 8 * 1_024 * 1_024;
/// Events for one run.
const MAX_BATCH: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn line(number: usize) -> Vec<u8> {
        format!("{number}\n").into_bytes()
    }

    /// All batches, as their lines; of a missed line only the number.
    fn batches(queue: &mut Queue) -> Vec<Vec<String>> {
        let one = |line: &str| match serde_json::from_str(line) {
            Ok(serde_json::Value::Object(missed)) => {
                assert_eq!(missed["event"], "missed");
                format!("missed {}", missed["events"])
            }
            _ => line.to_owned(),
        };
        std::iter::from_fn(|| queue.take_batch())
            .map(|batch| String::from_utf8(batch).unwrap().lines().map(one).collect())
            .collect()
    }

    fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
        range.map(|number| number.to_string()).collect()
    }

    #[test]
    fn events_come_in_order_and_in_batches() {
        let mut queue = Queue::default();
        (0..150).for_each(|number| queue.push(line(number)).unwrap());
        assert_eq!(batches(&mut queue), [numbers(0..64), numbers(64..128), numbers(128..150)]);
        assert_eq!(queue.take_batch(), None);
    }

    #[test]
    fn the_newest_are_left_out_and_counted_in_their_place() {
        let mut queue = Queue::default();
        (0..MAX_EVENTS).for_each(|number| queue.push(line(number)).unwrap());
        (0..3).for_each(|_| assert_eq!(queue.push(line(9)), Err(Full)));
        assert_eq!(queue.len(), MAX_EVENTS + 1, "one line for all that are missing");
        queue.take_batch();
        queue.push_missed(5);
        queue.push(line(7_777)).unwrap();
        let rest = batches(&mut queue).concat();
        assert_eq!(rest[..MAX_EVENTS - 64], numbers(64..MAX_EVENTS));
        assert_eq!(rest[MAX_EVENTS - 64..], ["missed 8", "7777"]);
    }

    #[test]
    fn a_queue_of_long_lines_is_bounded_too() {
        let mut queue = Queue::default();
        let long = vec![b'x'; MAX_BYTES / 10];
        let taken = (0..100).take_while(|_| queue.push(long.clone()).is_ok()).count();
        assert_eq!(taken, 10);
        queue.take_batch();
        assert_eq!(queue.push(long), Ok(()), "what was taken leaves room");
    }
}
