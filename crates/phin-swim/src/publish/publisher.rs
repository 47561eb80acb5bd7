//! [`Publisher`]: the publications of one member, put into order. Missing ones are noticed, requested, and in the end
//! given up.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use crate::{
    Generation, Instant, MemberId, Message, Part, PublishRequest, Route,
    publish::publication::Publication,
};

/// The known publications of one run of a member.
#[derive(Debug)]
pub(crate) struct Publisher {
    pub(crate) generation: Generation,
    /// Up to here everything was delivered or given up. `None` before anything arrived: what others claim does not say where
    /// the delivery begins, or a liar could have it begin late.
    delivered: Option<u64>,
    /// Publications that arrived before an earlier one; at most [`MAX_EARLY`].
    early: BTreeMap<u64, Arrived>,
    /// Members that have what is lacking here, by their own word, and up to which number. The next one to ask is the first;
    /// at most [`MAX_SOURCES`].
    sources: VecDeque<(MemberId, u64)>,
    /// Since when something is lacking.
    lacking_since: Option<Instant>,
    asked: Asked,
    /// How many publications had to be requested since one was pushed.
    asked_for: u64,
    /// The members that have the highest publication known here.
    holders: BTreeSet<MemberId>,
    /// Those to which this node sent it, so that it arrives unless the connection is lost; at most [`MAX_HOLDERS`].
    sent_to: BTreeSet<MemberId>,
    edges: Edges,
}

/// A publication, and how many members passed it on.
#[derive(Clone, Debug)]
pub(crate) struct Arrived {
    pub(crate) publication: Arc<Publication>,
    pub(crate) hops: u8,
}

impl Arrived {
    /// As the application receives it.
    pub(crate) fn message(&self) -> Message {
        let Publication { publisher: from, generation, sequence, ref content, .. } =
            *self.publication;
        let PublishRequest { topic, body, coalesce, filter: _ } = content.clone();
        let route = Route::Published { sequence, hops: self.hops, coalesce };
        Message { from, generation, topic, body, route }
    }

    /// As it is sent to a member that asked for it.
    pub(crate) fn answer(&self) -> Part {
        let (hops, publication) = (self.hops.saturating_add(1), Arc::clone(&self.publication));
        Part::Publication { is_push: false, hops, publication }
    }
}

/// The branches of the tree from this publisher through this node: how they differ from what is usual.
#[derive(Debug, Default)]
struct Edges {
    /// Members that have it sooner from others.
    pruned: BTreeSet<MemberId>,
    /// Members that asked to have it from here.
    grafted: BTreeSet<MemberId>,
}

/// The effect of a publication that arrived.
#[derive(Debug, Default)]
pub(crate) struct Delivery {
    /// Publications that are given up: that many, before those that are delivered.
    pub(crate) missed: u64,
    /// Publications to be delivered now, in order.
    pub(crate) ready: Vec<Arrived>,
}

/// The action for missing publications.
#[derive(Debug, PartialEq)]
pub(crate) enum Repair {
    /// Nothing is lacking.
    Nothing,
    /// Nothing before this moment.
    WaitUntil(Instant),
    /// Ask this member for these ranges.
    Ask { source: Source, ranges: Vec<(u64, u64)>, is_graft: bool },
    /// It has taken too long.
    GiveUp,
}

/// A member to ask for missing publications.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Source {
    /// One that has them, by its own word.
    Member(MemberId),
    Publisher,
    /// Any member.
    Anyone,
}

/// The requests for what is lacking now.
#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    /// When the last one was sent.
    at: Option<Instant>,
    /// How many went to members that claimed to have it, and how many to others.
    sources: usize,
    others: usize,
}

/// How long to wait for publications.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Before the first member is asked.
    pub(crate) first: Duration,
    /// Before the next one is asked.
    pub(crate) next: Duration,
    /// Before they are given up.
    pub(crate) last: Duration,
}

impl Publisher {
    /// Nothing of this run arrived yet.
    pub(crate) fn new(generation: Generation) -> Self {
        Self {
            generation,
            delivered: None,
            early: BTreeMap::new(),
            sources: VecDeque::new(),
            lacking_since: None,
            asked: Asked::default(),
            asked_for: 0,
            holders: BTreeSet::new(),
            sent_to: BTreeSet::new(),
            edges: Edges::default(),
        }
    }

    /// Whether this publication was there already, or was given up.
    pub(crate) fn has(&self, sequence: u64) -> bool {
        self.delivered.is_some_and(|delivered| sequence <= delivered)
            || self.early.contains_key(&sequence)
    }

