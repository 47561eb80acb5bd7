//! `phin info`, and `GET /v1/node` behind it.

use serde_json::Value;

use crate::harness::{Node, ask, output_of, said, text};

#[test]
fn a_node_describes_itself() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().to_str().unwrap();
    let n1 = Node::start(&["--name", "n1", "--cluster", "shop", "--data-dir", data_dir]);
    let answer = n1.get("/v1/node").json();
    assert_eq!((&answer["name"], &answer["cluster"]), (&"n1".into(), &"shop".into()));
    assert_eq!(
        (&answer["addr"], &answer["http"]),
        (&n1.addr.as_str().into(), &n1.http.as_str().into())
    );
    assert_eq!((&answer["ready"], &answer["not_ready"]), (&true.into(), &Value::Null));
    assert_eq!((&answer["generation"], &answer["data_dir"]), (&1.into(), &data_dir.into()));
    assert_eq!(answer["members"]["alive"], 1);
    assert_eq!(answer["credentials"]["kind"], "key");
    assert_eq!(answer["settings"]["period_ms"], 200, "the settings of the profile `local`");
    assert_eq!(answer["id"], n1.get("/v1/members").json()["self"]);

    let shown = said(&["info"], &n1);
    let line = |name: &str| {
        let line = shown.lines().find(|line| line.split_whitespace().next() == Some(name));
        let line = line.unwrap_or_else(|| panic!("no line {name}: {shown}"));
        line.split_once(' ').unwrap().1.trim().to_owned()
    };
    assert_eq!((line("name"), line("id")), ("n1".into(), text(&answer["id"])));
    assert_eq!((line("ready"), line("address")), ("yes".into(), n1.addr.clone()));
    assert_eq!(line("members"), "1: 1 alive, 0 suspect, 0 dead, 0 left");
    assert_eq!(line("credentials"), "cluster key, which does not expire");
    assert_eq!((line("phi-threshold"), line("period")), ("8".into(), "200ms".into()));

    let json: Value = serde_json::from_str(&said(&["info", "--json"], &n1)).unwrap();
    for key in ["id", "name", "version", "advertised", "started_at", "settings", "members"] {
        assert_eq!(json[key], answer[key], "{key}");
    }
    assert!(json["uptime_ms"].as_u64() >= answer["uptime_ms"].as_u64());

    assert_eq!(ask(&n1, "PUT", "/v1/serving", "{\"state\":\"draining\"}").status, 200);
    let answer = n1.get("/v1/node").json();
    assert_eq!(answer["not_ready"], "the node is draining", "the reason is that of /readyz");
    assert_eq!(n1.get("/readyz").error(), "the node is draining");
    assert!(said(&["info"], &n1).contains("no: the node is draining"));
}

#[test]
fn the_expiry_of_a_certificate_is_shown() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path().to_str().unwrap();
    let file = |name: &str| format!("{dir}/{name}");
    let (ca, ca_key) = (file("ca.pem"), file("ca.key"));
    assert!(output_of(&["cert", "ca", "--dir", dir]).status.success());
    let issue = ["cert", "issue", "n1", "--ca", &ca, "--ca-key", &ca_key, "--dir", dir];
    assert!(output_of(&issue).status.success());
    let (cert, key) = (file("n1.pem"), file("n1.key"));
    let arguments = ["--name", "n1", "--ca", &ca, "--cert", &cert, "--key", &key];
    let n1 = Node::spawn(&mut crate::harness::run(&arguments));
    let credentials = n1.get("/v1/node").json()["credentials"].clone();
    assert_eq!(credentials["kind"], "certificate");
    let expires: jiff::Timestamp = text(&credentials["expires"]).parse().unwrap();
    let days = (expires.as_second() - jiff::Timestamp::now().as_second()) / 86_400;
    assert!((363..=365).contains(&days), "{days} days");
    assert!(said(&["info"], &n1).contains("certificate, valid until 20"));
}
