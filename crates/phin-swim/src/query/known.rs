//! [`Known`]: the queries that reached this node: where their answers go, and which went there.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    Generation, Instant, MemberId, Peer, ReplyError,
    query::{
        reply::Reply,
        request::{QueryId, QueryKey},
    },
    step::Way,
};

/// The queries that reached this node, until their time is over; at most [`MAX_KNOWN`].
#[derive(Debug, Default)]
pub(crate) struct Known {
    queries: BTreeMap<QueryKey, Passing>,
    /// The size of the replies that are kept in case the member that received them dies.
    kept_bytes: usize,
}

/// A query, as it passes through this node.
#[derive(Debug)]
pub(crate) struct Passing {
    arrived_at: Instant,
    pub(crate) deadline: Instant,
    /// The members that passed it on to this one, in the order in which they did; at most [`MAX_WAYS`].
    ways: Vec<Way>,
    /// Whether this node's application is to answer.
    turn: Turn,
    /// Replies to be passed on.
    waiting: Vec<Reply>,
    waiting_bytes: usize,
    /// When it is.
    pub(crate) pass_at: Option<Instant>,
    /// The members whose answers arrived, and the members that sent them.
    passed: BTreeSet<(MemberId, MemberId)>,
    /// The answers that went to each member.
    sent: BTreeMap<MemberId, Vec<Reply>>,
}

/// The part of this node's application in a query.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Turn {
    /// It is not asked.
    Others,
    /// It has not answered yet.
    Asked,
    Answered,
}

impl Known {
    /// A query arrived. Returns those that are dropped for it.
    pub(crate) fn insert(
        &mut self,
        key: QueryKey,
        me: MemberId,
        query: Passing,
    ) -> Vec<(QueryKey, Instant)> {
        let evicted: Vec<_> = self.victim(key, me).into_iter().collect();
        let ended = evicted.iter().filter_map(|key| Some((*key, self.remove(*key)?.deadline)));
        let ended = ended.collect();
        self.queries.insert(key, query);
        ended
    }

    /// The query that is dropped for this one, if there are too many: the first one of the same member, or the oldest.
    /// Queries of this node stay.
    fn victim(&self, key: QueryKey, me: MemberId) -> Option<QueryKey> {
        let first = QueryKey { generation: Generation(0), id: QueryId(0), ..key };
        let mut of_caller = self.queries.range(first..).map(|(key, _)| *key);
        let of_caller = of_caller.by_ref().take_while(|other| other.caller == key.caller);
        let of_caller: Vec<_> = of_caller.take(MAX_KNOWN_OF_ONE).collect();
        if of_caller.len() == MAX_KNOWN_OF_ONE {
            return of_caller.first().copied();
        }
        if self.queries.len() < MAX_KNOWN {
            return None;
        }
        let others = self.queries.iter().filter(|(key, _)| key.caller != me);
        others.min_by_key(|(_, query)| query.arrived_at).map(|(key, _)| *key)
    }

    pub(crate) fn get(&self, key: QueryKey) -> Option<&Passing> {
        self.queries.get(&key)
    }

    pub(crate) fn get_mut(&mut self, key: QueryKey) -> Option<&mut Passing> {
        self.queries.get_mut(&key)
    }

    pub(crate) fn remove(&mut self, key: QueryKey) -> Option<Passing> {
        let query = self.queries.remove(&key)?;
        self.kept_bytes -= query.kept_bytes();
        Some(query)
    }

    /// Forgets what a member asked.
    pub(crate) fn forget(&mut self, caller: MemberId) -> Vec<(QueryKey, Instant)> {
        let keys = self.queries.keys().filter(|key| key.caller == caller);
        let keys: Vec<_> = keys.copied().collect();
        keys.into_iter().filter_map(|key| Some((key, self.remove(key)?.deadline))).collect()
    }

