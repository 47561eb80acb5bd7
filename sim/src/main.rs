//! The simulator's command line.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;

mod commands;

/// Simulates membership protocols: the real phin, and four others to compare it with.
#[derive(Parser)]
#[command(version, about)]
enum Command {
    /// Measures how quickly deaths become known, by cluster size.
    Detect(commands::detect::DetectArgs),
    /// Measures something else, such as what loss or slow members do.
    Sweep(commands::detect::SweepArgs),
    /// Joins the samples of a sweep that ran in shares on many machines.
    Merge(commands::detect::MergeArgs),
    /// Runs scenario files.
    Run(commands::run::Args),
    /// Runs random scenarios, one for each seed.
    Soak(commands::soak::SoakArgs),
    /// Runs the random scenario of a seed again.
    Replay(commands::soak::ReplayArgs),
}

fn main() -> ExitCode {
    let done = match Command::parse() {
        Command::Detect(args) => commands::detect::detect(&args),
        Command::Sweep(args) => commands::detect::sweep(&args),
        Command::Merge(args) => commands::detect::merge(&args),
        Command::Run(args) => commands::run::run(&args),
        Command::Soak(args) => commands::soak::soak(&args),
        Command::Replay(args) => commands::soak::replay(&args),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            // Nobody to tell if even this fails.
            let _ = writeln!(io::stderr(), "phin-sim: {error}");
            ExitCode::from(2)
        }
    }
}
