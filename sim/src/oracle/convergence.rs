//! Once faults have stopped, all lists and fingerprints are equal, and have exactly the live members.

use super::{Findings, Oracle, View, Violation};
use crate::node::{Line, NodeId};

/// Finds lists that differ at the end.
#[derive(Debug, Default)]
pub struct Convergence {
    findings: Findings,
}

impl Oracle for Convergence {
    fn finish(&mut self, run: View<'_>) {
        // A node that receives nothing cannot distinguish their deaths from its own isolation, and declares none dead.
        if run.truth.running().count() < 2 {
            return;
        }
        let running: Vec<_> = run.truth.running().collect();
        let mut first: Option<(NodeId, u64)> = None;
        for &node in &running {
            let Some(process) = run.process(node) else {
                continue;
            };
            let live: Vec<Line> =
                process.lines().into_iter().filter(|line| line.belief.is_live()).collect();
            let held: Vec<NodeId> = sorted(live.iter().map(|line| line.node));
            if held != running {
                let text = describe(node, &held, &running);
                self.findings.add("convergence", run.now, text);
            }
            let fingerprint = process.fingerprint();
            let (other, theirs) = *first.get_or_insert((node, fingerprint));
            if theirs != fingerprint {
                let text = format!("{node} and {other} have different fingerprints");
                self.findings.add("convergence", run.now, text);
            }
        }
    }

    fn take_violations(&mut self) -> Vec<Violation> {
        self.findings.take()
    }
}

fn describe(node: NodeId, held: &[NodeId], running: &[NodeId]) -> String {
    let names = |of: &[NodeId], but: &[NodeId]| {
        let missing = of.iter().filter(|id| but.binary_search(id).is_err());
        let mut names: Vec<_> = missing.map(NodeId::to_string).collect();
        let count = names.len();
        names.truncate(5);
        format!("{count} ({})", names.join(" "))
    };
    format!(
        "{node} misses {} that live and holds {} that do not",
        names(running, held),
        names(held, running)
    )
}

fn sorted(nodes: impl Iterator<Item = NodeId>) -> Vec<NodeId> {
    let mut nodes: Vec<_> = nodes.collect();
    nodes.sort_unstable();
    nodes
}
