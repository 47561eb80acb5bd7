//! Scenarios as TOML files: what happens, and what must come out of it.

use std::{collections::BTreeSet, io::Write, time::Duration};

use serde::Deserialize;

use crate::{
    fault::Fault,
    node::{Belief, Instant, Knowledge, NodeId, millis, secs},
    oracle::{Accuracy, Completeness, Convergence, Incarnations, Limits, NoReturn, SelfAlive},
    protocols::ProtocolKind,
    simulation::{Setup, Simulation},
    trace::TraceHash,
};

mod events;
mod expect;
mod settings;

pub(crate) use events::{DataAs, Event};
pub use expect::Expect;
pub use settings::{NetworkSettings, Span, Who};

/// A scenario as its file has it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Scenario {
    /// What it shows.
    pub about: String,
    /// Which of the collected situations it covers, by number.
    #[serde(default)]
    pub covers: Vec<u32>,
    /// What phin lacks for it; while this is there, failing is no failure.
    pub needs: Option<String>,
    /// The first seed.
    #[serde(default = "one")]
    pub seed: u64,
    /// How many seeds it is run with.
    #[serde(default = "one")]
    pub runs: u64,
    /// How many members there are at first.
    pub nodes: u32,
    /// Whose protocol.
    #[serde(default = "phin")]
    pub protocol: String,
    /// What the members know of one another at first.
    #[serde(default)]
    pub start: StartAs,
    /// The network.
    #[serde(default)]
    pub network: NetworkSettings,
    /// Every so many hosts, one is behind a firewall.
    #[serde(default)]
    pub firewalled_every: u32,
    /// How long it lasts.
    pub lasts: Span,
    /// What happens.
    #[serde(default)]
    pub(crate) event: Vec<TimedEvent>,
    /// What must come out of it.
    #[serde(default)]
    pub expect: Expect,
}

/// What the members know of one another at first.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum StartAs {
    /// They have long been together.
    #[default]
    Together,
    /// Each knows itself and where the first three are.
    Alone,
    /// Each knows itself alone.
    Strangers,
}

/// Something that happens at a moment.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct TimedEvent {
    /// When.
    pub(crate) at: Span,
    /// What.
    #[serde(flatten)]
    pub(crate) event: Event,
}

/// What came out of a run.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// With which seed.
    pub seed: u64,
    /// What should not have been, one line each; none if all went well.
    pub failures: Vec<String>,
    /// The hash of the run.
    pub trace: TraceHash,
    /// How many events were handled.
    pub events: u64,
}

/// Why a scenario cannot be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScenarioError {
    /// The file is not one.
    #[error(transparent)]
    Malformed(#[from] toml::de::Error),
    /// There is no such protocol.
    #[error("no protocol is called {0:?}")]
    Protocol(String),
}

