use std::{collections::BTreeSet, sync::Arc};

use super::*;
use crate::{
    Config, Data, DataUpdate, Generation, MemberState, OwnerGone,
    member::record::tests::{TestKeys, id},
    testing::{
        ms,
        net::{Net, is_part},
        peer,
    },
    wire::{Content, DataChange},
};

impl Net {
    fn put(&mut self, node: u8, key: &str, value: &str) {
        let now = self.now;
        self.nodes[usize::from(node)].put_data(now, key, value.as_bytes(), None).unwrap();
        self.drain(node);
    }

    fn delete(&mut self, node: u8, key: &str) {
        let now = self.now;
        assert!(self.nodes[usize::from(node)].delete_data(now, key));
        self.drain(node);
    }

    fn read(&self, node: u8, owner: u8, key: &str) -> Option<String> {
        let data = self.nodes[usize::from(node)].data();
        data.get(id(owner), key).map(|value| String::from_utf8(value.to_vec()).unwrap())
    }

    /// The values that the nodes read there, each once.
    fn all_read(&self, owner: u8, key: &str) -> BTreeSet<Option<String>> {
        (0..self.nodes.len()).map(|node| self.read(node as u8, owner, key)).collect()
    }

    fn data(&self, node: u8) -> Data {
        self.nodes[usize::from(node)].data()
    }

    /// Whether all nodes have the same data.
    fn agree(&self) -> bool {
        let prints = self.nodes.iter().map(|node| node.core.data.store.fingerprint());
        prints.collect::<Vec<_>>().windows(2).all(|pair| pair[0] == pair[1])
    }
}

fn some(value: &str) -> BTreeSet<Option<String>> {
    BTreeSet::from([Some(value.to_owned())])
}

#[test]
fn writes_are_read_at_once_here_and_by_all_soon_each_time() {
    let mut net = Net::new(24);
    for value in ["1", "2", "3"] {
        net.put(5, "load", value);
        assert_eq!(net.read(5, 5, "load").as_deref(), Some(value));
        net.run(ms(100));
        assert_eq!(net.all_read(5, "load"), some(value));
    }
    net.delete(5, "load");
    net.run(ms(100));
    assert_eq!(net.all_read(5, "load"), BTreeSet::from([None]));
    assert!(net.agree());
}

#[test]
fn writes_within_the_delay_are_one_revision() {
    let mut net = Net::new(3);
    (0..50).for_each(|number| net.put(1, &format!("key{}", number % 10), &number.to_string()));
    net.run(ms(100));
    assert_eq!(net.all_read(1, "key9"), some("49"));
    assert_eq!(net.data(2).of(id(1)).unwrap().revision().0, 1);
}

#[test]
fn each_member_receives_a_change_once() {
    let mut net = Net::new(24);
    net.run(ms(2_000));
    let deltas = std::rc::Rc::new(std::cell::Cell::new(0));
    let counted = std::rc::Rc::clone(&deltas);
    net.is_lost = Box::new(move |_, _, payload| {
        let is_delta = is_part(payload, |part| matches!(part, Part::DataDelta(_)));
        counted.set(counted.get() + u32::from(is_delta));
        false
    });
    net.put(5, "key", "value");
    net.run(ms(500));
    assert_eq!(net.all_read(5, "key"), some("value"));
    assert_eq!(deltas.get(), 23);
}

#[test]
fn what_is_lost_is_found_by_comparing() {
    let mut net = Net::new(8);
    // No announcement arrives anywhere.
    net.is_lost = Box::new(|_, _, payload| is_part(payload, |p| matches!(p, Part::DataNews(_))));
    net.put(5, "key", "value");
    net.run(ms(4_000));
    assert_eq!(net.all_read(5, "key"), some("value"));
}

#[test]
fn a_member_that_does_not_answer_is_asked_once_and_then_another() {
    let mut net = Net::new(8);
    // The owner's answers to one member are lost.
    net.is_lost = Box::new(|from, to, payload| {
        (from, to) == (5, 6) && is_part(payload, |p| matches!(p, Part::DataDelta(_)))
    });
    net.put(5, "key", "value");
    net.run(ms(600));
    assert_eq!(net.all_read(5, "key"), some("value"));
}

