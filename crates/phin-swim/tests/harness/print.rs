//! The output that a script shows.

use std::{collections::BTreeMap, fmt::Write as _};

use phin_swim::{Event, Member, MemberState, Message, OfficeEvent, Outcome, QueryOutcome, Route};

use super::{Scenario, id, keys, name, script};

/// The tags and serving state of a member since a change, if they differ.
pub(super) fn said(event: &Event) -> String {
    let before = event.before.as_deref().map(profile).unwrap_or_else(|| profile(&event.member));
    let after = profile(&event.member);
    let profile = if before == after { String::new() } else { format!(": {before} -> {after}") };
    let flaws = event.degraded.as_ref().map(|why| why.flaws).filter(|flaws| !flaws.is_empty());
    flaws.map_or(profile, |flaws| format!(" ({flaws})"))
}

/// A message as its application receives it.
pub(super) fn message(message: &Message) -> String {
    let (from, topic, body) =
        (name(message.from), &message.topic, String::from_utf8_lossy(&message.body));
    match &message.route {
        Route::Published { sequence, hops, .. } => {
            format!("publication {sequence} of {from}: {topic} {body} hops={hops}")
        }
        other => format!("message of {from}: {topic} {body} {other:?}"),
    }
}

/// The outcome at a member that was asked.
pub(super) fn outcome(outcome: &QueryOutcome) -> String {
    match outcome {
        QueryOutcome::Reply(body) => format!("replied {}", String::from_utf8_lossy(body)),
        other => other.as_str().to_owned(),
    }
}

/// An event of an office; renewals are not shown.
pub(super) fn office(event: &OfficeEvent) -> Option<String> {
    Some(match event {
        OfficeEvent::Elected { office, token, valid_until } => {
            format!("holds {office} in term {token} until {valid_until}")
        }
        OfficeEvent::Renewed { .. } => return None,
        OfficeEvent::Lost { office, token, why } => {
            format!("lost {office} of term {token}: {}", why.as_str())
        }
        OfficeEvent::Following { office, member, token } => {
            format!("follows {} as {office} in term {token}", name(*member))
        }
        OfficeEvent::Vacant { office, why } => format!("{office} is vacant: {}", why.as_str()),
    })
}

/// The tags of a member and its serving state.
fn profile(member: &Member) -> String {
    let tags: Vec<_> = member.tags().map(|(key, value)| format!("{key}={value}")).collect();
    let tags = if tags.is_empty() { "no tags".to_owned() } else { tags.join(",") };
    format!("{tags}, {}", member.serving())
}

impl Scenario {
    pub(super) fn print_news(&mut self) {
        for (text, first, last, nodes) in std::mem::take(&mut self.news) {
            let nodes = script::nodes(&nodes);
            let until = if first == last { String::new() } else { format!("..{last}") };
            writeln!(self.seen, "{first}{until} {nodes}: {text}").unwrap();
        }
    }

    pub(super) fn print_counter(&mut self, node: usize, counter: &str) {
        let stats = format!("{:?}", self.nodes[&node].swim.stats());
        let mut counters = stats.split(['{', ',', '}']).map(str::trim);
        let found = counters
            .find(|c| c.strip_prefix(counter).is_some_and(|rest| rest.starts_with(':')))
            .unwrap_or_else(|| panic!("no counter {counter}"));
        writeln!(self.seen, "{} n{node} {found}", self.now).unwrap();
    }

    pub(super) fn print_link(&mut self, node: usize, subject: usize) {
        let links = self.nodes[&node].swim.links(self.now);
        let link = links.iter().find(|link| link.id == id(subject));
        let link = link.unwrap_or_else(|| panic!("n{node} does not observe n{subject}"));
        let (now, round_trip) = (self.now, link.round_trip);
        let (loss, phi) = (link.loss * 100.0, link.phi);
        writeln!(
            self.seen,
            "{now} n{node}->n{subject} round_trip={round_trip:?} loss={loss:.0}% phi={phi:.1}"
        )
        .unwrap();
    }

    pub(super) fn print_hold(&mut self, node: usize, subject: usize) {
        let (now, swim) = (self.now, &self.nodes[&node].swim);
        let penalty = swim.flap_penalty(now, id(subject));
        let hold = match swim.members().suppressed_until(id(subject)) {
            Some(until) => format!("suppressed until {until}"),
            None => "not suppressed".to_owned(),
        };
        writeln!(self.seen, "{now} n{node}: n{subject} {hold}, penalty {penalty:.1}").unwrap();
    }

