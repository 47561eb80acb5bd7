//! The votes that count: of observers, each once, those of this node and of pending verdicts among them.

use std::collections::BTreeMap;

use crate::{
    Instant, MemberId, MemberState,
    detect::{
        case::Case,
        judge::{ACCUSE_PHI, MAX_VOTE_PHI},
        pending::PendingVerdicts,
        reports::{Silence, Vote},
        view::View,
    },
};

/// This node's own vote on a member, if it has enough against it and may judge it.
fn own_vote(view: View<'_>, subject: MemberId, own_phi: f64) -> Option<Vote> {
    let case = view.case(subject).filter(|_| own_phi >= ACCUSE_PHI)?;
    let silent_since = *case.misses.first()?;
    let me = view.me();
    let is_voter = view.may_observe(me, subject) || view.voters(subject).contains(&me);
    let (silence, attempts) = (case.silence, case.attempts());
    is_voter.then_some(Vote { observer: me, phi: own_phi, silent_since, silence, attempts })
}

/// The votes of a case that count, with this node's own if it has one.
pub(crate) fn valid_votes(view: View<'_>, subject: MemberId, own_phi: f64) -> Vec<Vote> {
    let own = own_vote(view, subject, own_phi);
    let mut votes: Vec<_> = view.cases.votes_of(subject).copied().chain(own).collect();
    votes.retain(|vote| view.list.state(vote.observer).is_some_and(MemberState::is_live));
    votes
}

/// The evidence of this node and, where that makes a majority, the votes of a verdict that is pending.
pub(crate) fn votes_to_judge(
    view: View<'_>,
    pending: &PendingVerdicts,
    subject: MemberId,
    own_phi: f64,
) -> Vec<Vote> {
    let votes = valid_votes(view, subject, own_phi);
    // The votes of a verdict count by their signatures, or not at all.
    if view.needs_signatures() {
        return votes;
    }
    let others = votes_of_others(view, pending, subject, own_phi);
    if others.is_empty() {
        return votes;
    }
    let mut all: BTreeMap<_, _> = others.into_iter().map(|vote| (vote.observer, vote)).collect();
    for vote in &votes {
        all.entry(vote.observer).or_insert(*vote);
    }
    match all.len() > view.alive_observers(subject).len() / 2 {
        true => all.into_values().collect(),
        false => votes,
    }
}

/// The case against a member, if it is enough for this node to accuse it.
fn accusation<'a>(view: View<'a>, subject: MemberId, own_phi: f64) -> Option<&'a Case> {
    view.case(subject).filter(|case| own_phi >= ACCUSE_PHI && case.misses.len() >= 2)
}

/// The votes of others in a pending verdict. They count only beside an accusation of this node: one lost ping and
/// claims of others would be hearsay.
fn votes_of_others(
    view: View<'_>,
    pending: &PendingVerdicts,
    subject: MemberId,
    own_phi: f64,
) -> Vec<Vote> {
    let Some(case) = accusation(view, subject, own_phi) else {
        return Vec::new();
    };
    let mut votes = credible_votes_of_pending(view, pending, subject);
    votes.retain(|vote| vote.observer != view.me() && !case.abstaining.contains(&vote.observer));
    votes.iter_mut().for_each(|vote| vote.phi = vote.phi.clamp(0.0, MAX_VOTE_PHI));
    votes
}

/// The votes of a verdict that is pending for want of a majority, and for no other reason.
pub(crate) fn credible_votes_of_pending(
    view: View<'_>,
    pending: &PendingVerdicts,
    subject: MemberId,
) -> Vec<Vote> {
    let member = view.list.get(subject);
    let verdict = member.and_then(|member| pending.on(subject, member.version()));
    let votes = verdict.map_or(&[][..], |verdict| &verdict.votes);
    let began = silence_began(votes).filter(|&began| !is_settled_since(view, subject, began));
    began.map_or_else(Vec::new, |_| credible_votes(view, subject, votes))
}

/// Whether a member was known alive since then, or others refuted, so that a verdict is pending for more than want of votes.
fn is_settled_since(view: View<'_>, subject: MemberId, began: Instant) -> bool {
    let alive_at = view.links.known_alive_at(subject);
    alive_at.is_some_and(|at| at >= began) || view.contacts.has_other_refuted(began)
}

/// The votes of a verdict that there is no reason to doubt: if this node has not heard from the member since its silence
/// began, nor was perhaps apart from those who voted, and if few fell at that time.
pub(crate) fn credible_votes(view: View<'_>, subject: MemberId, votes: &[Vote]) -> Vec<Vote> {
    let Some(began) = silence_began(votes).filter(|&began| !knows_better(view, subject, began))
    else {
        return Vec::new();
    };
    let counted: BTreeMap<_, _> = votes
        .iter()
        .filter(|vote| was_on_this_side(view, subject, vote))
        .map(|vote| (vote.observer, *vote))
        .collect();
    let counted: Vec<_> = counted.into_values().collect();
    // A split silences many at once and refuses no packet. A majority that signed is no part of a split that is not this
    // node's own.
    let have_many_fallen =
        !view.needs_signatures() && view.contacts.have_many_fallen(began, view.list.rings().len());
    match have_many_fallen && Silence::of(&counted) != Silence::Gone {
        true => Vec::new(),
        false => counted,
    }
}

/// When the silence began that these votes are about.
fn silence_began(votes: &[Vote]) -> Option<Instant> {
    votes.iter().map(|vote| vote.silent_since).min()
}

/// Whether this node heard the member since its silence began, or may not have heard what others did.
fn knows_better(view: View<'_>, subject: MemberId, began: Instant) -> bool {
    let was_heard = view.heard_at(subject).is_some_and(|heard| heard > began);
    was_heard || view.is_most_silent() || view.contacts.were_apart(began, subject)
}

/// Whether a vote is of an observer that was alive here when the silence began. One that was dead or suspect was on the other
/// side of a split.
fn was_on_this_side(view: View<'_>, subject: MemberId, vote: &Vote) -> bool {
    let observer = view.list.get(vote.observer);
    view.may_observe(vote.observer, subject)
        && observer.is_some_and(|member| {
            member.state == MemberState::Alive && member.since <= vote.silent_since
        })
}

/// Whether a verdict is to be accepted as it comes: if those who voted are a majority by this node's list too.
pub(crate) fn is_borne_out(view: View<'_>, subject: MemberId, credible: &[Vote]) -> bool {
    Silence::of(credible) == Silence::Gone
        || credible.len() > view.alive_observers(subject).len() / 2
}

#[cfg(test)]
mod tests;
