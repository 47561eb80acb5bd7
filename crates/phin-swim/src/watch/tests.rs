use std::{sync::Arc, time::Duration};

use super::{
    frame::{Changed, Listed, WatchChange, WatchFrameError, WatchPart, decode},
    *,
};
use crate::{
    Change, Entry, Event, Instant, Member, MemberId, MemberState, Members, MembershipList, Silence,
    WatchFeed, WatchedList,
    member::{
        list::Suppression,
        record::tests::{TestKeys, id, record, statement, version},
    },
};

/// A member's list, the feed that follows it, and the watcher's list.
struct Watch {
    now: Instant,
    server: MembershipList,
    feed: WatchFeed,
    watched: WatchedList,
}

fn member(node: u8, incarnation: u32, state: MemberState) -> Member {
    let record = match state {
        MemberState::Left => {
            let mut statement = statement(node, version(1, incarnation));
            statement.has_left = true;
            crate::Record::sign(statement, &TestKeys(node.into()))
        }
        _ => record(node, version(1, incarnation)),
    };
    Member { record, state, since: Instant::START + Duration::from_secs(5) }
}

fn list(members: &[Member]) -> MembershipList {
    let mut list = MembershipList::new(member(0, 0, MemberState::Alive), 2);
    members.iter().for_each(|member| drop(list.put(member.clone())));
    list
}

fn alive(node: u8) -> Member {
    member(node, 1, MemberState::Alive)
}

impl Watch {
    fn new(members: &[Member]) -> Self {
        let server = list(members);
        let feed = WatchFeed::new(id(0), server.snapshot().clone());
        let watched = WatchedList::new(Arc::new(TestKeys(99)), 1_000);
        let now = Instant::START + Duration::from_secs(10);
        let mut watch = Self { now, server, feed, watched };
        watch.send();
        watch
    }

    /// Has the watcher read everything, and returns the changes that it reports.
    fn send(&mut self) -> Vec<(Change, MemberId)> {
        while let Some(frame) = self.feed.next_frame(self.now) {
            assert!(frame.len() <= 64 * 1024);
            self.watched.handle_frame(self.now, &frame).unwrap();
        }
        self.reported()
    }

    fn reported(&mut self) -> Vec<(Change, MemberId)> {
        let mut reported = Vec::new();
        while let Some((_, event)) = self.watched.poll_event() {
            reported.push((event.change, event.member.id()));
        }
        reported
    }

    /// A member changes at the server, which reports it.
    fn change(&mut self, change: Change, member: &Member) {
        let before = self.server.get(member.id()).cloned();
        let after = match change {
            Change::Forgotten => self.server.remove(member.id()).unwrap(),
            _ => self.server.put(member.clone()),
        };
        let version = self.server.next_version();
        let silence = (change == Change::Dead).then_some(Silence::Gone);
        let event = Event { version, change, member: after, before, silence, degraded: None };
        self.feed.push_event(self.now, Duration::from_millis(3), &event);
    }

    fn settle(&mut self) {
        self.feed.settle(self.now, self.server.snapshot().clone());
    }

    /// The watcher goes on with another member, which has this list.
    fn fail_over(&mut self, members: &[Member]) -> Vec<(Change, MemberId)> {
        self.server = list(members);
        self.feed = WatchFeed::new(id(0), self.server.snapshot().clone());
        self.watched.start_stream();
        self.send()
    }

    fn wait(&mut self, millis: u64) -> Vec<(Change, MemberId)> {
        self.now = self.now + Duration::from_millis(millis);
        self.watched.handle_timeout(self.now);
        self.reported()
    }

    fn state(&self, node: u8) -> Option<MemberState> {
        self.watched.members().get(id(node)).map(|member| member.state())
    }

    fn assert_same(&self) {
        let (has, wants) = (self.watched.members(), self.server.snapshot());
        assert!(has.iter().eq(wants.iter()), "{has:?}\n{wants:?}");
        assert_eq!(has.live_len(), wants.live_len());
        assert_eq!(has.fingerprint(), wants.fingerprint());
        let suppressed = |members: &Members| members.suppressed().collect::<Vec<_>>();
        assert_eq!(suppressed(&has), suppressed(wants));
    }
}

