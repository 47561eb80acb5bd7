//! `phin members`, `watch` and `leave`, against a running node, a stopped one, none, and something else.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    process::Stdio,
    thread,
};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Node, failure_of, output_of, phin, text};

#[test]
fn members_shows_a_plain_table_where_there_is_no_terminal() {
    let n1 = Node::start(&["--name", "n1"]);
    let _n2 = Node::join("n2", &n1);
    n1.event_of("joined", "n2");
    let output = phin(&["members"]).env("PHIN_HTTP", &n1.http).output().unwrap();
    assert!(output.status.success());
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.is_ascii() && !table.contains('\u{1b}'), "{table}");
    let lines: Vec<Vec<&str>> =
        table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines.len(), 3, "{table}");
    assert_eq!(lines[0][..3], ["NAME", "STATE", "ADDRESS"]);
    assert_eq!(lines[1][..4], ["n1", "(self)", "alive", n1.addr.as_str()]);
    assert_eq!(lines[2][..2], ["n2", "alive"]);
}

#[test]
fn members_as_json_are_what_http_says() {
    let n1 = Node::start(&["--name", "n1"]);
    let url = format!("http://{}/", n1.http);
    let output = output_of(&["members", "--json", "--http", &url]);
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(list, n1.get("/v1/members").json());
    assert_eq!(list["members"][0]["name"], "n1");
}

#[test]
fn leave_makes_the_node_leave_and_end() {
    let n1 = Node::start(&["--name", "n1"]);
    let mut n2 = Node::join("n2", &n1);
    n1.event_of("joined", "n2");
    n2.event_of("joined", "n1");
    let output = output_of(&["leave", "--http", &n2.http]);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "left; confirmed by 1 of 1 members\n");
    assert!(output.status.success() && n2.wait().success());
    n1.event_of("left", "n2");
}

#[test]
fn watch_follows_changes_and_comes_back_after_a_restart() {
    let mut n1 = Node::start(&["--name", "n1"]);
    let mut watch = phin(&["watch", "--json", "--http", &n1.http])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap())
        .lines()
        .map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let first = lines.next().unwrap();
    assert_eq!((&first["event"], &first["members"][0]["name"]), (&"snapshot".into(), &"n1".into()));
    let n2 = Node::join("n2", &n1);
    let joined = lines.next().unwrap();
    assert_eq!(joined, n1.event_of("joined", "n2"), "it is the same line as the node's own");

    n1.signal(Signal::KILL);
    n1.wait();
    let _n3 = Node::start_at(&n1.http, &["--name", "n3", "--join", &n2.addr]);
    let again = lines.find(|line| line["event"] == "snapshot").unwrap();
    let names: Vec<String> =
        again["members"].as_array().unwrap().iter().map(|member| text(&member["name"])).collect();
    assert!(names.contains(&"n3".to_owned()), "{names:?}");
    watch.kill().unwrap();
    watch.wait().unwrap();
}

#[test]
fn watch_ends_when_its_reader_has_gone_though_nothing_happens() {
    let n1 = Node::start(&["--name", "n1"]);
    let mut watch = phin(&["watch", "--http", &n1.http]).stdout(Stdio::piped()).spawn().unwrap();
    let mut reader = BufReader::new(watch.stdout.take().unwrap());
    assert!(reader.read_line(&mut String::new()).unwrap() > 0);
    drop(reader);
    assert!(watch.wait().unwrap().success());
}

#[test]
fn a_node_that_is_not_there_is_said_to_be() {
    // No process listens on the port of a closed listener.
    let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for command in [
        &["members"][..],
        &["watch"],
        &["leave"],
        &["why", "n1"],
        &["top", "--once"],
        &["info"],
        &["rtt"],
    ] {
        let error = failure_of(phin(command).args(["--http", &addr.to_string()]), 1);
        assert!(error.contains(&addr.to_string()) && error.contains("does not answer"), "{error}");
    }
    let error = failure_of(&mut phin(&["members", "--http", "https://127.0.0.1"]), 2);
    assert!(error.contains("http://HOST:PORT"), "{error}");
}

#[test]
fn a_node_that_is_stopped_is_told_from_one_that_is_not_there() {
    let n1 = Node::start(&["--name", "n1"]);
    n1.stop();
    let error = failure_of(&mut phin(&["members", "--http", &n1.http]), 1);
    assert!(error.contains("accepted the connection but does not answer"), "{error}");
}

#[test]
fn what_answers_but_is_no_node_is_said_to_be_none() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 1024]);
            let page = "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\n<p/>";
            let _ = stream.write_all(page.as_bytes());
        }
    });
    for command in [&["members"][..], &["watch"], &["leave"], &["why", "n1"], &["forget", "n1"]] {
        let error = failure_of(phin(command).args(["--http", &addr]), 1);
        assert!(error.contains("not from phin") && error.contains("404 Not Found"), "{error}");
    }
}
