//! Readers see a member's data as its owner published it, whole, and never an earlier revision than before.

use std::collections::BTreeMap;

use super::{Findings, Oracle, Violation};
use crate::{
    node::{DataLine, Instant, NodeId},
    truth::Truth,
};

/// Finds data that its owner did not publish, mixes of two revisions, steps back (so what was deleted cannot return), and
/// data beyond the limit.
#[derive(Debug)]
pub struct MemberDataSound {
    max_bytes: usize,
    /// The publications of each owner, by generation and revision: one content in each run of its process. A process
    /// that starts with an old copy of its data can repeat a generation, until it learns of that.
    published: BTreeMap<(NodeId, u32, u64), BTreeMap<u32, u64>>,
    /// The last revision of each owner that each reader saw, in each run of the reader.
    seen: BTreeMap<(NodeId, u32, NodeId), (u32, u64)>,
    findings: Findings,
}

impl MemberDataSound {
    /// Members may have so many bytes of data.
    pub fn new(max_bytes: usize) -> Self {
        let (published, seen, findings) = Default::default();
        Self { max_bytes, published, seen, findings }
    }
}

impl Oracle for MemberDataSound {
    fn observe_data(
        &mut self,
        truth: &Truth,
        now: Instant,
        reader: NodeId,
        owner: NodeId,
        line: Option<DataLine>,
    ) {
        // A liar signs what it likes as its own.
        let (Some(line), false) = (line, truth.is_liar(owner)) else {
            return;
        };
        let head = (line.generation.0, line.revision);
        if reader == owner {
            let run = truth.node(owner).map_or(0, |node| node.starts);
            let published = self.published.entry((owner, head.0, head.1)).or_default();
            published.entry(run).or_insert(line.content);
        }
        let run = truth.node(reader).map_or(0, |node| node.starts);
        let seen = self.seen.entry((reader, run, owner)).or_default();
        let before = std::mem::replace(seen, head);
        let published = self.published.get(&(owner, head.0, head.1));
        let faults = [
            (published.is_none(), "which was never published"),
            (
                published
                    .is_some_and(|runs| !runs.values().any(|&content| content == line.content)),
                "not as published",
            ),
            (line.bytes > self.max_bytes, "which is too long"),
            (head < before, "after a later one"),
        ];
        for (_, fault) in faults.into_iter().filter(|(is_so, _)| *is_so) {
            let text = format!("{reader} has data {}.{} of {owner}, {fault}", head.0, head.1);
            self.findings.add("member-data", now, text);
        }
    }

    fn take_violations(&mut self) -> Vec<Violation> {
        self.findings.take()
    }
}
