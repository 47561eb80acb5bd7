//! The content that a command stores or sends: its argument, or standard input.

use std::io::{self, Read};

use crate::failure::Failure;

/// The bytes of an argument, or of standard input for `-`: at most so many, never cut.
pub(crate) fn bytes_of(argument: &str, what: &str, max_bytes: usize) -> Result<Vec<u8>, Failure> {
    let bytes = match argument {
        "-" => read(max_bytes)?,
        text => text.as_bytes().to_vec(),
    };
    match bytes.len() <= max_bytes {
        true => Ok(bytes),
        false => Err(Failure::Usage(format!("{what} has at most {max_bytes} bytes"))),
    }
}

/// Standard input, up to one byte more than allowed.
fn read(max_bytes: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = io::stdin().take(max_bytes as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| Failure::runtime("cannot read standard input", &error))?;
    Ok(bytes)
}
