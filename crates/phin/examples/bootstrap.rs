//! Starts many nodes at once in this process and prints how long it takes until every list is
//! complete: `cargo run --release -p phin --example bootstrap -- --nodes 64 --runs 20 --steady 60`.
//!
//! With `--steady` the first run goes on for that many seconds, after ten in which what the start left
//! comes to rest (`--settle`): what happens then is counted, which should be nothing, and what it costs.
#![expect(clippy::print_stdout, reason = "it prints what it measured")]

use std::{
    error::Error,
    fs,
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
        // The first, because memory that earlier runs gave back would count as well.
        if run == 1 && !options.steady.is_zero() {
            watch(&nodes, options.settle, options.steady).await?;
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
    let seed = first.local_addr();
    let mut starts = JoinSet::new();
    for number in 2..=count {
        starts.spawn(builder().name(format!("node-{number}")).seeds([seed]).start());
    }
    let mut nodes = vec![first];
    while let Some(started) = starts.join_next().await {
        nodes.push(started??);
    }
    for node in &nodes {
        node.wait_until(|members| members.live_len() >= count).await?;
    }
    Ok((nodes, began.elapsed()))
}

/// Counts what nodes of which none died are told for a while, and what that costs.
async fn watch(nodes: &[Cluster], settle: Duration, time: Duration) -> Result<(), Box<dyn Error>> {
    tokio::time::sleep(settle).await;
    let deadline = tokio::time::Instant::now() + time;
    let before = Sums::of(nodes).await?;
    let mut watches = JoinSet::new();
    for node in nodes {
        watches.spawn(count_changes(node.subscribe(), deadline));
    }
    let counts = watches.join_all().await;
    let after = Sums::of(nodes).await?;
    let [suspect, dead] = counts.iter().fold([0; 2], |sum, one| [sum[0] + one[0], sum[1] + one[1]]);
    println!("steady for {time:?}: {suspect} times suspect, {dead} times dead");
    println!("latest wake {:.1} ms, pauses {}", millis(after.max_lag), after.pauses);
    let each = |sum: u64| sum as f64 / nodes.len() as f64;
    let rate = |sum: fn(&Sums) -> u64| each(sum(&after) - sum(&before)) / time.as_secs_f64();
    let packets = rate(|sums| sums.packets);
    println!(
        "per node: {:.1} connections, {} at most",
        each(after.connections),
        after.max_connections
    );
    println!(
        "per node and second: {:.2} messages, {packets:.2} packets, {:.0} bytes with headers, \
         {:.3} handshakes, {:.1} wakes of the driver",
        rate(|sums| sums.messages),
        rate(|sums| sums.bytes) + packets * HEADER_BYTES,
        rate(|sums| sums.dials),
        rate(|sums| sums.wakes),
    );
    let cpu = [0, 1].map(|index| each(after.cpu_millis[index] - before.cpu_millis[index]));
    let [user, system] = cpu.map(|millis| millis / time.as_secs_f64());
    println!(
        "per node and second: {:.3} ms CPU time, {user:.3} of it in user space; {:.0} KiB resident a node",
        user + system,
        each(after.resident_kib)
    );
    Ok(())
}

/// The counters of all nodes since their start, and the resources that the process has used.
#[derive(Default)]
struct Sums {
    messages: u64,
    packets: u64,
    bytes: u64,
    dials: u64,
    wakes: u64,
    pauses: u64,
    max_lag: Duration,
    connections: u64,
    max_connections: u64,
    /// In user space, and in the kernel; Linux only.
    cpu_millis: [u64; 2],
    /// Linux only.
    resident_kib: u64,
}

impl Sums {
    async fn of(nodes: &[Cluster]) -> Result<Self, Box<dyn Error>> {
        let mut sums =
            Self { cpu_millis: cpu_millis(), resident_kib: resident_kib(), ..Self::default() };
        for node in nodes {
            let stats = node.stats().await?;
            let (transport, driver) = (stats.transport, stats.driver);
            sums.messages += transport.datagrams_sent + transport.streams_sent;
            sums.packets += transport.udp_packets_sent;
            sums.bytes += transport.udp_bytes_sent;
            sums.dials += transport.dials;
            sums.wakes += driver.wakes;
            sums.pauses += driver.pauses;
            sums.max_lag = sums.max_lag.max(driver.max_lag);
            let connections = transport.connections + transport.connections_draining;
            sums.connections += connections;
            sums.max_connections = sums.max_connections.max(connections);
        }
        Ok(sums)
    }
}

/// How long this process has been on a CPU, in user space and in the kernel.
fn cpu_millis() -> [u64; 2] {
    let text = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the name, which may hold anything, the 12th and 13th are counted in hundredths of a second.
    let fields = text.rsplit(')').next().unwrap_or_default().split_whitespace();
    let mut times = fields.skip(11).map(|ticks| ticks.parse::<u64>().unwrap_or_default() * 10);
    [(); 2].map(|()| times.next().unwrap_or_default())
}

/// How much memory of this process is resident.
fn resident_kib() -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or_default()
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
    settle: Duration,
    steady: Duration,
    config: Config,
}

impl Options {
    fn parse() -> Result<Self, Box<dyn Error>> {
        let (settle, steady) = (Duration::from_secs(10), Duration::ZERO);
        let mut options = Self { nodes: 64, runs: 20, settle, steady, config: Config::lan() };
        let mut args = std::env::args().skip(1);
        while let Some(option) = args.next() {
            let value = args.next().ok_or_else(|| format!("{option} needs a value"))?;
            match &*option {
                "--nodes" => options.nodes = value.parse::<usize>()?.max(1),
                "--runs" => options.runs = value.parse::<usize>()?.max(1),
                "--settle" => options.settle = Duration::from_secs(value.parse()?),
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

/// Headers of IPv4 and UDP, which the transport's counters leave out.
const HEADER_BYTES: f64 = 28.0;
