//! One file for each subcommand.

pub(crate) mod detect;
pub(crate) mod run;
pub(crate) mod soak;

/// What can stop a command: nearly always a file or a terminal.
pub(crate) type Error = Box<dyn std::error::Error>;
