//! `phin-bench load` and `phin-bench loss` run to their ends, and their reports can be read. The measured values are not tested.

#![expect(clippy::unwrap_used, reason = "clippy takes only functions marked as tests for tests")]

use std::{
    fs,
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};

fn phin_bench(command: &str, more: &[&str]) -> Output {
    let small = "--profile local --sizes 4 --settle 200ms";
    let mut bench = Command::new(env!("CARGO_BIN_EXE_phin-bench"));
    bench.arg(command).args(small.split(' ')).args(more).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn members_die_in_turn_with_and_without_load() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    let options = ["--kills", "1", "--rate", "5", "--bytes", "100", "--out", out];
    let output = phin_bench("load", &options);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read = |file: &str| fs::read_to_string(folder.path().join(file)).unwrap();
    let report: Value = serde_json::from_str(&read("nodes-load-process.json")).unwrap();
    let [row] = &report["rows"].as_array().unwrap()[..] else { panic!("{report}") };
    assert_eq!((&row["failure"], &row["rate"]), (&Value::Null, &json!(5.0)), "{row}");
    for load in ["loaded", "idle"] {
        let all = row[load]["all_ms"].as_array().unwrap();
        assert!(all.len() == 1 && all[0].as_f64().unwrap() > 0.0, "{row}");
        let published = row[load]["published"][0].as_f64().unwrap();
        assert_eq!(published > 0.0, load == "loaded", "{row}");
    }
    let step = &row["steps"][0];
    assert!(step["published"].as_f64().unwrap() > 0.0, "{step}");
    assert_eq!((&step["refused"], &step["delivered"]), (&json!(0), &json!(1.0)), "{step}");
    let text = read("nodes-load-process.md");
    let lines = text.lines().filter(|line| line.starts_with("| phin-fast | 4 |"));
    assert_eq!(lines.count(), 4, "{text}");
}

#[test]
fn all_messages_arrive_while_packets_are_lost_or_the_machine_says_why_not() {
    let options = ["--publishers", "2", "--messages", "10", "--every", "20ms", "--json"];
    let output = phin_bench("loss", &options);
    if !output.status.success() {
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains("no packets can be lost"), "{error}");
        return;
    }
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let [row] = &report["rows"].as_array().unwrap()[..] else { panic!("{report}") };
    if let Some(failure) = row["failure"].as_str() {
        assert!(failure.contains("No such file"), "without `nft` only: {failure}");
        return;
    }
    assert_eq!(row["spread"]["all_ms"].as_array().unwrap().len(), 20, "{row}");
    let faults = json!({ "repeated": 0, "disordered": 0, "reported_missing": 0 });
    assert_eq!((&row["missing"], &row["faults"]), (&json!(0), &faults), "{row}");
    let lost = row["lost"].as_f64().unwrap();
    assert!(0.1 < lost && lost < 0.4, "{row}");
}
