//! `--json`: the answers of a node, as they are.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Node, said};

#[test]
fn commands_print_the_answer_of_the_node_as_json() {
    let n1 = Node::start(&["--name", "n1"]);
    let mut n2 = Node::join("n2", &n1);
    n1.event_of("joined", "n2");
    let ask = |arguments: &[&str]| {
        let text = said(&[arguments, &["--json"]].concat(), &n1);
        assert!(text.ends_with('\n') && text.lines().count() == 1, "{text}");
        serde_json::from_str::<Value>(&text).unwrap()
    };
    assert_eq!(ask(&["drain"]), json!({"state": "draining"}));
    let reason = json!({"state": "not-serving", "reason": "disk full"});
    assert_eq!(ask(&["serve", "--not", "disk full"]), reason);
    assert_eq!(ask(&["serve"]), json!({"state": "serving"}));
    let published = ask(&["publish", "a/b", "text"]);
    assert_eq!((&published["topic"], &published["bytes"]), (&"a/b".into(), &4.into()));
    let sent = ask(&["send", "n2", "a/b", "text", "--datagram"]);
    assert_eq!((&sent["delivered"], &sent["member"]["name"]), (&Value::Null, &"n2".into()));
    n2.signal(Signal::KILL);
    n2.wait();
    n1.event_of("dead", "n2");
    assert_eq!(ask(&["forget", "n2"])["forgotten"]["name"], "n2");
    assert_eq!(ask(&["leave"]), json!({"confirmed": 0, "asked": 0}));
}
