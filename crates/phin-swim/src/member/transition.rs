//! [`Transition`]: one change of one member, applied in one place; every room reacts to it in its own.

use std::sync::Arc;

use crate::{Change, Instant, Member, MemberId, MemberState, Record, member::list::MembershipList};

/// News of a member.
#[derive(Clone, Debug)]
pub(crate) enum News {
    /// Its own record, and what it is by that and by what else is known: this is how members appear, change, return and
    /// leave.
    Record { record: Record, state: MemberState },
    /// A live member is suspect or dead, in the version that is known.
    State(MemberId, MemberState),
    /// A later version is known of a member that is gone, which stays so.
    Renewed(Record),
    /// It died or left, and is no longer in the list.
    Forgotten(MemberId),
    /// The same, because it is expelled.
    Expelled(MemberId),
}

impl News {
    /// A new word of this node about itself.
    pub(crate) const fn own(record: Record) -> Self {
        let state = record.own_state();
        Self::Record { record, state }
    }
}

/// A change of a member that was applied to the list.
#[derive(Clone, Debug)]
pub(crate) struct Transition {
    pub(crate) before: Option<Arc<Member>>,
    /// As it is now; as it was last, where it is forgotten.
    pub(crate) after: Arc<Member>,
    /// The change to report to the application, if any.
    pub(crate) change: Option<Change>,
    /// Whether the member is this node.
    pub(crate) is_me: bool,
    /// Whether the member's own record brought it.
    pub(crate) is_record: bool,
}

impl Transition {
    pub(crate) fn id(&self) -> MemberId {
        self.after.id()
    }

    /// Whether it is no longer in the list.
    pub(crate) fn is_forgotten(&self) -> bool {
        matches!(self.change, Some(Change::Forgotten | Change::Expelled))
    }

    pub(crate) fn state_before(&self) -> Option<MemberState> {
        self.before.as_ref().map(|before| before.state)
    }

    fn was_live(&self) -> bool {
        self.state_before().is_some_and(MemberState::is_live)
    }

    /// Whether the member takes part after it.
    pub(crate) fn is_live(&self) -> bool {
        self.after.state.is_live() && !self.is_forgotten()
    }

    /// Whether another run of the member's process is known from now on.
    pub(crate) fn is_restart(&self) -> bool {
        self.before.as_ref().is_some_and(|b| b.generation() < self.after.generation())
    }

    /// Whether the member was restarted before anyone noticed its death.
    pub(crate) fn is_unnoticed_restart(&self) -> bool {
        self.is_restart() && self.was_live()
    }

    /// Whether what was known of the member's process, and of the link to it, is void.
    pub(crate) fn ends_run(&self) -> bool {
        let is_gone = !self.after.state.is_live();
        self.is_restart() || is_gone && self.state_before() != Some(self.after.state)
    }

    /// Whether a later version of a live member is known within one run: it refuted what there was against the one before.
    pub(crate) fn is_renewal(&self) -> bool {
        let is_later = self.before.as_ref().is_some_and(|b| b.version() < self.after.version());
        is_later && self.was_live() && self.is_live() && !self.is_restart()
    }

    /// Whether the member answered that it lives, in one run, when it was suspect or dead.
    pub(crate) fn is_refutation(&self) -> bool {
        let was_accused =
            matches!(self.state_before(), Some(MemberState::Suspect | MemberState::Dead));
        was_accused && self.is_live() && !self.is_restart()
    }

    /// Whether the members that are counted as voters of an office may be others after it: one came, left or was forgotten, or
    /// has other tags.
    pub(crate) fn changes_voters(&self) -> bool {
        let comes_or_goes = self.is_forgotten() || self.after.state == MemberState::Left;
        comes_or_goes
            || self.before.as_ref().is_none_or(|before| {
                before.state == MemberState::Left || before.tags().ne(self.after.tags())
            })
    }

    /// Whether the member states flaws, or no longer does.
    pub(crate) fn concerns_flaws(&self) -> bool {
        let had = self.before.as_ref().is_some_and(|before| !before.flaws().is_empty());
        self.is_record && self.is_live() && (had || !self.after.flaws().is_empty())
    }

    /// Whether the member was dead, and is back.
    pub(crate) fn is_return(&self) -> bool {
        self.state_before() == Some(MemberState::Dead) && self.is_live()
    }

    /// Whether the member takes part after it, and did not before it, or not in this run.
    pub(crate) fn is_arrival(&self) -> bool {
        self.is_live() && (!self.was_live() || self.is_restart())
    }