    pub(super) fn print_tags(&mut self, node: usize, subject: usize) {
        let (now, members) = (self.now, self.nodes[&node].swim.members());
        let Some(member) = members.get(id(subject)) else {
            writeln!(self.seen, "{now} n{node} does not know n{subject}").unwrap();
            return;
        };
        let said = profile(member);
        writeln!(self.seen, "{now} n{node}: n{subject} says {said}").unwrap();
    }

    /// Which of the running nodes find their lists to be those of the others.
    pub(super) fn print_converged(&mut self) {
        let now = self.now;
        let running = self.running();
        let is_converged = |(_, node): &(usize, &super::Node)| node.swim.is_converged(now);
        let (are, are_not): (Vec<_>, Vec<_>) = running.into_iter().partition(is_converged);
        let names = |nodes: Vec<(usize, _)>| {
            let names: Vec<_> = nodes.into_iter().map(|(node, _)| node).collect();
            if names.is_empty() { "nobody".to_owned() } else { script::nodes(&names) }
        };
        let (are, are_not) = (names(are), names(are_not));
        writeln!(self.seen, "{now} converged: {are}; not: {are_not}").unwrap();
    }

    pub(super) fn print_unreached(&mut self, node: usize) {
        let now = self.now;
        let all = self.nodes[&node].swim.unreached(now);
        if all.is_empty() {
            writeln!(self.seen, "{now} n{node} knows of no failing link").unwrap();
        }
        for unreached in all {
            let id = name(unreached.id);
            let degraded = unreached
                .degraded_since
                .map_or(String::new(), |since| format!(", degraded since {since}"));
            if unreached.links.is_empty() {
                writeln!(self.seen, "{now} n{node}: {id}{}", &degraded[1..]).unwrap();
                continue;
            }
            let links = unreached.links.iter().map(|link| {
                format!("{} since {} ({} pings)", name(link.observer), link.since, link.attempts)
            });
            let links: Vec<_> = links.collect();
            writeln!(
                self.seen,
                "{now} n{node}: {id} is not reached by {}{degraded}",
                links.join(", ")
            )
            .unwrap();
        }
    }

    pub(super) fn print_phi(&mut self, node: usize, subject: usize) {
        let now = self.now;
        let phi = self.nodes[&node].swim.phi(now, id(subject));
        let phi = phi.map_or("unknown".to_owned(), |phi| format!("{phi:.1}"));
        writeln!(self.seen, "{now} n{node}: phi of n{subject} is {phi}").unwrap();
    }

    pub(super) fn print_why(&mut self, node: usize, subject: usize) {
        let now = self.now;
        let Some(report) = self.nodes[&node].swim.why(now, id(subject)) else {
            writeln!(self.seen, "{now} n{node}: n{subject} was never suspected").unwrap();
            return;
        };
        let (word, votes) = match &report.outcome {
            Outcome::Cleared { by } => {
                let (by, began) = (name(*by), report.began_at);
                let silent = format!("n{subject} silent since {began}, cleared by {by}");
                writeln!(self.seen, "{now} n{node}: {silent}").unwrap();
                return;
            }
            Outcome::Open { votes } => ("suspected", votes),
            Outcome::Dead { votes } => ("dead", votes),
        };
        let kind = report.silence().unwrap().as_str();
        writeln!(self.seen, "{now} n{node}: n{subject} {word}, {kind} since {}", report.began_at)
            .unwrap();
        for vote in votes.iter() {
            let (observer, since) = (name(vote.observer), vote.silent_since);
            let (attempts, phi, kind) = (vote.attempts, vote.phi, vote.silence.as_str());
            writeln!(
                self.seen,
                "    {observer} silent since {since} attempts={attempts} phi={phi:.1} {kind}"
            )
            .unwrap();
        }
    }

    /// Every running node's list; those that agree on a line together, members as they started left out.
    pub(super) fn print_members(&mut self) {
        let mut lists: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (node, state) in self.running() {
            let members = state.swim.members();
            let mut members: Vec<_> =
                members.iter().map(|m| (keys::node(m.id()).unwrap(), m)).collect();
            members.sort_by_key(|&(number, _)| number);
            let mut list = format!("{} members", members.len());
            for (_, m) in members {
                let (generation, incarnation) = (m.generation().0, m.incarnation().0);
                if (m.state(), generation, incarnation) != (MemberState::Alive, 0, 0) {
                    write!(list, ", {}={} v{generation}.{incarnation}", m.name(), m.state())
                        .unwrap();
                }
            }
            lists.entry(list).or_default().push(node);
        }
        let mut lists: Vec<_> = lists.into_iter().collect();
        lists.sort_by_key(|(_, nodes)| nodes[0]);
        for (list, nodes) in lists {
            let nodes = script::nodes(&nodes);
            writeln!(self.seen, "{} {nodes} know {list}", self.now).unwrap();
        }
    }
}
