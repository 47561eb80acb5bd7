//! `phin debug`: a bundle of diagnostics, complete or not, and never with a secret.

use std::{collections::BTreeMap, fs, io::Read, os::unix::fs::PermissionsExt, path::Path};

use serde_json::Value;

use crate::harness::{Node, failure_of, output_of, phin, run, said};

/// The parts of a bundle, by their names.
fn parts(path: &Path) -> BTreeMap<String, String> {
    let bytes = fs::read(path).unwrap();
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(&bytes[..]));
    let mut parts = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().strip_prefix("phin-debug").unwrap().display().to_string();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        parts.insert(name, text);
    }
    parts
}

#[test]
fn a_bundle_has_everything_but_secrets() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let write = |name: &str, text: &str, mode: u32| {
        fs::write(path(name), text).unwrap();
        fs::set_permissions(path(name), fs::Permissions::from_mode(mode)).unwrap();
        path(name).to_str().unwrap().to_owned()
    };
    let (key, token) = ("ab".repeat(32), "a-secret-token-of-http");
    let key_file = write("cluster.key", &key, 0o600);
    let hook = write("hook", "#!/bin/sh\n# the-content-of-a-file\n", 0o700);
    let config = format!(
        "key_file = \"{key_file}\"\non = \"joined={hook} --password an-argument\"\nlog = \"debug\"\n"
    );
    let config = write("phin.toml", &config, 0o600);
    let settings = ["--name", "n1", "--config", &config, "--tag", "role=web"];
    let node = Node::spawn(run(&settings).env("PHIN_HTTP_TOKEN", token));
    let n2 = ["--name", "n2", "--key-file", &key_file, "--join", &node.addr];
    let mut n2 = Node::spawn(&mut run(&n2));
    node.event_of("joined", "n2");
    n2.signal(rustix::process::Signal::KILL);
    n2.wait();
    node.event_of("dead", "n2");

    let out = path("n1.tar.gz");
    let mut debug = phin(&["debug", "--http", &node.http, "-o", out.to_str().unwrap()]);
    let output = debug.env("PHIN_HTTP_TOKEN", token).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.stdout, format!("{}\n", out.display()).as_bytes());
    assert_eq!(fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o600);
    let parts = parts(&out);
    let json = |name: &str| serde_json::from_str::<Value>(&parts[name]).unwrap();
    assert_eq!(json("members.json")["members"].as_array().unwrap().len(), 2);
    let why: Vec<_> = parts.keys().filter(|name| name.starts_with("why/")).collect();
    assert!(why.len() == 1 && json(why[0])["member"]["state"] == "dead", "{why:?}");
    assert!(parts["metrics.txt"].contains("phin_swim_pings_sent_total"));
    assert!(parts["log.txt"].contains("\"node started\""), "{}", parts["log.txt"]);
    assert_eq!(json("tags.json")["role"], "web");
    let told = json("diagnostics.json");
    assert!(told["system"]["/proc/self/limits"].as_str().unwrap().contains("open files"));
    assert!(json("system-here.json")["/proc/sys/net/core/rmem_max"].is_string());
    let events = told["recent_events"].as_array().unwrap();
    assert!(events.iter().any(|line| line["event"] == "dead"), "{events:?}");
    assert!(told["config"]["phi_threshold"].is_number(), "{told}");
    let shown = &told["settings"];
    assert_eq!((&shown["name"], &shown["log"]), (&"n1".into(), &"debug".into()));
    assert_eq!(shown["on"], format!("joined={hook} (arguments left out)"));
    assert_eq!(shown["key-file"], key_file.as_str());
    for (name, text) in &parts {
        for secret in [&key, token, "an-argument", "the-content-of-a-file", "PRIVATE KEY"] {
            assert!(!text.contains(secret), "{secret} in {name}");
        }
    }
    // Nothing is overwritten.
    let mut again = phin(&["debug", "--http", &node.http, "-o", out.to_str().unwrap()]);
    assert!(failure_of(&mut again, 1).contains("already exists"));
}

#[test]
fn a_bundle_without_some_parts_says_which() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("bundle.tar.gz");
    let node = Node::start(&["--name", "n1"]);
    let http = node.http.clone();
    drop(node);
    let arguments = ["debug", "--http", &http, "-o", out.to_str().unwrap()];
    let output = output_of(&arguments);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.starts_with("members.json: ") && error.contains("does not answer"), "{error}");
    assert!(error.contains("is written without 1 of its parts"), "{error}");
    let parts = parts(&out);
    let manifest: Value = serde_json::from_str(&parts["manifest.json"]).unwrap();
    assert!(manifest["errors"]["members.json"].is_string(), "{manifest}");
    assert!(parts.contains_key("system-here.json"));
    let node = Node::start(&["--name", "n1"]);
    let listed = said(&["debug", "-o", directory.path().join("b").to_str().unwrap()], &node);
    assert!(listed.ends_with("/b\n"), "{listed}");
}