    /// Whether a live member is new, runs anew, or had left: it has nothing of what was before.
    pub(crate) fn is_join(&self) -> bool {
        let was_gone = self.state_before().is_none_or(|before| before == MemberState::Left);
        self.is_live() && (was_gone || self.is_restart())
    }

    /// Whether the member became suspect or dead.
    pub(crate) fn is_fall(&self) -> bool {
        self.state_before() == Some(MemberState::Alive)
            && matches!(self.after.state, MemberState::Suspect | MemberState::Dead)
    }

    /// Whether the member took part before it, and no longer does.
    pub(crate) fn is_departure(&self) -> bool {
        self.was_live() && !self.is_live()
    }

    /// Whether a member that was known died.
    pub(crate) fn is_death(&self) -> bool {
        self.was_live() && self.after.state == MemberState::Dead
    }

    /// Whether a member says, in one run, that it is reached elsewhere now.
    pub(crate) fn has_moved(&self) -> bool {
        let has_other_addr = self.before.as_ref().is_some_and(|b| b.addr() != self.after.addr());
        has_other_addr && self.was_live() && self.is_live() && !self.is_restart()
    }

    /// Whether the member became live, or has another name.
    pub(crate) fn has_new_name(&self) -> bool {
        let had_it = self
            .before
            .as_ref()
            .is_some_and(|b| b.state.is_live() && b.name() == self.after.name());
        self.is_live() && !had_it
    }
}

impl MembershipList {
    /// Applies what became known of a member. `None` where that changes nothing.
    pub(crate) fn apply(&mut self, now: Instant, news: News) -> Option<Transition> {
        match news {
            News::Record { record, state } => Some(self.apply_record(now, record, state)),
            News::State(id, state) => self.apply_state(now, id, state),
            News::Renewed(record) => self.apply_renewal(record),
            News::Forgotten(id) => self.apply_removal(id, Change::Forgotten),
            News::Expelled(id) => self.apply_removal(id, Change::Expelled),
        }
    }

    fn apply_removal(&mut self, id: MemberId, change: Change) -> Option<Transition> {
        let after = self.remove(id)?;
        let (before, change) = (Some(Arc::clone(&after)), Some(change));
        Some(Transition { before, after, change, is_me: false, is_record: false })
    }

    fn apply_renewal(&mut self, record: Record) -> Option<Transition> {
        let before = self.get(record.id()).filter(|known| !known.state.is_live()).cloned()?;
        let (state, since) = (before.state, before.since);
        let after = self.put(Member { record, state, since });
        Some(Transition {
            before: Some(before),
            after,
            change: None,
            is_me: false,
            is_record: true,
        })
    }

    fn apply_state(
        &mut self,
        now: Instant,
        id: MemberId,
        state: MemberState,
    ) -> Option<Transition> {
        let before = self.live(id).cloned()?;
        let record = before.record.clone();
        let after = self.put(Member { record, state, since: now });
        let (change, is_me) = (Some(Change::to(state)), self.me().id() == id);
        Some(Transition { before: Some(before), after, change, is_me, is_record: false })
    }

    fn apply_record(&mut self, now: Instant, record: Record, state: MemberState) -> Transition {
        let id = record.id();
        let (before, is_me) = (self.get(id).cloned(), self.me().id() == id);
        let change = change_by_record(before.as_deref(), &record, state);
        let is_restart =
            before.as_ref().is_some_and(|b| b.generation() < record.version().generation);
        let since = match &before {
            Some(before) if before.state == state && (is_me || !is_restart) => before.since,
            Some(_) | None => now,
        };
        let after = self.put(Member { record, state, since });
        Transition { before, after, change, is_me, is_record: true }
    }
}

/// The change to report if a record puts a member into this state.
fn change_by_record(known: Option<&Member>, record: &Record, state: MemberState) -> Option<Change> {
    match (known, state) {
        // A member that was already gone when this node first heard of it is no event.
        (None, MemberState::Left | MemberState::Dead) => None,
        (Some(_), MemberState::Left) => Some(Change::Left),
        (Some(_), MemberState::Dead) => Some(Change::Dead),
        (None, MemberState::Alive | MemberState::Suspect) => Some(Change::Joined),
        (Some(known), MemberState::Alive | MemberState::Suspect) => change_of_alive(known, record),
    }
}

