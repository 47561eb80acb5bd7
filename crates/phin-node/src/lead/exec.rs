//! `phin lead-exec`: becomes the program of `phin lead`, which the kernel kills if its guard is killed.

use std::{os::unix::process::CommandExt, process::Command};

use crate::failure::Failure;

/// Become the program of `phin lead`
#[derive(clap::Args)]
#[command(hide = true)]
pub(crate) struct Args {
    /// The process that must be the parent
    #[arg(long)]
    parent: i32,
    /// The program and its arguments
    #[arg(last = true, required = true)]
    program: Vec<String>,
}

pub(crate) fn exec(args: &Args) -> Result<(), Failure> {
    let name = args.program.first().ok_or_else(|| Failure::Usage("expected a program".into()))?;
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Signal, getppid, set_parent_process_death_signal};
        let set = set_parent_process_death_signal(Some(Signal::KILL));
        set.map_err(|error| Failure::runtime("cannot tie the program to its guard", &error))?;
        // The parent may have ended just before.
        if getppid().map(|parent| parent.as_raw_pid()) != Some(args.parent) {
            return Err(Failure::Runtime("the guard of the program has ended".into()));
        }
    }
    let error = Command::new(name).args(&args.program[1..]).exec();
    Err(Failure::runtime(format!("cannot run {name}"), &error))
}
