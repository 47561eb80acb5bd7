//! No healthy member is missing from another's list for long, despite lies.

use std::{collections::BTreeMap, time::Duration};

use super::{Findings, Oracle, View, Violation};
use crate::node::{Belief, Instant, NodeId};

/// Finds members that others consider dead, or do not know, for too long in total.
#[derive(Debug)]
pub struct WronglyDead {
    /// The total time allowed for each pair of members.
    pub bound: Duration,
    /// The moment from which time is counted.
    pub since: Instant,
    last: Instant,
    /// By observer and subject.
    wrong_for: BTreeMap<(NodeId, NodeId), Duration>,
    findings: Findings,
}

impl WronglyDead {
    /// Creates the oracle with this bound, counted from `since`.
    pub fn new(bound: Duration, since: Instant) -> Self {
        let (wrong_for, findings) = (BTreeMap::new(), Findings::default());
        Self { bound, since, last: since, wrong_for, findings }
    }
}

impl Oracle for WronglyDead {
    fn inspect(&mut self, run: View<'_>) {
        let (now, truth) = (run.now, run.truth);
        if now <= self.since {
            return;
        }
        let grace = run.ledger.grace;
        let healthy: Vec<_> =
            truth.running().filter(|&node| truth.is_healthy(node, now, grace)).collect();
        for &observer in &healthy {
            let Some(process) = run.process(observer) else {
                continue;
            };
            let is_live = |&node: &NodeId| process.belief(node).is_some_and(Belief::is_live);
            for &subject in healthy.iter().filter(|node| !is_live(node)) {
                *self.wrong_for.entry((observer, subject)).or_default() += now - self.last;
            }
        }
        self.last = now;
    }

    fn finish(&mut self, run: View<'_>) {
        let pairs = self.wrong_for.len();
        let longest = self.wrong_for.iter().max_by_key(|&(_, wrong_for)| wrong_for);
        if let Some((&(observer, subject), &wrong_for)) = longest
            && wrong_for > self.bound
        {
            let seconds = (run.now - self.since).as_secs_f64();
            let share = 100.0 * wrong_for.as_secs_f64() / seconds;
            let text = format!(
                "{observer} held {subject}, which lives, for dead for {wrong_for:.1?} in all, \
                 {share:.0} % of the time; {pairs} pairs of members were concerned"
            );
            self.findings.add("wrongly-dead", run.now, text);
        }
    }

    fn take_violations(&mut self) -> Vec<Violation> {
        self.findings.take()
    }
}
