//! What is delivered to a member was published as it is, once, in order, and what is missing was reported before.

use std::collections::BTreeMap;

use super::{Findings, Oracle, Violation};
use crate::{
    node::{Generation, Instant, MessageLine, MessageNews, NodeId},
    truth::Truth,
};

/// Finds messages that nobody published, that arrive again or too late, and gaps that were not reported.
#[derive(Debug, Default)]
pub struct MessagesSound {
    /// What each member published in each run: more than one content if it used a generation again.
    published: BTreeMap<(NodeId, Generation, u64), Vec<Sent>>,
    /// How far each receiver is, in each run of its process, with each run of a publisher.
    streams: BTreeMap<(NodeId, u32, NodeId), Stream>,
    findings: Findings,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    content: u64,
    is_filtered: bool,
}

#[derive(Clone, Copy, Debug)]
struct Stream {
    generation: Generation,
    /// The last number that was delivered; `None` before the first.
    last: Option<u64>,
    /// How many were reported as missing since.
    missed: u64,
}

impl MessagesSound {
    fn check(&mut self, truth: &Truth, now: Instant, at: NodeId, line: MessageLine) {
        let MessageLine { from, generation, sequence, content, .. } = line;
        let sent = self.published.get(&(from, generation, sequence));
        let is_authentic = sent.is_some_and(|all| all.iter().any(|sent| sent.content == content));
        let run = truth.node(at).map_or(0, |node| node.starts);
        let fresh = Stream { generation, last: None, missed: 0 };
        let stream = self.streams.entry((at, run, from)).or_insert(fresh);
        if generation > stream.generation {
            *stream = Stream { missed: stream.missed, ..fresh };
        }
        let Stream { last, missed, .. } = *stream;
        let is_old = generation < stream.generation || last.is_some_and(|last| sequence <= last);
        if generation == stream.generation {
            (stream.last, stream.missed) = (Some(sequence), 0);
        }
        let gap = last.map_or(missed, |last| sequence.saturating_sub(last + 1));
        let number = |n| (from, generation, n);
        let lost = sequence.saturating_sub(gap)..sequence;
        let others = |n: &u64| {
            let sent = self.published.get(&number(*n));
            sent.is_some_and(|all| all.iter().any(|sent| sent.is_filtered))
        };
        // A filtered message leaves a gap where it is not for this member.
        let excused = if gap == missed { 0 } else { lost.filter(others).count() as u64 };
        let faults = [
            (sent.is_none(), "was never published".to_owned()),
            (sent.is_some() && !is_authentic, "is not as published".to_owned()),
            (is_old, format!("comes after {last:?}")),
            (
                !is_old && !(gap.saturating_sub(excused)..=gap).contains(&missed),
                format!("comes after {last:?}, with {missed} reported as missed"),
            ),
        ];
        for (_, fault) in faults.into_iter().filter(|(is_so, _)| *is_so) {
            let text = format!("message {}.{sequence} of {from} at {at} {fault}", generation.0);
            self.findings.add("messages-sound", now, text);
        }
    }
}

impl Oracle for MessagesSound {
    fn observe_message(&mut self, truth: &Truth, now: Instant, at: NodeId, news: MessageNews) {
        match news {
            MessageNews::Published { line, is_filtered } => {
                let sent = Sent { content: line.content, is_filtered };
                let key = (line.from, line.generation, line.sequence);
                self.published.entry(key).or_default().push(sent);
            }
            MessageNews::Delivered(line) => self.check(truth, now, at, line),
            MessageNews::Missed { from, count } => {
                let run = truth.node(at).map_or(0, |node| node.starts);
                let fresh = Stream { generation: Generation(0), last: None, missed: 0 };
                self.streams.entry((at, run, from)).or_insert(fresh).missed += count;
            }
            MessageNews::Refused => {}
        }
    }

    fn take_violations(&mut self) -> Vec<Violation> {
        self.findings.take()
    }
}
