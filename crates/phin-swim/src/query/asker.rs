//! The rules of the node that asks: whom it asks, and what became of each.

use std::collections::BTreeMap;

use rand::seq::SliceRandom;

use crate::{
    Filter, Generation, MemberId, MemberState, Output, Peer, QueryId, QueryOutcome, Select,
    ctx::Ctx,
    limit::Rate,
    member::{list::MembershipList, transition::Transition},
    query::{
        Queries,
        reply::Reply,
        request::{QueryError, QueryHeader, QueryKey, QueryRequest},
    },
    step::Step,
    timers::Timer,
    wire::{Part, Payload, QueryAsk, QueryReplies},
};

/// The rules, with what they work on.
pub(crate) struct Asker<'a> {
    pub(crate) ctx: &'a mut Ctx,
    pub(crate) list: &'a MembershipList,
    pub(crate) own: &'a mut Queries,
}

/// The members that are asked, each in its present run.
type Expected = BTreeMap<MemberId, Generation>;

impl Asker<'_> {
    /// The members that a query is for, this node perhaps among them.
    ///
    /// # Errors
    /// No node can ask this, or this one asks too much.
    pub(crate) fn expect(&mut self, request: &QueryRequest) -> Result<Expected, QueryError> {
        request.check()?;
        if self.own.own.len() >= MAX_QUERIES {
            return Err(QueryError::TooMany);
        }
        let mut all = self.matching(&request.filter);
        Ok(match request.select {
            Select::Sample(many) => {
                all.partial_shuffle(&mut self.ctx.rng, many).0.iter().copied().collect()
            }
            Select::All | Select::First(_) => all.into_iter().collect(),
        })
    }

    /// The live members that this filter selects, each with its generation.
    fn matching(&self, filter: &Filter) -> Vec<(MemberId, Generation)> {
        let live = self.list.snapshot().live();
        let matching = live.filter(|member| filter.matches(member));
        matching.map(|member| (member.id(), member.generation())).collect()
    }

    /// Asks these members: a few directly, more along the tree of what this node publishes.
    pub(crate) fn ask(&mut self, request: &QueryRequest, expected: Expected) -> QueryId {
        let (now, me) = (self.ctx.now, self.list.me());
        let run = (me.id(), me.generation());
        let asked = self.own.own.open(now, run, request, expected.clone());
        let (key, deadline) = (asked.key, asked.deadline);
        self.ctx.stats.queries_sent += 1;
        self.ctx.timers.set(deadline, Timer::QueryOver(key));
        match expected.len() {
            0 => _ = self.end(key.id),
            1..=MAX_DIRECT => self.ask_each(key.id, request, expected),
            _ => self.publish(key.id, request, expected),
        }
        key.id
    }

    fn ask_each(&mut self, id: QueryId, request: &QueryRequest, expected: Expected) {
        let generation = self.list.me().generation();
        for (member, to_generation) in expected {
            let QueryRequest { topic, body, timeout: within, .. } = request.clone();
            let ask = QueryAsk { id, generation, to_generation, within, topic, body };
            if let Some(to) = self.list.peer(member) {
                self.ask_one(to, Box::new(ask));
            }
        }
    }

    fn ask_one(&mut self, to: Peer, ask: Box<QueryAsk>) {
        match to.id == self.list.me().id() {
            true => self.ctx.then(Step::AskMyself { me: to, ask }),
            false => self.ctx.send_stream(to, Payload::of(&Part::QueryAsk(ask))),
        }
    }

    fn publish(&mut self, id: QueryId, request: &QueryRequest, expected: Expected) {
        let targets = match request.select {
            Select::Sample(_) => expected.into_keys().collect(),
            Select::All | Select::First(_) => Vec::new(),
        };
        let header = QueryHeader { id, within: request.timeout, targets };
        self.ctx.then(Step::PublishQuery { content: request.content(), header });
    }

    /// Answers to a query of this node arrive from one of those that it asked, or from one that passes them on.
    pub(crate) fn handle_replies(&mut self, from: Peer, replies: QueryReplies) {
        let QueryReplies { key, replies } = replies;
        for reply in replies {
            if self.is_awaited(key, &reply) && self.is_authentic(from.id, key, &reply) {
                self.settle(key.id, reply.from, reply.answer.into());
            }
        }
    }

    fn is_awaited(&mut self, key: QueryKey, reply: &Reply) -> bool {
        let asked = self.own.own.get(key.id).filter(|asked| asked.key == key);
        let is_awaited = asked.is_some_and(|asked| asked.awaits(reply.from, reply.generation));
        self.ctx.stats.query_replies_ignored += u64::from(!is_awaited);
        is_awaited
    }

    /// Whether an answer is that of its member. The signature is checked last: it costs most. A forgery costs the one that
    /// passed it on no more than any answer: it did not check the signature, and may be honest.
    fn is_authentic(&mut self, via: MemberId, key: QueryKey, reply: &Reply) -> bool {
        let Some(member) = self.list.get(reply.from) else {
            return false;
        };
        if !self.own.checks.take(self.ctx.now, via, CHECKS) {
            self.ctx.stats.query_replies_over_budget += 1;
            return false;
        }
        let is_authentic = reply.is_authentic(key, &member.record().public_key(), &*self.ctx.keys);
        self.ctx.stats.query_replies_forged += u64::from(!is_authentic);
        is_authentic
    }

    /// A member has an outcome, if it is still waited for. The last one that is waited for ends the query.
    fn settle(&mut self, id: QueryId, member: MemberId, outcome: QueryOutcome) {
        let Some(asked) = self.own.own.get_mut(id) else {
            return;
        };
        if let Some(outcome) = asked.settle(member, outcome) {
            let is_over = asked.is_over();
            let is_over_limit = outcome == QueryOutcome::OverLimit;
            self.ctx.stats.query_replies_over_limit += u64::from(is_over_limit);
            self.ctx.output(Output::QueryOutcome { id, member, outcome });
            if is_over {
                self.end(id);
            }
        }
    }

    /// A change of a member: the one that was asked may be able to reply no more.
    pub(crate) fn follow(&mut self, transition: &Transition) {
        let member = transition.id();
        for (id, asked) in self.own.own.waiting_for(member) {
            if let Some(outcome) = end_of_run(transition, asked) {
                self.settle(id, member, outcome);
            }
        }
    }

    /// The time of a query is over.
    pub(crate) fn time_out(&mut self, key: QueryKey) {
        let asked = self.own.own.get(key.id).filter(|asked| asked.key == key);
        let Some(asked) = asked else {
            return;
        };
        for member in asked.pending() {
            let outcome = QueryOutcome::TimedOut;
            self.ctx.output(Output::QueryOutcome { id: key.id, member, outcome });
        }
        self.end(key.id);
    }

    /// Ends a query of this node. Returns whether it was under way.
    pub(crate) fn end(&mut self, id: QueryId) -> bool {
        let Some(asked) = self.own.own.remove(id) else {
            return false;
        };
        self.own.known.remove(asked.key);
        self.ctx.timers.cancel(self.ctx.now, asked.deadline, Timer::QueryOver(asked.key));
        self.ctx.output(Output::QueryEnded { id });
        true
    }
}

/// The effect of a change of a member on a query to this run of it.
fn end_of_run(transition: &Transition, asked: Generation) -> Option<QueryOutcome> {
    let after = &transition.after;
    if !transition.is_me && after.generation() > asked {
        return Some(QueryOutcome::Restarted);
    }
    match after.state() {
        MemberState::Left => Some(QueryOutcome::Left),
        MemberState::Dead => Some(QueryOutcome::Dead),
        MemberState::Alive | MemberState::Suspect => None,
    }
}

/// How many queries of a node may be under way at once.
pub(crate) const MAX_QUERIES: usize = 64;
/// How many members are asked directly.
pub(crate) const MAX_DIRECT: usize = 16;
/// How many signatures are checked for each member that answers or passes answers on.
const CHECKS: Rate = Rate { at_once: 16_384.0, per_second: 2_048.0 };

#[cfg(test)]
mod tests;
