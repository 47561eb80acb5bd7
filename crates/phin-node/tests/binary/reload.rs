//! Settings and credentials that are read again while nodes run.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::PathBuf,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{KEY, Node, PATIENCE, ask, failure_of, output_of, phin, request, run, said};

/// A folder with the files of some nodes.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn name(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Writes a file as an operator should: completely or not at all.
    fn write(&self, name: &str, text: &str) -> String {
        let new = self.path(&format!("{name}.new"));
        fs::write(&new, text).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(&new, self.path(name)).unwrap();
        self.name(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Runs `phin cert`.
    fn cert(&self, arguments: &[&str]) {
        let output = output_of(&[&["cert"], arguments].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn ca(&self, dir: &str) {
        self.cert(&["ca", "--dir", &self.name(dir)]);
    }

    /// Issues a certificate of this CA for the private key that the node has, or a new one.
    fn issue(&self, node: &str, ca: &str, dir: &str, key: Option<&str>) {
        let [pem, ca_key] = ["ca.pem", "ca.key"].map(|file| self.name(&format!("{ca}/{file}")));
        let dir = self.name(dir);
        let mut arguments = vec!["issue", node, "--ca", &pem, "--ca-key", &ca_key, "--dir", &dir];
        let key = key.map(|key| self.name(key));
        if let Some(key) = &key {
            arguments.extend(["--key", key]);
        }
        self.cert(&arguments);
    }
}

/// Leaves the processor to the nodes for a moment.
fn pause() {
    // tidy: allow sleep: counters and files tell nobody when they change
    thread::sleep(Duration::from_millis(20));
}

/// Reloads, and returns the answer.
fn reload(node: &Node) -> Value {
    serde_json::from_str(&said(&["reload", "--json"], node)).unwrap()
}

fn refused(node: &Node) -> String {
    failure_of(&mut phin(&["reload", "--http", &node.http]), 1)
}

/// Five nodes that know each other, each with these arguments.
fn five(arguments: impl Fn(&str) -> Vec<String>) -> Vec<Node> {
    let mut nodes: Vec<Node> = Vec::new();
    for number in 1..=5 {
        let name = format!("n{number}");
        let mut own = arguments(&name);
        if let Some(first) = nodes.first() {
            own.extend(["--join".to_owned(), first.addr.clone()]);
        }
        let own: Vec<&str> = own.iter().map(String::as_str).collect();
        // Files are not watched, so that each step is this test's. A member that is cut off reaches this threshold too; one whose
        // process waits for a busy processor does not.
        let fixed = ["--name", &name, "--watch-files", "false", "--phi-threshold", "20"];
        nodes.push(Node::spawn(&mut run(&[&fixed, &own[..]].concat())));
    }
    for node in &nodes {
        let start = Instant::now();
        while alive(node) < 5 {
            assert!(start.elapsed() < PATIENCE, "it does not know all");
            pause();
        }
    }
    for node in &nodes {
        // Those of the start do not matter.
        node.so_far();
    }
    nodes
}

/// How many members are alive for this node.
fn alive(node: &Node) -> usize {
    let list = node.get("/v1/members").json();
    let members = list["members"].as_array().unwrap();
    members.iter().filter(|member| member["state"] == "alive").count()
}

/// Waits until each node has sent so many pings more.
fn probe_on(nodes: &[&Node], pings: u64) {
    let sent = |node: &Node| {
        let metrics = node.get("/metrics").body;
        let line = metrics.lines().find_map(|l| l.strip_prefix("phin_swim_pings_sent_total "));
        line.unwrap().parse::<u64>().unwrap()
    };
    for node in nodes {
        let (before, start) = (sent(node), Instant::now());
        while sent(node) < before + pings {
            assert!(start.elapsed() < PATIENCE, "it does not probe");
            pause();
        }
    }
}

/// Fails if one of the nodes suspected another, or lost it, since its events were last read.
fn assert_nobody_was_suspected(nodes: &[Node]) {
    for node in nodes {
        let events = node.so_far();
        let trouble = ["suspect", "dead", "left", "degraded", "isolated"];
        let is_trouble = |event: &&Value| trouble.iter().any(|name| event["event"] == **name);
        let trouble: Vec<_> = events.iter().filter(is_trouble).collect();
        assert!(trouble.is_empty(), "{trouble:#?}");
    }
}

#[test]
fn a_cluster_key_is_replaced_under_probing_without_a_suspicion() {
    let files = Files::new();
    let (old, new) = (KEY, "ff".repeat(32));
    for number in 1..=5 {
        files.write(&format!("n{number}.key"), old);
    }
    let nodes = five(|name| vec!["--key-file".into(), files.name(&format!("{name}.key"))]);
    let statuses = |node: &Node| -> Vec<Value> {
        let text = said(&["key", "status", "--json"], node);
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let own = |status: &Value| status["own"].as_str().unwrap().to_owned();
    let old_key = own(&statuses(&nodes[0])[0]);
    for keys in [format!("{old}\n{new}"), format!("{new}\n{old}"), new.clone()] {
        for (node, number) in nodes.iter().zip(1..) {
            files.write(&format!("n{number}.key"), &keys);
            assert_eq!(reload(node)["applied"], json!(["--key-file"]));
            probe_on(&[node], 3);
            if keys.starts_with(old) && number == 2 {
                let shown = said(&["key", "status"], &nodes[4]);
                let lacking = "(cluster key): not accepted by n3, n4, n5\n";
                assert!(shown.contains(lacking) && shown.contains("accepted by all"), "{shown}");
            }
        }
        let statuses = statuses(&nodes[0]);
        assert_eq!(statuses.len(), 5);
        for status in &statuses {
            assert_eq!(own(status) == old_key, keys.starts_with(old), "{status}");
            let accepts = status["accepts"].as_array().unwrap().len();
            assert_eq!(accepts, keys.lines().count(), "{status}");
            assert!(!status.to_string().contains(&old[..8]), "{status}");
        }
        probe_on(&nodes.iter().collect::<Vec<_>>(), 12);
    }
    assert_nobody_was_suspected(&nodes);
    // A holder of the old key is not admitted, and one of the new key is.
    let stranger = Node::start(&["--name", "old", "--join", &nodes[4].addr]);
    stranger.log("a seed refuses this node");
    let own = files.write("n6.key", &new);
    let sixth = ["--name", "n6", "--key-file", &own, "--join", &nodes[4].addr];
    let _sixth = Node::spawn(&mut run(&sixth));
    nodes[0].event_of("joined", "n6");
}

#[test]
fn a_ca_and_certificates_are_replaced_under_probing_without_a_suspicion() {
    let files = Files::new();
    files.ca("old");
    files.ca("new");
    let names = ["n1", "n2", "n3", "n4", "n5"];
    for name in names {
        files.issue(name, "old", name, None);
        files.write(&format!("{name}/ca.pem"), &files.read("old/ca.pem"));
    }
    let nodes = five(|name| {
        let file = |file: &str| files.name(&format!("{name}/{file}"));
        let (cert, key) = (file(&format!("{name}.pem")), file(&format!("{name}.key")));
        vec!["--ca".into(), file("ca.pem"), "--cert".into(), cert, "--key".into(), key]
    });
    let both = files.read("old/ca.pem") + &files.read("new/ca.pem");
    let all = |nodes: &[Node]| probe_on(&nodes.iter().collect::<Vec<_>>(), 12);
    for (name, node) in names.iter().zip(&nodes) {
        files.write(&format!("{name}/ca.pem"), &both);
        assert_eq!(reload(node)["applied"], json!(["--ca"]));
    }
    all(&nodes);
    files.write("both.pem", &both);
    let of_new = ["--ca", &files.name("both.pem"), "--ca-key", &files.name("new/ca.key")];
    for (name, node) in names.iter().zip(&nodes) {
        let (own, renewed) = (format!("{name}/{name}.pem"), format!("{name}-new"));
        // The new CA assigns the name another id.
        let (old, key) = (files.read(&own), format!("{name}/{name}.key"));
        files.issue(name, "new", &format!("{name}-other"), Some(&key));
        files.write(&own, &files.read(&format!("{name}-other/{name}.pem")));
        let error = refused(node);
        assert!(error.contains("the certificate is for the id"), "{error}");
        files.write(&own, &old);
        let renew = ["renew", &files.name(&own), "--dir", &files.name(&renewed)];
        files.cert(&[&renew, &of_new[..]].concat());
        files.write(&own, &files.read(&format!("{renewed}/{name}.pem")));
        assert_eq!(reload(node)["applied"], json!(["--cert"]));
    }
    all(&nodes);
    for (name, node) in names.iter().zip(&nodes) {
        files.write(&format!("{name}/ca.pem"), &files.read("new/ca.pem"));
        assert_eq!(reload(node)["applied"], json!(["--ca"]));
        probe_on(&[node], 3);
    }
    all(&nodes);

    assert_nobody_was_suspected(&nodes);
    // Connections are made with the new certificates alone by now.
    let disowned = "phin_transport_connections_disowned_total ";
    let metrics = nodes[0].get("/metrics").body;
    assert!(
        metrics.contains(disowned) && !metrics.contains(&format!("{disowned}0\n")),
        "{metrics}"
    );
}

#[test]
fn a_revoked_node_is_cut_off_everywhere() {
    let files = Files::new();
    files.ca("ca");
    let list = files.name("ca/ca.crl");
    let [ca, ca_key] = ["ca/ca.pem", "ca/ca.key"].map(|file| files.name(file));
    let revoke = |certificates: &[&str]| {
        let of_ca = ["--ca", &ca, "--ca-key", &ca_key, "--crl", &list];
        files.cert(&[&["revoke"], certificates, &of_ca].concat());
    };
    // An empty list, so that nodes have one from the start.
    revoke(&[]);
    for name in ["n1", "n2", "n3", "n4", "n5"] {
        files.issue(name, "ca", name, None);
    }
    let mut nodes = five(|name| {
        let file = |end: &str| files.name(&format!("{name}/{name}.{end}"));
        let (ca, crl) = (ca.clone(), list.clone());
        let settings = ["--ca", &ca, "--crl", &crl, "--cert", &file("pem"), "--key", &file("key")];
        settings.map(str::to_owned).to_vec()
    });
    let revoked = nodes.pop().unwrap();
    revoke(&[&files.name("n5/n5.pem")]);
    for node in &nodes {
        assert_eq!(reload(node)["applied"], json!(["--crl"]));
    }
    for node in &nodes {
        node.event_of("dead", "n5");
    }
    revoked.log("handshake refused");
    probe_on(&nodes.iter().collect::<Vec<_>>(), 12);
    let refused = "phin_transport_refusals_total{reason=\"certificate_revoked\"} ";
    let is_counted = |node: &Node| !node.get("/metrics").body.contains(&format!("{refused}0\n"));
    assert!(nodes.iter().any(is_counted));
    for node in &nodes {
        assert_eq!(alive(node), 4);
    }
    // Its own list is of no use to it: it would revoke itself.
    let own = self::refused(&revoked);
    assert!(own.contains("the certificate of this node is revoked"), "{own}");
}

#[test]
fn files_that_cannot_be_used_change_nothing_and_say_why() {
    let files = Files::new();
    files.ca("ca");
    files.ca("other");
    for name in ["n1", "n2", "n3"] {
        files.issue(name, "ca", name, None);
    }
    let start = |name: &str, more: &[&str]| {
        let file = |end: &str| files.name(&format!("{name}/{name}.{end}"));
        let (ca, cert, key) = (files.name("ca/ca.pem"), file("pem"), file("key"));
        let own = ["--name", name, "--watch-files", "false", "--ca", &ca, "--cert", &cert];
        Node::spawn(&mut run(&[&own[..], &["--key", &key], more].concat()))
    };
    let n1 = start("n1", &[]);
    let n2 = start("n2", &["--join", &n1.addr]);
    n1.event_of("joined", "n2");
    let before = n1.get("/metrics").body;
    let [cert, key] = ["n1/n1.pem", "n1/n1.key"].map(|file| files.read(file));
    let refused_with = |file: &str, text: &str, expected: &str| {
        let good = files.read(file);
        files.write(file, text);
        let error = refused(&n1);
        assert!(error.contains("nothing was changed") && error.contains(expected), "{error}");
        assert!(!error.contains("PRIVATE KEY"), "{error}");
        files.write(file, &good);
    };
    refused_with("n1/n1.pem", "no certificate", "not a certificate");
    refused_with("n1/n1.pem", &files.read("n2/n2.pem"), "for another key");
    refused_with("ca/ca.pem", &files.read("other/ca.pem"), "issued by none of the CAs");
    refused_with("n1/n1.key", "no key", "not a private key");
    refused_with("n1/n1.key", &files.read("n2/n2.key"), "not the one with which this node runs");
    fs::set_permissions(files.path("n1/n1.key"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(files.path("n1/n1.pem"), files.read("n1/n1.pem") + "\n").unwrap();
    let exposed = refused(&n1);
    assert!(exposed.contains("mode 0644") && exposed.contains("chmod 600"), "{exposed}");
    fs::remove_file(files.path("n1/n1.key")).unwrap();
    assert!(refused(&n1).contains("n1.key"));
    let logged = n1.log("cannot reload the settings; nothing was changed");
    assert!(logged["reason"].as_str().unwrap().contains("not a certificate"), "{logged}");

    files.write("n1/n1.key", &key);
    files.write("n1/n1.pem", &cert);
    assert_eq!(reload(&n1), json!({"applied": [], "needs_restart": [], "connections_closed": 0}));
    assert_eq!(said(&["reload"], &n1), "nothing has changed\n");
    // It still admits those that it admitted before, over the connections that it had.
    let n3 = start("n3", &["--join", &n1.addr]);
    n3.event_of("joined", "n2");
    assert_nobody_was_suspected(&[n1, n2]);
    assert!(before.contains("phin_transport_connections_disowned_total 0"));
}

#[test]
fn settings_of_the_file_are_applied_or_need_a_restart() {
    let files = Files::new();
    let told = files.name("told");
    let hook = files.write("hook", &format!("#!/bin/sh\ncat >> {told}\n"));
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    let first = Node::start(&["--name", "first"]);
    let config = files.write("phin.toml", "log = \"info\"\n[tags]\nrole = \"web\"\nzone = \"a\"\n");
    let node = Node::start(&["--name", "n1", "--config", &config]);
    // Changed by hand: it stays, because the file does not change it.
    assert_eq!(ask(&node, "PUT", "/v1/tags/own", "kept").status, 200);

    let good = format!(
        "log = \"debug\"\njoin = [\"{}\"]\non = \"joined={hook}\"\nretention = \"48h\"\n\
         http_host = \"a.example\"\nclosed_port = 11\n[tags]\nrole = \"web,api\"\n",
        first.addr
    );
    files.write("phin.toml", &good.replace("48h", "1ms"));
    let invalid = refused(&node);
    assert!(invalid.contains(&format!("{config}:4: retention is \"1ms\"")), "{invalid}");
    let tags = |node: &Node| node.get("/v1/tags").json();
    assert_eq!(tags(&node), json!({"own": "kept", "role": "web", "zone": "a"}));
    files.write("phin.toml", &good.replace("web,api", &"x".repeat(129)));
    assert!(refused(&node).contains("role"), "a tag that is too long");

    files.write("phin.toml", &good);
    let reloaded = reload(&node);
    assert_eq!(
        reloaded["applied"],
        json!(["--http-host", "--join", "--log", "--on", "--retention", "--tag"]),
        "{reloaded}"
    );
    assert_eq!(reloaded["needs_restart"], json!(["--closed-port"]));
    assert_eq!(tags(&node), json!({"own": "kept", "role": "web,api"}));
    first.event_of("joined", "n1");
    let start = Instant::now();
    while !fs::read_to_string(&told).unwrap_or_default().contains("\"first\"") {
        assert!(start.elapsed() < PATIENCE, "the program did not run");
        pause();
        assert_eq!(node.get("/livez").status, 200);
    }
    let named = "GET /v1/tags HTTP/1.1\r\nHost: a.example\r\n\r\n";
    assert_eq!(request(&node.http, named).status, 200);
    // It is still to come.
    let again = said(&["reload"], &node);
    assert_eq!(again, "needs a restart: --closed-port\n");
}

#[test]
fn settings_of_the_protocol_are_applied_to_what_is_there_already() {
    let files = Files::new();
    let config = files.write("phin.toml", "retention = \"48h\"\n");
    let node = Node::start(&["--name", "n1", "--config", &config]);
    let mut n2 = Node::join("n2", &node);
    node.event_of("joined", "n2");
    n2.signal(rustix::process::Signal::KILL);
    n2.wait();
    node.event_of("dead", "n2");
    files.write("phin.toml", "retention = \"5s\"\nflap_suppress = 3\nmax_data = \"1KiB\"\n");
    let applied = json!(["--flap-suppress", "--max-data", "--retention"]);
    let reloaded = reload(&node);
    assert_eq!((&reloaded["applied"], &reloaded["needs_restart"]), (&applied, &json!([])));
    node.event_of("forgotten", "n2");
    let long = "x".repeat(2_000);
    assert_eq!(ask(&node, "PUT", "/v1/data/key", &long).status, 413);
    // One value that is not allowed: all stay as they are.
    files.write("phin.toml", "retention = \"6s\"\nmax_data = \"9KiB\"\nflap_suppress = 1\n");
    assert!(refused(&node).contains("flap_suppress is \"1\""));
    assert_eq!(ask(&node, "PUT", "/v1/data/key", &long).status, 413);
    files.write("phin.toml", "");
    assert_eq!(reload(&node)["applied"], applied);
    assert_eq!(ask(&node, "PUT", "/v1/data/key", &long).status, 200);
}

#[test]
fn credentials_are_read_again_when_a_volume_is_swapped() {
    let files = Files::new();
    let new = "ff".repeat(32);
    // As Kubernetes does: the file is a link into a folder that is a link.
    for (folder, key) in [("one", format!("{KEY}\n")), ("two", format!("{KEY}\n{new}\n"))] {
        fs::create_dir(files.path(folder)).unwrap();
        files.write(&format!("{folder}/cluster.key"), &key);
    }
    symlink("one", files.path("..data")).unwrap();
    symlink("..data/cluster.key", files.path("cluster.key")).unwrap();
    let key = files.name("cluster.key");
    let node = Node::spawn(&mut run(&["--name", "n1", "--key-file", &key]));
    let swap = |folder: &str| {
        symlink(folder, files.path("..new")).unwrap();
        fs::rename(files.path("..new"), files.path("..data")).unwrap();
    };
    swap("two");
    let reloaded = node.log("reloaded the settings");
    assert_eq!(
        (&reloaded["asked_by"], &reloaded["applied"]),
        (&json!("a changed file"), &json!("--key-file"))
    );
    let own = files.write("n2.key", &format!("{new}\n{KEY}\n"));
    let _n2 = Node::spawn(&mut run(&["--name", "n2", "--key-file", &own, "--join", &node.addr]));
    node.event_of("joined", "n2");
    // Half a change is not used, and not tried again and again.
    files.write("two/cluster.key", "half a key");
    let refused = node.log("cannot reload the settings; nothing was changed");
    assert!(refused["reason"].as_str().unwrap().contains("64 hexadecimal digits"), "{refused}");
    swap("one");
    node.log("reloaded the settings");
}

/// Rules for another address, which may need no token, do not hold for the one at which the node listens.
#[test]
fn a_token_stays_with_its_address() {
    let files = Files::new();
    let token = files.write("http.token", "0123456789abcdef");
    let start = format!("http = \"127.0.0.1:0\"\nhttp_token_file = \"{token}\"\n");
    let config = files.write("phin.toml", &start);
    let common = ["run", "--exit-with-stdin", "--events", "json", "--log-format", "json"];
    let mut command =
        phin(&[&common[..], &["--bind", "127.0.0.1:0", "--config", &config]].concat());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let node = Node::spawn(command.env("PHIN_CLUSTER_KEY", KEY));
    files.write("phin.toml", "http = \"127.0.0.1:1\"\n");
    let reload = ["reload", "--http", &node.http, "--token-file", &token];
    let reloaded = output_of(&reload);
    let text = String::from_utf8(reloaded.stdout).unwrap();
    assert_eq!(text, "needs a restart: --http --http-token-file\n");
    assert_eq!(node.get("/v1/members").status, 401);
}

#[test]
fn a_token_is_replaced_without_a_restart() {
    let files = Files::new();
    let [old, new] = ["old-0123456789abcdef", "new-0123456789abcdef"];
    let path = files.write("http.token", old);
    let node = Node::start(&["--name", "n1", "--watch-files", "false", "--http-token-file", &path]);
    let status = |token: &str| {
        let head = format!("GET / HTTP/1.1\r\nHost: {}\r\n", node.http);
        let raw = format!("{head}Authorization: Bearer {token}\r\n\r\n");
        request(&node.http, &raw).status
    };
    let own = files.write("command.token", old);
    for (tokens, expected) in [(format!("{new}\n{old}"), (200, 200)), (new.to_owned(), (401, 200))]
    {
        files.write("http.token", &tokens);
        let reload = output_of(&["reload", "--http", &node.http, "--token-file", &own]);
        assert!(reload.status.success(), "{}", String::from_utf8_lossy(&reload.stderr));
        assert_eq!((status(old), status(new)), expected, "{tokens}");
    }
}
