//! No live, reachable, unpaused member is declared dead.

use super::{Findings, Oracle, Violation};
use crate::simulation::Simulation;

/// Finds verdicts on the living that no fault excuses.
#[derive(Debug, Default)]
pub struct Accuracy {
    findings: Findings,
}

impl Oracle for Accuracy {
    fn finish(&mut self, run: &Simulation) {
        for verdict in run.ledger().unexcused() {
            let text =
                format!("{} declared {} dead, which lives", verdict.observer, verdict.subject);
            self.findings.add("accuracy", verdict.at, text);
        }
    }

    fn take_violations(&mut self) -> Vec<Violation> {
        self.findings.take()
    }
}
