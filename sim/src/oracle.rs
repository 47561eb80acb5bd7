//! Oracles know the truth that members cannot see, and find violations. One file for each oracle.

use std::fmt;

use crate::{
    ledger::Ledger,
    machines::Machines,
    node::{DataLine, Instant, MessageNews, NodeId, Notice, OfficeNews, Process},
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
mod messages_complete;
mod messages_sound;
mod no_return;
mod offices_held;
mod offices_sound;
mod self_alive;
mod suspicions;
mod wrongly_dead;
mod wrongly_degraded;

pub use accuracy::Accuracy;
pub use completeness::Completeness;
pub use convergence::Convergence;
pub use equal_data::EqualData;
pub use incarnations::Incarnations;
pub use limits::Limits;
pub use member_data::MemberDataSound;
pub use messages_complete::MessagesComplete;
pub use messages_sound::MessagesSound;
pub use no_return::NoReturn;
pub use offices_held::OfficesHeld;
pub use offices_sound::OfficesSound;
pub use self_alive::SelfAlive;
pub use suspicions::Suspicions;
pub use wrongly_dead::WronglyDead;
pub use wrongly_degraded::WronglyDegraded;

/// Watches a run for violations.
pub trait Oracle: Send {
    /// Observes a notice of a member to its application.
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

    /// Sees what happened to a message at a member.
    fn observe_message(&mut self, truth: &Truth, now: Instant, at: NodeId, news: MessageNews) {
        let _ = (truth, now, at, news);
    }

    /// Sees what happened to an office at a member. If that holds it, it is until this true moment.
    fn observe_office(
        &mut self,
        truth: &Truth,
        now: Instant,
        (at, until): (NodeId, Instant),
        news: &OfficeNews,
    ) {
        let _ = (truth, now, at, until, news);
    }

    /// Inspects the run from time to time.
    fn inspect(&mut self, run: View<'_>) {
        let _ = run;
    }

    /// Inspects the run at its end.
    fn finish(&mut self, run: View<'_>) {
        let _ = run;
    }

    /// Returns the violations found so far.
    fn take_violations(&mut self) -> Vec<Violation>;
}

/// The state of a run at one moment, for oracles.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// The moment.
    pub now: Instant,
    /// The truth about the members.
    pub truth: &'a Truth,
    /// The records of deaths and verdicts.
    pub ledger: &'a Ledger,
    /// The counts of messages.
    pub traffic: &'a Traffic,
    pub(crate) machines: &'a Machines,
}

impl<'a> View<'a> {
    /// The process of a member, if it runs.
    pub fn process(self, node: NodeId) -> Option<&'a dyn Process> {
        self.machines.nodes.get(node.index())?.process.as_deref()
    }

    /// The moment on a member's own clock.
    pub fn local_now(self, node: NodeId) -> Instant {
        let node = self.machines.nodes.get(node.index());
        node.map_or(self.now, |node| node.clock.local(self.now))
    }

    /// The number of open connections of a member.
    pub fn open_connections(self, node: NodeId) -> usize {
        let node = self.machines.nodes.get(node.index());
        node.map_or(0, |node| node.connections.values().filter(|c| c.is_open()).count())
    }
}

/// A violation: something that should never happen.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Violation {
    /// The oracle that found it.
    pub oracle: &'static str,
    /// The moment.
    pub at: Instant,
    /// The description.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.at, self.oracle, self.text)
    }
}

/// Collects violations up to a limit, because those after the first rarely add information.
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
