//! Members that an administrator expels, and readmits.

use std::{
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{KEY, Node, PATIENCE, failure_of, output_of, phin, run_at, said, text};

/// The files of a cluster: an admin key, and the data directory of each node.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        let public = files.admin_key("admin.key");
        assert_eq!(public.len(), 64, "{public}");
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn name(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Creates an admin key, and returns its public half.
    fn admin_key(&self, name: &str) -> String {
        let output = output_of(&["key", "admin", "--out", &self.name(name)]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Starts a node, or starts it again, that joins through these.
    fn start(&self, name: &str, bind: &str, through: &[&str]) -> Node {
        let (data_dir, admin_key) = (self.name(name), self.name("admin.key.pub"));
        let mut arguments = vec!["--name", name, "--data-dir", &data_dir];
        arguments.extend(["--admin-key", &admin_key]);
        through.iter().for_each(|addr| arguments.extend(["--join", addr]));
        Node::spawn(run_at(bind, &arguments).env("PHIN_CLUSTER_KEY", KEY))
    }

    fn cluster(&self, names: &[&str]) -> Vec<Node> {
        let mut nodes: Vec<Node> = Vec::new();
        for name in names {
            let through: Vec<_> =
                nodes.first().map(|first| first.addr.clone()).into_iter().collect();
            let through: Vec<_> = through.iter().map(String::as_str).collect();
            nodes.push(self.start(name, "127.0.0.1:0", &through));
        }
        until("all know all", || nodes.iter().all(|node| live(node).len() == names.len()));
        nodes
    }

    /// Runs `phin expel` or `phin readmit`.
    fn state(&self, what: &str, member: &str, through: &Node) -> String {
        said(&[what, member, "--admin-key-file", &self.name("admin.key")], through)
    }
}

/// Waits until this holds.
fn until(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        // tidy: allow sleep: lists and counters tell nobody when they change
        thread::sleep(Duration::from_millis(20));
    }
}

/// The names of the live members in the list of a node.
fn live(node: &Node) -> Vec<String> {
    let list = node.get("/v1/members").json();
    let members = list["members"].as_array().unwrap();
    let live = members.iter().filter(|member| member["state"] == "alive");
    let mut names: Vec<_> = live.map(|member| text(&member["name"])).collect();
    names.sort();
    names
}

fn ids(node: &Node) -> Vec<String> {
    let list = node.get("/v1/members").json();
    list["members"].as_array().unwrap().iter().map(|member| text(&member["id"])).collect()
}

/// The standing of each id at a node.
fn standings(node: &Node) -> Vec<(String, String)> {
    let known = node.get("/v1/expel").json();
    let statements = known["statements"].as_array().unwrap();
    statements.iter().map(|one| (text(&one["id"]), text(&one["standing"]))).collect()
}

fn id_of(node: &Node) -> String {
    text(&node.get("/v1/members").json()["self"])
}

fn refusals(node: &Node) -> u64 {
    let metrics = node.get("/metrics").body;
    let line = "phin_transport_refusals_total{reason=\"expelled\"} ";
    let found = metrics.lines().find_map(|known| known.strip_prefix(line));
    found.map_or(0, |count| count.parse().unwrap())
}

fn kill(mut node: Node) -> String {
    node.signal(Signal::KILL);
    node.wait();
    node.addr.clone()
}

#[test]
fn an_expelled_member_is_out_everywhere_and_stays_out_until_it_is_readmitted() {
    let files = Files::new();
    let mut nodes = files.cluster(&["n1", "n2", "n3", "n4"]);
    let n3 = nodes.remove(2);
    let id = id_of(&n3);
    let answer = files.state("expel", "n3", &nodes[1]);
    assert!(answer.starts_with("expelled n3 ("), "{answer}");
    for node in &nodes {
        node.event_of("dead", "n3");
        node.event_of("expelled", "n3");
        assert!(!ids(node).contains(&id));
        assert_eq!(standings(node), [(id.clone(), "expelled".to_owned())]);
    }
    // It learns by which statement.
    n3.log("this node is expelled from the cluster");
    let ready = n3.get("/readyz");
    assert_eq!(ready.status, 503);
    assert!(ready.error().starts_with("the node is expelled from the cluster, by a statement"));
    let listed = said(&["expel", "--list"], &nodes[0]);
    assert!(
        listed.contains("n3") && listed.contains("expelled") && listed.contains(&id),
        "{listed}"
    );

    // A newcomer receives the statement, though nobody of those that were there sees the expelled one any more.
    let n5 = files.start("n5", "127.0.0.1:0", &[&nodes[0].addr]);
    until("the newcomer knows", || standings(&n5) == [(id.clone(), "expelled".to_owned())]);
    nodes.push(n5);

    // It tries to return through several nodes.
    let addr = kill(n3);
    let through: Vec<_> = nodes.iter().map(|node| node.addr.clone()).collect();
    let through: Vec<_> = through.iter().map(String::as_str).collect();
    let n3 = files.start("n3", &addr, &through);
    until("each refuses it", || nodes.iter().all(|node| refusals(node) > 0));
    let refused = n3.log("handshake refused");
    assert_eq!(refused["reason"], "expelled from the cluster");
    assert_eq!(refused["refused_by"], "peer");
    assert!(nodes.iter().all(|node| live(node).len() == 4 && !ids(node).contains(&id)));

    let answer = files.state("readmit", "n3", &nodes[2]);
    assert!(answer.starts_with("readmitted n3 ("), "{answer}");
    until("it is back", || nodes.iter().all(|node| live(node).len() == 5));
    until("it is ready", || n3.get("/readyz").status == 200);
}

#[test]
fn a_node_that_restarts_alone_still_refuses_an_expelled_member() {
    let files = Files::new();
    let mut nodes = files.cluster(&["n1", "n2", "n3"]);
    let (n3, n2) = (nodes.remove(2), nodes.remove(1));
    let (n1, id) = (nodes.remove(0), id_of(&n3));
    files.state("expel", &id, &n1);
    kill(n2);
    let addr = kill(n1);
    kill(n3);
    let n1 = files.start("n1", &addr, &[]);
    assert_eq!(standings(&n1), [(id.clone(), "expelled".to_owned())]);
    let n3 = files.start("n3", "127.0.0.1:0", &[&n1.addr]);
    until("it refuses", || refusals(&n1) > 0);
    assert_eq!(live(&n1), ["n1"]);
    assert_eq!(n3.get("/readyz").status, 503);
}

#[test]
fn only_an_admin_key_of_the_nodes_expels_and_for_as_long_as_it_says() {
    let files = Files::new();
    let nodes = files.cluster(&["n1", "n2"]);
    files.admin_key("other.key");
    let expel = |key: &str, through: &Node, more: &[&str]| {
        let key = files.name(key);
        let arguments = [&["expel", "n2", "--admin-key-file", &key, "--http", &through.http], more];
        phin(&arguments.concat())
    };
    let other = failure_of(&mut expel("other.key", &nodes[0], &[]), 1);
    assert!(other.contains("answered 403") && other.contains("not an admin key"), "{other}");
    let mode = std::os::unix::fs::MetadataExt::mode(&files.path("admin.key").metadata().unwrap());
    assert_eq!(mode & 0o777, 0o600);
    let public = failure_of(&mut expel("admin.key.pub", &nodes[0], &[]), 1);
    assert!(public.contains("admin.key.pub"), "{public}");
    let without = Node::start(&["--name", "n2"]);
    let none = failure_of(&mut expel("admin.key", &without, &[]), 1);
    assert!(none.contains("no admin key (--admin-key)"), "{none}");
    assert_eq!(live(&nodes[0]), ["n1", "n2"]);

    // A statement that is handed over again changes nothing, and one that was changed is refused.
    let output = expel("admin.key", &nodes[0], &["--for", "2s"]).output().unwrap();
    assert!(output.status.success());
    nodes[0].event_of("expelled", "n2");
    let known = nodes[0].get("/v1/expel").json();
    let statement = text(&known["statements"][0]["statement"]);
    let post = |statement: &str| {
        let body = format!("{{\"statement\":\"{statement}\"}}");
        crate::harness::ask(&nodes[0], "POST", "/v1/expel", &body)
    };
    assert_eq!(post(&statement).status, 200);
    let changed = if statement.ends_with('0') { "1" } else { "0" };
    let changed = format!("{}{changed}", &statement[..statement.len() - 1]);
    // One with a lower signature counts as the earlier of the two, before the signature is checked.
    assert!([403, 409].contains(&post(&changed).status), "{changed}");
    assert_eq!(post("00").status, 400);
    until("the statement ends", || {
        nodes[0].get("/v1/expel").json()["statements"] == Value::Array(vec![])
    });
    until("it returns by itself", || live(&nodes[0]).len() == 2);
    assert!(Path::new(&files.name("n1/expulsions")).exists());
}

#[test]
fn an_admin_key_is_replaced_while_nodes_run() {
    let files = Files::new();
    let [old, new] = ["old.key", "new.key"].map(|name| files.admin_key(name));
    let give = |keys: &[&str]| std::fs::write(files.path("keys"), keys.join("\n")).unwrap();
    give(&[&old]);
    let start = |name: &str, more: &[&str]| {
        let keys = files.name("keys");
        let fixed = ["--name", name, "--watch-files", "false", "--admin-key", &keys];
        Node::start(&[&fixed[..], more].concat())
    };
    let n1 = start("n1", &[]);
    let nodes = [start("n2", &["--join", &n1.addr]), n1];
    until("both know both", || nodes.iter().all(|node| live(node).len() == 2));
    let reload = || {
        nodes.iter().for_each(|node| assert_eq!(said(&["reload"], node), "applied: --admin-key\n"));
    };
    // Nobody need have seen the ids.
    let [one, two] = ["1", "2"].map(|digit| digit.repeat(32));
    let expel = |key: &str, id: &str| {
        let key = files.name(key);
        said(&["expel", id, "--admin-key-file", &key], &nodes[0]);
    };
    expel("old.key", &one);
    give(&[&old, &new]);
    reload();
    expel("new.key", &two);
    let expelled = |id: &String| (id.clone(), "expelled".to_owned());
    until("all know", || standings(&nodes[1]) == [expelled(&one), expelled(&two)]);
    give(&[&new]);
    reload();
    assert!(nodes.iter().all(|node| standings(node) == [expelled(&two)]));
}
