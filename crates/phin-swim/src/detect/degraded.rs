//! Links that fail while their subject lives, and members that most of their observers cannot reach: *degraded*.
//!
//! A link fails when pings on it went without direct reply so long, and so often for what it used to lose, that a path
//! is cut: worth the threshold together, over at least [`MIN_FAILING_PERIODS`] periods, while the subject showed by
//! other ways that it lives. Its observer says so to the subject's other observers and to the subject, once in each turn
//! through the rings until a ping is answered directly; who reaches a degraded member passes on to it who does not.
//! So those who observe a member, and the member, know which links to it fail. Nothing is sent while all links work.

use std::{
    collections::{BTreeMap, BTreeSet},
    f64::consts::LOG10_E,
    time::Duration,
};

use phin_accrual::{Evidence, LinkEstimator, MAX_WEIGHT, ln};

use crate::{
    Change, Generation, Instant, MemberId, MemberState, Outcome, Peer, Report, Silence, Swim,
    Version, Vote,
    step::Source,
    wire::{FailingLinkBody, Part},
};

/// A member that some of its observers cannot reach.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Unreached {
    /// The member.
    pub id: MemberId,
    /// Since when most of its observers have not reached it, as far as this member knows; `None` while most do.
    pub degraded_since: Option<Instant>,
    /// The links to it that fail, in the order of their observers.
    pub links: Vec<FailingLink>,
}

/// A link on which a member that lives is not reached.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct FailingLink {
    /// Who does not reach the member.
    pub observer: MemberId,
    /// When the first ping was sent that was not answered.
    pub since: Instant,
    /// How many pings were not answered, up to 255.
    pub attempts: u8,
}

/// Pings of ours to one member in a row without a direct reply.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    began_at: Instant,
    last_at: Instant,
    /// What one of them is worth: by what the link lost before.
    weight: f64,
    phi: f64,
    attempts: u8,
    /// When others were last told.
    told_at: Option<Instant>,
}

impl Run {
    fn new(sent_at: Instant, link: &LinkEstimator) -> Self {
        let weight = (-ln(link.loss()) * LOG10_E).clamp(0.0, MAX_WEIGHT);
        let (began_at, last_at) = (sent_at, sent_at);
        Self { began_at, last_at, weight, phi: weight, attempts: 1, told_at: None }
    }
}

/// What is known of failing links, by the member they lead to.
#[derive(Debug, Default)]
pub(crate) struct Failing {
    subjects: BTreeMap<MemberId, Subject>,
    /// Until when we do not refute, as our own policy has us evicted.
    held_until: Option<Instant>,
}

/// The links to one run of a member that others say fail.
#[derive(Debug)]
struct Subject {
    generation: Generation,
    told: BTreeMap<MemberId, Told>,
    degraded_since: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Told {
    link: FailingLink,
    heard_at: Instant,
}

impl Swim {
    /// The live members to which links fail, by what this member finds as an observer, was told as one, or was told of
    /// itself. Of members that it does not observe it knows nothing.
    pub fn unreached(&self, now: Instant) -> Vec<Unreached> {
        let mut ids: BTreeSet<_> = self.failing.subjects.keys().copied().collect();
        ids.extend(self.list.rings().subjects(self.id()));
        let unreached = ids.into_iter().map(|id| Unreached {
            id,
            degraded_since: self.failing.subjects.get(&id).and_then(|s| s.degraded_since),
            links: self.failing_links(now, id),
        });
        unreached.filter(|unreached| !unreached.links.is_empty()).collect()
    }

    /// A ping of ours to a subject has no direct reply.
    pub(crate) fn record_unanswered(&mut self, subject: MemberId, sent_at: Instant) {
        let now = self.ctx.now;
        // What a member missed that doubts itself says nothing of the link.
        if self.cannot_judge(now, Silence::Unknown) {
            return;
        }
        let apart = self.ctx.params.pause_tolerance / 16;
        let Some(link) = self.estimate_of(subject) else {
            return;
        };
        let Some(run) = self.run_mut(subject) else {
            return;
        };
        match run {
            None => *run = Some(Run::new(sent_at, &link)),
            // Those of one moment share their fate.
            Some(run) if sent_at < run.last_at + apart => return,
            Some(run) => {
                let mut evidence = Evidence::default();
                evidence.record(run.phi + run.weight);
                run.phi = evidence.phi();
                run.attempts = run.attempts.saturating_add(1);
                run.last_at = sent_at;
            }
        }
        let turn = self.turn();
        let is_due = self
            .unanswered_run(subject)
            .is_some_and(|run| run.told_at.is_none_or(|told_at| now - told_at >= turn));
        if is_due && self.own_failing_link(now, subject).is_some() {
            if let Some(Some(run)) = self.run_mut(subject) {
                run.told_at = Some(now);
            }
            self.tell_of_link(subject);
            self.update_degraded(subject);
        }
    }

