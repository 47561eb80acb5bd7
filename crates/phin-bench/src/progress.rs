//! The progress of a measurement, on standard error.

use std::io::{self, Write};

/// Reports the progress of a system at a size.
pub(crate) fn say(system: &str, members: usize, what: &str) {
    let line = format!("{system} with {members} members: {what}\n");
    // With standard error closed there is nobody to tell.
    let _ = io::stderr().write_all(line.as_bytes());
}
