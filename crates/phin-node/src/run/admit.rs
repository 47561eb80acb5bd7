//! `--admit`: a program of the operator's decides on each newcomer.

use std::{path::PathBuf, process::Stdio};

use phin::Newcomer;
use tokio::{io::AsyncReadExt, process::Command};
use tracing::error;

/// Runs the program: its success admits the newcomer; otherwise the first line of its output is the reason why not. It
/// is killed when the decision is given up.
pub(crate) async fn decide(program: PathBuf, newcomer: Newcomer) -> Result<(), String> {
    let addrs: Vec<_> = newcomer.addrs.iter().map(ToString::to_string).collect();
    let mut command = Command::new(&program);
    command.args([&newcomer.id.to_string(), &newcomer.name, &newcomer.seen_at.to_string()]);
    command.arg(addrs.join(",")).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    // The cluster's key is this node's business.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PHIN_") {
            command.env_remove(name);
        }
    }
    let failed = |error: std::io::Error| {
        let path = program.display();
        error!(program = %path, %error, "the program that admits newcomers cannot be run; a newcomer is refused");
        "the program that decides cannot be run".to_owned()
    };
    let mut child = command.spawn().map_err(failed)?;
    let mut output = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(MAX_OUTPUT_BYTES).read_to_end(&mut output).await.map_err(failed)?;
    }
    let status = child.wait().await.map_err(failed)?;
    if status.success() {
        return Ok(());
    }
    let output = String::from_utf8_lossy(&output);
    match output.lines().next().map(str::trim).filter(|line| !line.is_empty()) {
        Some(reason) => Err(reason.to_owned()),
        None => Err(format!("refused without a reason ({status})")),
    }
}

/// What is read of the program's output; the reason that is sent on is shorter.
const MAX_OUTPUT_BYTES: u64 = 1_024;
