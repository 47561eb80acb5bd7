//! Anti-entropy: lists that differ are compared bucket by bucket, and only the records that differ are exchanged.
//!
//! The fingerprint on every ack shows that a difference slipped through gossip. The pinger then sends the fingerprints
//! of its buckets ([`Part::Compare`]), the other answers with what it has in those that differ ([`Part::Summary`]),
//! and the pinger sends what it knows better and asks for the rest ([`Part::Want`]).
//!
//! Fingerprints are of the living. What is known of the departed may differ too: who left on one side of a split is dead to
//! the other. So lists are also compared, once, with each member that returns from death, and now and then while any
//! is held for dead.
//!
//! Each message is a page: what does not fit is left for the exchange that follows, at once where the last one asked
//! for as much as it could.

pub(crate) mod budget;
pub(crate) mod convergence;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use crate::{
    Fingerprint, Instant, Member, MemberId, MemberState, Peer, Swim,
    member::list::bucket_bit,
    step::Source,
    sync::budget::MAX_PAGE_BYTES,
    wire::{BUCKETS, Claim, Entry, Part, Payload, SummaryLine},
};

/// Exchanges under way.
#[derive(Debug)]
pub(crate) struct Exchanges {
    /// When the list last changed.
    pub(crate) last_change: Instant,
    /// Whom we sent our buckets, and when.
    asked: BTreeMap<MemberId, Instant>,
    /// Who was last asked for as much as one page holds, and has more.
    unfinished: Option<MemberId>,
    /// Since when every fingerprint we saw differed from ours.
    differing_since: Option<Instant>,
    /// Who returned from death, and may know another end of some that we hold for dead; at most [`MAX_RETURNED`].
    returned: VecDeque<MemberId>,
    /// Whether what is known of the departed is compared with the next member that agrees with us on the living.
    is_review_due: bool,
}

impl Default for Exchanges {
    fn default() -> Self {
        Self {
            last_change: Instant::START,
            asked: BTreeMap::new(),
            unfinished: None,
            differing_since: None,
            returned: VecDeque::new(),
            is_review_due: false,
        }
    }
}

impl Exchanges {
    /// A member that was dead is back.
    pub(crate) fn record_return(&mut self, id: MemberId) {
        self.returned.retain(|&known| known != id);
        if self.returned.len() >= MAX_RETURNED {
            // Who was not pinged since may be no subject of ours; where many return, others compare.
            self.returned.pop_front();
        }
        self.returned.push_back(id);
    }

    /// What is known of the departed is to be compared with whoever agrees with us next.
    pub(crate) const fn plan_review(&mut self) {
        self.is_review_due = true;
    }
}

impl Swim {
    /// Compares the fingerprint on an ack with ours, and begins an exchange where they differ for longer than news
    /// needs to arrive.
    pub(crate) fn compare_fingerprints(&mut self, with: Peer, theirs: Fingerprint) {
        let now = self.ctx.now;
        if theirs == self.fingerprint() {
            self.exchanges.differing_since = None;
            return self.review_departed(with);
        }
        let period = self.ctx.params.protocol_period;
        let since = *self.exchanges.differing_since.get_or_insert(now);
        let is_settled = now - self.exchanges.last_change >= period / 4;
        if is_settled || now - since >= period * 2 {
            self.start_exchange(with);
        }
    }

    /// Our lists agree on the living; where that may not be all, they are compared nevertheless.
    fn review_departed(&mut self, with: Peer) {
        let exchanges = &mut self.exchanges;
        let is_back = exchanges.returned.contains(&with.id);
        exchanges.returned.retain(|&id| id != with.id);
        if is_back || std::mem::take(&mut exchanges.is_review_due) {
            self.start_exchange(with);
        }
    }

    pub(crate) fn start_exchange(&mut self, with: Peer) {
        let now = self.ctx.now;
        self.exchanges.asked.retain(|_, &mut asked_at| now - asked_at < EXCHANGE_TIMEOUT);
        if self.exchanges.asked.len() >= MAX_EXCHANGES {
            self.ctx.stats.exchanges_refused += 1;
            return;
        }
        if self.exchanges.asked.insert(with.id, now).is_none() {
            self.ctx.stats.exchanges_started += 1;
            let buckets = Box::new(*self.list.buckets());
            self.ctx.send_stream(with, Payload::of(&Part::Compare(buckets)));
        }
    }

