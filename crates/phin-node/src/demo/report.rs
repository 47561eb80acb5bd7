//! The output of a demonstration: the members, the timeline, and the times as JSON.

use std::time::{Duration, Instant};

use phin::Outcome;
use serde::Serialize;

use super::fleet::{Fleet, Node};
use crate::{
    suspicion::{Why, explanation, summary},
    table,
    text::short,
};

/// The object of `--json`, with times in milliseconds.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) nodes: usize,
    /// The time from the start of the first process until every node knew every other.
    pub(super) converged_ms: u64,
    pub(super) killed: Killed,
    pub(super) left: Left,
}

/// The killed node, and the times until the first node declared it dead and until all knew.
#[derive(Debug, Serialize)]
pub(super) struct Killed {
    pub(super) name: String,
    pub(super) first_ms: u64,
    pub(super) all_ms: u64,
}

/// The node that left, the number of confirmations, and the time from the signal until all knew.
#[derive(Debug, Serialize)]
pub(super) struct Left {
    pub(super) name: String,
    pub(super) confirmed: usize,
    pub(super) all_ms: u64,
}

/// An event that a node reported about another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Told {
    Suspects,
    Alive,
    Dead,
    Left,
}

/// The events that the nodes reported, by the time since an action.
pub(super) struct Timeline {
    start: Instant,
    deed: String,
    entries: Vec<Entry>,
}

struct Entry {
    after: Duration,
    node: String,
    told: Told,
    subject: String,
}

impl Timeline {
    /// Starts now, with a description of the action.
    pub(super) fn start(deed: String) -> Self {
        Self { start: Instant::now(), deed, entries: Vec::new() }
    }

    pub(super) fn add(&mut self, at: Instant, node: &str, told: Told, subject: &str) {
        let after = at.saturating_duration_since(self.start);
        self.entries.push(Entry { after, node: node.into(), told, subject: subject.into() });
        self.entries.sort_by_key(|entry| entry.after);
    }

    /// When the first node reported this event; zero if none did.
    pub(super) fn first(&self, told: Told, subject: &str) -> Duration {
        self.times(told, subject).next().unwrap_or_default()
    }

    pub(super) fn last(&self, told: Told, subject: &str) -> Duration {
        self.times(told, subject).next_back().unwrap_or_default()
    }

    fn times(&self, told: Told, subject: &str) -> impl DoubleEndedIterator<Item = Duration> {
        let is_meant = move |entry: &&Entry| entry.told == told && entry.subject == subject;
        self.entries.iter().filter(is_meant).map(|entry| entry.after)
    }

    /// The action and the events after it. Shows only the first and the last of many equal events.
    pub(super) fn text(&self) -> String {
        let mut text = format!("{:>9}  {}\n", "0 ms", self.deed);
        let mut rest: Vec<&Entry> = self.entries.iter().collect();
        while let Some(first) = rest.first().copied() {
            let (alike, others): (Vec<_>, Vec<_>) = rest
                .iter()
                .partition(|entry| (entry.told, &entry.subject) == (first.told, &first.subject));
            rest = others;
            let omitted = match alike.len() {
                0..=MAX_ALIKE => alike.len()..alike.len(),
                entries => SHOWN_FIRST..entries - 1,
            };
            text.extend(alike[..omitted.start].iter().map(|entry| entry.text()));
            if !omitted.is_empty() {
                text.push_str(&format!("{:>9}  {} more\n", "…", omitted.len()));
            }
            text.extend(alike[omitted.end..].iter().map(|entry| entry.text()));
        }
        text
    }
}

impl Entry {
    fn text(&self) -> String {
        let Self { node, subject, .. } = self;
        let what = match self.told {
            Told::Suspects => format!("{node} suspects {subject}"),
            Told::Alive => format!("{node} considers {subject} alive again"),
            Told::Dead => format!("{node} knows that {subject} is dead"),
            Told::Left => format!("{node} knows that {subject} left"),
        };
        format!("{:>6} ms  {what}\n", self.after.as_millis())
    }
}

/// A table of the members, from their own reports.
pub(super) fn member_table(fleet: &Fleet) -> String {
    let mut shown = table::new(&["NAME", "STATE", "ADDRESS", "PROCESS", "ID"]);
    for (node, member) in fleet.nodes().iter().filter_map(|node| Some((node, node.me()?))) {
        let process = Node::process_id(node).map_or("-".into(), |id| id.to_string());
        shown.add_row(vec![
            node.name().into(),
            table::state("alive"),
            member.addr.into(),
            process.into(),
            short(&member.id.to_string()).into(),
        ]);
    }
    table::text(&shown)
}

/// The reason why a node considers another dead, in one or two lines.
pub(super) fn reason(why: &Why, by: &str) -> String {
    let name = &why.member.name;
    match why.suspicion.as_ref().map(|suspicion| &suspicion.outcome) {
        Some(Outcome::Dead(evidence)) => {
            let (summary, explanation) = (summary(evidence), explanation(evidence, false));
            format!("Why? {by} says: {summary}.\n{name} is {explanation}")
        }
        _ => {
            format!("Why? {by} does not know the votes on {name}.\n")
        }
    }
}

/// Up to this many equal events are all shown.
const MAX_ALIKE: usize = 6;
const SHOWN_FIRST: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_who_tell_the_same_the_first_and_the_last_are_shown() {
        let mut timeline = Timeline::start("n1 is killed".into());
        for after in 1..=20 {
            let at = timeline.start + Duration::from_millis(after);
            timeline.add(at, "n2", Told::Dead, "n1");
        }
        timeline.add(timeline.start, "n3", Told::Suspects, "n1");
        assert_eq!(
            timeline.text(),
            "     0 ms  n1 is killed\n     0 ms  n3 suspects n1\n     1 ms  n2 knows that n1 is dead\n     \
             2 ms  n2 knows that n1 is dead\n        …  17 more\n    20 ms  n2 knows that n1 is dead\n"
        );
        assert_eq!(timeline.first(Told::Dead, "n1"), Duration::from_millis(1));
        assert_eq!(timeline.last(Told::Dead, "n1"), Duration::from_millis(20));
        assert_eq!(timeline.last(Told::Left, "n1"), Duration::ZERO);
    }
}