    /// Keeps answers that went to a member. Returns how many are not kept, because there are too many.
    pub(crate) fn keep(&mut self, key: QueryKey, to: MemberId, replies: Vec<Reply>) -> u64 {
        let bytes: usize = replies.iter().map(Reply::bytes).sum();
        let Some(query) = self.queries.get_mut(&key) else {
            return 0;
        };
        if self.kept_bytes + bytes > MAX_KEPT_BYTES {
            return replies.len() as u64;
        }
        self.kept_bytes += bytes;
        query.sent.entry(to).or_default().extend(replies);
        0
    }

    /// Answers that went to this member wait again, to go to another. Returns of which queries.
    pub(crate) fn take_back(&mut self, from: MemberId) -> Vec<QueryKey> {
        let mut keys = Vec::new();
        for (&key, query) in &mut self.queries {
            let Some(replies) = query.sent.remove(&from) else {
                continue;
            };
            self.kept_bytes -= replies.iter().map(Reply::bytes).sum::<usize>();
            replies.into_iter().for_each(|reply| _ = query.push(reply));
            keys.push(key);
        }
        keys
    }
}

impl Passing {
    pub(crate) fn new(now: Instant, deadline: Instant, way: Option<Way>, turn: Turn) -> Self {
        Self {
            arrived_at: now,
            deadline,
            ways: Vec::from_iter(way),
            turn,
            waiting: Vec::new(),
            waiting_bytes: 0,
            pass_at: None,
            passed: BTreeSet::new(),
            sent: BTreeMap::new(),
        }
    }

    /// Another member passed it on, too.
    pub(crate) fn record_way(&mut self, way: Way) {
        if self.ways.len() < MAX_WAYS && self.ways.iter().all(|w| w.peer.id != way.peer.id) {
            self.ways.push(way);
        }
    }

    /// Where answers go: to the members that passed it on and are nearer to the one that asks than this node is, so that no
    /// answer comes back.
    pub(crate) fn ways(&self) -> impl Iterator<Item = Peer> {
        let nearest = self.ways.first().map(|way| way.hops);
        self.ways.iter().filter(move |way| Some(way.hops) <= nearest).map(|way| way.peer)
    }

    /// This node's application answers.
    ///
    /// # Errors
    /// It is not asked, did so before, or comes too late.
    pub(crate) fn answer(&mut self, now: Instant) -> Result<(), ReplyError> {
        match self.turn {
            Turn::Answered => Err(ReplyError::Answered),
            Turn::Asked if now < self.deadline => {
                self.turn = Turn::Answered;
                Ok(())
            }
            Turn::Asked | Turn::Others => Err(ReplyError::Over),
        }
    }

    /// Whether an answer of one member comes from another for the first time. A member that invents answers of others does
    /// not keep those from passing that come from elsewhere.
    pub(crate) fn is_first(&mut self, via: MemberId, of: MemberId, max: usize) -> bool {
        self.passed.len() < max && self.passed.insert((via, of))
    }

    /// An answer is to be passed on. Returns what waits now, in bytes.
    pub(crate) fn push(&mut self, reply: Reply) -> usize {
        self.waiting_bytes += reply.bytes();
        self.waiting.push(reply);
        self.waiting_bytes
    }

    /// Takes what is to be passed on.
    pub(crate) fn take(&mut self) -> Vec<Reply> {
        (self.waiting_bytes, self.pass_at) = (0, None);
        std::mem::take(&mut self.waiting)
    }

    fn kept_bytes(&self) -> usize {
        self.sent.values().flatten().map(Reply::bytes).sum()
    }
}

/// How many queries are known at once. Beyond it, the oldest is forgotten: its answers no longer pass through this node.
const MAX_KNOWN: usize = 4_096;
/// How many of one member. It has fewer under way, but those that ended early are known until their time is over.
const MAX_KNOWN_OF_ONE: usize = 512;
/// How many members are remembered that passed a query on.
const MAX_WAYS: usize = 4;
/// The size of the answers that are kept. Further ones are passed on and not kept: they are lost if the next member
/// dies with them.
const MAX_KEPT_BYTES: usize = 16 * 1_024 * 1_024;

#[cfg(test)]
mod tests;
