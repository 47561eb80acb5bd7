//! Notifications to a service manager: a fake one listens, and restarts nodes as systemd would.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::Command,
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    process::Signal,
    time::{ClockId, clock_gettime},
};
use tempfile::TempDir;

use crate::harness::{KEY, Node, PATIENCE, ask, run};

/// A service manager: its socket, and what was reported there.
pub(crate) struct Manager {
    directory: TempDir,
    reports: Receiver<Report>,
}

/// The lines `NAME=VALUE` of one datagram.
pub(crate) type Report = BTreeMap<String, String>;

impl Manager {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(directory.path().join("notify")).unwrap();
        let (sender, reports) = mpsc::channel();
        // It ends with the process of the tests.
        thread::spawn(move || {
            let mut buffer = [0; 4_096];
            while let Ok(length) = socket.recv(&mut buffer) {
                let text = str::from_utf8(&buffer[..length]).unwrap();
                let lines = text.lines().map(|line| line.split_once('=').unwrap());
                let report = lines.map(|(name, value)| (name.to_owned(), value.to_owned()));
                if sender.send(report.collect()).is_err() {
                    return;
                }
            }
        });
        Self { directory, reports }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("notify")
    }

    /// Gives a command the variables of a service with this watchdog.
    pub(crate) fn manage<'a>(
        &self,
        command: &'a mut Command,
        watchdog: Duration,
    ) -> &'a mut Command {
        command.env("NOTIFY_SOCKET", self.socket());
        command.env("WATCHDOG_USEC", watchdog.as_micros().to_string())
    }

    /// The next report within this time.
    fn next(&self, limit: Duration) -> Option<Report> {
        self.reports.recv_timeout(limit).ok()
    }

    /// The next report with this line. Skips those before it.
    pub(crate) fn await_line(&self, line: &str) -> Report {
        let (name, value) = line.split_once('=').unwrap();
        let start = Instant::now();
        let mut passed = Vec::new();
        while let Some(report) = self.next(PATIENCE.saturating_sub(start.elapsed())) {
            if report.get(name).is_some_and(|found| found.starts_with(value)) {
                return report;
            }
            passed.push(report);
        }
        panic!("no {line}; it reported {passed:#?}");
    }
}

/// A node that this manager runs.
fn start(manager: &Manager, watchdog: Duration, arguments: &[&str]) -> Node {
    let mut command = run(arguments);
    Node::spawn(manager.manage(&mut command, watchdog).env("PHIN_CLUSTER_KEY", KEY))
}

fn monotonic_usec() -> u128 {
    Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap().as_micros()
}

#[test]
fn it_reports_its_start_its_state_its_reloads_and_its_end() {
    let manager = Manager::new();
    let mut n1 = start(&manager, Duration::from_secs(1), &["--name", "n1"]);
    let ready = manager.await_line("READY=1");
    assert_eq!(ready["STATUS"], "joined: 1 alive, 0 suspect, 0 dead");
    manager.await_line("WATCHDOG=1");
    let mut n2 = Node::join("n2", &n1);
    manager.await_line("STATUS=joined: 2 alive");
    n2.signal(Signal::TERM);
    n2.wait();
    manager.await_line("STATUS=joined: 1 alive, 0 suspect, 0 dead");

    let asked = monotonic_usec();
    ask(&n1, "POST", "/v1/reload", "");
    let reloading = manager.await_line("RELOADING=1");
    let at: u128 = reloading["MONOTONIC_USEC"].parse().unwrap();
    assert!((asked..=monotonic_usec()).contains(&at), "{asked} {at}");
    manager.await_line("READY=1");

    n1.signal(Signal::TERM);
    assert_eq!(manager.await_line("STOPPING=1")["STATUS"], "leaving the cluster");
    assert_eq!(n1.wait().code(), Some(0));
}

#[test]
fn a_reload_that_is_refused_ends_too() {
    let manager = Manager::new();
    let file = manager.directory.path().join("phin.toml");
    fs::write(&file, "").unwrap();
    let arguments = ["--config", file.to_str().unwrap()];
    let n1 = start(&manager, Duration::from_secs(60), &arguments);
    manager.await_line("READY=1");
    fs::write(&file, "nmae = 1").unwrap();
    assert_eq!(ask(&n1, "POST", "/v1/reload", "").status, 409);
    manager.await_line("RELOADING=1");
    manager.await_line("READY=1");
}

