//! Files that only their owner can read, written completely or not at all.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use crate::secret::{hex, random};

/// Writes a new file that only its owner can read and write (mode 0600).
///
/// The file appears with all of its content or not at all, even if the machine stops halfway: it is written under another
/// name and synced, then linked to its name, and the directory is synced.
///
/// # Errors
/// The error of the file system; [`io::ErrorKind::AlreadyExists`] if the file exists.
pub(crate) fn create_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = directory_of(path);
    let temporary = temporary_beside(path, directory);
    // A hard link fails if the name is taken; a rename would replace the file without an error.
    let placed = write_new(&temporary, bytes).and_then(|()| fs::hard_link(&temporary, path));
    // A leftover does no harm.
    let _ = fs::remove_file(&temporary);
    placed?;
    sync_directory(directory)
}

/// The permission bits, if users other than the owner have any.
#[cfg(unix)]
pub(crate) fn mode_open_to_others(file: &File) -> io::Result<Option<u32>> {
    use std::os::unix::fs::PermissionsExt;
    let mode = file.metadata()?.permissions().mode() & 0o777;
    Ok((mode & 0o077 != 0).then_some(mode))
}

/// Other systems have no mode bits.
#[cfg(not(unix))]
pub(crate) fn mode_open_to_others(_file: &File) -> io::Result<Option<u32>> {
    Ok(None)
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn temporary_beside(path: &Path, directory: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    directory.join(format!(".{name}.{}", hex(&random::<6>())))
}

#[cfg(unix)]
fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(not(unix))]
fn sync_directory(_directory: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_exists_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        create_private(&path, b"one").unwrap();
        let again = create_private(&path, b"two").unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "no leftovers");
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_may_read() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        create_private(&path, b"one").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
