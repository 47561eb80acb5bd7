//! [`Detector`]: the state of detection; [`Detect`]: its rules, with what they work on.

use crate::{
    Change, Instant, MemberId,
    ctx::Ctx,
    detect::{
        case::{Case, Cases},
        contacts::Contacts,
        failing::Failing,
        health::LocalHealth,
        hearsay::Hearsay,
        look::Looks,
        pending::PendingVerdicts,
        reports::{Report, Reports, Silence},
        view::View,
    },
    link::Links,
    member::{list::MembershipList, transition::Transition},
    probe::{pings::Pings, rounds::Rounds},
};

/// The state of detection.
#[derive(Debug, Default)]
pub(crate) struct Detector {
    pub(crate) cases: Cases,
    pub(crate) pending: PendingVerdicts,
    pub(crate) contacts: Contacts,
    pub(crate) hearsay: Hearsay,
    pub(crate) failing: Failing,
    pub(crate) looks: Looks,
    pub(crate) reports: Reports,
}

/// The rules of detection, with what they work on.
pub(crate) struct Detect<'a> {
    pub(crate) ctx: &'a mut Ctx,
    pub(crate) list: &'a MembershipList,
    pub(crate) links: &'a mut Links,
    pub(crate) pings: &'a mut Pings,
    pub(crate) rounds: &'a mut Rounds,
    pub(crate) health: &'a mut LocalHealth,
    pub(crate) own: &'a mut Detector,
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

impl Detect<'_> {
    pub(crate) fn view(&self) -> View<'_> {
        let Detector { cases, contacts, failing, .. } = &*self.own;
        View {
            now: self.ctx.now,
            params: &self.ctx.params,
            list: self.list,
            links: self.links,
            pings: self.pings,
            rounds: self.rounds,
            health: self.health,
            cases,
            contacts,
            failing,
        }
    }

    /// The case of a live member, opened if there is room.
    pub(crate) fn open_case(&mut self, subject: MemberId) -> Option<&mut Case> {
        let now = self.ctx.now;
        let known = self.list.get(subject).filter(|known| known.state.is_live())?;
        let Some(case) = self.own.cases.open(now, subject, known.version()) else {
            self.ctx.stats.cases_refused += 1;
            return None;
        };
        if case.is_dormant() {
            // What we missed for another long ago, and nobody followed up, is no part of a silence that begins now.
            let recent = self.ctx.params.pause_tolerance / 4;
            case.misses.retain(|&sent_at| now - sent_at <= recent);
            case.opened_at = now;
        }
        Some(case)
    }
}
