//! `phin lead-guard`: runs the program of `phin lead`, and kills it when its time is over.
//!
//! It is a process of its own, which does nothing else: so the program ends in time although `phin lead` is stopped or killed.
//! Its standard input is a socket to `phin lead`. A line `until NANOS` says how long the program may run, on the clock of
//! [`now`]; `end` asks the program to end. The answers are `started GROUP` and, at the end, `exited CODE`, or `ended CODE` if
//! the program was asked to. If the socket closes, or nothing extends the time, the process group of the program is killed.

use std::{io, os::fd::AsFd, process::ExitStatus, time::Duration};

use rustix::{
    process::{Pid, Signal, kill_process_group},
    time::{ClockId, clock_gettime},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    process::{Child, Command},
    runtime,
    signal::unix::{SignalKind, signal},
    time::sleep,
};

use crate::{failure::Failure, program::Group};

/// Run a program for `phin lead`
#[derive(clap::Args)]
#[command(hide = true)]
pub(crate) struct Args {
    /// How long the program may run at first, on the clock of the machine
    #[arg(long)]
    until: u64,
    /// How long before that the program is asked to end, in milliseconds
    #[arg(long)]
    grace: u64,
    /// The program and its arguments
    #[arg(last = true, required = true)]
    program: Vec<String>,
}

pub(crate) fn guard(args: &Args) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::runtime("cannot guard the program", &error);
    let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    runtime.block_on(run(args)).map_err(failed)
}

/// The nanoseconds since the machine was booted, those included in which it slept.
pub(crate) fn now() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    Duration::try_from(now).map_or(0, |now| u64::try_from(now.as_nanos()).unwrap_or(u64::MAX))
}

async fn run(args: &Args) -> io::Result<()> {
    // `phin lead` receives these signals as well, and has the program end. A handler for each keeps this process alive.
    let _handlers = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()]
        .map(|kind| signal(kind).ok());
    let socket = std::os::unix::net::UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    socket.set_nonblocking(true)?;
    let (commands, answer) = UnixStream::from_std(socket)?.into_split();
    let program = start(&args.program)?;
    let guarded = Guarded {
        group: Group::of(&program),
        program,
        until: args.until,
        grace: Duration::from_millis(args.grace),
        is_ending: false,
    };
    guarded.watch(BufReader::new(commands).lines(), answer).await
}

/// Starts the program by way of `phin lead-exec`.
fn start(program: &[String]) -> io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("lead-exec").arg("--parent").arg(std::process::id().to_string());
    command.arg("--").args(program).stdin(std::process::Stdio::null());
    command.process_group(0).kill_on_drop(true).spawn()
}

/// A program that runs. Dropping it kills its process group.
struct Guarded {
    // Dropped before the group, whose members are reaped then: the id of a reaped process may be another's.
    program: Child,
    group: Group,
    until: u64,
    grace: Duration,
    is_ending: bool,
}

impl Guarded {
    async fn watch(
        mut self,
        mut commands: Lines<BufReader<OwnedReadHalf>>,
        mut answer: OwnedWriteHalf,
    ) -> io::Result<()> {
        let started = format!("started {}\n", self.program.id().unwrap_or_default());
        // Without a reader, `phin lead` has ended, which shows below.
        let _ = answer.write_all(started.as_bytes()).await;
        let mut is_open = true;
        loop {
            let left = self.until_step();
            tokio::select! {
                biased;
                status = self.program.wait() => {
                    self.group.kill();
                    let how = if self.is_ending { "ended" } else { "exited" };
                    let _ = answer.write_all(format!("{how} {}\n", code(status?)).as_bytes()).await;
                    return Ok(());
                }
                command = commands.next_line(), if is_open => match command {
                    Ok(Some(command)) => self.handle(&command),
                    Ok(None) | Err(_) => {
                        is_open = false;
                        self.group.kill();
                    }
                },
                () = sleep(left) => self.step(),
            }
        }
    }

    fn handle(&mut self, command: &str) {
        match command.split_once(' ') {
            Some(("until", nanos)) => self.until = nanos.parse().unwrap_or(self.until),
            _ => self.end(),
        }
    }

    /// How long the program is left alone.
    fn until_step(&self) -> Duration {
        let left = Duration::from_nanos(self.until.saturating_sub(now())).saturating_sub(MARGIN);
        if self.is_ending { left } else { left.saturating_sub(self.grace) }
    }

    /// Asks the program to end, or kills it if it was asked before.
    fn step(&mut self) {
        if !self.is_ending {
            return self.end();
        }
        self.group.kill();
        // A process in an uninterruptible system call ends later.
        self.until = now() + KILL_INTERVAL;
    }

    fn end(&mut self) {
        self.is_ending = true;
        let id = self.program.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(id) = id {
            // An error means that it has ended.
            let _ = kill_process_group(id, Signal::TERM);
        }
    }
}

/// The exit code of a program as a shell has it.
fn code(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

/// How often a program that does not end is killed, in nanoseconds.
const KILL_INTERVAL: u64 = 1_000_000_000;
/// The time that is left for the kernel to kill the program.
const MARGIN: Duration = Duration::from_millis(100);