#[test]
fn a_newcomer_receives_more_than_a_page_holds() {
    let mut net = Net::new(40);
    let long = "x".repeat(8_000);
    for node in 0..40 {
        (0..2).for_each(|key| net.put(node, &key.to_string(), &long));
    }
    net.run(ms(2_000));
    assert!(net.agree());
    net.add(0, &Config::lan());
    net.run(ms(2_000));
    let bytes: usize = net.data(40).iter().map(|(_, data)| data.bytes()).sum();
    assert_eq!(bytes, 40 * 2 * 8_001);
    assert!(net.agree());
}

#[test]
fn both_sides_of_a_split_have_all_data_again_and_nothing_deleted_returns() {
    let mut net = Net::new(10);
    net.put(1, "deleted", "1");
    net.put(8, "kept", "1");
    net.run(ms(200));
    net.split(&[0, 1, 2, 3, 4]);
    net.run(ms(1_000));
    net.delete(1, "deleted");
    net.put(8, "kept", "2");
    net.run(ms(30_000));
    assert_eq!(net.read(9, 1, "deleted").as_deref(), Some("1"), "it is dead there, and readable");
    net.heal();
    net.run(ms(10_000));
    assert!(net.agree());
    assert_eq!(net.all_read(1, "deleted"), BTreeSet::from([None]));
    assert_eq!(net.all_read(8, "kept"), some("2"));
}

#[test]
fn data_of_a_member_that_left_or_started_anew_is_gone_and_that_of_a_dead_one_is_kept() {
    let mut net = Net::new(6);
    for node in [1, 2, 3] {
        net.put(node, "key", "old");
    }
    net.run(ms(200));
    net.events.clear();
    let now = net.now;
    net.nodes[1].leave(now);
    net.drain(1);
    net.nodes[2] = net.start(2, 1, &Config::lan());
    net.nodes[2].join(now, peer(0));
    net.drain(2);
    net.put(2, "other", "new");
    net.is_lost = Box::new(|from, to, _| [from, to].contains(&3));
    net.run(ms(20_000));
    assert_eq!((net.read(0, 1, "key"), net.read(0, 2, "key")), (None, None));
    assert_eq!(net.read(0, 2, "other").as_deref(), Some("new"));
    assert_eq!(net.nodes[0].members().get(id(3)).unwrap().state(), MemberState::Dead);
    assert_eq!(net.read(0, 3, "key").as_deref(), Some("old"));
    let here = net.events.iter().filter(|(node, _)| *node == 0);
    let gone: Vec<_> = here.map(|(_, update)| update).collect();
    let of = |why| DataUpdate::OwnerGone(why);
    let put = DataUpdate::Put { key: "other".into(), value: b"new"[..].into() };
    for expected in [of(OwnerGone::Left), of(OwnerGone::Restarted), of(OwnerGone::Dead), put] {
        assert!(gone.contains(&&expected), "{expected:?} among {gone:?}");
    }
    // It returns in the same run: its data is reported again.
    net.events.clear();
    net.heal();
    net.run(ms(10_000));
    let put = DataUpdate::Put { key: "key".into(), value: b"old"[..].into() };
    assert!(net.events.contains(&(0, put)));
}

#[test]
fn a_process_that_lost_its_data_and_repeats_its_run_replaces_what_others_have() {
    let mut net = Net::new(4);
    for value in ["1", "2", "3"] {
        net.put(2, "key", value);
        net.run(ms(200));
    }
    // It restarts in the same run, as from an old copy of a disk, and soon enough that nobody misses it.
    let generation = net.nodes[2].members().me().generation();
    net.nodes[2] = net.start(2, generation.0, &Config::lan());
    net.nodes[2].join(net.now, peer(0));
    net.drain(2);
    net.put(2, "other", "new");
    net.run(ms(6_000));
    assert!(net.agree());
    assert_eq!(net.all_read(2, "key"), BTreeSet::from([None]));
    assert_eq!(net.all_read(2, "other"), some("new"));
    assert_eq!(net.stats(0).data_forged, 0);
    assert_eq!(net.nodes[0].members().get(id(2)).unwrap().generation(), generation);
}

