//! No healthy member is reported as degraded.

use super::{Findings, Oracle, View, Violation};

/// Finds members that are reported as degraded while they, and most of the others, have had no fault for a while.
#[derive(Debug, Default)]
pub struct WronglyDegraded {
    findings: Findings,
}

impl Oracle for WronglyDegraded {
    fn finish(&mut self, run: View<'_>) {
        for &(at, observer, subject) in &run.ledger.wrongly_degraded {
            let text = format!("{observer} reported {subject} as degraded, which is well");
            self.findings.add("wrongly-degraded", at, text);
        }
    }

    fn take_violations(&mut self) -> Vec<Violation> {
        self.findings.take()
    }
}
