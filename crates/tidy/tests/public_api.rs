//! The public API of each library is the one in its `public-api.txt`, so that no change to it is an accident.
//!
//! `UPDATE_API=1 cargo test --workspace --test public_api` writes these files anew. The format of rustdoc's JSON
//! changes with the toolchain: the test runs with the one that `public-api` of this workspace reads.
#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::{env, fs, path::Path, process::Command};

use public_api::Builder;
use tidy::{Violations, root};

/// The libraries that others may depend on.
const LIBRARIES: &[&str] = &["phin", "phin-accrual", "phin-quic", "phin-swim", "phin-tower"];
/// The version of rustdoc's JSON that `public-api` reads.
const FORMAT: &str = "\"format_version\":57";

#[test]
fn public_apis_change_on_purpose() {
    let docs = document();
    let mut violations = Violations::default();
    for library in LIBRARIES {
        let json = docs.join(format!("{}.json", library.replace('-', "_")));
        if !fs::read_to_string(&json).unwrap().contains(FORMAT) {
            eprintln!("public APIs are NOT CHECKED: public-api does not know this toolchain");
            return;
        }
        let path = format!("crates/{library}/public-api.txt");
        let (now, known) = (api(&json), fs::read_to_string(root().join(&path)).unwrap_or_default());
        if env::var_os("UPDATE_API").is_some() {
            fs::write(root().join(&path), now).unwrap();
            continue;
        }
        let mut complain = |line: usize, sign, item| {
            violations.add(&path, line, &format!("{sign} {item}"));
        };
        for (line, item) in known.lines().enumerate().filter(|(_, item)| !has(&now, item)) {
            complain(line + 1, "-", item);
        }
        for item in now.lines().filter(|item| !has(&known, item)) {
            complain(1, "+", item);
        }
    }
    violations.assert_none();
}

fn has(api: &str, item: &str) -> bool {
    api.lines().any(|line| line == item)
}

/// The public API of a library, one item per line. Omits traits that a type has automatically, but shows those that
/// it lacks.
fn api(json: &Path) -> String {
    let api = Builder::from_rustdoc_json(json).omit_blanket_impls(true).build().unwrap();
    let lines = api.items().map(ToString::to_string);
    lines.filter(|line| !is_automatic(line)).map(|line| line + "\n").collect()
}

fn is_automatic(line: &str) -> bool {
    let traits = ["Freeze", "Send", "StructuralPartialEq", "Sync", "Unpin", "UnsafeUnpin"];
    let is_had = |name| line.contains(&format!(" core::marker::{name} for "));
    line.starts_with("impl") && (line.contains("unwind_safe") || traits.into_iter().any(is_had))
}

/// Writes rustdoc's JSON of the workspace's libraries; returns where. The whole workspace, since by itself each would
/// be built with other features.
fn document() -> std::path::PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let status = Command::new(env::var_os("CARGO").unwrap())
        .args(["doc", "--workspace", "--no-deps", "--lib", "--locked", "--quiet", "--target-dir"])
        .arg(target)
        .env("RUSTDOC", root().join(".ci/rustdoc-unstable"))
        .env("RUSTDOCFLAGS", "-Zunstable-options --output-format=json")
        .current_dir(root())
        .status();
    assert!(status.unwrap().success());
    target.join("doc")
}
