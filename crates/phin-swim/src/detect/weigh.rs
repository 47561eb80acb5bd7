//! The votes that count: of observers, each once, those of this node and of pending verdicts among them.

use std::collections::BTreeMap;

use crate::{
    MemberId, MemberState, Version,
    detect::{
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

/// The evidence of this node and, where that makes a majority, the votes of a verdict that is pending. They count beside an
/// accusation of this node only: one lost ping and the word of others would be hearsay.
pub(crate) fn votes_to_judge(
    view: View<'_>,
    pending: &PendingVerdicts,
    subject: MemberId,
    own_phi: f64,
) -> Vec<Vote> {
    let votes = valid_votes(view, subject, own_phi);
    let case = view.case(subject);
    let Some(case) = case.filter(|case| own_phi >= ACCUSE_PHI && case.misses.len() >= 2) else {
        return votes;
    };
    let mut all: BTreeMap<_, _> = credible_votes_of_pending(view, pending, subject)
        .into_iter()
        .filter(|vote| vote.observer != view.me() && !case.abstaining.contains(&vote.observer))
        .map(|vote| (vote.observer, Vote { phi: vote.phi.clamp(0.0, MAX_VOTE_PHI), ..vote }))
        .collect();
    if all.is_empty() {
        return votes;
    }
    for vote in &votes {
        all.entry(vote.observer).or_insert(*vote);
    }
    match all.len() > view.alive_observers(subject).len() / 2 {
        true => all.into_values().collect(),
        false => votes,
    }
}

/// The votes of a verdict that is pending for want of a majority, and for no other reason.
pub(crate) fn credible_votes_of_pending(
    view: View<'_>,
    pending: &PendingVerdicts,
    subject: MemberId,
) -> Vec<Vote> {
    let version: Option<Version> = view.list.get(subject).map(|member| member.version());
    let verdict = version.and_then(|version| pending.on(subject, version));
    let votes = verdict.map_or(&[][..], |verdict| &verdict.votes);
    let Some(silent_since) = votes.iter().map(|vote| vote.silent_since).min() else {
        return Vec::new();
    };
    let was_alive = view.links.known_alive_at(subject).is_some_and(|at| at >= silent_since);
    match was_alive || view.contacts.has_other_refuted(silent_since) {
        true => Vec::new(),
        false => credible_votes(view, subject, votes),
    }
}

/// The votes of a verdict that there is no reason to doubt: if this node has not heard from the member since its silence
/// began, nor was perhaps apart from those who voted, and if few fell at that time.
pub(crate) fn credible_votes(view: View<'_>, subject: MemberId, votes: &[Vote]) -> Vec<Vote> {
    let Some(silent_since) = votes.iter().map(|vote| vote.silent_since).min() else {
        return Vec::new();
    };
    let contacts = view.contacts;
    let was_heard = contacts.heard_at(subject).is_some_and(|heard| heard > silent_since);
    if was_heard || view.is_most_silent() || contacts.were_apart(silent_since, subject) {
        return Vec::new();
    }
    // Members that were dead or suspect here when the silence began were on the other side.
    let is_counted = |vote: &&Vote| {
        view.may_observe(vote.observer, subject)
            && view.list.get(vote.observer).is_some_and(|member| {
                member.state == MemberState::Alive && member.since <= vote.silent_since
            })
    };
    let counted: BTreeMap<_, _> =
        votes.iter().filter(is_counted).map(|vote| (vote.observer, *vote)).collect();
    let counted: Vec<_> = counted.into_values().collect();
    // A split silences many at once and refuses no packet.
    let have_many_fallen = contacts.have_many_fallen(silent_since, view.list.rings().len());
    match have_many_fallen && Silence::of(&counted) != Silence::Gone {
        true => Vec::new(),
        false => counted,
    }
}

/// Whether a verdict is to be accepted as it comes: if those who voted are a majority by this node's list too.
pub(crate) fn is_borne_out(view: View<'_>, subject: MemberId, credible: &[Vote]) -> bool {
    Silence::of(credible) == Silence::Gone
        || credible.len() > view.alive_observers(subject).len() / 2
}
