//! Which message reached which member, and when.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    node::{Generation, Instant, MessageLine, MessageNews, NodeId, secs},
    truth::{Life, Truth},
};

/// The records of messages to all members.
#[derive(Clone, Debug, Default)]
pub struct MessageLedger {
    /// Every message, in order.
    pub published: Vec<Published>,
    /// How many messages members were not allowed to publish.
    pub refused: u64,
    /// How often a member was to publish whose process did not run then.
    pub unwritten: u64,
    /// How many messages each member was told that it missed.
    pub missed: BTreeMap<NodeId, u64>,
    /// The messages of each run, by number. A process that starts with an old copy of its data can use a generation again,
    /// and so a number.
    by_number: BTreeMap<(NodeId, Generation, u64), Vec<usize>>,
}

/// A message, and how it spread.
#[derive(Clone, Debug)]
pub struct Published {
    /// The message.
    pub line: MessageLine,
    /// Whether it is for some members only.
    pub is_filtered: bool,
    /// When it was published.
    pub at: Instant,
    /// How many other members ran then.
    pub readers: usize,
    /// The number of others that received it.
    pub delivered: usize,
    /// The number of others that received it within a second.
    pub within_second: usize,
    /// How long after it was published it was delivered last.
    pub last: Duration,
    /// The most members that passed it on, one after the other.
    pub last_hop: u8,
    /// Those to which it was delivered, a bit for each.
    receivers: Vec<u64>,
}

impl Published {
    /// How long after it was published it was delivered to all others, if it was.
    pub fn all(&self) -> Option<Duration> {
        (self.delivered >= self.readers).then_some(self.last)
    }

    /// Whether it was delivered to this member, in any of its runs.
    pub fn has_reached(&self, node: NodeId) -> bool {
        let word = self.receivers.get(node.index() / 64).copied().unwrap_or(0);
        word >> (node.index() % 64) & 1 == 1
    }

    /// Those that ran for a while before it and run now, and did not receive it.
    pub fn lacking(&self, truth: &Truth) -> impl Iterator<Item = NodeId> {
        let was_there = |since: Instant| since == Instant::START || since + SETTLED <= self.at;
        truth.nodes().filter_map(move |(id, node)| {
            let is_meant = node.life == Life::Running && was_there(node.since);
            (is_meant && id != self.line.from && !self.has_reached(id)).then_some(id)
        })
    }

    fn record(&mut self, now: Instant, at: NodeId, hops: u8) {
        let word = at.index() / 64;
        if self.receivers.len() <= word {
            self.receivers.resize(word + 1, 0);
        }
        self.receivers[word] |= 1 << (at.index() % 64);
        if at == self.line.from {
            return;
        }
        self.delivered += 1;
        self.last = now - self.at;
        self.within_second += usize::from(self.last <= secs(1));
        self.last_hop = self.last_hop.max(hops);
    }
}

impl MessageLedger {
    pub(crate) fn record(&mut self, truth: &Truth, now: Instant, at: NodeId, news: MessageNews) {
        match news {
            MessageNews::Published { line, is_filtered } => {
                let key = (line.from, line.generation, line.sequence);
                self.by_number.entry(key).or_default().push(self.published.len());
                let readers = truth.running().filter(|&id| id != at).count();
                self.published.push(Published {
                    line,
                    is_filtered,
                    at: now,
                    readers,
                    delivered: 0,
                    within_second: 0,
                    last: Duration::ZERO,
                    last_hop: 0,
                    receivers: Vec::new(),
                });
            }
            MessageNews::Refused => self.refused += 1,
            MessageNews::Delivered(line) => {
                let key = (line.from, line.generation, line.sequence);
                let numbers = self.by_number.get(&key).into_iter().flatten();
                let mut same = numbers.filter(|&&n| self.published[n].line.content == line.content);
                if let Some(&number) = same.next() {
                    self.published[number].record(now, at, line.hops);
                }
            }
            MessageNews::Missed { count, .. } => *self.missed.entry(at).or_default() += count,
        }
    }
}

/// How long a member runs before messages are expected to reach it.
const SETTLED: Duration = secs(10);