/// The change to report of a member that says it is alive, given what was known of it.
pub(crate) fn change_of_alive(known: &Member, record: &Record) -> Option<Change> {
    match known.state {
        MemberState::Left => Some(Change::Joined),
        MemberState::Dead | MemberState::Suspect => Some(Change::Alive),
        MemberState::Alive if known.generation() < record.version().generation => {
            Some(Change::Alive)
        }
        MemberState::Alive => {
            let is_same = known.record.addrs().eq(record.addrs())
                && known.name() == record.name()
                && known.record.profile() == record.profile();
            (!is_same).then_some(Change::Updated)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::member::record::tests::{id, record, version};

    fn at(seconds: u64) -> Instant {
        Instant::START + Duration::from_secs(seconds)
    }

    /// The result for member 1, known in this version and state since second 1, when this record arrives at second 9.
    fn by_record(
        known: Option<((u32, u32), MemberState)>,
        heard: ((u32, u32), MemberState),
    ) -> Transition {
        let me =
            Member { record: record(0, version(0, 0)), state: MemberState::Alive, since: at(0) };
        let mut list = MembershipList::new(me, 8);
        if let Some(((generation, incarnation), state)) = known {
            let record = record(1, version(generation, incarnation));
            list.put(Member { record, state, since: at(1) });
        }
        let ((generation, incarnation), state) = heard;
        let record = record(1, version(generation, incarnation));
        list.apply(at(9), News::Record { record, state }).unwrap()
    }

    #[test]
    fn a_record_makes_members_appear_return_and_leave() {
        use MemberState::{Alive, Dead, Left, Suspect};
        // The known state, the news; the change reported to the application, and since when the member is in its
        // state.
        let cases = [
            (None, ((0, 0), Alive), Some(Change::Joined), 9),
            (None, ((0, 0), Dead), None, 9),
            (None, ((0, 0), Left), None, 9),
            (Some(((0, 0), Alive)), ((0, 1), Alive), None, 1),
            (Some(((0, 0), Alive)), ((1, 0), Alive), Some(Change::Alive), 9),
            (Some(((0, 0), Suspect)), ((0, 1), Alive), Some(Change::Alive), 9),
            (Some(((0, 0), Dead)), ((0, 1), Alive), Some(Change::Alive), 9),
            (Some(((0, 0), Left)), ((0, 1), Alive), Some(Change::Joined), 9),
            (Some(((0, 0), Alive)), ((0, 1), Left), Some(Change::Left), 9),
        ];
        for (known, heard, change, since) in cases {
            let found = by_record(known, heard);
            assert_eq!(
                (found.change, found.after.since()),
                (change, at(since)),
                "{known:?} {heard:?}"
            );
        }
    }

    #[test]
    fn what_a_record_means_depends_on_what_was_known() {
        use MemberState::{Alive, Dead, Suspect};
        // The known state, the news; whether it ends a run, is a renewal, a refutation, a return, an unnoticed
        // restart.
        let cases = [
            (None, (0, 0), [false; 5]),
            (Some(((0, 0), Alive)), (0, 1), [false, true, false, false, false]),
            (Some(((0, 0), Suspect)), (0, 1), [false, true, true, false, false]),
            (Some(((0, 0), Dead)), (0, 1), [false, false, true, true, false]),
            (Some(((0, 0), Alive)), (1, 0), [true, false, false, false, true]),
            (Some(((0, 0), Dead)), (1, 0), [true, false, false, true, false]),
        ];
        for (known, heard, expected) in cases {
            let found = by_record(known, (heard, Alive));
            let meaning = [
                found.ends_run(),
                found.is_renewal(),
                found.is_refutation(),
                found.is_return(),
                found.is_unnoticed_restart(),
            ];
            assert_eq!(meaning, expected, "{known:?} {heard:?}");
        }
    }

    #[test]
    fn only_live_members_become_suspect_or_dead() {
        use MemberState::{Alive, Dead, Left, Suspect};
        let me = Member { record: record(0, version(0, 0)), state: Alive, since: at(0) };
        let cases = [
            (Alive, Suspect, Some((true, false))),
            (Alive, Dead, Some((true, true))),
            (Suspect, Dead, Some((false, true))),
            (Dead, Suspect, None),
            // It left by its own signed word, which no claim of others replaces.
            (Left, Dead, None),
        ];
        for (known, claimed, expected) in cases {
            let mut list = MembershipList::new(me.clone(), 8);
            list.put(Member { record: record(1, version(0, 0)), state: known, since: at(1) });
            let found = list.apply(at(9), News::State(id(1), claimed));
            let meaning = found.map(|found| (found.is_fall(), found.is_death()));
            assert_eq!(meaning, expected, "{known} {claimed}");
        }
    }
}
