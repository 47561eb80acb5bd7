//! What must come out of a scenario, beside what the oracles always demand.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::{Moment, Scenario};
use crate::{
    ledger::Death,
    node::{Belief, Instant, NodeId, secs},
    settings::{Span, Who},
    simulation::Simulation,
};

/// The expected outcome.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Expect {
    /// Exactly these are declared dead by anyone, truly dead or not. Not looked at where it is missing.
    pub declared: Option<Who>,
    /// These live and may be declared dead, by the policy for degraded members.
    pub evicted: Who,
    /// Nobody else is ever suspected by anyone.
    pub suspected_only: Option<Who>,
    /// Someone suspects each of these, no later than this after the first event.
    pub suspected_within: Option<Span>,
    /// Everybody knows of each death no later than this after it.
    pub known_within: Span,
    /// Everybody knows what a member publishes no later than this after it; of members that run to the end.
    pub data_known_within: Option<Span>,
    /// Nobody knows of a death earlier than this after it.
    pub known_after: Option<Span>,
    /// Whether all lists are equal at the end, and hold exactly those that live.
    pub converged: bool,
    /// For how long after a fault its consequences are excused.
    pub grace: Span,
    /// What some hold others for at some moment.
    pub at: Vec<Held>,
    /// The most links a member may have.
    pub max_links: usize,
    /// The most connections a member may have.
    pub max_connections: usize,
    /// The most messages a member may send in a second.
    pub max_messages: f64,
    /// The most messages all members may send for each of them in a second.
    pub max_mean_messages: f64,
    /// Over how long messages are averaged.
    pub messages_over: Span,
    /// From when on messages are counted: before, the members get to know their links.
    pub messages_after: Span,
    /// The highest incarnation any member has at the end.
    pub max_incarnation: Option<u32>,
    /// The most members that anyone has in its list at the end, whatever liars made up.
    pub max_listed: Option<usize>,
    /// How long one healthy member may hold another for dead, or not know it, in all; instead of never.
    pub wrongly_dead_for: Option<Span>,
    /// How often in a minute one member may tell its application that another is suspect.
    pub suspicions_in_minute: Option<usize>,
    /// Nobody else is reported as degraded.
    pub degraded_only: Option<Who>,
    /// Nobody else calls itself isolated.
    pub isolated_only: Option<Who>,
}

/// What some hold others for at a moment.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Held {
    /// When.
    pub at: Span,
    /// Who.
    pub observers: Who,
    /// Of whom.
    pub subjects: Who,
    /// What: "alive", "suspect", "dead", "left", or "unknown".
    pub belief: HeldFor,
}

/// The state in which a member is listed, or that it is not known.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum HeldFor {
    /// It answers.
    Alive,
    /// It does not answer at present.
    Suspect,
    /// It is declared dead.
    Dead,
    /// It left.
    Left,
    /// It is not in the list.
    Unknown,
}

impl Default for Expect {
    fn default() -> Self {
        Self {
            declared: None,
            evicted: Who::default(),
            suspected_only: None,
            suspected_within: None,
            known_within: Span(secs(10)),
            data_known_within: None,
            known_after: None,
            converged: true,
            grace: Span(secs(5)),
            at: Vec::new(),
            max_links: 64,
            max_connections: 64,
            max_messages: 100.0,
            max_mean_messages: 20.0,
            messages_over: Span(secs(10)),
            messages_after: Span::default(),
            max_incarnation: None,
            max_listed: None,
            wrongly_dead_for: None,
            suspicions_in_minute: None,
            degraded_only: None,
            isolated_only: None,
        }
    }
}

impl Expect {
    /// The keys that name members.
    pub(super) fn members(&self) -> Vec<(&'static str, &Who)> {
        let sets = [
            ("declared", self.declared.as_ref()),
            ("suspected-only", self.suspected_only.as_ref()),
            ("degraded-only", self.degraded_only.as_ref()),
            ("isolated-only", self.isolated_only.as_ref()),
        ];
        let sets = sets.into_iter().filter_map(|(key, who)| Some((key, who?)));
        let held = self
            .at
            .iter()
            .flat_map(|held| [("observers", &held.observers), ("subjects", &held.subjects)]);
        sets.chain([("evicted", &self.evicted)]).chain(held).collect()
    }

    pub(super) fn moments(&self, nodes: u32) -> Vec<Moment> {
        let moments = self.at.iter().map(|held| Moment {
            at: Instant::START + held.at.0,
            observers: held.observers.of(nodes),
            subjects: held.subjects.of(nodes),
            belief: match held.belief {
                HeldFor::Alive => Some(Belief::Alive),
                HeldFor::Suspect => Some(Belief::Suspect),
                HeldFor::Dead => Some(Belief::Dead),
                HeldFor::Left => Some(Belief::Left),
                HeldFor::Unknown => None,
            },
        });
        moments.collect()
    }

