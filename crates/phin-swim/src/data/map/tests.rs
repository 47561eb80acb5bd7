use rand::{RngExt, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::member::record::tests::{TestKeys, id};

const MAX: usize = 16 * 1_024;

fn value(text: &str) -> Arc<[u8]> {
    text.as_bytes().into()
}

fn put(data: &mut MemberData, key: &str, text: &str) {
    let revision = Revision(data.head.revision.0 + 1);
    data.put(key, &value(text), revision, MAX).unwrap();
}

fn publish(data: &mut MemberData) {
    let revision = Revision(data.head.revision.0 + 1);
    data.publish(id(1), Head { generation: Generation(3), revision }, &TestKeys(1));
}

/// Data of member 1 in its first revision.
fn published(entries: &[(&str, &str)]) -> MemberData {
    let mut data = MemberData::new();
    entries.iter().for_each(|(key, text)| put(&mut data, key, text));
    publish(&mut data);
    data
}

fn apply(known: &MemberData, delta: &Delta) -> Result<MemberData, Refusal> {
    let key = TestKeys(1).public_key();
    known.apply(delta, MAX, (&key, &TestKeys(0)))
}

fn content(data: &MemberData) -> Vec<(String, Arc<[u8]>)> {
    data.iter().map(|(key, value)| (key.to_owned(), Arc::clone(value))).collect()
}

#[test]
fn what_exceeds_a_limit_is_refused_and_changes_nothing() {
    let long = |length| "x".repeat(length);
    let cases = [
        (long(128), 8 * 1_024, Ok(true)),
        (String::new(), 1, Err(DataError::KeyLength { bytes: 0 })),
        (long(129), 1, Err(DataError::KeyLength { bytes: 129 })),
        ("a b".to_owned(), 1, Err(DataError::KeyCharacter { character: ' ' })),
        ("a".to_owned(), 8 * 1_024 + 1, Err(DataError::ValueTooLong { bytes: 8 * 1_024 + 1 })),
    ];
    for (key, length, expected) in cases {
        let mut data = published(&[("known", "1")]);
        let found = data.put(&key, &value(&long(length)), Revision(2), MAX);
        assert_eq!(found, expected, "{key:?} {length}");
        assert_eq!(content(&data).len() == 1, expected.is_err());
    }
    let mut data = MemberData::new();
    (0..256).for_each(|key| put(&mut data, &key.to_string(), ""));
    assert_eq!(data.put("more", &value(""), Revision(1), MAX), Err(DataError::TooManyKeys));
    assert_eq!(data.put("255", &value("x"), Revision(1), MAX), Ok(true));
    let bytes = data.bytes();
    let error = DataError::TooLong { bytes: bytes + 2, max_bytes: bytes + 1 };
    assert_eq!(data.put("255", &value("xyz"), Revision(1), bytes + 1), Err(error));
    assert_eq!(data.put("255", &value("xyz"), Revision(1), bytes + 2), Ok(true));
}

#[test]
fn what_is_set_again_or_not_there_changes_nothing() {
    let mut data = published(&[("a", "1")]);
    assert_eq!(data.put("a", &value("1"), Revision(2), MAX), Ok(false));
    assert!(!data.remove("b", Revision(2), false));
    assert!(data.remove("a", Revision(2), false));
    assert_eq!((data.bytes(), data.len()), (0, 0));
}

/// Any earlier revision and its delta make the last one, and one delta carries no more than what changed.
#[test]
fn each_revision_leads_to_the_last_by_its_delta() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let keys = ["a", "b", "c", "d", "e"];
    for _ in 0..200 {
        let mut data = MemberData::new();
        let mut revisions = vec![data.clone()];
        for _ in 0..rng.random_range(1..12) {
            for _ in 0..rng.random_range(1..4) {
                let key = keys.choose(&mut rng).unwrap();
                let revision = Revision(data.head.revision.0 + 1);
                match rng.random_range(0..3) {
                    0 => drop(data.remove(key, revision, rng.random())),
                    _ => put(&mut data, key, &rng.random_range(0..3).to_string()),
                }
            }
            publish(&mut data);
            revisions.push(data.clone());
        }
        for known in &revisions {
            let delta = data.delta_since(id(1), known.head);
            let found = apply(known, &delta).unwrap();
            assert_eq!((content(&found), found.head), (content(&data), data.head));
            // A receiver passes the data on as well as its owner does.
            for other in &revisions {
                let delta = found.delta_since(id(1), other.head);
                assert_eq!(content(&apply(other, &delta).unwrap()), content(&data));
            }
        }
        let last = revisions[revisions.len() - 2].head;
        let changes = data.delta_since(id(1), last).changes;
        assert!(changes.iter().all(|change| change.revision == data.head.revision));
    }
}

