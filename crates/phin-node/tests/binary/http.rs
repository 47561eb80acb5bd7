//! The HTTP interface: answers and refusals.

use std::io::{BufRead, BufReader, Read, Write};

use serde_json::{Value, json};

use crate::harness::{Node, ask, connect, head, request, text};

fn post(node: &Node, headers: &str) -> crate::harness::Answer {
    let raw = format!("POST /v1/leave HTTP/1.1\r\nHost: {}\r\n{headers}\r\n", node.http);
    request(&node.http, &raw)
}

/// The server-sent events of a node: the type and the data of each.
fn events(node: &Node) -> impl Iterator<Item = (String, Value)> {
    let mut stream = connect(&node.http);
    let raw = format!("GET /v1/events HTTP/1.1\r\nHost: {}\r\n\r\n", node.http);
    stream.write_all(raw.as_bytes()).unwrap();
    let mut reader = BufReader::new(stream);
    assert!(head(&mut reader).contains("content-type: text/event-stream"));
    let mut name = String::new();
    reader.lines().map_while(Result::ok).filter_map(move |line| {
        if let Some(event) = line.strip_prefix("event: ") {
            event.clone_into(&mut name);
        }
        let data = line.strip_prefix("data: ")?;
        Some((name.clone(), serde_json::from_str(data).unwrap()))
    })
}

#[test]
fn members_tell_what_is_known_of_each() {
    let n1 = Node::start(&["--name", "n1"]);
    let n2 = Node::join("n2", &n1);
    let me = n1.event_of("joined", "n1");
    let joined = n1.event_of("joined", "n2");
    let list = n1.get("/v1/members").json();
    assert_eq!(list["self"], me["member"]["id"]);
    assert_eq!(list["version"], joined["version"]);
    assert_eq!(list["fingerprint"].as_str().unwrap().len(), 16);
    n2.event_of("joined", "n1");
    let members = list["members"].as_array().unwrap();
    let shown = members.iter().find(|member| member["name"] == "n2").unwrap();
    for field in ["id", "name", "addr", "generation", "incarnation"] {
        assert_eq!(shown[field], joined["member"][field]);
    }
    assert_eq!(shown["state"], "alive");
    assert!(shown["since"].as_str().unwrap().ends_with('Z'));
    assert!(shown.get("phi").is_some() && shown.get("rtt_ms").is_some());
}

#[test]
fn the_node_and_its_links_and_rings_are_told() {
    let n1 = Node::start(&["--name", "n1", "--cluster", "orders"]);
    let n2 = Node::start(&["--name", "n2", "--cluster", "orders", "--join", &n1.addr]);
    n1.event_of("joined", "n2");
    n2.event_of("joined", "n1");
    let about = n1.get("/v1/node").json();
    assert_eq!((&about["name"], &about["cluster"]), (&"n1".into(), &"orders".into()));
    assert_eq!((&about["ready"], &about["not_ready"]), (&true.into(), &Value::Null));
    assert_eq!(about["settings"]["phi_threshold"], 8.0);
    assert_eq!(about["settings"]["period_ms"], 200);
    assert!(text(&about["started_at"]) < text(&about["now"]), "{about}");
    let links = n1.get("/v1/links").json();
    assert_eq!(links["links"][0]["member"]["name"], "n2");
    assert_eq!(links["links"][0]["observed"], true);
    let rings = n1.get("/v1/members/n2/rings").json();
    assert_eq!((&rings["rings"], &rings["live"]), (&8.into(), &2.into()));
    assert_eq!(rings["observers"], rings["subjects"]);
    assert_eq!(rings["observers"][0]["name"], "n1");
    assert_eq!(rings["observers"][0]["rings"], json!([]));
    assert_eq!(n1.get("/v1/members/n3/rings").status, 404);
    assert_eq!(ask(&n1, "PUT", "/v1/serving", "{\"state\":\"draining\"}").status, 200);
    let about = n1.get("/v1/node").json();
    assert_eq!(
        (&about["ready"], &about["not_ready"]),
        (&false.into(), &"the node is draining".into())
    );
}

#[test]
fn events_begin_with_a_snapshot() {
    let n1 = Node::start(&["--name", "n1"]);
    let mut events = events(&n1);
    let (name, list) = events.next().unwrap();
    assert_eq!((name.as_str(), &list["members"][0]["name"]), ("snapshot", &"n1".into()));
    let _n2 = Node::join("n2", &n1);
    let (name, line) = events.next().unwrap();
    assert_eq!((name.as_str(), line), ("joined", n1.event_of("joined", "n2")));
}

#[test]
fn too_many_subscribers_are_turned_away() {
    let n1 = Node::start(&["--name", "n1"]);
    let subscribers: Vec<_> = (0..32)
        .map(|_| {
            let mut events = events(&n1);
            assert_eq!(events.next().unwrap().0, "snapshot");
            events
        })
        .collect();
    let refused = n1.get("/v1/events");
    assert_eq!((refused.status, refused.error().contains("too many")), (503, true));
    assert_eq!(n1.get("/livez").status, 200, "and nobody else is");
    drop(subscribers);
}

