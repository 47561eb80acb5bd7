//! serf: HashiCorp's agent (Go; memberlist's SWIM and Lifeguard), a process for each node, whose log tells its events.

use std::{
    net::SocketAddr,
    process::{Command as StdCommand, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use phin_bench::{Answers, Calling, MessageNode, Node, Reporter, Spec, Starting, System, Told};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    sync::oneshot,
    task::spawn_blocking,
};

use crate::serf_rpc::Connection;

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

    fn message_settings(&self) -> Option<String> {
        Some(
            "user events (not coalesced) and queries by its RPC, which is MessagePack over TCP on the loopback and is not \
             counted as traffic; a stream for each agent takes events and answers queries; the timeout of a query is 16 \
             gossip intervals times log10(members + 1), rounded up"
                .to_owned(),
        )
    }

    fn control_port(&self) -> Option<u16> {
        Some(RPC_PORT)
    }

    fn start(&'static self, spec: Spec, told: Told) -> Starting {
        Box::pin(async move {
            let addr = SocketAddr::new(spec.ip, spec.port);
            let mut command = Command::new("serf");
            command.args(["agent", "-profile=lan", "-retry-interval=1s"]);
            command.args([
                format!("-node={}", spec.name),
                format!("-bind={addr}"),
                format!("-rpc-addr={}:{RPC_PORT}", spec.ip),
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
            let (name, control) = (spec.name, Arc::default());
            Ok(Box::new(Started { name, addr, process, control }) as Box<dyn Node>)
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
    name: String,
    addr: SocketAddr,
    process: Child,
    /// The connection for events and queries, opened with the first.
    control: Arc<Mutex<Option<Connection>>>,
}

impl Started {
    fn rpc_addr(&self) -> SocketAddr {
        SocketAddr::new(self.addr.ip(), RPC_PORT)
    }

    /// Does something by the agent's RPC.
    async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Connection) -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        let (addr, control) = (self.rpc_addr(), Arc::clone(&self.control));
        let call = move || {
            let mut control = control.lock().unwrap_or_else(PoisonError::into_inner);
            let connection = match &mut *control {
                Some(connection) => connection,
                none => none.insert(Connection::open(addr)?),
            };
            call(connection)
        };
        spawn_blocking(call).await.map_err(|error| error.to_string())?
    }
}

impl Node for Started {
    fn addr(&self) -> SocketAddr {
        self.addr
    }

    fn process(&self) -> Option<u32> {
        self.process.id()
    }

    fn messages(&self) -> Option<&dyn MessageNode> {
        Some(self)
    }
}

impl MessageNode for Started {
    fn follow(&self, reporter: Reporter) -> Calling<'_> {
        Box::pin(async move {
            let (name, addr) = (self.name.clone(), self.rpc_addr());
            let (ready, is_ready) = oneshot::channel();
            thread::spawn(move || {
                let opened = Connection::open(addr);
                // It ends with the agent, or with an error before it is ready, which is noticed.
                let _ = opened.and_then(|connection| {
                    connection.follow(&name, &reporter, || {
                        let _ = ready.send(());
                    })
                });
            });
            is_ready.await.map_err(|_| "serf refused to stream its events".to_owned())?;
            // The connection for events and queries is opened before anything is measured.
            self.call(|_| Ok(())).await
        })
    }

    fn publish(&self, text: String) -> Calling<'_> {
        Box::pin(self.call(move |connection| connection.publish(&text)))
    }

    fn query<'a>(&'a self, text: String, answers: &'a mut Answers) -> Calling<'a> {
        Box::pin(async move {
            let query = self.call(move |connection| {
                let mut answers = Answers::default();
                connection.query(&text, &mut answers).map(|()| answers)
            });
            *answers = query.await?;
            Ok(())
        })
    }
}

const RPC_PORT: u16 = 7373;
