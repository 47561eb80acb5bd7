//! Anti-entropy: lists that differ are compared bucket by bucket, and only the records that differ are exchanged.
//!
//! The fingerprint on every ack shows that a difference slipped through gossip. The pinger then sends the fingerprints
//! of its buckets ([`Part::Compare`]), the other answers with what it has in those that differ ([`Part::Summary`]),
//! and the pinger sends what it knows better and asks for the rest ([`Part::Want`]).
//!
//! Fingerprints cover live members only. Knowledge of departed members may differ too: members that left on one side
//! of a split are dead to the other. So lists are also compared, once, with each member that returns from death, and
//! now and then while any member is considered dead.
//!
//! Each message is a page: what does not fit is left for the exchange that follows, at once where the last one asked
//! for as much as it could.

pub(crate) mod budget;
pub(crate) mod convergence;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use rand::RngExt;

use crate::{
    Claim, Ctx, Fingerprint, Instant, Member, MemberId, MemberState, MembershipList, Part, Payload,
    Peer, Source, Step, SummaryLine, Transition,
    forget::Forgotten,
    member::list::bucket_bit,
    sync::budget::{ListBudget, fill_page, max_page_bytes},
    wire::BUCKETS,
};

/// Exchanges under way.
#[derive(Debug, Default)]
pub(crate) struct Exchanges {
    /// When the list last changed.
    last_change: Instant,
    /// The members that were sent the buckets of this node, and when.
    asked: BTreeMap<MemberId, Instant>,
    /// The first record that members were asked for last, until lists are equal; of at most [`MAX_RETURNED`].
    wanted: BTreeMap<MemberId, MemberId>,
    /// The member that was last asked for as much as one page holds, and has more.
    unfinished: Option<MemberId>,
    /// Since when every fingerprint that arrived differed from this node's.
    differing_since: Option<Instant>,
    /// The members that returned from death, and may know another end of some that are dead here; at most
    /// [`MAX_RETURNED`].
    returned: VecDeque<MemberId>,
    /// Whether what is known of the departed is compared with the next member that has the same live members.
    is_review_due: bool,
}

/// The rules of anti-entropy, with what they work on.
pub(crate) struct AntiEntropy<'a> {
    pub(crate) ctx: &'a mut Ctx,
    pub(crate) list: &'a MembershipList,
    pub(crate) forgotten: &'a Forgotten,
    pub(crate) budget: &'a mut ListBudget,
    pub(crate) own: &'a mut Exchanges,
}

/// The versions that another list has and this one lacks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Lack {
    Record,
    Death,
}

/// The versions that this list, with this member in it or not, lacks.
fn lack(ours: Option<&Member>, theirs: &SummaryLine) -> Option<Lack> {
    let Some(ours) = ours else {
        // A member that is already gone would only be forgotten again.
        return theirs.state.is_live().then_some(Lack::Record);
    };
    if ours.version() < theirs.version {
        return Some(Lack::Record);
    }
    let is_dead_there = ours.version() == theirs.version && theirs.state == MemberState::Dead;
    (is_dead_there && ours.state.is_live()).then_some(Lack::Death)
}

/// Whether what this list has of a member would be news to one that has this line of it.
fn knows_better(ours: &Member, theirs: Option<&SummaryLine>) -> bool {
    match theirs {
        None => ours.state.is_live(),
        Some(theirs) if ours.version() == theirs.version => {
            ours.state == MemberState::Dead && theirs.state.is_live()
        }
        Some(theirs) => ours.version() > theirs.version,
    }
}

/// The buckets, a bit each, in which this list differs from another one, and the lines in them.
///
/// No further bucket is begun if there would be more than `max_lines`.
fn summarize(
    list: &MembershipList,
    theirs: &[u64; BUCKETS],
    max_lines: usize,
) -> (u64, Vec<SummaryLine>) {
    let ours = list.buckets();
    let (mut buckets, mut lines) = (0, Vec::new());
    for bucket in (0..BUCKETS).filter(|&bucket| ours[bucket] != theirs[bucket]) {
        let before = lines.len();
        lines.extend(list.summary(bucket));
        if before > 0 && lines.len() > max_lines {
            lines.truncate(before);
            break;
        }
        buckets |= 1 << bucket;
    }
    (buckets, lines)
}

