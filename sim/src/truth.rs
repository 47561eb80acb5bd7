//! The truth about the members, which none of them can see, for oracles and measurements.

use std::{collections::BTreeSet, time::Duration};

use crate::node::{Generation, HostId, Instant, NodeId};

/// The truth at one moment of a run.
#[derive(Clone, Debug, Default)]
pub struct Truth {
    nodes: Vec<TrueNode>,
    separations: Vec<Separation>,
    liars: BTreeSet<NodeId>,
    /// Members that were cut off from most of their observers.
    cut_off: BTreeSet<NodeId>,
    /// The members that started without what they had promised.
    forgetful: BTreeSet<NodeId>,
    /// The members that drain.
    draining: BTreeSet<NodeId>,
    /// When a clock last skipped ahead.
    jumped_at: Option<Instant>,
    /// The total time that ended processes ran.
    lived: Duration,
}

/// The true state of a member.
#[derive(Clone, Copy, Debug)]
pub struct TrueNode {
    /// The host where it runs, or ran last.
    pub host: HostId,
    /// Whether it runs.
    pub life: Life,
    /// When that began.
    pub since: Instant,
    /// The generation of its last run.
    pub generation: Generation,
    /// The highest generation of its earlier runs, below which the last one may have started.
    pub former: Generation,
    /// The number of starts of its process.
    pub starts: u32,
    /// The number of present faults that excuse its silence.
    pub troubles: u32,
    /// When the last of them ended.
    pub trouble_ended: Option<Instant>,
}

/// Whether a member runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Life {
    /// It runs, even if paused.
    Running,
    /// Its process or its host crashed.
    Crashed,
    /// It was asked to leave. Its process may still run.
    Left,
    /// An administrator expelled it. Its process may still run.
    Expelled,
}

/// Two sides that cannot communicate, or could not.
#[derive(Clone, Debug)]
struct Separation {
    side_of: Vec<u16>,
    id: u32,
    began: Instant,
    ended: Option<Instant>,
}

