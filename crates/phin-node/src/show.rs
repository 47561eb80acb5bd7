//! Prints answers on standard output, as JSON or as readable text.

use std::io::{self, Write};

use serde::Serialize;

use crate::failure::Failure;

/// Whether a command prints JSON.
#[derive(clap::Args, Clone, Copy)]
pub(crate) struct Form {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Form {
    /// Prints the answer of a node as it is, or else this text about it.
    pub(crate) fn print(self, answer: &impl Serialize, text: &str) -> Result<(), Failure> {
        let line = match self.json {
            true => serde_json::to_string(answer).expect("it is plain data with text keys"),
            false => text.to_owned(),
        };
        Ok(io::stdout().write_all(format!("{line}\n").as_bytes())?)
    }
}
