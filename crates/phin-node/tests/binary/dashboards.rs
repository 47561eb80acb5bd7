//! The dashboard in `deploy/grafana` and the alerts in `deploy/prometheus` ask for metrics and labels that nodes have.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::harness::{Node, output_of, run};

fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name)
}

/// The names of all metrics as they are queried, with their labels and the values of these.
type Metrics = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// The metrics of a node that has everything: a certificate, programs, and another member.
fn metrics() -> Metrics {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (ca, ca_key) = (path("ca.pem"), path("ca.key"));
    let folder = directory.path().to_str().unwrap();
    assert!(output_of(&["cert", "ca", "--dir", folder]).status.success());
    let start = |name: &str, more: &[&str]| {
        let issue = ["cert", "issue", name, "--ca", &ca, "--ca-key", &ca_key, "--dir", folder];
        assert!(output_of(&issue).status.success());
        let [cert, key] = ["pem", "key"].map(|end| path(&format!("{name}.{end}")));
        let own = ["--ca", &ca, "--cert", &cert, "--key", &key];
        Node::spawn(&mut run(&[&own[..], more].concat()))
    };
    let n1 = start("n1", &["--on", "dead=/bin/true", "--answer", "free=/bin/true"]);
    let _n2 = start("n2", &["--join", &n1.addr]);
    n1.event_of("joined", "n2");
    let mut metrics = Metrics::new();
    let text = n1.get("/metrics").body;
    for line in text.lines() {
        if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|line| line.split_once(' '))
        {
            let suffix = if kind == "counter" { "_total" } else { "" };
            metrics.entry(format!("{name}{suffix}")).or_default();
        } else if !line.starts_with('#') {
            let (series, _) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let of = metrics.get_mut(name).unwrap_or_else(|| panic!("{name} has no type"));
            for (label, _, value) in matchers(labels.trim_end_matches('}')) {
                of.entry(label).or_default().insert(value);
            }
        }
    }
    assert!(metrics.len() > 150, "{metrics:#?}");
    metrics
}

/// The parts of a text such as `state="alive",job=~"$job"`: label, operator, value.
fn matchers(text: &str) -> Vec<(String, String, String)> {
    let parts = text.split(',').filter(|part| !part.trim().is_empty());
    let parts = parts.map(|part| {
        let at = part.find(['=', '!']).unwrap();
        let value = part.find('"').unwrap();
        let [label, operator, value] = [&part[..at], &part[at..value], &part[value..]];
        (label.trim().to_owned(), operator.to_owned(), value.trim_matches('"').to_owned())
    });
    parts.collect()
}

/// The mistakes in an expression of Prometheus.
fn problems(expression: &str, metrics: &Metrics) -> Vec<String> {
    let mut problems = Vec::new();
    let mut used = Vec::new();
    let mut rest = expression;
    let mut grouped = Vec::new();
    while let Some(at) = rest.find(|c: char| c.is_ascii_alphabetic() || c == '_' || c == '[') {
        rest = &rest[at..];
        if rest.starts_with('[') {
            rest = &rest[rest.find(']').unwrap()..];
            continue;
        }
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        rest = after;
        if GROUPING.contains(&word) {
            let (list, after) = after.trim_start()[1..].split_once(')').unwrap();
            grouped.extend(list.split(',').map(|label| label.trim().to_owned()));
            rest = after;
        } else if let Some(labels) = metrics.get(word) {
            used.push(labels);
            if let Some(inside) = after.strip_prefix('{') {
                let (inside, after) = inside.split_once('}').unwrap();
                rest = after;
                for (label, operator, value) in matchers(inside) {
                    match labels.get(&label) {
                        Some(values) if operator == "=" && !values.contains(&value) => {
                            problems.push(format!("{word} has no {label} {value}"));
                        }
                        None if !TARGET.contains(&&*label) => {
                            problems.push(format!("{word} has no label {label}"));
                        }
                        Some(_) | None => {}
                    }
                }
            }
        } else if !FUNCTIONS.contains(&word) {
            problems.push(format!("there is no {word}"));
        }
    }
    let is_known = |label: &String| {
        TARGET.contains(&&**label) || used.iter().any(|labels| labels.contains_key(label))
    };
    problems
        .extend(grouped.iter().filter(|label| !is_known(label)).map(|l| format!("no label {l}")));
    if used.is_empty() {
        problems.push("it asks for no metric".into());
    }
    problems
}

/// The labels that Prometheus adds to each series of a target.
const TARGET: [&str; 2] = ["job", "instance"];
const GROUPING: [&str; 2] = ["by", "without"];
/// The functions and operators in use.
const FUNCTIONS: [&str; 11] =
    ["count", "d", "increase", "m", "max", "min", "offset", "or", "rate", "sum", "time"];

