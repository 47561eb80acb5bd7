//! Messages to all while packets are lost, and while a member has only one path to the others.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    cluster::Cluster,
    lan::Family,
    node::{HTTP, Watch, phin},
};

#[test]
fn all_receive_all_once_and_in_order_whatever_the_network_loses() {
    let Some(cluster) = Cluster::start(Family::V4, 8, &["--profile", "local"]) else { return };
    let hosts = cluster.all_but(&[]);
    let mut watches: Vec<Watch> = hosts
        .iter()
        .map(|&number| Watch::start(cluster.lan.host(number), &["--topic", TOPIC]))
        .collect();
    let mut published = Vec::new();

    cluster.lan.lose(25);
    publish(&cluster, 100, &mut published);
    cluster.lan.heal();
    // The members that pushed to it before cannot reach it any more.
    cluster.lan.leave_one_path(8, 5);
    publish(&cluster, 20, &mut published);
    watches.iter().for_each(|watch| published.iter().for_each(|(_, text)| watch.expect(text)));
    cluster.lan.heal();
    publish(&cluster, 1, &mut published);
    for watch in &mut watches {
        watch.expect(&published[published.len() - 1].1);
        let received = messages(&watch.end());
        assert_eq!(received.values().map(Vec::len).sum::<usize>(), published.len());
        for (publisher, texts) in &received {
            let own = published.iter().filter(|(name, _)| name == publisher);
            assert!(own.map(|(_, text)| text).eq(texts), "of {publisher}: {texts:?}");
        }
    }
}

/// Publishes so many further messages, of several members in turn, and notes the publisher and text of each.
fn publish(cluster: &Cluster, count: usize, published: &mut Vec<(String, String)>) {
    for number in published.len()..published.len() + count {
        let (publisher, text) = (1 + number % PUBLISHERS, number.to_string());
        let mut command = phin();
        command.args(["publish", TOPIC, &text, "--http", HTTP]);
        let output = cluster.lan.host(publisher).run(|| command.output()).unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        published.push((format!("n{publisher}"), text));
    }
}

/// The messages of each publisher, in the order in which they arrived. There is nothing else.
fn messages(lines: &[Value]) -> BTreeMap<String, Vec<String>> {
    let mut messages: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for line in lines {
        assert_eq!(line["event"], "message", "{line}");
        let [publisher, text] = [&line["member"]["name"], &line["text"]];
        let [publisher, text] = [publisher, text].map(|field| field.as_str().unwrap().to_owned());
        messages.entry(publisher).or_default().push(text);
    }
    messages
}

const TOPIC: &str = "news";
/// How many members publish, one after the other.
const PUBLISHERS: usize = 4;
