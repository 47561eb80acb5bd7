//! Scenarios as TOML files: events and the expected outcome.

use std::{collections::BTreeSet, io::Write, time::Duration};

use phin_swim::{Filter, Office};
use serde::Deserialize;

use crate::{
    fault::Fault,
    lie::Lie,
    node::{Belief, Instant, Knowledge, NodeId, millis, secs},
    oracle::{
        Accuracy, Completeness, Convergence, EqualData, Incarnations, Limits, MemberDataSound,
        MessagesComplete, MessagesSound, NoReturn, OfficesHeld, OfficesSound, SelfAlive,
        Suspicions, WronglyDead, WronglyDegraded,
    },
    protocols::{ProtocolKind, SettingsError},
    simulation::{Setup, Simulation},
    summary::Summary,
    trace::TraceHash,
};

pub use crate::settings::{ConfigSettings, NetworkKind, NetworkSettings, Share, Span, Who, Zones};

mod events;
mod expect;

pub(crate) use events::{DataAs, Event, Helpers, Repeated, TimedEvent};
pub use expect::Expect;

/// A scenario, as in its file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Scenario {
    /// A description of the scenario.
    pub about: String,
    /// The numbers of the collected situations that it covers.
    #[serde(default)]
    pub covers: Vec<u32>,
    /// A feature that phin lacks for it. While this is set, the scenario may fail.
    pub needs: Option<String>,
    /// The first seed.
    #[serde(default = "one")]
    pub seed: u64,
    /// The number of seeds to run it with.
    #[serde(default = "one")]
    pub runs: u64,
    /// The number of members at the start.
    pub nodes: u32,
    /// The protocol.
    #[serde(default = "phin")]
    pub protocol: String,
    /// The members that each member knows at the start.
    #[serde(default)]
    pub start: StartAs,
    /// The network.
    #[serde(default)]
    pub network: NetworkSettings,
    /// Settings of phin that differ from the protocol's profile.
    #[serde(default)]
    pub config: ConfigSettings,
    /// The interval of hosts behind a firewall: 3 means every third.
    #[serde(default)]
    pub firewalled_every: u32,
    /// The duration.
    pub lasts: Span,
    /// The events.
    #[serde(default)]
    pub(crate) event: Vec<TimedEvent>,
    /// The expected outcome.
    #[serde(default)]
    pub expect: Expect,
}

/// The members that each member knows at the start.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum StartAs {
    /// They have been together for long.
    #[default]
    Together,
    /// Each knows itself and the addresses of the first three.
    Alone,
    /// Each knows only itself.
    Strangers,
}

/// The outcome of a run.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// With which seed.
    pub seed: u64,
    /// The failures, one line each; empty if the run met all expectations.
    pub failures: Vec<String>,
    /// The hash of the run.
    pub trace: TraceHash,
    /// The number of events handled.
    pub events: u64,
    /// A human-readable summary.
    pub summary: Summary,
}