    /// The highest number that is there; 0 if there is none.
    pub(crate) fn highest(&self) -> u64 {
        let early = self.early.last_key_value().map(|(&sequence, _)| sequence);
        early.or(self.delivered).unwrap_or(0)
    }

    /// A new publication is there. `reach` is how many before it belong to the delivery, if it is the first.
    pub(crate) fn arrive(&mut self, now: Instant, arrived: Arrived, reach: u64) -> Delivery {
        let sequence = arrived.publication.sequence;
        self.begin(sequence, reach);
        self.early.insert(sequence, arrived);
        let delivery = if self.early.len() > MAX_EARLY { self.give_up() } else { self.deliver() };
        if !delivery.ready.is_empty() {
            // Something arrives still: what is lacking now gets its own time.
            (self.lacking_since, self.asked) = (None, Asked::default());
        }
        self.review(now);
        delivery
    }

    /// Delivery begins so many before the first that arrives. Those have earlier ones before them in turn, which do not
    /// belong to it: a newcomer would ask for everything that is kept.
    fn begin(&mut self, sequence: u64, reach: u64) {
        if sequence > self.highest() {
            self.holders.clear();
            self.sent_to.clear();
        }
        self.delivered.get_or_insert(sequence.saturating_sub(reach.saturating_add(1)));
    }

    /// A publication was pushed, not requested.
    pub(crate) const fn record_push(&mut self) {
        self.asked_for = 0;
    }

    /// A member has this publication.
    pub(crate) fn record_holder(&mut self, id: MemberId, sequence: u64) {
        if sequence >= self.highest() && self.holders.len() < MAX_HOLDERS {
            self.holders.insert(id);
        }
    }

    /// Whether a member is known to have everything that is here.
    pub(crate) fn is_holder(&self, id: MemberId) -> bool {
        self.holders.contains(&id)
    }

    /// This node sends a member this publication by stream.
    pub(crate) fn record_sent(&mut self, id: MemberId, sequence: u64) {
        if sequence >= self.highest() && self.sent_to.len() < MAX_HOLDERS {
            self.sent_to.insert(id);
        }
    }

    /// Whether a member was sent the highest publication known here.
    pub(crate) fn was_sent_to(&self, id: MemberId) -> bool {
        self.sent_to.contains(&id)
    }

    /// A member has publications up to this one, by its own word.
    pub(crate) fn record_source(&mut self, now: Instant, id: MemberId, sequence: u64) {
        if let Some((_, known)) = self.sources.iter_mut().find(|(source, _)| *source == id) {
            *known = sequence.max(*known);
        } else if self.sources.len() < MAX_SOURCES {
            self.sources.push_back((id, sequence));
        }
        self.review(now);
    }

    /// Looks whether anything is lacking, since when it is, and who may have it.
    pub(crate) fn review(&mut self, now: Instant) {
        let delivered = self.delivered.unwrap_or(0);
        self.sources.retain(|(_, claimed)| *claimed > delivered);
        if self.sources.is_empty() && self.early.is_empty() {
            (self.lacking_since, self.asked) = (None, Asked::default());
        } else {
            self.lacking_since.get_or_insert(now);
        }
    }

    pub(crate) const fn is_lacking(&self) -> bool {
        self.lacking_since.is_some()
    }

    /// The action that is due for missing publications.
    pub(crate) fn repair(&mut self, now: Instant, patience: Patience) -> Repair {
        let Some(since) = self.lacking_since else {
            return Repair::Nothing;
        };
        let give_up_at = since + patience.last;
        if give_up_at <= now {
            return Repair::GiveUp;
        }
        let ask_at = self.asked.at.map_or(since + patience.first, |at| at + patience.next);
        if now < ask_at {
            return Repair::WaitUntil(ask_at.min(give_up_at));
        }
        let Some((source, claimed)) = self.next_source() else {
            return Repair::WaitUntil(give_up_at);
        };
        self.asked.at = Some(now);
        let ranges = self.lacking(claimed);
        self.asked_for += ranges.iter().map(|(first, last)| last - first + 1).sum::<u64>();
        Repair::Ask { source, ranges, is_graft: self.asked_for >= GRAFT_AFTER }
    }

