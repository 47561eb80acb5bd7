//! [`Detector`]: the state of detection, and how it follows the changes of members.

use std::time::Duration;

use crate::{
    Change, Ctx, Instant, MemberId, MemberState, MembershipList, Transition,
    detect::{
        case::{Case, Cases, Stage},
        certificates::Asked,
        contacts::Contacts,
        failing::Failing,
        hearsay::Hearsay,
        pending::PendingVerdicts,
        proof::Proofs,
        reports::{Outcome, Report, Reports, Silence},
        signed::{Checked, SignedVote, Subject},
        sizes::SizeAnswers,
        standing::Bereft,
    },
};

/// The state of detection.
#[derive(Debug, Default)]
pub(crate) struct Detector {
    pub(crate) cases: Cases,
    pub(crate) pending: PendingVerdicts,
    pub(crate) contacts: Contacts,
    pub(crate) bereft: Bereft,
    pub(crate) hearsay: Hearsay,
    pub(crate) failing: Failing,
    /// When members beyond the subjects are looked at next, while several are silent.
    pub(crate) next_look: Option<Instant>,
    pub(crate) reports: Reports,
    /// The signatures of votes that were checked.
    pub(crate) checked: Checked,
    pub(crate) asked: Asked,
    pub(crate) proofs: Proofs,
    pub(crate) size_answers: SizeAnswers,
}

impl Detector {
    /// Keeps cases, contacts and pending verdicts in step with a change of another member.
    pub(crate) fn react(&mut self, now: Instant, period: Duration, transition: &Transition) {
        let id = transition.id();
        if transition.is_restart() {
            self.contacts.forget(id);
        }
        if transition.is_fall() {
            self.contacts.record_fall(now, period * PERIODS_BETWEEN_FALLS);
        }
        if transition.is_refutation() {
            self.contacts.record_other_refuted(now);
            match transition.state_before() {
                Some(MemberState::Dead) => self.hearsay.record_refuted_death(now, id),
                _ => self.hearsay.record_refutation(now, id),
            }
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
            self.reports.keep(subject, report, case.signed.into_values().collect());
        }
    }

    /// Whether a vote is signed by its voter. Each signature is checked once, within the budget of the member that sent it.
    pub(crate) fn is_authentic(
        &mut self,
        ctx: &mut Ctx,
        list: &MembershipList,
        teller: MemberId,
        (subject, vote): (Subject, &SignedVote),
    ) -> bool {
        if let Some(known) = self.checked.known(subject, vote) {
            return known;
        }
        let Some(voter) = list.get(vote.voter) else {
            return false;
        };
        if !self.hearsay.may_check(ctx.now, teller) {
            ctx.stats.records_over_budget += 1;
            return false;
        }
        let is_authentic = vote.is_authentic(&*ctx.keys, subject, &voter.record.public_key());
        self.checked.record(subject, vote, is_authentic);
        if !is_authentic {
            ctx.stats.forged_votes += 1;
            self.hearsay.record_forgery(ctx.now, teller);
        }
        is_authentic
    }

    /// Whether pings of a member wait for an answer longer than they should, or this node looks at it and has not heard it.
    pub(crate) fn is_unheard(&self, id: MemberId) -> bool {
        !self.cases.misses_of(id).is_empty() || self.pending.is_looked_for(id)
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
            | Change::Suppressed
            | Change::Degraded
            | Change::Recovered
            | Change::Expelled => None,
        }
    }
}

/// Members that fall at most so many periods one after another fell together. Of those that died at once, some have too few
/// observers left and are suspect later, when the death of others is known.
const PERIODS_BETWEEN_FALLS: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        MemberState,
        detect::case::Stage,
        member::{
            record::tests::{id, record, version},
            transition::News,
        },
        testing::{Rooms, at, vote},
    };

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_case_is_reported_if_others_were_asked_or_told_of_it() {
        // The misses, the vote of another, how far the case went; since when the report has it, if there is one.
        type Misses = &'static [u64];
        let cases: [(Misses, Option<u64>, Stage, Option<u64>); 4] = [
            (&[9_000], None, Stage::Watching, None),
            (&[9_000], None, Stage::Insisting, None),
            (&[9_000], None, Stage::Asked, Some(9_000)),
            (&[], Some(8_000), Stage::Watching, Some(10_000)),
        ];
        for (misses, voted, stage, began) in cases {
            let mut rooms = Rooms::of(5);
            let case = rooms.miss(1, misses);
            case.stage = stage;
            voted.into_iter().for_each(|since| {
                case.record_vote(at(9_500), vote(2, since, Silence::Silent));
            });
            rooms.detector.close_case(at(11_000), id(1), Outcome::Cleared { by: id(2) });
            assert!(!rooms.detector.cases.is_open(id(1)));
            let report = rooms.detector.reports.get(id(1));
            assert_eq!(report.map(|report| report.began_at), began.map(at), "{stage:?}");
            assert!(report.is_none_or(|report| report.ended_at == at(11_000)));
        }
    }

    #[test]
    fn what_is_known_of_a_member_follows_what_becomes_of_it() {
        use MemberState::{Alive, Dead, Suspect};
        // The state and incarnation of the member, the news; whether the case and the contact are kept, and whether
        // the news is a fall or a refutation.
        let news = |generation, incarnation| News::Record {
            record: record(1, version(generation, incarnation)),
            state: Alive,
        };
        let cases = [
            (Alive, News::State(id(1), Suspect), [true, true, true, false]),
            (Alive, News::State(id(1), Dead), [false, true, true, false]),
            (Suspect, News::State(id(1), Dead), [false, true, false, false]),
            (Suspect, news(0, 1), [true, true, false, true]),
            (Dead, news(0, 1), [true, true, false, true]),
            (Alive, news(0, 1), [true, true, false, false]),
            (Alive, news(1, 0), [false, false, false, false]),
        ];
        for (state, news, [keeps_case, keeps_contact, falls, refutes]) in cases {
            let mut rooms = Rooms::of(5);
            rooms.put(1, Alive, 0);
            rooms.miss(1, &[9_000]);
            rooms.put(1, state, 9_000);
            rooms.detector.contacts.record_heard(id(1), at(8_000));
            let what = format!("{state} {news:?}");
            let transition = rooms.list.apply(at(10_000), news).unwrap();
            rooms.detector.react(at(10_000), SECOND, &transition);
            let case = rooms.detector.cases.get(id(1));
            assert_eq!(case.is_some(), keeps_case, "{what}");
            // A later version begins without evidence.
            let is_renewed = case.is_some_and(|case| case.misses.is_empty());
            assert_eq!(is_renewed, keeps_case && transition.is_renewal(), "{what}");
            let contacts = &rooms.detector.contacts;
            assert_eq!(contacts.heard_at(id(1)).is_some(), keeps_contact, "{what}");
            (0..3).for_each(|_| rooms.detector.contacts.record_fall(at(9_000), SECOND));
            let contacts = &rooms.detector.contacts;
            assert_eq!(contacts.have_many_fallen(at(9_000), 1), falls, "{what}");
            assert_eq!(contacts.has_other_refuted(at(10_000)), refutes, "{what}");
            let hearsay = &rooms.detector.hearsay;
            assert_eq!(hearsay.has_refuted(at(10_000), id(1)), refutes, "{what}");
            let of_death = refutes && state == Dead;
            assert_eq!(hearsay.has_refuted_death(at(10_000), id(1)), of_death, "{what}");
        }
    }
}
