//! The experiments of Rapid (Suresh et al., USENIX ATC 2018, §7): some of many members crash at once, receive nothing again and
//! again, or lose most packets in one direction. How many members are removed that work?

use super::{
    Job, Metrics,
    gray::{self, GrayCase, Trouble},
};
use crate::{fault::Fault, node::secs};

/// The fault of one member in a hundred.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum RapidCase {
    /// They crash, and their hosts with them.
    Crashes,
    /// They receive nothing for 20 s, everything for 20 s, and so on.
    FlipFlop,
    /// They lose 80 % of what they send.
    SendLoss,
    /// They lose 80 % of what they should receive.
    ReceiveLoss,
}

impl RapidCase {
    /// The case of this number in a point.
    pub(crate) fn of(number: f64) -> Option<Self> {
        super::numbered(number)
    }

    fn trouble(self, nodes: u32) -> Trouble {
        match self {
            Self::Crashes => {
                let crashed = gray::last(nodes, nodes / 100);
                Trouble::new(&crashed, vec![(secs(0), Fault::CrashHost(crashed.clone()))])
            }
            Self::FlipFlop => GrayCase::FlipFlop.trouble(nodes),
            Self::SendLoss => GrayCase::SendLoss.trouble(nodes),
            Self::ReceiveLoss => GrayCase::ReceiveLoss.trouble(nodes),
        }
    }
}

pub(super) fn run(job: &Job) -> Metrics {
    match RapidCase::of(job.point.get("case")) {
        Some(case) => gray::measure(job, &case.trouble(job.point.count("n"))),
        None => Metrics::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        experiment::{Conditions, Experiment, Point},
        protocols::ProtocolKind,
    };

    #[test]
    fn crashes_are_known_to_all_and_nobody_else_is_removed() {
        for protocol in [ProtocolKind::Phin, ProtocolKind::Lifeguard, ProtocolKind::Swim] {
            let case = f64::from(RapidCase::Crashes as u8);
            let point = Point::default().with("n", 200.0).with("case", case);
            let (experiment, conditions) = (Experiment::Rapid, Conditions::default());
            let found = run(&Job { experiment, protocol, point, seed: 1, conditions });
            assert_eq!(found["known"].len(), 2, "{found:?}");
            assert!(found["known"].iter().all(|&known| known < gray::NEVER), "{found:?}");
            assert_eq!((found["removed"][0], found["gray_removed"][0]), (0.0, 0.0), "{found:?}");
        }
    }
}
