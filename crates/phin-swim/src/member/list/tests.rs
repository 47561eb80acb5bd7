use std::collections::BTreeSet;

use rand::SeedableRng;

use super::*;
use crate::{
    Instant, MemberState,
    member::record::tests::{id, record, version},
};

fn member(node: u8, version: Version, state: MemberState) -> Member {
    Member { record: record(node, version), state, since: Instant::START }
}

fn list() -> MembershipList {
    MembershipList::new(member(0, version(0, 0), MemberState::Alive), 8)
}

/// The expected fingerprint and buckets of a list, computed from its members alone.
fn from_scratch(list: &MembershipList) -> (u64, [u64; BUCKETS]) {
    let hash = |member: &Member| entry_hash(member.id(), member.version());
    let fingerprint = list.snapshot().live().fold(0, |all, member| all ^ hash(member));
    let mut buckets = [0; BUCKETS];
    for member in list.snapshot().iter() {
        buckets[bucket(member.id())] ^= match member.state {
            MemberState::Alive | MemberState::Suspect => hash(member),
            MemberState::Dead => mix(hash(member)),
            MemberState::Left => mix(!hash(member)),
        };
    }
    (fingerprint, buckets)
}

/// Changes a list at random, all states and versions included.
fn change(list: &mut MembershipList, rng: &mut ChaCha8Rng) {
    use MemberState::{Alive, Dead, Left, Suspect};
    let node = rng.random_range(1..60);
    if rng.random_range(0..5) == 0 {
        list.remove(id(node));
        return;
    }
    let state = [Alive, Alive, Suspect, Dead, Left][rng.random_range(0..5)];
    let version = version(rng.random_range(0..3), rng.random_range(0..3));
    list.put(member(node, version, state));
}

#[test]
fn what_is_derived_stays_in_step_with_every_change() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut list = list();
    for _ in 0..5_000 {
        change(&mut list, &mut rng);
        let (fingerprint, buckets) = from_scratch(&list);
        assert_eq!(list.snapshot().fingerprint().0, fingerprint);
        assert_eq!(*list.buckets(), buckets);
        let live: Vec<_> = list.snapshot().live().map(|member| member.id()).collect();
        assert_eq!(list.snapshot().live_len(), live.len());
        assert_eq!(list.rings().len(), live.len());
        assert!(live.iter().all(|&id| list.rings().at_or_after(id.as_u128()) == Some(id)));
    }
}

#[test]
fn equal_lists_have_equal_fingerprints_and_others_do_not() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let mut lists = [list(), list()];
    // The same end by different ways: only the content of the list counts, not its history.
    for list in &mut lists {
        (0..500).for_each(|_| change(list, &mut rng));
        for node in 1..60 {
            list.put(member(node, version(node.into(), 1), MemberState::Alive));
        }
    }
    let [one, other] = &mut lists;
    assert_eq!(one.snapshot().fingerprint(), other.snapshot().fingerprint());
    assert_eq!(one.buckets(), other.buckets());
    let mut seen = BTreeSet::from([one.snapshot().fingerprint().0]);
    for node in 1..60 {
        other.put(member(node, version(node.into(), 2), MemberState::Alive));
        assert!(seen.insert(other.snapshot().fingerprint().0), "n{node} has another version");
        other.put(member(node, version(node.into(), 2), MemberState::Dead));
        assert!(seen.insert(other.snapshot().fingerprint().0), "n{node} is dead");
    }
}

#[test]
fn a_suspect_counts_as_what_it_was_and_the_departed_only_in_their_buckets() {
    let mut list = list();
    let (before, empty) = (list.snapshot().fingerprint(), *list.buckets());
    list.put(member(1, version(0, 0), MemberState::Alive));
    let (with, alive) = (list.snapshot().fingerprint(), *list.buckets());
    list.put(member(1, version(0, 0), MemberState::Suspect));
    assert_eq!(list.snapshot().fingerprint(), with, "a doubt is no difference to repair");
    assert_eq!(*list.buckets(), alive);
    let mut seen = vec![empty, alive];
    for state in [MemberState::Dead, MemberState::Left] {
        list.put(member(1, version(0, 0), state));
        assert_eq!(list.snapshot().fingerprint(), before);
        assert!(!seen.contains(list.buckets()), "{state} is told from all else");
        seen.push(*list.buckets());
    }
    list.remove(id(1));
    assert_eq!((list.snapshot().fingerprint(), *list.buckets()), (before, empty));
}

