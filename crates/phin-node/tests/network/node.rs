//! Nodes, each a process on its own host, and their output.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant, SystemTime},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::namespace::Namespace;

/// The key of every cluster here that is not about keys.
pub(crate) const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
/// The UDP port of every node here.
pub(crate) const PORT: u16 = 7646;

/// A `phin run`.
pub(crate) struct Node {
    child: Child,
    /// Kept open: the node exits when it closes, and [`Child::wait`] would close it.
    _stdin: ChildStdin,
    pub(crate) name: String,
    events: Arc<Record>,
    logs: Arc<Record>,
}

/// Lines of an output, and whether more may come.
#[derive(Default)]
struct Record {
    lines: Mutex<(Vec<Value>, bool)>,
    changed: Condvar,
}

impl Node {
    /// Starts a node with this cluster key on the host with this address, and waits until it runs.
    pub(crate) fn start(
        host: &Namespace,
        ip: IpAddr,
        name: &str,
        key: &str,
        arguments: &[&str],
    ) -> Self {
        let bind = SocketAddr::from((ip, PORT)).to_string();
        let mut command = phin();
        command
            .args(["run", "--exit-with-stdin", "--events", "json", "--log-format", "json"])
            .args(["--name", name, "--http", HTTP])
            .args(arguments);
        if !arguments.contains(&"--bind") {
            command.args(["--bind", &bind]);
        }
        command.env("PHIN_CLUSTER_KEY", key);
        Self::spawn(host, name, command)
    }

    /// Starts a command that becomes a node with events and logs in JSON, and waits until it runs.
    pub(crate) fn spawn(host: &Namespace, name: &str, mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = host.run(|| command.spawn()).unwrap();
        let events = Record::of(child.stdout.take().unwrap());
        let logs = Record::of(child.stderr.take().unwrap());
        let _stdin = child.stdin.take().unwrap();
        let node = Self { child, _stdin, name: name.to_owned(), events, logs };
        node.log("node started");
        node
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Kills the process.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// Waits for its end, or kills it after this time.
    pub(crate) fn wait_at_most(&mut self, limit: Duration) -> Option<ExitStatus> {
        let start = Instant::now();
        while start.elapsed() < limit {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Some(status);
            }
            // tidy: allow sleep: between two looks, as there is no wait with a limit
            thread::sleep(Duration::from_millis(20));
        }
        self.kill();
        None
    }

    /// The number of events so far.
    pub(crate) fn mark(&self) -> usize {
        self.events.lock().0.len()
    }

    /// All events since then.
    pub(crate) fn since(&self, mark: usize) -> Vec<Value> {
        self.events.lock().0[mark..].to_vec()
    }

    /// All events until its end.
    pub(crate) fn to_the_end(&self) -> Vec<Value> {
        let mut lines = self.events.lock();
        while lines.1 {
            lines = self.events.changed.wait(lines).unwrap();
        }
        lines.0.clone()
    }

    /// The first event since then that matches. Fails if none arrives.
    pub(crate) fn event(
        &self,
        mark: usize,
        what: &str,
        is_wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        self.events.wait(mark, is_wanted).unwrap_or_else(|told| {
            let name = &self.name;
            panic!("{name}: no {what}; it told:\n{}\n{}", lines(&told), lines(&self.logs.lock().0))
        })
    }

    /// The first event of this kind about that member since then.
    pub(crate) fn event_of(&self, mark: usize, event: &str, member: &str) -> Value {
        let what = format!("{event} of {member}");
        self.event(mark, &what, |line| is_of(line, event, member))
    }

    /// The fields of the first log line whose message begins with this.
    pub(crate) fn log(&self, message: &str) -> Value {
        let begins = |line: &Value| {
            line["fields"]["message"].as_str().is_some_and(|text| text.starts_with(message))
        };
        let log = self.logs.wait(0, begins).unwrap_or_else(|logged| {
            panic!("{}: did not log {message:?}; it logged:\n{}", self.name, lines(&logged))
        });
        log["fields"].clone()
    }

    /// Sends an HTTP request, and returns the status and the body.
    pub(crate) fn get(&self, host: &Namespace, path: &str) -> (u16, String) {
        get(host.run(|| TcpStream::connect(HTTP)).unwrap(), HTTP, path, None)
    }