/// A machine that starts while no other is reached keeps its node.
#[test]
fn it_is_ready_before_it_has_joined_and_says_so() {
    let manager = Manager::new();
    let closed = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut n1 = start(&manager, Duration::from_secs(60), &["--join", &closed.to_string()]);
    let ready = manager.await_line("READY=1");
    assert_eq!(ready["STATUS"], "not joined: no seed has admitted this node yet");
    let n2 = Node::start_at("127.0.0.1:0", &["--name", "n2", "--join", &n1.addr]);
    manager.await_line("STATUS=joined: 2 alive");
    n2.signal(Signal::TERM);
    // A departure on request of an operator is reported as well.
    ask(&n1, "POST", "/v1/leave", "");
    manager.await_line("STOPPING=1");
    assert_eq!(n1.wait().code(), Some(0));
}

#[test]
fn programs_of_the_node_do_not_reach_the_service_manager() {
    let manager = Manager::new();
    let (script, result) =
        (manager.directory.path().join("hook"), manager.directory.path().join("environment"));
    let text = format!("#!/bin/sh\nenv >{0}.new && mv {0}.new {0}\n", result.display());
    fs::write(&script, text).unwrap();
    make_executable(&script);
    let hook = format!("joined={}", script.display());
    let n1 = start(&manager, Duration::from_secs(60), &["--name", "n1", "--on", &hook]);
    let _n2 = Node::join("n2", &n1);
    let started = Instant::now();
    while !result.exists() {
        assert!(started.elapsed() < PATIENCE, "the program does not run");
        // tidy: allow sleep: a file tells nobody when it appears
        thread::sleep(Duration::from_millis(20));
    }
    let environment = fs::read_to_string(result).unwrap();
    assert!(environment.contains("PHIN_NODE=n1"), "{environment}");
    for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC"] {
        assert!(!environment.contains(name), "{environment}");
    }
}

fn make_executable(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Runs a node as systemd runs a service of `Type=notify`: one that reports nothing for as long as its watchdog allows is killed
/// and started again.
struct Service {
    manager: Manager,
    watchdog: Duration,
    node: Node,
    restarts: usize,
}

impl Service {
    fn start(watchdog: Duration) -> Self {
        let manager = Manager::new();
        let node = start(&manager, watchdog, &["--name", "n1"]);
        manager.await_line("READY=1");
        Self { manager, watchdog, node, restarts: 0 }
    }

    /// Supervises the node until it has shown this many signs of life.
    fn supervise(&mut self, signs: usize) {
        let mut last = Instant::now();
        let mut seen = 0;
        while seen < signs {
            match self.manager.next(self.watchdog.saturating_sub(last.elapsed())) {
                Some(report) if report.contains_key("WATCHDOG") => {
                    (last, seen) = (Instant::now(), seen + 1);
                }
                Some(_) => {}
                None => {
                    self.restart();
                    last = Instant::now();
                }
            }
        }
    }

    fn restart(&mut self) {
        self.node.signal(Signal::ABORT);
        self.node.signal(Signal::CONT);
        assert!(!self.node.wait().success());
        while self.manager.next(Duration::ZERO).is_some() {}
        self.node = start(&self.manager, self.watchdog, &["--name", "n1"]);
        self.manager.await_line("READY=1");
        self.restarts += 1;
    }
}

#[test]
fn a_node_is_restarted_when_its_driver_stops_and_not_otherwise() {
    let mut service = Service::start(Duration::from_secs(5));
    // It reloads, and other members come and go: all of that takes the driver's time.
    let mut n2 = Node::join("n2", &service.node);
    n2.event_of("joined", "n1");
    n2.signal(Signal::TERM);
    n2.wait();
    ask(&service.node, "POST", "/v1/reload", "");
    service.supervise(3);
    assert_eq!(service.restarts, 0);
    let before = service.node.pid();
    service.node.stop();
    service.supervise(2);
    assert_eq!(service.restarts, 1);
    assert_ne!(service.node.pid(), before);
}
