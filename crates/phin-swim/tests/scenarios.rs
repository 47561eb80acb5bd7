//! Runs `tests/scenarios/*.txt`: protocol behaviour as text that a person can read aloud.
//!
//! Above the line `----` stands what happens, below it what is seen. `UPDATE_SCENARIOS=1` rewrites what is below; the
//! diff is for review. The commands are listed at [`Scenario::execute`].

mod harness;

use std::{fs, path::PathBuf};

use harness::Scenario;

#[test]
fn scenarios_show_what_they_say() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    let mut failures = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let (script, expected) = text.split_once("----\n").unwrap_or((&text, ""));
        let seen = Scenario::run(script);
        if seen == expected {
            continue;
        }
        if std::env::var_os("UPDATE_SCENARIOS").is_some() {
            fs::write(&file, format!("{script}----\n{seen}")).unwrap();
            continue;
        }
        failures.push(format!("{}\nexpected\n{expected}\nseen\n{seen}", file.display()));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn one_seed_gives_one_run_to_the_byte() {
    let script = "cluster nodes=12 seed=5\nloss 10%\nshow all\nkill n3\nrun 20s\n";
    let first = Scenario::run_to_bytes(script);
    assert!(first.len() > 10_000, "the run is worth comparing");
    assert!(first == Scenario::run_to_bytes(script), "two runs of one seed differ");
    let other = Scenario::run_to_bytes(&script.replace("seed=5", "seed=6"));
    assert!(first != other, "the seed decides nothing");
}
