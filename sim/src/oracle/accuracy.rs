//! No live, reachable, unpaused member is declared dead.

use super::{Findings, Oracle, View, Violation};
use crate::node::Instant;

/// Finds false verdicts that no fault excuses.
#[derive(Debug, Default)]
pub struct Accuracy {
    /// Verdicts from this moment on are ignored.
    pub until: Option<Instant>,
    findings: Findings,
}

impl Oracle for Accuracy {
    fn finish(&mut self, run: View<'_>) {
        let is_counted = |at: Instant| self.until.is_none_or(|until| at < until);
        for verdict in run.ledger.unexcused().filter(|verdict| is_counted(verdict.at)) {
            let text =
                format!("{} declared {} dead, which lives", verdict.observer, verdict.subject);
            self.findings.add("accuracy", verdict.at, text);
        }
    }

    fn take_violations(&mut self) -> Vec<Violation> {
        self.findings.take()
    }
}
