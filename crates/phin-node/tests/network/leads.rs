//! Programs of `phin lead` on five hosts, whose holder is killed, stopped and cut off at random: no two run at once.
//!
//! `PHIN_LEAD_ROUNDS=200` tries that many faults, `PHIN_LEAD_SEED` others.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Stdio},
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    cluster::Cluster,
    lan::Family,
    node::{HTTP, PATIENCE, phin},
};

/// It says that it runs; first it says `overlap` if another one runs. The lock is free once its process has ended.
const WORKER: &str = "#!/bin/sh
exec 9>>\"$1\"
flock --nonblock 9 || echo \"$2 0 overlap\"
echo \"$2 $PHIN_TOKEN started\"
exec sleep 1000
";
const NODES: usize = 5;

/// The start of a worker: the number of its node, and its token.
type Started = (usize, u64);

/// The `phin lead` on each host.
struct Leads {
    cluster: Cluster,
    dir: tempfile::TempDir,
    leads: Vec<Child>,
    sender: Sender<Started>,
    started: Receiver<Started>,
    token: u64,
}

impl Leads {
    fn start() -> Option<Self> {
        let cluster = Cluster::start_with_data(Family::V4, NODES, &["--profile", "local"])?;
        let (dir, (sender, started)) = (tempfile::tempdir().unwrap(), mpsc::channel());
        fs::write(dir.path().join("worker"), WORKER).unwrap();
        let mut all = Self { cluster, dir, leads: Vec::new(), sender, started, token: 0 };
        for number in 1..=NODES {
            let lead = all.lead(number);
            all.leads.push(lead);
        }
        Some(all)
    }

    fn lead(&self, number: usize) -> Child {
        let path = |name| self.dir.path().join(name);
        let mut command = phin();
        command.args(["lead", "job", "--http", HTTP, "--expected", "5", "--", "/bin/sh"]);
        command.args([path("worker"), path("lock")]).arg(number.to_string());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = self.cluster.lan.host(number).run(|| command.spawn()).unwrap();
        let (stdout, sender) = (child.stdout.take().unwrap(), self.sender.clone());
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let mut words = line.split(' ').map(str::parse);
                let (Some(Ok(number)), Some(Ok(token))) = (words.next(), words.next()) else {
                    panic!("a worker said {line}");
                };
                // An error means that the test has ended.
                let _ = sender.send((usize::try_from(number).unwrap(), token));
            }
        });
        child
    }

    /// Waits for a worker in a later term; returns its node.
    fn holder(&mut self) -> usize {
        loop {
            let (number, token) = self.started.recv_timeout(PATIENCE).unwrap();
            assert!(token != 0, "two programs ran at once: n{number} and another");
            assert!(token >= self.token, "token {token} of n{number} follows {}", self.token);
            // On a busy machine a program can be ended too early, and start again in the same term.
            if std::mem::replace(&mut self.token, token) < token {
                return number;
            }
        }
    }

    fn signal(&self, number: usize, signal: Signal) {
        kill_process(Pid::from_child(&self.leads[number - 1]), signal).unwrap();
    }

    /// Does something to the holder. Returns what is to be done once another one holds the office.
    fn fault(&mut self, kind: u64, holder: usize) -> fn(&mut Self, usize) {
        match kind {
            0 => {
                self.leads[holder - 1].kill().unwrap();
                |all, holder| {
                    all.leads[holder - 1].wait().unwrap();
                    all.leads[holder - 1] = all.lead(holder);
                }
            }
            1 => {
                self.signal(holder, Signal::STOP);
                |all, holder| all.signal(holder, Signal::CONT)
            }
            2 => {
                self.cluster.node(holder).signal(Signal::STOP);
                |all, holder| all.cluster.node(holder).signal(Signal::CONT)
            }
            3 => {
                self.cluster.node_mut(holder).kill();
                |all, holder| all.cluster.restart(holder)
            }
            4 => {
                self.cluster.lan.split(&[holder]);
                |all, _| all.cluster.lan.heal()
            }
            _ => {
                let other = holder % NODES + 1;
                self.cluster.lan.split(&[holder, other]);
                |all, _| all.cluster.lan.heal()
            }
        }
    }
}

impl Drop for Leads {
    fn drop(&mut self) {
        for lead in &mut self.leads {
            // These fail if it has ended already.
            let _ = lead.kill();
            let _ = lead.wait();
        }
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// The takeovers after faults of one kind, or of all, as a row of a table.
fn row(kind: &str, mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |part: usize| times[(times.len() - 1) * part / 100].as_secs_f64();
    let [shortest, median, p90, longest] = [0, 50, 90, 100].map(at);
    let count = times.len();
    format!("| {kind} | {count} | {shortest:.2} | {median:.2} | {p90:.2} | {longest:.2} |\n")
}

#[test]
fn no_two_programs_run_at_once_whatever_happens_to_their_nodes() {
    let Some(mut leads) = Leads::start() else { return };
    let (rounds, mut seed) = (setting("PHIN_LEAD_ROUNDS", 6), setting("PHIN_LEAD_SEED", 0));
    let mut times = Vec::new();
    let mut holder = leads.holder();
    let first = leads.token;
    for round in 0..rounds {
        // Each kind in turn by default; a linear congruential generator (Knuth, MMIX) beyond.
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let kind = if round < 6 { round } else { (seed >> 33) % 6 };
        let began = Instant::now();
        let undo = leads.fault(kind, holder);
        let next = leads.holder();
        times.push((kind, began.elapsed()));
        undo(&mut leads, holder);
        holder = next;
    }
    // One that went on late would have said so by now.
    assert!(leads.started.try_iter().all(|(_, token)| token != 0));
    let of = |wanted: u64| times.iter().filter(move |(kind, _)| *kind == wanted);
    let mut found = format!("0 overlaps; tokens {first} to {}\n", leads.token);
    for (number, kind) in (0..).zip(FAULTS) {
        let times: Vec<_> = of(number).map(|(_, time)| *time).collect();
        if !times.is_empty() {
            found += &row(kind, times);
        }
    }
    found += &row("all", times.iter().map(|(_, time)| *time).collect());
    std::io::Write::write_all(&mut std::io::stderr(), found.as_bytes()).unwrap();
}

/// The faults of [`Leads::fault`], by their kinds.
const FAULTS: [&str; 6] = [
    "`phin lead` killed",
    "`phin lead` stopped",
    "node stopped",
    "node killed",
    "host cut off",
    "host cut off together with another",
];
