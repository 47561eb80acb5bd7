//! The rules by which publications spread.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::{
    Generation, Instant, MemberId, Message, Output, Peer, Route,
    ctx::Ctx,
    limit::Rate,
    member::list::MembershipList,
    publish::{
        Publishing,
        own::rates,
        publication::{Publication, PublishError, PublishRequest},
        publisher::{Arrived, Delivery, Patience, Publisher, Repair},
    },
    query::request::QueryHeader,
    step::{Step, Way},
    timers::Timer,
    wire::{Part, Payload, PublicationLine, PublicationRange},
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
        let id = publication.publisher;
        if !self.is_current(id, publication.generation) {
            self.ctx.stats.publications_of_unknown_runs += 1;
            return;
        }
        let known = self.own.publishers.get_mut(&id);
        if let Some(known) = known.filter(|known| known.has(publication.sequence)) {
            known.record_holder(from.id, publication.sequence);
            self.ctx.stats.publications_repeated += 1;
            self.note_query(Some(from), false, &arrived);
            if is_push {
                self.ctx.send(from, &Part::PublicationPrune(id));
            }
            return;
        }
        if !self.verify(from, publication) {
            return;
        }
        if is_push {
            self.publisher(publication).record_push();
        }
        self.accept(Some(from), arrived);
    }

    /// Whether this run of the member is the one in the list. The list comes first: what a newcomer publishes before this node
    /// knows it is asked for later.
    fn is_current(&self, id: MemberId, generation: Generation) -> bool {
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
        // What others say in its name costs the publisher nothing, or a liar could silence it.
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

    /// What is known of the publisher, of which something arrives for the first time perhaps.
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

    fn is_newcomer(&self) -> bool {
        self.ctx.now - self.own.alone_at < NEWCOMER_TIME
    }

    /// Passes a publication on to the branches of its publisher's tree.
    fn push(&mut self, from: Option<Peer>, arrived: &Arrived) {
        let id = arrived.publication.publisher;
        let subjects = self.subjects();
        let first = FANOUT + self.list.snapshot().live_len().max(1).ilog10() as usize;
        let Some(publisher) = self.own.publishers.get(&id) else {
            return;
        };
        let lacks_it = |other: &MemberId| {
            *other != id
                && from.is_none_or(|from| from.id != *other)
                && !publisher.is_holder(*other)
        };
        let branches: Vec<_> = publisher.branches(&subjects, first).filter(lacks_it).collect();
        let part = Part::Publication {
            is_push: true,
            hops: arrived.hops.saturating_add(u8::from(from.is_some())),
            publication: Arc::clone(&arrived.publication),
        };
        let payload = Payload::of(&part);
        for peer in branches.into_iter().filter_map(|id| self.list.peer(id)) {
            self.ctx.stats.publications_pushed += 1;
            self.ctx.send_stream(peer, payload.clone());
        }
    }

    /// The next members in all rings, those that are nearest first.
    fn subjects(&self) -> Vec<MemberId> {
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
        self.own.recent.expire(self.ctx.now);
        self.plan_expiry();
    }

    /// Hands publications to the application, in order, and says how many are missing before them.
    fn deliver(&mut self, from: MemberId, delivery: Delivery) {
        if delivery.missed > 0 {
            self.ctx.stats.publications_missed += delivery.missed;
            self.ctx.output(Output::MessagesMissed { from, count: delivery.missed });
        }
        for Arrived { publication, hops } in delivery.ready {
            let Publication { generation, sequence, ref content, .. } = *publication;
            if publication.query.is_some() || !content.filter.matches(self.list.me()) {
                continue;
            }
            let PublishRequest { topic, body, coalesce, filter: _ } = content.clone();
            let route = Route::Published { sequence, hops, coalesce };
            let message = Message { from, generation, topic, body, route };
            self.ctx.output(Output::Message(message));
        }
    }

    fn plan_announcement(&mut self) {
        if self.own.announce_at.is_none() {
            let at = self.ctx.now + self.ctx.params.prior_round_trip;
            self.own.announce_at = Some(at);
            self.ctx.timers.set(at, Timer::AnnouncePublications);
        }
    }

    /// Announces the latest publications to the subjects that may lack them.
    pub(crate) fn announce(&mut self) {
        self.own.announce_at = None;
        let ids: Vec<_> = std::mem::take(&mut self.own.unannounced).into_iter().collect();
        for peer in self.list.peers(self.subjects()) {
            self.announce_to(peer, &ids);
        }
    }

    fn announce_to(&mut self, peer: Peer, ids: &[MemberId]) {
        let known = ids.iter().filter_map(|&id| Some((id, self.own.publishers.get(&id)?)));
        let news = known.filter(|(id, known)| *id != peer.id && !known.is_holder(peer.id));
        let lines = news.map(|(publisher, known)| PublicationLine {
            publisher,
            generation: known.generation,
            sequence: known.highest(),
        });
        let lines: Vec<_> = lines.collect();
        for lines in lines.chunks(MAX_NEWS) {
            self.ctx.send(peer, &Part::PublicationNews(lines.to_vec()));
        }
    }

    /// A member is back or new: what is kept is announced to it.
    pub(crate) fn greet(&mut self, id: MemberId) {
        let is_subject = self.subjects().contains(&id);
        if let Some(peer) = self.list.peer(id).filter(|_| is_subject) {
            let ids: Vec<_> = self.own.recent.publishers().take(MAX_LINES).collect();
            self.announce_to(peer, &ids);
        }
    }

    /// A member announces publications that it has.
    pub(crate) fn handle_news(&mut self, from: Peer, lines: &[PublicationLine]) {
        // What is announced to a node that has just joined is old.
        let now = self.ctx.now;
        let is_greeting = now - self.own.alone_at < self.ctx.params.period;
        for &PublicationLine { publisher: id, generation, sequence } in lines.iter().take(MAX_LINES)
        {
            if id == self.list.me().id() || !self.is_current(id, generation) {
                continue;
            }
            let publishers = &mut self.own.publishers;
            if is_greeting && !publishers.contains_key(&id) {
                continue;
            }
            let known = publishers.entry(id).or_insert_with(|| Publisher::new(generation));
            match known.has(sequence) {
                true => known.record_holder(from.id, sequence),
                false => known.record_source(now, from.id, sequence),
            }
            self.plan_repair(id);
        }
    }

    /// Looks at what is lacking of a member's publications, soon.
    fn plan_repair(&mut self, id: MemberId) {
        if !self.own.publishers.get(&id).is_some_and(Publisher::is_lacking) {
            self.own.lacking.remove(&id);
            return;
        }
        let is_new = self.own.lacking.insert(id);
        if is_new || self.own.repair_at.is_none() {
            self.wake_for_repair(self.ctx.now + self.patience().first);
        }
    }

    fn wake_for_repair(&mut self, at: Instant) {
        if self.own.repair_at.is_none_or(|planned| at < planned) {
            self.own.repair_at = Some(at);
            self.ctx.timers.set(at, Timer::RepairPublications);
        }
    }

    /// News is announced about a round trip after the push; what was pushed to this node is then on its way.
    fn patience(&self) -> Patience {
        let round_trip = self.ctx.params.prior_round_trip;
        Patience {
            first: round_trip,
            next: round_trip * 3,
            last: (round_trip * 60).max(MIN_PATIENCE),
        }
    }

    /// Asks for what is lacking, and gives up what nobody sent.
    pub(crate) fn repair(&mut self) {
        let (now, patience) = (self.ctx.now, self.patience());
        if self.own.repair_at.is_none_or(|planned| now < planned) {
            return;
        }
        self.own.repair_at = None;
        let mut wanted: BTreeMap<MemberId, Vec<PublicationRange>> = BTreeMap::new();
        for id in self.own.lacking.clone() {
            let Some(publisher) = self.own.publishers.get_mut(&id) else {
                continue;
            };
            match publisher.repair(now, patience) {
                Repair::Nothing => _ = self.own.lacking.remove(&id),
                Repair::WaitUntil(at) => self.wake_for_repair(at),
                Repair::Ask { source, ranges, is_graft } => {
                    let generation = publisher.generation;
                    let ranges = ranges.into_iter().map(|(first, last)| PublicationRange {
                        publisher: id,
                        generation,
                        first,
                        last,
                        is_graft,
                    });
                    wanted.entry(source).or_default().extend(ranges);
                    self.wake_for_repair(now + patience.next);
                }
                Repair::GiveUp => self.give_up(id),
            }
        }
        self.ask(wanted);
    }

    fn ask(&mut self, wanted: BTreeMap<MemberId, Vec<PublicationRange>>) {
        for (source, ranges) in wanted {
            let Some(peer) = self.list.peer(source) else {
                continue;
            };
            self.ctx.stats.publications_requested += ranges.len() as u64;
            for ranges in ranges.chunks(MAX_LINES) {
                let payload = Payload::of(&Part::PublicationWant(ranges.to_vec()));
                self.ctx.send_fitting(peer, payload);
            }
        }
    }

    fn give_up(&mut self, id: MemberId) {
        let now = self.ctx.now;
        let Some(publisher) = self.own.publishers.get_mut(&id) else {
            return;
        };
        let delivery = publisher.give_up();
        publisher.review(now);
        self.deliver(id, delivery);
        self.plan_repair(id);
    }

    /// Sends the publications that a member asks for, as far as they are kept and fit into a page. It asks again for the rest.
    pub(crate) fn handle_want(&mut self, from: Peer, ranges: &[PublicationRange]) {
        if !self.own.budget.may_answer(self.ctx) {
            return;
        }
        let subjects = self.subjects();
        let mut payload = Payload::new();
        for range in ranges.iter().take(MAX_LINES) {
            let publishers = &mut self.own.publishers;
            let known = publishers.get_mut(&range.publisher);
            let Some(known) = known.filter(|known| known.generation == range.generation) else {
                continue;
            };
            if range.is_graft {
                known.graft(from.id, &subjects);
            }
            let kept = self.own.recent.range(range.publisher, (range.first, range.last));
            for Arrived { publication, hops } in kept {
                let (hops, publication) = (hops.saturating_add(1), Arc::clone(publication));
                let part = Part::Publication { is_push: false, hops, publication };
                if !payload.push_within(&part, MAX_PAGE_BYTES) {
                    break;
                }
            }
        }
        self.own.budget.spend(self.ctx.now, payload.len().max(MIN_COST_BYTES));
        if !payload.is_empty() {
            self.ctx.send_stream(from, payload);
        }
    }

    /// A member receives what this one publishes sooner from others.
    pub(crate) fn handle_prune(&mut self, from: Peer, id: MemberId) {
        let subjects = self.subjects();
        if let Some(publisher) = self.own.publishers.get_mut(&id) {
            publisher.prune(from.id, &subjects);
        }
    }
}

