//! Dissemination: news is pushed at once along the rings, then piggybacked on pings and acks until it was sent often
//! enough (SWIM §4.1).
//!
//! What is queued is only who there is news of; what is sent is the list's present word on that member.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    Incarnation, Instant, MemberId, MemberState, Swim,
    swim::{Source, Timer},
    wire::{Claim, Entry, MAX_VOTES, Part, Payload, Verdict},
};

/// The members there is news of.
#[derive(Debug)]
pub(crate) struct Dissemination {
    /// How often the news of each member was piggybacked; at most [`MAX_UPDATES`].
    piggybacked: BTreeMap<MemberId, u32>,
    /// News not pushed yet, and from whom it came; emptied when it is pushed.
    unpushed: BTreeMap<MemberId, Option<MemberId>>,
    /// When it is pushed.
    push_at: Option<Instant>,
    /// The budget for news of deaths and suspicions.
    bad_news: Budget,
    /// The budget for refutations.
    refutations: Budget,
}

/// So many pushes at once, then so many in a protocol period.
#[derive(Debug)]
struct Budget {
    at_once: u32,
    per_period: u32,
    /// Up to when it is spent.
    spent_until: Instant,
}

impl Budget {
    /// How long one push waits at most.
    fn gap(&self, period: Duration) -> Duration {
        period / self.per_period
    }

    /// Takes one push from the budget; returns how long it has to wait.
    fn take(&mut self, now: Instant, period: Duration) -> Duration {
        let gap = self.gap(period);
        self.spent_until = self.spent_until.max(now) + gap;
        (self.spent_until - now).saturating_sub(gap * self.at_once)
    }
}

impl Dissemination {
    pub(crate) fn new(now: Instant) -> Self {
        let (piggybacked, unpushed) = Default::default();
        let budget = |at_once, per_period| Budget { at_once, per_period, spent_until: now };
        let bad_news = budget(PUSHES_AT_ONCE, PUSHES_PER_PERIOD);
        let refutations = budget(REFUTATIONS_AT_ONCE, REFUTATIONS_PER_PERIOD);
        Self { piggybacked, unpushed, push_at: None, bad_news, refutations }
    }
}

impl Swim {
    /// Makes news of a member's present state.
    pub(crate) fn spread(&mut self, now: Instant, id: MemberId, source: Source) {
        self.exchanges.last_change = now;
        self.quicken(now);
        let learnt_from = match source {
            Source::Ourselves => None,
            Source::Gossip(from) => Some(from.id),
            Source::Welcome(_) => return,
        };
        self.queue(id);
        self.plan_push(now, id);
        self.dissemination.unpushed.insert(id, learnt_from);
    }

    /// Pushes what is new to our subjects in all rings, each update once; they push it on.
    pub(crate) fn push_updates(&mut self, now: Instant) {
        if self.dissemination.push_at.is_none_or(|planned| planned > now) {
            return;
        }
        self.dissemination.push_at = None;
        let unpushed = std::mem::take(&mut self.dissemination.unpushed);
        let me = self.id();
        let receivers = self.list.rings().subjects(me);
        // A suspect hears of it at once, so that it can refute: from who found it so, and from those it observes, where
        // all who observe it are cut off from it.
        let observers = self.list.rings().observers(me);
        for (&id, from) in &unpushed {
            let is_suspect = self.list.get(id).is_some_and(|m| m.state == MemberState::Suspect);
            if is_suspect
                && (from.is_none() || observers.contains(&id))
                && !receivers.contains(&id)
                && let Some((peer, claim)) = self.peer(id).zip(self.update(now, id))
            {
                self.send(peer, &claim);
            }
        }
        let news: Vec<_> = unpushed
            .iter()
            .filter_map(|(&id, &from)| Some((id, from, self.update(now, id)?)))
            .collect();
        for receiver in receivers {
            let Some(peer) = self.peer(receiver) else {
                continue;
            };
            // One that does not answer is most likely not there; if it is, others push to it.
            let is_silent = self.cases.misses_of(receiver).len() >= SILENT_MISSES;
            let mut payload = Payload::new();
            for (id, from, part) in &news {
                if *from == Some(receiver)
                    || !part.concerns(*id, receiver)
                    || (is_silent && *id != receiver)
                {
                    continue;
                }
                if !payload.push_within(part, self.params.max_datagram_bytes) {
                    let full = std::mem::replace(&mut payload, Payload::of(part));
                    self.send_datagram(peer, full);
                }
            }
            if !payload.is_empty() {
                self.send_datagram(peer, payload);
            }
        }
    }

