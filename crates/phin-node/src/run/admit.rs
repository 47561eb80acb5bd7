//! `--admit`: a program of the operator decides on each newcomer.

use std::{
    convert::Infallible,
    fs::File,
    future::pending,
    io::{self, Read},
    path::PathBuf,
    process::Stdio,
    thread,
};

use phin::Newcomer;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, Signal, WaitOptions, kill_process_group, waitpgid},
};
use tokio::{
    io::AsyncReadExt,
    process::{Child, ChildStdout, Command},
};
use tracing::error;

/// Runs the program. Its success admits the newcomer; otherwise the first line of its output is the reason for the
/// refusal.
///
/// The program has a process group of its own. The group is killed when the program has ended or the decision timed
/// out, so no child process remains.
pub(crate) async fn decide(program: PathBuf, newcomer: Newcomer) -> Result<(), String> {
    let addrs: Vec<_> = newcomer.addrs.iter().map(ToString::to_string).collect();
    let mut command = Command::new(&program);
    command.args([&newcomer.id.to_string(), &newcomer.name, &newcomer.seen_at.to_string()]);
    command.arg(addrs.join(",")).stdin(Stdio::null()).stdout(Stdio::piped());
    command.process_group(0).kill_on_drop(true);
    // The program must not receive the cluster key.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PHIN_") {
            command.env_remove(name);
        }
    }
    let failed = |error: io::Error| {
        let path = program.display();
        error!(program = %path, %error, "cannot run the admission program; a newcomer is refused");
        "cannot run the admission program".to_owned()
    };
    let mut child = command.spawn().map_err(failed)?;
    let _group = Group::of(&child);
    let mut output = Vec::new();
    let mut stdout = child.stdout.take();
    // The exit of the program counts, not the end of its output, which a remaining child may hold open.
    let status = tokio::select! {
        status = child.wait() => status.map_err(failed)?,
        never = collect(stdout.as_mut(), &mut output) => match never {},
    };
    drain(stdout, &mut output);
    if status.success() {
        return Ok(());
    }
    let output = String::from_utf8_lossy(&output);
    match output.lines().next().map(str::trim).filter(|line| !line.is_empty()) {
        Some(reason) => Err(reason.to_owned()),
        None => Err(format!("refused without a reason ({status})")),
    }
}

/// Reads the output while the program runs, so that the program never blocks. Keeps the beginning.
async fn collect(stdout: Option<&mut ChildStdout>, output: &mut Vec<u8>) -> Infallible {
    if let Some(stdout) = stdout {
        let mut buffer = [0; MAX_OUTPUT_BYTES];
        while let Ok(read @ 1..) = stdout.read(&mut buffer).await {
            keep(output, &buffer[..read]);
        }
    }
    pending().await
}

/// Reads the output written before the program ended, without waiting for more.
fn drain(stdout: Option<ChildStdout>, output: &mut Vec<u8>) {
    let Some(Ok(stdout)) = stdout.map(ChildStdout::into_owned_fd) else {
        return;
    };
    let mut buffer = [0; MAX_OUTPUT_BYTES];
    let mut ready = [PollFd::new(&stdout, PollFlags::IN)];
    let is_ready = poll(&mut ready, Some(&Timespec::default())).is_ok_and(|ready| ready > 0);
    if is_ready && let Ok(read) = File::from(stdout).read(&mut buffer) {
        keep(output, &buffer[..read]);
    }
}

fn keep(output: &mut Vec<u8>, bytes: &[u8]) {
    let room = MAX_OUTPUT_BYTES - output.len();
    output.extend(bytes.iter().take(room));
}

/// The process group of a program, which is killed on drop.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self(id.and_then(Pid::from_raw))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let Some(group) = self.0 else {
            return;
        };
        let was_there = kill_process_group(group, Signal::KILL).is_ok();
        if was_there {
            // As process 1 of a container, this process inherits orphans and must reap them.
            thread::spawn(move || while waitpgid(group, WaitOptions::empty()).is_ok() {});
        }
    }
}

/// Bytes of the program's output that are kept. The reason that is sent is shorter.
const MAX_OUTPUT_BYTES: usize = 1_024;
