//! Memory, connections and traffic stay within their limits under all faults.

use std::time::Duration;

use super::{Findings, Oracle, View, Violation};
use crate::node::{Instant, secs};

/// Finds members that store or send too much.
#[derive(Debug)]
pub struct Limits {
    /// The maximum number of links of one member.
    pub max_links: usize,
    /// The maximum number of connections of one member.
    pub max_connections: usize,
    /// The maximum number of messages of one member per second.
    pub max_messages_per_second: f64,
    /// The maximum mean number of messages per member and second.
    pub max_mean_messages: f64,
    /// The shortest time over which both are averaged.
    pub averaged_over: Duration,
    /// The moment from which messages are counted.
    pub counted_after: Instant,
    /// The number of made-up members, which may be in lists for a while.
    pub made_up: usize,
    since: Instant,
    sent: Vec<u64>,
    findings: Findings,
}

impl Limits {
    /// Creates the oracle with these limits.
    pub fn new(max_links: usize, max_connections: usize, max_messages_per_second: f64) -> Self {
        Self {
            max_links,
            max_connections,
            max_messages_per_second,
            max_mean_messages: max_messages_per_second,
            averaged_over: secs(10),
            counted_after: Instant::START,
            made_up: 0,
            since: Instant::START,
            sent: Vec::new(),
            findings: Findings::default(),
        }
    }

    fn inspect_holdings(&mut self, run: View<'_>) {
        let ever = run.truth.nodes().count() + self.made_up;
        for node in run.truth.running() {
            let Some(process) = run.process(node) else {
                continue;
            };
            let usage = process.usage(run.local_now(node));
            let connections = run.open_connections(node);
            let held = [
                ("members", usage.members, ever),
                ("links", usage.links, self.max_links),
                ("connections", connections, self.max_connections),
            ];
            for (what, count, max) in held.into_iter().filter(|&(_, count, max)| count > max) {
                let text = format!("{node} has {count} {what}, more than {max}");
                self.findings.add("limits", run.now, text);
            }
        }
    }

    fn inspect_traffic(&mut self, run: View<'_>) {
        if run.now - self.since < self.averaged_over {
            return;
        }
        let is_counted = self.since >= self.counted_after;
        let seconds = (run.now - self.since).as_secs_f64();
        let (mut members, mut total) = (0, 0);
        self.sent.resize(run.truth.nodes().count(), 0);
        for (node, _) in run.truth.nodes() {
            let (messages, _) = run.traffic.of(node);
            let sent = messages - self.sent[node.index()];
            self.sent[node.index()] = messages;
            // The messages of a liar do not count.
            if run.truth.is_liar(node) {
                continue;
            }
            let rate = sent as f64 / seconds;
            total += sent;
            // The messages of members that died meanwhile are not the load of those that remain.
            members += u32::from(sent > 0 || run.process(node).is_some());
            if is_counted && rate > self.max_messages_per_second {
                let max = self.max_messages_per_second;
                let text = format!("{node} sent {rate:.1} messages a second, more than {max}");
                self.findings.add("limits", run.now, text);
            }
        }
        let mean = total as f64 / seconds / f64::from(members.max(1));
        if is_counted && mean > self.max_mean_messages {
            let max = self.max_mean_messages;
            let text = format!("members sent {mean:.1} messages a second each, more than {max}");
            self.findings.add("limits", run.now, text);
        }
        self.since = run.now;
    }
}

impl Oracle for Limits {
    fn inspect(&mut self, run: View<'_>) {
        self.inspect_holdings(run);
        self.inspect_traffic(run);
    }

    fn take_violations(&mut self) -> Vec<Violation> {
        self.findings.take()
    }
}
