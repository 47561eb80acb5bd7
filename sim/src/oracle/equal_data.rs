//! Once writes and faults have stopped, all members have the same data of live members: what each of these published last.

use super::{Findings, Oracle, View, Violation};
use crate::truth::Life;

/// Finds data that differs from its owner's at the end, and data of members that left or were expelled.
#[derive(Debug, Default)]
pub struct EqualData {
    findings: Findings,
}

impl Oracle for EqualData {
    fn finish(&mut self, run: View<'_>) {
        // A node that receives nothing does not know who left.
        if run.truth.running().count() < 2 {
            return;
        }
        for (owner, truth) in run.truth.nodes() {
            let last = match (truth.life, run.process(owner)) {
                (Life::Running, Some(process)) => process.data_of(owner),
                (Life::Left | Life::Expelled, _) => None,
                // The data of the dead stays as it was at each reader.
                (Life::Running | Life::Crashed, _) => continue,
            };
            for reader in run.truth.running().filter(|&reader| !run.truth.is_liar(reader)) {
                let found = run.process(reader).and_then(|process| process.data_of(owner));
                if found != last && !run.truth.is_liar(owner) {
                    let text = format!("{reader} has {found:?} of {owner}, which has {last:?}");
                    self.findings.add("equal-data", run.now, text);
                }
            }
        }
    }

    fn take_violations(&mut self) -> Vec<Violation> {
        self.findings.take()
    }
}
