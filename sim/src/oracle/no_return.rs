//! No member returns after it died or left without a later version.

use std::collections::BTreeMap;

use super::{Findings, Oracle, Violation};
use crate::{
    node::{Belief, Instant, NodeId, Notice, Version},
    truth::Truth,
};

/// Finds members that return in the version in which they died or left.
#[derive(Debug, Default)]
pub struct NoReturn {
    /// The version in which a member died or left, by observer, run of the observer, and subject.
    gone: BTreeMap<(NodeId, u32, NodeId), (Belief, Version)>,
    findings: Findings,
}

impl Oracle for NoReturn {
    fn observe(&mut self, truth: &Truth, now: Instant, observer: NodeId, notice: Notice) {
        let starts = truth.node(observer).map_or(0, |node| node.starts);
        let Notice { subject, belief, version } = notice;
        let key = (observer, starts, subject);
        if !belief.is_live() {
            self.gone.insert(key, (belief, version));
        } else if let Some((gone, as_version)) = self.gone.remove(&key)
            && version <= as_version
        {
            let text =
                format!("at {observer}, {subject} returned from {gone} as {version:?} again");
            self.findings.add("no-return", now, text);
        }
    }

    fn take_violations(&mut self) -> Vec<Violation> {
        self.findings.take()
    }
}
