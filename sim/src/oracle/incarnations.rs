//! Generations and incarnations only rise.

use std::collections::BTreeMap;

use super::{Findings, Oracle, Violation};
use crate::{
    node::{Instant, NodeId, Notice, Version},
    truth::Truth,
};

/// Finds members that report an earlier version than one they knew.
#[derive(Debug, Default)]
pub struct Incarnations {
    /// By observer, run of the observer, and subject.
    known: BTreeMap<(NodeId, u32, NodeId), Version>,
    findings: Findings,
}

impl Oracle for Incarnations {
    fn observe(&mut self, truth: &Truth, now: Instant, observer: NodeId, notice: Notice) {
        let starts = truth.node(observer).map_or(0, |node| node.starts);
        let known = self.known.entry((observer, starts, notice.subject)).or_default();
        if notice.version < *known {
            let text = format!(
                "{observer} went back from {known:?} to {:?} of {}",
                notice.version, notice.subject
            );
            self.findings.add("incarnations", now, text);
        }
        *known = notice.version;
    }

    fn take_violations(&mut self) -> Vec<Violation> {
        self.findings.take()
    }
}
