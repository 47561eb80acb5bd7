//! Programs of the operator that the node runs: without a shell, for a limited time, and each in a process group of its
//! own, which is killed when the run ends. So no run leaves a process behind, and none receives the secrets of the node.

mod group;
mod output;

use std::{
    convert::Infallible,
    fs::File,
    future::pending,
    io::{self, Read},
    os::{fd::OwnedFd, unix::fs::PermissionsExt},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    sync::Semaphore,
    time::{Instant, sleep, timeout, timeout_at},
};

use crate::supervisor::VARIABLES;
pub(crate) use group::Group;
use output::Captured;
pub(crate) use output::{Logged, Sink};

/// A program, its arguments, and the variables that it receives besides the environment of the node.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    path: PathBuf,
    arguments: Vec<String>,
    variables: Vec<(&'static str, String)>,
    /// Bounds the threads that wait for starts: a file system that does not answer holds up one.
    starting: Arc<Semaphore>,
}

/// The result of a program that has ended.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) status: ExitStatus,
    /// The beginning of its standard output.
    pub(crate) stdout: Vec<u8>,
}

/// Why a program did not run to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error("cannot run the program")]
    NotRun(#[source] io::Error),
    #[error("killed: it took longer than {limit:?}")]
    TimedOut { limit: Duration },
}

impl Program {
    /// Checks that the file is executable by some user. Whether this node may execute it shows when it runs.
    pub(crate) fn new(path: &str) -> Result<Self, String> {
        let relative = Path::new(path);
        let metadata = relative.metadata().map_err(|error| error.to_string())?;
        if !metadata.is_file() || metadata.permissions().mode() & 0o111 == 0 {
            return Err("it is not an executable file".into());
        }
        let path = std::path::absolute(relative).map_err(|error| error.to_string())?;
        Ok(Self {
            path,
            arguments: Vec::new(),
            variables: Vec::new(),
            starting: Arc::new(Semaphore::new(1)),
        })
    }

