//! Hearsay: what one member may achieve by saying untrue things of others, as no vote is signed.
//!
//! A member that was suspected or declared dead and refuted shows that others were mistaken, or lied. For a while
//! afterwards nobody's word against it is simply believed: a verdict needs a look of our own, and further suspicions are
//! ignored. So a lie that is repeated harms its victim once, not for as long as it is repeated.
//!
//! The records that one member sends of others are limited too, since each costs a signature check, and so are the
//! pings that it asks for.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    Instant, MemberId,
    limit::{Budgets, Rate, make_room},
};

/// The members that refuted recently, and the remaining budget of each member.
#[derive(Debug, Default)]
pub(crate) struct Hearsay {
    /// At most [`MAX_REFUTED`]; the one that refuted longest ago is dropped.
    refuted: BTreeMap<MemberId, Refutations>,
    /// How many records of each member may still be checked.
    checks: Budgets,
    /// How many ping-reqs of each member may still be carried out.
    requests: Budgets,
    /// How many proofs of life may still be signed for it.
    challenges: Budgets,
    /// How many of its accusations of members that seem well.
    accusations: Budgets,
    /// How often each member is sent verdicts on it that this node does not believe.
    notices: Budgets,
    /// How many verdicts each member may still ask for.
    shown: Budgets,
    /// How many verdicts it may still announce that are not known here.
    announced: Budgets,
    /// How many later versions it may still be sent of members that it considers dead.
    corrections: Budgets,
}

/// How often a member refuted within a window.
#[derive(Clone, Copy, Debug)]
struct Refutations {
    window_began_at: Instant,
    in_window: u32,
    last: Instant,
    /// When it last refuted its death, or was found alive when others had it dead.
    of_death: Option<Instant>,
    /// When a suspicion was last passed on to it, though it was ignored here.
    passed_on_at: Option<Instant>,
}

impl Hearsay {
    /// A member refuted a suspicion.
    pub(crate) fn record_refutation(&mut self, now: Instant, id: MemberId) {
        make_room(&mut self.refuted, id, MAX_REFUTED, |refuted| refuted.last);
        let (window_began_at, last) = (now, now);
        let (in_window, of_death, passed_on_at) = Default::default();
        let fresh = Refutations { window_began_at, in_window, last, of_death, passed_on_at };
        let refuted = self.refuted.entry(id).or_insert(fresh);
        if now - refuted.window_began_at >= MEMORY {
            *refuted = Refutations { of_death: refuted.of_death, ..fresh };
        }
        refuted.in_window += 1;
        refuted.last = now;
    }

    /// A member refuted its death, or was found alive when others had it dead.
    pub(crate) fn record_refuted_death(&mut self, now: Instant, id: MemberId) {
        self.record_refutation(now, id);
        if let Some(refuted) = self.refuted.get_mut(&id) {
            refuted.of_death = Some(now);
        }
    }

    /// Whether a member refuted its death lately, so that not even signed votes are believed without a ping by this node.
    pub(crate) fn has_refuted_death(&self, now: Instant, id: MemberId) -> bool {
        let refuted_at = self.refuted.get(&id).and_then(|refuted| refuted.of_death);
        refuted_at.is_some_and(|at| now - at < MEMORY)
    }

    /// Whether a member refuted so recently that a verdict on it requires a ping by this node.
    pub(crate) fn has_refuted(&self, now: Instant, id: MemberId) -> bool {
        self.refuted.get(&id).is_some_and(|refuted| now - refuted.last < MEMORY)
    }

    /// Whether a member refuted so often lately that further suspicions of others are ignored.
    pub(crate) fn is_worn_out(&self, now: Instant, id: MemberId) -> bool {
        self.has_refuted(now, id)
            && self.refuted.get(&id).is_some_and(|refuted| refuted.in_window >= MAX_SUSPICIONS)
    }

