//! [`WatchFeed`]: the frames for one watcher.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use super::frame::{Changed, Listed, WatchChange, WatchPart};
use crate::{Change, Event, Instant, Member, MemberId, Members};

/// Writes the frames for one watcher: a snapshot, then what changes.
///
/// After each input call [`next_frame`](Self::next_frame) until it returns `None`. A snapshot is written piece by piece, so
/// a feed holds few frames, and the list that the watcher has, which shares its memory with the node's.
#[derive(Debug)]
pub struct WatchFeed {
    /// The list that the watcher has, apart from `reported`.
    sent: Members,
    /// The members that changed since, as reported to the watcher; `None` for one that is forgotten.
    reported: BTreeMap<MemberId, Option<Arc<Member>>>,
    /// How far the snapshot of `sent` is written.
    snapshot: Progress,
    /// Frames that are to be sent next. The last may be added to.
    frames: VecDeque<Vec<u8>>,
}

#[derive(Debug)]
enum Progress {
    Begins,
    /// All members up to this one are written.
    Members(Option<MemberId>),
    Complete,
}

impl WatchFeed {
    /// Begins with a welcome from this member and a snapshot of its list.
    pub fn new(member: MemberId, members: Members) -> Self {
        let (reported, frames) = (BTreeMap::new(), VecDeque::new());
        let mut feed = Self { sent: members, reported, snapshot: Progress::Begins, frames };
        feed.push(&WatchPart::welcome(member));
        feed
    }

    /// Begins a snapshot of this list, which replaces everything before.
    pub fn start_snapshot(&mut self, members: Members) {
        self.reported.clear();
        (self.sent, self.snapshot) = (members, Progress::Begins);
    }

    /// Adds a change that happened so long ago.
    pub fn push_event(&mut self, now: Instant, age: Duration, event: &Event) {
        let member = &event.member;
        // A watcher of an earlier release does not know that an expelled member is gone. The list says it.
        let is_there = event.change != Change::Forgotten;
        self.reported.insert(member.id(), is_there.then(|| Arc::clone(member)));
        let (change, silence) = (WatchChange::Known(event.change), event.silence);
        let listed = listed(now, member);
        self.push(&WatchPart::Change(Changed { change, silence, age, listed }));
    }

    /// Adds the difference between this list and the watcher's, once all changes up to its version were added. Some things
    /// change without an event, such as the removal of a member that was dead before this node first heard of it.
    pub fn settle(&mut self, now: Instant, members: Members) {
        let changed = members.changed_since(&self.sent).take(MAX_SETTLED + 1);
        let ids: BTreeSet<_> = self.reported.keys().copied().chain(changed).collect();
        if ids.len() > MAX_SETTLED {
            return self.start_snapshot(members);
        }
        ids.into_iter().for_each(|id| self.settle_member(now, id, members.get(id)));
        self.settle_suppressed(now, &members);
        self.sent = members;
    }

    fn settle_member(&mut self, now: Instant, id: MemberId, wants: Option<&Arc<Member>>) {
        let reported = self.reported.remove(&id);
        let has = reported.as_ref().map_or_else(|| self.sent.get(id), Option::as_ref);
        match wants {
            _ if has == wants => {}
            Some(member) => self.push(&WatchPart::Put(listed(now, member))),
            None => self.push(&WatchPart::Removed(id)),
        }
    }

    fn settle_suppressed(&mut self, now: Instant, members: &Members) {
        let [before, after] =
            [&self.sent, members].map(|list| list.suppressed().collect::<BTreeMap<_, _>>());
        for id in before.keys().filter(|id| !after.contains_key(id)) {
            self.push(&WatchPart::Suppressed(*id, None));
        }
        for (id, until) in after.iter().filter(|(id, until)| before.get(id) != Some(until)) {
            self.push(&suppressed(now, *id, *until));
        }
    }

    /// The next frame to send, of at most 64 KiB; `None` if everything is written.
    pub fn next_frame(&mut self, now: Instant) -> Option<Vec<u8>> {
        self.write_snapshot(now);
        self.frames.pop_front()
    }

    /// A frame that says nothing but that the member is there.
    pub fn heartbeat() -> Vec<u8> {
        let mut frame = Vec::new();
        WatchPart::Heartbeat.encode(&mut frame);
        frame
    }

    /// Writes the part into the last frame, or, if that is long enough, into a new one.
    fn push(&mut self, part: &WatchPart) {
        match self.frames.back_mut().filter(|frame| frame.len() < LONG_FRAME_BYTES) {
            Some(frame) => part.encode(frame),
            None => {
                let mut frame = Vec::new();
                part.encode(&mut frame);
                self.frames.push_back(frame);
            }
        }
    }

    /// Writes a piece of a snapshot.
    fn write_snapshot(&mut self, now: Instant) {
        let written = match self.snapshot {
            Progress::Begins => {
                self.push(&WatchPart::Snapshot);
                None
            }
            Progress::Members(written) => written,
            Progress::Complete => return,
        };
        self.snapshot = self.write_members(now, written);
    }

    /// Writes some members after this one; after the last, the end of the snapshot.
    fn write_members(&mut self, now: Instant, written: Option<MemberId>) -> Progress {
        let members = self.sent.clone();
        let piece: Vec<_> = members.after(written).take(PIECE_MEMBERS).collect();
        piece.iter().for_each(|member| self.push(&WatchPart::Put(listed(now, member))));
        if let Some(last) = piece.last() {
            return Progress::Members(Some(last.id()));
        }
        members.suppressed().for_each(|(id, until)| self.push(&suppressed(now, id, until)));
        self.push(&WatchPart::SnapshotEnd);
        Progress::Complete
    }
}

fn listed(now: Instant, member: &Member) -> Listed {
    Listed::of(member, now.saturating_since(member.since()))
}

fn suppressed(now: Instant, id: MemberId, until: Instant) -> WatchPart {
    WatchPart::Suppressed(id, Some(until.saturating_since(now)))
}

/// Members of a snapshot that are written at once.
const PIECE_MEMBERS: usize = 64;
/// Members that are put right one by one; for more a snapshot is shorter.
const MAX_SETTLED: usize = 256;
/// A frame that has this much takes one part more at most. No part has more than 1 KiB.
const LONG_FRAME_BYTES: usize = 32 * 1024;
