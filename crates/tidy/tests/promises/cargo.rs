//! Queries cargo about the workspace.
#![expect(clippy::unwrap_used, reason = "what helps a test may fail as a test does")]

use std::process::Command;

use serde_json::Value;
use tidy::root;

/// The output of `cargo metadata` about our own packages.
pub(crate) fn metadata() -> Value {
    let json = cargo(&["metadata", "--format-version", "1", "--no-deps"]);
    serde_json::from_str(&json).unwrap()
}

/// The output of cargo with these arguments.
pub(crate) fn cargo(args: &[&str]) -> String {
    let program = std::env::var_os("CARGO").unwrap();
    let output = Command::new(program).args(args).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