impl Scenario {
    /// Reads a scenario.
    ///
    /// # Errors
    /// Says where the text is not one.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        let scenario: Self = toml::from_str(text)?;
        scenario.protocol()?;
        Ok(scenario)
    }

    fn protocol(&self) -> Result<ProtocolKind, ScenarioError> {
        <ProtocolKind as clap::ValueEnum>::from_str(&self.protocol, false)
            .map_err(|_| ScenarioError::Protocol(self.protocol.clone()))
    }

    /// Runs it with a seed, and writes what happens where that is wanted.
    ///
    /// # Errors
    /// There is no such protocol.
    pub fn run(
        &self,
        seed: u64,
        trace: Option<Box<dyn Write + Send>>,
    ) -> Result<Verdict, ScenarioError> {
        let protocol = self.protocol()?.make(seed, self.nodes);
        let knowledge = match self.start {
            StartAs::Together => Knowledge::Everyone,
            StartAs::Alone | StartAs::Strangers => Knowledge::Itself,
        };
        let setup = Setup {
            seed,
            nodes: self.nodes,
            knowledge,
            network: self.network.config(),
            firewalled_every: self.firewalled_every,
        };
        let mut run = Simulation::new(setup, protocol);
        if let Some(trace) = trace {
            run.trace_to(trace);
        }
        run.ledger_mut().grace = self.expect.grace.0;
        run.ledger_mut().evicted = self.expect.evicted.of(self.nodes);
        let max_events = self.max_events();
        run.limit_events(max_events);
        self.watch(&mut run);
        self.schedule(&mut run);
        let mut failures = Vec::new();
        let mut moments: Vec<Moment> = self.expect.moments(self.nodes);
        moments.sort_by_key(|moment| moment.at);
        let end = Instant::START + self.lasts.0;
        while run.now() < end && !run.is_exhausted() {
            let next = (run.now() + secs(1)).min(end);
            while let Some(moment) = moments.first().filter(|moment| moment.at <= next).cloned() {
                run.run_until(moment.at);
                self.expect.check_moment(&moment, &run, &mut failures);
                moments.remove(0);
            }
            run.run_until(next);
            run.inspect();
        }
        if run.is_exhausted() {
            failures.push(format!("{} a storm: {max_events} events and no end", run.now()));
        }
        self.expect.check(self, &run, &mut failures);
        failures.extend(run.finish().iter().map(ToString::to_string));
        let (trace, events) = (run.trace_hash(), run.events());
        Ok(Verdict { seed, failures, trace, events })
    }

    /// After how many events the run is taken for a storm.
    fn max_events(&self) -> u64 {
        let member_seconds = u64::from(self.nodes) * self.lasts.0.as_secs();
        (member_seconds * MAX_EVENTS_OF_A_MEMBER).max(MIN_MAX_EVENTS)
    }

    fn watch(&self, run: &mut Simulation) {
        let expect = &self.expect;
        let calm_since = Instant::START + self.last_fault();
        run.watch(Box::new(Accuracy::default()));
        run.watch(Box::new(Incarnations::default()));
        run.watch(Box::new(NoReturn::default()));
        run.watch(Box::new(SelfAlive::default()));
        run.watch(Box::new(Completeness::new(expect.known_within.0, calm_since)));
        if expect.converged {
            run.watch(Box::new(Convergence::default()));
        }
        let mut limits = Limits::new(expect.max_links, expect.max_connections, expect.max_messages);
        limits.max_mean_messages = expect.max_mean_messages;
        limits.averaged_over = expect.messages_over.0;
        limits.counted_after = Instant::START + expect.messages_after.0;
        run.watch(Box::new(limits));
    }

    fn schedule(&self, run: &mut Simulation) {
        if self.start == StartAs::Alone {
            for number in 0..self.nodes {
                let at = Instant::START + millis(u64::from(number % 50));
                let (nodes, seeds) = (vec![NodeId(number)], (0..3.min(self.nodes)).map(NodeId));
                let (seeds, delay) = (seeds.collect(), millis(200));
                run.schedule(at, Fault::Seek { nodes, seeds, delay });
            }
        }
        for (number, timed) in (0..).zip(&self.event) {
            let at = Instant::START + timed.at.0;
            for (after, fault) in timed.event.faults(number, self.nodes, at) {
                run.schedule(at + after, fault);
            }
        }
    }

    /// When the last event is over.
    pub fn last_fault(&self) -> Duration {
        self.event.iter().map(|timed| timed.at.0 + timed.event.lasts()).max().unwrap_or_default()
    }
}

/// A moment at which something is expected.
#[derive(Clone, Debug)]
pub(crate) struct Moment {
    pub(crate) at: Instant,
    pub(crate) observers: BTreeSet<NodeId>,
    pub(crate) subjects: BTreeSet<NodeId>,
    pub(crate) belief: Option<Belief>,
}

/// Many times what a short scenario takes.
const MIN_MAX_EVENTS: u64 = 5_000_000;
/// Many times what a member causes in a second when something happens all the time.
const MAX_EVENTS_OF_A_MEMBER: u64 = 100;

const fn one() -> u64 {
    1
}

fn phin() -> String {
    "phin".to_owned()
}
