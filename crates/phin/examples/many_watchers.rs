//! The cost of many watchers for the one node that serves them: its memory and CPU time while nothing changes, and how long
//! a change takes to reach all. The node runs in a process of its own. Linux only.
//!
//! ```sh
//! cargo run --release -p phin --example many_watchers -- 1024
//! ```
#![expect(clippy::print_stdout, reason = "it is an experiment")]

use std::{
    env,
    error::Error,
    fs,
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    process::{Child, ChildStdin, Command, Stdio},
    time::{Duration, Instant},
};

use phin::{Cluster, ClusterKey, Watcher};
use tokio::{sync::mpsc, task::JoinSet, time::sleep};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const KEY: &str = "MANY_WATCHERS_KEY";
/// How long the CPU time is measured.
const IDLE: Duration = Duration::from_secs(10);
const CHANGES: u32 = 21;

#[tokio::main]
async fn main() -> Result<()> {
    match env::args().nth(1).as_deref() {
        Some("node") => run_node().await,
        count => measure(count.unwrap_or("1024").parse()?).await,
    }
}

/// A node that sets its tag to each line of its standard input.
async fn run_node() -> Result<()> {
    let key: ClusterKey = env::var(KEY)?.parse()?;
    let node = Cluster::builder().key(key).local().watchers(65_536).start().await?;
    println!("{}", node.local_addr().port());
    let (sender, mut lines) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(std::result::Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    while let Some(line) = lines.recv().await {
        node.set_tag("change", &line).await?;
    }
    Ok(())
}

struct Node {
    child: Child,
    input: ChildStdin,
    addr: SocketAddr,
}

impl Node {
    fn start(key: &str) -> Result<Self> {
        let mut command = Command::new(env::current_exe()?);
        command.arg("node").env(KEY, key).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let (input, output) = child.stdin.take().zip(child.stdout.take()).ok_or("no pipes")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        Ok(Self { child, input, addr: ([127, 0, 0, 1], line.trim().parse()?).into() })
    }

    /// Its resident memory, in KiB.
    fn memory(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let digits = line.and_then(|line| line.split_whitespace().next());
        Ok(digits.ok_or("no VmRSS")?.parse()?)
    }

    /// The CPU time of all its threads so far.
    fn cpu_time(&self) -> Result<Duration> {
        let mut nanos = 0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let stat = fs::read_to_string(thread?.path().join("schedstat"))?;
            nanos += stat.split(' ').next().ok_or("no time")?.parse::<u64>()?;
        }
        Ok(Duration::from_nanos(nanos))
    }

    async fn idle(&self) -> Result<(u64, Duration)> {
        let before = self.cpu_time()?;
        sleep(IDLE).await;
        Ok((self.memory()?, self.cpu_time()? - before))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // These fail if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn measure(count: usize) -> Result<()> {
    let key = ClusterKey::generate();
    let mut node = Node::start(key.to_text().as_str())?;
    let (alone, idle) = node.idle().await?;
    println!("no watchers: {alone} KiB resident, {} ms CPU per second", per_second(idle));

    let began = Instant::now();
    let (mut connecting, mut watchers) = (JoinSet::new(), Vec::new());
    for _ in 0..count {
        let watcher =
            Watcher::builder().seeds([node.addr]).key(key.clone()).bind(([127, 0, 0, 1], 0).into());
        let watcher = watcher.start()?;
        watchers.push(watcher.clone());
        connecting.spawn(async move {
            // It goes on trying, as far as all cannot be served at once.
            while watcher.connected().await.is_err() {
                sleep(Duration::from_millis(50)).await;
            }
        });
        if connecting.len() >= 32 {
            connecting.join_next().await;
        }
    }
    while connecting.join_next().await.is_some() {}
    println!("{count} watchers connected after {:.1?}", began.elapsed());
    let (memory, busy) = node.idle().await?;
    let each = (memory.saturating_sub(alone)) as f64 / count as f64;
    println!(
        "with {count} watchers: {memory} KiB resident ({each:.1} KiB each), {} ms CPU per second",
        per_second(busy)
    );

    let (sender, mut seen) = mpsc::channel(count);
    for watcher in watchers {
        let sender = sender.clone();
        tokio::spawn(async move {
            for change in 0..CHANGES {
                let text = change.to_string();
                let has_it = |members: &phin::Members| {
                    members.iter().any(|member| member.tag("change") == Some(&*text))
                };
                if watcher.wait_until(has_it).await.is_err()
                    || sender.send(Instant::now()).await.is_err()
                {
                    return;
                }
            }
        });
    }
    let (mut medians, mut lasts) = (Vec::new(), Vec::new());
    let cpu_before = node.cpu_time()?;
    for change in 0..CHANGES {
        // After what the last one cost.
        sleep(Duration::from_millis(500)).await;
        let began = Instant::now();
        writeln!(node.input, "{change}")?;
        let mut times = Vec::with_capacity(count);
        while times.len() < count {
            times.push(seen.recv().await.ok_or("a watcher has ended")? - began);
        }
        times.sort_unstable();
        medians.push(times[count / 2]);
        lasts.push(times[count - 1]);
    }
    let cpu = (node.cpu_time()? - cpu_before) / CHANGES;
    medians.sort_unstable();
    lasts.sort_unstable();
    println!(
        "{CHANGES} changes: half of the watchers have one after {:.1?} (median), all after {:.1?} (median), {:.1?} (at most); \
         {cpu:.1?} CPU for each and the half second before",
        medians[medians.len() / 2],
        lasts[lasts.len() / 2],
        lasts[lasts.len() - 1]
    );
    Ok(())
}

fn per_second(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1_000.0 / IDLE.as_secs_f64())
}
