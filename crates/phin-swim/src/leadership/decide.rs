//! Whether a voter grants a term of an office: one pure function. The scheme is that of leases (Gray and Cheriton, SOSP 1989)
//! with the terms of Raft (Ongaro and Ousterhout, USENIX ATC 2014, §5.2).

use std::time::Duration;

use crate::{
    Generation, Instant, MemberId, OfficeRules, Promise, Term,
    leadership::refusal::{Refusal, Why},
    wire::LeadAsk,
};

/// A term that this voter granted, and until when.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) promise: Promise,
    /// Until when no other candidate is granted a term.
    pub(crate) until: Instant,
    /// The rules under which it was granted; `None` after a restart.
    pub(crate) rules: Option<OfficeRules>,
    /// Whether the candidate gave it up. Then the term is not granted again: a request that was delayed would block the office.
    pub(crate) is_released: bool,
}

impl Held {
    fn is_of(&self, candidate: MemberId, generation: Generation) -> bool {
        (self.promise.candidate, self.promise.generation) == (candidate, generation)
    }

    /// Whether it is the term that is asked for.
    fn is_same(&self, candidate: MemberId, ask: &LeadAsk) -> bool {
        self.is_of(candidate, ask.generation) && self.promise.term == ask.term && !self.is_released
    }

    fn has_rules_of(&self, ask: &LeadAsk) -> bool {
        self.rules.as_ref().is_none_or(|rules| *rules == ask.rules)
    }
}

/// The voter's view besides the request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    pub(crate) now: Instant,
    /// The last grant.
    pub(crate) held: Option<&'a Held>,
    /// A term must exceed this if nothing was granted.
    pub(crate) floor: Term,
    pub(crate) candidate: Fitness,
    pub(crate) voter: Standing,
    /// From when on it grants terms. Before, leases may run that it does not know of.
    pub(crate) settled_at: Instant,
    /// How many voters it knows that have not left.
    pub(crate) known_voters: usize,
    /// Whether it can remember another office.
    pub(crate) has_room: bool,
    /// The longest lease that it grants: so long it waits after it was started.
    pub(crate) max_lease: Duration,
}

/// How a candidate stands in the list of a voter.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fitness {
    /// Alive in the run that asks, and it takes work.
    Fit,
    /// Live in that run.
    Doubtful,
    /// Anything else.
    Unfit,
}

/// Whether a node votes for an office at all.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Standing {
    Voter,
    /// The rules do not name it, or have not for long enough.
    NoVoter,
    Leaving,
}

/// The grant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Grant {
    /// A term that was not granted before. It is kept before it is answered.
    New,
    /// The same term for longer.
    Renewed,
}

/// Whether this voter grants what `candidate` asks for.
pub(crate) fn decide(
    candidate: MemberId,
    ask: &LeadAsk,
    view: &View<'_>,
) -> Result<Grant, Refusal> {
    let promised = view.held.map_or(view.floor, |held| held.promise.term);
    let refuse = |(why, remaining)| Refusal { why, promised, remaining };
    if is_renewal(candidate, ask, view) {
        return Ok(Grant::Renewed);
    }
    let checks = [
        check_voter(view),
        check_lease(candidate, ask, view),
        check_candidate(view),
        check_term(candidate, ask, view, promised),
    ];
    checks.into_iter().collect::<Result<(), _>>().map_err(refuse)?;
    let is_known = view.held.is_some_and(|held| held.is_same(candidate, ask));
    Ok(if is_known { Grant::Renewed } else { Grant::New })
}

/// Whether the lease of this candidate runs, in this term. Then the candidate needs to be no more than live: the one that
/// holds the office is not to lose it by a suspicion, which its request contradicts, or because a voter was added.
pub(crate) fn is_renewal(candidate: MemberId, ask: &LeadAsk, view: &View<'_>) -> bool {
    let is_running = |held: &Held| held.is_same(candidate, ask) && view.now < held.until;
    view.held.is_some_and(|held| is_running(held) && held.has_rules_of(ask))
        && ask.lease <= view.max_lease
        && view.voter == Standing::Voter
        && view.candidate != Fitness::Unfit
}

type Check = Result<(), (Why, Duration)>;

fn check_voter(view: &View<'_>) -> Check {
    match view.voter {
        Standing::Leaving => Err((Why::Leaving, Duration::ZERO)),
        Standing::NoVoter => Err((Why::NoVoter, Duration::ZERO)),
        Standing::Voter if view.now < view.settled_at => {
            Err((Why::NotSettled, view.settled_at - view.now))
        }
        Standing::Voter => Ok(()),
    }
}

/// Refuses while the lease of another candidate, or of another run of this one, can run.
fn check_lease(candidate: MemberId, ask: &LeadAsk, view: &View<'_>) -> Check {
    if ask.lease > view.max_lease {
        return Err((Why::RulesDiffer, Duration::ZERO));
    }
    let running = view.held.filter(|held| view.now < held.until);
    match running.filter(|held| !held.is_of(candidate, ask.generation)) {
        None => Ok(()),
        Some(held) => {
            let why = if held.has_rules_of(ask) { Why::Held } else { Why::RulesDiffer };
            Err((why, held.until - view.now))
        }
    }
}

fn check_candidate(view: &View<'_>) -> Check {
    match view.candidate {
        Fitness::Fit => Ok(()),
        Fitness::Doubtful | Fitness::Unfit => Err((Why::Unfit, Duration::ZERO)),
    }
}

fn check_term(candidate: MemberId, ask: &LeadAsk, view: &View<'_>, promised: Term) -> Check {
    let is_same = view.held.is_some_and(|held| held.is_same(candidate, ask));
    let why = match ask.rules.expected {
        _ if ask.term <= promised && !is_same => Why::TermTooLow,
        _ if ask.term.0 - promised.0 > MAX_TERM_STEP => Why::TermTooHigh,
        // Two majorities of the number expected might have no voter in common. Without one, lists must agree.
        expected if view.known_voters > usize::from(expected.unwrap_or(ask.size)) => {
            Why::TooManyVoters
        }
        _ if view.held.is_none() && !view.has_room => Why::TooManyOffices,
        _ => return Ok(()),
    };
    Err((why, Duration::ZERO))
}

/// How far a term can exceed the last one. An office that changes hands once a second for a century stays below it, and a
/// candidate that takes the highest term of all leaves others none.
const MAX_TERM_STEP: u64 = 1 << 32;

#[cfg(test)]
mod tests;
