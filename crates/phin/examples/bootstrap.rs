//! Starts many nodes at once in this process and prints how long it takes until every list is
//! complete: `cargo run --release -p phin --example bootstrap -- --nodes 64 --runs 20 --steady 60`.
//!
//! With `--steady` the last run goes on for that many seconds, and what happens then is counted:
//! nothing should.
#![expect(clippy::print_stdout, reason = "it prints what it measured")]

use std::{
    error::Error,
    time::{Duration, Instant},
};

use phin::{Change, Cluster, ClusterKey, Config, Notice, Subscription};
use tokio::{task::JoinSet, time::timeout_at};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse()?;
    let mut times = Vec::new();
    for run in 1..=options.runs {
        let (nodes, time) = start(options.nodes, &options.config).await?;
        println!("run {run}: {} lists complete after {:.0} ms", nodes.len(), millis(time));
        times.push(time);
        if run == options.runs && !options.steady.is_zero() {
            watch(&nodes, options.steady).await?;
        }
        let mut ends = JoinSet::new();
        for node in nodes {
            ends.spawn(async move { node.shutdown().await });
        }
        ends.join_all().await;
    }
    times.sort_unstable();
    let (median, max) = (times[times.len() / 2], times[times.len() - 1]);
    println!("median {:.0} ms, max {:.0} ms", millis(median), millis(max));
    Ok(())
}

/// Starts one node, then the others at once with the first as their seed; ends when each knows all.
async fn start(count: usize, config: &Config) -> Result<(Vec<Cluster>, Duration), Box<dyn Error>> {
    let began = Instant::now();
    let key = ClusterKey::generate();
    let builder = || Cluster::builder().key(key.clone()).config(config.clone());
    let first = builder().name("node-1").start().await?;
    let seed = first.local_addr().to_string();
    let mut starts = JoinSet::new();
    for number in 2..=count {
        starts.spawn(builder().name(format!("node-{number}")).seeds([&*seed]).start());
    }
    let mut nodes = vec![first];
    while let Some(started) = starts.join_next().await {
        nodes.push(started??);
    }
    for node in &nodes {
        let mut changes = node.subscribe();
        while node.members().live_len() < count {
            changes.next().await.ok_or("a node stopped")?;
        }
    }
    Ok((nodes, began.elapsed()))
}

/// Counts what nodes of which none died are told for a while, and what that costs.
async fn watch(nodes: &[Cluster], time: Duration) -> Result<(), Box<dyn Error>> {
    let deadline = tokio::time::Instant::now() + time;
    let before = sums(nodes).await?;
    let mut watches = JoinSet::new();
    for node in nodes {
        watches.spawn(count_changes(node.subscribe(), deadline));
    }
    let counts = watches.join_all().await;
    let [suspect, dead] = counts.iter().fold([0; 2], |sum, one| [sum[0] + one[0], sum[1] + one[1]]);
    println!("steady for {time:?}: {suspect} times suspect, {dead} times dead");
    let (mut lag, mut pauses, mut connections) = (Duration::ZERO, 0, 0);
    for node in nodes {
        let stats = node.stats().await?;
        lag = lag.max(stats.driver.max_lag);
        pauses += stats.driver.pauses;
        connections += stats.transport.connections;
    }
    println!("latest wake {:.1} ms, pauses {pauses}, connections {connections}", millis(lag));
    let after = sums(nodes).await?;
    let per_node = |index: usize| {
        (after[index] - before[index]) as f64 / nodes.len() as f64 / time.as_secs_f64()
    };
    let [messages, packets, bytes, handshakes] = [0, 1, 2, 3].map(per_node);
    println!(
        "per node and second: {messages:.2} messages, {packets:.2} packets, {bytes:.0} bytes, {handshakes:.3} handshakes"
    );
    Ok(())
}

/// What all nodes have sent since their start: messages, packets, bytes in those, and handshakes.
async fn sums(nodes: &[Cluster]) -> Result<[u64; 4], Box<dyn Error>> {
    let mut sums = [0; 4];
    for node in nodes {
        let stats = node.stats().await?.transport;
        let messages = stats.datagrams_sent + stats.streams_sent;
        let sent = [messages, stats.udp_packets_sent, stats.udp_bytes_sent, stats.dials];
        sums = std::array::from_fn(|index| sums[index] + sent[index]);
    }
    Ok(sums)
}

async fn count_changes(mut changes: Subscription, deadline: tokio::time::Instant) -> [u64; 2] {
    let mut count = [0; 2];
    while let Ok(Some(notice)) = timeout_at(deadline, changes.next()).await {
        match notice {
            Notice::Event { event, .. } if event.change == Change::Suspect => count[0] += 1,
            Notice::Event { event, .. } if event.change == Change::Dead => count[1] += 1,
            _ => {}
        }
    }
    count
}

struct Options {
    nodes: usize,
    runs: usize,
    steady: Duration,
    config: Config,
}

impl Options {
    fn parse() -> Result<Self, Box<dyn Error>> {
        let steady = Duration::ZERO;
        let mut options = Self { nodes: 64, runs: 20, steady, config: Config::lan() };
        let mut args = std::env::args().skip(1);
        while let Some(option) = args.next() {
            let value = args.next().ok_or_else(|| format!("{option} needs a value"))?;
            match &*option {
                "--nodes" => options.nodes = value.parse::<usize>()?.max(1),
                "--runs" => options.runs = value.parse::<usize>()?.max(1),
                "--steady" => options.steady = Duration::from_secs(value.parse()?),
                "--profile" if value == "lan" => options.config = Config::lan(),
                "--profile" if value == "local" => options.config = Config::local(),
                _ => return Err(format!("unknown option {option} {value}").into()),
            }
        }
        Ok(options)
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}
