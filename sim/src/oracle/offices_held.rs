//! An office for which a member stands that reaches a majority of the voters has a holder.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{Findings, Oracle, View, Violation};
use crate::{
    node::{Instant, NodeId, OfficeChange, OfficeNews, secs},
    truth::{Life, Truth},
};

/// Finds offices that are vacant for too long once faults are over.
#[derive(Debug)]
pub struct OfficesHeld {
    /// Since when there are no faults.
    calm_since: Instant,
    offices: BTreeMap<Arc<str>, Office>,
    findings: Findings,
}

#[derive(Debug, Default)]
struct Office {
    expected: Option<u16>,
    /// Since when each member stands for it, in which run.
    stands: BTreeMap<NodeId, (Instant, u32)>,
    /// Since when it is vacant, and need not be.
    vacant_since: Option<Instant>,
    /// The holder, until when, and in which run.
    holder: Option<(NodeId, Instant, u32)>,
}

impl OfficesHeld {
    /// Creates the oracle.
    pub fn new(calm_since: Instant) -> Self {
        Self { calm_since, offices: BTreeMap::new(), findings: Findings::default() }
    }
}

impl Office {
    /// Whether some member can hold the office: it stands for it and has, for long enough, a majority of as many voters as are
    /// expected around it, and no more than these exist.
    fn can_be_held(&self, truth: &Truth, now: Instant) -> bool {
        let Some(expected) = self.expected.map(usize::from) else {
            return false;
        };
        let exist = truth
            .nodes()
            .filter(|(_, node)| !matches!(node.life, Life::Left | Life::Expelled))
            .count();
        let is_calm = |id: NodeId| {
            let since = truth.node(id).map_or(now, |node| node.since);
            truth.is_healthy(id, now, DUE) && (since + DUE <= now || since == Instant::START)
        };
        let can_vote = |candidate: NodeId| {
            let healthy = truth.running().filter(|&voter| is_calm(voter));
            healthy.filter(|&voter| !truth.are_separated(candidate, voter, now, DUE)).count()
        };
        let mut candidates = self.stands.iter().filter(|&(&id, &(since, run))| {
            since + DUE <= now && is_calm(id) && run_of(truth, id) == run && !truth.is_draining(id)
        });
        exist <= expected && candidates.any(|(&id, _)| can_vote(id) > expected / 2)
    }

    fn is_held(&self, truth: &Truth, now: Instant) -> bool {
        self.holder.is_some_and(|(node, until, run)| {
            until > now && truth.is_running(node) && run_of(truth, node) == run
        })
    }
}

fn run_of(truth: &Truth, id: NodeId) -> u32 {
    truth.node(id).map_or(0, |node| node.starts)
}

impl Oracle for OfficesHeld {
    fn observe_office(
        &mut self,
        truth: &Truth,
        now: Instant,
        (at, until): (NodeId, Instant),
        news: &OfficeNews,
    ) {
        let office = self.offices.entry(Arc::clone(&news.office)).or_default();
        let run = run_of(truth, at);
        match news.what {
            OfficeChange::Stands(expected) => {
                office.expected = expected;
                office.stands.insert(at, (now, run));
            }
            OfficeChange::Resigned => drop(office.stands.remove(&at)),
            OfficeChange::Elected { .. } | OfficeChange::Renewed { .. } => {
                office.holder = Some((at, until, run));
            }
            OfficeChange::Lost { .. } => office.holder = office.holder.filter(|held| held.0 != at),
            OfficeChange::Granted { .. }
            | OfficeChange::Following { .. }
            | OfficeChange::Vacant(_) => {}
        }
    }

    fn inspect(&mut self, run: View<'_>) {
        let (truth, now) = (run.truth, run.now);
        if now < self.calm_since + DUE {
            return;
        }
        for (name, office) in &mut self.offices {
            if !office.can_be_held(truth, now) || office.is_held(truth, now) {
                office.vacant_since = None;
                continue;
            }
            let since = *office.vacant_since.get_or_insert(now);
            if now - since >= TAKEOVER {
                let text = format!("nobody holds {name} since {since}");
                self.findings.add("offices-held", now, text);
            }
        }
    }

    fn take_violations(&mut self) -> Vec<Violation> {
        self.findings.take()
    }
}

/// How long an office may be vacant, whatever is lost.
const TAKEOVER: Duration = secs(8);
/// How long there must be no fault before: by far longer than a lease, and a detection.
const DUE: Duration = secs(15);
