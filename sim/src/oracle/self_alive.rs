//! A live member always sees itself alive.

use super::{Findings, Oracle, View, Violation};
use crate::{
    node::{Belief, Instant, NodeId, Notice},
    truth::Truth,
};

/// Finds members that are not alive in their own list.
#[derive(Debug, Default)]
pub struct SelfAlive {
    findings: Findings,
}

impl Oracle for SelfAlive {
    fn observe(&mut self, truth: &Truth, now: Instant, observer: NodeId, notice: Notice) {
        let is_alive = notice.belief == Belief::Alive;
        if notice.subject == observer && !is_alive && truth.is_running(observer) {
            let text = format!("{observer} holds itself for {}", notice.belief);
            self.findings.add("self-alive", now, text);
        }
    }

    fn inspect(&mut self, run: View<'_>) {
        for node in run.truth.running() {
            let belief = run.process(node).and_then(|process| process.belief(node));
            if run.process(node).is_some() && belief != Some(Belief::Alive) {
                let text = format!("{node} holds itself for {belief:?}");
                self.findings.add("self-alive", run.now, text);
            }
        }
    }

    fn take_violations(&mut self) -> Vec<Violation> {
        self.findings.take()
    }
}