    pub(super) fn check_moment(
        &self,
        moment: &Moment,
        run: &Simulation,
        failures: &mut Vec<String>,
    ) {
        for &observer in &moment.observers {
            let Some(process) = run.process(observer) else {
                continue;
            };
            for &subject in moment.subjects.iter().filter(|&&subject| subject != observer) {
                let held = process.belief(subject);
                if held != moment.belief && failures.len() < MAX_FAILURES {
                    let expected = moment.belief;
                    failures.push(format!(
                        "{} expect: {observer} holds {subject} for {held:?} and not {expected:?}",
                        moment.at
                    ));
                }
            }
        }
    }

    pub(super) fn check(&self, scenario: &Scenario, run: &Simulation, failures: &mut Vec<String>) {
        let mut fail = |text: String| failures.push(format!("{} expect: {text}", run.now()));
        let ledger = run.ledger();
        if let Some(who) = &self.declared {
            let is_known = |death: &&Death| !death.has_left && !death.learnt.is_empty();
            let known = ledger.deaths.iter().filter(is_known);
            let declared: BTreeSet<_> = known
                .map(|death| death.subject)
                .chain(ledger.false_deaths.iter().map(|verdict| verdict.subject))
                .collect();
            let expected = who.of(scenario.nodes);
            if declared != expected {
                fail(format!("declared dead were {}, not {}", names(&declared), names(&expected)));
            }
        }
        let suspected: BTreeSet<_> = ledger.first_suspected.iter().map(|&(_, node)| node).collect();
        if let Some(who) = &self.suspected_only {
            let others: BTreeSet<_> = &suspected - &who.of(scenario.nodes);
            if !others.is_empty() {
                fail(format!("suspected were also {}", names(&others)));
            }
            if let Some(Span(within)) = self.suspected_within {
                let began = scenario
                    .event
                    .first()
                    .map_or(Instant::START, |event| Instant::START + event.at.0);
                for node in who.of(scenario.nodes) {
                    let first = ledger.first_suspected.iter().find(|(_, id)| *id == node);
                    match first {
                        Some(&(at, _)) if at - began <= within => {}
                        Some(&(at, _)) => fail(format!("{node} was suspected only at {at}")),
                        None => fail(format!("{node} was never suspected")),
                    }
                }
            }
        }
        let degraded: BTreeSet<_> = ledger.degraded.iter().map(|&(.., node)| node).collect();
        let isolated: BTreeSet<_> = ledger.isolated.iter().map(|&(_, node)| node).collect();
        let found = [
            ("reported as degraded", &self.degraded_only, degraded),
            ("isolated", &self.isolated_only, isolated),
        ];
        for (what, expected, found) in found {
            let others = expected.as_ref().map(|who| &found - &who.of(scenario.nodes));
            if let Some(others) = others.filter(|others| !others.is_empty()) {
                fail(format!("{what} were also {}", names(&others)));
            }
        }
        for death in &ledger.deaths {
            if let (Some(Span(after)), Some(first)) = (self.known_after, death.first())
                && first < after
            {
                fail(format!("the death of {} was known after {first:?}", death.subject));
            }
        }
        if let Some(Span(within)) = self.data_known_within {
            let is_sound = |id| run.truth().is_running(id) && !run.truth().is_liar(id);
            let publications = &ledger.data.publications;
            let late = publications.iter().filter(|publication| {
                is_sound(publication.owner) && publication.all().is_none_or(|all| all > within)
            });
            for publication in late.take(MAX_FAILURES) {
                let (owner, at, all) = (publication.owner, publication.at, publication.all());
                fail(format!("the data of {owner} of {at} was known to all after {all:?}"));
            }
            if publications.is_empty() {
                fail("no data was published".to_owned());
            }
        }
        if let Some(max) = self.max_listed {
            for node in run.truth().running() {
                let listed =
                    run.process(node).map_or(0, |process| process.usage(run.now()).members);
                if listed > max {
                    fail(format!("{node} has {listed} members in its list, more than {max}"));
                }
            }
        }
        if let Some(max) = self.max_incarnation {
            for node in run.truth().running() {
                let lines = run.process(node).map(|process| process.lines()).unwrap_or_default();
                for line in lines.iter().filter(|line| line.version.incarnation.0 > max) {
                    fail(format!("{} is at {:?} with {node}", line.node, line.version));
                }
            }
        }
    }
}

fn names(nodes: &BTreeSet<NodeId>) -> String {
    let mut names: Vec<_> = nodes.iter().take(12).map(NodeId::to_string).collect();
    if nodes.len() > names.len() {
        names.push(format!("… {} in all", nodes.len()));
    }
    if names.is_empty() { "none".to_owned() } else { names.join(" ") }
}

/// The most failures of moments that are told.
const MAX_FAILURES: usize = 5;
