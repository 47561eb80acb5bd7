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
    /// What each kind of news may cost, in the order of [`Kind`].
    budgets: [Budget; 2],
    /// Whose turn it is to be pushed to where not all are.
    turn: usize,
}

/// News there can be much of at once; each has a budget of its own, so that neither waits for the other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    /// Suspicions and deaths.
    Fall,
    Refutation,
}

/// So many messages at once, then [`MESSAGES_PER_PERIOD`].
#[derive(Clone, Copy, Debug)]
struct Budget {
    at_once: u32,
    /// Up to when it is spent.
    spent_until: Instant,
}

impl Budget {
    /// How long it takes until so many messages can be sent.
    fn wait(self, messages: usize, now: Instant, period: Duration) -> Duration {
        let messages = u32::try_from(messages).unwrap_or(u32::MAX);
        let backlog = self.spent_until.saturating_since(now);
        (backlog + gap(period).saturating_mul(messages)).saturating_sub(gap(period) * self.at_once)
    }

    fn take(&mut self, messages: u32, now: Instant, period: Duration) {
        self.spent_until = self.spent_until.max(now) + gap(period).saturating_mul(messages);
    }
}

/// What one message takes of a budget.
fn gap(period: Duration) -> Duration {
    period / MESSAGES_PER_PERIOD
}

impl Dissemination {
    pub(crate) fn new(now: Instant, rings: u8) -> Self {
        let (piggybacked, unpushed) = Default::default();
        let at_once = u32::from(rings) * PUSHES_AT_ONCE;
        let budgets = [Budget { at_once, spent_until: now }; 2];
        Self { piggybacked, unpushed, push_at: None, budgets, turn: 0 }
    }

    /// Sends no more of what is queued about a member.
    pub(crate) fn withdraw(&mut self, id: MemberId) {
        self.piggybacked.remove(&id);
        self.unpushed.remove(&id);
    }

    const fn budget(&self, kind: Kind) -> Budget {
        self.budgets[kind as usize]
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
        self.tell_suspect(now, id, learnt_from);
    }

    /// A suspect hears of it at once, so that it can refute: from who found it so, and from its neighbours, as all who
    /// observe it may be cut off from it.
    fn tell_suspect(&mut self, now: Instant, id: MemberId, learnt_from: Option<MemberId>) {
        let is_suspect = self.list.get(id).is_some_and(|m| m.state == MemberState::Suspect);
        let (me, rings) = (self.id(), self.list.rings());
        let is_neighbour = || rings.observers(me).contains(&id) || rings.subjects(me).contains(&id);
        if is_suspect
            && (learnt_from.is_none() || is_neighbour())
            && let Some((peer, claim)) = self.peer(id).zip(self.update(now, id))
        {
            self.send(peer, &claim);
        }
    }

    /// Pushes what is new to our subjects in all rings, each update once; they push it on. What the budget is short for goes
    /// to few of them, in turn; the others hear of it by another way, or by what is piggybacked.
    pub(crate) fn push_updates(&mut self, now: Instant) {
        if self.dissemination.push_at.is_none_or(|planned| planned > now) {
            return;
        }
        self.dissemination.push_at = None;
        let unpushed = std::mem::take(&mut self.dissemination.unpushed);
        let news: Vec<_> = unpushed
            .iter()
            .filter_map(|(&id, &from)| Some((id, from, self.update(now, id)?)))
            .collect();
        let kinds: Vec<_> = unpushed.keys().map(|&id| self.kind_of_news(id)).collect();
        let mut sent = 0;
        for receiver in self.receivers(now, &kinds) {
            let Some(peer) = self.peer(receiver) else {
                continue;
            };
            let mut payload = Payload::new();
            for (id, from, part) in &news {
                if *from == Some(receiver) || *id == receiver {
                    continue;
                }
                if !payload.push_within(part, self.params.max_datagram_bytes) {
                    let full = std::mem::replace(&mut payload, Payload::of(part));
                    self.send_datagram(peer, full);
                    sent += 1;
                }
            }
            if !payload.is_empty() {
                self.send_datagram(peer, payload);
                sent += 1;
            }
        }
        for kind in [Kind::Fall, Kind::Refutation] {
            if kinds.contains(&Some(kind)) {
                let period = self.params.protocol_period;
                self.dissemination.budgets[kind as usize].take(sent, now, period);
            }
        }
    }

