//! An application receives only a few suspicions of one member per minute, under all faults.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use super::{Findings, Oracle, View, Violation};
use crate::{
    node::{Belief, Instant, NodeId, Notice, secs},
    truth::Truth,
};

/// Finds members that are reported as suspect too often.
#[derive(Debug)]
pub struct Suspicions {
    /// The maximum number of suspicions that one member may report of another per minute.
    pub max_in_minute: usize,
    /// The moments in the last minute, by observer and subject.
    told: BTreeMap<(NodeId, NodeId), VecDeque<Instant>>,
    /// The largest number per minute, and its place.
    most: Option<(usize, Instant, NodeId, NodeId)>,
    findings: Findings,
}

impl Suspicions {
    /// Creates the oracle with this limit.
    pub fn new(max_in_minute: usize) -> Self {
        let (told, findings) = (BTreeMap::new(), Findings::default());
        Self { max_in_minute, told, most: None, findings }
    }
}

impl Oracle for Suspicions {
    fn observe(&mut self, truth: &Truth, now: Instant, observer: NodeId, notice: Notice) {
        let subject = notice.subject;
        // Members that never existed are suspected once each.
        if notice.belief != Belief::Suspect || truth.node(subject).is_none() {
            return;
        }
        let told = self.told.entry((observer, subject)).or_default();
        told.push_back(now);
        while told.front().is_some_and(|&at| now - at >= MINUTE) {
            told.pop_front();
        }
        if self.most.is_none_or(|(most, ..)| told.len() > most) {
            self.most = Some((told.len(), now, observer, subject));
        }
    }

    fn finish(&mut self, _: View<'_>) {
        if let Some((most, at, observer, subject)) = self.most
            && most > self.max_in_minute
        {
            let text = format!("{observer} suspected {subject} {most} times in a minute");
            self.findings.add("suspicions", at, text);
        }
    }

    fn take_violations(&mut self) -> Vec<Violation> {
        self.findings.take()
    }
}

const MINUTE: Duration = secs(60);
