//! A member that is connected throughout receives each message of a connected member, or is told how many it missed.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use super::{Findings, Oracle, View, Violation};
use crate::{
    node::{Generation, Instant, MessageLine, MessageNews, NodeId, secs},
    truth::Truth,
};

/// Finds messages that connected members neither received nor were told of, and, beyond a limit, those that they were told
/// of.
#[derive(Debug)]
pub struct MessagesComplete {
    /// How many messages connected members may miss, with a report, in all.
    pub max_missed: u64,
    /// How long after their publication all must have arrived, where that is asked for.
    pub within: Option<Duration>,
    /// How many bytes of messages members keep for those that lack them. While more than that is published, nobody may have a
    /// message any more that a member misses. It must be reported all the same once a later message proves it.
    pub max_kept: usize,
    /// The messages of the last seconds: when they were published, and how many bytes.
    published: VecDeque<(Instant, usize)>,
    /// Those of which it is not yet judged whether they arrived, in the order of their publication.
    open: VecDeque<Key>,
    received: BTreeMap<Key, Received>,
    /// How far each receiver is, in each run of its process, with each publisher.
    streams: BTreeMap<(NodeId, u32, NodeId), Stream>,
    missed: u64,
    findings: Findings,
}

/// A message: its publisher, in which run, its number and its content.
type Key = (NodeId, Generation, u64, u64);

/// When a message was published, and who received it.
#[derive(Debug)]
struct Received {
    at: Instant,
    /// Those that received it in time.
    prompt: BTreeSet<NodeId>,
    late: BTreeSet<NodeId>,
}

#[derive(Debug, Default)]
struct Stream {
    generation: Option<Generation>,
    last: u64,
    /// How many it was told to have missed since.
    told: u64,
    /// The range that it was told to have missed: the first and the last.
    missed: Vec<(u64, u64)>,
}

impl MessagesComplete {
    /// Creates the oracle with this limit.
    pub fn new(max_missed: u64, within: Option<Duration>) -> Self {
        let (published, open, received, streams, findings) = Default::default();
        let (max_kept, missed) = (usize::MAX, 0);
        Self { max_missed, within, max_kept, published, open, received, streams, missed, findings }
    }

    /// Whether more than members keep was published around this moment.
    fn is_flood(&self, at: Instant) -> bool {
        let around = self.published.iter().filter(|(published_at, _)| {
            at < *published_at + FLOOD_BEFORE && *published_at < at + FLOOD_AFTER
        });
        around.map(|(_, bytes)| bytes).sum::<usize>() > self.max_kept
    }

    fn deliver(&mut self, truth: &Truth, now: Instant, at: NodeId, line: MessageLine) {
        let stream = self.streams.entry((at, run_of(truth, at), line.from)).or_default();
        if stream.generation != Some(line.generation) {
            *stream = Stream { told: stream.told, ..Stream::default() };
            stream.generation = Some(line.generation);
        }
        if std::mem::take(&mut stream.told) > 0 {
            stream.missed.push((stream.last + 1, line.sequence.saturating_sub(1)));
        }
        stream.last = line.sequence;
        if let Some(received) = self.received.get_mut(&key(line)) {
            let is_prompt = self.within.is_none_or(|within| now - received.at <= within);
            let receivers = if is_prompt { &mut received.prompt } else { &mut received.late };
            receivers.insert(at);
        }
    }

