//! [`Replication`]: how data reaches the others.
//!
//! A new revision is announced by its head ([`Part::DataNews`]) to the next members in some rings, which ask for what they lack
//! ([`Part::DataWant`]), receive it once ([`Part::DataDelta`]), and announce it in turn. Each ring alone reaches all members, so
//! an announcement is lost only where it is lost in each of them.
//!
//! The fingerprint on pings and acks ([`Part::DataFingerprint`]) finds revisions that were missed: a member with
//! another fingerprint compares buckets ([`Part::DataCompare`]), learns the heads in those that differ
//! ([`Part::DataSummary`]), asks for what it lacks, and announces what the other lacks. A new member receives
//! everything in this way, after the list.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use crate::{
    Fingerprint, Instant, Member, MemberId, Peer,
    ctx::Ctx,
    data::{
        map::{Head, MemberData, Refusal},
        own::Own,
        store::Store,
    },
    detect::hearsay::Hearsay,
    member::list::MembershipList,
    sync::budget::ListBudget,
    timers::Timer,
    wire::{BUCKETS, DataLine, Delta, Part, Payload},
};

/// Data to be announced, and data that was requested.
#[derive(Debug)]
pub(crate) struct Replication {
    /// The members whose data is to be announced, and from whom it came; emptied when it is.
    unannounced: BTreeMap<MemberId, Option<MemberId>>,
    /// When it is.
    push_at: Option<Instant>,
    /// The members whose data is known to be later elsewhere: at most [`MAX_WANTED`], further ones are found again by
    /// comparing.
    wanted: BTreeMap<MemberId, Wanted>,
    /// When those that did not answer are given up.
    retry_at: Option<Instant>,
    /// The comparison that was started last.
    compared: Option<Comparison>,
    /// Members that did not answer, and since when: they are asked after others for a while. At most [`MAX_SILENT`]; the
    /// oldest goes.
    silent: BTreeMap<MemberId, Instant>,
    /// The member from which data was last accepted, and when.
    last_taken: Option<(MemberId, Instant)>,
    /// Since when every fingerprint that arrived differed from this node's.
    differing_since: Option<Instant>,
    last_change: Instant,
    /// The budget for answers to others.
    budget: ListBudget,
}

/// A comparison with another member.
#[derive(Clone, Copy, Debug)]
struct Comparison {
    with: MemberId,
    at: Instant,
    is_answered: bool,
}

/// Data that is later elsewhere.
#[derive(Debug, Default)]
struct Wanted {
    /// The members that announced it, and which; at most [`MAX_SOURCES`]. The first is asked first.
    sources: VecDeque<(MemberId, Head)>,
    /// When the first was asked.
    asked_at: Option<Instant>,
    /// Whether a delta did not fit, so that the whole map is asked for.
    needs_all: bool,
}

impl Wanted {
    /// The member to ask.
    fn first(&self) -> Option<MemberId> {
        self.sources.front().map(|(id, _)| *id)
    }

    /// A member has it, and is perhaps to be asked before the others.
    fn record(&mut self, from: MemberId, head: Head, is_better: bool) {
        if let Some(known) = self.sources.iter_mut().find(|(id, _)| *id == from) {
            known.1 = known.1.max(head);
        } else if is_better {
            self.sources.push_front((from, head));
            self.sources.truncate(MAX_SOURCES);
            self.asked_at = None;
        } else if self.sources.len() < MAX_SOURCES {
            self.sources.push_back((from, head));
        }
    }
}

/// The rules of replication, with what they work on.
pub(crate) struct Replicate<'a> {
    pub(crate) ctx: &'a mut Ctx,
    pub(crate) list: &'a MembershipList,
    pub(crate) hearsay: &'a mut Hearsay,
    pub(crate) store: &'a mut Store,
    pub(crate) own_data: &'a mut Own,
    pub(crate) own: &'a mut Replication,
}

impl Replication {
    pub(crate) const fn new(now: Instant) -> Self {
        Self {
            unannounced: BTreeMap::new(),
            push_at: None,
            wanted: BTreeMap::new(),
            retry_at: None,
            compared: None,
            silent: BTreeMap::new(),
            last_taken: None,
            differing_since: None,
            last_change: Instant::START,
            budget: ListBudget::new(now),
        }
    }

