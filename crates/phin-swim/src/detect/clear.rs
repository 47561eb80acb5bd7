//! Signs of life: evidence from before a member was last alive is void, and the other members that suspect it are notified.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    Ctx, Instant, MemberId, MemberState, MembershipList, Part, Peer, Purpose, Step, Version,
    detect::{case::Stage, detector::Detector, reports::Outcome, view::View},
    newcomers::Newcomers,
    senses::Senses,
};

/// The rules for signs of life, with what they work on.
pub(crate) struct LifeSigns<'a> {
    pub(crate) ctx: &'a mut Ctx,
    pub(crate) list: &'a MembershipList,
    pub(crate) senses: &'a mut Senses,
    pub(crate) own: &'a mut Detector,
    pub(crate) newcomers: &'a mut Newcomers,
}

impl LifeSigns<'_> {
    fn view(&self) -> View<'_> {
        View::new(self.ctx.now, self.ctx, self.list, self.senses, self.own)
    }

    /// A message came from the member itself, or its reply to what was sent at `at`.
    pub(crate) fn record_heard(&mut self, id: MemberId, at: Instant) {
        self.senses.links.record_heard_itself(id, at);
        self.record_alive(id, at);
        self.newcomers.meet(self.ctx, self.list, id);
    }

    /// A member was alive at `at`, as it showed itself or as a helper found: what it did not answer before was lost on
    /// the way.
    pub(crate) fn record_alive(&mut self, id: MemberId, at: Instant) {
        self.senses.links.record_heard(id, at);
        self.own.contacts.record_heard(id, at);
        self.own.pending.record_alive(id, at);
        self.void_evidence(id, at, id);
    }

    /// Whether this member's statement that another one lives counts.
    pub(crate) fn takes_word_of(&mut self, id: MemberId, by: MemberId) -> bool {
        let is_taken = self.senses.links.takes_word_of(self.ctx.now, id, by);
        self.ctx.stats.lone_words_ignored += u64::from(!is_taken);
        is_taken
    }

    /// A member heard from one that this node suspects: whatever this node has against it from before that is void.
    pub(crate) fn handle_clear(
        &mut self,
        from: Peer,
        subject: MemberId,
        version: Version,
        age: Duration,
    ) {
        let until = self.ctx.now.saturating_sub(age);
        let is_current = self.list.get(subject).is_some_and(|known| known.version() == version);
        if is_current && (from.id == subject || self.takes_clear(from, subject, until)) {
            self.void_evidence(subject, until, from.id);
            self.own.cases.answer(subject, from.id);
        }
    }

    /// Accepts another member's statement that the subject was alive at `until`, if it counts.
    fn takes_clear(&mut self, from: Peer, subject: MemberId, until: Instant) -> bool {
        let may_clear = self.may_clear(from.id, subject);
        self.ctx.stats.unasked_answers += u64::from(!may_clear);
        if may_clear && self.needs_proof() {
            self.doubt(from, subject, until);
            return false;
        }
        let is_taken = may_clear && self.takes_word_of(subject, from.id);
        if is_taken {
            self.senses.pings.record_lost(&mut self.senses.links, subject, until);
            self.senses.links.record_reached_by(subject, from.id);
        }
        is_taken
    }

    /// Whether the statement of another member that this one lives needs the signature of this one.
    pub(crate) fn needs_proof(&self) -> bool {
        self.view().needs_signatures()
    }

    /// Whether a member may say that this one lives: if it observes it, or was asked what it knows.
    fn may_clear(&self, from: MemberId, subject: MemberId) -> bool {
        let view = self.view();
        view.may_observe(from, subject)
            || view.case(subject).is_some_and(|case| case.asked.contains(&from))
            || view.voters(subject).contains(&from)
    }

    /// This member states that the subject was alive at `until`: older evidence against it is void.
    pub(crate) fn void_evidence(&mut self, subject: MemberId, until: Instant, by: MemberId) {
        self.senses.links.record_known_alive(subject, until);
        let Some(case) = self.own.cases.get_mut(subject) else {
            return;
        };
        let (silent_since, concerned) = (case.silent_since(), case.concerned());
        let (is_news, version, stage) = (case.void(until), case.version, case.stage);
        if case.is_empty() {
            let lasted = silent_since.map_or(Duration::ZERO, |since| until.saturating_since(since));
            self.end_cleared(subject, by, lasted);
        }
        // Those that suspect it too learn at once, from the member that heard it first. Where it voids nothing here, it is
        // not passed on: accusers would relay it among each other for ever.
        let was_accused = stage == Stage::Accused;
        if by == subject || (was_accused && is_news) {
            // Those that were asked to vote may still be about to.
            let asked = self.list.rings().observers(subject).into_iter().filter(|_| was_accused);
            let concerned = concerned.into_iter().chain(asked).filter(|&id| id != by).collect();
            self.send_clear(
                concerned,
                &Part::Clear { subject, version, age: self.ctx.now - until },
            );
        }
    }

    /// Nothing is left against a member: its case is closed.
    fn end_cleared(&mut self, subject: MemberId, by: MemberId, lasted: Duration) {
        self.own.close_case(self.ctx.now, subject, Outcome::Cleared { by });
        self.senses.links.record_silence_ended(self.ctx.now, subject, lasted);
        if by != subject {
            self.ask_to_refute(subject);
        }
    }

    fn send_clear(&mut self, receivers: BTreeSet<MemberId>, clear: &Part) {
        let me = self.list.me().id();
        let receivers = receivers.into_iter().filter(|&id| id != me);
        for peer in receivers.filter_map(|id| self.list.peer(id)) {
            self.ctx.send(peer, clear);
        }
    }

    /// Others cleared a member. If it is still suspect here, only its own refutation ends that: it is pinged, and
    /// informed of the suspicion when it replies.
    pub(crate) fn ask_to_refute(&mut self, subject: MemberId) {
        let is_suspect = self.list.state(subject) == Some(MemberState::Suspect);
        if is_suspect
            && self.view().waiting_since(subject).is_none()
            && let Some(to) = self.list.peer(subject)
        {
            self.ctx.then(Step::Ping { to, purpose: Purpose::Probe });
        }
    }
}

#[cfg(test)]
mod tests;
