//! A cluster with one node on each host of a segment.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    lan::{Family, Lan},
    node::{KEY, Node, PATIENCE, PORT},
};

/// Nodes `n1`, `n2` and so on, on the hosts of these numbers.
pub(crate) struct Cluster {
    pub(crate) lan: Lan,
    nodes: Vec<Node>,
    arguments: Vec<String>,
    /// Where each node keeps its data, if it does.
    data: Option<tempfile::TempDir>,
}

/// The number of events of every node at one moment.
#[derive(Clone)]
pub(crate) struct Mark(Vec<usize>);

impl Cluster {
    /// Starts this many nodes, and returns when all know all. Returns `None` and prints a note if this machine cannot.
    ///
    /// # Panics
    /// If this machine cannot, and `NEEDS_NETWORK` is set.
    pub(crate) fn start(family: Family, size: usize, arguments: &[&str]) -> Option<Self> {
        Self::start_in(None, family, size, arguments)
    }

    /// The same with a data directory for each node, so that a node that is restarted stays the same member.
    pub(crate) fn start_with_data(family: Family, size: usize, arguments: &[&str]) -> Option<Self> {
        Self::start_in(Some(tempfile::tempdir().unwrap()), family, size, arguments)
    }

    fn start_in(
        data: Option<tempfile::TempDir>,
        family: Family,
        size: usize,
        arguments: &[&str],
    ) -> Option<Self> {
        let lan = match Lan::new(family, size) {
            Ok(lan) => lan,
            Err(error) => {
                skip(&error);
                return None;
            }
        };
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let mut cluster = Self { lan, nodes: Vec::new(), arguments, data };
        for number in 1..=size {
            let node = cluster.process(number, KEY);
            cluster.nodes.push(node);
        }
        cluster.await_all("joined", &cluster.names(), &cluster.beginning());
        Some(cluster)
    }

    /// Starts a process on a host like a node of the cluster, but with this key.
    pub(crate) fn process(&self, number: usize, key: &str) -> Node {
        let seed = SocketAddr::from((self.lan.ip(1), PORT)).to_string();
        let mut all: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        // Every node has the same list of seeds.
        all.extend(["--join", &seed]);
        let data = self.data.as_ref().map(|data| data.path().join(format!("n{number}")));
        if let Some(data) = &data {
            all.extend(["--data-dir", data.to_str().unwrap()]);
        }
        Node::start(self.lan.host(number), self.lan.ip(number), &format!("n{number}"), key, &all)
    }

    /// Adds a process that was started elsewhere as the next node.
    pub(crate) fn adopt(&mut self, node: Node) {
        self.nodes.push(node);
    }

    /// Ends a node's process and starts a new one, which is another member.
    pub(crate) fn restart(&mut self, number: usize) {
        self.node_mut(number).wait();
        self.nodes[number - 1] = self.process(number, KEY);
    }

    pub(crate) fn node(&self, number: usize) -> &Node {
        &self.nodes[number - 1]
    }

    pub(crate) fn node_mut(&mut self, number: usize) -> &mut Node {
        &mut self.nodes[number - 1]
    }

    fn names(&self) -> Vec<usize> {
        (1..=self.nodes.len()).collect()
    }

    /// Every number but these.
    pub(crate) fn all_but(&self, without: &[usize]) -> Vec<usize> {
        self.lan.hosts().filter(|number| !without.contains(number)).collect()
    }

    pub(crate) fn beginning(&self) -> Mark {
        Mark(vec![0; self.nodes.len()])
    }

    /// The present moment.
    pub(crate) fn mark(&self) -> Mark {
        Mark(self.nodes.iter().map(Node::mark).collect())
    }

    /// Waits until each of these has reported this event about `subject`.
    pub(crate) fn await_event(
        &self,
        by: &[usize],
        event: &str,
        subject: usize,
        since: &Mark,
    ) -> Vec<Value> {
        let subject = format!("n{subject}");
        by.iter()
            .map(|&number| self.node(number).event_of(since.0[number - 1], event, &subject))
            .collect()
    }

    /// Waits until each of these has reported this event about all the others.
    pub(crate) fn await_all(&self, event: &str, of: &[usize], since: &Mark) {
        for &subject in of {
            let others: Vec<usize> = of.iter().copied().filter(|&other| other != subject).collect();
            self.await_event(&others, event, subject, since);
        }
    }

    /// The events about members that one node reported since then, as event and number.
    pub(crate) fn told(&self, by: usize, since: &Mark) -> Vec<(String, String)> {
        let events = self.node(by).since(since.0[by - 1]);
        let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
        events.iter().map(|line| (text(&line["event"]), text(&line["member"]["name"]))).collect()
    }

    /// Fails if one of these has reported this event about one of those since then.
    #[track_caller]
    pub(crate) fn assert_never(&self, by: &[usize], event: &str, of: &[usize], since: &Mark) {
        for &number in by {
            let told = self.told(number, since);
            let is_forbidden = |(kind, name): &(String, String)| {
                kind == event && of.iter().any(|subject| *name == format!("n{subject}"))
            };
            assert!(!told.iter().any(is_forbidden), "n{number} told {event}: {told:?}");
        }
    }

    /// The answer of a node over HTTP.
    pub(crate) fn get(&self, number: usize, path: &str) -> (u16, String) {
        self.node(number).get(self.lan.host(number), path)
    }

    /// The answer of a node in JSON over HTTP.
    pub(crate) fn json(&self, number: usize, path: &str) -> Value {
        let (status, body) = self.get(number, path);
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    /// Waits until the lists of these are equal.
    pub(crate) fn await_equal_lists(&self, of: &[usize]) {
        let fingerprint = |number| self.json(number, "/v1/members")["fingerprint"].clone();
        self.until("of one list with the others", &of[1..], |number| {
            fingerprint(number) == fingerprint(of[0])
        });
    }

    /// A metric of a node, by its full name with labels.
    pub(crate) fn metric(&self, number: usize, name: &str) -> f64 {
        let (_, text) = self.get(number, "/metrics");
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {name}:\n{text}")).parse().unwrap()
    }

    /// Waits until the condition holds for each of these nodes.
    pub(crate) fn until(&self, what: &str, by: &[usize], is_so: impl Fn(usize) -> bool) {
        let start = Instant::now();
        for &number in by {
            while !is_so(number) {
                assert!(start.elapsed() < PATIENCE, "n{number}: not {what}");
                // tidy: allow sleep: between two looks, for there is no event to wait for
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }
}

/// Prints that the test is skipped because this machine lacks what it needs.
///
/// # Panics
/// If `NEEDS_NETWORK` is set.
pub(crate) fn skip(missing: &dyn std::fmt::Display) {
    assert!(std::env::var_os(NEEDS_NETWORK).is_none(), "{NEEDS_NETWORK} is set, but: {missing}");
    note_skipped(&format!("it needs root, ip and nft: {missing}"));
}

/// Prints that the test is skipped.
pub(crate) fn note_skipped(reason: &str) {
    let name = std::thread::current().name().unwrap_or("?").to_owned();
    // Directly to standard error, because the output of a passing test is not shown.
    let line = format!("{name}: SKIPPED, for {reason}\n");
    let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
}

/// Set if these tests must run and not be skipped.
const NEEDS_NETWORK: &str = "PHIN_TESTS_NEED_NETWORK";
