//! Published crates are ready for it.
#![expect(clippy::unwrap_used, reason = "what helps a test may fail as a test does")]

use serde_json::Value;
use tidy::{File, Violations, root};

use crate::cargo::metadata;

/// The crates that are published, each after those that it depends on.
const PUBLISHED: &[&str] =
    &["phin-accrual", "phin-swim", "phin-quic", "phin", "phin-tower", "phin-node"];

#[test]
fn only_what_is_meant_for_others_is_published() {
    let mut violations = Violations::default();
    for package in packages() {
        let (name, manifest) = (text(&package["name"]), manifest(&package));
        let is_published = package["publish"].is_null();
        if is_published != PUBLISHED.contains(&name) {
            let what = "set `publish = false`, or add it to PUBLISHED of tidy";
            violations.add(&manifest, 1, what);
        }
    }
    violations.assert_none();
}

#[test]
fn published_crates_say_what_they_are() {
    let mut violations = Violations::default();
    for package in published() {
        let manifest = manifest(&package);
        for key in ["description", "license", "repository", "documentation", "rust_version"] {
            if package[key].is_null() {
                violations.add(&manifest, 1, &format!("`{key}` is missing"));
            }
        }
        for (key, most) in [("keywords", 5), ("categories", 5)] {
            let count = package[key].as_array().map_or(0, Vec::len);
            if !(1..=most).contains(&count) {
                violations.add(&manifest, 1, &format!("give 1 to {most} `{key}`"));
            }
        }
        let folder = manifest.trim_end_matches("Cargo.toml");
        for file in ["README.md", "LICENSE-MIT", "LICENSE-APACHE"] {
            if !root().join(folder).join(file).is_file() {
                violations.add(&format!("{folder}{file}"), 1, "is missing");
            }
        }
    }
    violations.assert_none();
}

#[test]
fn published_crates_depend_only_on_published_ones() {
    let mut violations = Violations::default();
    for package in published() {
        for dependency in package["dependencies"].as_array().unwrap() {
            // Cargo omits a dev-dependency with a path and no version from the package.
            let is_left_out = dependency["kind"] == "dev" && dependency["req"] == "*";
            let is_ours = !dependency["path"].is_null();
            let name = text(&dependency["name"]);
            if is_ours && !is_left_out && !PUBLISHED.contains(&name) {
                let what =
                    format!("`{name}` is not published: depend on it only in tests, by path");
                violations.add(&manifest(&package), 1, &what);
            }
        }
    }
    violations.assert_none();
}

#[test]
fn the_minimum_rust_version_is_the_same_everywhere() {
    let version = text(&published()[0]["rust_version"]).to_owned();
    let mut violations = Violations::default();
    for package in published() {
        if package["rust_version"] != version.as_str() {
            let what = format!("`rust-version` is not {version}");
            violations.add(&manifest(&package), 1, &what);
        }
    }
    let readmes = PUBLISHED.iter().map(|name| format!("crates/{name}/README.md"));
    for path in readmes.chain(["README.md".to_owned(), "CONTRIBUTING.md".to_owned()]) {
        let file = File::read(&path).unwrap();
        if !file.text.contains(&version) {
            violations.add(&path, 1, &format!("does not say that phin needs Rust {version}"));
        }
    }
    violations.assert_none();
}

#[test]
fn ci_packages_what_is_published() {
    let ci = File::read(".ci/run").unwrap().text;
    let mut violations = Violations::default();
    for name in PUBLISHED.iter().filter(|name| !ci.contains(&format!(" -p {name}"))) {
        violations.add(".ci/run", 1, &format!("does not package `{name}`: add `-p {name}`"));
    }
    violations.assert_none();
}

fn published() -> Vec<Value> {
    let mut packages = packages();
    packages.retain(|package| PUBLISHED.contains(&text(&package["name"])));
    assert_eq!(packages.len(), PUBLISHED.len(), "PUBLISHED of tidy names a crate that is gone");
    packages
}

fn packages() -> Vec<Value> {
    metadata()["packages"].as_array().unwrap().clone()
}

/// The path of a package's manifest from the root.
fn manifest(package: &Value) -> String {
    let path = std::path::Path::new(text(&package["manifest_path"]));
    path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}
