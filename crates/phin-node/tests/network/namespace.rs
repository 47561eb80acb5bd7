//! Network namespaces for tests. The network of the machine is not touched. The kernel removes a namespace and its
//! contents when its last process and the last file that refers to it are gone, even if a test fails.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, AsRawFd},
    process::{Command, Stdio},
    thread,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A network namespace.
pub(crate) struct Namespace {
    file: File,
}

impl Namespace {
    /// Creates a namespace.
    ///
    /// # Errors
    /// If `unshare` is missing or not permitted: not Linux, or not root.
    pub(crate) fn new() -> io::Result<Self> {
        let mut unshare = Command::new("unshare");
        let mut holder = unshare
            .args(["--net", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let (mut ask, mut answer) = (holder.stdin.take(), holder.stdout.take());
        // The process answers once it is in its namespace, and must live until the namespace has been opened.
        let is_inside = ask.as_mut().is_some_and(|ask| ask.write_all(b"?").is_ok())
            && answer.as_mut().is_some_and(|answer| answer.read_exact(&mut [0]).is_ok());
        let file = File::open(format!("/proc/{}/ns/net", holder.id()));
        drop(ask);
        holder.wait()?;
        match is_inside {
            true => Ok(Self { file: file? }),
            false => Err(io::Error::other("`unshare --net` does not work")),
        }
    }

    /// Runs a function inside. Its sockets and processes belong to this namespace.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            work()
        };
        thread::scope(|scope| match scope.spawn(inside).join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }

    /// Runs a command inside, which must succeed.
    pub(crate) fn command(&self, program: &str, arguments: &[&str], input: &str) {
        if let Err(error) = self.try_command(program, arguments, input) {
            panic!("{error}\nwas told: {input}");
        }
    }

    /// Runs a command inside.
    ///
    /// # Errors
    /// If the command cannot be started, or fails.
    pub(crate) fn try_command(
        &self,
        program: &str,
        arguments: &[&str],
        input: &str,
    ) -> io::Result<()> {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = self.run(|| command.spawn())?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes())?;
        }
        let output = child.wait_with_output()?;
        match output.status.success() {
            true => Ok(()),
            false => {
                let reason = String::from_utf8_lossy(&output.stderr).into_owned();
                Err(io::Error::other(format!("{program}: {}", reason.trim_end())))
            }
        }
    }

    /// The path at which other commands find it, while it lives.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }
}