#[test]
fn a_watcher_has_the_members_list_and_each_change() {
    let mut watch = Watch::new(&[alive(1), alive(2), member(3, 1, MemberState::Dead)]);
    watch.assert_same();
    assert!(watch.watched.is_synced() && watch.watched.members().owner().is_none());
    assert_eq!(watch.watched.members().others().count(), 3);

    watch.change(Change::Suspect, &member(1, 1, MemberState::Suspect));
    watch.change(Change::Alive, &member(1, 2, MemberState::Alive));
    watch.change(Change::Dead, &member(2, 1, MemberState::Dead));
    watch.change(Change::Joined, &alive(4));
    watch.change(Change::Forgotten, &member(3, 1, MemberState::Dead));
    watch.settle();
    let expected = [
        (Change::Suspect, id(1)),
        (Change::Alive, id(1)),
        (Change::Dead, id(2)),
        (Change::Joined, id(4)),
        (Change::Forgotten, id(3)),
    ];
    assert_eq!(watch.send(), expected);
    watch.assert_same();
}

#[test]
fn the_first_list_is_reported_as_its_live_members() {
    let server = list(&[alive(1), member(2, 1, MemberState::Left)]);
    let mut feed = WatchFeed::new(id(0), server.snapshot().clone());
    let mut watched = WatchedList::new(Arc::new(TestKeys(99)), 1_000);
    let now = Instant::START + Duration::from_secs(60);
    while let Some(frame) = feed.next_frame(now) {
        watched.handle_frame(now, &frame).unwrap();
    }
    let mut versions = Vec::new();
    while let Some((_, event)) = watched.poll_event() {
        assert_eq!((event.change, event.before), (Change::Joined, None));
        versions.push(event.version);
    }
    assert_eq!(versions, [1, 2]);
    assert_eq!(watched.members().version(), 2);
    assert_eq!(watched.members().len(), 3);
}

#[test]
fn what_changes_without_an_event_arrives_too() {
    let mut watch = Watch::new(&[alive(1), alive(2), alive(3)]);
    watch.server.put(member(1, 1, MemberState::Dead));
    watch.server.remove(id(2));
    let until = watch.now + Duration::from_secs(60);
    watch.server.suppress(id(1), Some(Suppression { until, is_told: true }));
    watch.settle();
    assert_eq!(watch.send(), []);
    watch.assert_same();
    watch.server.suppress(id(1), None);
    watch.settle();
    assert_eq!(watch.send(), []);
    watch.assert_same();
}

#[test]
fn a_snapshot_replaces_what_was_missed_and_is_reported_as_what_differs() {
    let mut watch = Watch::new(&[alive(1), alive(2), alive(3)]);
    // Long after it began to follow the member, which is then no longer behind.
    watch.wait(3_000);
    watch.server = list(&[member(1, 1, MemberState::Dead), alive(3), alive(4)]);
    watch.feed.start_snapshot(watch.server.snapshot().clone());
    let expected = [
        (Change::Dead, id(1)),
        (Change::Dead, id(2)),
        (Change::Forgotten, id(2)),
        (Change::Joined, id(4)),
    ];
    let mut reported = watch.send();
    reported.sort_by_key(|(_, member)| expected.iter().position(|(_, id)| id == member));
    assert_eq!(reported, expected);
    watch.assert_same();
}

#[test]
fn a_long_snapshot_comes_in_pieces() {
    let members: Vec<_> = (1..=255).map(alive).collect();
    let watch = Watch::new(&members);
    watch.assert_same();
}

#[test]
fn the_next_member_may_be_behind_for_a_while_without_a_false_event() {
    let mut watch =
        Watch::new(&[member(1, 2, MemberState::Dead), member(2, 3, MemberState::Alive), alive(3)]);
    let behind = [member(1, 2, MemberState::Alive), member(2, 2, MemberState::Suspect)];
    assert_eq!(watch.fail_over(&behind), []);
    assert_eq!(watch.state(1), Some(MemberState::Dead));
    assert_eq!(watch.state(3), Some(MemberState::Alive));

    // It catches up on two of the three.
    watch.change(Change::Dead, &member(1, 2, MemberState::Dead));
    watch.change(Change::Joined, &alive(3));
    watch.settle();
    assert_eq!(watch.send(), []);
    assert_eq!(watch.wait(2_999), []);

    // On the third it does not: so it is believed.
    assert_eq!(watch.wait(1), [(Change::Suspect, id(2))]);
    watch.assert_same();
}

