//! phin and other membership systems, measured side by side: the same deaths, changes of data, clocks and counters for
//! all.
//!
//! ```sh
//! cargo run --release --manifest-path benches/peers/Cargo.toml -- --sizes 8,32 --kills 5 --out docs/benchmarks
//! cargo run --release --manifest-path benches/peers/Cargo.toml -- data --out docs/benchmarks
//! ```

mod chitchat_system;
mod foca_system;
mod kinship_system;
mod memberlist_system;
mod serf_system;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use phin_bench::{
    Common, DataOptions, Launcher, Network, Options, Phin, System, enter, measure, measure_data,
    serve, spin,
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
    let mut report = measure(&systems, options, &launcher()?, network)?;
    report.command = command();
    if let Some(out) = &options.common.out {
        let written = report.write(out, &options.stem("peers"), options.simulated.as_deref());
        written.map_err(|error| error.to_string())?;
    }
    print_report(&options.common, || report.markdown(), || report.json())
}

fn compare_data(data: &Data) -> Result<(), String> {
    let systems = select(&data.systems, |system| system.data_settings().is_some())?;
    let (options, network) = (&data.options, own_network()?);
    let mut report = measure_data(&systems, options, &launcher()?, network)?;
    report.command = command();
    if let Some(out) = &options.common.out {
        report.write(out, "peers-data").map_err(|error| error.to_string())?;
    }
    print_report(&options.common, || report.markdown(), || report.json())
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

/// The command that runs, for its report.
fn command() -> String {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    format!("phin-peers {}", arguments.join(" "))
}

fn print_report(
    options: &Common,
    markdown: impl FnOnce() -> String,
    json: impl FnOnce() -> io::Result<String>,
) -> Result<(), String> {
    match options.json {
        true => print(&(json().map_err(|error| error.to_string())? + "\n")),
        false => print(&markdown()),
    }
}

fn print(text: &str) -> Result<(), String> {
    io::stdout().write_all(text.as_bytes()).map_err(|error| error.to_string())
}
