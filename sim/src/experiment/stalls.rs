//! Members that stall again and again, while hosts go down one after the other.

use super::{Job, Metrics, in_millis, metrics};
use crate::{
    fault::{Fault, Stalls},
    measure::{Kill, Measurement},
    network::NetworkConfig,
    node::{Instant, NodeId, millis, secs},
};

/// How members stall, about once a second each.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum StallCase {
    /// Every member for 50 to 200 ms.
    Short,
    /// Every member for 300 to 500 ms.
    Long,
    /// Every member for 50 to 200 ms, a fifth of them five times as long; 10 % of the packets are lost.
    Starved,
}

impl StallCase {
    /// The case of this number in a point.
    pub(crate) fn of(number: f64) -> Option<Self> {
        super::numbered(number)
    }

    /// The cluster sizes that are measured by default.
    pub const fn sizes(self) -> &'static [u32] {
        match self {
            Self::Short => &[32, 128, 512],
            Self::Long | Self::Starved => &[128],
        }
    }

    /// The faults of a run: which members stall, and how long.
    fn faults(self, nodes: u32) -> Vec<Fault> {
        let between = |shortest: u64, longest: u64| Stalls {
            longest: millis(longest),
            shortest: shortest as f64 / longest as f64,
        };
        let starve = |first: u32, end: u32, stalls: Stalls| {
            let (nodes, until) = ((first..end).map(NodeId).collect(), Instant::START + FOR_EVER);
            Fault::Starve { nodes, stalls, until }
        };
        match self {
            Self::Short => vec![starve(0, nodes, between(50, 200))],
            Self::Long => vec![starve(0, nodes, between(300, 500))],
            Self::Starved => {
                let fifth = nodes / 5;
                vec![starve(0, fifth, between(250, 1_000)), starve(fifth, nodes, between(50, 200))]
            }
        }
    }

    const fn loss(self) -> f64 {
        match self {
            Self::Short | Self::Long => 0.0,
            Self::Starved => 0.1,
        }
    }
}

pub(super) fn run(job: &Job) -> Metrics {
    let Some(case) = StallCase::of(job.point.get("case")) else {
        return Metrics::new();
    };
    let nodes = job.point.count("n");
    let network = job.network();
    let measurement = Measurement {
        nodes,
        network: NetworkConfig { loss: case.loss().max(network.loss), ..network },
        warm_up: WARM_UP,
        kills: job.point.count("kills"),
        kill: Kill::Host,
        patience: secs(120),
        load: None,
        faults: case.faults(nodes),
    };
    let measured = measurement.run(job.seed, job.make(nodes));
    let (idle, _, idle_seconds) = measured.idle;
    let ((early, early_seconds), (busy, busy_seconds)) = (measured.early, measured.busy);
    metrics([
        ("first", in_millis(&measured.first)),
        ("all", in_millis(&measured.all)),
        ("unnoticed", vec![f64::from(measured.unnoticed)]),
        ("early_messages", vec![early as f64]),
        ("early_seconds", vec![early_seconds]),
        ("messages", vec![idle as f64]),
        ("seconds", vec![idle_seconds]),
        ("busy_messages", vec![busy as f64]),
        ("busy_seconds", vec![busy_seconds]),
        ("wrongly_dead", vec![measured.wrongly_dead as f64]),
        ("false_positives", vec![measured.false_positives as f64]),
        ("false_suspicions", vec![measured.false_suspicions as f64]),
        ("lived", vec![WARM_UP.as_secs_f64() * f64::from(nodes) + busy_seconds]),
    ])
}

/// Before the first death. Members stall already, so in the second half they know that.
const WARM_UP: std::time::Duration = secs(60);
/// Longer than any run.
const FOR_EVER: std::time::Duration = secs(1_000_000);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        experiment::{Conditions, Experiment, Point},
        protocols::ProtocolKind,
    };

    fn measured(case: StallCase, protocol: ProtocolKind) -> Metrics {
        let point = Point::default().with("n", 10.0).with("kills", 2.0);
        let point = point.with("case", f64::from(case as u8));
        let (experiment, conditions) = (Experiment::Stalls, Conditions::default());
        run(&Job { experiment, protocol, point, seed: 1, conditions })
    }

    #[test]
    fn deaths_and_load_are_measured_while_all_stall() {
        let mut suspicions = Vec::new();
        for case in [StallCase::Short, StallCase::Long, StallCase::Starved] {
            let found = measured(case, ProtocolKind::Phin);
            assert_eq!(found["all"].len(), 2, "{found:?}");
            let is_later = |(first, all): (&f64, &f64)| first < all && *all < 20_000.0;
            assert!(found["first"].iter().zip(&found["all"]).all(is_later), "{found:?}");
            assert_eq!((found["unnoticed"][0], found["wrongly_dead"][0]), (0.0, 0.0));
            suspicions.push(found["false_suspicions"][0]);
            assert_eq!((found["early_seconds"][0], found["seconds"][0]), (300.0, 300.0));
            assert_eq!(found["lived"][0], 600.0 + found["busy_seconds"][0]);
            for (messages, seconds) in [("messages", "seconds"), ("busy_messages", "busy_seconds")]
            {
                let rate = found[messages][0] / found[seconds][0];
                assert!((1.5..20.0).contains(&rate), "{messages}: {rate}");
            }
        }
        // Of few members with long stalls, by chance some are suspected; of those with short ones, none.
        assert_eq!(suspicions[0], 0.0);
        assert!(suspicions.iter().any(|&suspicions| suspicions > 0.0), "{suspicions:?}");
    }
}
