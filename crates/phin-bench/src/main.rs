//! `phin-bench`: what phin does and costs on this machine, measured with real nodes.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use phin_bench::{
    DataOptions, Document, Launcher, LoadOptions, LossOptions, MessageOptions, Options, Phin,
    System, enter, measure, measure_data, measure_load, measure_loss, measure_messages, serve,
    spin,
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
    Messages(Box<Messages>),
    Load(Box<Load>),
    Loss(Box<Loss>),
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

/// Start clusters of real nodes, publish and ask, and time until all have the messages, the replies, and the ends
///
/// Also measures what a message and a query add to the traffic of a node, and queries of which some members die. With the
/// defaults it takes about three minutes.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  phin-bench messages --messages 10 --queries 5 --amid 2\n  \
    phin-bench messages --sizes 64 --messages 0 --queries 0 --deaths 3 --when meanwhile")]
struct Messages {
    #[command(flatten)]
    profile: Profile,
    #[command(flatten)]
    options: MessageOptions,
}

/// Start clusters of real nodes, kill members while all publish and while nobody does, and time until the others know
///
/// Finds the highest rate of messages that needs no more of this machine than `--cpu` says. With the defaults it takes about
/// five minutes.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  phin-bench load --kills 5\n  phin-bench load --sizes 4 --rate 256"
)]
struct Load {
    #[command(flatten)]
    profile: Profile,
    #[command(flatten)]
    options: LoadOptions,
}

/// Start clusters of real nodes, publish while packets are lost, and time until all have all messages
///
/// Needs a separate network namespace (`unshare`, `ip`) and `nft`. With the defaults it takes about a minute.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  phin-bench loss --percent 10 --publishers 4")]
struct Loss {
    #[command(flatten)]
    profile: Profile,
    #[command(flatten)]
    options: LossOptions,
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
        Command::Messages(args) => messages(&args),
        Command::Load(args) => load(&args),
        Command::Loss(args) => loss(&args),
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
    let report = measure(&[system], options, &launcher()?, network)?;
    report.deliver(&options.common, &options.stem("nodes"))
}

fn data(args: &Data) -> Result<(), String> {
    let (system, options) = (args.profile.system(), &args.options);
    let network = enter();
    let report = measure_data(&[system], options, &launcher()?, network)?;
    report.deliver(&options.common, "nodes-data")
}

fn messages(args: &Messages) -> Result<(), String> {
    let (system, options) = (args.profile.system(), &args.options);
    let network = enter();
    let report = measure_messages(&[system], options, &launcher()?, network)?;
    report.deliver(&options.common, "nodes-messages")
}

fn load(args: &Load) -> Result<(), String> {
    let (system, options) = (args.profile.system(), &args.options);
    let network = enter();
    let report = measure_load(&[system], options, &launcher()?, network)?;
    report.deliver(&options.common, &format!("nodes-load-{}", options.kill.as_str()))
}

fn loss(args: &Loss) -> Result<(), String> {
    let (system, options) = (args.profile.system(), &args.options);
    let network = enter();
    let report = measure_loss(&[system], options, &launcher()?, network)?;
    report.deliver(&options.common, "nodes-loss")
}

fn launcher() -> Result<Launcher, String> {
    Launcher::new(["child"]).map_err(|error| format!("cannot find this program: {error}"))
}