/// The members in these buckets of which this list knows better than another one with these lines.
fn news_for<'l>(
    list: &'l MembershipList,
    buckets: u64,
    theirs: &'l BTreeMap<MemberId, &SummaryLine>,
) -> impl Iterator<Item = &'l Arc<Member>> {
    let compared = list.snapshot().iter().filter(move |m| buckets & bucket_bit(m.id()) != 0);
    compared.filter(|member| knows_better(member, theirs.get(&member.id()).copied()))
}

impl Exchanges {
    /// The list changed.
    pub(crate) const fn record_change(&mut self, now: Instant) {
        self.last_change = now;
    }

    /// Follows the return of another member from death.
    pub(crate) fn react(&mut self, transition: &Transition) {
        if transition.is_return() {
            self.record_return(transition.id());
        }
    }

    /// A member that was dead is back.
    fn record_return(&mut self, id: MemberId) {
        self.returned.retain(|&known| known != id);
        if self.returned.len() >= MAX_RETURNED {
            // A member that was not pinged since may be no subject of this node; where many return, others compare.
            self.returned.pop_front();
        }
        self.returned.push_back(id);
    }

    /// Has what is known of the departed compared with the next member that has the same live members.
    pub(crate) const fn plan_review(&mut self) {
        self.is_review_due = true;
    }

    /// Whether to compare lists that differ now: not before pending news had time to arrive.
    fn is_comparison_due(&mut self, now: Instant, period: Duration) -> bool {
        let since = *self.differing_since.get_or_insert(now);
        // Where members come and go all the time, the list is never settled.
        now - self.last_change >= period / 4 || now - since >= period * 2
    }

    /// Whether lists that agree on the live members are compared nevertheless, with this member.
    fn take_review(&mut self, with: MemberId) -> bool {
        let is_back = self.returned.contains(&with);
        self.returned.retain(|&id| id != with);
        is_back || std::mem::take(&mut self.is_review_due)
    }
}

