//! phin and other membership systems, measured side by side: the same deaths, clocks and counters for all.
//!
//! ```sh
//! cargo run --release --manifest-path benches/peers/Cargo.toml -- --sizes 8,32 --kills 5 --out docs/benchmarks
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

use clap::Parser;
use phin_bench::{Launcher, Options, Phin, System, enter, measure, serve, spin};

use chitchat_system::Chitchat;
use foca_system::Foca;
use kinship_system::Kinship;
use memberlist_system::Memberlist;
use serf_system::Serf;

/// Measure phin and other membership systems side by side
#[derive(Parser)]
#[command(after_help = "Example:\n  phin-peers --systems phin,foca --sizes 8,32 --kill silent")]
struct Cli {
    /// Which, by name; `all` for all that are here
    #[arg(long, value_delimiter = ',', default_value = "all")]
    systems: Vec<String>,
    /// Say what there is, with its settings, and end
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    options: Options,
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
        _ => compare(),
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

fn compare() -> Result<(), String> {
    let cli = Cli::parse();
    let systems = match cli.systems.iter().any(|name| name == "all") {
        true => systems(),
        false => cli.systems.iter().map(|name| find(name)).collect::<Result<_, _>>()?,
    };
    if cli.list {
        let lines =
            systems.iter().map(|system| format!("{}: {}\n", system.name(), system.settings()));
        return print(&lines.collect::<String>());
    }
    let network = enter();
    if !network.is_own() {
        return Err(format!("peers are measured only in a network of their own: {network:?}"));
    }
    let options = &cli.options;
    let launcher = Launcher::new(["child"]).map_err(|error| error.to_string())?;
    let mut report = measure(&systems, options, &launcher, network)?;
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    report.command = format!("phin-peers {}", arguments.join(" "));
    if let Some(out) = &options.common.out {
        let written = report.write(out, &options.stem("peers"), options.simulated.as_deref());
        written.map_err(|error| error.to_string())?;
    }
    match options.common.json {
        true => print(&(report.json().map_err(|error| error.to_string())? + "\n")),
        false => print(&report.markdown()),
    }
}

fn print(text: &str) -> Result<(), String> {
    io::stdout().write_all(text.as_bytes()).map_err(|error| error.to_string())
}
