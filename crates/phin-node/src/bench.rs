//! `phin bench`: what phin does and costs on this machine, measured with real nodes.

use std::{
    ffi::OsString,
    io::{self, Write},
};

use phin_bench::{Launcher, Options, Phin, System, enter, measure, serve, spin};

use crate::failure::Failure;

/// Measure what phin does and costs on this machine
#[derive(clap::Args)]
#[command(after_help = "Example:\n  phin bench detect --sizes 4,16 --kills 5 --bootstraps 5")]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    Detect(Box<Detect>),
    Child(Child),
}

/// Start clusters of real nodes, kill members, and time until the others know
///
/// Measures also how long a cluster takes to form, and what a node costs when nothing happens. Where this machine lets
/// it, everything happens in a network namespace of its own (`unshare`, `ip`), which counts packets, and in which a host can
/// fall silent. With the defaults it takes most of an hour.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  phin bench detect --sizes 8,64 --kill silent\n  \
    phin bench detect --out docs/benchmarks --simulated docs/benchmarks/detection.csv")]
struct Detect {
    /// The nodes' timings
    #[arg(long, default_value = "lan", value_parser = ["local", "lan", "wan"])]
    profile: String,
    #[command(flatten)]
    options: Options,
}

/// Be a child of a measurement, which tells it what to do over standard input
///
/// Example: none; `phin bench detect` starts these.
#[derive(clap::Args)]
#[command(hide = true)]
struct Child {
    /// What it runs nodes of
    system: String,
}

pub(crate) fn bench(args: &Args) -> Result<(), Failure> {
    match &args.what {
        What::Detect(args) => detect(args),
        What::Child(child) if child.system == Launcher::BUSY => {
            spin();
            Ok(())
        }
        What::Child(child) => {
            let system = Phin::ALL.into_iter().find(|system| system.name() == child.system);
            let system = system.ok_or_else(|| Failure::Usage("no such system".to_owned()))?;
            serve(system).map_err(|error| Failure::runtime("a child of a measurement", &error))
        }
    }
}

fn detect(args: &Detect) -> Result<(), Failure> {
    let network = enter();
    let system: &'static dyn System = match args.profile.as_str() {
        "local" => &Phin::Fast,
        "wan" => &Phin::Wan,
        _ => &Phin::Lan,
    };
    let launcher = Launcher::new(["bench", "child"])
        .map_err(|error| Failure::runtime("cannot find this program", &error))?;
    let options = &args.options;
    let measured = measure(&[system], options, &launcher, network);
    let mut report = measured.map_err(Failure::Runtime)?;
    let arguments: Vec<_> = std::env::args_os().skip(1).map(OsString::into_string).collect();
    report.command = arguments.into_iter().fold("phin".to_owned(), |command, argument| {
        format!("{command} {}", argument.unwrap_or_default())
    });
    if let Some(out) = &options.out {
        let written = report.write(out, &options.stem("nodes"), options.simulated.as_deref());
        written.map_err(|error| Failure::runtime("cannot write the report", &error))?;
    }
    let text = match options.json {
        true => report.json()? + "\n",
        false => report.markdown(),
    };
    Ok(io::stdout().write_all(text.as_bytes())?)
}
