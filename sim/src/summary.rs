//! A human-readable summary of the runs of a scenario: deaths and when they were known, load, and members with a
//! worse state in a list than in truth.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use phin_report::Samples;

use crate::{
    ledger::Published,
    node::{Instant, NodeId},
    simulation::Simulation,
};

/// The summary of one or several runs.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    runs: u64,
    deaths: Vec<Known>,
    member_seconds: f64,
    messages: u64,
    bytes: u64,
    /// Messages and bytes per second of the member that sent most.
    busiest: Option<(f64, f64, NodeId)>,
    /// Live members that were declared dead: where and when.
    declared: BTreeMap<NodeId, Seen>,
    /// Live members that were suspected, and when first.
    suspected: BTreeMap<NodeId, Instant>,
    degraded: BTreeMap<NodeId, Seen>,
    isolated: BTreeMap<NodeId, Instant>,
    published: Messages,
}

/// The messages to all members, and their deliveries.
#[derive(Clone, Debug, Default)]
struct Messages {
    published: usize,
    refused: u64,
    delivered: usize,
    missed: u64,
    /// The times until all others had them, of those that reached all.
    all: Vec<Duration>,
}

/// A death, and the times until it was known.
#[derive(Clone, Debug)]
struct Known {
    subject: NodeId,
    at: Instant,
    has_left: bool,
    suspected: Option<Duration>,
    first: Option<Duration>,
    half: Option<Duration>,
    all: Option<Duration>,
    unaware: usize,
}

/// The first moment of a report, and the members that made it.
#[derive(Clone, Debug)]
struct Seen {
    first: Instant,
    observers: BTreeSet<NodeId>,
    is_excused: bool,
}

impl Summary {
    /// Summarizes a run so far.
    pub fn of(run: &Simulation) -> Self {
        let ledger = run.ledger();
        let deaths = ledger.deaths.iter().map(|death| Known {
            subject: death.subject,
            at: death.at,
            has_left: death.has_left,
            suspected: death.suspected,
            first: death.first(),
            half: death.median(),
            all: death.all(),
            unaware: death.unaware,
        });
        let seconds = (run.now() - Instant::START).as_secs_f64();
        let nodes: Vec<_> = run.truth().nodes().map(|(node, _)| node).collect();
        let rates = nodes.iter().map(|&node| {
            let (messages, bytes) = run.traffic().of(node);
            (messages as f64 / seconds, bytes as f64 / seconds, node)
        });
        let busiest = rates.max_by(|a, b| a.0.total_cmp(&b.0));
        let all = &ledger.messages.published;
        let published = Messages {
            published: all.len(),
            refused: ledger.messages.refused,
            delivered: all.iter().map(|message| message.delivered).sum(),
            missed: ledger.messages.missed.values().sum(),
            all: all.iter().filter_map(Published::all).collect(),
        };
        let mut summary = Self {
            runs: 1,
            deaths: deaths.collect(),
            member_seconds: run.truth().lived(run.now()).as_secs_f64(),
            messages: run.traffic().messages,
            bytes: run.traffic().bytes,
            busiest,
            published,
            ..Self::default()
        };
        for verdict in &ledger.false_deaths {
            let seen = Seen::new(verdict.at, verdict.observer, verdict.is_excused);
            merge(&mut summary.declared, verdict.subject, seen);
        }
        for &(at, observer, subject) in &ledger.degraded {
            merge(&mut summary.degraded, subject, Seen::new(at, observer, false));
        }
        for &(at, node) in &ledger.isolated {
            summary.isolated.entry(node).or_insert(at);
        }
        for &(at, node) in &ledger.first_suspected {
            if !ledger.deaths.iter().any(|death| death.subject == node && death.at <= at) {
                summary.suspected.insert(node, at);
            }
        }
        summary
    }

    /// Adds the summary of other runs.
    pub fn add(&mut self, other: Self) {
        self.runs += other.runs;
        self.deaths.extend(other.deaths);
        self.member_seconds += other.member_seconds;
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.published.published += other.published.published;
        self.published.refused += other.published.refused;
        self.published.delivered += other.published.delivered;
        self.published.missed += other.published.missed;
        self.published.all.extend(other.published.all);
        let busiest = [self.busiest, other.busiest].into_iter().flatten();
        self.busiest = busiest.max_by(|a, b| a.0.total_cmp(&b.0));
        other.declared.into_iter().for_each(|(node, seen)| merge(&mut self.declared, node, seen));
        other.degraded.into_iter().for_each(|(node, seen)| merge(&mut self.degraded, node, seen));
        for (node, at) in other.suspected {
            let first = self.suspected.entry(node).or_insert(at);
            *first = (*first).min(at);
        }
        for (node, at) in other.isolated {
            let first = self.isolated.entry(node).or_insert(at);
            *first = (*first).min(at);
        }
    }

