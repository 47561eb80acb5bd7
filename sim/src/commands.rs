//! One file for each subcommand.

use std::{fs, io, path::Path};

pub(crate) mod conditions;
pub(crate) mod detect;
pub(crate) mod run;
pub(crate) mod soak;

/// What can stop a command: nearly always a file or a terminal.
pub(crate) type Error = Box<dyn std::error::Error>;

/// Whether the reader of the output has gone, as `head` does: there is nobody to tell.
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

/// Reads a file, or says which one cannot be read.
pub(crate) fn read(file: &Path) -> Result<String, Error> {
    Ok(fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?)
}
