//! Oracles know the truth that members cannot see, and say what should never have happened. One file for each.

use std::fmt;

use crate::{
    ledger::Ledger,
    machines::Machines,
    node::{DataLine, Instant, NodeId, Notice, Process},
    traffic::Traffic,
    truth::Truth,
};

mod accuracy;
mod completeness;
mod convergence;
mod equal_data;
mod incarnations;
mod limits;
mod member_data;
mod no_return;
mod self_alive;
mod suspicions;
mod wrongly_dead;

pub use accuracy::Accuracy;
pub use completeness::Completeness;
pub use convergence::Convergence;
pub use equal_data::EqualData;
pub use incarnations::Incarnations;
pub use limits::Limits;
pub use member_data::MemberDataSound;
pub use no_return::NoReturn;
pub use self_alive::SelfAlive;
pub use suspicions::Suspicions;
pub use wrongly_dead::WronglyDead;

/// Watches a run.
pub trait Oracle: Send {
    /// Sees what a member tells its application.
    fn observe(&mut self, truth: &Truth, now: Instant, observer: NodeId, notice: Notice) {
        let _ = (truth, now, observer, notice);
    }

    /// Sees that the data of a member changed at a reader, or was published by its owner.
    fn observe_data(
        &mut self,
        truth: &Truth,
        now: Instant,
        reader: NodeId,
        owner: NodeId,
        line: Option<DataLine>,
    ) {
        let _ = (truth, now, reader, owner, line);
    }

    /// Looks at the run now and then.
    fn inspect(&mut self, run: View<'_>) {
        let _ = run;
    }

    /// Looks at the run when it is over.
    fn finish(&mut self, run: View<'_>) {
        let _ = run;
    }

    /// Hands over what it found.
    fn take_violations(&mut self) -> Vec<Violation>;
}

/// What an oracle sees of a run: all of it, at one moment.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// The moment.
    pub now: Instant,
    /// What is true.
    pub truth: &'a Truth,
    /// Who learnt what when.
    pub ledger: &'a Ledger,
    /// What was sent.
    pub traffic: &'a Traffic,
    pub(crate) machines: &'a Machines,
}

impl<'a> View<'a> {
    /// The process of a member, if it has one.
    pub fn process(self, node: NodeId) -> Option<&'a dyn Process> {
        self.machines.nodes.get(node.index())?.process.as_deref()
    }

    /// The moment on a member's own clock.
    pub fn local_now(self, node: NodeId) -> Instant {
        let node = self.machines.nodes.get(node.index());
        node.map_or(self.now, |node| node.clock.local(self.now))
    }

    /// How many connections a member has open.
    pub fn open_connections(self, node: NodeId) -> usize {
        let node = self.machines.nodes.get(node.index());
        node.map_or(0, |node| node.connections.values().filter(|c| c.is_open()).count())
    }
}

/// What should never have happened.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Violation {
    /// Which oracle found it.
    pub oracle: &'static str,
    /// When.
    pub at: Instant,
    /// What.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.at, self.oracle, self.text)
    }
}

/// Collects violations, and stops at a few: what follows the first is seldom news.
#[derive(Debug, Default)]
struct Findings(Vec<Violation>);

impl Findings {
    fn add(&mut self, oracle: &'static str, at: Instant, text: String) {
        if self.0.len() < MAX_FINDINGS {
            self.0.push(Violation { oracle, at, text });
        }
    }

    fn take(&mut self) -> Vec<Violation> {
        std::mem::take(&mut self.0)
    }
}

const MAX_FINDINGS: usize = 5;