    /// A subject answered a ping of ours as it was sent.
    pub(crate) fn record_reached(&mut self, subject: Peer) {
        let now = self.ctx.now;
        let run = self.take_run(subject.id);
        if run.is_some_and(|run| run.told_at.is_some()) {
            self.tell_of_link(subject.id);
            self.update_degraded(subject.id);
        }
        // Those who cannot reach it cannot tell it.
        let known = self.failing.subjects.get(&subject.id);
        if known.is_some_and(|known| known.degraded_since.is_some()) {
            let part = self.failing_part(now, subject.id, self.failing_links(now, subject.id));
            part.into_iter().for_each(|part| self.ctx.send(subject, &part));
        }
    }

    /// A member's word on links to `subject`: of an observer on its own; to the subject itself, also on those of others.
    pub(crate) fn handle_failing(
        &mut self,
        from: MemberId,
        subject: MemberId,
        version: Version,
        links: &[FailingLinkBody],
    ) {
        let now = self.ctx.now;
        let is_me = subject == self.id();
        let generation =
            self.list.get(subject).filter(|m| m.state.is_live()).map(|m| m.generation());
        let is_ours = is_me || self.may_observe(self.id(), subject);
        if generation != Some(version.generation) || !is_ours || !self.may_observe(from, subject) {
            self.ctx.stats.unknown_subjects += 1;
            return;
        }
        let fresh =
            Subject { generation: version.generation, told: BTreeMap::new(), degraded_since: None };
        let known = self.failing.subjects.entry(subject).or_insert(fresh);
        known.told.remove(&from);
        // An observer that this member hears would say so itself if it got no reply.
        let is_unheard = |link: &FailingLinkBody| {
            let FailingLink { observer, since, .. } = link.received(now);
            self.heard_itself_at(observer).is_none_or(|heard_at| heard_at < since)
        };
        let counted =
            links.iter().filter(|link| link.observer == from || (is_me && is_unheard(link)));
        let counted: Vec<_> =
            counted.filter(|link| self.may_observe(link.observer, subject)).collect();
        for link in counted.into_iter().map(|link| link.received(now)) {
            if let Some(known) = self.failing.subjects.get_mut(&subject) {
                known.told.insert(link.observer, Told { link, heard_at: now });
            }
        }
        self.update_degraded(subject);
    }

    /// Forgets what is old or about members that are gone, and evicts who was degraded for as long as the policy says.
    pub(crate) fn review_links(&mut self) {
        let now = self.ctx.now;
        let me = self.id();
        if self.is_deaf(now) || self.failing.subjects.contains_key(&me) {
            self.update_degraded(me);
        }
        for subject in self.failing.subjects.keys().copied().collect::<Vec<_>>() {
            if subject == me {
                continue;
            }
            self.update_degraded(subject);
            self.evict(subject);
        }
    }

    /// Whether we agree that a member is evicted, though we may reach it.
    pub(crate) fn agrees_to_evict(&self, now: Instant, subject: MemberId) -> bool {
        let since = self.failing.subjects.get(&subject).and_then(|known| known.degraded_since);
        // Others may have found it degraded somewhat earlier than we did.
        let after = self.ctx.params.evict_degraded_after.map(|after| after / 2);
        matches!((since, after), (Some(since), Some(after)) if now - since >= after)
    }

    /// Whether a claim that we are suspect or dead is left to stand for now: by the policy a degraded member stays away
    /// for as long as it was given, before it tries again.
    pub(crate) fn holds_off(&mut self) -> bool {
        let now = self.ctx.now;
        match (self.failing.held_until, self.ctx.params.evict_degraded_after) {
            (Some(held_until), _) if now < held_until => true,
            (Some(_), _) => {
                self.failing.held_until = None;
                self.failing.subjects.remove(&self.id());
                false
            }
            (None, Some(after)) if self.agrees_to_evict(now, self.id()) => {
                self.failing.held_until = Some(now + after);
                true
            }
            (None, _) => false,
        }
    }

    /// Tells the other observers of a member, and the member, whether our link to it fails.
    fn tell_of_link(&mut self, subject: MemberId) {
        let now = self.ctx.now;
        let me = self.id();
        let mut receivers = self.list.rings().observers(subject);
        receivers.retain(|&receiver| receiver != me);
        receivers.push(subject);
        let own = self.own_failing_link(now, subject).into_iter().collect();
        let Some(part) = self.failing_part(now, subject, own) else {
            return;
        };
        for peer in receivers.into_iter().filter_map(|id| self.peer(id)).collect::<Vec<_>>() {
            self.ctx.send(peer, &part);
        }
    }

    fn failing_part(
        &self,
        now: Instant,
        subject: MemberId,
        links: Vec<FailingLink>,
    ) -> Option<Part> {
        let version = self.list.get(subject)?.version();
        let links = links.iter().map(|link| FailingLinkBody::of(link, now));
        Some(Part::Failing { subject, version, links: links.collect() })
    }

    /// Our own link to a member, if it fails.
    pub(crate) fn own_failing_link(&self, now: Instant, subject: MemberId) -> Option<FailingLink> {
        let run = self.unanswered_run(subject)?;
        let shortest = self.ctx.params.protocol_period * MIN_FAILING_PERIODS;
        let lives = self.known_alive_at(subject) > Some(run.began_at);
        let is_recent = now - run.last_at < self.turn() * MAX_SILENT_TURNS;
        let is_long = run.last_at - run.began_at >= shortest;
        let fails = run.phi >= self.ctx.params.phi_threshold && is_long && is_recent;
        let Run { began_at: since, attempts, .. } = run;
        (lives && fails).then_some(FailingLink { observer: self.id(), since, attempts })
    }

