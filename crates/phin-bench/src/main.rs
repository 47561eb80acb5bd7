//! `phin-bench`: what phin does and costs on this machine, measured with real nodes.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use phin_bench::{
    Common, DataOptions, Launcher, Options, Phin, System, enter, measure, measure_data, serve, spin,
};

/// Measure what phin does and costs on this machine
#[derive(Parser)]
#[command(name = "phin-bench", version, propagate_version = true, max_term_width = 100)]
#[command(after_help = "Example:\n  phin-bench detect --sizes 4,16 --kills 5 --bootstraps 5")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Detect(Box<Detect>),
    Data(Box<Data>),
    Child(Child),
}

/// Start clusters of real nodes, kill members, and time until the others know
///
/// Also measures how long a cluster takes to form, and the cost of a node while nothing happens. If this machine
/// permits, everything runs in a separate network namespace (`unshare`, `ip`), which counts packets, and in which a
/// host can fall silent. With the defaults it takes most of an hour.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  phin-bench detect --sizes 8,64 --kill silent\n  \
    phin-bench detect --out docs/benchmarks --simulated docs/benchmarks/detection.csv")]
struct Detect {
    #[command(flatten)]
    profile: Profile,
    #[command(flatten)]
    options: Options,
}

/// Start clusters of real nodes, change member data, and time until all know
///
/// Also measures what a change adds to the traffic of a node, and what a node costs while all members write. With the
/// defaults it takes about three minutes.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  phin-bench data --changes 10 --load 10s\n  \
    phin-bench data --sizes 8,32,64 --json")]
struct Data {
    #[command(flatten)]
    profile: Profile,
    #[command(flatten)]
    options: DataOptions,
}

#[derive(clap::Args)]
struct Profile {
    /// The nodes' timings
    #[arg(long, default_value = "lan", value_parser = ["local", "lan", "wan"])]
    profile: String,
}

impl Profile {
    fn system(&self) -> &'static dyn System {
        match self.profile.as_str() {
            "local" => &Phin::Fast,
            "wan" => &Phin::Wan,
            _ => &Phin::Lan,
        }
    }
}

/// Be a child of a measurement, which sends it commands over standard input
///
/// Example: none; `phin-bench detect` starts these.
#[derive(clap::Args)]
#[command(hide = true)]
struct Child {
    /// The system whose nodes it runs
    system: String,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Detect(args) => detect(&args),
        Command::Data(args) => data(&args),
        Command::Child(child) => serve_child(&child),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // With standard error closed there is nobody left to tell.
            let _ = io::stderr().write_all(format!("error: {error}\n").as_bytes());
            ExitCode::FAILURE
        }
    }
}

fn serve_child(child: &Child) -> Result<(), String> {
    if child.system == Launcher::BUSY {
        spin();
        return Ok(());
    }
    let system = Phin::ALL.into_iter().find(|system| system.name() == child.system);
    let system = system.ok_or_else(|| format!("no such system: {}", child.system))?;
    serve(system).map_err(|error| format!("a child of a measurement: {error}"))
}

fn detect(args: &Detect) -> Result<(), String> {
    let (system, options) = (args.profile.system(), &args.options);
    let network = enter();
    let mut report = measure(&[system], options, &launcher()?, network)?;
    report.command = command();
    if let Some(out) = &options.common.out {
        let written = report.write(out, &options.stem("nodes"), options.simulated.as_deref());
        written.map_err(|error| format!("cannot write the report: {error}"))?;
    }
    print(&options.common, || report.markdown(), || report.json())
}

fn data(args: &Data) -> Result<(), String> {
    let (system, options) = (args.profile.system(), &args.options);
    let network = enter();
    let mut report = measure_data(&[system], options, &launcher()?, network)?;
    report.command = command();
    if let Some(out) = &options.common.out {
        let written = report.write(out, "nodes-data");
        written.map_err(|error| format!("cannot write the report: {error}"))?;
    }
    print(&options.common, || report.markdown(), || report.json())
}

fn launcher() -> Result<Launcher, String> {
    Launcher::new(["child"]).map_err(|error| format!("cannot find this program: {error}"))
}

/// The command that runs, for its report.
fn command() -> String {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    format!("phin-bench {}", arguments.join(" "))
}

fn print(
    options: &Common,
    markdown: impl FnOnce() -> String,
    json: impl FnOnce() -> io::Result<String>,
) -> Result<(), String> {
    let text = match options.json {
        true => json().map_err(|error| error.to_string())? + "\n",
        false => markdown(),
    };
    match io::stdout().write_all(text.as_bytes()) {
        // A reader such as `head` stopped reading: no error.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("cannot write to standard output: {error}"))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
