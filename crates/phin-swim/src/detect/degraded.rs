//! Links that fail or have flaws while their subject lives, and members to which most links do: *degraded*.
//!
//! A link fails when pings on it have been without direct reply for so long, and so often for its usual loss, that the
//! path is probably cut: the misses reach the threshold together, over several periods, while the subject showed by
//! other ways that it lives. Its observer reports this to the subject's other observers and to the subject, once in
//! each turn through the rings until a ping is answered directly; an observer that reaches a degraded member passes on
//! to it which ones do not. So the observers of a member, and the member, know which links to it fail. Nothing is sent
//! while all links work.
//!
//! A link that works may lose or delay far more than the others: it has *flaws* ([`link::quality`](crate::link::quality)). Its
//! observer reports them to the same members. A member that learns that most of its observers find flaws in it states
//! them in its record, so all members know of them, and nobody else can say it.

use std::collections::BTreeMap;

use crate::{
    Ctx, Flaw, Flaws, Instant, MemberId, MemberState, MembershipList, News, Part, Payload, Peer,
    Purpose, Source, Step, Version,
    detect::{
        detector::Detector,
        failing::{Degradation, FailingLink, Unreached},
        finding::{Observed, is_most},
        reports::{Outcome, Report, Silence, Vote},
        view::View,
    },
    identity::restate,
    link::{flawed, quality::Certainty},
    member::record::Statement,
    senses::Senses,
    wire::FailingLinkBody,
};

/// The live members that are degraded, and those to which links fail: by this member's own findings as an observer, by those
/// that other observers sent it, and by those that it received about itself. Of members that it does not observe, it knows only
/// that they are degraded.
pub(crate) fn unreached(view: View<'_>) -> Vec<Unreached> {
    let mut ids = view.failing.subjects();
    ids.extend(view.subjects());
    let unreached = ids.into_iter().map(|id| Unreached {
        id,
        degraded_since: view.failing.degraded_since(id),
        links: view.failing_links(id),
    });
    let is_listed =
        |unreached: &Unreached| unreached.degraded_since.is_some() || !unreached.links.is_empty();
    unreached.filter(is_listed).collect()
}

/// The message that these links to a member fail.
fn report(view: View<'_>, subject: MemberId, links: &[FailingLink]) -> Option<Part> {
    let version = view.list.get(subject)?.version();
    let links = links.iter().map(|link| FailingLinkBody::of(link, view.now));
    Some(Part::Failing { subject, version, links: links.collect() })
}

/// Whether this node follows the links to this run of a member: it is the subject itself, or observes it.
fn is_followed(view: View<'_>, subject: MemberId, version: Version) -> bool {
    let known = view.list.live(subject);
    let is_current = known.is_some_and(|known| known.generation() == version.generation);
    is_current && (subject == view.me() || view.may_observe(view.me(), subject))
}

/// Whether a member's report of a failing link counts: on its own link; to the subject itself, also on that of
/// another, unless the subject receives from this observer, which would itself report it. An observer pings in each turn, so
/// one that was heard in the last turn is not cut off, whatever a liar says.
fn counts(view: View<'_>, from: MemberId, subject: MemberId, link: &FailingLink) -> bool {
    let heard_at = view.heard_itself_at(link.observer);
    let lately = view.now.saturating_sub(view.turn() * 5 / 4);
    let is_unheard = heard_at.is_none_or(|heard_at| heard_at < link.since.min(lately));
    let is_meant = link.observer == from || (subject == view.me() && is_unheard);
    is_meant && view.may_observe(link.observer, subject)
}

/// Whether this node is degraded because it does not receive.
fn is_deaf(view: View<'_>, subject: MemberId) -> bool {
    subject == view.me() && view.is_deaf()
}

/// Why a member is degraded, if it is: how many of its observers do not reach it, by these links, and its flaws.
fn degradation(view: View<'_>, subject: MemberId, links: &[FailingLink]) -> Degradation {
    let stated = view.list.get(subject).map_or(Flaws::NONE, |member| member.flaws());
    Degradation {
        flaws: stated.union(view.failing.found(subject)),
        unreached_by: links.iter().map(|link| link.observer).collect(),
        observers: view.alive_observers_of(subject),
        is_deaf: is_deaf(view, subject),
    }
}