    /// Answers with what we have in the buckets that differ.
    pub(crate) fn handle_compare(&mut self, from: Peer, theirs: &[u64; BUCKETS]) {
        if !self.budget.may_answer(&mut self.ctx) {
            return;
        }
        let ours = self.list.buckets();
        let (mut buckets, mut lines) = (0, Vec::new());
        for bucket in (0..BUCKETS).filter(|&bucket| ours[bucket] != theirs[bucket]) {
            lines.extend(self.list.summary(bucket));
            buckets |= 1 << bucket;
            if lines.len() >= MAX_SUMMARY_LINES {
                break;
            }
        }
        let mut payload = Payload::of(&Part::Summary { buckets, lines });
        self.forgotten.push_news(&mut payload, buckets);
        self.budget.spend(self.ctx.now, payload.len());
        self.ctx.send_stream(from, payload);
    }

    /// Sends what we know better, and asks for what the other does.
    pub(crate) fn handle_summary(&mut self, from: Peer, buckets: u64, lines: &[SummaryLine]) {
        if self.exchanges.asked.remove(&from.id).is_none() {
            self.ctx.stats.misdirected_messages += 1;
            return;
        }
        let theirs: BTreeMap<_, _> = lines.iter().map(|line| (line.id, line)).collect();
        let mut payload = Payload::new();
        for member in self.list.snapshot().iter() {
            let is_compared = buckets & bucket_bit(member.id()) != 0;
            if is_compared && knows_better(member, theirs.get(&member.id()).copied()) {
                let (state, record) = (member.state, member.record().clone());
                if !payload.push_within(&Part::Entry(Entry { state, record }), MAX_PAGE_BYTES) {
                    break;
                }
            }
        }
        let mut wanted = Vec::new();
        for line in theirs.values() {
            if let Some(answer) = self.forgotten.answer(line.id, line.version, line.state) {
                payload.push(&answer);
                continue;
            }
            match self.list.get(line.id).map(|known| (known.version(), known.state)) {
                None if line.state.is_live() => wanted.push(line.id),
                Some((version, _)) if version < line.version => wanted.push(line.id),
                Some((version, state)) if version == line.version => {
                    if line.state == MemberState::Dead && state.is_live() {
                        let (subject, by) = (line.id, from.id);
                        let source = Source::Gossip(from);
                        let claim = Claim { subject, version, by };
                        self.verdicts(|verdicts| verdicts.handle_death_elsewhere(source, claim));
                    }
                }
                None | Some(_) => {}
            }
        }
        self.turn_page(from.id, wanted.is_empty());
        if wanted.len() > MAX_WANTED {
            self.exchanges.unfinished = Some(from.id);
        }
        wanted.truncate(MAX_WANTED);
        if !wanted.is_empty() {
            payload.push(&Part::Want(wanted));
        }
        if !payload.is_empty() {
            self.ctx.send_stream(from, payload);
        }
    }

    pub(crate) fn handle_want(&mut self, from: Peer, ids: &[MemberId]) {
        if !self.budget.may_answer(&mut self.ctx) {
            return;
        }
        let ids: BTreeSet<_> = ids.iter().copied().collect();
        let mut payload = Payload::new();
        for member in ids.into_iter().filter_map(|id| self.list.get(id)) {
            let (state, record) = (member.state, member.record().clone());
            if !payload.push_within(&Part::Entry(Entry { state, record }), MAX_PAGE_BYTES) {
                break;
            }
        }
        if !payload.is_empty() {
            self.budget.spend(self.ctx.now, payload.len());
            self.ctx.send_stream(from, payload);
        }
    }

    /// A page of records came by stream: where we had asked for as much as one holds, there is more.
    pub(crate) fn ask_for_next_page(&mut self, from: Peer) {
        if self.exchanges.unfinished.take_if(|of| *of == from.id).is_some() {
            self.start_exchange(from);
        }
    }
}

/// Whether our word on a member would be news to a list that has this line of it.
fn knows_better(ours: &Member, theirs: Option<&SummaryLine>) -> bool {
    match theirs {
        None => ours.state.is_live(),
        Some(theirs) if ours.version() == theirs.version => {
            ours.state == MemberState::Dead && theirs.state.is_live()
        }
        Some(theirs) => ours.version() > theirs.version,
    }
}

/// After how long an exchange that got no answer may be begun again.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(5);
/// How many exchanges we have begun may be under way.
const MAX_EXCHANGES: usize = 4;
/// How many that returned from death are remembered until they are pinged: more than are subjects. The first gives way.
const MAX_RETURNED: usize = 64;
/// How many lines a summary has before no further bucket is begun: some 4 MB.
const MAX_SUMMARY_LINES: usize = 131_072;
/// How many records are asked for at once; as many of the longest fill a page.
const MAX_WANTED: usize = 12_000;
