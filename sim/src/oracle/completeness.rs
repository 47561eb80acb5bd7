//! Every death becomes known to every live member within a bound.

use std::time::Duration;

use super::{Findings, Oracle, View, Violation};
use crate::node::{Belief, Instant};

/// Finds deaths that some members do not know of in time.
#[derive(Debug)]
pub struct Completeness {
    /// The time allowed after the death or the last fault, whichever is later.
    pub bound: Duration,
    /// When the last fault ends.
    pub calm_since: Instant,
    findings: Findings,
}

impl Completeness {
    /// Creates the oracle with this bound, for a run whose last fault ends at `calm_since`.
    pub fn new(bound: Duration, calm_since: Instant) -> Self {
        Self { bound, calm_since, findings: Findings::default() }
    }
}

impl Oracle for Completeness {
    fn finish(&mut self, run: View<'_>) {
        // A node that receives nothing cannot distinguish their deaths from its own isolation, and declares none dead.
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
            // A member that never knew of its return need not learn that it died again.
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
