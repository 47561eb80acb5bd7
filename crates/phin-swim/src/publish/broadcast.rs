//! The rules by which publications spread.

use std::sync::Arc;

use crate::{
    Generation, MemberId, Output, Peer,
    ctx::Ctx,
    limit::Rate,
    member::list::MembershipList,
    publish::{
        Publishing,
        own::rates,
        publication::{Publication, PublishError, PublishRequest},
        publisher::{Arrived, Delivery, Publisher},
        recent::KEPT,
    },
    query::request::QueryHeader,
    step::{Step, Way},
    timers::Timer,
    wire::{Part, Payload},
};

/// The rules, with what they work on.
pub(crate) struct Broadcast<'a> {
    pub(crate) ctx: &'a mut Ctx,
    pub(crate) list: &'a MembershipList,
    pub(crate) own: &'a mut Publishing,
}

impl Broadcast<'_> {
    /// Publishes a message of this node. Returns its number.
    pub(crate) fn publish(&mut self, request: PublishRequest) -> Result<u64, PublishError> {
        request.check()?;
        self.own.own.take(self.ctx.now, &self.ctx.params, request.body.len())?;
        Ok(self.spread(request, None))
    }

    /// Spreads a message of this node that is within its limits. Returns its number.
    pub(crate) fn spread(&mut self, content: PublishRequest, query: Option<QueryHeader>) -> u64 {
        let me = self.list.me();
        let (id, generation) = (me.id(), me.generation());
        let (sequence, recent) = self.own.own.next(self.ctx.now);
        let numbers = (generation, sequence, recent);
        let publication = Publication::sign(id, numbers, (content, query), &*self.ctx.keys);
        self.ctx.stats.publications_sent += 1;
        self.own.publishers.entry(id).or_insert_with(|| Publisher::new(generation));
        self.accept(None, Arrived { publication: Arc::new(publication), hops: 0 });
        sequence
    }

    /// A publication arrives, pushed or asked for.
    pub(crate) fn handle_publication(&mut self, from: Peer, is_push: bool, arrived: Arrived) {
        let publication = &arrived.publication;
        if !self.is_current(publication.publisher, publication.generation) {
            self.ctx.stats.publications_of_unknown_runs += 1;
        } else if self.has(publication) {
            self.note_query(Some(from), false, &arrived);
            self.refuse_repeated(from, is_push, publication);
        } else if self.verify(from, publication) {
            if is_push {
                self.publisher(publication).record_push();
            }
            self.accept(Some(from), arrived);
        }
    }

    fn has(&self, publication: &Publication) -> bool {
        let known = self.own.publishers.get(&publication.publisher);
        known.is_some_and(|known| known.has(publication.sequence))
    }

    /// A publication arrives again: the sender need not push what this publisher publishes.
    fn refuse_repeated(&mut self, from: Peer, is_push: bool, publication: &Publication) {
        self.ctx.stats.publications_repeated += 1;
        self.publisher(publication).record_holder(from.id, publication.sequence);
        if is_push {
            self.ctx.send(from, &Part::PublicationPrune(publication.publisher));
        }
    }

    /// Whether this run of the member is the one in the list. The list comes first: what a newcomer publishes before this node
    /// knows it is asked for later.
    pub(super) fn is_current(&self, id: MemberId, generation: Generation) -> bool {
        self.list.get(id).is_some_and(|member| member.generation() == generation)
    }

    /// Whether a publication is its publisher's, and within what that may publish. The signature is checked last: it costs
    /// most.
    fn verify(&mut self, from: Peer, publication: &Publication) -> bool {
        let Some(publisher) = self.list.get(publication.publisher) else {
            return false;
        };
        let now = self.ctx.now;
        if publication.publisher == self.list.me().id()
            || !self.own.checks.take(now, from.id, CHECKS)
        {
            self.ctx.stats.publications_over_budget += 1;
            return false;
        }
        if !publication.is_authentic(&publisher.record().public_key(), &*self.ctx.keys) {
            self.ctx.stats.publications_forged += 1;
            let left = self.own.checks.left(now, from.id, CHECKS);
            *left = (*left - CHECKS_PER_FORGERY).max(0.0);
            return false;
        }
        // Publications that others attribute to the publisher are not charged to it, or a liar could silence it.
        let is_within = self.is_within_budget(publication);
        self.ctx.stats.publications_over_budget += u64::from(!is_within);
        is_within
    }

    /// Whether a member publishes no more than this node would, with room for what arrives late and together.
    fn is_within_budget(&mut self, publication: &Publication) -> bool {
        let (now, id) = (self.ctx.now, publication.publisher);
        let (numbers, bytes) = rates(&self.ctx.params);
        let cost = (publication.content.body.len() as f64).min(lenient(bytes).at_once);
        let has_bytes = *self.own.bytes.left(now, id, lenient(bytes)) >= cost;
        let is_within = has_bytes && self.own.numbers.take(now, id, lenient(numbers));
        if is_within {
            *self.own.bytes.left(now, id, lenient(bytes)) -= cost;
        }
        is_within
    }

    /// The state of a publisher from which something arrives, perhaps for the first time.
    fn publisher(&mut self, publication: &Publication) -> &mut Publisher {
        let id = publication.publisher;
        self.own.publishers.entry(id).or_insert_with(|| Publisher::new(publication.generation))
    }

    /// Takes in a verified publication: passes it on, and delivers what is in order.
    fn accept(&mut self, from: Option<Peer>, arrived: Arrived) {
        let publication = Arc::clone(&arrived.publication);
        let (now, id, sequence) = (self.ctx.now, publication.publisher, publication.sequence);
        // A newcomer receives nothing old; any other node has missed what it did not receive.
        let reach = if self.is_newcomer() { 0 } else { publication.recent.into() };
        let publisher = self.publisher(&publication);
        let delivery = publisher.arrive(now, arrived.clone(), reach);
        if let Some(from) = from {
            publisher.record_holder(from.id, sequence);
            publisher.record_source(now, from.id, sequence);
        }
        self.push(from, &arrived);
        self.note_query(from, true, &arrived);
        self.keep(arrived);
        self.deliver(id, delivery);
        self.plan_repair(id);
        self.own.unannounced.insert(id);
        self.plan_announcement();
    }

    /// A query is handled when it arrives: it does not wait for publications that are lacking.
    fn note_query(&mut self, from: Option<Peer>, is_new: bool, arrived: &Arrived) {
        let Arrived { publication, hops } = arrived.clone();
        if publication.query.is_some() {
            let way = from.map(|peer| Way { peer, hops });
            self.ctx.then(Step::Query { way, is_new, publication });
        }
    }

    /// Whether this node has just joined: what reaches it from a member of which it knows nothing may be old.
    pub(super) fn is_newcomer(&self) -> bool {
        self.ctx.now - self.own.alone_at < self.ctx.params.period
    }

    /// Passes a publication on to the branches of its publisher's tree.
    fn push(&mut self, from: Option<Peer>, arrived: &Arrived) {
        let payload = Payload::of(&Part::Publication {
            is_push: true,
            hops: arrived.hops.saturating_add(u8::from(from.is_some())),
            publication: Arc::clone(&arrived.publication),
        });
        let mut branches = self.branches(arrived.publication.publisher);
        branches.retain(|id| from.is_none_or(|from| from.id != *id));
        let publisher = self.publisher(&arrived.publication);
        branches.iter().for_each(|&id| publisher.record_sent(id, arrived.publication.sequence));
        for peer in self.list.peers(branches) {
            self.ctx.stats.publications_pushed += 1;
            self.ctx.send_stream(peer, payload.clone());
        }
    }

    /// The subjects to which this node pushes the latest publication of a member.
    fn branches(&mut self, id: MemberId) -> Vec<MemberId> {
        let (subjects, live_len) = (self.subjects(), self.list.snapshot().live_len());
        let first = FANOUT + live_len.max(1).ilog10() as usize;
        let Some(publisher) = self.own.publishers.get(&id) else {
            return Vec::new();
        };
        let branches = publisher.branches(&subjects, first);
        branches.filter(|other| *other != id && !publisher.is_holder(*other)).collect()
    }

    /// The next members in all rings, those that are nearest first.
    pub(super) fn subjects(&self) -> Vec<MemberId> {
        let (me, rings) = (self.list.me().id(), self.list.rings());
        let mut subjects = rings.subjects(me);
        if rings.are_complete() {
            // Everyone has all others, in one order: they start after this node, or nobody would push to the last ones.
            let next = rings.successor(0, me);
            let place = subjects.iter().position(|&id| Some(id) == next).unwrap_or(0);
            subjects.rotate_left(place);
        }
        subjects
    }

    fn keep(&mut self, arrived: Arrived) {
        let max_bytes = self.ctx.params.max_recent_publication_bytes;
        let evicted = self.own.recent.insert(self.ctx.now, arrived, max_bytes);
        self.ctx.stats.publications_evicted += evicted;
        if self.own.expire_at.is_none() {
            self.plan_expiry();
        }
    }

    fn plan_expiry(&mut self) {
        self.own.expire_at = self.own.recent.next_expiry();
        if let Some(at) = self.own.expire_at {
            self.ctx.timers.set(at, Timer::ExpirePublications);
        }
    }

    /// Forgets publications that are old.
    pub(crate) fn expire(&mut self) {
        let now = self.ctx.now;
        self.own.recent.expire(now);
        self.own.joined.retain(|_, at| *at + KEPT > now);
        self.plan_expiry();
    }

    /// Hands publications to the application, in order, and says how many are missing before them.
    pub(super) fn deliver(&mut self, from: MemberId, delivery: Delivery) {
        if delivery.missed > 0 {
            self.ctx.stats.publications_missed += delivery.missed;
            self.ctx.output(Output::MessagesMissed { from, count: delivery.missed });
        }
        let me = self.list.me();
        let is_for_me = |arrived: &&Arrived| arrived.publication.is_message_for(me);
        let messages = delivery.ready.iter().filter(is_for_me).map(Arrived::message);
        messages.for_each(|message| self.ctx.output(Output::Message(message)));
    }
}

/// The rate at which a receiver accepts a member's publications: higher than the publisher's own limit, as
/// publications may arrive late and together.
const fn lenient(rate: Rate) -> Rate {
    Rate { at_once: rate.at_once * 4.0, per_second: rate.per_second * 2.0 }
}

/// The number of subjects to which publications are pushed at first, plus one for each power of ten of the cluster's
/// size.
const FANOUT: usize = 3;
/// How many publications are checked for each member that passes them on.
const CHECKS: Rate = Rate { at_once: 32_768.0, per_second: 16_384.0 };
/// The cost of a publication with a wrong signature, charged to its sender: no release passes any on.
const CHECKS_PER_FORGERY: f64 = 256.0;

#[cfg(test)]
mod tests;
