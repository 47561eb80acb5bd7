//! `--admit`: a program of the operator decides on each newcomer.

use std::time::Duration;

use phin::Newcomer;
use tracing::error;

use crate::{failure::with_causes, program::Program};

/// Runs the program. Its success admits the newcomer; otherwise the first line of its output is the reason for the
/// refusal.
pub(crate) async fn decide(program: Program, newcomer: Newcomer) -> Result<(), String> {
    let addrs: Vec<_> = newcomer.addrs.iter().map(ToString::to_string).collect();
    let path = program.path().display().to_string();
    let program = program.with_arguments([
        newcomer.id.to_string(),
        newcomer.name,
        newcomer.seen_at.to_string(),
        addrs.join(","),
    ]);
    let output = program.output(b"", MAX_TIME, MAX_OUTPUT_BYTES).await.map_err(|error| {
        let error = with_causes(&error);
        error!(program = path, error, "cannot run the admission program; a newcomer is refused");
        "cannot run the admission program".to_owned()
    })?;
    if output.status.success() {
        return Ok(());
    }
    let stdout = String::from_utf8_lossy(&output.stdout);
    match stdout.lines().next().map(str::trim).filter(|line| !line.is_empty()) {
        Some(reason) => Err(reason.to_owned()),
        None => Err(format!("refused without a reason ({})", output.status)),
    }
}

/// Longer than a decision may take, after which it is dropped, and the program killed.
const MAX_TIME: Duration = Duration::from_secs(60);
/// Bytes of the program's output that are kept. The reason that is sent is shorter.
const MAX_OUTPUT_BYTES: usize = 1_024;
