//! The lists of the nodes of one process, as the nodes report them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use crate::{machine::now, watched::Watched};

/// The handle by which a node reports changes of its list.
#[derive(Clone, Debug)]
pub struct Told {
    board: Arc<Board>,
    node: usize,
}

impl Told {
    /// This member is alive.
    pub fn up(&self, member: &str) {
        self.board.lists.change(|state| {
            let view = &mut state.views[self.node];
            view.dead_since.remove(member);
            if view.live.insert(member.to_owned()) {
                view.changed = now();
            }
        });
    }

    /// This member has been declared dead, or is no longer counted among the living.
    pub fn down(&self, member: &str) {
        self.board.lists.change(|state| state.mark_dead(self.node, member));
    }

    /// These are all that are alive, the node itself included.
    pub fn live(&self, members: &BTreeSet<String>) {
        let known = self.board.lists.state().views[self.node].live.clone();
        known.difference(members).for_each(|member| self.down(member));
        members.difference(&known).for_each(|member| self.up(member));
    }
}

/// The lists of all nodes of this process.
#[derive(Debug, Default)]
pub(crate) struct Board {
    lists: Watched<State>,
}

#[derive(Debug, Default)]
struct State {
    views: Vec<View>,
    /// The members that may be declared dead.
    doomed: BTreeSet<String>,
    false_deaths: u64,
}

/// One node's list.
#[derive(Debug)]
struct View {
    own_name: String,
    live: BTreeSet<String>,
    /// When `live` last changed.
    changed: u64,
    dead_since: BTreeMap<String, u64>,
}

impl Board {
    /// Adds a node, which so far knows itself alone.
    pub(crate) fn add(self: &Arc<Self>, name: &str) -> Told {
        let mut state = self.lists.state();
        let live = BTreeSet::from([name.to_owned()]);
        let view =
            View { own_name: name.to_owned(), live, changed: now(), dead_since: BTreeMap::new() };
        state.views.push(view);
        Told { board: Arc::clone(self), node: state.views.len() - 1 }
    }

    /// From now on the death of this member is no mistake.
    pub(crate) fn doom(&self, member: String) {
        self.lists.state().doomed.insert(member);
    }

    /// The number of false verdicts: members declared dead that were not doomed, counted at each node.
    pub(crate) fn false_deaths(&self) -> u64 {
        self.lists.state().false_deaths
    }

    /// Waits until every node has so many live members, and returns when the last of them had.
    pub(crate) async fn complete(&self, members: usize, within: Duration) -> Option<u64> {
        let complete = |state: &State| {
            let is_complete = state.views.iter().all(|view| view.live.len() == members);
            is_complete.then(|| state.views.iter().map(|view| view.changed).max()).flatten()
        };
        self.lists.wait(within, complete).await
    }

    /// Waits until every node has declared this member dead, and returns when each did; without those that did not in
    /// time.
    pub(crate) async fn known(&self, member: &str, within: Duration) -> Vec<u64> {
        let times = |state: &State| -> Vec<u64> {
            state.views.iter().filter_map(|view| view.dead_since.get(member).copied()).collect()
        };
        let all = |state: &State| Some(times(state)).filter(|all| all.len() == state.views.len());
        self.lists.wait(within, all).await.unwrap_or_else(|| times(&self.lists.state()))
    }

    /// Waits until one node has declared this member dead, and returns when.
    pub(crate) async fn known_by(&self, node: &str, member: &str, within: Duration) -> Option<u64> {
        let since = |state: &State| {
            let view = state.views.iter().find(|view| view.own_name == node)?;
            view.dead_since.get(member).copied()
        };
        self.lists.wait(within, since).await
    }
}

impl State {
    fn mark_dead(&mut self, node: usize, member: &str) {
        let view = &mut self.views[node];
        if member == view.own_name || !view.live.remove(member) {
            return;
        }
        view.changed = now();
        view.dead_since.insert(member.to_owned(), view.changed);
        if !self.doomed.contains(member) {
            self.false_deaths += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_death_is_known_when_all_nodes_know_and_false_unless_doomed() {
        let board = Arc::new(Board::default());
        let [one, two] = ["1", "2"].map(|name| board.add(name));
        for told in [&one, &two] {
            ["1", "2", "3", "4"].into_iter().for_each(|name| told.up(name));
        }
        assert!(board.complete(4, Duration::ZERO).await.is_some());
        board.doom("3".to_owned());
        one.down("3");
        one.down("3");
        assert_eq!(board.known("3", Duration::ZERO).await.len(), 1);
        assert!(board.known_by("1", "3", Duration::ZERO).await.is_some());
        assert!(board.known_by("2", "3", Duration::ZERO).await.is_none());
        two.live(&["1", "2", "4"].map(str::to_owned).into());
        assert_eq!(board.known("3", Duration::MAX).await.len(), 2);
        assert_eq!(board.false_deaths(), 0);
        two.down("4");
        two.down("2");
        assert_eq!(board.false_deaths(), 1, "a node's word of itself is no verdict");
        assert!(board.complete(3, Duration::ZERO).await.is_none());
    }
}