    /// Whom these kinds of news are pushed to. A subject that does not answer is most likely not there; if it is, others
    /// push to it.
    fn receivers(&mut self, now: Instant, kinds: &[Option<Kind>]) -> Vec<MemberId> {
        let mut subjects = self.list.rings().subjects(self.id());
        let (all, period) = (subjects.len(), self.params.protocol_period);
        // What a push carries besides costs nothing more.
        let is_for_all = kinds.iter().any(|kind| {
            kind.is_none_or(|kind| self.dissemination.budget(kind).wait(all, now, period).is_zero())
        });
        let most_misses = if is_for_all { MAX_MISSES } else { 0 };
        subjects.retain(|&id| self.cases.misses_of(id).len() <= most_misses);
        if !is_for_all && subjects.len() > FEW {
            let turn = self.dissemination.turn % subjects.len();
            self.dissemination.turn = turn + FEW;
            subjects.rotate_left(turn);
            subjects.truncate(FEW);
        }
        subjects
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
    /// carries much; likewise where many refute. Who joins, returns or leaves is told of at once.
    fn plan_push(&mut self, now: Instant, id: MemberId) {
        let (delay, period) = (self.params.push_delay, self.params.protocol_period);
        let wait = self.kind_of_news(id).map_or(delay, |kind| {
            let wait = self.dissemination.budget(kind).wait(FEW, now, period);
            wait.min(period).max(delay)
        });
        let push_at = now + wait;
        if self.dissemination.push_at.is_some_and(|planned| planned <= push_at) {
            return;
        }
        if wait > delay {
            self.stats.pushes_delayed += 1;
        }
        self.dissemination.push_at = Some(push_at);
        self.timers.set(push_at, Timer::Push);
    }

    fn kind_of_news(&self, id: MemberId) -> Option<Kind> {
        let known = self.list.get(id)?;
        match known.state {
            MemberState::Suspect | MemberState::Dead => Some(Kind::Fall),
            MemberState::Alive if known.incarnation() > Incarnation(0) => Some(Kind::Refutation),
            MemberState::Alive | MemberState::Left => None,
        }
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
        let claim = Claim { subject: id, version: member.version(), by: self.id() };
        Some(match member.state {
            MemberState::Alive | MemberState::Left => {
                Part::Entry(Entry { state: member.state, record: member.record().clone() })
            }
            MemberState::Suspect => Part::Suspect(claim),
            MemberState::Dead => {
                let votes = self.reports.votes(id, member.version());
                let votes = votes.iter().flat_map(|votes| votes.iter()).take(MAX_VOTES);
                let votes = votes.map(|vote| vote.to_send(now)).collect();
                Part::Dead(Verdict { claim, votes })
            }
        })
    }

    /// λ log n: enough for an update to reach everyone with high probability (SWIM §4.1).
    fn retransmit_limit(&self) -> u32 {
        let members = self.list.snapshot().live_len();
        u32::from(self.params.retransmit_multiplier) * ceil_log10(members + 1).max(1)
    }
}

/// ⌈log₁₀ n⌉, the same on every platform; `n` is at least 1.
const fn ceil_log10(n: usize) -> u32 {
    match n.checked_sub(1) {
        None | Some(0) => 0,
        Some(below) => below.ilog10() + 1,
    }
}

/// How many pushes to all subjects a kind of news has at once, as many as a death or two take.
const PUSHES_AT_ONCE: u32 = 3;
/// How many messages in a protocol period then, where no single push takes more; none waits longer than a period.
const MESSAGES_PER_PERIOD: u32 = 12;
/// To how many subjects goes what the budget is short for.
const FEW: usize = 4;
/// Who missed more pings of ours is pushed nothing.
const MAX_MISSES: usize = 1;
/// How many members can have news waiting to be piggybacked.
const MAX_UPDATES: usize = 4_096;
/// After so many updates that do not fit into what is left of a message, no smaller one is looked for.
const MAX_REFUSED: usize = 4;
/// No update is smaller than a claim, so nothing fits what is less.
const SMALLEST_UPDATE_BYTES: usize = 40;

#[cfg(test)]
mod tests {
    use super::ceil_log10;

    #[test]
    fn the_logarithm_rounds_up_at_each_power_of_ten() {
        assert_eq!((ceil_log10(1), ceil_log10(2), ceil_log10(9)), (0, 1, 1));
        for power in 1..=9 {
            let ten = 10_usize.pow(power);
            let around = [ten - 1, ten, ten + 1].map(ceil_log10);
            assert_eq!(around, [power, power, power + 1], "around {ten}");
        }
    }
}