#[test]
fn a_member_that_the_next_one_does_not_know_dies_before_it_is_forgotten() {
    let mut watch = Watch::new(&[alive(1), member(2, 1, MemberState::Dead)]);
    assert_eq!(watch.fail_over(&[]), []);
    let mut reported = watch.wait(3_000);
    reported.sort_by_key(|(change, member)| (*member != id(1), *change != Change::Dead));
    let expected = [(Change::Dead, id(1)), (Change::Forgotten, id(1)), (Change::Forgotten, id(2))];
    assert_eq!(reported, expected);
    watch.assert_same();
}

#[test]
fn what_is_new_at_the_next_member_counts_at_once() {
    let mut watch = Watch::new(&[alive(1), alive(2), member(3, 1, MemberState::Left)]);
    let next = [
        member(1, 1, MemberState::Dead),
        member(2, 1, MemberState::Suspect),
        member(3, 2, MemberState::Alive),
        alive(4),
    ];
    let mut reported = watch.fail_over(&next);
    let nodes = [1, 2, 3, 4].map(id);
    reported.sort_by_key(|(_, member)| nodes.iter().position(|node| node == member));
    let changes = [Change::Dead, Change::Suspect, Change::Joined, Change::Joined];
    assert!(reported.into_iter().eq(changes.into_iter().zip(nodes)));
    watch.assert_same();
}

#[test]
fn a_suppressed_member_is_no_event_at_the_next_member() {
    let mut watch = Watch::new(&[alive(1)]);
    watch.server = list(&[member(1, 1, MemberState::Dead)]);
    let until = watch.now + Duration::from_secs(60);
    watch.server.suppress(id(1), Some(Suppression { until, is_told: true }));
    watch.feed = WatchFeed::new(id(0), watch.server.snapshot().clone());
    watch.watched.start_stream();
    assert_eq!(watch.send(), []);
    watch.assert_same();
}

fn parts() -> Vec<WatchPart> {
    let listed = || Listed::of(&member(5, 7, MemberState::Suspect), Duration::from_millis(70_000));
    let change = |change, silence| {
        let age = Duration::from_millis(9);
        WatchPart::Change(Changed { change, silence, age, listed: listed() })
    };
    vec![
        WatchPart::welcome(id(1)),
        WatchPart::Snapshot,
        WatchPart::Put(listed()),
        WatchPart::SnapshotEnd,
        change(WatchChange::Known(Change::Recovered), None),
        change(WatchChange::Known(Change::Dead), Some(Silence::Hung)),
        change(WatchChange::Unknown, None),
        WatchPart::Removed(id(3)),
        WatchPart::Suppressed(id(3), Some(Duration::from_secs(600))),
        WatchPart::Suppressed(id(3), None),
        WatchPart::Heartbeat,
    ]
}

fn frame(parts: &[WatchPart]) -> Vec<u8> {
    let mut frame = Vec::new();
    parts.iter().for_each(|part| part.encode(&mut frame));
    frame
}

#[test]
fn every_part_survives_its_bytes_and_one_of_a_later_release_is_skipped() {
    let mut bytes = frame(&parts());
    assert_eq!(decode(&bytes, &TestKeys(9)).unwrap(), parts());
    bytes.extend_from_slice(b"\x7f\x92\x01\xa5later");
    assert_eq!(decode(&bytes, &TestKeys(9)).unwrap(), parts());
}