    /// Sets a tag of this node.
    pub(crate) fn set_tag(&self, host: &Namespace, key: &str, value: &str) {
        let mut stream = host.run(|| TcpStream::connect(HTTP)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let (length, head) =
            (value.len(), format!("PUT /v1/tags/{key} HTTP/1.1\r\nHost: {HTTP}\r\n"));
        let rest = format!("Connection: close\r\nContent-Length: {length}\r\n\r\n{value}");
        stream.write_all((head + &rest).as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 2"), "{answer}");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // This fails if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends an HTTP request, with a token if it needs one, and returns the status and the body.
pub(crate) fn get(
    mut stream: TcpStream,
    host: &str,
    path: &str,
    token: Option<&str>,
) -> (u16, String) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let token = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{token}\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or(0), body.to_owned())
}

/// A `phin watch` that follows the messages of the node on its host.
pub(crate) struct Watch {
    child: Child,
    lines: Arc<Record>,
}

impl Watch {
    /// Returns once the subscription begins.
    pub(crate) fn start(host: &Namespace, arguments: &[&str]) -> Self {
        let mut command = phin();
        command.args(["watch", "--json", "--http", HTTP]).args(arguments).stdout(Stdio::piped());
        let mut child = host.run(|| command.spawn()).unwrap();
        let lines = Record::of(child.stdout.take().unwrap());
        let watch = Self { child, lines };
        watch.await_line("subscription", |line| line["event"] == "subscribed");
        watch
    }

    /// Waits for a message with this text.
    pub(crate) fn expect(&self, text: &str) {
        self.await_line(text, |line| line["text"] == text);
    }

    fn await_line(&self, what: &str, is_wanted: impl Fn(&Value) -> bool) {
        let found = self.lines.wait(0, is_wanted);
        found.unwrap_or_else(|all| panic!("no {what} among:\n{}", lines(&all)));
    }

    /// Ends it, and returns all that it printed after the subscription began.
    pub(crate) fn end(&mut self) -> Vec<Value> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let mut lines = self.lines.lock();
        while lines.1 {
            lines = self.lines.changed.wait(lines).unwrap();
        }
        lines.0.split_off(1)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // This fails if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Record {
    fn of(from: impl Read + Send + 'static) -> Arc<Self> {
        let record = Arc::new(Self { lines: Mutex::new((Vec::new(), true)), ..Self::default() });
        let writer = Arc::clone(&record);
        thread::spawn(move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
                writer.lock().0.push(line);
                writer.changed.notify_all();
            }
            writer.lock().1 = false;
            writer.changed.notify_all();
        });
        record
    }

    fn lock(&self) -> MutexGuard<'_, (Vec<Value>, bool)> {
        // A test that fails while holding the lock leaves no partial change.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first line since the mark that matches, or else all lines since.
    fn wait(&self, mark: usize, is_wanted: impl Fn(&Value) -> bool) -> Result<Value, Vec<Value>> {
        let start = Instant::now();
        let mut lines = self.lock();
        let mut seen = mark;
        loop {
            if let Some(line) = lines.0[seen..].iter().find(|line| is_wanted(line)) {
                return Ok(line.clone());
            }
            seen = lines.0.len();
            let left = PATIENCE.saturating_sub(start.elapsed());
            if left.is_zero() || !lines.1 {
                return Err(lines.0[mark..].to_vec());
            }
            lines = self.changed.wait_timeout(lines, left).unwrap().0;
        }
    }
}

/// The binary, without settings from the environment of the tests.
pub(crate) fn phin() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_phin"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PHIN_") {
            command.env_remove(name);
        }
    }
    command.env_remove("RUST_BACKTRACE");
    command
}

pub(crate) fn is_of(line: &Value, event: &str, member: &str) -> bool {
    line["event"] == event && line["member"]["name"] == member
}

/// The time of an event by the clock of this machine.
pub(crate) fn moment(event: &Value) -> SystemTime {
    let at: jiff::Timestamp = event["at"].as_str().unwrap().parse().unwrap();
    at.into()
}

fn lines(values: &[Value]) -> String {
    values.iter().map(|value| format!("  {value}\n")).collect()
}

pub(crate) const HTTP: &str = "127.0.0.1:7647";
/// The longest wait. Only a failure takes this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