#[test]
fn a_member_that_lacks_more_removals_than_are_remembered_receives_the_whole_map() {
    let mut data = published(&[("stays", "1"), ("goes", "1")]);
    let old = data.clone();
    data.remove("goes", Revision(2), false);
    publish(&mut data);
    for number in 0..MAX_REMOVED {
        let key = number.to_string();
        put(&mut data, &key, "");
        publish(&mut data);
        data.remove(&key, Revision(data.head.revision.0 + 1), false);
        publish(&mut data);
    }
    let delta = data.delta_since(id(1), old.head);
    assert_eq!(delta.base, Revision(0));
    assert_eq!(content(&apply(&old, &delta).unwrap()), content(&data));
}

#[test]
fn what_the_owner_did_not_sign_is_refused() {
    let known = published(&[("a", "1"), ("b", "2")]);
    let mut data = known.clone();
    put(&mut data, "c", "3");
    data.remove("a", Revision(2), false);
    publish(&mut data);
    let good = data.delta_since(id(1), known.head);
    assert!(apply(&known, &good).is_ok());
    let tampered = |change: &dyn Fn(&mut Delta)| {
        let mut delta = good.clone();
        change(&mut delta);
        apply(&known, &delta).err()
    };
    let forged = Some(Refusal::Forged);
    assert_eq!(tampered(&|delta| drop(delta.changes.pop())), forged, "half a delta");
    assert_eq!(tampered(&|delta| drop(delta.changes.remove(0))), forged, "the other half");
    assert_eq!(tampered(&|delta| delta.owner = id(2)), forged, "of another member");
    assert_eq!(tampered(&|delta| delta.head.revision.0 += 1), forged, "another revision");
    assert_eq!(tampered(&|delta| delta.head.generation.0 += 1), Some(Refusal::OtherBase));
    assert_eq!(tampered(&|delta| delta.base = Revision(7)), Some(Refusal::OtherBase));
    assert_eq!(tampered(&|delta| delta.base = Revision(0)), forged, "a delta as a whole map");
    assert_eq!(tampered(&|delta| delta.signature.0[0] ^= 1), forged);
    assert_eq!(tampered(&|delta| delta.changes[0].key.push('x')), forged);
    assert_eq!(tampered(&|delta| delta.changes[0].content = Content::Deleted), forged);
    assert_eq!(tampered(&|delta| delta.changes[0].key.clear()), Some(Refusal::OverLimit));
    // An earlier revision on top of a later one.
    let replayed = known.delta_since(id(1), Head::default());
    assert_eq!(apply(&data, &replayed).unwrap().head, known.head, "the caller compares heads");
}

#[test]
fn differences_are_what_was_put_and_what_is_gone() {
    let before = published(&[("gone", "1"), ("same", "1"), ("other", "1")]);
    let mut after = before.clone();
    after.remove("gone", Revision(2), true);
    put(&mut after, "other", "2");
    put(&mut after, "new", "3");
    publish(&mut after);
    let found: Vec<_> =
        after.differences(&before).map(|(key, value)| (&**key, value.map(|v| &v[..]))).collect();
    let expected: [(&str, Option<&[u8]>); 3] =
        [("gone", None), ("new", Some(b"3")), ("other", Some(b"2"))];
    assert_eq!(found, expected);
    assert!(after.has_expired("gone") && !after.has_expired("same"));
}
