//! Clusters whose members write: the steps of measurements.

use std::{
    thread,
    time::{Duration, Instant},
};

use rand::{RngExt, distr::Alphanumeric};

use crate::{
    Common, Cost, Faults, Launcher, Network, Spread,
    children::Child,
    cluster::{Cluster, Laboratory},
    cost::Reading,
    progress::say,
    protocol::{Change, Command, Medium, Reply},
};

/// Where members write, what, and how they are measured.
pub(crate) struct SpreadBench<'a> {
    pub(crate) lab: Laboratory<'a>,
    pub(crate) common: &'a Common,
    pub(crate) medium: Medium,
    /// The length of each text.
    pub(crate) bytes: u16,
}

impl<'a> SpreadBench<'a> {
    pub(crate) fn new(
        (launcher, network): (&'a Launcher, Network),
        common: &'a Common,
        medium: Medium,
        bytes: u16,
    ) -> Self {
        Self { lab: Laboratory { launcher, network }, common, medium, bytes }
    }

    /// Starts nodes that share a process, one after the other at random moments: nodes that start at once would be in step with
    /// each other ever after, in systems that have a period. The cluster will have so many `members`.
    pub(crate) fn start(
        &mut self,
        system: &str,
        nodes: usize,
        members: usize,
    ) -> Result<Cluster, String> {
        let mut cluster = Cluster::start(&mut self.lab, system, 1, members)?;
        for _ in 1..nodes {
            thread::sleep(rand::rng().random_range(Duration::ZERO..MAX_PAUSE / 4));
            cluster.add(&mut self.lab)?;
        }
        self.complete(&mut cluster, nodes)?;
        cluster.survivors.follow(self.medium)?;
        Ok(cluster)
    }

    /// Waits until all know all.
    pub(crate) fn complete(&self, cluster: &mut Cluster, members: usize) -> Result<(), String> {
        let patience = self.common.patience;
        let complete = cluster.complete(members, patience)?;
        complete.map(|_| ()).ok_or_else(|| format!("not all lists were complete in {patience:?}"))
    }

    /// Measures the cost of a node while nothing changes.
    pub(crate) fn idle(&self, cluster: &Cluster, members: usize) -> Cost {
        let before = self.reading(cluster);
        thread::sleep(self.common.idle);
        self.reading(cluster).since(&before, members)
    }

    /// Has random members write at random moments, each after all know what was written before.
    pub(crate) fn one_at_a_time(
        &self,
        cluster: &mut Cluster,
        (system, members): (&str, usize),
        count: usize,
    ) -> Result<(Spread, Faults), String> {
        let (mut spread, mut faults) = (Spread::default(), Faults::default());
        let before = self.reading(cluster);
        for number in 1..=count {
            pause();
            self.write(cluster, rand::rng().random_range(0..members))?;
            let (changes, wrong) = self.spread(cluster)?;
            changes.iter().for_each(|change| spread.add(change, members));
            faults += wrong;
            say(system, members, &format!("change {number} of {count}"));
        }
        // Traffic after the last change counts, too, such as acknowledgements.
        thread::sleep(MAX_PAUSE);
        spread.cost = self.reading(cluster).since(&before, members);
        Ok((spread, faults))
    }

    /// Has a node write a random text.
    pub(crate) fn write(&self, cluster: &mut Cluster, node: usize) -> Result<(), String> {
        cluster.survivors.write(self.medium, node, self.text())
    }

    /// Waits until all know all that was written since the last call.
    pub(crate) fn spread(&self, cluster: &mut Cluster) -> Result<(Vec<Change>, Faults), String> {
        cluster.survivors.spread(self.medium, self.common.patience)
    }

    /// A random text: letters and digits.
    pub(crate) fn text(&self) -> String {
        let letters = rand::rng().sample_iter(Alphanumeric).map(char::from);
        letters.take(self.bytes.into()).collect()
    }

    pub(crate) fn reading(&self, cluster: &Cluster) -> Reading {
        Reading::now(&self.lab.network, &cluster.processes())
    }
}

/// Waits for a random moment of a period.
pub(crate) fn pause() {
    thread::sleep(rand::rng().random_range(Duration::ZERO..MAX_PAUSE));
}

pub(crate) fn sleep_until(moment: Instant) {
    thread::sleep(moment.saturating_duration_since(Instant::now()));
}

/// When which node writes: each at a random moment of the interval, the same in every round.
pub(crate) fn schedule(nodes: usize, every: Duration, rounds: u32) -> Vec<(Duration, usize)> {
    let moment = |_| rand::rng().random_range(Duration::ZERO..every);
    let moments: Vec<Duration> = (0..nodes).map(moment).collect();
    let of_round = |round| moments.iter().map(move |&moment| every * round + moment).zip(0..);
    let mut writes: Vec<_> = (0..rounds).flat_map(of_round).collect();
    writes.sort_unstable();
    writes
}

impl Child {
    /// Has its nodes report what they learn.
    pub(crate) fn follow(&mut self, medium: Medium) -> Result<(), String> {
        match self.ask(&Command::Follow { medium })? {
            Reply::Following => Ok(()),
            reply => Err(format!("unexpected: {reply:?}")),
        }
    }

    /// Has one of its nodes write.
    fn write(&mut self, medium: Medium, node: usize, text: String) -> Result<(), String> {
        match self.ask(&Command::Write { medium, node, text })? {
            Reply::Written => Ok(()),
            reply => Err(format!("unexpected: {reply:?}")),
        }
    }

    /// Waits until its nodes know all that was written since the last call.
    fn spread(
        &mut self,
        medium: Medium,
        within: Duration,
    ) -> Result<(Vec<Change>, Faults), String> {
        match self.ask(&Command::Spread { medium, within })? {
            Reply::Spread { changes, faults } => Ok((changes, faults)),
            reply => Err(format!("unexpected: {reply:?}")),
        }
    }
}

/// The longest pause between two changes: a period of most systems.
const MAX_PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_node_writes_once_in_every_round() {
        let every = Duration::from_secs(5);
        let writes = schedule(7, every, 3);
        assert!(writes.is_sorted());
        for (round, writes) in (0..).zip(writes.chunks(7)) {
            let interval = every * round..every * (round + 1);
            assert!(writes.iter().all(|(due, _)| interval.contains(due)), "{writes:?}");
            let mut nodes: Vec<_> = writes.iter().map(|(_, node)| *node).collect();
            nodes.sort_unstable();
            assert_eq!(nodes, (0..7).collect::<Vec<_>>());
        }
    }
}