#[test]
fn a_key_expires_everywhere_unless_it_is_set_again() {
    let mut net = Net::new(4);
    for key in ["short", "renewed", "lasting"] {
        let now = net.now;
        let time_to_live = (key != "lasting").then_some(ms(500));
        net.nodes[1].put_data(now, key, b"value", time_to_live).unwrap();
        net.drain(1);
    }
    net.run(ms(400));
    let (now, revision) = (net.now, net.data(2).of(id(1)).unwrap().revision());
    net.nodes[1].put_data(now, "renewed", b"value", Some(ms(500))).unwrap();
    net.drain(1);
    net.run(ms(50));
    assert_eq!(net.data(2).of(id(1)).unwrap().revision(), revision, "it costs no message");
    net.run(ms(300));
    assert_eq!(net.all_read(1, "short"), BTreeSet::from([None]));
    assert_eq!(net.all_read(1, "renewed"), some("value"));
    assert!(net.events.contains(&(2, DataUpdate::Expire { key: "short".into() })));
    net.run(ms(400));
    assert_eq!(net.all_read(1, "renewed"), BTreeSet::from([None]));
    assert_eq!(net.all_read(1, "lasting"), some("value"));
}

/// The revision that member 1 of 4 would sign next.
fn next_delta(net: &Net) -> Delta {
    let mut data = MemberData::clone(net.data(0).of(id(1)).unwrap());
    let head = Head { revision: crate::Revision(data.revision().0 + 1), ..data.head };
    data.put("key", &b"new"[..].into(), head.revision, 1_000).unwrap();
    let before = data.head;
    data.publish(id(1), head, &TestKeys(1));
    data.delta_since(id(1), before)
}

fn deliver(net: &mut Net, to: u8, from: u8, part: Part) {
    let (now, payload) = (net.now, Payload::of(&part).into_bytes());
    net.nodes[usize::from(to)].handle_stream(now, peer(from), &payload);
    net.drain(to);
}

#[test]
fn hostile_data_is_dropped_and_counted() {
    let mut net = Net::new(4);
    net.put(1, "key", "old");
    net.run(ms(200));
    let good = next_delta(&net);
    let replayed = net.data(0).of(id(1)).unwrap().delta_since(id(1), Head::default());
    let forged = Delta { changes: Vec::new(), ..good.clone() };
    // Removals are not signed.
    let with_removal = |revision| {
        let (revision, content) = (crate::Revision(revision), Content::Deleted);
        let removal = DataChange { key: "never".to_owned(), revision, content };
        Delta { changes: [&good.changes[..], &[removal]].concat(), ..good.clone() }
    };
    let of_another = Delta { owner: id(77), ..good.clone() };
    let later_run = Head { generation: Generation(9), ..good.head };
    let of_later_run = Delta { head: later_run, ..good.clone() };
    let long: Arc<[u8]> = vec![0; 8_000].into();
    let many = (0..3).map(|key| DataChange {
        key: key.to_string(),
        revision: good.head.revision,
        content: Content::Value(Arc::clone(&long)),
    });
    let too_long = Delta { changes: many.collect(), ..good.clone() };
    for (what, delta, counted) in [
        ("replayed", replayed, [1, 0, 0]),
        ("forged", forged, [0, 1, 0]),
        ("with a removal to come", with_removal(u64::MAX), [0, 1, 0]),
        ("with a removal of before", with_removal(good.base.0), [0, 1, 0]),
        ("of an unknown member", of_another, [1, 0, 0]),
        ("of a run that is not known", of_later_run, [1, 0, 0]),
        ("over the limit", too_long, [0, 0, 1]),
    ] {
        let before = net.stats(0);
        deliver(&mut net, 0, 2, Part::DataDelta(Box::new(delta)));
        let after = net.stats(0);
        let found = [
            after.data_ignored - before.data_ignored,
            after.data_forged - before.data_forged,
            after.data_over_limit - before.data_over_limit,
        ];
        assert_eq!(found, counted, "{what}");
        assert_eq!(net.read(0, 1, "key").as_deref(), Some("old"), "{what}");
    }
    deliver(&mut net, 0, 2, Part::DataDelta(Box::new(good)));
    assert_eq!(net.read(0, 1, "key").as_deref(), Some("new"), "what the owner signed counts");
}

