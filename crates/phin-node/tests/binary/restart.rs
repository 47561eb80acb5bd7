//! Nodes that are killed and started again: with their data, without it, with old data, one by one and all at once.

use std::{collections::BTreeSet, fs, path::Path};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{KEY, Node, run_at, text};

/// Starts a node that logs when it saves its known peers.
fn start(name: &str, data_dir: &Path, more: &[&str]) -> Node {
    start_at("127.0.0.1:0", name, data_dir, more)
}

/// The same, at the address of an earlier run.
fn start_at(bind: &str, name: &str, data_dir: &Path, more: &[&str]) -> Node {
    let data_dir = data_dir.to_str().unwrap();
    let common = ["--name", name, "--data-dir", data_dir, "--log", "info,phin=debug"];
    spawn_at(bind, &[&common[..], more].concat())
}

fn spawn_at(bind: &str, arguments: &[&str]) -> Node {
    Node::spawn(run_at(bind, arguments).env("PHIN_CLUSTER_KEY", KEY))
}

/// Waits until this many peers are in the node's data directory.
fn wait_until_kept(node: &Node, peers: u64) {
    while node.log("saved the known peers")["peers"] != peers {}
}

fn kill(mut node: Node) -> String {
    node.signal(Signal::KILL);
    node.wait();
    node.addr.clone()
}

/// Waits until the node has reported a live member with each of these names.
fn meets(node: &Node, names: &[&str]) {
    let mut missing: BTreeSet<_> = names.iter().copied().collect();
    while !missing.is_empty() {
        let what = format!("{missing:?}");
        let line = node.event(&what, |line| line["event"] == "joined" || line["event"] == "alive");
        missing.remove(text(&line["member"]["name"]).as_str());
    }
}

fn is_back(line: &Value, name: &str, generation: u64) -> bool {
    line["member"]["name"] == name && line["member"]["generation"] == generation
}

fn state_of(node: &Node, id: &str) -> Option<String> {
    let list = node.get("/v1/members").json();
    let members = list["members"].as_array().unwrap().clone();
    members.iter().find(|member| member["id"] == id).map(|member| text(&member["state"]))
}

#[test]
fn a_restart_that_nobody_noticed_is_one_return_in_the_next_generation() {
    let directory = tempfile::tempdir().unwrap();
    // No member is pinged again before the restart.
    let slow = ["--period", "60s"];
    let n1 = Node::start(&[&["--name", "n1"][..], &slow].concat());
    let n2 = Node::start(&[&["--name", "n2", "--join", &n1.addr][..], &slow].concat());
    let n3 = start("n3", directory.path(), &[&["--join", &n1.addr][..], &slow].concat());
    let before = n1.event_of("joined", "n3");
    n2.event_of("joined", "n3");
    wait_until_kept(&n3, 2);
    let addr = kill(n3);
    // Without any seed: it rejoins through the peers that it knew.
    let _n3 = start_at(&addr, "n3", directory.path(), &slow);
    for node in [&n1, &n2] {
        let back = node.event("n3 in its next generation", |line| {
            assert!(line["event"] != "dead" && line["event"] != "suspect", "{line}");
            is_back(line, "n3", 2)
        });
        assert_eq!(back["event"], "alive");
        assert_eq!(back["member"]["id"], before["member"]["id"]);
    }
}

#[test]
fn one_old_peer_is_enough_to_find_back() {
    let directory = tempfile::tempdir().unwrap();
    let n1 = Node::start(&["--name", "n1"]);
    let n2 = Node::join("n2", &n1);
    let n3 = start("n3", directory.path(), &["--join", &n1.addr]);
    meets(&n3, &["n1", "n2"]);
    wait_until_kept(&n3, 2);
    kill(n3);
    let seed = kill(n1);
    let n3 = start("n3", directory.path(), &["--join", &seed]);
    let joined = n3.log("joined through a peer of an earlier run");
    assert_eq!(text(&joined["addr"]), n2.addr);
    n2.event("n3 in its next generation", |line| {
        line["event"] == "alive" && is_back(line, "n3", 2)
    });
}

#[test]
fn without_its_data_a_node_is_new_and_the_old_one_is_known_to_be_gone() {
    let n1 = Node::start(&["--name", "n1"]);
    let n2 = Node::join("n2", &n1);
    let n3 = Node::join("n3", &n1);
    let old = n1.event_of("joined", "n3");
    n2.event_of("joined", "n3");
    let addr = kill(n3);
    let _n3 = spawn_at(&addr, &["--name", "n3", "--join", &n1.addr]);
    for node in [&n1, &n2] {
        let (mut dead, mut new) = (None, None);
        while dead.is_none() || new.is_none() {
            let line = node.event("death and return", |line| line["member"]["name"] == "n3");
            match line["event"].as_str().unwrap() {
                "dead" => dead = Some(line),
                "joined" if line["member"]["id"] != old["member"]["id"] => new = Some(line),
                _ => {}
            }
        }
        let (dead, new) = (dead.unwrap(), new.unwrap());
        assert_eq!(dead["member"]["id"], old["member"]["id"]);
        // `gone` from one observer counts as `silent` while the other still asks.
        let silence = text(&dead["silence"]);
        assert!(["gone", "silent"].contains(&silence.as_str()), "{dead}");
        assert_eq!(new["member"]["generation"], 1);
        assert_eq!(state_of(node, &text(&new["member"]["id"])).as_deref(), Some("alive"));
    }
}