    /// A member has later data than this node.
    fn record_source(&mut self, now: Instant, from: MemberId, line: DataLine) -> bool {
        if self.wanted.len() >= MAX_WANTED && !self.wanted.contains_key(&line.owner) {
            return false;
        }
        let (wanted, silent) = (self.wanted.entry(line.owner).or_default(), &self.silent);
        let first = wanted.first();
        if first == Some(from) && self.last_taken == Some((from, now)) {
            // It was asked, and says what it did not send: that page was full. Any other repetition is no reason to ask
            // again, or a member that never answers would be asked for ever.
            wanted.asked_at = None;
        }
        // A member that answered lately is asked before one that did not.
        let is_better =
            first.is_some_and(|id| silent.contains_key(&id)) && !silent.contains_key(&from);
        wanted.record(from, line.head, is_better);
        true
    }

    /// A member did not answer.
    fn record_silence(&mut self, now: Instant, id: MemberId) {
        self.silent.insert(id, now);
        if self.silent.len() > MAX_SILENT {
            let oldest = self.silent.iter().min_by_key(|(_, at)| **at).map(|(&id, _)| id);
            oldest.map(|id| self.silent.remove(&id));
        }
    }

    /// Removes members whose failure to answer is so long ago that it no longer counts.
    fn forgive(&mut self, now: Instant, after: Duration) {
        self.silent.retain(|_, at| now - *at < after);
    }

    /// The members whose data is to be asked of this one now: as many as one message holds.
    fn next_from(&mut self, now: Instant, from: MemberId) -> Vec<(MemberId, bool)> {
        let due = self.wanted.iter_mut().filter(|(_, wanted)| wanted.first() == Some(from));
        let due = due.filter(|(_, wanted)| wanted.asked_at.is_none()).take(MAX_LINES);
        let asked = due.map(|(&owner, wanted)| {
            wanted.asked_at = Some(now);
            (owner, wanted.needs_all)
        });
        asked.collect()
    }

    /// Gives up members that were asked so long ago. Returns the members that are asked instead.
    fn give_up(&mut self, now: Instant, timeout: Duration) -> BTreeSet<MemberId> {
        let (mut instead, mut silent) = (BTreeSet::new(), BTreeSet::new());
        self.wanted.retain(|_, wanted| {
            if wanted.asked_at.is_some_and(|asked_at| now - asked_at >= timeout) {
                wanted.asked_at = None;
                silent.extend(wanted.sources.pop_front().map(|(id, _)| id));
            }
            instead.extend(wanted.first().filter(|_| wanted.asked_at.is_none()));
            !wanted.sources.is_empty()
        });
        silent.into_iter().for_each(|id| self.record_silence(now, id));
        instead
    }

    /// The data that a member sent cannot be used.
    fn record_refusal(&mut self, from: MemberId, owner: MemberId, refusal: Refusal) {
        let Some(wanted) = self.wanted.get_mut(&owner) else {
            return;
        };
        wanted.asked_at = None;
        // It may be the difference to something else: the whole map is the same for all.
        if !std::mem::replace(&mut wanted.needs_all, true) && refusal != Refusal::OverLimit {
            return;
        }
        wanted.sources.retain(|(id, _)| *id != from);
        if wanted.sources.is_empty() {
            self.wanted.remove(&owner);
        }
    }

    /// This data arrived from a member. Returns the member that has later data still, and is to be asked next.
    fn record_arrival(
        &mut self,
        now: Instant,
        from: MemberId,
        owner: MemberId,
        head: Head,
    ) -> Option<MemberId> {
        self.last_taken = Some((from, now));
        self.silent.remove(&from);
        let wanted = self.wanted.get_mut(&owner)?;
        // Announcements up to this head need no request any more.
        wanted.sources.retain(|(_, theirs)| *theirs > head);
        (wanted.asked_at, wanted.needs_all) = (None, false);
        let next = wanted.first();
        if next.is_none() {
            self.wanted.remove(&owner);
        }
        next
    }

    /// Compares with this member, unless it did not answer lately: then with the next one that pings.
    fn start_comparison(&mut self, now: Instant, period: Duration, with: MemberId) -> bool {
        if let Some(last) = self.compared.filter(|last| !last.is_answered) {
            self.record_silence(last.at, last.with);
        }
        self.forgive(now, period * SILENT_PERIODS);
        let is_silent = self.silent.contains_key(&with);
        if !is_silent {
            self.compared = Some(Comparison { with, at: now, is_answered: false });
        }
        !is_silent
    }

