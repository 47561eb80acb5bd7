//! Licences, versions and sources of all dependencies are those that `deny.toml` allows.
//!
//! `cargo deny check` checks the same and more, but takes minutes to install.
#![expect(clippy::unwrap_used, reason = "what helps a test may fail as a test does")]

use std::collections::{BTreeMap, BTreeSet};

use tidy::{File, Violations};

use crate::cargo::cargo;

const RULES: &str = "deny.toml";

#[derive(Eq, Ord, PartialEq, PartialOrd)]
struct Package {
    name: String,
    version: String,
    licence: String,
}

#[test]
fn dependencies_have_allowed_licences() {
    let rules = rules();
    let allowed: Vec<_> = strings(&rules["licenses"]["allow"]).collect();
    let mut violations = Violations::default();
    for Package { name, version, licence } in packages() {
        if !is_allowed(&licence, &allowed) {
            let what = format!("`{name}` {version} has the licence `{licence}`");
            violations.add(RULES, 1, &what);
        }
    }
    violations.assert_none();
}

#[test]
fn dependencies_come_in_one_version() {
    let mut versions = BTreeMap::<_, BTreeSet<_>>::new();
    for Package { name, version, .. } in packages() {
        versions.entry(name).or_default().insert(version);
    }
    let mut violations = Violations::default();
    for skipped in rules()["bans"]["skip"].as_array().unwrap() {
        let (name, skipped) = skipped["crate"].as_str().unwrap().split_once('@').unwrap();
        let versions = versions.entry(name.to_owned()).or_default();
        let count = versions.len();
        versions.retain(|version| !version.starts_with(&format!("v{skipped}.")));
        if count < 2 || versions.len() == count {
            violations.add(RULES, 1, &format!("`{name}@{skipped}` is no duplicate: remove it"));
        }
    }
    for (name, versions) in versions.iter().filter(|(_, versions)| versions.len() > 1) {
        let what = format!("`{name}` comes in versions {versions:?}: update, or skip one");
        violations.add(RULES, 1, &what);
    }
    violations.assert_none();
}

#[test]
fn dependencies_come_from_the_registry() {
    let lock: toml::Table = File::read("Cargo.lock").unwrap().text.parse().unwrap();
    let mut violations = Violations::default();
    for package in lock["package"].as_array().unwrap() {
        let source = package.get("source").and_then(toml::Value::as_str);
        if source.is_some_and(|source| !source.ends_with("/crates.io-index")) {
            let what = format!("{} is from {source:?}", package["name"].as_str().unwrap());
            violations.add("Cargo.lock", 1, &what);
        }
    }
    violations.assert_none();
}

#[test]
fn licences_are_read_as_spdx_expressions() {
    let is_allowed = |licence| is_allowed(licence, &["A", "B"]);
    assert!(is_allowed("A") && is_allowed("A+") && is_allowed("C OR B") && is_allowed("C/A"));
    assert!(is_allowed("A AND B") && is_allowed("(C OR A) AND B") && is_allowed("C OR A AND B"));
    assert!(!is_allowed("none") && !is_allowed("A AND C") && !is_allowed("(A OR B) AND C"));
    assert!(!is_allowed("A WITH exception"));
}

/// Whether the allowed licences satisfy this expression.
fn is_allowed(licence: &str, allowed: &[&str]) -> bool {
    let any = licence.replace('/', " OR ");
    let alternatives = split(&any, " OR ");
    if alternatives.len() > 1 {
        return alternatives.iter().any(|licence| is_allowed(licence, allowed));
    }
    let all = split(&any, " AND ");
    if all.len() > 1 {
        return all.iter().all(|licence| is_allowed(licence, allowed));
    }
    match any.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')) {
        Some(inner) => is_allowed(inner, allowed),
        None => allowed.contains(&any.trim_end_matches('+')),
    }
}

/// The parts of an expression between operators that stand in no brackets.
fn split<'a>(expression: &'a str, operator: &str) -> Vec<&'a str> {
    let is_outside = |at: usize| {
        let before = &expression[..at];
        before.matches('(').count() == before.matches(')').count()
    };
    let (mut parts, mut start) = (Vec::new(), 0);
    for (at, _) in expression.match_indices(operator).filter(|&(at, _)| is_outside(at)) {
        parts.push(&expression[start..at]);
        start = at + operator.len();
    }
    parts.push(&expression[start..]);
    parts
}

/// All packages that are built on this platform, our own among them.
fn packages() -> BTreeSet<Package> {
    let format = ["--prefix", "none", "--format", "{p}|{l}"];
    let tree = cargo(&[&["tree", "--workspace", "--locked", "--offline"], &format[..]].concat());
    let lines = tree.lines().map(|line| line.trim_end_matches(" (*)"));
    let packages = lines.filter_map(|line| {
        let (package, licence) = line.split_once('|')?;
        let mut words = package.split(' ').map(str::to_owned);
        Some(Package { name: words.next()?, version: words.next()?, licence: licence.to_owned() })
    });
    packages.collect()
}

fn rules() -> toml::Table {
    File::read(RULES).unwrap().text.parse().unwrap()
}

fn strings(list: &toml::Value) -> impl Iterator<Item = &str> {
    list.as_array().unwrap().iter().filter_map(toml::Value::as_str)
}