    /// Parses a path and arguments with spaces between them.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.contains(['"', '\'', '\\', '`']) {
            return Err("quotes and backslashes have no meaning, because no shell reads them; put the command into a script"
                .into());
        }
        let mut words = text.split_ascii_whitespace();
        let path = words.next().ok_or("expected the path of a program")?;
        let program = Self::new(path).map_err(|error| format!("{path}: {error}"))?;
        Ok(program.with_arguments(words.map(str::to_owned)))
    }

    pub(crate) fn with_arguments(mut self, arguments: impl IntoIterator<Item = String>) -> Self {
        self.arguments.extend(arguments);
        self
    }

    pub(crate) fn with_variables(mut self, variables: &[(&'static str, String)]) -> Self {
        self.variables.extend_from_slice(variables);
        self
    }

    /// Whether both are the same program with the same arguments.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        (&self.path, &self.arguments) == (&other.path, &other.arguments)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Runs the program with this standard input, and returns the first `max_output` bytes of its standard output. To learn
    /// whether the output is longer, ask for one byte more. Its standard error goes to the log.
    ///
    /// If the future is dropped, the process group is killed.
    pub(crate) async fn output(
        &self,
        input: &[u8],
        limit: Duration,
        max_output: usize,
    ) -> Result<Output, RunError> {
        let mut stdout = Captured::new(max_output);
        let status = self.run(input, limit, &mut stdout).await?;
        Ok(Output { status, stdout: stdout.into_bytes() })
    }

    /// Runs the program with this standard input to its end, for at most `limit`. Its standard error goes to the log.
    ///
    /// The exit of the program ends the run. Then its process group is killed, also if the future is dropped. Neither a
    /// program that does not read its input, nor one that never stops writing, holds up anything but its own run.
    pub(crate) async fn run(
        &self,
        input: &[u8],
        limit: Duration,
        stdout: &mut impl Sink,
    ) -> Result<ExitStatus, RunError> {
        let deadline = Instant::now() + limit;
        let too_long = |_| RunError::TimedOut { limit };
        let started = timeout_at(deadline, self.start()).await.map_err(too_long)?;
        let mut running = started.map_err(RunError::NotRun)?;
        let mut stderr = Logged::stderr(&self.path);
        let ended = timeout_at(deadline, running.exit(input, stdout, &mut stderr)).await;
        running.clean_up(stdout, &mut stderr).await;
        ended.map_err(too_long)?.map_err(RunError::NotRun)
    }

    /// Starts the program on a thread of its own, because a start waits for the file system.
    async fn start(&self) -> io::Result<Running> {
        let turn = Arc::clone(&self.starting).acquire_owned().await.map_err(io::Error::other)?;
        let mut command = self.command();
        let started = tokio::task::spawn_blocking(move || {
            let started = command.spawn().map(Running::new);
            drop(turn);
            started
        });
        started.await.unwrap_or_else(|error| Err(io::Error::other(error)))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.args(&self.arguments).process_group(0).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // The settings of the node contain the cluster key.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PHIN_") {
                command.env_remove(name);
            }
        }
        for name in VARIABLES {
            command.env_remove(name);
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// A program that runs. Dropping it kills the process group.
struct Running {
    // Dropped before the group, whose members are reaped then: the id of a reaped process may be another's.
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    group: Group,
}

impl Running {
    fn new(mut child: Child) -> Self {
        let group = Group::of(&child);
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        Self { child, stdin, stdout, stderr, group }
    }

    /// Waits for the exit of the program. The end of its output does not count, because a child process may hold it open.
    async fn exit(
        &mut self,
        input: &[u8],
        stdout: &mut impl Sink,
        stderr: &mut impl Sink,
    ) -> io::Result<ExitStatus> {
        let (stdin, out, err) = (self.stdin.take(), self.stdout.as_mut(), self.stderr.as_mut());
        let streams = async {
            tokio::join!(write(stdin, input), collect(out, stdout), collect(err, stderr));
            pending::<Infallible>().await
        };
        tokio::select! {
            status = self.child.wait() => status,
            never = streams => match never {},
        }
    }

    /// Kills what is left of the process group, and takes the output that was written before.
    async fn clean_up(mut self, stdout: &mut impl Sink, stderr: &mut impl Sink) {
        self.group.kill();
        // A process in an uninterruptible system call ends later. Then the runtime reaps it.
        let _ = timeout(MAX_REAP_TIME, self.child.wait()).await;
        drain(self.stdout.take().map(ChildStdout::into_owned_fd), stdout);
        drain(self.stderr.take().map(ChildStderr::into_owned_fd), stderr);
    }
}

/// Writes the input, then closes it.
async fn write(stdin: Option<ChildStdin>, input: &[u8]) {
    if let Some(mut stdin) = stdin {
        // An error means that the program does not read it, as it may.
        let _ = stdin.write_all(input).await;
    }
}

/// Reads output until its end, so that the program never blocks.
async fn collect(from: Option<&mut (impl AsyncRead + Unpin)>, sink: &mut impl Sink) {
    let Some(from) = from else {
        return;
    };
    let mut buffer = vec![0; PIPE_BYTES];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if sink.take(&buffer[..read]) == 0 {
            // A flood, of which nothing is kept, must not take the time of others.
            sleep(FLOOD_PAUSE).await;
        }
    }
}

/// Reads the output that is in the pipe, without waiting for more.
fn drain(from: Option<io::Result<OwnedFd>>, sink: &mut impl Sink) {
    let Some(Ok(from)) = from else {
        return;
    };
    let mut ready = [PollFd::new(&from, PollFlags::IN)];
    let is_ready = poll(&mut ready, Some(&Timespec::default())).is_ok_and(|ready| ready > 0);
    let mut buffer = vec![0; PIPE_BYTES];
    if is_ready && let Ok(read) = File::from(from).read(&mut buffer) {
        sink.take(&buffer[..read]);
    }
}

/// The capacity of a pipe (pipe(7)).
const PIPE_BYTES: usize = 64 * 1_024;
/// The pause after each piece of a flood: it leaves 64 MiB/s at most.
const FLOOD_PAUSE: Duration = Duration::from_millis(1);
/// The time that a killed program has to end.
const MAX_REAP_TIME: Duration = Duration::from_secs(1);

#[cfg(test)]
pub(crate) mod tests;
