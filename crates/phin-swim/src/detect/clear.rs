//! Signs of life: evidence from before a member was last alive is void, and the other members that suspect it are notified.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    ClearBody, Ctx, Instant, MemberId, MemberState, MembershipList, Part, Peer, Purpose, Step,
    detect::{case::Stage, detector::Detector, reports::Outcome, view::View},
    link::Word,
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

/// The author of a `Clear`. If that is the subject, this node heard it.
fn word_of(clear: &ClearBody, from: MemberId, me: MemberId) -> Word {
    match from == clear.subject {
        true => Word::of(me),
        false => Word { heard_by: clear.heard_by.unwrap_or(from), said_by: from },
    }
}

impl LifeSigns<'_> {
    fn view(&self) -> View<'_> {
        View::new(self.ctx.now, self.ctx, self.list, self.senses, self.own)
    }

    /// A message came from the member itself, or its reply to what was sent at `at`.
    pub(crate) fn record_heard(&mut self, id: MemberId, at: Instant) {
        self.senses.links.record_heard_itself(id, at);
        self.record_alive(id, at, self.list.me().id());
        self.newcomers.meet(self.ctx, self.list, id);
    }

    /// A member was alive at `at`, as this node or a helper heard: what it did not answer before was lost on the way.
    pub(crate) fn record_alive(&mut self, id: MemberId, at: Instant, heard_by: MemberId) {
        self.senses.links.record_heard(id, at);
        self.own.contacts.record_heard(id, at);
        self.own.pending.record_alive(id, at);
        let said_by = self.list.me().id();
        self.void_evidence(id, at, Word { heard_by, said_by });
    }

    /// Whether this member's statement that another one lives counts.
    pub(crate) fn takes_word(&mut self, id: MemberId, word: Word) -> bool {
        let is_taken = self.senses.links.takes_word(self.ctx.now, id, word);
        self.ctx.stats.lone_words_ignored += u64::from(!is_taken);
        is_taken
    }

    /// A member that this node suspects was heard: whatever this node has against it from before that is void.
    pub(crate) fn handle_clear(&mut self, from: Peer, clear: ClearBody) {
        let (ClearBody { subject, version, age, .. }, me) = (clear, self.list.me().id());
        let until = self.ctx.now.saturating_sub(age);
        let is_current = self.list.get(subject).is_some_and(|known| known.version() == version);
        // This node knows itself what it heard, whatever a liar says.
        let is_told = is_current && clear.heard_by != Some(me);
        let word = word_of(&clear, from.id, me);
        if is_told && (from.id == subject || self.takes_clear(from, subject, (until, word))) {
            self.void_evidence(subject, until, word);
            self.own.cases.answer(subject, from.id);
        }
    }

    /// Accepts another member's statement that the subject was alive at `until`, if it counts.
    fn takes_clear(
        &mut self,
        from: Peer,
        subject: MemberId,
        (until, word): (Instant, Word),
    ) -> bool {
        let may_clear = self.may_clear(from.id, subject);
        self.ctx.stats.unasked_answers += u64::from(!may_clear);
        if may_clear && self.needs_proof() {
            self.doubt(from, subject, until);
            return false;
        }
        let is_taken = may_clear && self.takes_word(subject, word);
        if is_taken {
            self.senses.pings.record_lost(&mut self.senses.links, subject, until);
        }
        if is_taken && word.is_first_hand() {
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

    /// The subject was alive at `until`, as this node or another member heard: older evidence against it is void.
    pub(crate) fn void_evidence(&mut self, subject: MemberId, until: Instant, word: Word) {
        self.senses.links.record_known_alive(subject, until);
        let Some(case) = self.own.cases.get_mut(subject) else {
            return;
        };
        let (silent_since, concerned) = (case.silent_since(), case.concerned());
        let (is_news, version, stage) = (case.void(until), case.version, case.stage);
        let me = self.list.me().id();
        let by_another = Some(word.heard_by).filter(|&by| by != me);
        if case.is_empty() {
            let lasted = silent_since.map_or(Duration::ZERO, |since| until.saturating_since(since));
            self.end_cleared(subject, by_another, lasted);
        }
        // Those that suspect it too learn at once, from the member that heard it first. A word that voids nothing here is not
        // passed on, as accusers would relay it among each other for ever, nor one that was passed on already: each node
        // vouches for the origin that it names.
        let was_accused = stage == Stage::Accused;
        if word.said_by == me || (was_accused && is_news && word.is_first_hand()) {
            // Those that were asked to vote may still be about to.
            let asked = self.list.rings().observers(subject).into_iter().filter(|_| was_accused);
            let concerned = concerned.into_iter().chain(asked);
            let concerned = concerned.filter(|&id| id != word.said_by && id != me).collect();
            let age = self.ctx.now - until;
            let clear = ClearBody { subject, version, age, heard_by: by_another };
            self.send_clear(concerned, &Part::Clear(clear));
        }
    }

    /// Nothing is left against a member: its case is closed.
    fn end_cleared(&mut self, subject: MemberId, by: Option<MemberId>, lasted: Duration) {
        let outcome = Outcome::Cleared { by: by.unwrap_or(subject) };
        self.own.close_case(self.ctx.now, subject, outcome);
        self.senses.links.record_silence_ended(self.ctx.now, subject, lasted);
        if by.is_some() {
            self.ask_to_refute(subject);
        }
    }

    fn send_clear(&mut self, receivers: BTreeSet<MemberId>, clear: &Part) {
        for peer in receivers.into_iter().filter_map(|id| self.list.peer(id)) {
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
