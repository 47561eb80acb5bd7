//! The measuring process's side of its children. None outlives it: each is killed when it is dropped, and ends by
//! itself when its standard input does.

use std::{
    ffi::OsString,
    io::{self, BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{self, ChildStdin, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::protocol::{Command, Reply};

/// How a child is started: this program, with arguments that lead it to [`serve`](crate::serve) the system whose name
/// follows them, or to [`spin`](crate::spin) if the name is [`Launcher::BUSY`].
#[derive(Clone, Debug)]
pub struct Launcher {
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl Launcher {
    /// The name, instead of a system's, of a child that keeps a core busy.
    pub const BUSY: &str = "busy";

    /// Starts this program with these arguments.
    ///
    /// # Errors
    /// The program's file cannot be found.
    pub fn new(arguments: impl IntoIterator<Item = impl Into<OsString>>) -> io::Result<Self> {
        let arguments = arguments.into_iter().map(Into::into).collect();
        Ok(Self { program: std::env::current_exe()?, arguments })
    }

    pub(crate) fn launch(&self, system: &str) -> Result<Child, String> {
        let mut command = process::Command::new(&self.program);
        command.args(&self.arguments).arg(system);
        // In a process group of its own: what kills it kills the processes that it started.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let mut process =
            command.spawn().map_err(|error| format!("cannot start a child: {error}"))?;
        let (stdin, stdout) = (process.stdin.take(), process.stdout.take());
        let (sender, replies) = mpsc::channel();
        thread::spawn(move || {
            let lines = stdout.into_iter().flat_map(|stdout| BufReader::new(stdout).lines());
            // An error means that nobody waits for replies any more.
            lines.map_while(Result::ok).try_for_each(|line| sender.send(line)).ok();
        });
        Ok(Child { system: system.to_owned(), process, stdin, replies, processes: Vec::new() })
    }
}

/// A child process.
#[derive(Debug)]
pub(crate) struct Child {
    system: String,
    process: process::Child,
    stdin: Option<ChildStdin>,
    replies: Receiver<String>,
    /// The processes in which its nodes run.
    pub(crate) processes: Vec<u32>,
}

impl Child {
    /// Has it do something, and waits for the reply.
    pub(crate) fn ask(&mut self, command: &Command) -> Result<Reply, String> {
        self.tell(command)?;
        self.reply()
    }

    /// Has it do something; one [`reply`](Self::reply) will follow.
    pub(crate) fn tell(&mut self, command: &Command) -> Result<(), String> {
        let mut text = serde_json::to_vec(command).map_err(|error| error.to_string())?;
        text.push(b'\n');
        let stdin = self.stdin.as_mut().ok_or("it has no standard input")?;
        stdin.write_all(&text).map_err(|error| format!("a child of {} died: {error}", self.system))
    }

    pub(crate) fn reply(&mut self) -> Result<Reply, String> {
        let text = self.replies.recv_timeout(PATIENCE);
        let text =
            text.map_err(|error| format!("no reply of a child of {}: {error}", self.system))?;
        match serde_json::from_str(&text) {
            Ok(Reply::Failed { reason }) => Err(format!("{}: {reason}", self.system)),
            Ok(reply) => Ok(reply),
            Err(error) => Err(format!("{} replied {text:?}: {error}", self.system)),
        }
    }

    /// Ends it with SIGKILL, which it cannot notice, together with the processes that it started.
    pub(crate) fn kill(&mut self) {
        let pid = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw);
        // It has not been waited for, so no other process can have its id. An error means that it has ended.
        let _ = pid.map(|pid| kill_process_group(pid, Signal::KILL));
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
        let _ = self.process.wait();
    }
}

/// How long any reply may take: longer than every `within` of a command.
const PATIENCE: Duration = Duration::from_secs(900);
