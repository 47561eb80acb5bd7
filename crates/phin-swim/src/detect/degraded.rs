//! Links that fail while their subject lives, and members that most of their observers cannot reach: *degraded*.
//!
//! A link fails when pings on it went without direct reply so long, and so often for what it used to lose, that a path
//! is cut: worth the threshold together, over several periods, while the subject showed by other ways that it lives. Its
//! observer says so to the subject's other observers and to the subject, once in each turn through the rings until a ping
//! is answered directly; an observer that reaches a degraded member passes on to it which ones do not. So the observers of
//! a member, and the member, know which links to it fail. Nothing is sent while all links work.

use crate::{
    Change, Instant, MemberId, MemberState, Peer, Version,
    ctx::Ctx,
    detect::{
        detector::Detector,
        failing::{FailingLink, Turn, Unreached},
        health::LocalHealth,
        reports::{Outcome, Report, Silence, Vote},
        view::{Senses, View},
    },
    link::{Links, Run},
    member::{list::MembershipList, transition::News},
    probe::{pings::Pings, rounds::Rounds},
    step::{Source, Step},
    wire::{FailingLinkBody, Part},
};

/// The live members to which links fail, by what this member finds as an observer, was told as one, or was told of
/// itself. Of members that it does not observe it knows nothing.
pub(crate) fn unreached(view: View<'_>) -> Vec<Unreached> {
    let mut ids = view.failing.subjects();
    ids.extend(view.subjects());
    let unreached = ids.into_iter().map(|id| Unreached {
        id,
        degraded_since: view.failing.degraded_since(id),
        links: view.failing_links(id),
    });
    unreached.filter(|unreached| !unreached.links.is_empty()).collect()
}

/// The message that these links to a member fail.
fn report(view: View<'_>, subject: MemberId, links: &[FailingLink]) -> Option<Part> {
    let version = view.list.get(subject)?.version();
    let links = links.iter().map(|link| FailingLinkBody::of(link, view.now));
    Some(Part::Failing { subject, version, links: links.collect() })
}

/// The links, of those that a member reports, that its word counts for: its own; to the subject itself, also those of others,
/// unless the subject hears these observers, which would say so themselves if they got no reply.
fn counted_links(
    view: View<'_>,
    from: MemberId,
    subject: MemberId,
    links: &[FailingLinkBody],
) -> Vec<FailingLink> {
    let is_me = subject == view.me();
    let is_unheard = |link: &FailingLink| {
        view.heard_itself_at(link.observer).is_none_or(|heard_at| heard_at < link.since)
    };
    let links = links.iter().map(|link| link.received(view.now));
    links
        .filter(|link| link.observer == from || (is_me && is_unheard(link)))
        .filter(|link| view.may_observe(link.observer, subject))
        .collect()
}

/// The rules for links that fail, with what they work on.
pub(crate) struct Degraded<'a> {
    pub(crate) ctx: &'a mut Ctx,
    pub(crate) list: &'a MembershipList,
    pub(crate) links: &'a mut Links,
    pub(crate) pings: &'a Pings,
    pub(crate) rounds: &'a Rounds,
    pub(crate) health: &'a LocalHealth,
    pub(crate) own: &'a mut Detector,
}