    /// Whether to compare data that differs now: not before pending announcements had time to arrive.
    fn is_comparison_due(&mut self, now: Instant, period: Duration) -> bool {
        let since = *self.differing_since.get_or_insert(now);
        let is_settled = now - self.last_change >= period / 4 || now - since >= period * 2;
        is_settled && self.compared.is_none_or(|last| now - last.at >= period)
    }
}

impl Replicate<'_> {
    /// Publishes what was written, and announces it.
    pub(crate) fn publish(&mut self) {
        let run = self.list.me().generation();
        if self.own_data.publish(self.ctx, self.store, run) {
            self.own.last_change = self.ctx.now;
            self.own.unannounced.insert(self.store.me(), None);
            self.announce();
        }
    }

    /// Announces what is new to the next members in some rings.
    pub(crate) fn announce(&mut self) {
        self.own.push_at = None;
        let news = std::mem::take(&mut self.own.unannounced);
        for peer in self.next_in_rings() {
            let is_news = |(owner, from): &(&MemberId, &Option<MemberId>)| {
                **owner != peer.id && **from != Some(peer.id)
            };
            let lines = news.iter().filter(is_news).map(|(&owner, _)| self.line(owner)).collect();
            self.send_news(peer, lines);
        }
    }

    /// The next members in some rings, each once.
    fn next_in_rings(&self) -> BTreeSet<Peer> {
        let (me, rings) = (self.store.me(), FANOUT.min(self.ctx.params.rings.into()));
        let next = (0..rings).filter_map(|ring| self.list.rings().successor(ring, me));
        next.filter(|&id| id != me).filter_map(|id| self.list.peer(id)).collect()
    }

    fn line(&self, owner: MemberId) -> DataLine {
        DataLine { owner, head: self.store.head(owner) }
    }

    fn send_news(&mut self, to: Peer, lines: Vec<DataLine>) {
        let lines: Vec<_> = lines.into_iter().filter(|line| line.head.revision.0 > 0).collect();
        for lines in lines.chunks(MAX_NEWS) {
            self.ctx.send(to, &Part::DataNews(lines.to_vec()));
        }
    }

    /// A member announces data.
    pub(crate) fn handle_news(&mut self, from: Peer, lines: &[DataLine]) {
        for &line in lines.iter().take(MAX_LINES) {
            self.note_source(from, line);
        }
        self.ask(from);
    }

    /// Takes note of data that a member has, if this node lacks it.
    fn note_source(&mut self, from: Peer, line: DataLine) {
        let known = self.list.live(line.owner).map(|member| member.generation());
        if known != Some(line.head.generation) {
            // The run is not known yet, or is over. The list is compared first.
            self.ctx.stats.data_of_unknown_runs += 1;
            return;
        }
        let is_later = line.head > self.store.head(line.owner);
        if is_later && !self.own.record_source(self.ctx.now, from.id, line) {
            self.ctx.stats.data_requests_refused += 1;
        }
    }

    /// Asks a member for data that it has and this node lacks.
    fn ask(&mut self, from: Peer) {
        let owners = self.own.next_from(self.ctx.now, from.id);
        if owners.is_empty() {
            return;
        }
        let lines = owners.into_iter().map(|(owner, needs_all)| match needs_all {
            true => DataLine { owner, head: Head::default() },
            false => self.line(owner),
        });
        let payload = Payload::of(&Part::DataWant(lines.collect()));
        self.ctx.send_fitting(from, payload);
        self.plan_retry();
    }

    fn plan_retry(&mut self) {
        if self.own.retry_at.is_none() {
            let at = self.ctx.now + self.timeout();
            self.own.retry_at = Some(at);
            self.ctx.timers.set(at, Timer::RetryData);
        }
    }

    /// How long a member has to answer.
    fn timeout(&self) -> Duration {
        self.ctx.params.period / 8
    }

    /// Asks others where a member did not answer.
    pub(crate) fn retry(&mut self) {
        self.own.retry_at = None;
        self.own.forgive(self.ctx.now, self.ctx.params.period * SILENT_PERIODS);
        let instead = self.own.give_up(self.ctx.now, self.timeout());
        for peer in instead.into_iter().filter_map(|id| self.list.peer(id)) {
            self.ask(peer);
        }
        if !self.own.wanted.is_empty() {
            self.plan_retry();
        }
    }

    /// Sends the data that a member asks for. Heads of data that does not fit in the page are announced at its end.
    pub(crate) fn handle_want(&mut self, from: Peer, lines: &[DataLine]) {
        if !self.own.budget.has_room(self.ctx.now) {
            self.ctx.stats.data_requests_refused += 1;
            return;
        }
        // Writes that are not published yet are not signed.
        if self.own_data.is_dirty() && lines.iter().any(|line| line.owner == self.store.me()) {
            self.publish();
        }
        let page = page(self.store, &lines[..lines.len().min(MAX_LINES)]);
        self.send_page(from, page);
    }

    fn send_page(&mut self, to: Peer, page: Payload) {
        if !page.is_empty() {
            self.own.budget.spend(self.ctx.now, page.len().max(MIN_COST_BYTES));
            self.ctx.send_fitting(to, page);
        }
    }

    /// Data arrives: it is taken if it is later than what is known, complete, and signed by its owner.
    pub(crate) fn handle_delta(&mut self, from: Peer, delta: &Delta) {
        let after = match self.verify(from, delta) {
            Ok(after) => after,
            Err(refusal) => return self.refuse(from, delta.owner, refusal),
        };
        let next = self.own.record_arrival(self.ctx.now, from.id, delta.owner, after.head);
        if delta.owner == self.store.me() {
            // This node signed it and does not know it: its process was started with an old copy of its data.
            return self.own_data.resume_after(self.ctx, self.store, after.head);
        }
        self.own.last_change = self.ctx.now;
        self.store.replace(self.ctx, delta.owner, after);
        self.own.unannounced.insert(delta.owner, Some(from.id));
        self.plan_announcement();
        let next = next.and_then(|id| self.list.peer(id));
        next.into_iter().for_each(|next| self.ask(next));
    }

    fn plan_announcement(&mut self) {
        if self.own.push_at.is_none() {
            let at = self.ctx.now + self.ctx.params.push_delay;
            self.own.push_at = Some(at);
            self.ctx.timers.set(at, Timer::AnnounceData);
        }
    }

    /// The data of a member after a delta, if it may be taken.
    fn verify(&mut self, from: Peer, delta: &Delta) -> Result<MemberData, Refusal> {
        let owner = self.list.live(delta.owner);
        let is_current = |owner: &&Arc<Member>| owner.generation() == delta.head.generation;
        let owner = owner.filter(is_current).ok_or(Refusal::NotNew)?;
        if delta.head <= self.store.head(delta.owner) {
            return Err(Refusal::NotNew);
        }
        // The signature is checked last: it costs most.
        if !self.hearsay.may_check(self.ctx.now, from.id) {
            self.ctx.stats.records_over_budget += 1;
            return Err(Refusal::NotNew);
        }
        let none = MemberData::new();
        let known = self.store.of(delta.owner).map_or(&none, |known| known);
        let (max_bytes, key) = (self.ctx.params.max_data_bytes, owner.record().public_key());
        let after = known.apply(delta, max_bytes, (&key, &*self.ctx.keys))?;
        let total = self.store.bytes() - known.bytes() + after.bytes();
        let has_room = total <= self.ctx.params.max_total_data_bytes;
        has_room.then_some(after).ok_or(Refusal::OverLimit)
    }

    /// A delta was not taken: another member, or the whole map, is asked for.
    fn refuse(&mut self, from: Peer, owner: MemberId, refusal: Refusal) {
        let stats = &mut self.ctx.stats;
        match refusal {
            Refusal::NotNew => return stats.data_ignored += 1,
            Refusal::OtherBase => stats.data_ignored += 1,
            Refusal::OverLimit => stats.data_over_limit += 1,
            Refusal::Forged => {
                stats.data_forged += 1;
                self.hearsay.record_forgery(self.ctx.now, from.id);
            }
        }
        self.own.record_refusal(from.id, owner, refusal);
        self.ask(from);
    }

    /// A ping or an ack brought the fingerprint of a member's data.
    pub(crate) fn handle_fingerprint(&mut self, with: Peer, theirs: Fingerprint) {
        if theirs == self.store.fingerprint() {
            self.own.differing_since = None;
            return;
        }
        let (now, period) = (self.ctx.now, self.ctx.params.period);
        if self.own.is_comparison_due(now, period)
            && self.own.start_comparison(now, period, with.id)
        {
            self.ctx.stats.data_comparisons += 1;
            let buckets = Box::new(*self.store.buckets());
            self.ctx.send_stream(with, Payload::of(&Part::DataCompare(buckets)));
        }
    }

    /// Answers with the heads of what is known in the buckets that differ.
    pub(crate) fn handle_compare(&mut self, from: Peer, theirs: &[u64; BUCKETS]) {
        if !self.own.budget.may_answer(self.ctx) {
            return;
        }
        let ours = self.store.buckets();
        let differing = (0..BUCKETS).filter(|&bucket| ours[bucket] != theirs[bucket]);
        let buckets = differing.clone().fold(0, |bits, bucket| bits | 1 << bucket);
        let lines = differing.flat_map(|bucket| self.store.summary(bucket)).collect();
        let payload = Payload::of(&Part::DataSummary { buckets, lines });
        self.own.budget.spend(self.ctx.now, payload.len());
        self.ctx.send_stream(from, payload);
    }

    /// Asks for what the other has and this node lacks, and announces the rest of what differs.
    pub(crate) fn handle_summary(&mut self, from: Peer, buckets: u64, lines: &[DataLine]) {
        let Some(compared) = self.own.compared.as_mut().filter(|last| last.with == from.id) else {
            self.ctx.stats.misdirected_messages += 1;
            return;
        };
        compared.is_answered = true;
        lines.iter().for_each(|&line| self.note_source(from, line));
        self.send_news(from, news_for(self.store, buckets, lines));
        self.ask(from);
    }
}

