//! [`Detector`]: the state of detection, and how it follows the changes of members.

use crate::{
    Change, Instant, MemberId,
    detect::{
        case::{Case, Cases, Stage},
        contacts::Contacts,
        failing::Failing,
        hearsay::Hearsay,
        pending::PendingVerdicts,
        reports::{Outcome, Report, Reports, Silence},
    },
    member::transition::Transition,
};

/// The state of detection.
#[derive(Debug, Default)]
pub(crate) struct Detector {
    pub(crate) cases: Cases,
    pub(crate) pending: PendingVerdicts,
    pub(crate) contacts: Contacts,
    pub(crate) hearsay: Hearsay,
    pub(crate) failing: Failing,
    /// When members beyond the subjects are looked at next, while several are silent.
    pub(crate) next_look: Option<Instant>,
    pub(crate) reports: Reports,
}

impl Detector {
    /// Keeps cases, contacts and pending verdicts in step with a change of another member.
    pub(crate) fn react(&mut self, now: Instant, transition: &Transition) {
        let id = transition.id();
        if transition.is_restart() {
            self.contacts.forget(id);
        }
        if transition.is_fall() {
            self.contacts.record_fall(now);
        }
        if transition.is_refutation() {
            self.contacts.record_other_refuted(now);
            self.hearsay.record_refutation(now, id);
        }
        if transition.is_renewal() {
            self.cases.renew(now, id, transition.after.version());
        }
        if transition.ends_run() {
            self.cases.close(id);
        }
        if transition.is_death() {
            self.pending.end(id);
        }
    }

    /// Ends a case, and keeps a report of it if others were asked. A single lost message is nobody's concern.
    pub(crate) fn close_case(&mut self, now: Instant, subject: MemberId, outcome: Outcome) {
        let case = self.cases.close(subject);
        let is_reported = |case: &Case| case.stage >= Stage::Asked || !case.votes.is_empty();
        if let Some(case) = case.filter(is_reported) {
            let began_at = case.misses.first().copied().unwrap_or(case.opened_at);
            let report = Report { version: case.version, began_at, ended_at: now, outcome };
            self.reports.keep(subject, report);
        }
    }

    /// For a death or a suspicion, what kind of silence it was, as far as is known.
    pub(crate) fn silence_behind(&self, change: Change, id: MemberId) -> Option<Silence> {
        match change {
            Change::Dead => self.reports.get(id).and_then(Report::silence),
            Change::Suspect => self.cases.silence_of(id),
            Change::Joined
            | Change::Alive
            | Change::Left
            | Change::Updated
            | Change::Forgotten
            | Change::NameConflict
            | Change::HeldBack
            | Change::Degraded
            | Change::Recovered => None,
        }
    }
}
