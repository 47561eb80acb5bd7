//! [`WatchedList`]: the membership list of a client that is no member.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    sync::Arc,
    time::Duration,
};

use super::frame::{Changed, Listed, WatchChange, WatchFrameError, WatchPart, decode};
use crate::{
    Change, Entry, Event, Instant, Keys, Member, MemberId, MemberState, Members, MembershipList,
    Silence,
    member::{list::Suppression, supersedes, transition::change_of_alive},
};

/// The membership list as one member after another sends it to a watcher, and the changes to report.
///
/// Pass it each frame of a stream, and call [`poll_event`](Self::poll_event) until it returns `None`. Call
/// [`start_stream`](Self::start_stream) before the first frame of each stream. It has no clock and no socket.
///
/// **From member to member.** The list of the next member may be a moment behind that of the last. So a newer state
/// of a member counts at once. An older state, or a member that is missing, counts only if it is still so after three seconds.
pub struct WatchedList {
    keys: Arc<dyn Keys>,
    max_members: usize,
    list: MembershipList,
    stream: Stream,
    /// Members of which more is known than the present member reports, as it has them; `None` for one that it lacks.
    held: BTreeMap<MemberId, Option<Member>>,
    /// Until when the present member may be behind.
    held_until: Instant,
    events: VecDeque<(Instant, Event)>,
}

/// How far the stream of the present member is.
#[derive(Debug)]
enum Stream {
    /// Nothing has arrived.
    New,
    Welcomed,
    Snapshot(Snapshot),
    /// The list is that of the member.
    Following,
}

/// A snapshot that arrives.
#[derive(Debug, Default)]
struct Snapshot {
    /// Whether the list before it is that of the same member, only older.
    is_resync: bool,
    members: BTreeMap<MemberId, Member>,
    suppressed: BTreeMap<MemberId, Suppression>,
}

impl WatchedList {
    /// An empty list, for at most so many members, dead ones included.
    pub fn new(keys: Arc<dyn Keys>, max_members: usize) -> Self {
        Self {
            keys,
            max_members,
            list: MembershipList::without_owner(),
            stream: Stream::New,
            held: BTreeMap::new(),
            held_until: Instant::START,
            events: VecDeque::new(),
        }
    }

    /// The list as it is known.
    pub fn members(&self) -> Members {
        self.list.snapshot().clone()
    }

    /// Whether the present member has sent its whole list.
    pub const fn is_synced(&self) -> bool {
        matches!(self.stream, Stream::Following)
    }

    /// Begins a new stream. The list stays as it is until the stream's first snapshot is complete.
    pub fn start_stream(&mut self) {
        self.stream = Stream::New;
        self.held.clear();
    }