/// The findings of its observers about a member, by their reports on flaws and these links that fail.
fn observed(view: View<'_>, subject: MemberId, links: &[FailingLink]) -> Observed {
    let mut by = view.flawed_links(subject);
    for link in links {
        let known = by.entry(link.observer).or_default();
        *known = known.union(flaws_of(view, subject, link));
    }
    // The members that do not answer may be made up. Then no observer of this one misses anything.
    let is_deaf = is_deaf(view, subject) && !by.is_empty();
    let own = if is_deaf { Flaw::OneWay.into() } else { Flaws::NONE };
    let stated = (subject == view.me()).then(|| view.list.me().flaws());
    Observed { by, observers: view.alive_observers_of(subject), own, stated }
}

/// The flaws behind a failing link. Where this node is its subject and receives from the observer, the fault is in one
/// direction only.
fn flaws_of(view: View<'_>, subject: MemberId, link: &FailingLink) -> Flaws {
    let heard_at = view.heard_itself_at(link.observer);
    let is_heard = subject == view.me() && heard_at.is_some_and(|heard_at| heard_at >= link.since);
    let one_way = if is_heard { Flaw::OneWay.into() } else { Flaws::NONE };
    one_way.union(Flaw::Loss.into())
}

/// The votes of the observers that do not reach a degraded member, or whose links to it have flaws since it is degraded.
fn votes(view: View<'_>, subject: MemberId, degraded_since: Instant) -> Vec<Vote> {
    let vote = |observer, silent_since, attempts| {
        let (phi, silence) = (view.params.phi_threshold, Silence::Unknown);
        Vote { observer, phi, silent_since, silence, attempts }
    };
    let flawed = view.flawed_links(subject).into_keys();
    let mut votes: BTreeMap<_, _> =
        flawed.map(|observer| (observer, vote(observer, degraded_since, 0))).collect();
    let failing = view.failing_links(subject).into_iter();
    votes.extend(failing.map(|link| {
        let FailingLink { observer, since, attempts } = link;
        (observer, vote(observer, since, attempts))
    }));
    votes.into_values().collect()
}

/// Whether this node finds by itself, and can judge now, that it does not reach a member well.
fn has_evidence(view: View<'_>, subject: MemberId) -> bool {
    let is_flawed = !view.links.flaws(subject).is_empty();
    (is_flawed || view.own_failing_link(subject).is_some()) && !view.cannot_judge(Silence::Unknown)
}

/// The rules for links that fail or have flaws, with what they work on.
pub(crate) struct Degraded<'a> {
    pub(crate) ctx: &'a mut Ctx,
    pub(crate) list: &'a MembershipList,
    pub(crate) senses: &'a mut Senses,
    pub(crate) own: &'a mut Detector,
}

/// Whether a member is degraded as far as this node knows. While many members fall, more of its observers may be gone than
/// this node knows, so it does not become so.
fn is_degraded(view: View<'_>, subject: MemberId, links: &[FailingLink]) -> bool {
    let was_degraded = view.failing.degraded_since(subject).is_some();
    let may_be = was_degraded || subject == view.me() || !view.do_many_fall();
    may_be && degradation(view, subject, links).is_degraded()
}

