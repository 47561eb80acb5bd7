//! Run servers and a client in terminals of their own, then stop and kill servers: see `README.md`.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use clap::{Args, Parser, Subcommand};
use phin::{Builder, Cluster};
use phin_tonic::{
    Error,
    client::{self, BalancedChannel, Rotation},
    echo::{EchoClient, Request},
    server::Server,
};
use tokio::{
    select,
    signal::unix::{SignalKind, signal},
    time::{Instant, MissedTickBehavior, interval, interval_at},
};

#[derive(Parser)]
#[command(about, version)]
struct Program {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve until SIGTERM or Ctrl-C, then drain and leave
    Serve {
        /// Name of the server
        name: String,
        /// Address of the gRPC server; port 0 is any free one
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
        #[command(flatten)]
        node: NodeArgs,
    },
    /// Call the servers, and print a line each second
    Call {
        /// Calls per second
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        rate: u32,
        /// Milliseconds that a server takes for a call
        #[arg(long, default_value_t = 20)]
        work_ms: u32,
        #[command(flatten)]
        node: NodeArgs,
    },
}

#[derive(Args)]
struct NodeArgs {
    /// File with the key of the cluster, as `phin key new` writes it
    #[arg(long)]
    key_file: PathBuf,
    /// Address of the node; port 0 is any free one
    #[arg(long, default_value = "127.0.0.1:0")]
    bind: SocketAddr,
    /// Address of a node to join; may be repeated
    #[arg(long)]
    join: Vec<SocketAddr>,
}

impl NodeArgs {
    fn builder(&self) -> Result<Builder, Error> {
        let key = fs::read_to_string(&self.key_file);
        let key = key.map_err(|error| format!("{}: {error}", self.key_file.display()))?;
        let key: phin::ClusterKey = key.parse()?;
        Ok(Cluster::builder().key(key).bind(self.bind).lan().seeds(&self.join))
    }
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    match Program::parse().command {
        Command::Serve { name, listen, node } => serve(name, listen, &node).await,
        Command::Call { rate, work_ms, node } => call(rate, work_ms, &node).await,
    }
}

async fn serve(name: String, listen: SocketAddr, node: &NodeArgs) -> Result<(), Error> {
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let server = Server::start(node.builder()?.name(name), listen).await?;
    println!("node on {}, gRPC on {}", server.node().local_addr(), server.addr());
    select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    println!("drains");
    server.drain().await?;
    println!("has left");
    Ok(())
}

/// The calls of one second.
#[derive(Default)]
struct Tally {
    ok: BTreeMap<String, u32>,
    failed: BTreeMap<String, u32>,
}

impl Tally {
    fn line(&self) -> String {
        let mut line = format!("{} ok", self.ok.values().sum::<u32>());
        for (server, calls) in &self.ok {
            let _ = write!(line, ", {calls} {server}");
        }
        for (code, calls) in &self.failed {
            let _ = write!(line, ", {calls} FAILED ({code})");
        }
        line
    }
}

async fn call(rate: u32, work_millis: u32, node: &NodeArgs) -> Result<(), Error> {
    let node = node.builder()?.name("client").start().await?;
    let names = node.clone();
    let channel = client::channel(&node, "role=echo".parse()?, move |change| {
        let (sign, id) = match change {
            Rotation::In(id) => ('+', id),
            Rotation::Out(id) => ('-', id),
        };
        let members = names.members();
        let name = members.get(id).map_or("a member that is gone", |member| member.name());
        println!("{sign} {name}");
    });
    let tally = Arc::new(Mutex::new(Tally::default()));
    let mut calls = interval(Duration::from_secs(1) / rate);
    // Calls that are late are not made up for.
    calls.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let began = Instant::now();
    let mut lines = interval_at(began + Duration::from_secs(1), Duration::from_secs(1));
    let mut interrupt = signal(SignalKind::interrupt())?;
    loop {
        select! {
            _ = interrupt.recv() => break,
            now = lines.tick() => {
                let tally = std::mem::take(&mut *tally.lock().unwrap_or_else(PoisonError::into_inner));
                println!("{:3} s: {}", (now - began).as_secs(), tally.line());
            }
            _ = calls.tick() => {
                tokio::spawn(call_once(channel.clone(), work_millis, Arc::clone(&tally)));
            }
        }
    }
    node.leave(Duration::from_secs(2)).await?;
    Ok(())
}

async fn call_once(channel: BalancedChannel, work_millis: u32, tally: Arc<Mutex<Tally>>) {
    let request = Request { text: "hello".to_owned(), work_millis };
    let result = EchoClient::new(channel).echo(request).await;
    let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
    match result {
        Ok(reply) => *tally.ok.entry(reply.into_inner().server).or_default() += 1,
        Err(status) => *tally.failed.entry(format!("{:?}", status.code())).or_default() += 1,
    }
}
