//! [`Own`]: the queries of this node, and the members that each waits for.

use std::collections::BTreeMap;

use crate::{
    Generation, Instant, MemberId, QueryId, QueryOutcome, Select,
    query::request::{QueryKey, QueryRequest},
};

/// The queries of this node that are under way; at most [`MAX_QUERIES`](crate::Swim::MAX_QUERIES).
#[derive(Debug, Default)]
pub(crate) struct Own {
    last: QueryId,
    asked: BTreeMap<QueryId, Asked>,
}

/// A query of this node.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) key: QueryKey,
    pub(crate) deadline: Instant,
    /// The members without an outcome, in the run that was asked.
    pending: BTreeMap<MemberId, Generation>,
    /// How many replies are still wanted.
    wanted: usize,
    /// How many bytes replies may still have.
    room: usize,
}

impl Own {
    pub(crate) fn len(&self) -> usize {
        self.asked.len()
    }

    /// Begins a query to these members.
    pub(crate) fn open(
        &mut self,
        now: Instant,
        (caller, generation): (MemberId, Generation),
        request: &QueryRequest,
        expected: BTreeMap<MemberId, Generation>,
    ) -> &Asked {
        self.last.0 += 1;
        let id = self.last;
        let wanted = match request.select {
            Select::First(many) => many,
            Select::All | Select::Sample(_) => usize::MAX,
        };
        let asked = Asked {
            key: QueryKey { caller, generation, id },
            deadline: now + request.timeout,
            pending: expected,
            wanted,
            room: QueryOutcome::MAX_BYTES,
        };
        self.asked.entry(id).or_insert(asked)
    }

    pub(crate) fn get(&self, id: QueryId) -> Option<&Asked> {
        self.asked.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: QueryId) -> Option<&mut Asked> {
        self.asked.get_mut(&id)
    }

    pub(crate) fn remove(&mut self, id: QueryId) -> Option<Asked> {
        self.asked.remove(&id)
    }

    /// The queries that wait for a member, and for which run of it.
    pub(crate) fn waiting_for(&self, member: MemberId) -> Vec<(QueryId, Generation)> {
        let of = |(&id, asked): (&QueryId, &Asked)| Some((id, *asked.pending.get(&member)?));
        self.asked.iter().filter_map(of).collect()
    }
}

impl Asked {
    /// Whether the answer of this run of a member is waited for.
    pub(crate) fn awaits(&self, member: MemberId, generation: Generation) -> bool {
        self.pending.get(&member) == Some(&generation)
    }

    /// Waits no longer for a member. `None` if it is not waited for.
    pub(crate) fn settle(
        &mut self,
        member: MemberId,
        outcome: QueryOutcome,
    ) -> Option<QueryOutcome> {
        self.pending.remove(&member)?;
        let QueryOutcome::Reply(body) = &outcome else {
            return Some(outcome);
        };
        let Some(room) = self.room.checked_sub(body.len()) else {
            return Some(QueryOutcome::OverLimit);
        };
        self.room = room;
        self.wanted -= 1;
        Some(outcome)
    }

    /// Whether there is nothing more to wait for.
    pub(crate) fn is_over(&self) -> bool {
        self.pending.is_empty() || self.wanted == 0
    }

    /// The members without an outcome.
    pub(crate) fn pending(&self) -> impl Iterator<Item = MemberId> {
        self.pending.keys().copied()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::testing::{at, peer};

    fn asked(select: Select, members: u8) -> Asked {
        let mut request = QueryRequest::new("t".parse().unwrap(), b"".as_slice());
        (request.select, request.timeout) = (select, Duration::from_secs(1));
        let expected = (1..=members).map(|node| (peer(node).id, Generation(0))).collect();
        let mut own = Own::default();
        let id = own.open(at(0), (peer(0).id, Generation(0)), &request, expected).key.id;
        own.remove(id).unwrap()
    }

    fn reply(bytes: usize) -> QueryOutcome {
        QueryOutcome::Reply(vec![0; bytes].into())
    }

    #[test]
    fn each_member_has_one_outcome() {
        let mut asked = asked(Select::All, 2);
        assert_eq!(asked.settle(peer(1).id, reply(3)), Some(reply(3)));
        assert_eq!(asked.settle(peer(1).id, QueryOutcome::Dead), None);
        assert_eq!(asked.settle(peer(9).id, reply(3)), None, "it was not asked");
        assert!(!asked.is_over());
        assert_eq!(asked.settle(peer(2).id, QueryOutcome::Left), Some(QueryOutcome::Left));
        assert!(asked.is_over());
    }

    #[test]
    fn only_replies_count_among_the_first() {
        let mut asked = asked(Select::First(2), 9);
        asked.settle(peer(1).id, QueryOutcome::Refused);
        asked.settle(peer(2).id, reply(0));
        assert!(!asked.is_over());
        asked.settle(peer(3).id, reply(0));
        assert!(asked.is_over());
    }

    #[test]
    fn replies_beyond_the_limit_are_dropped_and_shorter_ones_are_not() {
        let mut asked = asked(Select::All, 4);
        let most = QueryOutcome::MAX_BYTES - 1;
        assert_eq!(asked.settle(peer(1).id, reply(most)), Some(reply(most)));
        assert_eq!(asked.settle(peer(2).id, reply(2)), Some(QueryOutcome::OverLimit));
        assert_eq!(asked.settle(peer(3).id, reply(1)), Some(reply(1)));
        assert_eq!(asked.settle(peer(4).id, QueryOutcome::Busy), Some(QueryOutcome::Busy));
        assert!(asked.is_over());
    }
}