/// What a member may publish at a receiver: more than at itself, as what it published may arrive late and together.
const fn lenient(rate: Rate) -> Rate {
    Rate { at_once: rate.at_once * 4.0, per_second: rate.per_second * 2.0 }
}

/// To how many subjects publications are pushed at first, and to one more for each power of ten of the cluster's size.
const FANOUT: usize = 3;
/// How many publishers or ranges of a message are looked at.
const MAX_LINES: usize = 256;
/// How many publishers are announced in one datagram.
const MAX_NEWS: usize = 32;
/// The most bytes of an answer, unless a single publication is longer.
const MAX_PAGE_BYTES: usize = 1_024 * 1_024;
/// What an answer costs at least, however short.
const MIN_COST_BYTES: usize = 1_024;
/// Publications wait at least so long for one that comes earlier.
const MIN_PATIENCE: Duration = Duration::from_secs(3);
/// How long a node is new to a cluster: as long as publications are recent to each other.
const NEWCOMER_TIME: Duration = super::publication::RECENT;
/// How many publications are checked for each member that passes them on.
const CHECKS: Rate = Rate { at_once: 32_768.0, per_second: 16_384.0 };
/// What a publication with a wrong signature costs the member that sent it: no release passes any on.
const CHECKS_PER_FORGERY: f64 = 256.0;

#[cfg(test)]
mod tests;