#[test]
fn with_an_old_copy_of_its_data_a_node_learns_that_it_is_behind() {
    let directory = tempfile::tempdir().unwrap();
    let generation = directory.path().join("generation");
    let n1 = Node::start(&["--name", "n1"]);
    let again = || start("n2", directory.path(), &["--join", &n1.addr]);
    let n2 = again();
    n1.event("n2 for the first time", |line| is_back(line, "n2", 1));
    let old = fs::read(&generation).unwrap();
    kill(n2);
    for run in 2..=3 {
        let n2 = again();
        n1.event("n2 again", |line| line["event"] != "dead" && is_back(line, "n2", run));
        kill(n2);
    }
    fs::write(&generation, old).unwrap();
    let n2 = again();
    let taken = n2.log("members know a later generation of this node");
    let taken = taken["generation"].as_u64().unwrap();
    assert!(taken > 3, "it was known as the third: {taken}");
    n1.event("n2 after what it was", |line| line["event"] != "dead" && is_back(line, "n2", taken));
    // It left, so it has saved its state.
    n2.signal(Signal::TERM);
    n1.event_of("left", "n2");
    drop_ended(n2);
    let _n2 = again();
    n1.event("n2 in the generation after that", |line| is_back(line, "n2", taken + 1));
}

fn drop_ended(mut node: Node) {
    assert!(node.wait().success());
}

#[test]
fn all_restart_at_once_with_and_without_their_data_and_find_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let names = ["n1", "n2", "n3", "n4", "n5", "n6"];
    let (kept, lost) = names.split_at(4);
    let dir = |name: &str| directory.path().join(name);
    let first = start(names[0], &dir(names[0]), &[]);
    let mut nodes = Vec::new();
    for name in &kept[1..] {
        nodes.push(start(name, &dir(name), &["--join", &first.addr]));
    }
    for name in lost {
        nodes.push(Node::join(name, &first));
    }
    nodes.insert(0, first);
    for (node, name) in nodes.iter().zip(names).take(kept.len()) {
        let others: Vec<_> = names.into_iter().filter(|other| *other != name).collect();
        meets(node, &others);
        wait_until_kept(node, 5);
    }
    let addrs: Vec<_> = nodes.into_iter().map(kill).collect();
    // Nodes with data have no seed now; the others have one that must rejoin itself.
    let mut nodes = Vec::new();
    for (name, addr) in kept.iter().zip(&addrs) {
        nodes.push(start_at(addr, name, &dir(name), &[]));
    }
    for (name, addr) in lost.iter().zip(&addrs[kept.len()..]) {
        nodes.push(spawn_at(addr, &["--name", name, "--join", &addrs[0]]));
    }
    for (node, name) in nodes.iter().zip(names) {
        let others: Vec<_> = names.into_iter().filter(|other| *other != name).collect();
        meets(node, &others);
    }
}

#[test]
fn damaged_peers_are_set_aside_and_the_seeds_are_enough() {
    let directory = tempfile::tempdir().unwrap();
    let peers = directory.path().join("peers");
    let n1 = Node::start(&["--name", "n1"]);
    let n2 = start("n2", directory.path(), &["--join", &n1.addr]);
    wait_until_kept(&n2, 1);
    kill(n2);
    let torn = fs::read(&peers).unwrap();
    fs::write(&peers, &torn[..torn.len() / 2]).unwrap();
    let n2 = start("n2", directory.path(), &["--join", &n1.addr]);
    let log = n2.log("a damaged file was set aside");
    assert_eq!(text(&log["path"]), peers.to_str().unwrap());
    wait_until_kept(&n2, 1);
    assert!(directory.path().join("peers.corrupt-1").exists());
    assert_eq!(fs::read(&peers).unwrap(), torn, "the same peer is known again");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told_of_counted_and_tried_again() {
    let directory = tempfile::tempdir().unwrap();
    let new = directory.path().join("peers.new");
    // Writes go to a device that is always full.
    std::os::unix::fs::symlink("/dev/full", &new).unwrap();
    let n1 = Node::start(&["--name", "n1"]);
    let n2 = start("n2", directory.path(), &["--join", &n1.addr]);
    let log = n2.log("cannot save the known peers");
    assert_eq!(text(&log["path"]), directory.path().join("peers").to_str().unwrap());
    let metrics = n2.get("/metrics").body;
    assert!(!metrics.contains("\nphin_driver_peers_not_kept_total 0\n"), "{metrics}");
    n1.event_of("joined", "n2");
    fs::remove_file(&new).unwrap();
    wait_until_kept(&n2, 1);
}
