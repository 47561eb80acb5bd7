//! The expected outcome of a scenario, in addition to what the oracles always check.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::{Event, Moment, Scenario, TimedEvent};
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
    /// Exactly these members are declared dead by any member, whether they are dead or not. Not checked if absent.
    pub declared: Option<Who>,
    /// These members are live and may be declared dead, by the policy for degraded members.
    pub evicted: Who,
    /// Only these members are suspected by any member.
    pub suspected_only: Option<Who>,
    /// Each of these members is suspected within this time after the first event.
    pub suspected_within: Option<Span>,
    /// All members know of each death within this time.
    pub known_within: Span,
    /// Everybody knows what a member publishes no later than this after it; of members that run to the end.
    pub data_known_within: Option<Span>,
    /// Each message reaches all no later than this after it, as far as publisher and receiver are connected throughout.
    pub messages_within: Option<Span>,
    /// How many messages members that are connected throughout may miss in all, with a report.
    pub max_missed: u64,
    /// Only these members report that they missed messages.
    pub missed_only: Option<Who>,
    /// No member knows of a death before this time has passed.
    pub known_after: Option<Span>,
    /// Whether all lists are equal at the end, and have exactly the live members.
    pub converged: bool,
    /// The time after a fault during which its consequences are excused.
    pub grace: Span,
    /// Expected holders of offices, between some moments.
    pub offices: Vec<HeldOffice>,
    /// Expected states of members in the lists of others at some moments.
    pub at: Vec<Held>,
    /// The maximum number of links of a member.
    pub max_links: usize,
    /// The maximum number of connections of a member.
    pub max_connections: usize,
    /// The maximum number of messages of a member per second.
    pub max_messages: f64,
    /// The maximum mean number of messages per member and second.
    pub max_mean_messages: f64,
    /// The time over which messages are averaged.
    pub messages_over: Span,
    /// The moment from which messages are counted. Before it, members learn their links.
    pub messages_after: Span,
    /// The maximum incarnation of any member at the end.
    pub max_incarnation: Option<u32>,
    /// The maximum number of members in any list at the end, including made-up ones.
    pub max_listed: Option<usize>,
    /// The total time for which a healthy member may consider another dead, or not know it, instead of never.
    pub wrongly_dead_for: Option<Span>,
    /// The maximum number of suspicions of one member that another reports to its application per minute.
    pub suspicions_in_minute: Option<usize>,
    /// Only these members are reported as degraded.
    pub degraded_only: Option<Who>,
    /// Only these members report themselves as isolated.
    pub isolated_only: Option<Who>,
}

/// The expected holders of an office.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct HeldOffice {
    /// The office.
    pub office: String,
    /// From when on, by default from the start.
    #[serde(default)]
    pub from: Span,
    /// Until when, by default until the end.
    pub to: Option<Span>,
    /// Only these members hold it, one at a time; nobody, if there are none.
    pub by: Option<Who>,
    /// At most this many members hold it one after the other.
    pub changes: Option<usize>,
    /// The longest time without a holder, from the first one to the end.
    pub vacant_for: Option<Span>,
}

/// The expected state of members in the lists of others at a moment.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Held {
    /// The moment.
    pub at: Span,
    /// The members whose lists are checked.
    pub observers: Who,
    /// The members whose state is checked.
    pub subjects: Who,
    /// The state: "alive", "suspect", "dead", "left", or "unknown".
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
            messages_within: None,
            max_missed: 0,
            missed_only: None,
            known_after: None,
            converged: true,
            grace: Span(secs(5)),
            offices: Vec::new(),
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
            ("missed-only", self.missed_only.as_ref()),
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
        let missed: BTreeSet<_> = ledger.messages.missed.keys().copied().collect();
        let found = [
            ("missing messages", &self.missed_only, missed),
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
        self.check_offices(scenario, run, &mut fail);
        let publishes = |timed: &TimedEvent| matches!(timed.event, Event::Publish { .. });
        // Random events may name members that left, or are paused.
        let is_idle = ledger.messages.published.is_empty() && ledger.messages.unwritten == 0;
        if is_idle && scenario.event.iter().any(publishes) {
            fail("no message was published".to_owned());
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

impl Expect {
    fn check_offices(&self, scenario: &Scenario, run: &Simulation, fail: &mut impl FnMut(String)) {
        let ledger = &run.ledger().offices;
        for held in &self.offices {
            let HeldOffice { office, from, to, by, changes, vacant_for } = held;
            let to = to.map_or(run.now(), |to| Instant::START + to.0);
            let holders = ledger.holders(office, Instant::START + from.0, to);
            let found: BTreeSet<_> = holders.iter().copied().collect();
            let expected = by.as_ref().map(|by| by.of(scenario.nodes));
            if let Some(expected) = expected
                && (!found.is_subset(&expected) || found.is_empty() != expected.is_empty())
            {
                fail(format!("{office} was held by {}, not {}", names(&found), names(&expected)));
            }
            if changes.is_some_and(|most| holders.len() > most) {
                fail(format!("{office} was held by {} members in turn", holders.len()));
            }
            let vacancy = ledger.longest_vacancy(office, run.now());
            if let Some(Span(most)) = vacant_for
                && vacancy.is_none_or(|vacancy| vacancy > *most)
            {
                fail(format!("{office} was vacant for {vacancy:?}"));
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

/// The maximum number of reported failures of such expectations.
const MAX_FAILURES: usize = 5;
