//! How publications that did not come by themselves are found, asked for, sent again, and in the end given up.

use std::{collections::BTreeMap, iter, time::Duration};

use rand::RngExt;

use crate::{
    Instant, MemberId, Peer,
    limit::Rate,
    publish::{
        broadcast::Broadcast,
        publisher::{Arrived, Patience, Publisher, Repair, Source},
    },
    timers::Timer,
    wire::{Part, Payload, PublicationLine, PublicationRange},
};

/// A request, and the member that receives it.
type Wanted = BTreeMap<MemberId, Vec<PublicationRange>>;

impl Broadcast<'_> {
    pub(super) fn plan_announcement(&mut self) {
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
        let lines: Vec<_> = self.news_for(peer.id, ids.iter().copied()).collect();
        for lines in lines.chunks(MAX_NEWS) {
            self.ctx.send(peer, &Part::PublicationNews(lines.to_vec()));
        }
    }

    /// The latest publications of these members, as far as this one may lack them.
    fn news_for(
        &self,
        id: MemberId,
        publishers: impl Iterator<Item = MemberId>,
    ) -> impl Iterator<Item = PublicationLine> {
        let known = publishers.filter_map(|id| Some((id, self.own.publishers.get(&id)?)));
        let news = known.filter(move |(publisher, known)| *publisher != id && !known.is_holder(id));
        news.map(|(publisher, known)| PublicationLine {
            publisher,
            generation: known.generation,
            sequence: known.highest(),
        })
    }

    /// Announces recent publications again, on a ping or ack: pushes and announcements to a member with few paths may all
    /// have been lost. An observer of this node receives no other announcements of what it publishes, so its own come first.
    /// If there are many publishers, others each time, and last those whose publications the receiver was sent by stream.
    /// Nothing from before it joined.
    pub(crate) fn piggyback(&mut self, payload: &mut Payload, to: MemberId) {
        if self.own.recent.is_empty() {
            return;
        }
        let (me, since) = (self.list.me().id(), self.own.joined.get(&to).copied());
        let (place, recent) = (MemberId(self.ctx.rng.random()), &self.own.recent);
        let is_later = |id: &MemberId| recent.latest_at(*id).is_some_and(|at| Some(at) > since);
        let others = recent.publishers_from(place).filter(|&id| id != me);
        let news = self.news_for(to, iter::once(me).chain(others).filter(is_later));
        // A stream arrives, unless the connection is lost.
        let was_sent = |line: &PublicationLine| {
            self.own.publishers.get(&line.publisher).is_some_and(|known| known.was_sent_to(to))
        };
        let (sent, mut lines): (Vec<_>, Vec<_>) = news.partition(was_sent);
        lines.extend(sent);
        lines.truncate(MAX_REPEATED);
        // As many as there is room for.
        while !lines.is_empty() {
            let part = Part::PublicationNews(lines.clone());
            if payload.push_within(&part, self.ctx.max_bytes(to)) {
                break;
            }
            lines.truncate(lines.len() / 2);
        }
    }

    /// A member is back or new: what is kept is announced to it.
    pub(crate) fn greet(&mut self, id: MemberId) {
        let is_subject = self.subjects().contains(&id);
        if let Some(peer) = self.list.peer(id).filter(|_| is_subject) {
            let ids: Vec<_> = self.own.recent.publishers_from(id).take(MAX_LINES).collect();
            self.announce_to(peer, &ids);
        }
    }

    /// A member announces publications that it has.
    pub(crate) fn handle_news(&mut self, from: Peer, lines: &[PublicationLine]) {
        for line in lines.iter().take(MAX_LINES) {
            if self.is_current(line.publisher, line.generation) && !self.is_old(line.publisher) {
                self.note_news(from, line);
                self.plan_repair(line.publisher);
            }
        }
    }

    /// Whether what is announced of a member's publications is old: this node has just joined, or published it itself.
    fn is_old(&self, id: MemberId) -> bool {
        let is_unheard = !self.own.publishers.contains_key(&id);
        id == self.list.me().id() || is_unheard && self.is_newcomer()
    }

    fn note_news(&mut self, from: Peer, line: &PublicationLine) {
        let &PublicationLine { publisher, generation, sequence } = line;
        let known = self.own.publishers.entry(publisher);
        let known = known.or_insert_with(|| Publisher::new(generation));
        match known.has(sequence) {
            true => known.record_holder(from.id, sequence),
            false => known.record_source(self.ctx.now, from.id, sequence),
        }
    }

    /// Looks at what is lacking of a member's publications, soon.
    pub(super) fn plan_repair(&mut self, id: MemberId) {
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
        if self.own.repair_at.is_none_or(|planned| self.ctx.now < planned) {
            return;
        }
        self.own.repair_at = None;
        let mut wanted = BTreeMap::new();
        // The same for all that is lacking now, so that one request is enough.
        let anyone = self.list.random_other(&mut self.ctx.rng);
        for id in self.own.lacking.clone() {
            self.repair_of(id, anyone, &mut wanted);
        }
        self.ask(wanted);
    }

    fn repair_of(&mut self, id: MemberId, anyone: Option<MemberId>, wanted: &mut Wanted) {
        let (now, patience) = (self.ctx.now, self.patience());
        let Some(publisher) = self.own.publishers.get_mut(&id) else {
            return;
        };
        match publisher.repair(now, patience) {
            Repair::Nothing => _ = self.own.lacking.remove(&id),
            Repair::WaitUntil(at) => self.wake_for_repair(at),
            Repair::GiveUp => self.give_up(id),
            Repair::Ask { source, ranges, is_graft } => {
                let generation = publisher.generation;
                let range = |(first, last)| PublicationRange {
                    publisher: id,
                    generation,
                    first,
                    last,
                    is_graft,
                };
                let source = match source {
                    Source::Member(source) => Some(source),
                    Source::Publisher => self.list.live(id).map(|member| member.id()).or(anyone),
                    Source::Anyone => anyone,
                };
                if let Some(source) = source {
                    wanted.entry(source).or_default().extend(ranges.into_iter().map(range));
                }
                self.wake_for_repair(now + patience.next);
            }
        }
    }

    fn ask(&mut self, wanted: Wanted) {
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
        let now = self.ctx.now;
        let has_room =
            *self.own.answers.left(now, from.id, ANSWERS) > 0.0 && self.own.budget.has_room(now);
        self.ctx.stats.exchanges_refused += u64::from(!has_room);
        if !has_room {
            return;
        }
        let ranges = &ranges[..ranges.len().min(MAX_LINES)];
        self.graft(from, ranges);
        let payload = self.page(ranges);
        self.send_page(from, ranges.len(), payload);
        for range in ranges {
            if let Some(publisher) = self.own.publishers.get_mut(&range.publisher) {
                publisher.record_sent(from.id, range.last);
            }
        }
    }

    /// Sends a page, and charges it to the member that asked for so many ranges.
    fn send_page(&mut self, to: Peer, ranges: usize, page: Payload) {
        let cost = page.len().max(ranges * MIN_COST_BYTES);
        self.own.budget.spend(self.ctx.now, cost);
        *self.own.answers.left(self.ctx.now, to.id, ANSWERS) -= cost as f64;
        if !page.is_empty() {
            self.ctx.send_stream(to, page);
        }
    }

    fn graft(&mut self, from: Peer, ranges: &[PublicationRange]) {
        let grafts = || ranges.iter().filter(|range| range.is_graft);
        // Which members are subjects is looked up once for all.
        let subjects = if grafts().next().is_some() { self.subjects() } else { Vec::new() };
        for range in grafts() {
            if let Some(publisher) = self.own.publishers.get_mut(&range.publisher) {
                publisher.graft(from.id, &subjects);
            }
        }
    }

    /// The publications in these ranges, as far as they fit.
    fn page(&self, ranges: &[PublicationRange]) -> Payload {
        let mut payload = Payload::new();
        let known =
            ranges.iter().filter(|range| self.is_current(range.publisher, range.generation));
        let kept = known
            .flat_map(|range| self.own.recent.range(range.publisher, (range.first, range.last)));
        let _ = kept
            .map(Arrived::answer)
            .try_for_each(|part| payload.push_within(&part, MAX_PAGE_BYTES).then_some(()));
        payload
    }

    /// A member receives what this one publishes sooner from others.
    pub(crate) fn handle_prune(&mut self, from: Peer, id: MemberId) {
        let subjects = self.subjects();
        if let Some(publisher) = self.own.publishers.get_mut(&id) {
            publisher.prune(from.id, &subjects);
        }
    }
}

/// How many publishers or ranges of a message are looked at.
const MAX_LINES: usize = 256;
/// How many publishers are announced in one datagram.
const MAX_NEWS: usize = 32;
/// How many are announced again on a ping or ack. In a split that a few members bridge, nothing else reaches some members.
const MAX_REPEATED: usize = 16;
/// The most bytes of an answer, unless a single publication is longer.
const MAX_PAGE_BYTES: usize = 1_024 * 1_024;
/// The least cost of each range that is asked for.
const MIN_COST_BYTES: usize = 1_024;
/// Publications wait at least so long for one that comes earlier.
const MIN_PATIENCE: Duration = Duration::from_secs(3);
/// How many bytes of publications one member is sent at its request: more than a few publishers can publish. A member that asks
/// for ever costs no more.
const ANSWERS: Rate =
    Rate { at_once: 16.0 * 1_024.0 * 1_024.0, per_second: 4.0 * 1_024.0 * 1_024.0 };
