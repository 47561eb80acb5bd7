//! Offices: how long one is vacant after its holder died, left or drained.

use super::{Job, Metrics, metrics, simulation};
use crate::{
    fault::{Fault, Write},
    ledger::OfficeTerm,
    node::{Instant, Knowledge, NodeId, millis, secs},
    simulation::Simulation,
    trace::mix,
};

/// How the holder of an office ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum LeaderCase {
    /// Its process is killed.
    Killed,
    /// Its host goes down.
    HostDown,
    /// Its process is stopped for 30 s.
    Stopped,
    /// It leaves the cluster.
    Leaves,
    /// It drains.
    Drains,
}

impl LeaderCase {
    /// The case of this number in a point.
    pub(crate) fn of(number: f64) -> Option<Self> {
        super::numbered(number)
    }

    fn fault(self, holder: NodeId) -> Fault {
        let nodes = vec![holder];
        match self {
            Self::Killed => Fault::CrashProcess(nodes),
            Self::HostDown => Fault::CrashHost(nodes),
            Self::Stopped => {
                let (scope, lasts) = (crate::fault::Scope::Process, secs(30));
                Fault::Pause { nodes, scope, lasts }
            }
            Self::Leaves => Fault::Leave(nodes),
            Self::Drains => Fault::Write(nodes, Write::Serve(false)),
        }
    }
}

/// All members stand for an office, and vote. Its holder ends at a random moment.
pub(super) fn run(job: &Job) -> Metrics {
    let nodes = job.point.count("n");
    let case = LeaderCase::of(job.point.get("case")).unwrap_or(LeaderCase::Killed);
    let mut run = simulation(job, Knowledge::Everyone, job.network());
    let expected = u16::try_from(nodes).ok();
    let stand = Write::Stand { office: OFFICE.to_owned(), filter: String::new(), expected };
    let members = (0..nodes).map(NodeId).collect();
    run.schedule(Instant::START + secs(1), Fault::Write(members, stand));
    let at = Instant::START + secs(20) + millis(mix(job.seed) % 1_000);
    run.run_until(at);
    let (sent, first) = (run.traffic().messages, last_term(&run));
    run.run_until(at + secs(10));
    let renewals = (run.traffic().messages - sent) as f64 / 10.0;
    let Some(first) = first else {
        return Metrics::new();
    };
    let ends_at = run.now();
    run.schedule(ends_at, case.fault(first.holder));
    let is_vacant = |run: &Simulation| last_term(run).is_none_or(|last| last.term == first.term);
    run.run_while(ends_at + PATIENCE, millis(100), is_vacant);
    let next = last_term(&run).filter(|next| next.term > first.term);
    let took = next.map_or(PATIENCE, |next| next.began_at - ends_at);
    metrics([
        ("next", vec![took.as_secs_f64() * 1e3]),
        ("first", vec![(first.began_at - (Instant::START + secs(1))).as_secs_f64() * 1e3]),
        ("messages", vec![renewals / f64::from(nodes)]),
    ])
}

fn last_term(run: &Simulation) -> Option<OfficeTerm> {
    run.ledger().offices.terms.last().cloned()
}

const OFFICE: &str = "a";
/// How long the next holder is waited for.
const PATIENCE: std::time::Duration = secs(60);
