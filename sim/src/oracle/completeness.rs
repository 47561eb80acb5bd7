//! Every death becomes known to every live member within a bound.

use std::time::Duration;

use super::{Findings, Oracle, View, Violation};
use crate::node::{Belief, Instant};

/// Finds deaths that not everybody knows of in time.
#[derive(Debug)]
pub struct Completeness {
    /// How long it may take after the death, or after the last fault, whichever is later.
    pub bound: Duration,
    /// When the last fault ends.
    pub calm_since: Instant,
    findings: Findings,
}

impl Completeness {
    /// With this bound, in a run whose last fault ends then.
    pub fn new(bound: Duration, calm_since: Instant) -> Self {
        Self { bound, calm_since, findings: Findings::default() }
    }
}

impl Oracle for Completeness {
    fn finish(&mut self, run: View<'_>) {
        // A node that receives nothing cannot tell their deaths from its own isolation, and judges nobody.
        if run.truth.running().count() < 2 {
            return;
        }
        for death in &run.ledger.deaths {
            let due = death.at.max(self.calm_since) + self.bound;
            let subject = death.subject;
            if let Some(last) = death.learnt.last().map(|&after| death.at + after)
                && last > due
            {
                let text =
                    format!("the death of {subject} at {} was known only at {last}", death.at);
                self.findings.add("completeness", last, text);
            }
            // Who never knew that it had returned before need not learn that it died again.
            let honest = run.truth.running().filter(|&node| !run.truth.is_liar(node));
            let unaware = honest.filter(|&node| {
                let belief = run.process(node).and_then(|process| process.belief(subject));
                belief.is_some_and(Belief::is_live)
            });
            if run.now >= due && !run.truth.is_running(subject) && unaware.count() > 0 {
                let text = format!("the death of {subject} at {} is not known to all", death.at);
                self.findings.add("completeness", run.now, text);
            }
        }
    }

    fn take_violations(&mut self) -> Vec<Violation> {
        self.findings.take()
    }
}