#[test]
fn the_bytes_of_a_part_stay_as_they_are() {
    let hex = |part: &WatchPart| {
        let bytes = frame(std::slice::from_ref(part));
        bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let id = id(3).0.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(hex(&WatchPart::welcome(self::id(3))), format!("010192c410{id}9101"));
    assert_eq!(hex(&WatchPart::Snapshot), "0102c0");
    assert_eq!(hex(&WatchPart::SnapshotEnd), "0104c0");
    assert_eq!(hex(&WatchPart::Removed(self::id(3))), format!("0106c410{id}"));
    let suppressed = WatchPart::Suppressed(self::id(3), Some(Duration::from_millis(300)));
    assert_eq!(hex(&suppressed), format!("010792c410{id}cd012c"));
    assert_eq!(hex(&WatchPart::Heartbeat), "0108c0");
    assert!(hex(&parts()[2]).starts_with("01039293"), "{}", hex(&parts()[2]));
    assert!(hex(&parts()[5]).starts_with("01059403020992"), "{}", hex(&parts()[5]));
}

#[test]
fn garbage_is_an_error_at_every_byte_and_leaves_the_list_as_it_was() {
    let mut watch = Watch::new(&[alive(1), alive(2)]);
    let before = watch.watched.members();
    let whole = frame(&parts()[2..3]);
    for length in 0..whole.len() {
        let cut = watch.watched.handle_frame(watch.now, &whole[..length]);
        // A frame of a version alone has no part.
        assert_eq!(cut.is_err(), length != 1, "{length} bytes");
    }
    for salt in 0..=u8::MAX {
        let noise: Vec<_> = (0..=255_u8).map(|byte| byte.wrapping_mul(salt)).collect();
        let _ = watch.watched.handle_frame(watch.now, &noise);
    }
    assert!(watch.watched.members().iter().eq(before.iter()));
}

#[test]
fn parts_out_of_order_forged_records_and_too_many_members_end_a_stream() {
    let now = Instant::START + Duration::from_secs(10);
    let put = |node| WatchPart::Put(Listed::of(&alive(node), Duration::ZERO));
    let welcome = || WatchPart::welcome(id(0));
    let handle = |parts: &[WatchPart]| {
        let mut watched = WatchedList::new(Arc::new(TestKeys(99)), 2);
        watched.handle_frame(now, &frame(parts))
    };
    for parts in [
        vec![put(1)],
        vec![WatchPart::Snapshot],
        vec![welcome(), welcome()],
        vec![welcome(), put(1)],
        vec![welcome(), WatchPart::SnapshotEnd],
        vec![welcome(), WatchPart::Snapshot, WatchPart::Removed(id(1))],
        vec![welcome(), WatchPart::Snapshot, WatchPart::SnapshotEnd, WatchPart::SnapshotEnd],
    ] {
        assert!(matches!(handle(&parts), Err(WatchFrameError::OutOfOrder)), "{parts:?}");
    }
    let begins = || vec![welcome(), WatchPart::Snapshot, put(1), put(2)];
    assert!(matches!(
        handle(&[begins(), vec![put(3)]].concat()),
        Err(WatchFrameError::TooMany { limit: 2 })
    ));
    let later = [begins(), vec![WatchPart::SnapshotEnd, put(3)]].concat();
    assert!(matches!(handle(&later), Err(WatchFrameError::TooMany { limit: 2 })));

    let mut forged = alive(1);
    let body = forged.record.body().to_vec();
    forged.record = crate::Record::decode(&body, crate::Signature([9; 64]), &TestKeys(1)).unwrap();
    let entry = Entry { state: MemberState::Alive, record: forged.record };
    let part = WatchPart::Put(Listed { entry, age: Duration::ZERO });
    let handled = handle(&[welcome(), WatchPart::Snapshot, part]);
    assert!(matches!(handled, Err(WatchFrameError::Forged { member }) if member == id(1)));
    assert!(matches!(
        WatchedList::new(Arc::new(TestKeys(99)), 2).handle_frame(now, &[9, 8, 0xc0]),
        Err(WatchFrameError::UnknownVersion { version: 9 })
    ));
}

#[test]
fn a_request_is_read_whatever_a_later_release_wants_besides() {
    let request = WatchRequest::members();
    assert_eq!(request.encode(), [1, 0x91, 1]);
    assert_eq!(WatchRequest::decode(&request.encode()), Some(request));
    assert_eq!(WatchRequest::decode(&[1, 0x92, 7, 1]), Some(request));
    let many = [&[1, 0xdc, 0xff, 0xff][..], &[1; 70_000]].concat();
    for wrong in [&[][..], &[1], &[2, 0x91, 1], &[1, 0x91, 2], &[1, 0x90], &[1, 0x92, 1], &many] {
        assert_eq!(WatchRequest::decode(wrong), None, "{} bytes", wrong.len());
    }
}
