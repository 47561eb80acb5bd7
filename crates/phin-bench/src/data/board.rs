//! The changes of members' data, and which nodes of one process know them.

use std::{collections::BTreeMap, mem, sync::Arc, time::Duration};

use crate::{machine::now, protocol::Change, watched::Watched};

/// The handle by which a node reports the data that it knows.
#[derive(Clone, Debug)]
pub struct DataReporter {
    board: Arc<DataBoard>,
    node: usize,
}

impl DataReporter {
    /// The node's API now shows this value of this member, which can be the node itself.
    pub fn report(&self, owner: &str, value: impl AsRef<[u8]>) {
        let at = now();
        self.board.changes.change(|state| state.record(self.node, owner, value.as_ref(), at));
    }
}

/// The writes since the last look, and the nodes that know them.
#[derive(Debug, Default)]
pub(crate) struct DataBoard {
    changes: Watched<State>,
}

#[derive(Debug, Default)]
struct State {
    /// How many nodes report.
    nodes: usize,
    /// In the order in which they were written.
    written: Vec<Written>,
}

#[derive(Debug)]
struct Written {
    owner: String,
    value: String,
    at: u64,
    /// Since when which nodes know it.
    known: BTreeMap<usize, u64>,
}

impl DataBoard {
    /// Adds a node.
    pub(crate) fn add(self: &Arc<Self>) -> DataReporter {
        let node = self.changes.change(|state| {
            state.nodes += 1;
            state.nodes - 1
        });
        DataReporter { board: Arc::clone(self), node }
    }

    /// A member is about to write this value.
    pub(crate) fn write(&self, owner: &str, value: &str) {
        let (owner, value) = (owner.to_owned(), value.to_owned());
        self.changes.change(|state| {
            state.written.push(Written { owner, value, at: now(), known: BTreeMap::new() });
        });
    }

    /// Waits, for at most this long, until every node knows all writes since the last call, and returns these in the
    /// order in which they were made. Nodes that learn of them later do not count.
    pub(crate) async fn spread(&self, within: Duration) -> Vec<Change> {
        let all = |state: &State| {
            let is_known = |written: &Written| written.known.len() == state.nodes;
            state.written.iter().all(is_known).then_some(())
        };
        self.changes.wait(within, all).await;
        let written = self.changes.change(|state| mem::take(&mut state.written));
        let change = |Written { at, known, .. }| Change {
            written: at,
            known: known.into_values().collect(),
        };
        written.into_iter().map(change).collect()
    }
}

impl State {
    fn record(&mut self, node: usize, owner: &str, value: &[u8], at: u64) {
        let is_it = |written: &Written| written.owner == owner && written.value.as_bytes() == value;
        let Some(last) = self.written.iter().rposition(is_it) else { return };
        // A member's later value replaces its earlier ones: a node that has it will never need those.
        let replaced = self.written[..=last].iter_mut().filter(|written| written.owner == owner);
        for written in replaced {
            written.known.entry(node).or_insert(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_change_is_known_by_its_value_or_a_later_one_of_its_owner() {
        let board = Arc::new(DataBoard::default());
        let [one, two] = [board.add(), board.add()];
        for (owner, value) in [("1", "a"), ("1", "b"), ("2", "a"), ("1", "c")] {
            board.write(owner, value);
        }
        one.report("1", "a");
        one.report("1", "b");
        two.report("1", "b");
        two.report("1", "of an earlier run");
        let counts: Vec<_> =
            board.spread(Duration::ZERO).await.iter().map(|change| change.known.len()).collect();
        assert_eq!(counts, [2, 2, 0, 0]);
    }

    #[tokio::test]
    async fn all_wait_for_the_last_node_and_what_comes_later_does_not_count() {
        let board = Arc::new(DataBoard::default());
        let [one, two] = [board.add(), board.add()];
        board.write("1", "a");
        one.report("1", "a");
        one.report("1", "a");
        assert_eq!(board.spread(Duration::ZERO).await[0].known.len(), 1, "a node counts once");
        board.write("1", "b");
        two.report("1", "a");
        two.report("1", "b");
        one.report("1", "b");
        let changes = board.spread(Duration::MAX).await;
        let [change] = &changes[..] else { panic!("{changes:?}") };
        assert_eq!(change.known.len(), 2);
        assert!(change.known.iter().all(|&at| change.written <= at), "{change:?}");
        assert!(board.spread(Duration::MAX).await.is_empty());
    }
}
