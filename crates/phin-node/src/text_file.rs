//! Reads files of settings and certificates, up to a limit: a device, for example, has no end.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

/// Reads a text of at most [`MAX_BYTES`].
pub(crate) fn read(path: impl AsRef<Path>) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        let error = format!("it is longer than {MAX_BYTES} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, error));
    }
    Ok(text)
}

/// The longest file: far longer than any settings file or bundle of certificates.
const MAX_BYTES: u64 = 1024 * 1024;
