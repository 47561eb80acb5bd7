//! Dependencies between the crates of the workspace.
#![expect(clippy::unwrap_used, reason = "what helps a test may fail as a test does")]

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tidy::{File, Violations};

use crate::cargo::metadata;

/// The crates of the workspace that each may use, and what it must never reach, however indirectly.
const EDGES: &[(&str, &[&str], Externals)] = &[
    ("phin-accrual", &[], Externals::None),
    (
        "phin-swim",
        &["phin-accrual"],
        Externals::AllBut(&["tokio", "quinn", "quinn-proto", "ring", "rustls", "mio", "socket2"]),
    ),
    ("phin-quic", &[], Externals::All),
    ("phin", &["phin-swim", "phin-quic"], Externals::All),
    ("phin-tower", &["phin"], Externals::AllBut(&["tonic"])),
    ("phin-bench", &["phin", "phin-report"], Externals::All),
    // The installed binary does not link plotting or benchmark code.
    ("phin-node", &["phin"], Externals::AllBut(&["phin-bench", "phin-report", "plotters"])),
    ("phin-report", &[], Externals::AllBut(&["tokio", "quinn", "quinn-proto"])),
    (
        "phin-sim",
        &["phin-swim", "phin-accrual", "phin-report"],
        Externals::AllBut(&["tokio", "quinn", "quinn-proto"]),
    ),
    (
        "phin-benches",
        &["phin", "phin-bench", "phin-swim", "phin-quic", "phin-accrual"],
        Externals::All,
    ),
    ("tidy", &[], Externals::All),
];

enum Externals {
    All,
    None,
    AllBut(&'static [&'static str]),
}

/// A crate of the workspace, as its manifest says.
struct Package {
    name: String,
    manifest: String,
    /// Its dependencies, without those that only tests and benchmarks use.
    dependencies: Vec<String>,
}

#[test]
fn crates_depend_only_on_whom_they_may() {
    let packages = packages();
    let ours: BTreeSet<_> = packages.iter().map(|package| package.name.as_str()).collect();
    let mut violations = Violations::default();
    for Package { name, manifest, dependencies } in &packages {
        let Some((_, allowed, _)) = EDGES.iter().find(|(package, ..)| package == name) else {
            let what = format!("`{name}` is new: say in EDGES of tidy whom it may depend on");
            violations.add(manifest, 1, &what);
            continue;
        };
        for dependency in dependencies {
            if ours.contains(&**dependency) && !allowed.contains(&&**dependency) {
                let what =
                    format!("`{name}` may not depend on `{dependency}`, only on {allowed:?}");
                violations.add(manifest, line_of(manifest, dependency), &what);
            }
        }
    }
    violations.assert_none();
}

#[test]
fn crates_reach_no_forbidden_package() {
    let packages = packages();
    let graph = locked_dependencies(&packages);
    let mut violations = Violations::default();
    for Package { name, manifest, dependencies } in &packages {
        let edges = EDGES.iter().find(|(package, ..)| package == name);
        for dependency in dependencies {
            let reached = reachable(&graph, dependency);
            let forbidden = match edges.map(|(.., externals)| externals) {
                Some(Externals::None) => Some(dependency.as_str()),
                Some(Externals::AllBut(forbidden)) => {
                    forbidden.iter().copied().find(|package| reached.contains(package))
                }
                Some(Externals::All) | None => None,
            };
            if let Some(forbidden) = forbidden {
                let what = format!("`{name}` must not reach `{forbidden}`: remove `{dependency}`");
                violations.add(manifest, line_of(manifest, dependency), &what);
            }
        }
    }
    violations.assert_none();
}

#[test]
fn crates_inherit_what_is_common() {
    let mut violations = Violations::default();
    for Package { name, manifest, .. } in packages() {
        let file = File::read(&manifest).unwrap();
        let toml: toml::Table = file.text.parse().unwrap();
        let inherits = |table: Option<&toml::Value>| {
            table.and_then(|table| table.get("workspace")).and_then(toml::Value::as_bool)
                == Some(true)
        };
        if !inherits(toml.get("lints")) {
            let what = format!("`{name}` needs `[lints]` with `workspace = true`");
            violations.add(&manifest, 1, &what);
        }
        for key in ["version", "edition", "rust-version", "license", "repository"] {
            if !inherits(toml.get("package").and_then(|package| package.get(key))) {
                let what = format!("`{name}` needs `{key}.workspace = true`");
                violations.add(&manifest, line_of(&manifest, key), &what);
            }
        }
    }
    violations.assert_none();
}

fn packages() -> Vec<Package> {
    let metadata = metadata();
    let folder = metadata["workspace_root"].as_str().unwrap();
    metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| to_package(folder, package))
        .collect()
}

fn to_package(folder: &str, package: &Value) -> Package {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let manifest = text(&package["manifest_path"]);
    let dependencies = package["dependencies"].as_array().unwrap().iter();
    Package {
        name: text(&package["name"]),
        manifest: manifest[folder.len() + 1..].replace('\\', "/"),
        dependencies: dependencies
            .filter(|dependency| dependency["kind"].as_str() != Some("dev"))
            .map(|dependency| text(&dependency["name"]))
            .collect(),
    }
}

/// The dependencies of each package, from the lock file; of our own crates, from their manifests. All versions of a
/// name are merged.
fn locked_dependencies(ours: &[Package]) -> BTreeMap<String, Vec<String>> {
    let lock: toml::Table = File::read("Cargo.lock").unwrap().text.parse().unwrap();
    let mut graph = BTreeMap::<_, Vec<_>>::new();
    for package in lock["package"].as_array().unwrap() {
        let dependencies = package.get("dependencies").and_then(toml::Value::as_array);
        let names = dependencies.into_iter().flatten().filter_map(toml::Value::as_str);
        let names = names.filter_map(|name| name.split(' ').next()).map(str::to_owned);
        graph.entry(package["name"].as_str().unwrap().to_owned()).or_default().extend(names);
    }
    graph.extend(ours.iter().map(|p| (p.name.clone(), p.dependencies.clone())));
    graph
}

fn reachable<'a>(graph: &'a BTreeMap<String, Vec<String>>, from: &'a str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut open = vec![from];
    while let Some(package) = open.pop() {
        if reached.insert(package) {
            open.extend(graph.get(package).into_iter().flatten().map(String::as_str));
        }
    }
    reached
}

/// The line of a manifest that begins with this key.
fn line_of(manifest: &str, key: &str) -> usize {
    let file = File::read(manifest).unwrap();
    file.text.lines().position(|line| line.starts_with(key)).map_or(1, |index| index + 1)
}
