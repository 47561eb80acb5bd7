//! The API that applications see.
#![expect(clippy::unwrap_used, reason = "what helps a test may fail as a test does")]

use std::collections::BTreeSet;

use tidy::{File, check_sources};

/// The crates whose public items applications see, through `phin`.
const SEEN: [&str; 3] = ["phin", "phin-quic", "phin-swim"];
/// The packages besides these that their signatures may mention: a new major version of any other one would be a new major
/// version of phin. `serde` is in implementations of its traits only.
const ALLOWED: [&str; 3] = ["bytes", "futures-core", "serde"];

#[test]
fn signatures_mention_no_types_of_other_packages() {
    let foreign: Vec<_> = SEEN.map(|name| (format!("crates/{name}/src/"), foreign(name))).into();
    check_sources(|file, source, violations| {
        let Some((_, foreign)) = foreign.iter().find(|(folder, _)| file.is_in(folder)) else {
            return;
        };
        for token in source.public_mentions(foreign) {
            if !source.allows("api", token.line) {
                let what = format!(
                    "`{}` is of another package: keep it out of public signatures",
                    token.text
                );
                violations.add(&file.path, token.line, &what);
            }
        }
    });
}

/// The dependencies of a crate that its signatures may not mention, as they are called in code.
fn foreign(name: &str) -> BTreeSet<String> {
    let manifest = File::read(&format!("crates/{name}/Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.text.parse().unwrap();
    let targets = manifest.get("target").and_then(toml::Value::as_table);
    let of_targets = targets.into_iter().flat_map(toml::Table::values);
    let of_targets = of_targets.filter_map(|target| target.get("dependencies")?.as_table());
    let own = manifest["dependencies"].as_table();
    let tables: Vec<_> = own.into_iter().chain(of_targets).collect();
    let names = tables.into_iter().flat_map(toml::Table::keys).cloned();
    let names = names.filter(|name| !name.starts_with("phin") && !ALLOWED.contains(&&**name));
    let names: BTreeSet<_> = names.map(|name| name.replace('-', "_")).collect();
    assert!(!names.is_empty(), "{name} has dependencies");
    names
}