    /// The member to ask next, and up to which number. Those that claim to have the latest may lack an earlier one, as they
    /// joined meanwhile, or may not be reachable from here. So if each was asked, so is the publisher, then in every second
    /// request any member. That is only for a gap that a later publication proves, or a claim would have all search for what
    /// does not exist.
    fn next_source(&mut self) -> Option<(Source, u64)> {
        let is_proved = !self.early.is_empty();
        let Asked { sources, others, .. } = self.asked;
        if is_proved && (self.sources.is_empty() || sources >= self.sources.len() + others) {
            self.asked.others += 1;
            let source = if others == 0 { Source::Publisher } else { Source::Anyone };
            return Some((source, self.highest()));
        }
        let (id, claimed) = self.sources.pop_front()?;
        // A member that does not answer is asked again after all others.
        self.sources.push_back((id, claimed));
        self.asked.sources += 1;
        Some((Source::Member(id), claimed))
    }

    /// The missing publications up to this one, the earliest first. If nothing has arrived from the member yet, that
    /// is only this one.
    fn lacking(&self, claimed: u64) -> Vec<(u64, u64)> {
        let Some(delivered) = self.delivered else {
            return vec![(claimed, claimed)];
        };
        let end = claimed.max(self.highest()).min(delivered.saturating_add(MAX_ASKED));
        self.gaps(delivered, end)
    }

    /// The first ranges after `delivered` and up to `end` of which nothing is there.
    fn gaps(&self, mut before: u64, end: u64) -> Vec<(u64, u64)> {
        let mut gaps = Vec::new();
        let there = self.early.keys().copied().take_while(|&sequence| sequence <= end);
        for sequence in there.chain([end.saturating_add(1)]) {
            if before < sequence - 1 && gaps.len() < MAX_RANGES {
                gaps.push((before + 1, sequence - 1));
            }
            before = sequence;
        }
        gaps
    }

    /// Gives up missing publications. Publications that others announced and did not send do not exist.
    pub(crate) fn give_up(&mut self) -> Delivery {
        (self.lacking_since, self.asked) = (None, Asked::default());
        let first = self.early.first_key_value().map(|(&first, _)| first);
        let Some((first, delivered)) = first.zip(self.delivered) else {
            self.sources.clear();
            return Delivery::default();
        };
        self.delivered = Some(first - 1);
        Delivery { missed: first - 1 - delivered, ..self.deliver() }
    }

    /// Takes what is in order.
    fn deliver(&mut self) -> Delivery {
        let mut ready = Vec::new();
        let next = |delivered: Option<u64>| delivered.unwrap_or(0).saturating_add(1);
        while let Some(arrived) = self.early.remove(&next(self.delivered)) {
            self.delivered = Some(next(self.delivered));
            ready.push(arrived);
        }
        Delivery { missed: 0, ready }
    }

    /// The subjects of this node to which it pushes at once what this member publishes: the first ones, except those that
    /// receive it sooner from others, and those that asked for it.
    pub(crate) fn branches<'a>(
        &'a self,
        subjects: &'a [MemberId],
        first: usize,
    ) -> impl Iterator<Item = MemberId> {
        let Edges { pruned, grafted } = &self.edges;
        let is_branch = move |(place, id): &(usize, MemberId)| {
            grafted.contains(id) || *place < first && !pruned.contains(id)
        };
        subjects.iter().copied().enumerate().filter(is_branch).map(|(_, id)| id)
    }

    /// A member receives it sooner from others.
    pub(crate) fn prune(&mut self, id: MemberId, subjects: &[MemberId]) {
        self.edges.grafted.remove(&id);
        self.edges.pruned.insert(id);
        self.edges.keep(subjects);
    }

    /// A member asked to receive it from here.
    pub(crate) fn graft(&mut self, id: MemberId, subjects: &[MemberId]) {
        self.edges.pruned.remove(&id);
        self.edges.grafted.insert(id);
        self.edges.keep(subjects);
    }
}

impl Edges {
    /// Nothing is pushed to others than the subjects, so nothing of others is remembered.
    fn keep(&mut self, subjects: &[MemberId]) {
        self.pruned.retain(|id| subjects.contains(id));
        self.grafted.retain(|id| subjects.contains(id));
    }
}

/// How many publications can wait for an earlier one. Beyond it, the earlier one is given up.
const MAX_EARLY: usize = 1_024;
/// How many numbers ahead are asked for at most.
const MAX_ASKED: u64 = 1_024;
/// In how many ranges.
const MAX_RANGES: usize = 16;
/// How many members are remembered to ask: twice the observers that a member has by default.
const MAX_SOURCES: usize = 16;
/// How many members are remembered that have the latest publication. Further ones receive an announcement that they do not need.
const MAX_HOLDERS: usize = 64;
/// After this many publications in a row that had to be requested, the source becomes a branch: the member that should
/// have pushed them does not.
const GRAFT_AFTER: u64 = 2;

#[cfg(test)]
mod tests;
