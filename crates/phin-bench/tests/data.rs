//! `phin-bench data` runs to its end, and its reports can be read. The measured values are not tested.

#![expect(clippy::unwrap_used, reason = "clippy takes only functions marked as tests for tests")]

use std::{
    fs,
    process::{Command, Output, Stdio},
};

use serde_json::Value;

/// A small cluster, of which each member writes at least twice.
fn data(more: &[&str]) -> Output {
    let small = "data --profile local --sizes 4 --changes 3 --load 400ms --every 200ms --idle 200ms --settle 200ms";
    let mut command = Command::new(env!("CARGO_BIN_EXE_phin-bench"));
    command.args(small.split(' ')).args(more).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn every_change_is_known_to_all_and_the_report_is_one_object() {
    let output = data(&["--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let [row] = &report["rows"].as_array().unwrap()[..] else { panic!("{report}") };
    assert_eq!((&row["failure"], row["members"].as_u64()), (&Value::Null, Some(4)), "{row}");
    assert!(row["first_values_ms"].as_f64().unwrap() > 0.0, "{row}");
    let is_own_network = report["machine"]["own_network"].as_bool().unwrap();
    // All four members write twice in 400 ms; what they wrote before that does not count.
    for (phase, changes) in [("single", 3), ("loaded", 8)] {
        let spread = &row[phase];
        assert_eq!(spread["changes"].as_u64(), Some(changes), "{row}");
        let times = |key: &str| -> Vec<f64> {
            spread[key].as_array().unwrap().iter().map(|ms| ms.as_f64().unwrap()).collect()
        };
        let (half, all) = (times("half_ms"), times("all_ms"));
        assert_eq!((half.len(), all.len()), (changes as usize, changes as usize), "{row}");
        assert!(half.iter().zip(&all).all(|(half, all)| 0.0 < *half && half <= all), "{row}");
        let bytes = spread["cost"]["bytes_per_second"].as_f64();
        assert_eq!(bytes.is_some_and(|bytes| bytes > 0.0), is_own_network, "{row}");
    }
    assert!(row["resident_kib"].as_f64().unwrap() > 0.0, "{row}");
}

#[test]
fn tables_and_csv_have_a_line_for_each_system() {
    let folder = tempfile::tempdir().unwrap();
    let output = data(&["--bytes", "300", "--out", folder.path().to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read = |file: &str| fs::read_to_string(folder.path().join(file)).unwrap();
    let text = read("nodes-data.md");
    assert_eq!(text, String::from_utf8(output.stdout).unwrap());
    assert_eq!(
        text.lines().filter(|line| line.starts_with("| phin-fast | 4 |")).count(),
        2,
        "{text}"
    );
    assert!(text.contains("## A change of 300 bytes") && text.contains("every 200ms"), "{text}");
    let csv = read("nodes-data.csv");
    let lines: Vec<Vec<_>> = csv.lines().map(|line| line.split(',').collect()).collect();
    let [heading, row] = &lines[..] else { panic!("{csv}") };
    assert_eq!((heading.len(), row[0]), (row.len(), "phin-fast"), "{csv}");
    let changes = heading.iter().position(|name| *name == "changes").unwrap();
    assert_eq!(row[changes], "3.000", "{csv}");
    let report: Value = serde_json::from_str(&read("nodes-data.json")).unwrap();
    assert_eq!(report["bytes"], 300);
}
