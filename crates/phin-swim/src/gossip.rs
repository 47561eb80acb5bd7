//! Dissemination: news is pushed at once along the rings, then piggybacked on pings and acks until it was sent often
//! enough (SWIM §4.1).
//!
//! The queue contains only the members of which there is news; the message contains the present state of each in the
//! list.

pub(crate) mod budget;
pub(crate) mod queue;

use std::{collections::BTreeMap, time::Duration};

use crate::{
    Ctx, Instant, MemberId, MemberState, MembershipList, Part, Payload, Peer, Source, Timer,
    detect::detector::Detector,
    forget::Forgotten,
    gossip::{
        budget::{Budget, Kind},
        queue::{Queue, retransmit_limit},
    },
};

/// The members of which there is news.
#[derive(Debug)]
pub(crate) struct Dissemination {
    queue: Queue,
    /// News not pushed yet, and the members that sent it; emptied when it is pushed.
    unpushed: BTreeMap<MemberId, Vec<MemberId>>,
    /// When it is pushed.
    push_at: Option<Instant>,
    /// The budget of each kind of news, in the order of [`Kind`].
    budgets: [Budget; 2],
    /// The subjects whose turn it is if a push does not go to all.
    turn: usize,
}

/// The rules of dissemination, with what they work on.
pub(crate) struct Gossip<'a> {
    pub(crate) ctx: &'a mut Ctx,
    pub(crate) list: &'a MembershipList,
    pub(crate) own: &'a mut Dissemination,
    pub(crate) detector: &'a mut Detector,
    pub(crate) forgotten: &'a Forgotten,
}

/// One update to push.
struct Update {
    id: MemberId,
    /// The members that sent it.
    tellers: Vec<MemberId>,
    part: Part,
    /// The same in few bytes, for members that most likely receive it from others too.
    brief: Part,
}

impl Update {
    const fn part(&self, is_brief: bool) -> &Part {
        if is_brief { &self.brief } else { &self.part }
    }

    /// Whether a member may not know it yet.
    fn is_news_to(&self, id: MemberId) -> bool {
        self.id != id && !self.tellers.contains(&id)
    }
}

impl Dissemination {
    pub(crate) fn new(now: Instant, rings: u8) -> Self {
        let (queue, unpushed) = Default::default();
        let budgets = [Budget::new(now, rings); 2];
        Self { queue, unpushed, push_at: None, budgets, turn: 0 }
    }

    /// Sends no more of what is queued about a member.
    pub(crate) fn withdraw(&mut self, id: MemberId) {
        self.queue.remove(id);
        self.unpushed.remove(&id);
    }

    /// Another member sent news that still waits here: it need not be sent back, nor by everyone.
    pub(crate) fn record_repeated(&mut self, id: MemberId, teller: MemberId) {
        if let Some(tellers) = self.unpushed.get_mut(&id)
            && tellers.len() < MAX_TELLERS
            && !tellers.contains(&teller)
        {
            tellers.push(teller);
        }
    }

    const fn budget(&self, kind: Kind) -> Budget {
        self.budgets[kind as usize]
    }

    /// How long news of this kind may wait for more. Where many die at once their news is collected, so that one push
    /// carries much; likewise where many refute. Others hear at once of a member that joins, returns or leaves.
    fn delay(&self, ctx: &Ctx, kind: Option<Kind>) -> Duration {
        let (delay, period) = (ctx.params.push_delay, ctx.params.period);
        let wait = kind.map(|kind| self.budget(kind).wait(FEW, ctx.now, period).min(period));
        wait.map_or(delay, |wait| wait.max(delay))
    }

    /// Takes what was sent from the budget of each kind of news that was in it.
    fn spend(&mut self, kinds: &[Option<Kind>], sent: u32, now: Instant, period: Duration) {
        for kind in Kind::ALL.into_iter().filter(|&kind| kinds.contains(&Some(kind))) {
            self.budgets[kind as usize].take(sent, now, period);
        }
    }

    /// Takes from these members those whose turn it is.
    fn take_turn(&mut self, members: &mut Vec<MemberId>) {
        if members.len() > FEW {
            let turn = self.turn % members.len();
            self.turn = turn + FEW;
            members.rotate_left(turn);
            members.truncate(FEW);
        }
    }
}

