//! A node that knows thousands of members: it sends the page of a real node, and answers as one with a long list would.

use std::{
    fmt::Write as _,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::Arc,
    thread,
};

use serde_json::{Value, json};

use super::page_of;
use crate::harness::{Answer, Node};

/// A running server. It ends with the process of the tests.
pub(crate) struct Many {
    addr: String,
    list: Arc<List>,
}

struct List {
    page: Answer,
    members: Vec<Value>,
}

impl Many {
    pub(crate) fn start(count: u32) -> Self {
        let page = page_of(&Node::start(&["--name", "page"]));
        let list = Arc::new(List { page, members: (0..count).map(member).collect() });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let served = Arc::clone(&list);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let list = Arc::clone(&served);
                // A browser closes connections as it likes.
                thread::spawn(move || list.serve(stream));
            }
        });
        Self { addr, list }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.addr)
    }

    pub(crate) fn count(&self, is_wanted: impl Fn(&Value) -> bool) -> usize {
        self.list.members.iter().filter(|member| is_wanted(member)).count()
    }
}

impl List {
    fn serve(&self, stream: TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream.try_clone().ok()?);
        let mut to = stream;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let path = line.split(' ').nth(1)?.to_owned();
            while line != "\r\n" {
                line.clear();
                if reader.read_line(&mut line).ok()? == 0 {
                    return None;
                }
            }
            match path.as_str() {
                "/" => {
                    to.write_all(format!("{}{}", self.page.head, self.page.body).as_bytes())
                        .ok()?;
                }
                "/v1/events" => {
                    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
                    let list = json!({ "self": self.members[0]["id"], "version": 9, "fingerprint": "0", "members": self.members });
                    to.write_all(format!("{head}event: snapshot\ndata: {list}\n\n").as_bytes())
                        .ok()?;
                    // Until the browser closes it.
                    return reader.read_line(&mut line).map(drop).ok();
                }
                path => {
                    let body = self.answer(path).to_string();
                    let head = format!(
                        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                        body.len()
                    );
                    to.write_all((head + &body).as_bytes()).ok()?;
                }
            }
        }
    }

    fn answer(&self, path: &str) -> Value {
        let me = &self.members[0];
        let asked = path.split('/').nth(3).unwrap_or_default();
        let member = self.members.iter().find(|member| member["id"] == asked).unwrap_or(me);
        match path.rsplit('/').next().unwrap_or_default() {
            "node" => json!({
                "id": me["id"], "name": me["name"], "version": "0.1.0", "cluster": "orders", "addr": me["addr"],
                "advertised": me["addr"], "started_at": "2026-01-02T03:04:05.678901Z", "now": "2026-01-03T05:04:05.678901Z",
                "ready": true, "not_ready": null, "isolated": false, "converged": true,
                "settings": { "period_ms": 1000, "rings": 8, "phi_threshold": 8.0, "pause_tolerance_ms": 1000, "hang_tolerance_ms": 10000 },
            }),
            "links" => {
                let link = |other: &Value| {
                    json!({
                        "member": { "id": other["id"], "name": other["name"] }, "observed": true, "phi": 0.1, "rtt_ms": 0.4,
                        "loss": 0.0, "degraded_since": null, "failing_links": [],
                    })
                };
                json!({ "links": self.members[1..9].iter().map(link).collect::<Vec<_>>() })
            }
            "why" => json!({
                "member": member, "since": member["since"], "suppressed_until": null, "flap_penalty": 0.0, "suspicion": null,
                "degraded_since": null, "failing_links": [], "others": [],
            }),
            "rings" => {
                // Any others will do: the page draws what it is given.
                let at =
                    self.members.iter().position(|other| other["id"] == member["id"]).unwrap_or(0);
                let next = |step: usize| -> Vec<Value> {
                    let others = (0..8).map(|ring| {
                        (ring, &self.members[(at + step * (ring + 1) * 311) % self.members.len()])
                    });
                    others.map(|(ring, other)| json!({ "id": other["id"], "name": other["name"], "state": other["state"], "rings": [ring] })).collect()
                };
                json!({ "member": member, "rings": 8, "live": self.members.len(), "observers": next(1), "subjects": next(2) })
            }
            "data" => {
                json!({ "member": member, "generation": 1, "revision": 0, "bytes": 0, "entries": [] })
            }
            "leaders" => json!([]),
            _ => json!({}),
        }
    }
}

fn member(index: u32) -> Value {
    // As evenly spread as hashes are.
    let mut id = String::new();
    for part in 1..=4 {
        let _ = write!(
            id,
            "{:08x}",
            index.wrapping_mul(2_654_435_761).rotate_left(part * 7)
                ^ part.wrapping_mul(0x9e37_79b9)
        );
    }
    let role = ["web", "api", "db", "cache"][index as usize % 4];
    let zone = ["a", "b", "c"][index as usize % 3];
    let state = match index {
        1_000..1_007 => "dead",
        1_100..1_102 => "suspect",
        1_200..1_203 => "left",
        _ => "alive",
    };
    let serving = if index == 1_300 { "draining" } else { "serving" };
    json!({
        "id": id, "name": format!("{role}-{}", index / 4 + 1), "addr": format!("10.0.{}.{}:7646", index / 250, index % 250 + 1),
        "generation": 1, "incarnation": 0, "state": state, "since": format!("2026-01-03T04:{:02}:00.000000Z", index % 60),
        "tags": { "role": role, "zone": zone }, "serving": { "state": serving },
        "phi": null, "rtt_ms": null, "suppressed_until": null, "namesakes": [], "degraded_since": null, "failing_links": [],
    })
}