/// The expressions of the dashboard, each with the title of its panel.
fn of_dashboard() -> Vec<(String, String)> {
    let text = fs::read_to_string(deploy("grafana/phin.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| {
        let targets = panel["targets"].as_array().into_iter().flatten();
        targets.map(|target| (panel["title"].clone(), target["expr"].clone()))
    });
    let text = |value: Value| value.as_str().unwrap().to_owned();
    let mut expressions: Vec<_> = targets.map(|(title, expr)| (text(title), text(expr))).collect();
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        if variable["type"] == "query" {
            let query = variable["query"].as_str().unwrap();
            let of = query.strip_prefix("label_values(").unwrap().rsplit_once(',').unwrap().0;
            expressions.push((text(variable["name"].clone()), of.to_owned()));
        }
    }
    expressions
}

/// The expressions of the alerts, each with its name.
fn of_alerts() -> Vec<(String, String)> {
    let text = fs::read_to_string(deploy("prometheus/alerts.yml")).unwrap();
    let file: serde_yaml_ng::Value = serde_yaml_ng::from_str(&text).unwrap();
    let groups = file["groups"].as_sequence().unwrap();
    let rules = groups.iter().flat_map(|group| group["rules"].as_sequence().unwrap());
    let text = |value: &serde_yaml_ng::Value| value.as_str().unwrap().to_owned();
    rules.map(|rule| (text(&rule["alert"]), text(&rule["expr"]))).collect()
}

#[test]
fn dashboard_and_alerts_ask_for_metrics_that_nodes_have() {
    let metrics = metrics();
    let expressions = [of_dashboard(), of_alerts()];
    assert!(expressions.iter().all(|expressions| expressions.len() > 10));
    for (name, expression) in expressions.into_iter().flatten() {
        // `vector(0)` stands for nothing.
        let expression = expression.replace("or vector(0)", "");
        assert_eq!(problems(&expression, &metrics), [""; 0], "{name}: {expression}");
    }
}

#[test]
fn slips_in_expressions_are_found() {
    let states = ["alive", "dead"].map(str::to_owned).into();
    let metrics = Metrics::from([
        ("phin_members".to_owned(), BTreeMap::from([("state".to_owned(), states)])),
        ("phin_isolated".to_owned(), BTreeMap::new()),
    ]);
    let right = [
        "max by (job, state) (phin_members{state=\"dead\", job=~\"$job\"} offset 10m) > 0",
        "increase(phin_isolated[15m]) or phin_members",
    ];
    for expression in right {
        assert_eq!(problems(expression, &metrics), [""; 0], "{expression}");
    }
    let wrong = [
        ("phin_member > 0", vec!["there is no phin_member", "it asks for no metric"]),
        ("phin_members{state=\"gone\"}", vec!["phin_members has no state gone"]),
        ("phin_members{reason=\"x\"}", vec!["phin_members has no label reason"]),
        ("sum by (reason) (phin_members)", vec!["no label reason"]),
        ("rates(phin_isolated[5m])", vec!["there is no rates"]),
        ("time()", vec!["it asks for no metric"]),
    ];
    for (expression, expected) in wrong {
        assert_eq!(problems(expression, &metrics), expected, "{expression}");
    }
}

/// The layout of Grafana has 24 columns, in which panels do not overlap.
#[test]
fn the_panels_of_the_dashboard_have_a_place_and_an_explanation() {
    let text = fs::read_to_string(deploy("grafana/phin.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let mut taken = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        assert!(
            panel["type"] == "row" || !panel["description"].as_str().unwrap().is_empty(),
            "{panel}"
        );
        let [x, y, w, h] =
            ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
        assert!(x + w <= 24, "{panel}");
        let places = (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y)));
        assert!(places.into_iter().all(|place| taken.insert(place)), "{panel}");
    }
}

/// promtool is Prometheus' own check of rules, and runs the tests next to them.
#[test]
fn promtool_takes_the_alerts_and_their_tests_pass() {
    for (command, file) in [("check", "alerts.yml"), ("test", "alerts_test.yml")] {
        let mut promtool = Command::new("promtool");
        match promtool.args([command, "rules", file]).current_dir(deploy("prometheus")).output() {
            Ok(output) => {
                let text = [output.stdout, output.stderr].concat();
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&text));
            }
            Err(error) => {
                // Directly to standard error, because the output of a passing test is not shown.
                let line = format!("alerts: SKIPPED, for it needs promtool: {error}\n");
                let _ = std::io::stderr().write_all(line.as_bytes());
                return;
            }
        }
    }
}
