//! Files of settings and certificates, which are short: what is not, a device for one, is not read to its end.

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

/// Far more than any file of settings or bundle of certificates has.
const MAX_BYTES: u64 = 1024 * 1024;
