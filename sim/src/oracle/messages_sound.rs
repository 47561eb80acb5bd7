//! Messages are delivered as they were published, once, in order, and gaps are reported before.

use std::collections::BTreeMap;

use super::{Findings, Oracle, Violation};
use crate::{
    node::{Generation, Instant, MessageLine, MessageNews, NodeId},
    truth::Truth,
};

/// Finds messages that nobody published, that arrive again or too late, and gaps that were not reported.
#[derive(Debug, Default)]
pub struct MessagesSound {
    /// The publications of each member in each run: more than one content if it used a generation again.
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
        let run = truth.node(at).map_or(0, |node| node.starts);
        let fresh = Stream { generation, last: None, missed: 0 };
        let stream = self.streams.entry((at, run, from)).or_insert(fresh);
        if generation > stream.generation {
            *stream = Stream { missed: stream.missed, ..fresh };
        }
        let before = *stream;
        if generation == before.generation {
            (stream.last, stream.missed) = (Some(sequence), 0);
        }
        let sent = self.published.get(&(from, generation, sequence));
        let is_authentic = sent.is_some_and(|all| all.iter().any(|sent| sent.content == content));
        let fault = match before.last {
            _ if sent.is_none() => "was never published".to_owned(),
            _ if !is_authentic => "is not as published".to_owned(),
            _ if generation < before.generation => format!("comes after {}", before.generation.0),
            Some(last) if sequence <= last => format!("comes after {last}"),
            Some(last) if !self.is_reported(line, last, before.missed) => {
                format!("comes after {last}, with {} reported as missed", before.missed)
            }
            Some(_) | None => return,
        };
        let text = format!("message {}.{sequence} of {from} at {at} {fault}", generation.0);
        self.findings.add("messages-sound", now, text);
    }

    /// Whether so many are missing between the last message and this one. A filtered message can leave a gap of its own,
    /// where it is not for this member.
    fn is_reported(&self, line: MessageLine, last: u64, missed: u64) -> bool {
        let gap = line.sequence - last - 1;
        let is_filtered = |number: &u64| {
            let sent = self.published.get(&(line.from, line.generation, *number));
            sent.is_some_and(|all| all.iter().any(|sent| sent.is_filtered))
        };
        let between = last + 1..line.sequence;
        gap == missed || missed < gap && gap - missed <= between.filter(is_filtered).count() as u64
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
