//! The unit in `deploy/systemd`: what systemd says of it, and a node that runs as it says.

use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use rustix::process::Signal;

use crate::{
    harness::{KEY, Node, phin},
    supervisor::Manager,
};

/// The values of this key of the unit, in their order.
fn values<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    let lines = unit.lines().filter_map(|line| line.split_once('='));
    lines.filter(|(found, _)| *found == key).map(|(_, value)| value).collect()
}

/// The only value of this key.
fn value<'a>(unit: &'a str, key: &str) -> &'a str {
    let values = values(unit, key);
    assert_eq!(values.len(), 1, "{key}");
    values[0]
}

fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/systemd").join(name)
}

fn unit() -> String {
    fs::read_to_string(deploy("phin.service")).unwrap()
}

/// Runs systemd-analyze on the unit, with the binary of these tests. `None`, and a note, if it is missing.
fn analyze(arguments: &[&str]) -> Option<Output> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("phin.service");
    fs::write(&path, unit().replace("/usr/bin/phin", env!("CARGO_BIN_EXE_phin"))).unwrap();
    match Command::new("systemd-analyze").args(arguments).arg(&path).output() {
        Ok(output) => Some(output),
        Err(error) => {
            // Directly to standard error, because the output of a passing test is not shown.
            let line =
                format!("{}: SKIPPED, for it needs systemd-analyze: {error}\n", arguments[0]);
            let _ = std::io::stderr().write_all(line.as_bytes());
            None
        }
    }
}

#[test]
fn systemd_takes_the_unit() {
    let Some(output) = analyze(&["verify", "--man=no"]) else { return };
    let text = String::from_utf8_lossy(&output.stderr);
    // It exits with 0 also after settings that it ignores.
    assert!(output.status.success() && !text.contains("phin.service"), "{text}");
}

#[test]
fn the_unit_is_as_closed_as_a_service_with_a_network_can_be() {
    // In tenths: 0 is the best, and 100 the worst. A network costs 5, and so does the lack of a list of addresses, 2.
    let arguments = ["security", "--offline=true", "--threshold=12", "--no-pager"];
    let Some(output) = analyze(&arguments) else { return };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// A command line of the unit and its environment, with the folders of systemd below `root`.
fn command(unit: &str, key: &str, root: &Path) -> Command {
    let path = |name: &str| root.join(name).to_str().unwrap().to_owned();
    let expand = |text: &str| {
        let text = text.replace("%d", &path("credentials")).replace("%t", &path("run"));
        text.replace("%S", &path("state")).replace("/etc/phin", &path("etc"))
    };
    let line = expand(value(unit, key));
    let mut words = line.split(' ');
    assert_eq!(words.next(), Some("/usr/bin/phin"));
    let mut command = phin(&words.collect::<Vec<_>>());
    for variable in values(unit, "Environment") {
        let (name, value) = variable.split_once('=').unwrap();
        command.env(name, expand(value));
    }
    command
}

#[test]
fn a_node_runs_and_reloads_as_the_unit_says() {
    let (unit, root) = (unit(), tempfile::tempdir().unwrap());
    let root = root.path();
    for directory in ["etc", "credentials", "run/phin", "state"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    // As systemd prepares the directories and the key.
    assert_eq!(value(&unit, "RuntimeDirectory"), "phin");
    assert_eq!(value(&unit, "StateDirectory"), "phin");
    assert_eq!(value(&unit, "LoadCredential"), "cluster.key:/etc/phin/cluster.key");
    fs::write(root.join("credentials/cluster.key"), KEY).unwrap();
    let private = fs::Permissions::from_mode(0o400);
    fs::set_permissions(root.join("credentials/cluster.key"), private).unwrap();
    fs::copy(deploy("phin.toml"), root.join("etc/phin.toml")).unwrap();

    let manager = Manager::new();
    assert_eq!((value(&unit, "Type"), value(&unit, "NotifyAccess")), ("notify", "main"));
    let watchdog = value(&unit, "WatchdogSec").strip_suffix('s').unwrap().parse().unwrap();
    let mut run = command(&unit, "ExecStart", root);
    // So that the test ends with it, and can read its log.
    run.args(["--log-format", "json", "--exit-with-stdin"]).env("PHIN_BIND", "127.0.0.1:0");
    run.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut node = Node::spawn(manager.manage(&mut run, Duration::from_secs(watchdog)));
    manager.await_line("READY=1");
    assert!(root.join("state/phin/identity.key").exists());

    fs::write(root.join("etc/phin.toml"), "tags = { role = \"web\" }").unwrap();
    let reloaded = command(&unit, "ExecReload", root).output().unwrap();
    assert!(reloaded.status.success(), "{}", String::from_utf8_lossy(&reloaded.stderr));
    manager.await_line("RELOADING=1");
    manager.await_line("READY=1");
    fs::write(root.join("etc/phin.toml"), "nonsense").unwrap();
    assert!(!command(&unit, "ExecReload", root).status().unwrap().success());

    node.signal(Signal::TERM);
    manager.await_line("STOPPING=1");
    assert_eq!(node.wait().code(), Some(0));
}
