//! serf: HashiCorp's agent (Go; memberlist's SWIM and Lifeguard), a process for each node, whose log tells its events.

use std::{
    net::SocketAddr,
    process::{Command as StdCommand, Stdio},
};

use phin_bench::{Node, Spec, Starting, System, Told};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

/// The program `serf`, as it is installed.
pub(crate) struct Serf;

impl Serf {
    /// Whether there is such a program.
    pub(crate) fn is_installed() -> bool {
        version().is_some()
    }
}

impl System for Serf {
    fn name(&self) -> &'static str {
        "serf"
    }

    fn settings(&self) -> String {
        format!(
            "serf agent {}, a process for each node, UDP and TCP in clear; -profile=lan: period 1s, probe timeout 500ms, \
             gossip every 200ms; -retry-join, -retry-interval=1s",
            version().unwrap_or_default(),
        )
    }

    fn start(&'static self, spec: Spec, told: Told) -> Starting {
        Box::pin(async move {
            let addr = SocketAddr::new(spec.ip, spec.port);
            let mut command = Command::new("serf");
            command.args(["agent", "-profile=lan", "-retry-interval=1s"]);
            command.args([
                format!("-node={}", spec.name),
                format!("-bind={addr}"),
                format!("-rpc-addr={}:7373", spec.ip),
            ]);
            command.args(spec.seed.map(|seed| format!("-retry-join={seed}")));
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
            let mut process =
                command.kill_on_drop(true).spawn().map_err(|error| error.to_string())?;
            let stdout = process.stdout.take().ok_or("serf has no standard output")?;
            let mut lines = BufReader::new(stdout).lines();
            loop {
                match lines.next_line().await {
                    Ok(Some(line)) if line.contains("Serf agent running") => break,
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => return Err("serf ended at its start".to_owned()),
                }
            }
            tokio::spawn(async move {
                while let Ok(Some(line)) = lines.next_line().await {
                    tell(&line, &told);
                }
            });
            Ok(Box::new(Started { addr, process }) as Box<dyn Node>)
        })
    }
}

/// Tells what a line of its log says: `… serf: EventMemberFailed: n3 10.99.0.3`.
fn tell(line: &str, told: &Told) {
    let Some((_, event)) = line.split_once("EventMember") else { return };
    let Some((kind, rest)) = event.split_once(": ") else { return };
    let name = rest.split(' ').next().unwrap_or_default();
    match kind {
        "Join" => told.up(name),
        "Failed" | "Leave" => told.down(name),
        _ => {}
    }
}

fn version() -> Option<String> {
    let output = StdCommand::new("serf").arg("version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.lines().next()?.trim().to_owned())
}

struct Started {
    addr: SocketAddr,
    process: Child,
}

impl Node for Started {
    fn addr(&self) -> SocketAddr {
        self.addr
    }

    fn process(&self) -> Option<u32> {
        self.process.id()
    }
}