    /// Whether a member that refuted often hears of one more suspicion, although that is ignored here: seldom.
    pub(crate) fn may_pass_on(&mut self, now: Instant, id: MemberId) -> bool {
        let Some(refuted) = self.refuted.get_mut(&id) else {
            return true;
        };
        let last = refuted.passed_on_at.map_or(refuted.last, |at| at.max(refuted.last));
        let is_due = now - last >= PASS_ON_INTERVAL;
        refuted.passed_on_at = if is_due { Some(now) } else { refuted.passed_on_at };
        is_due
    }

    /// Charges one signature check to the member that sent the record; `false` if its budget is spent.
    pub(crate) fn may_check(&mut self, now: Instant, teller: MemberId) -> bool {
        self.checks.take(now, teller, CHECKS)
    }

    /// A record that this member sent has a wrong signature.
    pub(crate) fn record_forgery(&mut self, now: Instant, teller: MemberId) {
        let left = self.checks.left(now, teller, CHECKS);
        *left = (*left - CHECKS_PER_FORGERY).max(0.0);
    }

    /// Whether a member that nobody else doubts is pinged because this one accuses it.
    pub(crate) fn may_accuse(&mut self, now: Instant, accuser: MemberId) -> bool {
        self.accusations.take(now, accuser, ACCUSATIONS)
    }

    /// Whether a member is sent a verdict on it that this node does not believe: others may.
    pub(crate) fn may_notify(&mut self, now: Instant, subject: MemberId) -> bool {
        self.notices.take(now, subject, NOTICES)
    }

    /// Whether a member is sent the signed votes of another verdict that it asks for.
    pub(crate) fn may_show(&mut self, now: Instant, asker: MemberId) -> bool {
        self.shown.take(now, asker, SHOWN)
    }

    /// Whether a member is asked for another verdict that it announces.
    pub(crate) fn may_announce(&mut self, now: Instant, announcer: MemberId) -> bool {
        self.announced.take(now, announcer, ANNOUNCED)
    }

    /// Whether a member is sent the later version of another one that it considers dead.
    pub(crate) fn may_correct(&mut self, now: Instant, mistaken: MemberId) -> bool {
        self.corrections.take(now, mistaken, CORRECTIONS)
    }

    /// Whether another proof of life is signed for this member.
    pub(crate) fn may_challenge(&mut self, now: Instant, requester: MemberId) -> bool {
        self.challenges.take(now, requester, CHALLENGES)
    }

    /// Whether another ping is sent on behalf of this member.
    pub(crate) fn may_request(&mut self, now: Instant, requester: MemberId) -> bool {
        self.requests.take(now, requester, REQUESTS)
    }
}