impl AntiEntropy<'_> {
    /// An ack brought the fingerprint of a member: where it differs from this node's for longer than news needs to
    /// arrive, the lists are compared.
    pub(crate) fn handle_fingerprint(&mut self, with: Peer, theirs: Fingerprint) {
        let is_due = if theirs == self.list.snapshot().fingerprint() {
            self.own.differing_since = None;
            self.own.wanted.clear();
            self.own.take_review(with.id)
        } else {
            self.own.is_comparison_due(self.ctx.now, self.ctx.params.period)
        };
        if is_due {
            self.start(with);
        }
    }

    /// Compares lists with a member, unless too many exchanges are under way.
    pub(crate) fn start(&mut self, with: Peer) {
        let now = self.ctx.now;
        let is_over = |_: &MemberId, asked_at: &mut Instant| now - *asked_at >= EXCHANGE_TIMEOUT;
        for (unanswered, _) in self.own.asked.extract_if(.., is_over) {
            // The answer may be too large for the path.
            self.ctx.then(Step::CheckSize(unanswered));
        }
        if self.own.asked.len() >= MAX_EXCHANGES {
            self.ctx.stats.exchanges_refused += 1;
            return;
        }
        if self.own.asked.insert(with.id, now).is_none() {
            self.ctx.stats.exchanges_started += 1;
            let buckets = Box::new(*self.list.buckets());
            self.ctx.send_stream(with, Payload::of(&Part::Compare(buckets)));
        }
    }

    /// The buckets in which this list differs from that of another member, and its lines there, as many as pass.
    fn summary_for(&mut self, to: Peer, theirs: &[u64; BUCKETS]) -> (u64, Vec<SummaryLine>) {
        if !self.ctx.narrow.contains(to.id) {
            return summarize(self.list, theirs, MAX_SUMMARY_LINES);
        }
        let (buckets, mut lines) = summarize(self.list, theirs, NARROW_SUMMARY_LINES);
        // Others of a large bucket each time. The records of those without a line are sent here, for nothing.
        let first = self.ctx.rng.random_range(0..lines.len().max(1));
        lines.rotate_left(first);
        lines.truncate(NARROW_SUMMARY_LINES);
        (buckets, lines)
    }

    /// Answers with what this list has in the buckets that differ.
    pub(crate) fn handle_compare(&mut self, from: Peer, theirs: &[u64; BUCKETS]) {
        if !self.budget.may_answer(self.ctx) {
            return;
        }
        let (buckets, lines) = self.summary_for(from, theirs);
        let mut payload = Payload::of(&Part::Summary { buckets, lines });
        self.forgotten.push_news(&mut payload, buckets);
        self.send_page(from, payload);
    }

    /// Sends what this list knows better, and asks for what the other does.
    pub(crate) fn handle_summary(&mut self, from: Peer, buckets: u64, lines: &[SummaryLine]) {
        if self.own.asked.remove(&from.id).is_none() {
            self.ctx.stats.misdirected_messages += 1;
            return;
        }
        let theirs: BTreeMap<_, _> = lines.iter().map(|line| (line.id, line)).collect();
        let mut payload = Payload::new();
        let max_bytes = max_page_bytes(self.ctx, from.id);
        fill_page(&mut payload, max_bytes, news_for(self.list, buckets, &theirs));
        let wanted = self.review_lines(from, theirs.into_values(), &mut payload);
        self.ctx.then(Step::TurnPage { of: from.id, is_last: wanted.is_empty() });
        let is_narrow = self.ctx.narrow.contains(from.id);
        let max_wanted = if is_narrow { NARROW_SUMMARY_LINES } else { MAX_WANTED };
        if wanted.len() > max_wanted {
            self.own.unfinished = Some(from.id);
        }
        if let Some(&first) = wanted.first() {
            if self.own.wanted.len() >= MAX_RETURNED {
                self.own.wanted.clear();
            }
            if self.own.wanted.insert(from.id, first) == Some(first) {
                // It was asked for before and did not come: a page may be too large for the path.
                self.ctx.then(Step::CheckSize(from.id));
            }
            payload.push(&Part::Want(wanted.into_iter().take(max_wanted).collect()));
        }
        if !payload.is_empty() {
            self.ctx.send_stream(from, payload);
        }
    }

    /// Compares the lines of another list with this one, and returns the members whose records are to be asked for.
    fn review_lines<'l>(
        &mut self,
        from: Peer,
        lines: impl Iterator<Item = &'l SummaryLine>,
        payload: &mut Payload,
    ) -> Vec<MemberId> {
        let mut wanted = Vec::new();
        for line in lines {
            if let Some(answer) = self.forgotten.answer(line.id, line.version, line.state) {
                payload.push(&answer);
                continue;
            }
            match lack(self.list.get(line.id).map(|known| &**known), line) {
                Some(Lack::Record) => wanted.push(line.id),
                Some(Lack::Death) => {
                    let claim = Claim { subject: line.id, version: line.version, by: from.id };
                    self.ctx.then(Step::DeathElsewhere { source: Source::Gossip(from), claim });
                }
                None => {}
            }
        }
        wanted
    }

    /// Sends the records that a member asks for, as many as fit in a page.
    pub(crate) fn handle_want(&mut self, from: Peer, ids: &[MemberId]) {
        if !self.budget.may_answer(self.ctx) {
            return;
        }
        let ids: BTreeSet<_> = ids.iter().copied().collect();
        let mut payload = Payload::new();
        let max_bytes = max_page_bytes(self.ctx, from.id);
        fill_page(&mut payload, max_bytes, ids.into_iter().filter_map(|id| self.list.get(id)));
        if !payload.is_empty() {
            self.send_page(from, payload);
        }
    }

    /// Sends a page of the list at the cost of the budget.
    fn send_page(&mut self, to: Peer, payload: Payload) {
        self.budget.spend(self.ctx.now, payload.len());
        self.ctx.send_stream(to, payload);
    }

    /// A page of records came by stream: if this node had asked for as much as one holds, there is more.
    pub(crate) fn ask_for_next_page(&mut self, from: Peer) {
        if self.own.unfinished.take_if(|of| *of == from.id).is_some() {
            self.start(from);
        }
    }
}

/// After how long an exchange that got no answer may be begun again.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(5);
/// How many exchanges that this node has begun may be under way.
const MAX_EXCHANGES: usize = 4;
/// How many members that returned from death are remembered until they are pinged: more than are subjects. The first
/// is dropped.
const MAX_RETURNED: usize = 64;
/// How many lines a summary has before no further bucket is begun: some 4 MB.
const MAX_SUMMARY_LINES: usize = 131_072;
/// The same for a member to which packets of full size do not pass; also, how many records it is asked for.
const NARROW_SUMMARY_LINES: usize = 20;
/// How many records are asked for at once; as many of the longest fill a page.
const MAX_WANTED: usize = 12_000;

#[cfg(test)]
mod tests;
