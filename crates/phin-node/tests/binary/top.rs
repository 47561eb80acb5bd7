//! `phin top`: once, and on a terminal.

use std::{
    fs::{self, File},
    io::{Read, Write},
    os::fd::OwnedFd,
    process::{Child, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::Instant,
};

use rustix::{
    process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid},
    pty::{OpenptFlags, openpt, ptsname, unlockpt},
    termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize},
};
use serde_json::Value;

use crate::harness::{Node, PATIENCE, failure_of, phin, said};

#[test]
fn once_prints_members_with_the_troubled_first() {
    let n1 = Node::start(&["--name", "n1", "--tag", "zone=a"]);
    let _n2 = Node::join("n2", &n1);
    n1.event_of("joined", "n2");
    let mut n3 = Node::join("n3", &n1);
    n1.event_of("joined", "n3");
    n3.signal(Signal::KILL);
    n3.wait();
    n1.event_of("dead", "n3");

    let shown = said(&["top", "--once"], &n1);
    assert!(shown.is_ascii() && !shown.contains('\u{1b}'), "{shown}");
    assert!(shown.starts_with("phin top  n1  ready  cluster phin"), "{shown}");
    assert!(
        shown.contains("3 members: 2 alive, 0 suspect, 1 dead, 0 left  1 in trouble"),
        "{shown}"
    );
    let names: Vec<_> = shown.lines().skip(5).map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(names, ["n3", "n1", "n2"], "{shown}");

    let json: Value = serde_json::from_str(&said(&["top", "--once", "--json"], &n1)).unwrap();
    let troubles: Vec<_> =
        json["members"].as_array().unwrap().iter().map(|m| &m["trouble"]).collect();
    assert_eq!(troubles, [&Value::from("dead"), &Value::Null, &Value::Null]);
    let filtered = ["top", "--once", "--json", "--filter", "zone=a"];
    let json: Value = serde_json::from_str(&said(&filtered, &n1)).unwrap();
    assert_eq!(
        (&json["members"][0]["name"], json["members"].as_array().unwrap().len()),
        (&"n1".into(), 1)
    );
    let by_name = said(&["top", "--once", "--sort", "name"], &n1);
    assert!(by_name.lines().nth(5).unwrap().starts_with("n1 (self)"), "{by_name}");
}

#[test]
fn a_screen_needs_a_terminal_and_a_node_that_answers() {
    let n1 = Node::start(&["--name", "n1"]);
    let error = failure_of(&mut phin(&["top", "--http", &n1.http]), 2);
    assert!(error.contains("needs a terminal") && error.contains("phin top --once"), "{error}");
    let error = failure_of(&mut phin(&["top", "--once", "--interval", "1ms"]), 2);
    assert!(error.contains("allowed is 100ms to 1m"), "{error}");
}

/// `phin top` on a terminal of its own.
struct Top {
    child: Child,
    terminal: OwnedFd,
    output: Receiver<Vec<u8>>,
    seen: String,
}

impl Top {
    fn start(arguments: &[&str]) -> Self {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        unlockpt(&terminal).unwrap();
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&terminal, size).unwrap();
        let name = ptsname(&terminal, Vec::new()).unwrap();
        let open = || {
            let name = name.to_str().unwrap();
            Stdio::from(fs::OpenOptions::new().read(true).write(true).open(name).unwrap())
        };
        let child = phin(&[&["top", "--interval", "100ms"], arguments].concat())
            .env("TERM", "xterm")
            .stdin(open())
            .stdout(open())
            .stderr(open())
            .spawn()
            .unwrap();
        let (sender, output) = mpsc::channel();
        let mut reader = File::from(terminal.try_clone().unwrap());
        thread::spawn(move || {
            let mut bytes = [0; 4_096];
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                if sender.send(bytes[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, terminal, output, seen: String::new() }
    }

    /// Waits until the output has this after what was seen before. Cells that do not change are not written, and so are the
    /// spaces between words.
    fn sees(&mut self, text: &str) {
        let began = Instant::now();
        let end = loop {
            if let Some(at) = self.seen.find(text) {
                break at + text.len();
            }
            let left = PATIENCE.saturating_sub(began.elapsed());
            match self.output.recv_timeout(left) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(error) => panic!("{error} while waiting for {text:?}; seen: {:?}", self.seen),
            }
        };
        self.seen.drain(..end);
    }

    fn types(&self, keys: &str) {
        let mut writer = File::from(self.terminal.try_clone().unwrap());
        writer.write_all(keys.as_bytes()).unwrap();
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Whether the terminal is in the mode that shells expect.
    fn is_line_by_line(&self) -> bool {
        let modes = tcgetattr(&self.terminal).unwrap().local_modes;
        modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    /// Waits for the end, which gives the terminal back, and returns the exit code.
    fn ends(mut self) -> Option<i32> {
        self.sees(LEAVE);
        let code = self.child.wait().unwrap().code();
        assert!(self.is_line_by_line());
        code
    }
}

impl Drop for Top {
    fn drop(&mut self) {
        // This fails if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const ENTER: &str = "\u{1b}[?1049h";
const LEAVE: &str = "\u{1b}[?1049l";

#[test]
fn the_terminal_is_given_back_however_it_ends() {
    let n1 = Node::start(&["--name", "n1"]);
    for (keys, signal, code) in [
        ("q", None, 0),
        ("\u{3}", None, 0),
        ("", Some(Signal::TERM), 143),
        ("", Some(Signal::INT), 130),
        ("", Some(Signal::HUP), 129),
    ] {
        let mut top = Top::start(&["--http", &n1.http]);
        top.sees(ENTER);
        top.sees("alive");
        assert!(!top.is_line_by_line());
        top.types(keys);
        if let Some(signal) = signal {
            top.signal(signal);
        }
        assert_eq!(top.ends(), Some(code), "{keys:?} {signal:?}");
    }
}

#[test]
fn the_screen_is_drawn_again_after_a_stop() {
    let n1 = Node::start(&["--name", "n1"]);
    let mut top = Top::start(&["--http", &n1.http]);
    top.sees("alive");
    top.signal(Signal::STOP);
    waitid(WaitId::Pid(Pid::from_child(&top.child)), WaitIdOptions::STOPPED).unwrap();
    top.signal(Signal::CONT);
    top.sees(ENTER);
    top.sees("alive");
    top.types("?");
    top.sees("Keys");
    top.types("q");
    assert_eq!(top.ends(), Some(0));
}

#[test]
fn changes_are_followed_and_so_is_a_node_that_restarts() {
    let directory = tempfile::tempdir().unwrap();
    // With a directory it returns as the same member.
    let arguments = ["--name", "n1", "--data-dir", directory.path().to_str().unwrap()];
    let mut n1 = Node::start(&arguments);
    let mut top = Top::start(&["--http", &n1.http]);
    top.sees("alive");
    let _n2 = Node::join("n2", &n1);
    top.sees("joined");
    n1.signal(Signal::KILL);
    n1.wait();
    top.sees("DATA");
    top.types("?");
    top.sees("Keys");
    top.types("\u{1b}");
    let _again = Node::start_at(&n1.http, &arguments);
    top.sees("answers");
    top.types("w");
    top.sees("suspected");
    top.types("q");
    assert_eq!(top.ends(), Some(0));
}
