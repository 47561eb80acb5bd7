//! `phin watch --through`: a client that is no member.

use std::{
    collections::BTreeSet,
    fs,
    net::UdpSocket,
    os::unix::fs::PermissionsExt,
    process::{Child, Command, Stdio},
    sync::mpsc::Receiver,
};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{KEY, Node, PATIENCE, failure_of, lines_of, phin, text};

/// A watcher, with the lines of its outputs.
struct Watcher {
    child: Child,
    lines: Receiver<Value>,
    notes: Receiver<Value>,
}

impl Watcher {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = lines_of(child.stdout.take().unwrap());
        let notes = lines_of(child.stderr.take().unwrap());
        Self { child, lines, notes }
    }

    fn line(&self) -> Value {
        self.lines.recv_timeout(PATIENCE).unwrap()
    }

    /// The name of the next member that it watches through.
    fn member(&self) -> String {
        loop {
            let note = text(&self.notes.recv_timeout(PATIENCE).unwrap());
            if let Some(member) = note.strip_prefix("watching through ") {
                return member.split(' ').next().unwrap().to_owned();
            }
            assert!(note.starts_with("no member is connected ("), "{note}");
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn watch(arguments: &[&str]) -> Command {
    phin(&[&["watch"], arguments].concat())
}

fn names(snapshot: &Value) -> Vec<String> {
    assert_eq!(snapshot["event"], "snapshot", "{snapshot}");
    snapshot["members"].as_array().unwrap().iter().map(|member| text(&member["name"])).collect()
}

#[test]
fn it_follows_the_list_through_one_member_after_another() {
    let n1 = Node::start(&["--name", "n1", "--tag", "role=web"]);
    let (n2, n3) = (Node::join("n2", &n1), Node::join("n3", &n1));
    for (node, others) in [(&n1, ["n2", "n3"]), (&n2, ["n1", "n3"]), (&n3, ["n1", "n2"])] {
        let mut joined = BTreeSet::new();
        while joined.len() < 2 {
            let line = node.event("joined", |line| line["event"] == "joined");
            joined.extend(others.into_iter().find(|name| line["member"]["name"] == **name));
        }
    }
    let seeds = [&n1.addr, &n2.addr].map(String::as_str).join(",");
    let mut command = watch(&["--json", "--through", &seeds, "--through", &n3.addr]);
    let watcher = Watcher::start(command.env("PHIN_CLUSTER_KEY", KEY));
    assert_eq!(names(&watcher.line()), ["n1", "n2", "n3"]);
    let mut nodes = vec![n1, n2, n3];
    let name = watcher.member();
    let place = ["n1", "n2", "n3"].iter().position(|known| *known == name).unwrap();
    let mut killed = nodes.remove(place);
    killed.signal(Signal::KILL);
    killed.wait();
    assert_ne!(watcher.member(), name);
    loop {
        let line = watcher.line();
        assert_eq!(line["member"]["name"], *name, "{line}");
        if line["event"] == "dead" {
            break;
        }
    }
    assert!(nodes[0].get("/metrics").body.contains("phin_transport_watchers_accepted_total"));

    // With a filter and a key file, as text.
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("cluster.key");
    fs::write(&file, KEY).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let arguments = ["--through", &nodes[0].addr, "--filter", "role=web", "--key-file"];
    let web = Watcher::start(watch(&arguments).arg(&file));
    // A member that died keeps its tags.
    let line = text(&web.line());
    assert!(line.contains("snapshot 1 members"), "{line}");
    assert!(text(&web.line()).contains(" n1 addr="));
}

#[test]
fn it_says_why_no_member_can_be_watched_through() {
    let node = Node::start(&["--name", "n1", "--watchers", "0"]);
    let through = |addr: &str, key: &str| {
        failure_of(watch(&["--through", addr]).env("PHIN_CLUSTER_KEY", key), 1)
    };
    let error = through(&node.addr, KEY);
    assert!(error.contains(&node.addr) && error.contains("serves no watchers"), "{error}");
    let error = through(&node.addr, &KEY.replace('0', "1"));
    assert!(error.contains("issued with another cluster key"), "{error}");
    let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let error = through(&closed, KEY);
    assert!(error.contains("no process listens on this port"), "{error}");
    let error = failure_of(
        watch(&["--through", &node.addr, "--cluster", "other"]).env("PHIN_CLUSTER_KEY", KEY),
        1,
    );
    assert!(error.contains("the cluster has another name"), "{error}");

    let usage = |arguments: &[&str]| failure_of(watch(arguments).env("PHIN_CLUSTER_KEY", KEY), 2);
    let error = failure_of(&mut watch(&["--through", &node.addr]), 2);
    assert!(error.contains("no key or certificate is set"), "{error}");
    assert!(usage(&["--through", "a:b:c"]).contains("host:port"));
    assert!(usage(&["--through", &node.addr, "--topic", "a"]).contains("--topic"));
    assert!(usage(&["--key-file", "cluster.key"]).contains("--through"));
}
