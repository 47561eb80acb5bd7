//! How a command ends when it does not succeed, and the exit code that tells so.

use std::{error::Error, io, path::Path, process::ExitCode};

/// Why a command ends without success.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It was asked for something it cannot do as asked: exit code 2, as clap's own.
    Usage(String),
    /// It tried and failed: exit code 1.
    Runtime(String),
    /// Whoever read its output stopped reading, as `head` does: no news, and no error.
    OutputClosed,
}

impl Failure {
    /// A failure while doing `what`, with all its causes.
    pub(crate) fn runtime(what: impl std::fmt::Display, error: &dyn Error) -> Self {
        Self::Runtime(format!("{what}: {}", with_causes(error)))
    }

    /// A file that could not be made; one that is there is never overwritten.
    pub(crate) fn not_created(path: &Path, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::AlreadyExists => {
                Self::Runtime(format!("{} exists already, and is left as it is", path.display()))
            }
            _ => Self::runtime(format!("cannot create {}", path.display()), error),
        }
    }

    /// Tells the user, and gives the exit code.
    pub(crate) fn report(self) -> ExitCode {
        let (message, code) = match self {
            Self::Usage(message) => (message, 2),
            Self::Runtime(message) => (message, 1),
            Self::OutputClosed => return ExitCode::SUCCESS,
        };
        // With standard error closed there is nobody left to tell.
        let _ = io::Write::write_all(&mut io::stderr(), format!("error: {message}\n").as_bytes());
        ExitCode::from(code)
    }
}

/// Every write in this crate that fails with an [`io::Error`] of its own is one to standard output.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::OutputClosed,
            _ => Self::runtime("cannot write to standard output", &error),
        }
    }
}

/// An error and all its causes on one line; a cause that the text before it already tells is not told twice.
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
