//! At most one member holds an office at any moment, each in a higher term than those before, granted by a majority.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{Findings, Oracle, Violation};
use crate::{
    node::{Instant, NodeId, OfficeChange, OfficeNews, secs},
    truth::Truth,
};

/// Finds offices with two holders, terms that do not rise, elections without a majority, and holders that learn too late that
/// they are none.
#[derive(Debug, Default)]
pub struct OfficesSound {
    offices: BTreeMap<Arc<str>, Office>,
    findings: Findings,
}

#[derive(Debug, Default)]
struct Office {
    /// How many voters are expected, if that is stated.
    expected: Option<u16>,
    /// The voters that granted each term, by the candidate.
    granted: BTreeMap<(u64, NodeId), BTreeSet<NodeId>>,
    /// The highest term of any holder.
    highest: u64,
    /// The last term of each holder.
    holds: BTreeMap<NodeId, Hold>,
}

#[derive(Clone, Copy, Debug)]
struct Hold {
    term: u64,
    /// The run of its process.
    run: u32,
    /// Until when it acts as the holder, on a true clock.
    until: Instant,
}

impl Office {
    /// Another member that holds the office now.
    fn other(&self, truth: &Truth, now: Instant, at: NodeId) -> Option<(NodeId, Hold)> {
        let others = self.holds.iter().filter(|(node, _)| **node != at);
        let mut holding = others.filter(|(node, hold)| {
            hold.until > now && run_of(truth, **node) == hold.run && truth.has_process(**node)
        });
        holding.next().map(|(node, hold)| (*node, *hold))
    }

    fn elect(&mut self, truth: &Truth, (at, term): (NodeId, u64), until: Instant) -> Vec<String> {
        // A liar grants whatever it likes.
        let mut granted: BTreeSet<_> = truth.liars().collect();
        granted.extend(self.granted.get(&(term, at)).into_iter().flatten());
        let granted = granted.len();
        let needed = usize::from(self.expected.unwrap_or(1)) / 2 + 1;
        let mut faults = Vec::new();
        if granted < needed {
            faults.push(format!("was granted by {granted} voters, not {needed}"));
        }
        // Voters that forget what they granted may grant it again.
        if term <= self.highest && !truth.has_forgetful() {
            faults.push(format!("comes after {}", self.highest));
        }
        self.highest = term.max(self.highest);
        self.holds.insert(at, Hold { term, run: run_of(truth, at), until });
        faults
    }
}

fn run_of(truth: &Truth, id: NodeId) -> u32 {
    truth.node(id).map_or(0, |node| node.starts)
}

impl OfficesSound {
    fn check(
        &mut self,
        truth: &Truth,
        now: Instant,
        (at, until): (NodeId, Instant),
        news: &OfficeNews,
    ) -> Vec<String> {
        let office = self.offices.entry(Arc::clone(&news.office)).or_default();
        let own = office.holds.get(&at).copied().filter(|hold| hold.run == run_of(truth, at));
        let mut faults = Vec::new();
        let is_about_holding = !matches!(
            news.what,
            OfficeChange::Lost { .. } | OfficeChange::Stands(_) | OfficeChange::Granted { .. }
        );
        if own.is_some_and(|hold| hold.until + ROUNDING < now) && is_about_holding {
            faults.push("has ended, which was not reported first".to_owned());
        }
        match news.what {
            OfficeChange::Stands(expected) => office.expected = expected,
            OfficeChange::Granted { term, to } => {
                office.granted.entry((term, to)).or_default().insert(at);
            }
            OfficeChange::Elected { term, .. } => {
                faults.extend(office.elect(truth, (at, term), until));
            }
            OfficeChange::Renewed { .. } => match office.holds.get_mut(&at) {
                Some(hold) => hold.until = until,
                None => faults.push("was renewed, and never began".to_owned()),
            },
            OfficeChange::Lost { .. } => drop(office.holds.remove(&at)),
            OfficeChange::Resigned | OfficeChange::Following { .. } | OfficeChange::Vacant(_) => {}
        }
        let holds =
            matches!(news.what, OfficeChange::Elected { .. } | OfficeChange::Renewed { .. });
        // A clock that skips ahead ends leases early.
        let other =
            office.other(truth, now, at).filter(|_| holds && !truth.jumped_since(now, LEASE));
        faults.extend(other.map(|(other, hold)| format!("meets term {} of {other}", hold.term)));
        faults
    }
}

impl Oracle for OfficesSound {
    fn observe_office(
        &mut self,
        truth: &Truth,
        now: Instant,
        (at, until): (NodeId, Instant),
        news: &OfficeNews,
    ) {
        for fault in self.check(truth, now, (at, until), news) {
            let text = format!("{:?} of {} at {at} {fault}", news.what, news.office);
            self.findings.add("offices-sound", now, text);
        }
    }

    fn take_violations(&mut self) -> Vec<Violation> {
        self.findings.take()
    }
}

/// How long a jump of a clock is felt: more than a lease.
const LEASE: Duration = secs(5);
/// A moment on a clock that drifts is found to the nanosecond.
const ROUNDING: Duration = Duration::from_micros(1);