    /// All links to a live member that fail as far as we know, ours among them.
    fn failing_links(&self, now: Instant, subject: MemberId) -> Vec<FailingLink> {
        let Some(member) = self.list.get(subject).filter(|member| member.state.is_live()) else {
            return Vec::new();
        };
        let known = self.failing.subjects.get(&subject);
        let known = known.filter(|known| known.generation == member.generation());
        let max_age = self.turn() * MAX_SILENT_TURNS;
        let told = known.into_iter().flat_map(|known| known.told.values());
        let told = told.filter(|told| {
            now - told.heard_at < max_age
                && self.may_observe(told.link.observer, subject)
                && self.list.get(told.link.observer).is_some_and(|m| m.state == MemberState::Alive)
        });
        let mut links: Vec<_> = told.map(|told| told.link).collect();
        links.extend(
            self.own_failing_link(now, subject)
                .filter(|own| self.may_observe(own.observer, subject)),
        );
        links.sort_by_key(|link| link.observer);
        links
    }

    /// Whether this member receives no replies from most of its subjects, though others vouch for them: the failing links
    /// have their fault at this end.
    pub(crate) fn is_deaf(&self, now: Instant) -> bool {
        let subjects = self.list.rings().subjects(self.id());
        let failing = subjects.iter().filter(|&&id| self.own_failing_link(now, id).is_some());
        let failing = failing.count();
        failing >= 2 && failing * 2 > subjects.len()
    }

    /// Tells the application when a member becomes degraded, or is so no longer.
    fn update_degraded(&mut self, subject: MemberId) {
        let now = self.ctx.now;
        let member = self.list.get(subject).filter(|member| member.state.is_live()).cloned();
        let Some(member) = member else {
            self.failing.subjects.remove(&subject);
            return;
        };
        let links = self.failing_links(now, subject);
        let mut observers = self.list.rings().observers(subject);
        observers.retain(|&id| self.list.get(id).is_some_and(|m| m.state == MemberState::Alive));
        let is_deaf = subject == self.id() && self.is_deaf(now);
        let is_degraded = is_deaf || (links.len() >= 2 && links.len() * 2 > observers.len());
        let (generation, degraded_since) = (member.generation(), None);
        let fresh = || Subject { generation, told: BTreeMap::new(), degraded_since };
        let known = self.failing.subjects.entry(subject).or_insert_with(fresh);
        if known.generation != generation {
            *known = fresh();
        }
        known.told.retain(|observer, _| links.iter().any(|link| link.observer == *observer));
        let change = match (known.degraded_since, is_degraded) {
            (None, true) => Some(Change::Degraded),
            (Some(_), false) => Some(Change::Recovered),
            (None, false) | (Some(_), true) => None,
        };
        if change.is_some() {
            known.degraded_since = is_degraded.then_some(now);
            self.announce(change, member);
        }
        if links.is_empty() && !is_degraded {
            self.failing.subjects.remove(&subject);
        }
    }

    /// Declares a member dead that has been degraded for as long as the policy gives it, if we do not reach it either.
    fn evict(&mut self, subject: MemberId) {
        let now = self.ctx.now;
        let since = self.failing.subjects.get(&subject).and_then(|known| known.degraded_since);
        let (Some(since), Some(after)) = (since, self.ctx.params.evict_degraded_after) else {
            return;
        };
        let is_due = now - since >= after && self.own_failing_link(now, subject).is_some();
        let Some(version) = self.list.get(subject).map(|member| member.version()) else {
            return;
        };
        if !is_due || subject == self.id() || self.cannot_judge(now, Silence::Unknown) {
            return;
        }
        let votes = self.failing_links(now, subject).into_iter().map(|link| Vote {
            observer: link.observer,
            phi: self.ctx.params.phi_threshold,
            silent_since: link.since,
            silence: Silence::Unknown,
            attempts: link.attempts,
        });
        let votes: Vec<_> = votes.collect();
        let began_at = votes.iter().map(|vote| vote.silent_since).min().unwrap_or(since);
        let outcome = Outcome::Dead { votes: votes.into() };
        self.reports.keep(subject, Report { version, began_at, ended_at: now, outcome });
        self.ctx.stats.evictions += 1;
        self.mark_dead(subject, Source::Ourselves);
    }

    /// How long it takes until each link was used once.
    pub(crate) fn turn(&self) -> Duration {
        let rings = u32::from(self.ctx.params.rings).min(self.list.snapshot().live_len() as u32);
        self.period() * rings.max(1)
    }
}

/// For how many periods at least pings are without reply on a link that fails.
const MIN_FAILING_PERIODS: u32 = 5;
/// After how many turns through the rings without a word a link is held to work again.
const MAX_SILENT_TURNS: u32 = 3;
