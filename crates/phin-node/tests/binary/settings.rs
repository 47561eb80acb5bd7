//! Invalid settings: each stops the node immediately, with an error that names the setting.

use std::{fs, net::UdpSocket, os::unix::fs::PermissionsExt, path::Path, process::Command};

use tempfile::TempDir;

use crate::harness::{KEY, Node, failure_of, phin};

fn with_key(arguments: &[&str]) -> Command {
    let mut command = phin(&[&["run"], arguments].concat());
    command.env("PHIN_CLUSTER_KEY", KEY);
    command
}

fn file(directory: &TempDir, name: &str, text: &str, mode: u32) -> String {
    let path = directory.path().join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn an_address_in_use() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let error = failure_of(&mut with_key(&["--bind", &addr]), 1);
    assert!(
        error.contains("--bind") && error.contains(&addr) && error.contains("in use"),
        "{error}"
    );
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let error = failure_of(&mut with_key(&["--bind", "127.0.0.1:0", "--http", &addr]), 1);
    assert!(
        error.contains("--http") && error.contains(&addr) && error.contains("in use"),
        "{error}"
    );
}

#[test]
fn a_key_file_that_cannot_be_read_or_that_others_can_read() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing.key");
    let missing = missing.to_str().unwrap();
    let error = failure_of(&mut phin(&["run", "--key-file", missing]), 2);
    assert!(error.contains("--key-file") && error.contains(missing), "{error}");
    let path = directory.path().to_str().unwrap();
    let error = failure_of(&mut phin(&["run", "--key-file", path]), 2);
    assert!(error.contains("--key-file"), "{error}");
    let exposed = file(&directory, "exposed.key", KEY, 0o644);
    let error = failure_of(&mut phin(&["run", "--key-file", &exposed]), 2);
    assert!(error.contains("mode 0644") && error.contains("chmod 600"), "{error}");
}

#[test]
fn a_key_of_the_wrong_length() {
    let directory = tempfile::tempdir().unwrap();
    let short = file(&directory, "short.key", &KEY[..62], 0o600);
    let error = failure_of(&mut phin(&["run", "--key-file", &short]), 2);
    assert!(error.contains("64") && error.contains("62") && error.contains(&short), "{error}");
    assert!(!error.contains(&KEY[..8]), "{error}");
    let error = failure_of(phin(&["run"]).env("PHIN_CLUSTER_KEY", "ab"), 2);
    assert!(error.contains("PHIN_CLUSTER_KEY"), "{error}");
}

#[test]
fn no_key_at_all() {
    let error = failure_of(&mut phin(&["run"]), 2);
    assert!(error.contains("phin key new"), "{error}");
}

#[test]
fn a_file_without_end() {
    for flags in [&["run", "--config", "/dev/zero"][..], &["cert", "show", "/dev/zero"]] {
        let output = phin(flags).env("PHIN_CLUSTER_KEY", KEY).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && error.contains("longer than"), "{error}");
    }
}

#[test]
fn a_malformed_file_and_an_unknown_setting() {
    let directory = tempfile::tempdir().unwrap();
    let config = file(&directory, "malformed.toml", "name = \"n\"\nbind = [", 0o644);
    let error = failure_of(&mut with_key(&["--config", &config]), 2);
    assert!(error.contains(&format!("{config}:2: ")), "{error}");
    let config = file(&directory, "unknown.toml", "name = \"n\"\n\nbnid = \"x\"", 0o644);
    let error = failure_of(&mut with_key(&["--config", &config]), 2);
    assert!(error.contains(&format!("{config}:3: ")) && error.contains("\"bnid\""), "{error}");
    assert!(error.contains("did you mean bind?"), "{error}");
    let error = failure_of(with_key(&[]).env("PHIN_BNID", "x"), 2);
    assert!(error.contains("PHIN_BNID") && error.contains("PHIN_BIND"), "{error}");
    let error = failure_of(&mut with_key(&["--bnid", "x"]), 2);
    assert!(error.contains("--bnid"), "{error}");
}

#[test]
fn settings_that_contradict_each_other() {
    let error = failure_of(&mut with_key(&["--ca", "ca.pem"]), 2);
    assert!(error.contains("PHIN_CLUSTER_KEY") && error.contains("--ca"), "{error}");
    let error = failure_of(&mut phin(&["run", "--ca", "ca.pem"]), 2);
    assert!(error.contains("--cert") && error.contains("--key"), "{error}");
}

#[test]
fn a_data_directory_that_is_none() {
    let directory = tempfile::tempdir().unwrap();
    let not_a_directory = file(&directory, "file", "", 0o600);
    let below_a_file = Path::new(&not_a_directory).join("data");
    for (path, code) in [(not_a_directory.as_str(), 2), (below_a_file.to_str().unwrap(), 1)] {
        let arguments = ["--bind", "127.0.0.1:0", "--data-dir", path];
        let error = failure_of(&mut with_key(&arguments), code);
        assert!(error.contains("--data-dir") && error.contains(path), "{error}");
        assert!(error.to_lowercase().contains("not a directory"), "{error}");
    }
}

#[test]
fn http_that_other_machines_reach() {
    let error = failure_of(&mut with_key(&["--http", "0.0.0.0:0"]), 2);
    assert!(error.contains("--http") && error.contains("--http-allow-remote"), "{error}");
}

#[test]
fn a_name_can_be_advertised() {
    let node = Node::start(&["--name", "n1", "--advertise", "localhost"]);
    let members = node.get("/v1/members").json();
    assert_eq!(members["members"][0]["addr"], node.addr.as_str(), "{members}");
    let other = Node::start(&["--name", "n2", "--advertise", "localhost:0", "--join", &node.addr]);
    let joined = node.event_of("joined", "n2");
    assert_eq!(joined["member"]["addr"], other.addr.as_str(), "{joined}");
}
