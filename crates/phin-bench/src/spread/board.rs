//! The texts that members give to all, and which nodes of one process know them.

use std::{collections::BTreeMap, mem, sync::Arc, time::Duration};

use crate::{Faults, machine::now, protocol::Change, watched::Watched};

/// The handle by which a node reports what it learns from others and from itself.
#[derive(Clone, Debug)]
pub struct Reporter {
    board: Arc<SpreadBoard>,
    node: usize,
}

impl Reporter {
    /// The node's API now shows this value of this member, which can be the node itself.
    pub fn value(&self, owner: &str, value: impl AsRef<[u8]>) {
        let at = now();
        self.board.texts.change(|state| state.record_value(self.node, owner, value.as_ref(), at));
    }

    /// The node's application now has this message.
    pub fn message(&self, text: impl AsRef<[u8]>) {
        let at = now();
        self.board.texts.change(|state| {
            state.received += 1;
            state.record_message(self.node, text.as_ref(), at);
        });
    }

    /// This many messages did not reach the node's application, and it was informed of that.
    pub fn missed(&self, count: u64) {
        self.board.texts.change(|state| state.faults.reported_missing += count);
    }
}

/// The writes since the last look, and the nodes that know them.
#[derive(Debug, Default)]
pub(crate) struct SpreadBoard {
    texts: Watched<State>,
}

#[derive(Debug, Default)]
struct State {
    /// How many nodes report.
    nodes: usize,
    /// In the order in which they were written.
    written: Vec<Written>,
    faults: Faults,
    /// How many messages nodes received, whatever they say.
    received: u64,
}

#[derive(Debug)]
struct Written {
    owner: String,
    text: String,
    at: u64,
    /// Since when which nodes know it.
    known: BTreeMap<usize, u64>,
}

impl SpreadBoard {
    /// Adds a node.
    pub(crate) fn add(self: &Arc<Self>) -> Reporter {
        let node = self.texts.change(|state| {
            state.nodes += 1;
            state.nodes - 1
        });
        Reporter { board: Arc::clone(self), node }
    }

    /// A member is about to write this text.
    pub(crate) fn write(&self, owner: &str, text: &str) {
        let (owner, text) = (owner.to_owned(), text.to_owned());
        self.texts.change(|state| {
            state.written.push(Written { owner, text, at: now(), known: BTreeMap::new() });
        });
    }

    /// Waits, for at most this long, until every node knows all writes since the last call, and returns these in the
    /// order in which they were made, with their faults. Nodes that learn of them later do not count.
    pub(crate) async fn spread(&self, within: Duration) -> (Vec<Change>, Faults) {
        let all = |state: &State| {
            let is_known = |written: &Written| written.known.len() == state.nodes;
            state.written.iter().all(is_known).then_some(())
        };
        self.texts.wait(within, all).await;
        let change = |Written { at, known, .. }| Change {
            written: at,
            known: known.into_values().collect(),
        };
        self.texts.change(|state| {
            let written = mem::take(&mut state.written);
            (written.into_iter().map(change).collect(), mem::take(&mut state.faults))
        })
    }

    /// How many messages nodes received so far.
    pub(crate) fn received(&self) -> u64 {
        self.texts.state().received
    }
}

impl State {
    fn record_value(&mut self, node: usize, owner: &str, value: &[u8], at: u64) {
        let is_it = |written: &Written| written.owner == owner && written.text.as_bytes() == value;
        let Some(last) = self.written.iter().rposition(is_it) else { return };
        // A member's later value replaces its earlier ones: a node that has it will never need those.
        let replaced = self.written[..=last].iter_mut().filter(|written| written.owner == owner);
        for written in replaced {
            written.known.entry(node).or_insert(at);
        }
    }

    fn record_message(&mut self, node: usize, text: &[u8], at: u64) {
        let is_it = |written: &Written| written.text.as_bytes() == text;
        let Some(index) = self.written.iter().rposition(is_it) else { return };
        let (earlier, rest) = self.written.split_at_mut(index);
        let written = &mut rest[0];
        if written.known.contains_key(&node) {
            self.faults.repeated += 1;
            return;
        }
        written.known.insert(node, at);
        let is_passed =
            |before: &Written| before.owner == written.owner && !before.known.contains_key(&node);
        self.faults.disordered += u64::from(earlier.iter().any(is_passed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_change_is_known_by_its_value_or_a_later_one_of_its_owner() {
        let board = Arc::new(SpreadBoard::default());
        let [one, two] = [board.add(), board.add()];
        for (owner, value) in [("1", "a"), ("1", "b"), ("2", "a"), ("1", "c")] {
            board.write(owner, value);
        }
        one.value("1", "a");
        one.value("1", "b");
        two.value("1", "b");
        two.value("1", "of an earlier run");
        let counts: Vec<_> =
            board.spread(Duration::ZERO).await.0.iter().map(|change| change.known.len()).collect();
        assert_eq!(counts, [2, 2, 0, 0]);
    }

    #[tokio::test]
    async fn all_wait_for_the_last_node_and_what_comes_later_does_not_count() {
        let board = Arc::new(SpreadBoard::default());
        let [one, two] = [board.add(), board.add()];
        board.write("1", "a");
        one.value("1", "a");
        one.value("1", "a");
        assert_eq!(board.spread(Duration::ZERO).await.0[0].known.len(), 1, "a node counts once");
        board.write("1", "b");
        two.value("1", "a");
        two.value("1", "b");
        one.value("1", "b");
        let (changes, _) = board.spread(Duration::MAX).await;
        let [change] = &changes[..] else { panic!("{changes:?}") };
        assert_eq!(change.known.len(), 2);
        assert!(change.known.iter().all(|&at| change.written <= at), "{change:?}");
        assert!(board.spread(Duration::MAX).await.0.is_empty());
    }

    #[tokio::test]
    async fn a_message_counts_once_and_is_disordered_if_it_passes_one_of_its_publisher() {
        let board = Arc::new(SpreadBoard::default());
        let [one, two] = [board.add(), board.add()];
        for (owner, text) in [("1", "a"), ("2", "b"), ("1", "c")] {
            board.write(owner, text);
        }
        ["a", "c", "c", "b"].iter().for_each(|text| one.message(text));
        ["c", "of an earlier run"].iter().for_each(|text| two.message(text));
        two.missed(2);
        let (changes, faults) = board.spread(Duration::ZERO).await;
        let counts: Vec<_> = changes.iter().map(|change| change.known.len()).collect();
        assert_eq!(counts, [1, 1, 2]);
        assert_eq!(faults, Faults { repeated: 1, disordered: 1, reported_missing: 2 });
        assert_eq!(board.spread(Duration::ZERO).await.1, Faults::default());
    }
}