    /// Fills what is left of a ping or ack with updates: what the receiver is held for, where that is not alive, then
    /// those sent least often.
    pub(crate) fn piggyback(&mut self, now: Instant, payload: &mut Payload, to: MemberId) {
        let max_bytes = self.params.max_datagram_bytes;
        let is_accused = self
            .list
            .get(to)
            .is_some_and(|m| matches!(m.state, MemberState::Suspect | MemberState::Dead));
        let claim = if is_accused { self.update(now, to) } else { self.entry_of_forgotten(to) };
        if let Some(claim) = claim {
            payload.push_within(&claim, max_bytes);
            self.contacts.record_told(to, now);
        }
        if self.dissemination.piggybacked.is_empty() {
            return;
        }
        let limit = self.retransmit_limit();
        let mut queue: Vec<_> =
            self.dissemination.piggybacked.iter().map(|(&id, &sent)| (sent, id)).collect();
        queue.sort_unstable();
        let mut refused = 0;
        for (_, id) in queue {
            if payload.len() + SMALLEST_UPDATE_BYTES > max_bytes || refused >= MAX_REFUSED {
                break;
            }
            if id == to {
                continue;
            }
            let Some(part) = self.update(now, id) else {
                self.dissemination.piggybacked.remove(&id);
                continue;
            };
            if !payload.push_within(&part, max_bytes) {
                refused += 1;
            } else if let Some(sent) = self.dissemination.piggybacked.get_mut(&id) {
                *sent += 1;
                if *sent >= limit {
                    self.dissemination.piggybacked.remove(&id);
                }
            }
        }
    }

    /// Decides how long this news may wait for more. Where many die at once their news is collected, so that one push
    /// carries much: a few pushes go at once, then so many in a period; likewise where many refute, only more of them,
    /// as a refutation races with a verdict. Who joins, returns or leaves is told of at once.
    fn plan_push(&mut self, now: Instant, id: MemberId) {
        let planned = self.dissemination.push_at;
        let known = self.list.get(id).map(|member| (member.state(), member.incarnation()));
        let budget = match known {
            Some((MemberState::Suspect | MemberState::Dead, _)) => {
                Some(&mut self.dissemination.bad_news)
            }
            Some((MemberState::Alive, incarnation)) if incarnation > Incarnation(0) => {
                Some(&mut self.dissemination.refutations)
            }
            Some((MemberState::Alive | MemberState::Left, _)) | None => None,
        };
        let (delay, period) = (self.params.push_delay, self.params.protocol_period);
        let wait = match budget {
            // What a push carries besides costs nothing more.
            Some(budget) if planned.is_some_and(|at| at <= now + budget.gap(period)) => return,
            Some(budget) => budget.take(now, period).max(delay),
            None => delay,
        };
        let push_at = now + wait;
        if planned.is_some_and(|planned| planned <= push_at) {
            return;
        }
        if wait > delay {
            self.stats.pushes_delayed += 1;
        }
        self.dissemination.push_at = Some(push_at);
        self.timers.set(push_at, Timer::Push);
    }

    fn queue(&mut self, id: MemberId) {
        let queue = &mut self.dissemination.piggybacked;
        if queue.len() >= MAX_UPDATES && !queue.contains_key(&id) {
            // The update sent most often is the one most likely known everywhere.
            if let Some(known_best) = queue.iter().max_by_key(|&(_, sent)| sent).map(|(&id, _)| id)
            {
                queue.remove(&known_best);
                self.stats.updates_dropped += 1;
            }
        }
        queue.insert(id, 0);
    }

    /// The list's present word on a member.
    pub(crate) fn update(&self, now: Instant, id: MemberId) -> Option<Part> {
        let Some(member) = self.list.get(id) else {
            return self.news_of_forgotten(id);
        };
        let claim = |by| Claim { subject: id, version: member.version(), by };
        Some(match member.state {
            MemberState::Alive | MemberState::Left => {
                Part::Entry(Entry { state: member.state, record: member.record().clone() })
            }
            MemberState::Suspect => {
                Part::Suspect(claim(self.suspicions.accuser(id).unwrap_or_else(|| self.id())))
            }
            MemberState::Dead => {
                let votes = self.reports.votes(id, member.version());
                let votes = votes.iter().flat_map(|votes| votes.iter()).take(MAX_VOTES);
                let votes = votes.map(|vote| vote.to_send(now)).collect();
                Part::Dead(Verdict { claim: claim(self.id()), votes })
            }
        })
    }

    /// λ log n: enough for an update to reach everyone with high probability (SWIM §4.1).
    fn retransmit_limit(&self) -> u32 {
        let members = self.list.snapshot().live_len() as f64;
        let digits = (members + 1.0).log10().ceil().max(1.0);
        u32::from(self.params.retransmit_multiplier) * digits as u32
    }
}

impl Part {
    /// Whether this update about `subject` tells `receiver` something: that it lives, nobody needs to be told.
    fn concerns(&self, subject: MemberId, receiver: MemberId) -> bool {
        subject != receiver || matches!(self, Self::Suspect(_) | Self::Dead(_))
    }
}

/// How many pushes of deaths and suspicions go out at once before they are collected.
const PUSHES_AT_ONCE: u32 = 6;
/// How many go out in a protocol period then.
const PUSHES_PER_PERIOD: u32 = 4;
/// How many pushes of refutations go out at once.
const REFUTATIONS_AT_ONCE: u32 = 12;
/// How many go out in a protocol period then.
const REFUTATIONS_PER_PERIOD: u32 = 8;
/// Who missed so many pings of ours is pushed nothing but the news of itself.
const SILENT_MISSES: usize = 2;
/// How many members can have news waiting to be piggybacked.
const MAX_UPDATES: usize = 4_096;
/// After so many updates that do not fit into what is left of a message, no smaller one is looked for.
const MAX_REFUSED: usize = 4;
/// No update is smaller than a claim, so nothing fits what is less.
const SMALLEST_UPDATE_BYTES: usize = 40;
