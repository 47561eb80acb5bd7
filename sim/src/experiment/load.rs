//! The messages that members send, watched over a window of a few seconds that moves on with the run.

use std::{collections::VecDeque, time::Duration};

use crate::{
    node::{Instant, NodeId, millis, secs},
    simulation::Simulation,
};

/// The load of some members.
pub(super) struct LoadWatch {
    members: Vec<NodeId>,
    /// The messages that each had sent at the last steps, the oldest first.
    sent: VecDeque<Vec<u64>>,
    /// The highest mean of all members in any window, in messages a second.
    pub(super) mean: f64,
    /// The highest of any member in any window.
    pub(super) worst: f64,
}

impl LoadWatch {
    /// Watches these members from now on.
    pub(super) fn new(run: &Simulation, members: Vec<NodeId>) -> Self {
        let mut watch = Self { members, sent: VecDeque::new(), mean: 0.0, worst: 0.0 };
        watch.look(run);
        watch
    }

    /// Runs until a moment, or until `goes_on` is false at the end of a step.
    pub(super) fn run_while(
        &mut self,
        run: &mut Simulation,
        until: Instant,
        mut goes_on: impl FnMut(&Simulation) -> bool,
    ) {
        while run.now() < until && goes_on(run) {
            run.run_until((run.now() + STEP).min(until));
            self.look(run);
        }
    }

    /// Messages a second of a member in the mean of the last window.
    pub(super) fn present(&self) -> f64 {
        let (Some(old), Some(new)) = (self.sent.front(), self.sent.back()) else {
            return 0.0;
        };
        let sent: u64 = new.iter().sum::<u64>() - old.iter().sum::<u64>();
        sent as f64 / WINDOW.as_secs_f64() / self.members.len().max(1) as f64
    }

    fn look(&mut self, run: &Simulation) {
        let now = self.members.iter().map(|&member| run.traffic().of(member).0).collect();
        self.sent.push_back(now);
        if self.sent.len() > STEPS + 1 {
            self.sent.pop_front();
        }
        self.mean = self.mean.max(self.present());
        let (Some(old), Some(new)) = (self.sent.front(), self.sent.back()) else {
            return;
        };
        let most = old.iter().zip(new).map(|(old, new)| new - old).max().unwrap_or_default();
        self.worst = self.worst.max(most as f64 / WINDOW.as_secs_f64());
    }
}

/// The window, and how often it moves on.
pub(super) const WINDOW: Duration = secs(5);
const STEP: Duration = millis(100);
const STEPS: usize = 50;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        network::NetworkConfig, node::Knowledge, protocols::ProtocolKind, simulation::Setup,
    };

    #[test]
    fn a_window_has_what_was_sent_in_it() {
        let nodes = 4;
        let (knowledge, network) = (Knowledge::Everyone, NetworkConfig::lan());
        let setup = Setup { seed: 1, nodes, knowledge, network, firewalled_every: 0 };
        // Each sends to each of the others once a second.
        let mut run = Simulation::new(setup, ProtocolKind::Heartbeat.make(1, nodes));
        run.run_until(Instant::START + secs(10));
        let mut watch = LoadWatch::new(&run, (0..nodes).map(NodeId).collect());
        let until = run.now() + secs(2);
        watch.run_while(&mut run, until, |_| true);
        assert_eq!(watch.present(), 3.0 * 2.0 / 5.0, "what is not sent yet counts as nothing");
        let until = run.now() + secs(20);
        watch.run_while(&mut run, until, |_| true);
        assert_eq!((watch.present(), watch.mean, watch.worst), (3.0, 3.0, 3.0));
        let began = run.now();
        watch.run_while(&mut run, began + secs(20), |run| run.now() < began + secs(1));
        assert_eq!(run.now(), began + secs(1));
    }
}