impl Gossip<'_> {
    /// Makes news of a member's present state.
    pub(crate) fn spread(&mut self, id: MemberId, source: Source) {
        let learnt_from = match source {
            Source::Ourselves => None,
            Source::Gossip(from) => Some(from.id),
            Source::Welcome(_) => return,
        };
        self.ctx.stats.updates_dropped += u64::from(self.own.queue.insert(id));
        self.plan_push(id);
        self.own.unpushed.insert(id, learnt_from.into_iter().collect());
        self.inform_suspect(id, learnt_from);
    }

    /// A suspect hears of it at once, so that it can refute: from the member that found it so, and from its neighbours, as
    /// all that observe it may be cut off from it. In a small cluster nearly all are, and any may be the only one that reaches it.
    fn inform_suspect(&mut self, id: MemberId, learnt_from: Option<MemberId>) {
        if self.list.state(id) != Some(MemberState::Suspect) {
            return;
        }
        let (me, rings) = (self.list.me().id(), self.list.rings());
        let is_neighbour = || rings.observers(me).contains(&id) || rings.subjects(me).contains(&id);
        let is_small = rings.len() <= usize::from(self.ctx.params.rings) * 2;
        let is_ours = learnt_from.is_none() || is_small || is_neighbour();
        let claim = self.update(id).filter(|_| is_ours);
        if let Some((peer, claim)) = self.list.peer(id).zip(claim) {
            self.detector.contacts.record_informed(id, self.ctx.now);
            self.ctx.send(peer, &claim);
        }
    }

    /// Pushes news to this node's subjects in all rings, each update once; they push it on. News beyond the budget
    /// goes to few of them, in turn, unless several members sent it meanwhile; the others receive it by another way, or
    /// piggybacked.
    pub(crate) fn push_updates(&mut self) {
        let (now, period) = (self.ctx.now, self.ctx.params.period);
        if self.own.push_at.take_if(|planned| *planned <= now).is_none() {
            return;
        }
        let unpushed = std::mem::take(&mut self.own.unpushed);
        let kinds: Vec<_> = unpushed.keys().map(|&id| self.kind_of(id)).collect();
        let is_for_all = self.is_for_all(&kinds);
        let is_due = |tellers: &Vec<MemberId>| is_for_all || tellers.len() < ENOUGH_TELLERS;
        let news = unpushed.into_iter().filter(|(_, tellers)| is_due(tellers));
        let news = news.filter_map(|(id, tellers)| {
            let part = self.update(id)?;
            Some(Update { id, tellers, brief: part.brief(), part })
        });
        let news: Vec<_> = news.collect();
        let receivers = self.list.peers(self.receivers(is_for_all));
        // News that goes to few goes to them whole.
        let whole = if is_for_all { WHOLE } else { FEW };
        let receivers = receivers.into_iter().zip(0..);
        let sent = receivers.map(|(to, place)| {
            let is_brief = place >= whole || self.ctx.narrow.contains(to.id);
            self.push(to, &news, is_brief)
        });
        let sent = sent.sum();
        self.own.spend(&kinds, sent, now, period);
    }

    /// Pushes the news to one member; returns in how many messages. News that does not fit in a datagram goes by stream: many
    /// datagrams at once would fill the queues on their way.
    fn push(&mut self, to: Peer, news: &[Update], is_brief: bool) -> u32 {
        let news = || news.iter().filter(|news| news.is_news_to(to.id)).map(|n| n.part(is_brief));
        let mut payloads = Payload::pack(news(), self.ctx.max_bytes(to.id));
        let is_bulk = payloads.len() > 1 && !self.ctx.narrow.contains(to.id);
        if is_bulk {
            payloads = Payload::pack(news(), MAX_STREAM_BYTES);
        }
        let send = if is_bulk { Ctx::send_stream } else { Ctx::send_datagram };
        let sent = u32::try_from(payloads.len()).unwrap_or(u32::MAX);
        payloads.into_iter().for_each(|payload| send(self.ctx, to, payload));
        sent
    }

    /// Whether these kinds of news are pushed to all subjects. Other parts of a push cost nothing more.
    fn is_for_all(&self, kinds: &[Option<Kind>]) -> bool {
        let (now, period) = (self.ctx.now, self.ctx.params.period);
        let all = self.list.rings().subjects(self.list.me().id()).len();
        let fits = |kind| self.own.budget(kind).wait(all, now, period).is_zero();
        let is_little = kinds.len() <= LITTLE;
        kinds.iter().any(|kind| kind.is_none_or(|kind| is_little && fits(kind)))
    }

    /// The members that news is pushed to. A subject that does not answer is most likely not there; if it
    /// is, others push to it.
    fn receivers(&mut self, is_for_all: bool) -> Vec<MemberId> {
        let mut subjects = self.list.rings().subjects(self.list.me().id());
        let most_misses = if is_for_all { MAX_MISSES } else { 0 };
        subjects.retain(|&id| self.detector.cases.misses_of(id).len() <= most_misses);
        if !is_for_all {
            self.own.take_turn(&mut subjects);
        }
        subjects
    }

    /// Fills what is left of a ping or ack with updates: the claim against the receiver, if there is one, then those sent
    /// least often. An update that is sent to a silent member most likely reaches nobody, and is not counted.
    pub(crate) fn piggyback(&mut self, payload: &mut Payload, to: MemberId) {
        let max_bytes = self.ctx.max_bytes(to);
        if let Some(claim) = self.claim_against(to) {
            payload.push_within(&claim.brief(), max_bytes);
            self.detector.contacts.record_informed(to, self.ctx.now);
        }
        let (mut refused, is_heard) = (0, !self.detector.is_unheard(to));
        for id in self.own.queue.in_order().into_iter().filter(|&id| id != to) {
            if payload.len() + SMALLEST_UPDATE_BYTES > max_bytes || refused >= MAX_REFUSED {
                break;
            }
            refused += usize::from(!self.append_update(payload, (id, max_bytes), is_heard));
        }
    }

    /// Appends the update on a member, if there is one, unless it is too long for what is left; says whether it was not. It
    /// was sent once more if the receiver is heard.
    fn append_update(
        &mut self,
        payload: &mut Payload,
        (id, max_bytes): (MemberId, usize),
        is_heard: bool,
    ) -> bool {
        let Some(part) = self.update(id) else {
            self.own.queue.remove(id);
            return true;
        };
        let fits = payload.push_within(&part.brief(), max_bytes);
        if fits && is_heard {
            let members = self.list.snapshot().live_len();
            let enough = retransmit_limit(self.ctx.params.retransmit_multiplier, members);
            self.own.queue.record_sent(id, enough);
        }
        fits
    }

    /// The claims of this node against a member that it writes to: that it is suspect or dead, or was when it was
    /// forgotten.
    fn claim_against(&self, id: MemberId) -> Option<Part> {
        match self.list.state(id) {
            Some(MemberState::Suspect | MemberState::Dead) => self.update(id),
            Some(MemberState::Alive | MemberState::Left) | None => self.forgotten.entry(id),
        }
    }

    /// Decides how long this news may wait for more.
    fn plan_push(&mut self, id: MemberId) {
        let delay = self.own.delay(self.ctx, self.kind_of(id));
        let push_at = self.ctx.now + delay;
        if self.own.push_at.is_some_and(|planned| planned <= push_at) {
            return;
        }
        self.ctx.stats.pushes_delayed += u64::from(delay > self.ctx.params.push_delay);
        self.own.push_at = Some(push_at);
        self.ctx.timers.set(push_at, Timer::Push);
    }

    fn kind_of(&self, id: MemberId) -> Option<Kind> {
        self.list.get(id).and_then(|member| Kind::of(member))
    }

    /// The list's present entry of a member, or that it was forgotten.
    fn update(&self, id: MemberId) -> Option<Part> {
        let update = self.detector.reports.update(self.ctx.now, self.list, id);
        update.or_else(|| self.forgotten.news_of(id))
    }
}

/// The number of subjects that receive news beyond the budget.
const FEW: usize = 4;
/// How many subjects are pushed the signed votes of a verdict; the others receive their digest, and ask if they need them.
const WHOLE: usize = 3;
/// This much news at once is beyond the budget whatever is left of it: as much as one datagram takes, or somewhat less.
const LITTLE: usize = 24;
/// News beyond the budget that so many members sent while it waited is not pushed any more: they push it, and each of them to
/// others.
const ENOUGH_TELLERS: usize = 3;
/// How many members that sent news are remembered until it is pushed: it is not sent back to them.
const MAX_TELLERS: usize = 8;
/// The size of a push by stream, beyond which there is another one.
const MAX_STREAM_BYTES: usize = 65_536;
/// A subject that missed more pings of this node is pushed nothing.
const MAX_MISSES: usize = 1;
/// After so many updates that do not fit into what is left of a message, no smaller one is looked for.
const MAX_REFUSED: usize = 4;
/// No update is smaller than a claim, so nothing fits what is less.
const SMALLEST_UPDATE_BYTES: usize = 40;

#[cfg(test)]
mod tests;
