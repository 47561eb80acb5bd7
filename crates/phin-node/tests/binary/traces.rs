//! Traces of suspicions, at a collector of the test.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    sync::mpsc::{Receiver, channel},
    thread,
};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Node, PATIENCE, text};

/// An OpenTelemetry collector.
struct Collector {
    url: String,
    requests: Receiver<Value>,
}

impl Collector {
    /// Answers all requests with this status.
    fn start(status: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sender, requests) = channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = BufReader::new(stream.unwrap());
                let head: Vec<String> = stream
                    .by_ref()
                    .lines()
                    .map(Result::unwrap)
                    .take_while(|line| !line.is_empty())
                    .collect();
                assert_eq!(head[0], "POST /v1/traces HTTP/1.1");
                let length = head.iter().find_map(|line| {
                    let line = line.to_ascii_lowercase();
                    line.strip_prefix("content-length: ").map(|length| length.parse().unwrap())
                });
                let mut body = vec![0; length.unwrap()];
                stream.read_exact(&mut body).unwrap();
                let answer = format!(
                    "HTTP/1.1 {status}\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}"
                );
                stream.get_mut().write_all(answer.as_bytes()).unwrap();
                if sender.send(serde_json::from_slice(&body).unwrap()).is_err() {
                    return;
                }
            }
        });
        Self { url, requests }
    }

    /// The next span, with the name of the node that sent it.
    fn span(&self) -> (String, Value) {
        let request = self.requests.recv_timeout(PATIENCE).unwrap();
        let of_node = &request["resourceSpans"][0];
        let spans = of_node["scopeSpans"][0]["spans"].as_array().unwrap().clone();
        assert_eq!(spans.len(), 1, "{request}");
        (attribute(&of_node["resource"], "phin.node"), spans[0].clone())
    }
}

fn attribute(of: &Value, key: &str) -> String {
    let all = of["attributes"].as_array().unwrap();
    let found = all.iter().find(|attribute| attribute["key"] == key);
    text(&found.unwrap_or_else(|| panic!("no {key} in {of}"))["value"]["stringValue"])
}

#[test]
fn the_spans_of_all_nodes_about_a_death_are_one_trace() {
    let collector = Collector::start("200 OK");
    let start = |name: &str, seed: Option<&Node>| {
        let seed = seed.map(|seed| seed.addr.clone());
        let mut arguments = vec!["--name", name, "--otlp-traces", &collector.url];
        seed.iter().for_each(|seed| arguments.extend(["--join", seed]));
        Node::start(&arguments)
    };
    let n1 = start("n1", None);
    let others = ["n2", "n3"].map(|name| start(name, Some(&n1)));
    let mut n4 = start("n4", Some(&n1));
    let left = [&n1, &others[0], &others[1]];
    left.iter().for_each(|node| _ = node.event_of("joined", "n4"));
    n4.signal(Signal::KILL);
    n4.wait();
    let (mut nodes, mut traces, mut spans) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    while nodes.len() < left.len() {
        let (node, span) = collector.span();
        // Another one may be suspected for a moment on a busy machine.
        if attribute(&span, "phin.member") != "n4" {
            continue;
        }
        assert_eq!(attribute(&span, "phin.outcome"), "dead", "{span}");
        let nanos = |key: &str| text(&span[key]).parse::<u128>().unwrap();
        assert!(nanos("startTimeUnixNano") <= nanos("endTimeUnixNano"), "{span}");
        nodes.insert(node);
        traces.insert(text(&span["traceId"]));
        spans.insert(text(&span["spanId"]));
    }
    assert_eq!((traces.len(), spans.len()), (1, 3), "{traces:?} {spans:?}");
    assert!(traces.iter().all(|id| id.len() == 32) && spans.iter().all(|id| id.len() == 16));
    let sent = n1.get("/metrics").body;
    assert!(sent.contains("phin_otlp_spans_total "), "{sent}");
}

#[test]
fn a_collector_that_takes_nothing_delays_nothing_and_is_reported() {
    let collector = Collector::start("503 Service Unavailable");
    let n1 = Node::start(&["--name", "n1", "--otlp-traces", &collector.url]);
    let mut n2 = Node::join("n2", &n1);
    n1.event_of("joined", "n2");
    n2.signal(Signal::KILL);
    n2.wait();
    n1.event_of("dead", "n2");
    n1.log("cannot send traces");
    // It was tried twice.
    assert_eq!(collector.span(), collector.span());
    assert!(n1.get("/metrics").body.contains("\nphin_otlp_spans_dropped_total 1"));
}