#[test]
fn a_snapshot_does_not_change_with_the_list() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut list = list();
    (0..100).for_each(|_| change(&mut list, &mut rng));
    let snapshot = list.snapshot().clone();
    let seen: Vec<_> = snapshot.iter().map(|m| (m.id(), m.version(), m.state)).collect();
    let (version, live) = (snapshot.version(), snapshot.live_len());
    for _ in 0..100 {
        change(&mut list, &mut rng);
        list.next_version();
    }
    assert_eq!(seen, snapshot.iter().map(|m| (m.id(), m.version(), m.state)).collect::<Vec<_>>());
    assert_eq!((snapshot.version(), snapshot.live_len()), (version, live));
    assert_eq!(list.snapshot().version(), version + 100);
}

#[test]
fn a_summary_has_the_members_of_its_bucket_and_no_others() {
    let mut list = list();
    (1..60).for_each(|node| {
        list.put(member(node, version(0, 0), MemberState::Dead));
    });
    let mut seen = 0;
    for bucket in 0..BUCKETS {
        let lines = list.summary(bucket);
        assert!(lines.iter().all(|line| bucket_bit(line.id) == 1 << bucket));
        seen += lines.len();
    }
    assert_eq!(seen, 60);
}

#[test]
fn a_member_of_chance_is_another_live_one_and_each_has_its_chance() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let mut list = list();
    assert_eq!(list.random_other(&mut rng), None);
    for nodes in [1, 5, 40] {
        (1..=nodes).for_each(|node| {
            list.put(member(node, version(0, 0), MemberState::Alive));
        });
        list.put(member(50, version(0, 0), MemberState::Dead));
        let drawn: BTreeSet<_> = (0..4_000).filter_map(|_| list.random_other(&mut rng)).collect();
        assert!(drawn.iter().all(|&other| other != id(0) && other != id(50)));
        assert_eq!(drawn.len(), usize::from(nodes), "of {nodes} others");
    }
}

#[test]
fn others_are_live_and_not_this_node() {
    use MemberState::{Alive, Dead, Left, Suspect};
    let mut list = list();
    for (node, state) in [(1, Alive), (2, Suspect), (3, Dead), (4, Left)] {
        list.put(member(node, version(0, 0), state));
    }
    let members = list.snapshot();
    let ids = |members: &mut dyn Iterator<Item = &Arc<Member>>| {
        members.map(|member| member.id()).collect::<BTreeSet<_>>()
    };
    assert_eq!(ids(&mut members.others()), BTreeSet::from([id(1), id(2)]));
    assert_eq!(ids(&mut members.live()), BTreeSet::from([id(0), id(1), id(2)]));
    let mut all = members.into_iter();
    assert_eq!(all.size_hint(), (5, Some(5)));
    assert_eq!(ids(&mut all), (0..5).map(id).collect());
    let named = members.get(id(3)).expect("it was put").name();
    assert_eq!(ids(&mut members.by_name(named)), BTreeSet::from([id(3)]));
    assert_eq!(members.by_name("nobody").count(), 0);
}

#[test]
fn a_list_is_shown_by_names_and_states() {
    let mut list = list();
    list.put(member(1, version(0, 0), MemberState::Suspect));
    let names = [id(0), id(1)].map(|id| list.get(id).expect("it was put").name().to_owned());
    let shown = format!("{:?}", list.snapshot());
    assert!(shown.contains(&format!("({:?}, Alive)", names[0])), "{shown}");
    assert!(shown.contains(&format!("({:?}, Suspect)", names[1])), "{shown}");
    assert!(!shown.contains("names") && !shown.contains("suppressed"), "{shown}");
}
