//! The subcommands, one file each.

use std::{fs, io, path::Path};

pub(crate) mod conditions;
pub(crate) mod detect;
pub(crate) mod plan;
pub(crate) mod run;
pub(crate) mod soak;

/// An error that stops a command, nearly always from a file or a terminal.
pub(crate) type Error = Box<dyn std::error::Error>;

/// Whether the error means that the reader closed the output, as `head` does, so that there is no one to report to.
pub(crate) fn is_broken_pipe(error: &Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error.as_ref());
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>()
            && error.kind() == io::ErrorKind::BrokenPipe
        {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Reads a file. The error names it.
pub(crate) fn read(file: &Path) -> Result<String, Error> {
    Ok(fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?)
}