    fn deaths(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, has_left) in [("deaths", false), ("departures", true)] {
            let own: Vec<_> =
                self.deaths.iter().filter(|known| known.has_left == has_left).collect();
            if own.is_empty() {
                if !has_left {
                    writeln!(f, "{:LABEL$}none", what)?;
                }
                continue;
            }
            let all = Samples::of_millis(own.iter().filter_map(|known| known.all));
            let open = own.iter().filter(|known| known.unaware > 0).count();
            write!(f, "{:LABEL$}{}", what, own.len())?;
            if !all.is_empty() {
                let (median, max) = (seconds(all.quantile(0.5)), seconds(all.max()));
                write!(f, "; known to all after {median} in the median, {max} at most")?;
            }
            if open > 0 {
                write!(f, "; {open} never known to all")?;
            }
            writeln!(f)?;
            if self.runs > 1 {
                continue;
            }
            for known in own.iter().take(MAX_LINES) {
                let Known { subject, at, suspected, first, half, all, unaware, .. } = known;
                let after = |what: &str, span: &Option<Duration>| match span {
                    Some(span) => format!("{what} {}", seconds(span.as_secs_f64() * 1e3)),
                    None => format!("{what} never"),
                };
                let all = match unaware {
                    0 => after("all", all),
                    unaware => format!("unknown to {unaware}"),
                };
                let (suspected, first) =
                    (after("suspected after", suspected), after("first known", first));
                writeln!(
                    f,
                    "{:LABEL$}{subject} at {at}: {suspected}, {first}, {}, {all}",
                    "",
                    after("half", half)
                )?;
            }
            more(f, own.len())?;
        }
        Ok(())
    }
}

impl Seen {
    fn new(first: Instant, observer: NodeId, is_excused: bool) -> Self {
        Self { first, observers: BTreeSet::from([observer]), is_excused }
    }
}

fn merge(all: &mut BTreeMap<NodeId, Seen>, node: NodeId, seen: Seen) {
    match all.get_mut(&node) {
        Some(known) => {
            known.first = known.first.min(seen.first);
            known.observers.extend(seen.observers);
            known.is_excused &= seen.is_excused;
        }
        None => drop(all.insert(node, seen)),
    }
}

impl fmt::Display for Messages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { published, refused, delivered, missed, all } = self;
        if *published == 0 {
            return Ok(());
        }
        write!(f, "{:LABEL$}{published} published, {delivered} times delivered", "messages")?;
        write!(f, ", {missed} times missed, {refused} refused")?;
        let all = Samples::of_millis(all.iter().copied());
        if !all.is_empty() {
            let (median, max) = (seconds(all.quantile(0.5)), seconds(all.max()));
            write!(f, "; with all after {median} in the median, {max} at most")?;
        }
        writeln!(f)
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.deaths(f)?;
        let rate = |count: u64| count as f64 / self.member_seconds.max(f64::MIN_POSITIVE);
        let (messages, bytes) = (rate(self.messages), rate(self.bytes));
        write!(f, "{:LABEL$}{messages:.2} messages and {bytes:.0} bytes", "load")?;
        write!(f, " per member and second")?;
        if let Some((messages, bytes, node)) = self.busiest {
            write!(f, "; most by {node}: {messages:.2} and {bytes:.0}")?;
        }
        writeln!(f)?;
        self.published.fmt(f)?;
        let reported = [("falsely dead", &self.declared), ("degraded", &self.degraded)];
        for (what, seen) in reported {
            if seen.is_empty() {
                writeln!(f, "{:LABEL$}none", what)?;
                continue;
            }
            for (number, (node, seen)) in seen.iter().take(MAX_LINES).enumerate() {
                let label = if number == 0 { what } else { "" };
                let excuse = match (what, seen.is_excused) {
                    ("falsely dead", true) => " (a fault excuses it)",
                    _ => "",
                };
                let (first, count) = (seen.first, seen.observers.len());
                writeln!(f, "{label:LABEL$}{node} at {count} members, first at {first}{excuse}")?;
            }
            more(f, seen.len())?;
        }
        let reported = [("falsely suspected", &self.suspected), ("isolated", &self.isolated)];
        for (what, seen) in reported {
            let list = seen.iter().take(MAX_LINES).map(|(node, at)| format!("{node} at {at}"));
            let list = list.collect::<Vec<_>>().join(", ");
            let list = if list.is_empty() { "none".to_owned() } else { list };
            writeln!(f, "{:LABEL$}{list}", what)?;
            more(f, seen.len())?;
        }
        Ok(())
    }
}

fn more(f: &mut fmt::Formatter<'_>, count: usize) -> fmt::Result {
    match count.checked_sub(MAX_LINES) {
        None | Some(0) => Ok(()),
        Some(more) => writeln!(f, "{:LABEL$}and {more} more", ""),
    }
}

fn seconds(millis: f64) -> String {
    format!("{:.3} s", millis / 1e3)
}

/// The width of the first column.
const LABEL: usize = 20;
/// The maximum number of lines of one kind.
const MAX_LINES: usize = 12;