/// Why a scenario cannot be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScenarioError {
    /// The file is not a scenario.
    #[error(transparent)]
    Malformed(#[from] toml::de::Error),
    /// The protocol does not exist.
    #[error("no protocol is called {name:?}; there are {}", ProtocolKind::names())]
    Protocol {
        /// The name in the file.
        name: String,
    },
    /// The settings are invalid.
    #[error("[config]: {0}")]
    Config(#[from] SettingsError),
    /// The file is well-formed but its contents are not valid.
    #[error("{}{key}: {text}", line.map_or(String::new(), |line| format!("line {line}: ")))]
    Unsound {
        /// The line, if known.
        line: Option<usize>,
        /// The key at fault, and its table.
        key: String,
        /// The reason.
        text: String,
    },
}

impl Scenario {
    /// Parses a scenario.
    ///
    /// # Errors
    /// If the text is not a valid scenario. The error has the line.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        let scenario: Self = toml::from_str(text)?;
        scenario.protocol()?;
        scenario.check().map_err(|fault| fault.in_file(text))?;
        Ok(scenario)
    }

    /// Finds events that would silently never happen, or affect no member.
    fn check(&self) -> Result<(), Unsound> {
        let top = |key, text: String| Err(Unsound { event: None, key, text });
        if self.liars_since().is_some() && !self.protocol.starts_with("phin") {
            let text = format!("nobody knows how to lie in the messages of {}", self.protocol);
            return top("protocol", text);
        }
        if self.nodes == 0 {
            return top("nodes", "there is no cluster without members".to_owned());
        }
        let mut ever = self.nodes;
        for (number, timed) in self.event.iter().enumerate() {
            let here = |key, text| Err(Unsound { event: Some(number), key, text });
            if timed.at.0 >= self.lasts.0 {
                let (at, lasts) = (timed.at.0, self.lasts.0);
                let text = format!("{at:?} is never reached: the scenario lasts {lasts:?}");
                return here("at", text);
            }
            if timed.event.writes() > MAX_WRITES {
                let key = if timed.event.is_once() { "count" } else { "every" };
                return here(key, format!("a member writes at most {MAX_WRITES} times"));
            }
            if let Event::Publish { filter, .. } | Event::Stand { filter, .. } = &timed.event
                && let Err(error) = filter.parse::<Filter>()
            {
                return here("filter", error.to_string());
            }
            if let Event::Stand { office, .. } | Event::Resign { office, .. } = &timed.event
                && let Err(error) = office.parse::<Office>()
            {
                return here("office", error.to_string());
            }
            let all = |event: &TimedEvent| event.event.newcomers(self.nodes);
            ever = self.event.iter().map(all).fold(self.nodes, u32::saturating_add);
            for (key, who, may_be_new) in timed.event.members() {
                let count = if may_be_new { ever } else { self.nodes };
                if let Some(last) = who.last().filter(|&last| last >= count) {
                    let of = if count == self.nodes { "at first" } else { "in all" };
                    let text = format!(
                        "there is no member {last}: there are {count} {of}, 0 to {}",
                        count - 1
                    );
                    return here(key, text);
                }
            }
        }
        for (key, who) in self.expect.members() {
            if let Some(last) = who.last().filter(|&last| last >= ever) {
                let text = format!(
                    "there is no member {last}: there are {ever} in all, 0 to {}",
                    ever - 1
                );
                return top(key, text);
            }
        }
        if let Some(held) = self.expect.at.iter().find(|held| held.at.0 > self.lasts.0) {
            let (at, lasts) = (held.at.0, self.lasts.0);
            return top("at", format!("{at:?} is never reached: the scenario lasts {lasts:?}"));
        }
        Ok(())
    }

    fn protocol(&self) -> Result<ProtocolKind, ScenarioError> {
        <ProtocolKind as clap::ValueEnum>::from_str(&self.protocol, false)
            .map_err(|_| ScenarioError::Protocol { name: self.protocol.clone() })
    }

    /// Runs the scenario with a seed, and writes a trace if requested.
    ///
    /// # Errors
    /// If the protocol does not exist.
    pub fn run(
        &self,
        seed: u64,
        trace: Option<Box<dyn Write + Send>>,
    ) -> Result<Verdict, ScenarioError> {
        let protocol = self.protocol()?.make_with(&self.config, seed, self.nodes)?;
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
        // Liars repeat themselves at an interval, so lists are inspected at another one.
        let step = if self.liars_since().is_some() { millis(97) } else { secs(1) };
        while run.now() < end && !run.is_exhausted() {
            let next = (run.now() + step).min(end);
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
        let (trace, events, summary) = (run.trace_hash(), run.events(), Summary::of(&run));
        Ok(Verdict { seed, failures, trace, events, summary })
    }

    /// The number of events beyond which the run counts as a message storm.
    fn max_events(&self) -> u64 {
        let member_seconds = u64::from(self.nodes) * self.lasts.0.as_secs();
        let writes = self.event.iter().map(|timed| timed.event.writes_of_all(self.nodes));
        let of_writes = writes.sum::<u64>() * u64::from(self.nodes) * MAX_EVENTS_OF_A_WRITE;
        (member_seconds * MAX_EVENTS_OF_A_MEMBER).max(MIN_MAX_EVENTS) + of_writes
    }

    fn watch(&self, run: &mut Simulation) {
        let expect = &self.expect;
        let calm_since = Instant::START + self.last_fault();
        let mut accuracy = Accuracy::default();
        if let Some(Span(bound)) = expect.wrongly_dead_for {
            let since = Instant::START + self.liars_since().unwrap_or_default();
            // If none is ever to be missing, no verdict is excused either.
            accuracy.until = Some(since).filter(|_| !bound.is_zero());
            run.watch(Box::new(WronglyDead::new(bound, since)));
        }
        run.watch(Box::new(accuracy));
        run.watch(Box::new(WronglyDegraded::default()));
        if let Some(max) = expect.suspicions_in_minute {
            run.watch(Box::new(Suspicions::new(max)));
        }
        run.watch(Box::new(Incarnations::default()));
        run.watch(Box::new(MemberDataSound::new(MAX_DATA_BYTES)));
        run.watch(Box::new(MessagesSound::default()));
        let within = expect.messages_within.map(|span| span.0);
        let mut messages = MessagesComplete::new(expect.max_missed, within);
        messages.max_kept = phin_swim::Config::lan().max_recent_publication_bytes;
        run.watch(Box::new(messages));
        run.watch(Box::new(OfficesSound::default()));
        if !self.invents_members() {
            run.watch(Box::new(OfficesHeld::new(calm_since)));
        }
        run.watch(Box::new(NoReturn::default()));
        run.watch(Box::new(SelfAlive::default()));
        run.watch(Box::new(Completeness::new(expect.known_within.0, calm_since)));
        if expect.converged {
            run.watch(Box::new(Convergence::default()));
            run.watch(Box::new(EqualData::default()));
        }
        let mut limits = Limits::new(expect.max_links, expect.max_connections, expect.max_messages);
        limits.max_mean_messages = expect.max_mean_messages;
        limits.averaged_over = expect.messages_over.0;
        limits.counted_after = Instant::START + expect.messages_after.0;
        limits.made_up = self.event.iter().map(|timed| timed.event.made_up()).sum();
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

    /// When the first lie begins, if there is one.
    fn liars_since(&self) -> Option<Duration> {
        let lies = self.event.iter().filter(|timed| matches!(timed.event, Event::Lie { .. }));
        lies.map(|timed| timed.at.0).min()
    }

    /// Whether a liar invents members. While they are listed, dead ones for ten minutes, an office has more voters than are
    /// expected, and is vacant.
    fn invents_members(&self) -> bool {
        let is_such = |event: &Event| matches!(event, Event::Lie { lie: Lie::Members, .. });
        self.event.iter().any(|timed| is_such(&timed.event))
    }

    /// When the last lie ends; zero if there is none.
    pub(crate) fn last_lie(&self) -> Duration {
        let lies = self.event.iter().filter_map(|timed| match timed.event {
            Event::Lie { lasts, .. } => Some(timed.at.0 + lasts.0),
            _ => None,
        });
        lies.max().unwrap_or_default()
    }

    /// When the last event ends that excuses consequences. Lies excuse nothing.
    pub fn last_fault(&self) -> Duration {
        let faults = self.event.iter().filter(|timed| !timed.event.is_write());
        faults.map(|timed| timed.at.0 + timed.event.lasts()).max().unwrap_or_default()
    }
}

/// An error in a well-formed scenario.
struct Unsound {
    /// The index of the event in the file; `None` outside of events.
    event: Option<usize>,
    key: &'static str,
    text: String,
}

impl Unsound {
    /// Finds the line of the key.
    fn in_file(self, text: &str) -> ScenarioError {
        let Self { event, key, text: fault } = self;
        let mut lines = text.lines().enumerate();
        let mut events = 0;
        let is_key = |line: &str| {
            line.trim_start()
                .strip_prefix(key)
                .is_some_and(|rest| rest.trim_start().starts_with('='))
        };
        let line = lines.find(|(_, line)| {
            events += usize::from(line.trim() == "[[event]]");
            event.is_none_or(|number| events == number + 1) && is_key(line)
        });
        let key = match event {
            Some(number) => format!("event {}, `{key}`", number + 1),
            None => format!("`{key}`"),
        };
        ScenarioError::Unsound { line: line.map(|(number, _)| number + 1), key, text: fault }
    }
}

/// A moment with an expectation.
#[derive(Clone, Debug)]
pub(crate) struct Moment {
    pub(crate) at: Instant,
    pub(crate) observers: BTreeSet<NodeId>,
    pub(crate) subjects: BTreeSet<NodeId>,
    pub(crate) belief: Option<Belief>,
}

/// The data that a member may have, in every profile.
const MAX_DATA_BYTES: usize = 16 * 1_024;
/// More would be scheduled for longer than it takes to see anything.
const MAX_WRITES: u128 = 10_000;
/// How many events a publication or a change of data may cause at each member: those of publications if many are published at
/// one moment, before there is a tree.
const MAX_EVENTS_OF_A_WRITE: u64 = 20;
/// Many times the events of a short scenario.
const MIN_MAX_EVENTS: u64 = 5_000_000;
/// Many times the events per second that a member causes under constant faults.
const MAX_EVENTS_OF_A_MEMBER: u64 = 100;

const fn one() -> u64 {
    1
}

fn phin() -> String {
    "phin".to_owned()
}

#[cfg(test)]
mod tests;