    /// Takes a frame.
    ///
    /// # Errors
    /// The frame cannot be used. Give the stream up; the list stays consistent.
    pub fn handle_frame(&mut self, now: Instant, frame: &[u8]) -> Result<(), WatchFrameError> {
        let parts = decode(frame, &*self.keys)?;
        parts.into_iter().try_for_each(|part| self.handle_part(now, part))
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    pub fn poll_timeout(&self) -> Option<Instant> {
        (self.is_synced() && !self.held.is_empty()).then_some(self.held_until)
    }

    /// Believes the present member where it is still behind.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_none_or(|due| now < due) {
            return;
        }
        for (id, says) in std::mem::take(&mut self.held) {
            self.take(now, id, says);
        }
    }

    /// The next change to report, and when it happened.
    pub fn poll_event(&mut self) -> Option<(Instant, Event)> {
        self.events.pop_front()
    }

    fn handle_part(&mut self, now: Instant, part: WatchPart) -> Result<(), WatchFrameError> {
        // A part that is out of order leaves a stream that takes nothing but a welcome.
        self.stream = match (std::mem::replace(&mut self.stream, Stream::New), part) {
            (Stream::New, WatchPart::Welcome { .. }) => Stream::Welcomed,
            (Stream::Welcomed, WatchPart::Snapshot) => Stream::snapshot(false),
            (Stream::Following, WatchPart::Snapshot) => Stream::snapshot(true),
            (Stream::Snapshot(snapshot), part) => self.extend(now, snapshot, part)?,
            (Stream::Following, part) => self.handle_news(now, part)?,
            (Stream::New | Stream::Welcomed, _) => return Err(WatchFrameError::OutOfOrder),
        };
        Ok(())
    }

    /// Adds to a snapshot, or completes it.
    fn extend(&mut self, now: Instant, mut snapshot: Snapshot, part: WatchPart) -> Streamed {
        match part {
            WatchPart::Put(listed) => {
                let member = self.verify(now, listed, snapshot.members.len())?;
                snapshot.members.insert(member.id(), member);
            }
            WatchPart::Suppressed(id, Some(left)) => snapshot.suppress(id, suppression(now, left)),
            WatchPart::SnapshotEnd => return Ok(self.complete(now, snapshot)),
            WatchPart::Suppressed(_, None) | WatchPart::Heartbeat => {}
            WatchPart::Welcome { .. } | WatchPart::Snapshot => return OUT_OF_ORDER,
            WatchPart::Change(_) | WatchPart::Removed(_) => return OUT_OF_ORDER,
        }
        Ok(Stream::Snapshot(snapshot))
    }

    /// Takes what changed at the present member.
    fn handle_news(&mut self, now: Instant, part: WatchPart) -> Streamed {
        let others = self.list.snapshot().len();
        match part {
            WatchPart::Change(changed) => self.handle_change(now, changed, others)?,
            WatchPart::Put(listed) => self.follow_put(self.verify(now, listed, others)?),
            WatchPart::Removed(id) => self.follow_removed(id),
            WatchPart::Suppressed(id, left) => self.follow_suppressed(now, id, left),
            WatchPart::Heartbeat => {}
            WatchPart::Welcome { .. } | WatchPart::Snapshot | WatchPart::SnapshotEnd => {
                return OUT_OF_ORDER;
            }
        }
        Ok(Stream::Following)
    }

    fn handle_change(
        &mut self,
        now: Instant,
        changed: Changed,
        others: usize,
    ) -> Result<(), WatchFrameError> {
        let Changed { change, silence, age, listed } = changed;
        let member = self.verify(now, listed, others)?;
        self.change(now.saturating_sub(age), change, silence, member);
        Ok(())
    }

    /// The member, if it signed its record and there is room for it beside so many others.
    fn verify(&self, now: Instant, listed: Listed, others: usize) -> Verified {
        let Listed { entry: Entry { state, record }, age } = listed;
        let known = self.list.get(record.id());
        if known.is_none() && others >= self.max_members {
            return Err(WatchFrameError::TooMany { limit: self.max_members });
        }
        // Most records of a snapshot are known from the last member. Verifying one costs some 50 µs.
        let is_known = known.is_some_and(|known| known.record == record);
        match is_known || record.is_authentic(&*self.keys) {
            true => Ok(Member { record, state, since: now.saturating_sub(age) }),
            false => Err(WatchFrameError::Forged { member: record.id() }),
        }
    }

    /// Takes a whole list.
    fn complete(&mut self, now: Instant, snapshot: Snapshot) -> Stream {
        let Snapshot { is_resync, mut members, suppressed } = snapshot;
        if !is_resync {
            self.held_until = now + MAX_BEHIND;
        }
        self.held.clear();
        let known = self.list.snapshot().iter().map(|member| member.id());
        for id in known.chain(members.keys().copied()).collect::<BTreeSet<_>>() {
            self.list.suppress(id, suppressed.get(&id).copied());
            self.complete_member(now, id, members.remove(&id));
        }
        Stream::Following
    }

    /// Takes a member of a whole list, at once or, where the present member may be behind, later.
    fn complete_member(&mut self, now: Instant, id: MemberId, says: Option<Member>) {
        match now < self.held_until && self.is_behind(id, says.as_ref()) {
            true => drop(self.held.insert(id, says)),
            false => self.take(now, id, says),
        }
    }

    /// Whether more is known of a member than the present member says.
    fn is_behind(&self, id: MemberId, says: Option<&Member>) -> bool {
        let order = |member: &Member| (member.version(), member.state);
        self.list
            .get(id)
            .is_some_and(|known| says.is_none_or(|says| supersedes(order(known), order(says))))
    }

    /// Keeps what the present member says of a member for later, if it is behind and may be.
    fn hold(&mut self, id: MemberId, says: Option<&Member>) -> bool {
        if !self.held.contains_key(&id) {
            return false;
        }
        let is_behind = self.is_behind(id, says);
        match is_behind {
            true => drop(self.held.insert(id, says.cloned())),
            false => drop(self.held.remove(&id)),
        }
        is_behind
    }

    /// A member changed at the present member, which reported that.
    fn change(&mut self, at: Instant, change: WatchChange, silence: Option<Silence>, to: Member) {
        let (id, before) = (to.id(), self.list.get(to.id()).cloned());
        let was_held = self.held.contains_key(&id);
        let is_forgotten =
            matches!(change, WatchChange::Known(Change::Forgotten | Change::Expelled));
        if self.hold(id, (!is_forgotten).then_some(&to)) {
            return;
        }
        let is_told = was_held && before.as_ref().is_some_and(|before| is_same(before, &to));
        let after = if is_forgotten { self.list.remove(id) } else { Some(self.list.put(to)) };
        if let (WatchChange::Known(change), Some(after), false) = (change, after, is_told) {
            self.report(at, change, after, before, silence);
        }
    }

    /// A member is this way at the present member, which reported no change.
    fn follow_put(&mut self, member: Member) {
        if !self.hold(member.id(), Some(&member)) {
            self.list.put(member);
        }
    }

    fn follow_removed(&mut self, id: MemberId) {
        if !self.hold(id, None) {
            self.list.remove(id);
        }
    }

    fn follow_suppressed(&mut self, now: Instant, id: MemberId, remaining: Option<Duration>) {
        if self.list.get(id).is_some() {
            self.list.suppress(id, remaining.map(|remaining| suppression(now, remaining)));
        }
    }

    /// Takes what the present member says of a member, and reports how that differs from what was known.
    fn take(&mut self, now: Instant, id: MemberId, says: Option<Member>) {
        let before = self.list.get(id).cloned();
        let Some(member) = says else {
            return before.map_or((), |before| self.lose(now, &before));
        };
        if before.as_ref().is_some_and(|before| is_same(before, &member)) {
            return;
        }
        let change = self.difference(before.as_deref(), &member);
        let after = self.list.put(member);
        if let Some(change) = change {
            self.report(now, change, after, before, None);
        }
    }

    /// The change to report if a member is found to be this way. For a suppressed member, that is only its departure.
    fn difference(&self, known: Option<&Member>, member: &Member) -> Option<Change> {
        let is_suppressed = self.list.snapshot().suppressed_until(member.id()).is_some();
        let change = change_between(known, member);
        change.filter(|change| !is_suppressed || *change == Change::Left)
    }

    /// A member is no longer in the list. No live one is forgotten without a death.
    fn lose(&mut self, now: Instant, known: &Arc<Member>) {
        let mut last = Arc::clone(known);
        if known.state.is_live() {
            let dead = Member { state: MemberState::Dead, since: now, ..Member::clone(known) };
            last = self.list.put(dead);
            self.report(now, Change::Dead, Arc::clone(&last), Some(Arc::clone(known)), None);
        }
        self.list.remove(last.id());
        self.report(now, Change::Forgotten, Arc::clone(&last), Some(last), None);
    }

    fn report(
        &mut self,
        at: Instant,
        change: Change,
        member: Arc<Member>,
        before: Option<Arc<Member>>,
        silence: Option<Silence>,
    ) {
        let version = self.list.next_version();
        // Frames do not have the reason of a degraded member.
        let event = Event { version, change, member, before, silence, degraded: None };
        self.events.push_back((at, event));
    }
}

