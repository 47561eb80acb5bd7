//! Sixteen nodes on this machine, and a member that lies to them.

use std::{
    cell::RefCell,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use phin_swim::{Config, SignedVotes};
use serde_json::Value;
use tokio::{runtime::Builder, sync::watch};

use crate::{
    harness::{KEY, Node, PATIENCE, phin, text},
    liar::{self, Order, Setup},
    lie::Lie,
};

/// Nodes `n1`, `n2` and so on, which all know the liar.
pub(crate) struct Cluster {
    nodes: Vec<Node>,
    /// The events of each so far.
    events: RefCell<Vec<Vec<Value>>>,
    order: Option<watch::Sender<Order>>,
    liar: Option<thread::JoinHandle<()>>,
}

impl Cluster {
    /// Starts [`SIZE`] nodes with these arguments, and the liar with the same settings, and returns when all know all.
    pub(crate) fn start(mode: SignedVotes, arguments: &[&str], mut config: Config) -> Self {
        config.signed_votes = SignedVotes::Sign;
        let start = |name: &str, through: &[&str]| {
            let own = ["--name", name, "--signed-votes", mode.as_str()];
            Node::spawn(&mut run(&[&own[..], arguments, through].concat()))
        };
        let first = start("n1", &[]);
        let others =
            (2..=SIZE).map(|number| start(&format!("n{number}"), &["--join", &first.addr]));
        let others: Vec<_> = others.collect();
        let (order, orders) = watch::channel(None);
        let setup = Setup {
            name: "liar".to_owned(),
            through: first.addr.parse().unwrap(),
            cluster: "phin".parse().unwrap(),
            keys: KEY.parse().unwrap(),
            config,
            every: INTERVAL,
        };
        let liar = thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(liar::run(setup, orders)).unwrap();
        });
        let nodes = [first].into_iter().chain(others).collect();
        let events = RefCell::new(vec![Vec::new(); SIZE]);
        let cluster = Self { nodes, events, order: Some(order), liar: Some(liar) };
        cluster.until("know all", &cluster.all(), |number| {
            cluster.metric(number, "phin_members{state=\"alive\"}") == (SIZE + 1) as f64
        });
        cluster
    }

    /// All numbers.
    pub(crate) fn all(&self) -> Vec<usize> {
        (1..=SIZE).collect()
    }

    /// Every number but these.
    pub(crate) fn all_but(&self, without: &[usize]) -> Vec<usize> {
        self.all().into_iter().filter(|number| !without.contains(number)).collect()
    }

    pub(crate) fn node(&self, number: usize) -> &Node {
        &self.nodes[number - 1]
    }

    /// Has the liar send this lie about a node to all others, until it is ordered to send another, or none.
    pub(crate) fn lie(&self, lie: Lie, victim: usize) {
        self.order.as_ref().unwrap().send_replace(Some((lie, format!("n{victim}"))));
    }

    /// The number of lies that a node has read.
    pub(crate) fn lies_read(&self, number: usize) -> f64 {
        self.metric(number, "phin_swim_unknown_parts_total")
    }

    /// A metric of a node, by its full name with labels.
    pub(crate) fn metric(&self, number: usize, name: &str) -> f64 {
        let text = self.node(number).get("/metrics").body;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {name}:\n{text}")).parse().unwrap()
    }

    /// The members that a node has found dead so far, a name for each time.
    pub(crate) fn deaths(&self, at: usize) -> Vec<String> {
        let deaths = self.events(at).into_iter().filter(|line| line["event"] == "dead");
        deaths.map(|line| text(&line["member"]["name"])).collect()
    }

    /// All events of a node so far.
    pub(crate) fn events(&self, at: usize) -> Vec<Value> {
        let events = &mut self.events.borrow_mut()[at - 1];
        events.extend(self.node(at).events.try_iter());
        events.clone()
    }

    /// Waits until the condition holds for each of these nodes.
    pub(crate) fn until(&self, what: &str, by: &[usize], is_so: impl Fn(usize) -> bool) {
        let start = Instant::now();
        for &number in by {
            while !is_so(number) {
                assert!(start.elapsed() < PATIENCE, "n{number} does not {what}");
                // tidy: allow sleep: between two looks, for there is no event to wait for
                thread::sleep(Duration::from_millis(50));
            }
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.order.take();
        if let Some(Err(panic)) = self.liar.take().map(thread::JoinHandle::join)
            && !thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

/// `phin run` on a free port, that ends with the test.
fn run(arguments: &[&str]) -> Command {
    let common = ["run", "--exit-with-stdin", "--events", "json", "--log-format", "json"];
    let place = ["--bind", "127.0.0.1:0", "--http", "127.0.0.1:0"];
    let mut command = phin(&[&common[..], &place, arguments].concat());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env("PHIN_CLUSTER_KEY", KEY);
    command
}

pub(crate) const SIZE: usize = 16;
/// The interval between lies.
const INTERVAL: Duration = Duration::from_millis(50);