/// How long a refutation counts against claims of others.
const MEMORY: Duration = Duration::from_secs(60);
/// This many suspicions of one member are believed in that time.
const MAX_SUSPICIONS: u32 = 3;
/// How often a member that refuted so often hears of suspicions that are ignored.
const PASS_ON_INTERVAL: Duration = Duration::from_secs(5);
/// How many members that refuted are remembered.
const MAX_REFUTED: usize = 4_096;
/// How many records of one member are checked: a page of a long list and more at once.
const CHECKS: Rate = Rate { at_once: 16_384.0, per_second: 1_024.0 };
/// The cost of a record with a wrong signature, charged to its sender: no release sends any.
const CHECKS_PER_FORGERY: f64 = 64.0;
/// How many pings are sent on behalf of one member. It asks a few helpers, each time others, for each member that is
/// silent to it.
const REQUESTS: Rate = Rate { at_once: 32.0, per_second: 4.0 };
/// How many proofs of life are signed for one member: one costs about 20 µs.
const CHALLENGES: Rate = Rate { at_once: 64.0, per_second: 16.0 };
/// How often a member is sent such verdicts: each makes it refute.
const NOTICES: Rate = Rate { at_once: 1.0, per_second: 0.1 };
/// How many verdicts one member is sent on request: it asks once for each, and many may die at once.
const SHOWN: Rate = Rate { at_once: 1_024.0, per_second: 64.0 };
/// How many verdicts one member is asked for: more at once are pushed whole.
const ANNOUNCED: Rate = Rate { at_once: 256.0, per_second: 32.0 };
/// How many later versions one member is sent of members that it considers dead.
const CORRECTIONS: Rate = Rate { at_once: 16.0, per_second: 8.0 };
/// How many members are looked at because one member accuses them; a survivor of a mass failure accuses many.
const ACCUSATIONS: Rate = Rate { at_once: 128.0, per_second: 2.0 };

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::START + Duration::from_secs(seconds)
    }

    #[test]
    fn a_refutation_counts_for_a_minute() {
        let id = MemberId([1; 16]);
        // When the member refuted, when is asked, whether it refuted lately, whether suspicions are ignored.
        let cases: &[(&[u64], u64, bool, bool)] = &[
            (&[], 10, false, false),
            (&[10], 10, true, false),
            (&[10], 69, true, false),
            (&[10], 70, false, false),
            (&[10, 20, 30], 30, true, true),
            (&[10, 20, 30], 89, true, true),
            (&[10, 20, 30], 90, false, false),
            // The third one is of another window.
            (&[10, 20, 71], 72, true, false),
        ];
        for (refuted, asked, has_refuted, is_worn_out) in cases {
            let mut hearsay = Hearsay::default();
            refuted.iter().for_each(|&second| hearsay.record_refutation(at(second), id));
            let found = (hearsay.has_refuted(at(*asked), id), hearsay.is_worn_out(at(*asked), id));
            assert_eq!(found, (*has_refuted, *is_worn_out), "{refuted:?} asked at {asked}");
        }
    }

    #[test]
    fn a_refuted_death_counts_apart_for_a_minute_and_as_a_refutation_too() {
        let id = MemberId([1; 16]);
        let mut hearsay = Hearsay::default();
        hearsay.record_refutation(at(10), id);
        assert!(!hearsay.has_refuted_death(at(10), id));
        hearsay.record_refuted_death(at(20), id);
        assert!(hearsay.has_refuted(at(20), id));
        // A window of refutations ends.
        hearsay.record_refutation(at(75), id);
        let found = [20, 79, 80].map(|second| hearsay.has_refuted_death(at(second), id));
        assert_eq!(found, [true, true, false]);
    }

    #[test]
    fn ignored_suspicions_reach_a_member_that_refuted_often_every_five_seconds() {
        let id = MemberId([1; 16]);
        let mut hearsay = Hearsay::default();
        [10, 20, 30].iter().for_each(|&second| hearsay.record_refutation(at(second), id));
        let passed = [31, 34, 35, 36, 39, 40].map(|second| hearsay.may_pass_on(at(second), id));
        assert_eq!(passed, [false, false, true, false, false, true]);
    }

    #[test]
    fn the_one_that_refuted_longest_ago_gives_way() {
        let id = |number: usize| MemberId::from_u128(number as u128);
        let mut hearsay = Hearsay::default();
        (0..=MAX_REFUTED)
            .for_each(|number| hearsay.record_refutation(at(number as u64 / 1_000), id(number)));
        assert_eq!(hearsay.refuted.len(), MAX_REFUTED);
        assert!(!hearsay.has_refuted(at(5), id(0)));
        assert!(hearsay.has_refuted(at(5), id(MAX_REFUTED)));
    }

    #[test]
    fn records_of_one_member_are_checked_within_its_budget() {
        let (liar, other) = (MemberId([1; 16]), MemberId([2; 16]));
        let mut hearsay = Hearsay::default();
        let mut checked =
            |now, teller| (0..100_000).take_while(|_| hearsay.may_check(now, teller)).count();
        assert_eq!(checked(at(0), liar), 16_384);
        assert_eq!(checked(at(1), liar), 1_024);
        assert_eq!(checked(at(1), other), 16_384);
        hearsay.record_forgery(at(2), liar);
        let left = (0..).take_while(|_| hearsay.may_check(at(2), liar)).count();
        assert_eq!(left, 1_024 - 64);
    }
}