impl fmt::Debug for WatchedList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchedList")
            .field("list", self.list.snapshot())
            .field("held", &self.held.len())
            .finish_non_exhaustive()
    }
}

impl Stream {
    fn snapshot(is_resync: bool) -> Self {
        Self::Snapshot(Snapshot { is_resync, ..Snapshot::default() })
    }
}

impl Snapshot {
    fn suppress(&mut self, id: MemberId, suppression: Suppression) {
        if self.members.contains_key(&id) {
            self.suppressed.insert(id, suppression);
        }
    }
}

fn is_same(known: &Member, member: &Member) -> bool {
    known.state == member.state && known.record == member.record
}

/// The change to report if a member is found to be another than it was known to be.
fn change_between(known: Option<&Member>, member: &Member) -> Option<Change> {
    let Some(known) = known else { return member.state.is_live().then_some(Change::Joined) };
    match member.state {
        MemberState::Alive => change_of_alive(known, &member.record),
        MemberState::Suspect if known.state == MemberState::Left => Some(Change::Joined),
        state => (known.state != state).then(|| Change::to(state)),
    }
}

const OUT_OF_ORDER: Streamed = Err(WatchFrameError::OutOfOrder);
type Verified = Result<Member, WatchFrameError>;
type Streamed = Result<Stream, WatchFrameError>;

fn suppression(now: Instant, remaining: Duration) -> Suppression {
    Suppression { until: now + remaining, is_told: true }
}

/// How long a member may be behind the one before it. News of a death reaches all members within it.
const MAX_BEHIND: Duration = Duration::from_secs(3);
