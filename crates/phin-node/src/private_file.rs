//! Files that hold secrets: read only if nobody else can read them, and created so that nobody else can.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

/// Why a file with a secret was not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrivateFileError {
    #[error("cannot read {path}")]
    Unreadable { path: String, source: io::Error },
    #[error(
        "{path} is accessible to other users (mode {mode:04o}); run `chmod 600 {path}`, or let root own it \
         with mode 0640 or 0440"
    )]
    Exposed { path: String, mode: u32 },
    #[error("{path} is longer than {MAX_BYTES} bytes, so it is not a key file")]
    TooLong { path: String },
}

/// Reads a secret that only its owner can read. Checks the mode of the opened file, so the file cannot be swapped
/// between check and read.
pub(crate) fn read(path: &Path) -> Result<String, PrivateFileError> {
    let shown = || path.display().to_string();
    let unreadable = |source| PrivateFileError::Unreadable { path: shown(), source };
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if metadata.is_dir() {
        // An error about the mode of a directory would mislead.
        return Err(unreadable(io::ErrorKind::IsADirectory.into()));
    }
    let mode = metadata.mode() & 0o7777;
    if is_exposed(mode, metadata.uid()) {
        return Err(PrivateFileError::Exposed { path: shown(), mode });
    }
    let mut text = String::new();
    file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(PrivateFileError::TooLong { path: shown() });
    }
    Ok(text)
}

/// Creates a file that only its owner can read and write (mode 0600). If it cannot be written whole, it is removed.
///
/// # Errors
/// The error of the file system; [`io::ErrorKind::AlreadyExists`] if the file exists.
pub(crate) fn create(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if written.is_err() {
        let _ = fs::remove_file(path);
    }
    written
}

/// Whether a file with this mode is accessible to other users. The group may read a file of root: Kubernetes mounts secrets
/// like that with `fsGroup`, and the mode cannot be changed (PostgreSQL and libpq have the same rule).
const fn is_exposed(mode: u32, owner: u32) -> bool {
    const GROUP_READ: u32 = 0o040;
    let forbidden = if owner == 0 { OTHERS & !GROUP_READ } else { OTHERS };
    mode & forbidden != 0
}

/// The permission bits of group and others.
pub(crate) const OTHERS: u32 = 0o077;
/// The longest file: far longer than any key as PEM.
const MAX_BYTES: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_created_once_and_for_its_owner() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        create(&path, b"one").unwrap();
        assert_eq!(read(&path).unwrap(), "one");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let again = create(&path, b"two").unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(read(&path).unwrap(), "one");
    }

    #[test]
    fn a_group_may_read_what_root_owns() {
        let cases = [
            (0o600, 0, false),
            (0o440, 0, false),
            (0o640, 0, false),
            (0o660, 0, true),
            (0o650, 0, true),
            (0o444, 0, true),
            (0o641, 0, true),
            (0o400, 1_000, false),
            (0o600, 1_000, false),
            (0o440, 1_000, true),
            (0o640, 1_000, true),
            (0o604, 1_000, true),
        ];
        for (mode, owner, expected) in cases {
            assert_eq!(is_exposed(mode, owner), expected, "{mode:04o} of {owner}");
        }
    }
}
