//! [`Guarded`]: the program of `phin lead` and its guard, seen from `phin lead`.

use std::{
    future::pending,
    io,
    os::{fd::OwnedFd, unix::net::UnixStream as StdUnixStream},
    process::Stdio,
    time::Duration,
};

use phin::{Office, Term};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    process::{Child, Command},
    time::sleep,
};

use super::guard::now;
use crate::supervisor::VARIABLES;

/// A program that runs for one term. Dropping it kills the program.
pub(super) struct Guarded {
    pub(super) token: Term,
    guard: Child,
    commands: OwnedWriteHalf,
    answers: Lines<BufReader<OwnedReadHalf>>,
    /// The process group of the program, once it has started.
    group: Option<Pid>,
    until: u64,
}

/// How a program ended.
pub(super) enum Exited {
    /// It exited although it might have gone on, with this code.
    ByItself(u8),
    /// It was asked to, or killed.
    Ended,
}

impl Guarded {
    /// Starts the guard, which starts the program.
    pub(super) fn start(
        program: &[String],
        office: &Office,
        token: Term,
        until: u64,
        grace: Duration,
    ) -> io::Result<Self> {
        let (ours, theirs) = StdUnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let (answers, commands) = UnixStream::from_std(ours)?.into_split();
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["lead-guard", "--until", &until.to_string()]);
        command.args(["--grace", &grace.as_millis().to_string(), "--"]).args(program);
        for name in VARIABLES {
            command.env_remove(name);
        }
        command.env("PHIN_OFFICE", office.as_str()).env("PHIN_TOKEN", token.to_string());
        // In a group of its own: what stops the group of this process does not stop the guard.
        let guard = command.stdin(Stdio::from(OwnedFd::from(theirs))).process_group(0).spawn()?;
        let answers = BufReader::new(answers).lines();
        Ok(Self { token, guard, commands, answers, group: None, until })
    }

    /// The program may run until then.
    pub(super) async fn extend(&mut self, until: u64) {
        self.until = self.until.max(until);
        // An error means that the guard has ended.
        let _ = self.commands.write_all(format!("until {until}\n").as_bytes()).await;
    }

    /// Asks the program to end. It is killed when its time is over.
    pub(super) async fn end(&mut self) {
        let _ = self.commands.write_all(b"end\n").await;
    }

    /// Waits for the end of the program, if one runs. Dropping the future loses nothing.
    pub(super) async fn exited(running: &mut Option<Self>) -> Exited {
        let Some(this) = running else { return pending().await };
        loop {
            let left = Duration::from_nanos(this.until.saturating_sub(now()));
            tokio::select! {
                answer = this.answers.next_line() => match answer.ok().flatten().as_deref() {
                    Some(answer) => if let Some(exited) = this.handle(answer) { return exited },
                    None => break,
                },
                // The guard itself does not run.
                () = sleep(left) => break,
            }
        }
        this.kill_group().await;
        Exited::Ended
    }

    /// Kills the program, and waits for its guard.
    pub(super) async fn kill(mut self) {
        self.kill_group().await;
    }

    async fn kill_group(&mut self) {
        // While the guard has not answered, nobody has reaped the program: the id of the group is still its own.
        self.group.map(|group| kill_process_group(group, Signal::KILL));
        let _ = self.guard.start_kill();
        let _ = self.guard.wait().await;
    }

    fn handle(&mut self, answer: &str) -> Option<Exited> {
        let (what, number) = answer.split_once(' ')?;
        match what {
            "started" => self.group = number.parse().ok().and_then(Pid::from_raw),
            "exited" => return number.parse().ok().map(Exited::ByItself),
            _ => return Some(Exited::Ended),
        }
        None
    }
}