#[test]
fn announcements_of_data_that_does_not_exist_hold_up_nothing() {
    let mut net = Net::new(4);
    net.put(1, "key", "old");
    net.run(ms(200));
    // Member 2 promises a revision that it has not.
    let promised =
        Head { revision: crate::Revision(u64::MAX), ..net.data(0).of(id(1)).unwrap().head };
    let line = DataLine { owner: id(1), head: promised };
    net.is_lost = Box::new(|from, _, payload| {
        from == 2 && is_part(payload, |part| matches!(part, Part::DataDelta(_)))
    });
    deliver(&mut net, 0, 2, Part::DataNews(vec![line]));
    net.put(1, "key", "new");
    net.run(ms(1_000));
    assert_eq!(net.read(0, 1, "key").as_deref(), Some("new"));
    assert!(net.nodes[0].core.data.replication.wanted.is_empty());
}

#[test]
fn announcing_without_end_and_never_answering_holds_up_nothing() {
    let mut net = Net::new(4);
    net.put(1, "key", "0");
    net.run(ms(200));
    let promised =
        Head { revision: crate::Revision(u64::MAX), ..net.data(0).of(id(1)).unwrap().head };
    net.is_lost = Box::new(|from, _, payload| {
        from == 2 && is_part(payload, |part| matches!(part, Part::DataDelta(_)))
    });
    let run = |net: &mut Net, turns| {
        for _ in 0..turns {
            let line = DataLine { owner: id(1), head: promised };
            deliver(net, 0, 2, Part::DataNews(vec![line]));
            net.run(ms(25));
        }
    };
    run(&mut net, 40);
    for value in ["1", "2", "3"] {
        net.put(1, "key", value);
        run(&mut net, 6);
        assert_eq!(net.read(0, 1, "key").as_deref(), Some(value));
    }
}

#[test]
fn a_member_that_does_not_answer_comparisons_holds_up_no_other() {
    let mut net = Net::new(4);
    net.put(1, "key", "old");
    net.run(ms(200));
    // Nothing is announced to member 0, and member 2 answers no comparison.
    net.is_lost = Box::new(|_, to, payload| {
        let is_lost = |part: &Part| match part {
            Part::DataNews(_) => to == 0,
            Part::DataCompare(_) => to == 2,
            _ => false,
        };
        is_part(payload, is_lost)
    });
    net.put(1, "key", "new");
    for _ in 0..400 {
        deliver(&mut net, 0, 2, Part::DataFingerprint(Fingerprint(1)));
        net.run(ms(10));
    }
    assert_eq!(net.read(0, 1, "key").as_deref(), Some("new"));
}

#[test]
fn the_data_of_all_members_has_a_limit() {
    let config = Config { max_total_data_bytes: 2_000, ..Config::lan() };
    let mut net = Net::with(4, &config);
    for node in 0..4 {
        net.put(node, "key", &"x".repeat(900));
    }
    net.run(ms(2_000));
    for node in 0..4 {
        let bytes: usize = net.data(node).iter().map(|(_, data)| data.bytes()).sum();
        assert!(bytes <= 2_000, "{bytes} at {node}");
        assert!(net.stats(node).data_over_limit > 0);
    }
}

#[test]
fn without_data_nothing_is_sent_for_it() {
    let mut net = Net::new(4);
    net.is_lost = Box::new(|_, _, payload| {
        assert!(!is_part(payload, |part| matches!(part, Part::DataFingerprint(_))));
        false
    });
    net.run(ms(3_000));
    net.heal();
    net.put(1, "key", "value");
    net.run(ms(500));
    // One that is equal everywhere costs its fingerprint: ten bytes on a ping or an ack.
    net.is_lost = Box::new(|_, _, payload| {
        let is_ours = |part: &Part| {
            matches!(part, Part::DataNews(_) | Part::DataCompare(_) | Part::DataWant(_))
        };
        assert!(!is_part(payload, is_ours));
        false
    });
    net.run(ms(3_000));
    let part = Part::DataFingerprint(net.nodes[0].core.data.store.fingerprint());
    assert_eq!(Payload::of(&part).len() - 1, 10);
}