/// The heads in these buckets that are later than those in the lines of another member.
fn news_for(store: &Store, buckets: u64, theirs: &[DataLine]) -> Vec<DataLine> {
    let theirs: BTreeMap<_, _> = theirs.iter().map(|line| (line.owner, line.head)).collect();
    let compared = (0..BUCKETS).filter(|&bucket| buckets & (1 << bucket) != 0);
    let ours = compared.flat_map(|bucket| store.summary(bucket));
    ours.filter(|line| theirs.get(&line.owner).is_none_or(|head| *head < line.head)).collect()
}

/// The data of these members after what the other has of it, as far as it fits, and then the heads of the rest.
fn page(store: &Store, lines: &[DataLine]) -> Payload {
    let (mut payload, mut rest) = (Payload::new(), Vec::new());
    let is_later = |line: &&DataLine| store.head(line.owner) > line.head;
    for line in lines.iter().filter(is_later) {
        if !rest.is_empty() || !push_delta(store, line, &mut payload) {
            rest.push(DataLine { owner: line.owner, head: store.head(line.owner) });
        }
    }
    if !rest.is_empty() {
        payload.push(&Part::DataNews(rest));
    }
    payload
}

/// Adds what comes after this data, if it fits.
fn push_delta(store: &Store, line: &DataLine, payload: &mut Payload) -> bool {
    // A single map may be longer than a page.
    let max_bytes = if payload.is_empty() { usize::MAX } else { MAX_PAGE_BYTES };
    store.of(line.owner).is_some_and(|data| {
        let delta = data.delta_since(line.owner, line.head);
        payload.push_within(&Part::DataDelta(Box::new(delta)), max_bytes)
    })
}

/// To the next members in how many rings new data is announced.
const FANOUT: usize = 3;
/// How many members' data can be wanted at a time.
const MAX_WANTED: usize = 16_384;
/// How many members are remembered that have it.
const MAX_SOURCES: usize = 4;
/// How many members that did not answer are remembered, and for how many periods.
const MAX_SILENT: usize = 64;
const SILENT_PERIODS: u32 = 4;
/// How many members' data is asked for in one message.
const MAX_LINES: usize = 256;
/// How many are announced in one datagram.
const MAX_NEWS: usize = 32;
/// The least cost of an answer, however short.
const MIN_COST_BYTES: usize = 1_024;
/// The most bytes of an answer, unless a single map is longer.
const MAX_PAGE_BYTES: usize = 1_024 * 1_024;

#[cfg(test)]
mod tests;
