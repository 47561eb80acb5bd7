//! Which member learnt of which revision of the data of another, and when.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    node::{DataLine, Instant, NodeId},
    truth::Truth,
};

/// The books of the data that members publish.
#[derive(Clone, Debug, Default)]
pub struct DataLedger {
    /// Every publication, in order.
    pub publications: Vec<Publication>,
    /// Those of each owner.
    by_owner: BTreeMap<NodeId, Vec<usize>>,
    /// How many of them each reader knows, those before its first included.
    known: BTreeMap<(NodeId, NodeId), usize>,
}

/// A revision of a member's data, and how it became known.
#[derive(Clone, Copy, Debug)]
pub struct Publication {
    /// The owner.
    pub owner: NodeId,
    /// When it was published.
    pub at: Instant,
    /// How many other members ran then.
    pub readers: usize,
    /// How many know it, or a later one.
    pub learnt: usize,
    /// How long after it the last of these learnt it.
    pub last: Duration,
    head: (u32, u64),
}

impl Publication {
    /// How long after it all knew, if they do.
    pub fn all(&self) -> Option<Duration> {
        (self.learnt >= self.readers).then_some(self.last)
    }
}

impl DataLedger {
    pub(crate) fn record(
        &mut self,
        truth: &Truth,
        now: Instant,
        (reader, owner): (NodeId, NodeId),
        line: Option<DataLine>,
    ) {
        let Some(line) = line else {
            return;
        };
        let head = (line.generation.0, line.revision);
        let own = self.by_owner.entry(owner).or_default();
        if reader == owner {
            own.push(self.publications.len());
            let readers = truth.running().filter(|&id| id != owner).count();
            let (at, learnt, last) = (now, 0, Duration::ZERO);
            self.publications.push(Publication { owner, at, readers, learnt, last, head });
            return;
        }
        let known = self.known.entry((reader, owner)).or_default();
        while let Some(&number) = own.get(*known)
            && self.publications[number].head <= head
        {
            let publication = &mut self.publications[number];
            publication.learnt += 1;
            publication.last = now - publication.at;
            *known += 1;
        }
    }

    /// Whether all members know the last publication of each.
    pub fn is_equal(&self) -> bool {
        let last = self.by_owner.values().filter_map(|own| own.last());
        last.into_iter().all(|&number| self.publications[number].all().is_some())
    }
}