impl Degraded<'_> {
    pub(super) fn view(&self) -> View<'_> {
        View::new(self.ctx.now, self.ctx, self.list, self.senses, self.own)
    }

    /// Why a member is degraded.
    pub(crate) fn reason(&self, subject: MemberId) -> Degradation {
        let view = self.view();
        degradation(view, subject, &view.failing_links(subject))
    }

    /// A ping to a subject has no direct reply.
    pub(crate) fn record_unanswered(&mut self, subject: MemberId, sent_at: Instant) {
        // Misses of a member that doubts its own health say nothing of the link.
        if self.view().cannot_judge(Silence::Unknown) || !self.extend_run(subject, sent_at) {
            return;
        }
        let turn = self.view().turn();
        let fails = self.view().own_failing_link(subject).is_some();
        if fails && self.senses.links.is_report_due(self.ctx.now, subject, turn) {
            self.report_link(subject);
            self.update_degraded(subject);
        }
    }

    /// Counts one more ping of a run without direct reply; says whether it counts.
    fn extend_run(&mut self, subject: MemberId, sent_at: Instant) -> bool {
        let apart = self.ctx.params.pause_tolerance / 16;
        self.view().subjects().contains(&subject)
            && self.senses.links.extend_run(subject, sent_at, apart)
    }

    /// A subject answered a ping as it was sent.
    pub(crate) fn record_reached(&mut self, subject: Peer) {
        let run = self.senses.links.get_mut(subject.id).and_then(|link| link.unanswered.take());
        if run.is_some_and(|run| run.told_at.is_some()) {
            self.report_link(subject.id);
            self.update_degraded(subject.id);
        }
        // The observers that cannot reach it cannot inform it.
        if self.own.failing.degraded_since(subject.id).is_some() {
            let view = self.view();
            let links = view.failing_links(subject.id);
            let part = report(view, subject.id, &links).filter(|_| !links.is_empty());
            part.into_iter().for_each(|part| self.ctx.send(subject, &part));
        }
    }

    /// A member reports links to `subject`: an observer its own; to the subject itself, also those of others.
    pub(crate) fn handle_failing(
        &mut self,
        from: MemberId,
        subject: MemberId,
        version: Version,
        links: &[FailingLinkBody],
    ) {
        let view = self.view();
        // Only observers, and the subject, can do anything about it; others would keep it for nothing.
        if !is_followed(view, subject, version) || !view.may_observe(from, subject) {
            self.ctx.stats.unknown_subjects += 1;
            return;
        }
        let links = links.iter().map(|link| link.received(view.now));
        let links: Vec<_> = links.filter(|link| counts(view, from, subject, link)).collect();
        let run = (subject, version.generation);
        self.own.failing.record(self.ctx.now, from, run, links.into_iter());
        self.update_degraded(subject);
    }

    /// A member reports the flaws of its link to `subject`, or that it has none any more.
    pub(crate) fn handle_flawed(
        &mut self,
        from: MemberId,
        subject: MemberId,
        version: Version,
        flaws: Flaws,
    ) {
        let view = self.view();
        if !is_followed(view, subject, version) || !view.may_observe(from, subject) {
            self.ctx.stats.unknown_subjects += 1;
            return;
        }
        self.own.failing.record_flaws(self.ctx.now, from, (subject, version.generation), flaws);
        self.follow_large_packets(from, subject, flaws);
        self.update_degraded(subject);
    }

    /// Reviews the links that fail or have flaws: of this member, and of all others of which any is known.
    pub(crate) fn review_links(&mut self) {
        let subjects = self.view().subjects();
        self.end_size_checks(&subjects);
        self.review_own_links();
        self.begin_size_checks(&subjects);
        let me = self.list.me().id();
        if self.view().is_deaf() || self.own.failing.contains(me) {
            self.update_degraded(me);
        }
        for subject in self.own.failing.subjects().into_iter().filter(|&id| id != me) {
            self.ctx.then(Step::ReviewLinks(subject));
        }
    }

    /// Reviews the flaws of the links of this node. If it is not sure of one, it probes that member once more.
    fn review_own_links(&mut self) {
        let is_well = !self.senses.links.any(|link| !link.quality.is_clean());
        let has_left = self.list.me().record.has_left();
        if is_well || has_left || self.view().cannot_judge(Silence::Unknown) {
            return;
        }
        for subject in self.view().subjects() {
            self.review_own_link(subject);
        }
    }

    fn review_own_link(&mut self, subject: MemberId) {
        let certainty = flawed::review(&mut self.senses.links, subject);
        if self.senses.links.get(subject).is_some_and(|link| link.quality.loses_several) {
            // Pings that carry news may be too long for the path.
            self.want_size_check(subject);
        }
        let to = self.list.peer(subject).filter(|_| certainty == Certainty::Unsure);
        to.into_iter().for_each(|to| self.ctx.then(Step::Ping { to, purpose: Purpose::Probe }));
        let (now, turn) = (self.ctx.now, self.view().turn());
        if flawed::is_report_due(&mut self.senses.links, now, subject, turn) {
            self.report_flaws(subject);
            self.update_degraded(subject);
        }
    }

    /// Tells the other observers of a member, and the member, which flaws the link of this node to it has. To the member by
    /// stream, which arrives where datagrams are lost.
    fn report_flaws(&mut self, subject: MemberId) {
        let Some(member) = self.list.get(subject) else {
            return;
        };
        let (version, flaws) = (member.version(), self.senses.links.flaws(subject));
        let part = Part::Flawed { subject, version, flaws };
        for receiver in self.other_observers(subject) {
            self.ctx.send(receiver, &part);
        }
        if let Some(to) = self.list.peer(subject) {
            self.ctx.send_stream(to, Payload::of(&part));
        }
    }

    fn other_observers(&self, subject: MemberId) -> Vec<Peer> {
        let mut observers = self.list.rings().observers(subject);
        observers.retain(|&observer| observer != self.list.me().id());
        self.list.peers(observers)
    }

    /// Forgets what is old or about a member that is gone, and evicts one that was degraded for as long as the policy says.
    pub(crate) fn review_links_of(&mut self, subject: MemberId) {
        self.update_degraded(subject);
        self.evict(subject);
    }

    /// Tells the other observers of a member, and the member, whether the link of this node to it fails.
    fn report_link(&mut self, subject: MemberId) {
        let view = self.view();
        let mut receivers = self.other_observers(subject);
        receivers.extend(self.list.peer(subject));
        let own: Vec<_> = view.own_failing_link(subject).into_iter().collect();
        let Some(part) = report(view, subject, &own) else {
            return;
        };
        receivers.into_iter().for_each(|receiver| self.ctx.send(receiver, &part));
    }

    /// Tells the application when a member becomes degraded, or is so no longer.
    fn update_degraded(&mut self, subject: MemberId) {
        let Some(member) = self.list.live(subject).cloned() else {
            self.own.failing.forget(subject);
            return;
        };
        let (now, run) = (self.ctx.now, (subject, member.generation()));
        let view = self.view();
        let links = view.failing_links(subject);
        let observed = observed(view, subject, &links);
        let found = self.own.failing.find(now, run, &observed);
        let is_degraded = is_degraded(self.view(), subject, &links);
        if let Some(change) = self.own.failing.update(now, run, &links, is_degraded) {
            self.ctx.then(Step::Announce { change, member });
        }
        self.update_narrow(subject);
        if subject == self.list.me().id() {
            self.state(found);
        }
    }

    /// States these flaws of this node, unless it stays away for a while.
    fn state(&mut self, flaws: Flaws) {
        let mine = self.list.me().record.statement();
        if mine.flaws == flaws || mine.has_left || self.own.failing.is_held() {
            return;
        }
        self.ctx.stats.flaws_stated += 1;
        let version = mine.version.next_or_generation();
        restate(self.ctx, Statement { version, flaws, ..mine });
    }

    /// Declares a member dead that has been degraded for as long as the policy gives it, if this node does not reach it
    /// either.
    fn evict(&mut self, subject: MemberId) {
        let view = self.view();
        let since = view.failing.degraded_since(subject);
        let Some((since, after)) = since.zip(view.params.evict_degraded_after) else {
            return;
        };
        let is_due = view.now - since >= after && has_evidence(view, subject);
        let member = view.list.get(subject).filter(|_| is_due);
        let votes = votes(view, subject, since);
        let is_most = is_most(votes.len(), view.alive_observers_of(subject));
        let Some(version) = member.map(|member| member.version()).filter(|_| is_most) else {
            return;
        };
        let began_at = votes.iter().map(|vote| vote.silent_since).min().unwrap_or(since);
        let (outcome, ended_at) = (Outcome::Dead { votes: votes.into() }, self.ctx.now);
        self.own.reports.keep(subject, Report { version, began_at, ended_at, outcome }, Vec::new());
        self.ctx.stats.evictions += 1;
        self.ctx.apply(News::State(subject, MemberState::Dead), Source::Ourselves);
    }
}

#[cfg(test)]
mod tests;
