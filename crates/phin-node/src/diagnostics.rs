//! The state of a node, as it describes itself for a bundle of diagnostics, without secrets.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use phin::{Cluster, Notice};
use serde::{Deserialize, Serialize};

use crate::{
    changes::{Changes, Told},
    events::{Line, What},
};

/// The answer of `/v1/diagnostics`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Diagnostics {
    pub(crate) version: String,
    /// The settings that are given, by their names, as far as they are in effect. Secrets are left out, and so are the arguments
    /// of programs.
    pub(crate) settings: BTreeMap<String, String>,
    /// The settings of the protocol, with their defaults.
    pub(crate) config: serde_json::Value,
    /// Files of the kernel, by their paths.
    pub(crate) system: BTreeMap<String, String>,
    /// The last changes of the membership, the oldest first.
    pub(crate) recent_events: Vec<Line>,
}

/// The last changes of the membership: at most [`MAX_EVENTS`]. The oldest are dropped.
#[derive(Clone, Debug, Default)]
pub(crate) struct RecentEvents(Arc<Mutex<VecDeque<Line>>>);

impl RecentEvents {
    /// Keeps the changes of this node from now on, in a task that ends with it.
    pub(crate) fn of(cluster: &Cluster) -> Self {
        let recent = Self::default();
        let (mut changes, keep) = (Changes::new(cluster), recent.clone());
        tokio::spawn(async move {
            while let Some(told) = changes.next().await {
                if let Some(line) = line_of(told, changes.cluster()) {
                    keep.push(line);
                }
            }
        });
        recent
    }

    fn push(&self, line: Line) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() >= MAX_EVENTS {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    pub(crate) fn to_vec(&self) -> Vec<Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// The line of a change. A list is none: the bundle has the present one.
fn line_of(told: Told, cluster: &Cluster) -> Option<Line> {
    match told {
        Told::Isolated(is_isolated) => Some(Line::now(What::isolation(is_isolated))),
        Told::Notice(Notice::Event { at, event }) => Some(Line::of_event(at, &event, cluster)),
        Told::Notice(Notice::Missed { events, .. }) => Some(Line::now(What::missed(events))),
        Told::Notice(_) => None,
    }
}

const MAX_EVENTS: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_events_are_kept() {
        let recent = RecentEvents::default();
        for events in 0..=MAX_EVENTS as u64 {
            recent.push(Line::now(What::missed(events)));
        }
        let kept = recent.to_vec();
        assert_eq!((kept.len(), &kept[0].what), (MAX_EVENTS, &What::missed(1)));
    }
}
