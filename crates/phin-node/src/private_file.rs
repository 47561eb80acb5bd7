//! Files that hold secrets: read only if nobody else can read them.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::Path,
};

/// Why a file with a secret was not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrivateFileError {
    #[error("cannot read {path}")]
    Unreadable { path: String, source: io::Error },
    #[error(
        "{path} can be read by others (mode {mode:04o}); take that away with `chmod 600 {path}`"
    )]
    Exposed { path: String, mode: u32 },
    #[error("{path} is longer than {MAX_BYTES} bytes, so it is no key")]
    TooLong { path: String },
}

/// Reads a secret that only its owner can read. The mode is that of the file opened, so it cannot be swapped between.
pub(crate) fn read(path: &Path) -> Result<String, PrivateFileError> {
    let shown = || path.display().to_string();
    let unreadable = |source| PrivateFileError::Unreadable { path: shown(), source };
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if metadata.is_dir() {
        // Its mode is not what is wrong with it.
        return Err(unreadable(io::ErrorKind::IsADirectory.into()));
    }
    let mode = metadata.mode() & 0o7777;
    if mode & OTHERS != 0 {
        return Err(PrivateFileError::Exposed { path: shown(), mode });
    }
    let mut text = String::new();
    file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(PrivateFileError::TooLong { path: shown() });
    }
    Ok(text)
}

/// Whether the group or others may read, write or run what has this mode.
pub(crate) const OTHERS: u32 = 0o077;
/// Far more than any key in PEM has.
const MAX_BYTES: u64 = 64 * 1024;
