//! `phin-bench` runs to its end, and its reports can be read. The measured values are not tested.

#![expect(clippy::unwrap_used, reason = "clippy takes only functions marked as tests for tests")]

use std::{
    collections::BTreeMap,
    fs,
    process::{Command, Output, Stdio},
};

use serde_json::Value;

fn phin_bench(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_phin-bench"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// The smallest clusters, whose nodes die in this way.
fn detect(kill: &str, more: &[&str]) -> Output {
    let smallest =
        "detect --profile local --sizes 3,4 --kills 1 --bootstraps 2 --idle 200ms --settle 200ms";
    let arguments: Vec<_> = smallest.split(' ').chain(["--kill", kill]).collect();
    phin_bench(&arguments).args(more).output().unwrap()
}

fn is_own_network(report: &Value) -> bool {
    report["machine"]["own_network"].as_bool().unwrap()
}

#[test]
fn a_killed_process_is_noticed_and_the_report_is_one_object() {
    let output = detect("process", &["--json", "--busy", "1"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.iter().map(|row| row["members"].as_u64().unwrap()).collect::<Vec<_>>(), [3, 4]);
    for row in rows {
        assert_eq!(row["failure"], Value::Null, "{row}");
        assert_eq!(row["bootstrap_ms"].as_array().unwrap().len(), 2);
        let [first, half, all] =
            ["first_ms", "half_ms", "all_ms"].map(|key| row[key][0].as_f64().unwrap());
        assert!(0.0 < first && first <= half && half <= all, "{row}");
        let idle = &row["idle"];
        assert!(idle["cpu_ms_per_second"].as_f64().unwrap() > 0.0, "{row}");
        assert!(idle["resident_kib"].as_f64().unwrap() > 0.0, "{row}");
        let packets = idle["packets_per_second"].as_f64();
        assert_eq!(packets.is_some_and(|packets| packets > 0.0), is_own_network(&report), "{row}");
    }
}

#[test]
fn a_silent_host_is_noticed_or_the_machine_says_why_not() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    let simulated = folder.path().join("simulated.csv");
    fs::write(&simulated, "protocol,n,all_p50_ms\nphin-fast,3,376.0\nphin-fast,4,376.0\n").unwrap();
    let simulated = simulated.to_str().unwrap();
    let output = detect("silent", &["--out", out, "--simulated", simulated]);
    if !output.status.success() {
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains("no host can be made silent"), "{error}");
        return;
    }
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.lines().any(|line| line.starts_with("| phin-fast | 4 |")), "{text}");
    let read = |file: &str| fs::read_to_string(folder.path().join(file)).unwrap();
    let csv = read("nodes-silent.csv");
    let mut lines = csv.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let heading = lines.next().unwrap();
    let rows: Vec<BTreeMap<_, _>> =
        lines.map(|cells| heading.iter().copied().zip(cells).collect()).collect();
    assert_eq!(rows.len(), 2, "{csv}");
    for row in rows {
        assert_eq!((row["system"], row["kill"], row["deaths"]), ("phin-fast", "silent", "1.000"));
        assert!(row["all_max_ms"].parse::<f64>().unwrap() > 0.0, "{csv}");
    }
    let report: Value = serde_json::from_str(&read("nodes-silent.json")).unwrap();
    assert!(is_own_network(&report));
    let plot = read("nodes-silent-all.svg");
    let is_whole = plot.contains("simulated") && plot.ends_with("</svg>\n");
    assert!(is_whole && plot.contains("phin-fast"), "{plot}");
    assert!(read("nodes-silent.md").contains("](nodes-silent-all.svg)"));
}

#[test]
fn a_cluster_of_two_is_no_cluster() {
    let output = phin_bench(&["detect", "--sizes", "2"]).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("2 is not in 3..=1024"), "{error}");
}
