//! The rules of a member that a query reaches: it asks its application, and passes answers on, its own and those of others.

use std::{sync::Arc, time::Duration};

use crate::{
    Generation, MemberId, MemberState, Output, Peer, QueryAnswer, QueryToken, ReplyError, Topic,
    ctx::Ctx,
    limit::Rate,
    link::Links,
    member::{list::MembershipList, transition::Transition},
    publish::publication::Publication,
    query::{
        Queries,
        known::{Passing, Turn},
        reply::{Reply, batches},
        request::QueryKey,
    },
    step::{Step, Way},
    timers::Timer,
    wire::{Part, Payload, QueryAsk, QueryReplies},
};

/// The rules, with what they work on.
pub(crate) struct Replier<'a> {
    pub(crate) ctx: &'a mut Ctx,
    pub(crate) list: &'a MembershipList,
    pub(crate) links: &'a Links,
    pub(crate) own: &'a mut Queries,
}

/// A query that arrives.
struct Arrival {
    key: QueryKey,
    within: Duration,
    way: Option<Way>,
    /// `None` if only others are asked.
    question: Option<(Topic, Arc<[u8]>)>,
}

impl Replier<'_> {
    /// A member asks this one alone.
    pub(crate) fn handle_ask(&mut self, from: Peer, ask: QueryAsk) {
        let QueryAsk { id, generation, to_generation, within, topic, body } = ask;
        let is_for_me = to_generation == self.list.me().generation();
        if !is_for_me || !self.list.is_current(from.id, generation) {
            self.ctx.stats.queries_of_other_runs += 1;
        } else if self.may_ask(from.id) {
            let key = QueryKey { caller: from.id, generation, id };
            let way = Some(Way { peer: from, hops: 0 });
            self.arrive(Arrival { key, within, way, question: Some((topic, body)) });
        }
    }

    fn may_ask(&mut self, id: MemberId) -> bool {
        let may_ask = id == self.me().0 || self.own.asks.take(self.ctx.now, id, ASKS);
        self.ctx.stats.queries_over_budget += u64::from(!may_ask);
        may_ask
    }

    /// A query was published, and arrived by this way. Its signature is checked already.
    pub(crate) fn handle_published(&mut self, way: Option<Way>, publication: &Publication) {
        let Publication { content, query, .. } = publication;
        let Some((key, query)) = key_of(publication).zip(query.as_ref()) else {
            return;
        };
        let is_target = query.targets.is_empty() || query.targets.contains(&self.me().0);
        let is_asked = is_target && content.filter.matches(self.list.me());
        let question = is_asked.then(|| (content.topic.clone(), Arc::clone(&content.body)));
        self.arrive(Arrival { key, within: query.within, way, question });
    }

    /// A query that was published arrived once more, by another way. It is not verified, so nothing new is believed.
    pub(crate) fn handle_repeated(&mut self, way: Option<Way>, publication: &Publication) {
        let known = key_of(publication).and_then(|key| self.own.known.get_mut(key));
        if let Some((query, way)) = known.zip(way) {
            query.record_way(way);
        }
    }

    fn arrive(&mut self, arrival: Arrival) {
        let Arrival { key, within, way, question } = arrival;
        if self.own.known.get(key).is_some() {
            return;
        }
        let turn = if question.is_some() { Turn::Asked } else { Turn::Others };
        self.remember(key, Passing::new(self.ctx.now, self.ctx.now + within, way, turn));
        if let Some((topic, body)) = question {
            let (from, generation) = (key.caller, key.generation);
            let (token, remaining) = (QueryToken(key), within);
            self.ctx.output(Output::Query { token, from, generation, topic, body, remaining });
        }
    }

    fn remember(&mut self, key: QueryKey, query: Passing) {
        self.ctx.timers.set(query.deadline, Timer::QueryOver(key));
        let evicted = self.own.known.insert(key, self.me().0, query);
        self.ctx.stats.queries_evicted += evicted.len() as u64;
        self.cancel(evicted);
    }

    fn cancel(&mut self, ended: Vec<(QueryKey, crate::Instant)>) {
        for (key, deadline) in ended {
            self.ctx.timers.cancel(self.ctx.now, deadline, Timer::QueryOver(key));
        }
    }

    /// This node's application answers.
    ///
    /// # Errors
    /// The answer is too long, too late, or not the first.
    pub(crate) fn answer(
        &mut self,
        token: QueryToken,
        answer: QueryAnswer,
    ) -> Result<(), ReplyError> {
        answer.check()?;
        let (now, key, me) = (self.ctx.now, token.0, self.me());
        let query = self.own.known.get_mut(key).ok_or(ReplyError::Over)?;
        query.answer(now)?;
        let reply = Reply::sign(key, me, answer, &*self.ctx.keys);
        self.ctx.stats.query_replies_sent += 1;
        query.push(reply);
        // Answers of others that wait go along.
        self.pass_on(key);
        Ok(())
    }

    /// Answers of other members arrive, to be passed on.
    pub(crate) fn handle_replies(&mut self, from: Peer, replies: QueryReplies) {
        let QueryReplies { key, replies } = replies;
        for reply in replies {
            if self.is_passed_on(from.id, key, &reply) {
                self.ctx.stats.query_replies_passed += 1;
                self.queue(key, reply);
            }
        }
    }

    /// Whether an answer is passed on. Its signature is not checked here: the member that asked does that.
    fn is_passed_on(&mut self, via: MemberId, key: QueryKey, reply: &Reply) -> bool {
        let max = self.list.snapshot().live_len() * MAX_PASSED_PER_MEMBER;
        let query = self.own.known.get_mut(key);
        if !query.is_some_and(|query| query.is_first(via, reply.from, max)) {
            self.ctx.stats.query_replies_ignored += 1;
            return false;
        }
        let (left, cost) = (self.own.bytes.left(self.ctx.now, via, BYTES), reply.bytes() as f64);
        let is_within = *left >= cost;
        *left -= if is_within { cost } else { 0.0 };
        self.ctx.stats.query_replies_over_budget += u64::from(!is_within);
        is_within
    }

    /// Has an answer passed on, together with those that arrive shortly after it.
    fn queue(&mut self, key: QueryKey, reply: Reply) {
        let pass_at = self.ctx.now + self.ctx.params.push_delay;
        let Some(query) = self.own.known.get_mut(key) else {
            return;
        };
        if query.push(reply) >= MAX_BATCH_BYTES {
            self.pass_on(key);
        } else if query.pass_at.is_none() {
            query.pass_at = Some(pass_at);
            self.ctx.timers.set(pass_at, Timer::PassReplies(key));
        }
    }

    /// Answers have waited for others.
    pub(crate) fn handle_pass_timer(&mut self, key: QueryKey) {
        let pass_at = self.own.known.get(key).and_then(|query| query.pass_at);
        if pass_at.is_some_and(|at| at <= self.ctx.now) {
            self.pass_on(key);
        }
    }

    /// Passes on what waits.
    fn pass_on(&mut self, key: QueryKey) {
        let way = self.way_back(key);
        let replies = self.own.known.get_mut(key).map(Passing::take).unwrap_or_default();
        let Some(to) = way else {
            return;
        };
        for replies in batches(replies, MAX_BATCH_BYTES) {
            self.send(to, QueryReplies { key, replies });
        }
    }

    fn send(&mut self, to: Peer, replies: QueryReplies) {
        let key = replies.key;
        if to.id == self.me().0 {
            return self.ctx.then(Step::OwnReplies { me: to, replies: Box::new(replies) });
        }
        let part = Part::QueryReplies(Box::new(replies));
        self.ctx.send_stream(to, Payload::of(&part));
        if let Part::QueryReplies(replies) = part {
            self.keep(key, to.id, *replies);
        }
    }

    /// Keeps what a member was sent that passes it on, in case that dies. If the member that asked dies, nobody needs it.
    fn keep(&mut self, key: QueryKey, via: MemberId, replies: QueryReplies) {
        if via != key.caller {
            self.ctx.stats.query_replies_not_kept += self.own.known.keep(key, via, replies.replies);
        }
    }

    /// Where answers go: to the member that asked, if a connection to it is open, else to one that passed the query on. So a
    /// query to all does not open a connection to each.
    fn way_back(&self, key: QueryKey) -> Option<Peer> {
        let ways = || self.own.known.get(key).into_iter().flat_map(Passing::ways);
        let caller = self.list.peer(key.caller);
        let caller = caller.or_else(|| ways().find(|peer| peer.id == key.caller));
        if self.links.is_connected(key.caller) {
            return caller;
        }
        let alive = ways().find(|peer| self.list.is_alive(peer.id));
        let live = || ways().find(|peer| self.list.live(peer.id).is_some());
        alive.or_else(live).or(caller)
    }

    /// A change of a member: what went to it may not have gone on, and nobody waits for what an earlier run asked.
    pub(crate) fn follow(&mut self, transition: &Transition) {
        if transition.is_me || !(transition.ends_run() || transition.is_forgotten()) {
            return;
        }
        let id = transition.id();
        // One that was declared dead by mistake still waits.
        if transition.after.state() != MemberState::Dead || transition.is_restart() {
            let ended = self.own.known.forget(id);
            self.cancel(ended);
        }
        for key in self.own.known.take_back(id) {
            self.pass_on(key);
        }
    }

    fn me(&self) -> (MemberId, Generation) {
        let me = self.list.me();
        (me.id(), me.generation())
    }
}

/// Which query a publication is, if it is one.
fn key_of(publication: &Publication) -> Option<QueryKey> {
    let Publication { publisher: caller, generation, ref query, .. } = *publication;
    Some(QueryKey { caller, generation, id: query.as_ref()?.id })
}

/// How many queries a member may send to this one alone.
const ASKS: Rate = Rate { at_once: 1_024.0, per_second: 512.0 };
/// The answers that a member may have passed on here, in bytes.
const BYTES: Rate = Rate { at_once: 32.0 * 1_024.0 * 1_024.0, per_second: 8.0 * 1_024.0 * 1_024.0 };
/// How many answers of each member pass at most, on average: each comes by one way, or by two if a member dies.
const MAX_PASSED_PER_MEMBER: usize = 4;
/// Answers that wait are passed on together, at the latest when they have so many bytes.
const MAX_BATCH_BYTES: usize = 16 * 1_024;

#[cfg(test)]
mod tests;