    /// Judges a message that is old enough.
    fn judge(&mut self, run: View<'_>, (from, generation, sequence, _): Key, received: &Received) {
        let (truth, now) = (run.truth, run.now);
        let Received { at, prompt, late } = received;
        let is_of_last_run = truth
            .node(from)
            .is_some_and(|node| node.generation == generation && node.generation > node.former);
        if !is_of_last_run || !is_connected(truth, from, *at, now) {
            return;
        }
        for reader in truth.running().filter(|&id| id != from && !prompt.contains(&id)) {
            let calm = now - *at + GRACE;
            if !is_connected(truth, reader, *at, now)
                || truth.are_separated(from, reader, now, calm)
            {
                continue;
            }
            let name = format!("message {}.{sequence} of {from} of {at}", generation.0);
            let stream = self.streams.get(&(reader, run_of(truth, reader), from));
            let is_told = stream.is_some_and(|stream| {
                let mut missed = stream.missed.iter();
                missed.any(|(first, last)| (*first..=*last).contains(&sequence))
            });
            // Only a later message proves that one is missing, and reports it.
            let is_unproved = stream.is_none_or(|stream| stream.last < sequence);
            if !late.contains(&reader) && (is_told || is_unproved) && self.is_flood(*at) {
                continue;
            }
            let text = if late.contains(&reader) {
                format!("{name} reached {reader} too late")
            } else if is_told {
                self.missed += 1;
                if self.missed <= self.max_missed {
                    continue;
                }
                format!("{reader} missed {name}, which is more than {}", self.max_missed)
            } else {
                format!("{reader} neither received {name} nor was told")
            };
            self.findings.add("messages-complete", now, text);
        }
    }
}

/// Whether a member ran all the time since some seconds before a moment, without a fault of its own or of its host. One that started while the
/// network was split may have found nobody until that ended.
fn is_connected(truth: &Truth, id: NodeId, since: Instant, now: Instant) -> bool {
    let calm = now - since + GRACE;
    let was_there = truth.node(id).is_some_and(|node| {
        let settled_before = since.saturating_sub(SETTLED);
        let is_settled =
            node.since <= settled_before && truth.has_healed(node.since, settled_before);
        node.since == Instant::START && node.starts == 1 || is_settled
    });
    was_there && truth.is_healthy(id, now, calm) && !truth.is_on_troubled_host(id, now, calm)
}

fn run_of(truth: &Truth, id: NodeId) -> u32 {
    truth.node(id).map_or(0, |node| node.starts)
}

const fn key(line: MessageLine) -> Key {
    (line.from, line.generation, line.sequence, line.content)
}

impl Oracle for MessagesComplete {
    fn observe_message(&mut self, truth: &Truth, now: Instant, at: NodeId, news: MessageNews) {
        if let MessageNews::Published { line, .. } = news {
            self.published.push_back((now, line.bytes + OVERHEAD_BYTES));
        }
        match news {
            MessageNews::Published { line, is_filtered: false } => {
                let (prompt, late) = Default::default();
                self.open.push_back(key(line));
                self.received.insert(key(line), Received { at: now, prompt, late });
            }
            MessageNews::Delivered(line) => self.deliver(truth, now, at, line),
            MessageNews::Missed { from, count } => {
                self.streams.entry((at, run_of(truth, at), from)).or_default().told += count;
            }
            MessageNews::Published { .. } | MessageNews::Refused => {}
        }
    }

    fn inspect(&mut self, run: View<'_>) {
        let is_due = |received: &Received| received.at + DUE <= run.now;
        while let Some(&key) = self.open.front()
            && self.received.get(&key).is_none_or(is_due)
        {
            self.open.pop_front();
            if let Some(received) = self.received.remove(&key) {
                self.judge(run, key, &received);
            }
        }
        let is_past = |at: Instant| at + DUE + FLOOD_BEFORE < run.now;
        self.published.retain(|(at, _)| !is_past(*at));
    }

    fn take_violations(&mut self) -> Vec<Violation> {
        self.findings.take()
    }
}

/// When it is judged who received a message: longer than a member waits for it.
const DUE: Duration = secs(12);
/// How long before it a fault must have ended.
const GRACE: Duration = secs(15);
/// How long before and after a message others are published that take its place, or arrive before it: a member gives up a
/// message three seconds after the last one that arrived.
const FLOOD_BEFORE: Duration = secs(1);
const FLOOD_AFTER: Duration = secs(5);
/// How much a message counts beside its content, of what members keep.
const OVERHEAD_BYTES: usize = 512;
/// How long a member runs before messages must reach it.
const SETTLED: Duration = secs(10);
