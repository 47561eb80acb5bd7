//! `phin-bench messages` runs to its end, and its reports can be read. The measured values are not tested.

#![expect(clippy::unwrap_used, reason = "clippy takes only functions marked as tests for tests")]

use std::{
    fs,
    process::{Command, Output, Stdio},
};

use serde_json::Value;

fn messages(more: &[&str]) -> Output {
    let small = "messages --profile local --sizes 4 --idle 200ms --settle 200ms";
    let mut command = Command::new(env!("CARGO_BIN_EXE_phin-bench"));
    command.args(small.split(' ')).args(more).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn all_receive_and_answer_and_the_report_is_one_object() {
    let counts = ["--messages", "3", "--queries", "2", "--amid", "1", "--json"];
    let output = messages(&counts);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let [row] = &report["rows"].as_array().unwrap()[..] else { panic!("{report}") };
    assert_eq!((&row["failure"], row["members"].as_u64()), (&Value::Null, Some(4)), "{row}");
    let faults = serde_json::json!({ "repeated": 0, "disordered": 0, "reported_missing": 0 });
    assert_eq!(row["faults"], faults, "{row}");
    let lengths = [
        (&row["single"]["all_ms"], 3),
        (&row["queries"]["replied_ms"], 2),
        (&row["amid"]["ended_ms"], 1),
        (&row["amid"]["known_ms"], 1),
    ];
    for (times, length) in lengths {
        let times = times.as_array().unwrap();
        assert_eq!(times.len(), length, "{row}");
        assert!(times.iter().all(|ms| ms.as_f64().unwrap() > 0.0), "{row}");
    }
    let named = ["named", "misnamed", "lacking"].map(|key| row["amid"][key].as_u64().unwrap());
    assert_eq!(named, [1, 0, 0], "{row}");
}

#[test]
fn members_that_die_meanwhile_do_not_reply_and_tables_have_a_line_for_each_system() {
    let folder = tempfile::tempdir().unwrap();
    let counts = ["--messages", "1", "--queries", "1", "--amid", "1", "--deaths", "2"];
    let more = ["--when", "meanwhile", "--out", folder.path().to_str().unwrap()];
    let output = messages(&[&counts[..], &more].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read = |file: &str| fs::read_to_string(folder.path().join(file)).unwrap();
    let text = read("nodes-messages.md");
    assert_eq!(text, String::from_utf8(output.stdout).unwrap());
    let lines = text.lines().filter(|line| line.starts_with("| phin-fast | 4 |"));
    assert_eq!(lines.count(), 3, "{text}");
    let csv = read("nodes-messages.csv");
    let lines: Vec<Vec<_>> = csv.lines().map(|line| line.split(',').collect()).collect();
    let [heading, row] = &lines[..] else { panic!("{csv}") };
    assert_eq!((heading.len(), row[0]), (row.len(), "phin-fast"), "{csv}");
    for (name, value) in [("amid_deaths", "2.000"), ("amid_named", "2.000")] {
        let column = heading.iter().position(|heading| *heading == name).unwrap();
        assert_eq!(row[column], value, "{csv}");
    }
    let report: Value = serde_json::from_str(&read("nodes-messages.json")).unwrap();
    assert_eq!(report["is_meanwhile"], true);
}
