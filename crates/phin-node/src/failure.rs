//! Failures of commands, and their exit codes.

use std::{error::Error, io, path::Path, process::ExitCode};

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The request is invalid: exit code 2, as for errors of clap.
    Usage(String),
    /// The request is valid but failed: exit code 1.
    Runtime(String),
    /// Not all members that were asked replied, and standard error names them: exit code 3.
    Unanswered,
    /// The program that the command ran exited with this code, which is that of the command.
    Exited(u8),
    /// The reader of the output stopped reading, as `head` does, which is not an error: exit code 0.
    OutputClosed,
}

impl Failure {
    /// A failure of `what`, with all causes.
    pub(crate) fn runtime(what: impl std::fmt::Display, error: &dyn Error) -> Self {
        Self::Runtime(format!("{what}: {}", with_causes(error)))
    }

    /// A failure to create a file. Existing files are never overwritten.
    pub(crate) fn not_created(path: &Path, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::AlreadyExists => {
                Self::Runtime(format!("{} already exists; it was not changed", path.display()))
            }
            _ => Self::runtime(format!("cannot create {}", path.display()), error),
        }
    }

    /// The message, if there is one.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Usage(message) | Self::Runtime(message) => message,
            Self::Unanswered | Self::Exited(_) | Self::OutputClosed => "",
        }
    }

    /// Prints the message and returns the exit code.
    pub(crate) fn report(self) -> ExitCode {
        let (message, code) = match self {
            Self::Usage(message) => (message, 2),
            Self::Runtime(message) => (message, 1),
            Self::Unanswered => return ExitCode::from(3),
            Self::Exited(code) => return ExitCode::from(code),
            Self::OutputClosed => return ExitCode::SUCCESS,
        };
        // If standard error is closed, the message is lost.
        let _ = io::Write::write_all(&mut io::stderr(), format!("error: {message}\n").as_bytes());
        ExitCode::from(code)
    }
}

/// Only writes to standard output convert their [`io::Error`] this way.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::OutputClosed,
            _ => Self::runtime("cannot write to standard output", &error),
        }
    }
}

/// An error and all its causes on one line, without causes that the text already contains.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
