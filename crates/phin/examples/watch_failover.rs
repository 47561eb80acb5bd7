//! How long a watcher is without the list when the member that it watches through is killed, or stops: nodes in processes of
//! their own, with SIGKILL and SIGSTOP.
//!
//! ```sh
//! cargo run -p phin --example watch_failover -- 42
//! ```
#![expect(clippy::print_stdout, reason = "it is an experiment")]

use std::{
    collections::BTreeSet,
    env,
    error::Error,
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, ChildStdin, Command, Stdio},
    time::{Duration, Instant},
};

use phin::{Change, Cluster, ClusterKey, MemberId, Notice, Subscription, Watcher, WatcherState};
use tokio::time::{sleep, timeout};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    match &arguments[..] {
        [node, seeds @ ..] if node == "node" => run_node(seeds).await,
        [] => measure(40).await,
        [rounds, ..] => measure(rounds.parse()?).await,
    }
}

/// A node that changes its tag all the time, until its standard input ends.
async fn run_node(seeds: &[String]) -> Result<()> {
    let key: ClusterKey = env::var(KEY)?.parse()?;
    let node = Cluster::builder().key(key).local().seeds(seeds).start().await?;
    println!("{} {}", node.id(), node.local_addr());
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_line(&mut String::new());
        std::process::exit(0);
    });
    for tick in 0_u64.. {
        node.set_tag("tick", &tick.to_string()).await?;
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

struct Node {
    child: Child,
    _stdin: Option<ChildStdin>,
    id: MemberId,
    addr: SocketAddr,
}

impl Node {
    fn start(key: &str, seed: Option<SocketAddr>) -> Result<Self> {
        let mut command = Command::new(env::current_exe()?);
        command.arg("node").args(seed.map(|seed| seed.to_string())).env(KEY, key);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        let (id, addr) = line.trim().split_once(' ').ok_or("no id")?;
        let (id, addr, stdin) = (id.parse()?, addr.parse()?, child.stdin.take());
        Ok(Self { child, _stdin: stdin, id, addr })
    }

    fn signal(&self, name: &str) -> Result<()> {
        Command::new("kill").args([name, &self.child.id().to_string()]).status()?;
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn measure(rounds: usize) -> Result<()> {
    let key = ClusterKey::generate();
    let text = key.to_text();
    let mut nodes = vec![Node::start(text.as_str(), None)?];
    let seed = nodes[0].addr;
    for _ in 1..NODES {
        nodes.push(Node::start(text.as_str(), Some(seed))?);
    }
    let buffer = 1_000_000.try_into()?;
    let watcher = Watcher::builder().seeds([seed]).key(key).event_buffer(buffer).start()?;
    watcher.connected().await?;
    let (mut changes, mut victims) = (watcher.subscribe(), BTreeSet::new());
    let (mut killed, mut stopped) = (Times::default(), Times::default());
    for round in 0..rounds {
        watcher.wait_until(|members| members.live_len() == NODES).await?;
        // At another moment between two heartbeats each time.
        sleep(Duration::from_millis(500 + 37 * u64::try_from(round)? % 250)).await;
        let watched = watcher.connected_to().ok_or("not connected")?;
        let place = nodes.iter().position(|node| node.id == watched).ok_or("not one of ours")?;
        let victim = nodes.swap_remove(place);
        victims.insert(watched);
        let is_kill = round % 2 == 0;
        victim.signal(if is_kill { "-KILL" } else { "-STOP" })?;
        let began = Instant::now();
        let times = if is_kill { &mut killed } else { &mut stopped };
        times.record(&watcher, watched, began).await?;
        match is_kill {
            true => nodes.push(Node::start(text.as_str(), Some(nodes[0].addr))?),
            false => {
                victim.signal("-CONT")?;
                nodes.push(victim);
            }
        }
    }
    println!("{NODES} nodes and a watcher on one machine; milliseconds: min, median, p90, max");
    killed.print("SIGKILL");
    stopped.print("SIGSTOP");
    let others = false_events(&mut changes, &victims).await;
    println!("members reported as suspect, dead or left that were not signalled: {others}");
    Ok(())
}

/// The measurements of one signal.
#[derive(Default)]
struct Times {
    connected: Vec<f64>,
    change: Vec<f64>,
}

impl Times {
    async fn record(&mut self, watcher: &Watcher, victim: MemberId, began: Instant) -> Result<()> {
        let is_elsewhere = |state: &WatcherState| matches!(state, WatcherState::Connected { member, .. } if *member != victim);
        watcher.wait_for_state(is_elsewhere).await?;
        self.connected.push(began.elapsed().as_secs_f64() * 1e3);
        let mut later = watcher.subscribe();
        while let Some(notice) = later.next().await {
            if let Notice::Event { .. } = notice {
                break;
            }
        }
        self.change.push(began.elapsed().as_secs_f64() * 1e3);
        Ok(())
    }

    fn print(&mut self, signal: &str) {
        for (what, times) in [("connected", &mut self.connected), ("a change", &mut self.change)] {
            times.sort_by(f64::total_cmp);
            let at = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize];
            println!(
                "{signal} n={} until {what}: {:.0} {:.0} {:.0} {:.0}",
                times.len(),
                at(0.0),
                at(0.5),
                at(0.9),
                at(1.0)
            );
        }
    }
}

/// How many changes say that a member that was never signalled is anything but alive.
async fn false_events(changes: &mut Subscription, victims: &BTreeSet<MemberId>) -> usize {
    let is_false = |change| matches!(change, Change::Suspect | Change::Dead | Change::Left);
    let mut found = 0;
    while let Ok(Some(notice)) = timeout(Duration::from_millis(1), changes.next()).await {
        if let Notice::Event { event, .. } = notice {
            let is_victim = victims.contains(&event.member.id());
            found += usize::from(!is_victim && is_false(event.change));
        }
    }
    found
}

const KEY: &str = "WATCH_FAILOVER_KEY";
const NODES: usize = 5;
