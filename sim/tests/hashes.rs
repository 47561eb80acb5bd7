//! The trace hashes of phin itself, pinned in `hashes.txt`: a change that is to change no behaviour changes none of them.
//! `UPDATE_HASHES=1` writes the file.

use std::{fs, path::Path};

use phin_sim::{cores, run_all, scenario::Scenario};

/// How many members, and how many seeds.
const RUNS: &[(u32, u64)] = &[(128, 2), (32, 4), (8, 8)];

/// Loss all the time; a pause, a death, a return, a restart, a split with a leave in it, joins, a rejoin, a dead host.
const SCENARIO: &str = r#"
about = "What the trace hashes cover."
nodes = NODES
lasts = "45s"
firewalled-every = 3
network = { loss = "2%", duplicate = "1%", reorder = "2%" }
event = [
    { at = "3s", do = "pause", who = "1", lasts = "4s" },
    { at = "5s", do = "crash-process", who = "2" },
    { at = "10s", do = "restart", who = "2" },
    { at = "11s", do = "restart", who = "3", after = "500ms" },
    { at = "14s", do = "partition", groups = ["0..HALF", "HALF..NODES"], lasts = "8s" },
    { at = "16s", do = "leave", who = "4" },
    { at = "27s", do = "join", count = 2, seeds = "0,5" },
    { at = "30s", do = "rejoin", who = "4", seeds = "0" },
    { at = "32s", do = "crash-host", who = "6" },
]
"#;

fn scenario(nodes: u32) -> Scenario {
    let text = SCENARIO.replace("NODES", &nodes.to_string());
    Scenario::parse(&text.replace("HALF", &(nodes / 2).to_string()))
        .expect("the script is well formed")
}

#[test]
fn phin_has_the_pinned_traces() {
    let runs = RUNS.iter().flat_map(|&(nodes, seeds)| (1..=seeds).map(move |seed| (nodes, seed)));
    let runs: Vec<_> = runs.collect();
    let verdicts = run_all(&runs, cores(), "hashes", |&(nodes, seed)| {
        scenario(nodes).run(seed, None).unwrap()
    });
    let lines = runs.iter().zip(verdicts).map(|((nodes, seed), verdict)| {
        format!("members={nodes} seed={seed} events={} {}\n", verdict.events, verdict.trace)
    });
    let found: String = lines.collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hashes.txt");
    if std::env::var_os("UPDATE_HASHES").is_some() {
        fs::write(&path, &found).unwrap();
    }
    let pinned = fs::read_to_string(&path).unwrap();
    assert_eq!(found, pinned, "if a rule was to change: UPDATE_HASHES=1 writes the file");
}