#[test]
fn connections_that_ask_nothing_make_way_for_those_that_do() {
    let n1 = Node::start(&["--name", "n1"]);
    let mut events = events(&n1);
    assert_eq!(events.next().unwrap().0, "snapshot");
    let idle: Vec<_> = (0..100).map(|_| connect(&n1.http)).collect();
    assert_eq!(n1.get("/livez").status, 200);
    // At most 64 are served, the subscriber among them.
    let metrics = n1.get("/metrics").body;
    let closed = metrics.lines().find_map(|line| {
        line.strip_prefix("phin_http_connections_closed_total ")?.parse::<u32>().ok()
    });
    assert!(closed.unwrap() > 0, "{metrics}");
    let mut first = &idle[0];
    assert!(matches!(first.read(&mut [0]), Ok(0) | Err(_)), "the first makes way first");
    let _n2 = Node::join("n2", &n1);
    assert_eq!(events.next().unwrap().0, "joined", "and a subscriber for nobody");
}

#[test]
fn a_node_is_ready_once_a_seed_let_it_in() {
    // A socket that exists and never answers.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let seed = silent.local_addr().unwrap().to_string();
    let n1 = Node::start(&["--name", "n1", "--join", &seed]);
    let ready = n1.get("/readyz");
    assert_eq!((ready.status, ready.error().contains("seed")), (503, true));
    assert_eq!(n1.get("/livez").status, 200);
    let n2 = Node::join("n2", &n1);
    n1.event_of("joined", "n2");
    n2.event_of("joined", "n1");
    assert_eq!(n2.get("/readyz").status, 200);
}

#[test]
fn metrics_are_what_prometheus_reads() {
    let n1 = Node::start(&["--name", "n1"]);
    let answer = n1.get("/metrics");
    assert_eq!(answer.status, 200);
    let content = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert!(answer.head.contains(content), "{}", answer.head);
    assert!(answer.body.contains("\nphin_members{state=\"alive\"} 1"), "{}", answer.body);
    assert!(answer.body.ends_with("# EOF\n"));
}

#[test]
fn what_is_not_there_is_an_error_in_json() {
    let n1 = Node::start(&["--name", "n1"]);
    let missing = n1.get("/nothing");
    assert_eq!((missing.status, missing.error().is_empty()), (404, false));
    let other = request(&n1.http, &format!("PUT /livez HTTP/1.1\r\nHost: {}\r\n\r\n", n1.http));
    assert_eq!((other.status, other.error().is_empty()), (405, false));
    assert!(other.head.contains("allow: GET"), "{}", other.head);
    let get = n1.get("/v1/leave");
    assert_eq!(get.status, 405, "a link cannot make a node leave");
}

#[test]
fn a_web_page_of_another_origin_is_refused() {
    let n1 = Node::start(&["--name", "n1"]);
    let refused = [
        ("Origin: http://evil.example\r\n", 403),
        ("Origin: null\r\n", 403),
        ("Origin: http://127.0.0.1:1\r\n", 403),
        ("Sec-Fetch-Site: cross-site\r\n", 403),
        ("Sec-Fetch-Site: same-site\r\n", 403),
        ("Content-Type: application/x-www-form-urlencoded\r\n", 415),
        ("Content-Type: text/plain\r\n", 415),
        ("Content-Length: 999999\r\n", 413),
    ];
    for (headers, status) in refused {
        let answer = post(&n1, headers);
        assert_eq!(answer.status, status, "{headers}");
        assert!(!answer.head.contains("access-control"), "{}", answer.head);
        assert!(!answer.error().is_empty());
    }
    let probe = "GET /readyz HTTP/1.1\r\nHost: evil.example\r\n\r\n";
    assert_eq!(request(&n1.http, probe).status, 200, "a probe changes nothing");
    let rebound = "POST /v1/leave HTTP/1.1\r\nHost: evil.example\r\n\r\n";
    assert_eq!(request(&n1.http, rebound).status, 403);
    let preflight = format!("OPTIONS /v1/leave HTTP/1.1\r\nHost: {}\r\n", n1.http);
    let preflight = format!("{preflight}Origin: http://evil.example\r\n\r\n");
    assert_eq!(request(&n1.http, &preflight).status, 403);
    assert_eq!(n1.get("/readyz").status, 200, "it has not left");
}

#[test]
fn a_plain_post_and_one_of_the_same_origin_make_it_leave() {
    let mut n1 = Node::start(&["--name", "n1"]);
    let answer = post(&n1, "");
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.json()["confirmed"], 0);
    assert!(n1.wait().success());
    let mut n2 = Node::start(&["--name", "n2"]);
    let same = format!("Origin: http://{}\r\nContent-Type: application/json\r\n", n2.http);
    assert_eq!(post(&n2, &same).status, 200);
    assert!(n2.wait().success());
}

#[test]
fn garbage_ends_its_own_connection_alone() {
    let n1 = Node::start(&["--name", "n1"]);
    let many_headers =
        format!("GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "X: y\r\n".repeat(100));
    let long_header =
        format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "y".repeat(20_000));
    let garbage =
        ["\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", "GET\r\n\r\n", &many_headers, &long_header];
    for raw in garbage {
        let mut stream = connect(&n1.http);
        // The node may close the connection before it has read everything.
        let _ = stream.write_all(raw.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    assert_eq!(n1.get("/livez").status, 200);
}