impl Truth {
    /// All members that ever existed.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &TrueNode)> {
        (0..).map(NodeId).zip(&self.nodes)
    }

    /// One member.
    pub fn node(&self, id: NodeId) -> Option<&TrueNode> {
        self.nodes.get(id.index())
    }

    /// The members that run and did not leave.
    pub fn running(&self) -> impl Iterator<Item = NodeId> {
        self.nodes().filter(|(_, node)| node.life == Life::Running).map(|(id, _)| id)
    }

    /// Whether it runs and did not leave.
    pub fn is_running(&self, id: NodeId) -> bool {
        self.node(id).is_some_and(|node| node.life == Life::Running)
    }

    /// Whether the member runs, if it ever did.
    pub fn life(&self, id: NodeId) -> Option<Life> {
        self.node(id).map(|node| node.life)
    }

    /// Whether the member lies or has lied. Nothing is guaranteed for a liar.
    pub fn is_liar(&self, id: NodeId) -> bool {
        self.liars.contains(&id)
    }

    /// Whether the member runs, is no liar, and has had no fault of its own for `grace`.
    pub fn is_healthy(&self, id: NodeId, now: Instant, grace: Duration) -> bool {
        self.node(id).is_some_and(|node| {
            let was_troubled = node.trouble_ended.is_some_and(|ended| now - ended < grace);
            let is_running = node.life == Life::Running;
            is_running && node.troubles == 0 && !was_troubled && !self.is_liar(id)
        })
    }

    /// Whether a member on its host has or had a fault in the last `grace`: itself, or one that it replaced.
    pub fn is_on_troubled_host(&self, id: NodeId, now: Instant, grace: Duration) -> bool {
        let host = self.node(id).map(|node| node.host);
        self.nodes.iter().filter(|node| Some(node.host) == host).any(|node| {
            node.troubles > 0 || node.trouble_ended.is_some_and(|ended| now - ended < grace)
        })
    }

    /// Whether the member was ever cut off from most of its observers.
    pub fn was_cut_off(&self, id: NodeId) -> bool {
        self.cut_off.contains(&id)
    }

    /// Whether the two could not communicate at some moment of the last `grace`.
    pub fn are_separated(&self, a: NodeId, b: NodeId, now: Instant, grace: Duration) -> bool {
        let host = |id: NodeId| self.node(id).map(|node| node.host.index());
        let (Some(a), Some(b)) = (host(a), host(b)) else {
            return false;
        };
        self.separations.iter().any(|separation| {
            let is_over = separation.ended.is_some_and(|ended| now - ended >= grace);
            !is_over && separation.side_of.get(a) != separation.side_of.get(b)
        })
    }

    /// The members that lie, or did.
    pub fn liars(&self) -> impl Iterator<Item = NodeId> {
        self.liars.iter().copied()
    }

    /// Whether any member started without what it had promised as a voter.
    pub fn has_forgetful(&self) -> bool {
        !self.forgetful.is_empty()
    }

    /// Whether the application of a member takes no work.
    pub fn is_draining(&self, id: NodeId) -> bool {
        self.draining.contains(&id)
    }

    /// Whether any clock skipped ahead in the time before.
    pub fn jumped_since(&self, now: Instant, time: Duration) -> bool {
        self.jumped_at.is_some_and(|at| now - at < time)
    }

    /// Whether a process of the member exists.
    pub fn has_process(&self, id: NodeId) -> bool {
        self.node(id).is_some_and(|node| node.life != Life::Crashed)
    }

    /// The total time that all members have run.
    pub fn lived(&self, now: Instant) -> Duration {
        let running = self.nodes.iter().filter(|node| node.life == Life::Running);
        self.lived + running.map(|node| now - node.since).sum::<Duration>()
    }

    /// Whether there is a fault between members now.
    pub fn is_split(&self) -> bool {
        self.separations.iter().any(|separation| separation.ended.is_none())
    }

    /// Whether all faults between members that lasted at one moment had ended by another.
    pub fn has_healed(&self, since: Instant, by: Instant) -> bool {
        let mut before = self.separations.iter().filter(|separation| separation.began <= since);
        before.all(|separation| separation.ended.is_some_and(|ended| ended <= by))
    }

    /// Records that a process of the member starts. Its faults stay.
    pub(crate) fn start_life(&mut self, id: NodeId, host: HostId, run: Generation, now: Instant) {
        let node = TrueNode {
            host,
            life: Life::Running,
            since: now,
            generation: run,
            former: Generation(0),
            starts: 1,
            troubles: 0,
            trouble_ended: None,
        };
        let Some(known) = self.nodes.get_mut(id.index()) else {
            return self.nodes.push(node);
        };
        self.draining.remove(&id);
        let TrueNode { starts, troubles, trouble_ended, .. } = *known;
        *known = TrueNode { starts: starts + 1, troubles, trouble_ended, ..node };
    }

    pub(crate) fn end_life(&mut self, id: NodeId, life: Life, now: Instant) {
        if let Some(node) = self.nodes.get_mut(id.index()) {
            if node.life == Life::Running {
                self.lived += now - node.since;
            }
            (node.life, node.since) = (life, now);
        }
    }

    pub(crate) fn set_host(&mut self, id: NodeId, host: HostId) {
        if let Some(node) = self.nodes.get_mut(id.index()) {
            node.host = host;
        }
    }

    pub(crate) fn set_generation(&mut self, id: NodeId, generation: Generation) {
        if let Some(node) = self.nodes.get_mut(id.index()) {
            node.generation = generation;
        }
    }

    pub(crate) fn set_former(&mut self, id: NodeId, former: Generation) {
        if let Some(node) = self.nodes.get_mut(id.index()) {
            node.former = former;
        }
    }

    pub(crate) fn cut_off(&mut self, id: NodeId) {
        self.cut_off.insert(id);
    }

    pub(crate) fn begin_trouble(&mut self, id: NodeId) {
        if let Some(node) = self.nodes.get_mut(id.index()) {
            node.troubles += 1;
        }
    }

    pub(crate) fn end_trouble(&mut self, id: NodeId, now: Instant) {
        if let Some(node) = self.nodes.get_mut(id.index()) {
            node.troubles = node.troubles.saturating_sub(1);
            node.trouble_ended = Some(now);
        }
    }

    pub(crate) fn record_forgetful(&mut self, id: NodeId) {
        self.forgetful.insert(id);
    }

    pub(crate) fn set_draining(&mut self, id: NodeId, drains: bool) {
        match drains {
            true => _ = self.draining.insert(id),
            false => _ = self.draining.remove(&id),
        }
    }

    pub(crate) const fn record_jump(&mut self, now: Instant) {
        self.jumped_at = Some(now);
    }

    pub(crate) fn record_liar(&mut self, id: NodeId) {
        self.liars.insert(id);
    }

    pub(crate) fn separate(&mut self, id: u32, side_of: Vec<u16>, began: Instant) {
        self.separations.push(Separation { side_of, id, began, ended: None });
    }

    pub(crate) fn unite(&mut self, id: u32, now: Instant) {
        for separation in self.separations.iter_mut().filter(|s| s.id == id && s.ended.is_none()) {
            separation.ended = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::secs;

    #[test]
    fn faults_between_members_have_healed_once_all_that_lasted_have_ended() {
        let at = |seconds| Instant::START + secs(seconds);
        let mut truth = Truth::default();
        truth.separate(0, vec![0, 1], at(10));
        truth.separate(1, vec![1, 0], at(20));
        truth.unite(0, at(30));
        // Since when, and by when; whether that is so. The second one lasts.
        let cases = [(9, 9, true), (10, 29, false), (15, 30, true), (31, 31, false)];
        for (since, by, expected) in cases {
            assert_eq!(truth.has_healed(at(since), at(by)), expected, "{since} {by}");
        }
        truth.unite(1, at(40));
        assert!(truth.has_healed(at(31), at(40)) && !truth.has_healed(at(31), at(39)));
    }
}
