//! Run nodes in terminals of their own, and type commands: see `README.md`.

use std::{fs, net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand};
use phin::Cluster;
use phin_openraft::{
    Error, NodeId, Set,
    bootstrap::FirstVoters,
    node::{Command, Done, Node, Settings, Status, open_folder},
};
use tokio::io::{AsyncBufReadExt, BufReader, stdin};

#[derive(Parser)]
#[command(about, version)]
struct Program {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Make the folder of a node, and print the node's id
    Id {
        /// Folder of the node
        folder: PathBuf,
    },
    /// Run a node, and carry out the commands on its standard input
    Run(RunArgs),
}

#[derive(Args)]
struct RunArgs {
    /// Folder of the node's identity, log and vote; made if it does not exist
    folder: PathBuf,
    /// Name of the node
    #[arg(long)]
    name: String,
    /// Ids of the voters with which the Raft cluster begins, separated by commas: the same for all nodes, and for ever
    #[arg(long)]
    voters: FirstVoters,
    /// File with the key of the cluster, as `phin key new` writes it
    #[arg(long)]
    key_file: PathBuf,
    /// Address of the node; port 0 is any free one
    #[arg(long, default_value = "127.0.0.1:0")]
    bind: SocketAddr,
    /// Address of a node to join; may be repeated
    #[arg(long)]
    join: Vec<SocketAddr>,
    /// Replace the log by a snapshot after so many writes
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(2..))]
    snapshot_every: u64,
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    match Program::parse().action {
        Action::Id { folder } => {
            println!("{}", open_folder(&folder)?.1);
            Ok(())
        }
        Action::Run(args) => run(args).await,
    }
}

async fn run(args: RunArgs) -> Result<(), Error> {
    let key = fs::read_to_string(&args.key_file);
    let key = key.map_err(|error| format!("{}: {error}", args.key_file.display()))?;
    let key: phin::ClusterKey = key.parse()?;
    let builder = Cluster::builder().key(key).name(args.name).bind(args.bind).lan();
    let settings = Settings {
        folder: args.folder,
        first_voters: args.voters,
        snapshot_every: args.snapshot_every,
    };
    let node = Node::start(builder.seeds(&args.join), settings).await?;
    println!("node {} on {}", node.phin().id(), node.phin().local_addr());
    let mut lines = BufReader::new(stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        match &line.split_whitespace().collect::<Vec<_>>()[..] {
            [] => {}
            ["quit"] => return node.stop().await,
            ["nodes"] => print_nodes(&node.nodes()),
            words => match carry_out(&node, words).await {
                Ok(answer) => println!("{answer}"),
                Err(error) => println!("error: {error}"),
            },
        }
    }
    // The input has ended, and the node goes on.
    std::future::pending().await
}

async fn carry_out(node: &Node, words: &[&str]) -> Result<String, Error> {
    let command = match *words {
        ["set", key, value] => Command::Set(Set { key: key.to_owned(), value: value.to_owned() }),
        ["get", key] => Command::Get(key.to_owned()),
        ["promote", name] => Command::Promote(id_of(node, name)?),
        ["demote", name] => Command::Demote(id_of(node, name)?),
        ["remove", name] => Command::Remove(id_of(node, name)?),
        // A read of this node alone.
        ["local", key] => return Ok(text(node.local(key))),
        _ => return Err(COMMANDS.into()),
    };
    let is_get = matches!(command, Command::Get(_));
    Ok(match node.execute(command).await? {
        Done::Value(value) if is_get => text(value),
        Done::Value(_) | Done::Changed => "ok".to_owned(),
    })
}

fn text(value: Option<String>) -> String {
    value.unwrap_or_else(|| "(none)".to_owned())
}

/// The Raft node with this name or id.
fn id_of(node: &Node, name: &str) -> Result<NodeId, Error> {
    if let Ok(id) = name.parse() {
        return Ok(id);
    }
    let mut nodes = node.nodes();
    nodes.retain(|status| status.name.as_deref() == Some(name));
    match &nodes[..] {
        [status] => Ok(status.id),
        [] => Err("the Raft cluster has no node of this name".into()),
        _ => Err("several nodes have this name: give the id".into()),
    }
}

fn print_nodes(nodes: &[Status]) {
    for Status { id, name, role, state } in nodes {
        println!("{} {role}, {state}, {id}", name.as_deref().unwrap_or("?"));
    }
    println!("{} nodes", nodes.len());
}

const COMMANDS: &str = "commands: set KEY VALUE, get KEY, local KEY, nodes, promote NAME, demote NAME, remove NAME, quit";
