//! Chromium, driven over its DevTools protocol: JSON with a NUL after each message, on file descriptors 3 and 4
//! (`--remote-debugging-pipe`). Nothing here sleeps: the page itself says when a condition holds.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::PATIENCE;

/// A running browser with a profile of its own.
pub(crate) struct Browser {
    child: Child,
    to: ChildStdin,
    messages: Receiver<Value>,
    calls: u64,
    /// Errors and warnings in the consoles of its tabs, and what was thrown there.
    problems: Vec<String>,
    _home: TempDir,
}

/// An open tab.
pub(crate) struct Tab {
    session: String,
    target: String,
}

impl Browser {
    /// Starts Chromium. Returns `None` and prints a note if this machine has none.
    ///
    /// # Panics
    /// If this machine has none, and `NEEDS_BROWSER` is set.
    pub(crate) fn start() -> Option<Self> {
        let Some(program) = chromium() else {
            let needed = std::env::var_os(NEEDS_BROWSER).is_some();
            assert!(!needed, "{NEEDS_BROWSER} is set, but there is no Chromium");
            let name = thread::current().name().unwrap_or("?").to_owned();
            // Directly to standard error, because the output of a passing test is not shown.
            let line = format!("{name}: SKIPPED, for it needs Chromium\n");
            let _ = std::io::stderr().write_all(line.as_bytes());
            return None;
        };
        let home = tempfile::tempdir().unwrap();
        // The shell turns its standard input and output into the two descriptors.
        let mut child = Command::new("/bin/sh")
            .args(["-c", "exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1", "sh"])
            .arg(program)
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", home.path().display()))
            .arg("about:blank")
            .env("HOME", home.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (sender, messages) = mpsc::channel();
        thread::spawn(move || {
            for message in BufReader::new(from).split(0).map_while(Result::ok) {
                let message = serde_json::from_slice(&message).unwrap();
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        Some(Self { child, to, messages, calls: 0, problems: Vec::new(), _home: home })
    }

    /// Opens a page in a new tab.
    pub(crate) fn open(&mut self, url: &str) -> Tab {
        let target = self.call("Target.createTarget", json!({ "url": "about:blank" }), None);
        let target = target["targetId"].as_str().unwrap().to_owned();
        let attached = json!({ "targetId": target, "flatten": true });
        let session = self.call("Target.attachToTarget", attached, None);
        let tab = Tab { session: session["sessionId"].as_str().unwrap().to_owned(), target };
        for domain in ["Runtime.enable", "Log.enable", "Page.enable"] {
            self.call(domain, json!({}), Some(&tab));
        }
        let opened = self.call("Page.navigate", json!({ "url": url }), Some(&tab));
        assert!(opened.get("errorText").is_none(), "{url}: {opened}");
        tab
    }

    /// Waits until an expression is true in the page: it is evaluated anew with each change of the document.
    pub(crate) fn until(&mut self, tab: &Tab, what: &str, expression: &str) {
        let script = format!(
            "new Promise(done => {{
                const holds = () => {{ try {{ return {expression}; }} catch {{ return false; }} }};
                const look = () => {{ if (holds()) {{ watcher.disconnect(); clearTimeout(late); done(''); }} }};
                const watcher = new MutationObserver(look);
                const late = setTimeout(() => done(document.body.innerText), {});
                watcher.observe(document, {{ subtree: true, childList: true, characterData: true, attributes: true }});
                look();
            }})",
            PATIENCE.as_millis() / 2
        );
        let shown = self.value(tab, &script);
        assert_eq!(shown, "", "not {what}; the page shows this, and said: {:#?}", self.problems);
    }

    /// The value of an expression in the page; a promise is waited for.
    pub(crate) fn value(&mut self, tab: &Tab, expression: &str) -> Value {
        let asked =
            json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let answer = self.call("Runtime.evaluate", asked, Some(tab));
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    pub(crate) fn close(&mut self, tab: &Tab) {
        self.call("Target.closeTarget", json!({ "targetId": tab.target }), None);
    }

    pub(crate) fn reload(&mut self, tab: &Tab) {
        self.call("Page.reload", json!({}), Some(tab));
    }

    /// Sets the size of the page, and whether its colours are dark.
    pub(crate) fn shape(&mut self, tab: &Tab, (width, height): (u32, u32), scheme: &str) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500 });
        self.call("Emulation.setDeviceMetricsOverride", size, Some(tab));
        let scheme = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", scheme, Some(tab));
    }

    /// A picture of what is in view, as PNG.
    pub(crate) fn picture(&mut self, tab: &Tab) -> Vec<u8> {
        let drawn = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))";
        self.value(tab, drawn);
        let picture = self.call("Page.captureScreenshot", json!({ "format": "png" }), Some(tab));
        STANDARD.decode(picture["data"].as_str().unwrap()).unwrap()
    }

    /// The errors and warnings of the tabs so far.
    pub(crate) fn problems(&mut self) -> &[String] {
        // Everything that they said before this answer has arrived with it.
        self.call("Browser.getVersion", json!({}), None);
        &self.problems
    }

    fn call(&mut self, method: &str, params: Value, tab: Option<&Tab>) -> Value {
        self.calls += 1;
        let id = self.calls;
        let mut message = json!({ "id": id, "method": method, "params": params });
        if let Some(tab) = tab {
            message["sessionId"] = tab.session.as_str().into();
        }
        let mut bytes = serde_json::to_vec(&message).unwrap();
        bytes.push(0);
        self.to.write_all(&bytes).unwrap();
        loop {
            let answer = self.messages.recv_timeout(PATIENCE);
            let answer = answer.unwrap_or_else(|error| panic!("{method}: {error}"));
            if answer["id"] == id {
                assert!(answer.get("error").is_none(), "{method}: {answer}");
                return answer["result"].clone();
            }
            self.note(&answer);
        }
    }

    fn note(&mut self, event: &Value) {
        let params = &event["params"];
        let problem = match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => Some(&params["exceptionDetails"]),
            Some("Runtime.consoleAPICalled") => ["error", "warning", "assert"]
                .iter()
                .any(|kind| params["type"] == *kind)
                .then_some(params),
            Some("Log.entryAdded") => {
                let entry = &params["entry"];
                ["error", "warning"].iter().any(|level| entry["level"] == *level).then_some(entry)
            }
            _ => None,
        };
        self.problems.extend(problem.map(Value::to_string));
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.to.write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0");
        // Its own end is the quickest; its profile is removed after it.
        let ended = self.messages.iter().any(|message| message["id"] == 0);
        if !ended {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// The program, if it is installed.
fn chromium() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders: Vec<_> = std::env::split_paths(&path).collect();
    let programs = PROGRAMS.iter().flat_map(|name| folders.iter().map(move |dir| dir.join(name)));
    programs.into_iter().find(|program| fs::metadata(program).is_ok_and(|file| file.is_file()))
}

const PROGRAMS: [&str; 4] =
    ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
/// It shows pages of this machine, and asks nobody for anything else.
const FLAGS: [&str; 13] = [
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-sandbox",
    "--disable-gpu",
    // Ten tabs in one process, which is not put behind others: on a busy machine it would starve.
    "--process-per-site",
    "--disable-renderer-backgrounding",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--hide-scrollbars",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
];
/// Set if these tests must run and not be skipped.
const NEEDS_BROWSER: &str = "PHIN_TESTS_NEED_BROWSER";
