//! Processes of the binary, and their output. Nothing here sleeps: it waits for lines and exits, and gives up after a
//! time that only a failure takes.

use std::{
    cell::RefCell,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use serde_json::Value;

/// The key of every cluster here that is not about keys.
pub(crate) const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// The binary, without settings from the environment of the tests.
pub(crate) fn phin(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_phin"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PHIN_") {
            command.env_remove(name);
        }
    }
    command.env_remove("RUST_BACKTRACE").args(arguments).stdin(Stdio::null());
    command
}

/// Runs the binary to its end.
pub(crate) fn output_of(arguments: &[&str]) -> Output {
    phin(arguments).output().unwrap()
}

/// Runs the binary, which must fail with this exit code, and returns its error.
pub(crate) fn failure_of(command: &mut Command, code: i32) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(output.stdout.is_empty(), "{:?}", String::from_utf8_lossy(&output.stdout));
    assert!(text.starts_with("error: ") && !text.contains("panicked"), "{text}");
    text
}

/// A `phin run` that is started with events and logs as JSON.
pub(crate) struct Node {
    child: Child,
    _stdin: Option<ChildStdin>,
    /// Those that were not awaited before.
    pub(crate) events: Receiver<Value>,
    logs: Receiver<Value>,
    /// Log lines that arrived before an awaited one.
    passed_over: RefCell<Vec<Value>>,
    /// The address in the log of its start.
    pub(crate) addr: String,
    pub(crate) http: String,
}

impl Node {
    /// Starts a node with the key of these tests.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::spawn(run(arguments).env("PHIN_CLUSTER_KEY", KEY))
    }

    /// Starts a node that joins through another.
    pub(crate) fn join(name: &str, other: &Self) -> Self {
        Self::start(&["--name", name, "--join", &other.addr])
    }

    /// Starts a node with this HTTP address.
    pub(crate) fn start_at(http: &str, arguments: &[&str]) -> Self {
        let mut command = run_with("127.0.0.1:0", http, arguments);
        Self::spawn(command.env("PHIN_CLUSTER_KEY", KEY))
    }

    /// Starts the command from [`run`], and waits until the node runs.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let events = lines_of(child.stdout.take().unwrap());
        let logs = lines_of(child.stderr.take().unwrap());
        let stdin = child.stdin.take();
        let (addr, http) = (String::new(), String::new());
        let mut node = Self {
            child,
            _stdin: stdin,
            events,
            logs,
            passed_over: RefCell::default(),
            addr,
            http,
        };
        let started = node.log("node started");
        node.addr = text(&started["addr"]);
        node.http = text(&started["http"]);
        node
    }

    /// The next event that matches. Skips those before it.
    pub(crate) fn event(&self, what: &str, is_wanted: impl Fn(&Value) -> bool) -> Value {
        wait(&self.events, &mut Vec::new(), what, is_wanted)
    }

    /// The next event of this kind about the member with this name.
    pub(crate) fn event_of(&self, event: &str, name: &str) -> Value {
        let what = format!("{event} of {name}");
        self.event(&what, |line| line["event"] == event && line["member"]["name"] == name)
    }

    /// The fields of the first log line whose message begins with this, and that was not returned before.
    pub(crate) fn log(&self, message: &str) -> Value {
        let is_wanted =
            |line: &Value| line["fields"]["message"].as_str().unwrap_or("").starts_with(message);
        let mut passed_over = self.passed_over.borrow_mut();
        let log = match passed_over.iter().position(is_wanted) {
            Some(position) => passed_over.remove(position),
            None => wait(&self.logs, &mut passed_over, message, is_wanted),
        };
        log["fields"].clone()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Stops the process, and returns when none of its threads runs any more.
    pub(crate) fn stop(&self) {
        self.signal(Signal::STOP);
        waitid(WaitId::Pid(self.pid()), WaitIdOptions::STOPPED).unwrap();
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// Sends an HTTP request.
    pub(crate) fn get(&self, path: &str) -> Answer {
        request(&self.http, &format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.http))
    }

    /// The events that have arrived and were not read.
    pub(crate) fn so_far(&self) -> Vec<Value> {
        self.events.try_iter().collect()
    }

    /// The remaining events once it has ended.
    pub(crate) fn rest(&self) -> Vec<Value> {
        self.events.iter().collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // This fails if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `phin run` for tests: fast, on a free port, and ending with the test.
pub(crate) fn run(arguments: &[&str]) -> Command {
    run_with("127.0.0.1:0", "127.0.0.1:0", arguments)
}

/// The same with this address.
pub(crate) fn run_at(bind: &str, arguments: &[&str]) -> Command {
    run_with(bind, "127.0.0.1:0", arguments)
}

fn run_with(bind: &str, http: &str, arguments: &[&str]) -> Command {
    let common = ["run", "--exit-with-stdin", "--events", "json", "--log-format", "json"];
    let place = ["--bind", bind, "--http", http, "--profile", "local"];
    let mut command = phin(&[&common[..], &place, arguments].concat());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// An answer over HTTP.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.body))
    }

    /// The text of an error.
    pub(crate) fn error(&self) -> String {
        text(&self.json()["error"])
    }
}

/// Sends an HTTP request with a body.
pub(crate) fn ask(node: &Node, method: &str, path: &str, body: &str) -> Answer {
    let head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", node.http);
    request(&node.http, &format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()))
}

/// The output of a command that this node answers.
pub(crate) fn said(arguments: &[&str], node: &Node) -> String {
    let output = output_of(&[arguments, &["--http", &node.http]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Sends bytes unchanged, and reads the answer to its end.
pub(crate) fn request(addr: &str, raw: &str) -> Answer {
    let mut stream = connect(addr);
    stream.write_all(raw.as_bytes()).unwrap();
    let mut reader = BufReader::new(stream);
    let head = head(&mut reader);
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = String::new();
    match length.map(|length| length.parse().unwrap()) {
        Some(length) => reader.take(length).read_to_string(&mut body).unwrap(),
        None => reader.read_to_string(&mut body).unwrap(),
    };
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Answer { status, head, body }
}

pub(crate) fn connect(addr: &str) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// The head of an answer, with header names in lower case.
pub(crate) fn head(reader: &mut impl BufRead) -> String {
    let mut head = String::new();
    while reader.read_line(&mut head).unwrap() > 2 {}
    head
}

/// A JSON text as text.
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}")).to_owned()
}

/// Reads lines of JSON in a thread until they end.
pub(crate) fn lines_of(from: impl Read + Send + 'static) -> Receiver<Value> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

fn wait(
    lines: &Receiver<Value>,
    passed_over: &mut Vec<Value>,
    what: &str,
    is_wanted: impl Fn(&Value) -> bool,
) -> Value {
    let start = Instant::now();
    loop {
        match lines.recv_timeout(PATIENCE.saturating_sub(start.elapsed())) {
            Ok(line) if is_wanted(&line) => return line,
            Ok(line) => passed_over.push(line),
            Err(error) => panic!("{error} while waiting for {what}; came: {passed_over:#?}"),
        }
    }
}

/// The longest wait. Only a failure takes this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
