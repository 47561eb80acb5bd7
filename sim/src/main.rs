//! The simulator's command line.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;

mod commands;

/// Simulate membership protocols: the real phin, and four others to compare it with.
#[derive(Parser)]
#[command(version, about)]
enum Command {
    /// Measure how quickly deaths become known, by cluster size.
    Detect(commands::detect::DetectArgs),
    /// Run another experiment: loss, slow members, pauses, partitions, few survivors, …
    Sweep(commands::detect::SweepArgs),
    /// Join the samples of a sweep that ran in shares on many machines.
    Merge(commands::detect::MergeArgs),
    /// Draw the plots of reports again, from their CSV.
    Redraw(commands::detect::RedrawArgs),
    /// Compute what a cluster will do: detection times, load, mistakes, and which setting binds.
    Plan(commands::plan::Args),
    /// Run scenario files, and report what happened.
    Run(commands::run::Args),
    /// Run random scenarios, one for each seed.
    Soak(commands::soak::SoakArgs),
    /// Run the random scenario of a seed again.
    Replay(commands::soak::ReplayArgs),
}

fn main() -> ExitCode {
    let done = match Command::parse() {
        Command::Detect(args) => commands::detect::detect(&args),
        Command::Sweep(args) => commands::detect::sweep(&args),
        Command::Merge(args) => commands::detect::merge(&args),
        Command::Redraw(args) => commands::detect::redraw(&args),
        Command::Plan(args) => commands::plan::plan(&args),
        Command::Run(args) => commands::run::run(&args),
        Command::Soak(args) => commands::soak::soak(&args),
        Command::Replay(args) => commands::soak::replay(&args),
    };
    match done {
        Ok(code) => code,
        Err(error) if commands::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // If this fails, the error is lost.
            let _ = writeln!(io::stderr(), "phin-sim: {error}");
            ExitCode::from(2)
        }
    }
}
