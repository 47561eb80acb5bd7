//! The cost of nodes between two moments: traffic and CPU time.

use serde::{Deserialize, Serialize};

use crate::{
    Network,
    machine::{cpu_millis, millis_between, now},
};

/// The mean cost of a node over some time.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Cost {
    /// How long it was measured.
    pub seconds: f64,
    /// Packets sent a second, those of all protocols; not known where the network was shared.
    pub packets_per_second: Option<f64>,
    /// Bytes sent a second, headers of IP included.
    pub bytes_per_second: Option<f64>,
    /// Time on a CPU, in milliseconds a second.
    pub cpu_ms_per_second: f64,
}

impl Cost {
    /// The cost that each of so many actions added: the rate during them, less the rate while nothing happened.
    pub(crate) fn for_each(
        &self,
        actions: usize,
        idle: &Self,
        a_second: impl Fn(&Self) -> Option<f64>,
    ) -> Option<f64> {
        let added = (a_second(self)? - a_second(idle)?) * self.seconds;
        (actions > 0).then(|| added / actions as f64)
    }
}

/// The total cost of the nodes of a cluster at a moment.
pub(crate) struct Reading {
    at: u64,
    traffic: Option<(u64, u64)>,
    cpu_ms: f64,
}

impl Reading {
    /// Reads the counters of the network and of these processes.
    pub(crate) fn now(network: &Network, processes: &[u32]) -> Self {
        Self { at: now(), traffic: network.traffic(), cpu_ms: cpu_millis(processes) }
    }

    /// The mean cost of one of so many nodes since an earlier reading.
    pub(crate) fn since(&self, earlier: &Self, nodes: usize) -> Cost {
        let seconds = millis_between(earlier.at, self.at) / 1e3;
        let each = |amount: f64| amount / seconds / nodes as f64;
        let traffic = earlier.traffic.zip(self.traffic);
        Cost {
            seconds,
            packets_per_second: traffic.map(|(before, after)| each((after.0 - before.0) as f64)),
            bytes_per_second: traffic.map(|(before, after)| each((after.1 - before.1) as f64)),
            cpu_ms_per_second: each(self.cpu_ms - earlier.cpu_ms),
        }
    }
}
