//! phin and other membership systems, measured side by side: the same deaths, changes of data, messages, clocks and counters for
//! all.
//!
//! ```sh
//! cargo run --release --manifest-path benches/peers/Cargo.toml -- --sizes 8,32 --kills 5 --out docs/benchmarks
//! cargo run --release --manifest-path benches/peers/Cargo.toml -- data --out docs/benchmarks
//! cargo run --release --manifest-path benches/peers/Cargo.toml -- messages --out docs/benchmarks
//! ```

mod chitchat_system;
mod foca_system;
mod kinship_system;
mod memberlist_system;
mod serf_rpc;
mod serf_system;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use phin_bench::{
    DataOptions, Document, Launcher, MessageOptions, Network, Options, Phin, System, enter,
    measure, measure_data, measure_messages, serve, spin,
};

use chitchat_system::Chitchat;
use foca_system::Foca;
use kinship_system::Kinship;
use memberlist_system::Memberlist;
use serf_system::Serf;

/// Measure phin and other membership systems side by side
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "Example:\n  phin-peers --systems phin,foca --sizes 8,32 --kill silent")]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// Which, by name; `all` for all that are here
    #[arg(long, value_delimiter = ',', default_value = "all")]
    systems: Vec<String>,
    /// Say what there is, with its settings, and end
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    options: Options,
}

#[derive(Subcommand)]
enum Command {
    Data(Data),
    Messages(Messages),
}

/// Change member data, and measure the time until all know and the traffic, of the systems that have member data
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  phin-peers data --systems phin,chitchat --changes 10 --load 10s"
)]
struct Data {
    /// Which, by name; `all` for all that have member data
    #[arg(long, value_delimiter = ',', default_value = "all")]
    systems: Vec<String>,
    #[command(flatten)]
    options: DataOptions,
}

/// Publish messages and ask queries, and measure the times and the traffic, of the systems that have messages
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  phin-peers messages --systems phin,serf --messages 10 --queries 5"
)]
struct Messages {
    /// Which, by name; `all` for all that have messages
    #[arg(long, value_delimiter = ',', default_value = "all")]
    systems: Vec<String>,
    #[command(flatten)]
    options: MessageOptions,
}

/// All that are here.
fn systems() -> Vec<&'static dyn System> {
    let mut systems: Vec<&'static dyn System> = vec![
        &Phin::Lan,
        &Phin::Fast,
        &Foca::Lan,
        &Foca::Simple,
        &Kinship,
        &Memberlist::Lan,
        &Memberlist::Tuned,
        &Chitchat::Default,
        &Chitchat::Tuned,
    ];
    if Serf::is_installed() {
        systems.push(&Serf);
    }
    systems
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let done = match (arguments.next().as_deref(), arguments.next()) {
        (Some("child"), Some(name)) => child(&name),
        _ => measure_as_asked(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // With standard error closed there is nobody left to tell.
            let _ = io::stderr().write_all(format!("error: {error}\n").as_bytes());
            ExitCode::FAILURE
        }
    }
}

fn child(name: &str) -> Result<(), String> {
    if name == Launcher::BUSY {
        spin();
        return Ok(());
    }
    serve(find(name)?).map_err(|error| error.to_string())
}

fn find(name: &str) -> Result<&'static dyn System, String> {
    let found = systems().into_iter().find(|system| system.name() == name);
    found.ok_or_else(|| format!("there is no {name} here; --list says what there is"))
}

fn measure_as_asked() -> Result<(), String> {
    let cli = Cli::parse();
    match &cli.command {
        Some(Command::Data(data)) => compare_data(data),
        Some(Command::Messages(messages)) => compare_messages(messages),
        None => compare(&cli),
    }
}

/// The systems of these names; for `all`, all that are `selected`.
fn select(
    names: &[String],
    selected: impl Fn(&&'static dyn System) -> bool,
) -> Result<Vec<&'static dyn System>, String> {
    match names.iter().any(|name| name == "all") {
        true => Ok(systems().into_iter().filter(selected).collect()),
        false => names.iter().map(|name| find(name)).collect(),
    }
}

fn compare(cli: &Cli) -> Result<(), String> {
    let systems = select(&cli.systems, |_| true)?;
    if cli.list {
        let lines =
            systems.iter().map(|system| format!("{}: {}\n", system.name(), system.settings()));
        return print(&lines.collect::<String>());
    }
    let (options, network) = (&cli.options, own_network()?);
    let report = measure(&systems, options, &launcher()?, network)?;
    report.deliver(&options.common, &options.stem("peers"))
}

fn compare_data(data: &Data) -> Result<(), String> {
    let systems = select(&data.systems, |system| system.data_settings().is_some())?;
    let (options, network) = (&data.options, own_network()?);
    let report = measure_data(&systems, options, &launcher()?, network)?;
    report.deliver(&options.common, "peers-data")
}

fn compare_messages(messages: &Messages) -> Result<(), String> {
    let systems = select(&messages.systems, |system| system.message_settings().is_some())?;
    let (options, network) = (&messages.options, own_network()?);
    let report = measure_messages(&systems, options, &launcher()?, network)?;
    report.deliver(&options.common, "peers-messages")
}

/// A network for the nodes alone, which this process enters.
fn own_network() -> Result<Network, String> {
    match enter() {
        network @ Network::Own { .. } => Ok(network),
        network @ Network::Shared { .. } => {
            Err(format!("peers are measured only in a network of their own: {network:?}"))
        }
    }
}

fn launcher() -> Result<Launcher, String> {
    Launcher::new(["child"]).map_err(|error| error.to_string())
}

fn print(text: &str) -> Result<(), String> {
    io::stdout().write_all(text.as_bytes()).map_err(|error| error.to_string())
}