impl Degraded<'_> {
    fn view(&self) -> View<'_> {
        let Self { list, links, pings, rounds, health, .. } = self;
        let senses = Senses { list, links, pings, rounds, health };
        View::new(self.ctx.now, &self.ctx.params, senses, self.own)
    }

    /// A ping to a subject has no direct reply.
    pub(crate) fn record_unanswered(&mut self, subject: MemberId, sent_at: Instant) {
        // What a member missed that doubts itself says nothing of the link.
        if self.view().cannot_judge(Silence::Unknown) || !self.extend_run(subject, sent_at) {
            return;
        }
        let (now, turn) = (self.ctx.now, self.view().turn());
        let reported_at = self.links.unanswered(subject).and_then(|run| run.told_at);
        let is_due = reported_at.is_none_or(|reported_at| now - reported_at >= turn);
        if is_due && self.view().own_failing_link(subject).is_some() {
            if let Some(run) = self.links.get_mut(subject).and_then(|l| l.unanswered.as_mut()) {
                run.told_at = Some(now);
            }
            self.report_link(subject);
            self.update_degraded(subject);
        }
    }

    /// Counts one more ping of a run without direct reply; says whether it counts.
    fn extend_run(&mut self, subject: MemberId, sent_at: Instant) -> bool {
        let apart = self.ctx.params.pause_tolerance / 16;
        let is_observed = self.view().subjects().contains(&subject);
        let estimate = self.links.estimate_of(subject);
        let link = self.links.get_mut(subject).filter(|_| is_observed);
        let Some((link, estimate)) = link.zip(estimate) else {
            return false;
        };
        match &mut link.unanswered {
            // Those of one moment share their fate.
            Some(run) if sent_at < run.last_at + apart => return false,
            Some(run) => run.extend(sent_at),
            none => *none = Some(Run::new(sent_at, &estimate)),
        }
        true
    }

    /// A subject answered a ping as it was sent.
    pub(crate) fn record_reached(&mut self, subject: Peer) {
        let run = self.links.get_mut(subject.id).and_then(|link| link.unanswered.take());
        if run.is_some_and(|run| run.told_at.is_some()) {
            self.report_link(subject.id);
            self.update_degraded(subject.id);
        }
        // Those that cannot reach it cannot tell it.
        if self.own.failing.degraded_since(subject.id).is_some() {
            let view = self.view();
            let part = report(view, subject.id, &view.failing_links(subject.id));
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
        let view = self.view();
        let known = self.list.get(subject).filter(|member| member.state.is_live());
        let is_current = known.is_some_and(|known| known.generation() == version.generation);
        let is_ours = subject == view.me() || view.may_observe(view.me(), subject);
        if !is_current || !is_ours || !view.may_observe(from, subject) {
            self.ctx.stats.unknown_subjects += 1;
            return;
        }
        let links = counted_links(view, from, subject, links);
        let run = (subject, version.generation);
        self.own.failing.record(self.ctx.now, from, run, links.into_iter());
        self.update_degraded(subject);
    }

    /// Reviews the links that fail: of this member, and of all others of which any is known.
    pub(crate) fn review_links(&mut self) {
        let me = self.list.me().id();
        if self.view().is_deaf() || self.own.failing.contains(me) {
            self.update_degraded(me);
        }
        for subject in self.own.failing.subjects().into_iter().filter(|&id| id != me) {
            self.ctx.then(Step::ReviewLinks(subject));
        }
    }

    /// Forgets what is old or about a member that is gone, and evicts one that was degraded for as long as the policy says.
    pub(crate) fn review_links_of(&mut self, subject: MemberId) {
        self.update_degraded(subject);
        self.evict(subject);
    }

    /// Tells the other observers of a member, and the member, whether the link of this node to it fails.
    fn report_link(&mut self, subject: MemberId) {
        let view = self.view();
        let mut receivers = view.list.rings().observers(subject);
        receivers.retain(|&receiver| receiver != view.me());
        receivers.push(subject);
        let receivers = view.peers(receivers);
        let own: Vec<_> = view.own_failing_link(subject).into_iter().collect();
        let Some(part) = report(view, subject, &own) else {
            return;
        };
        receivers.into_iter().for_each(|receiver| self.ctx.send(receiver, &part));
    }

    /// Tells the application when a member becomes degraded, or is so no longer.
    fn update_degraded(&mut self, subject: MemberId) {
        let member = self.list.get(subject).filter(|member| member.state.is_live()).cloned();
        let Some(member) = member else {
            self.own.failing.forget(subject);
            return;
        };
        let view = self.view();
        let links = view.failing_links(subject);
        let mut observers = view.list.rings().observers(subject);
        observers.retain(|&id| view.list.is_alive(id));
        let is_deaf = subject == view.me() && view.is_deaf();
        let is_degraded = is_deaf || (links.len() >= 2 && links.len() * 2 > observers.len());
        let run = (subject, member.generation());
        let change = match self.own.failing.update(self.ctx.now, run, &links, is_degraded) {
            Some(Turn::Degraded) => Change::Degraded,
            Some(Turn::Recovered) => Change::Recovered,
            None => return,
        };
        self.ctx.then(Step::Announce { change, member });
    }

    /// Declares a member dead that has been degraded for as long as the policy gives it, if this node does not reach it
    /// either.
    fn evict(&mut self, subject: MemberId) {
        let view = self.view();
        let since = view.failing.degraded_since(subject);
        let Some((since, after)) = since.zip(view.params.evict_degraded_after) else {
            return;
        };
        let is_due = view.now - since >= after && view.own_failing_link(subject).is_some();
        let member = view.list.get(subject).filter(|_| is_due);
        let Some(version) = member.map(|member| member.version()) else {
            return;
        };
        if view.cannot_judge(Silence::Unknown) {
            return;
        }
        let phi = view.params.phi_threshold;
        let votes = view.failing_links(subject).into_iter().map(|link| {
            let FailingLink { observer, since: silent_since, attempts } = link;
            Vote { observer, phi, silent_since, silence: Silence::Unknown, attempts }
        });
        let votes: Vec<_> = votes.collect();
        let began_at = votes.iter().map(|vote| vote.silent_since).min().unwrap_or(since);
        let (outcome, ended_at) = (Outcome::Dead { votes: votes.into() }, self.ctx.now);
        self.own.reports.keep(subject, Report { version, began_at, ended_at, outcome });
        self.ctx.stats.evictions += 1;
        let news = News::State(subject, MemberState::Dead);
        self.ctx.then(Step::Apply { news, source: Source::Ourselves });
    }
}

#[cfg(test)]
mod tests;
