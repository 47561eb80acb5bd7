//! phi of a member as this node knows it, at any moment, and when it will come to a threshold.
//!
//! Between inputs phi never falls: each ping that waits for its reply weighs more the longer it waits. So what a
//! moment's phi is, and when a threshold is next reached, follow from what is known now.

use std::{collections::BTreeMap, time::Duration};

use phin_accrual::{Evidence, LinkEstimator, MAX_WAIT};

use crate::{Instant, MemberId, MemberState, detect::view::View};

/// The evidence against a member, as a function of time.
struct Growing {
    /// The weight of a missing reply on this node's own link, and when the unanswered pings were sent. `None` if no
    /// ping waits.
    unanswered: Option<(LinkEstimator, Vec<Instant>)>,
    /// The votes of other observers, as they were received.
    told: Evidence,
}

impl Growing {
    fn new(view: View<'_>, id: MemberId) -> Self {
        let mut told = Evidence::default();
        view.cases.votes_of(id).for_each(|vote| told.record(vote.phi));
        let mut sent = view.cases.misses_of(id).to_vec();
        if sent.len() < view.max_misses() {
            sent.extend(view.waiting_since(id));
        }
        let link = (!sent.is_empty()).then(|| view.links.estimate_of(id)).flatten();
        Self { unanswered: link.map(|link| (link, sent)), told }
    }

    fn phi(&self, now: Instant) -> f64 {
        let mut evidence = self.told.clone();
        if let Some((link, sent)) = &self.unanswered {
            sent.iter().for_each(|&sent_at| evidence.record(link.weight(now - sent_at)));
        }
        evidence.phi()
    }
}

/// phi of a member now, if it is known: see [`Swim::phi`](crate::Swim::phi).
pub(crate) fn phi(view: View<'_>, id: MemberId) -> Option<f64> {
    match view.list.state(id)? {
        MemberState::Alive | MemberState::Suspect => {
            let is_observed = view.subjects().contains(&id);
            let is_known = is_observed || view.cases.votes_of(id).next().is_some();
            is_known.then(|| phi_of_live(view, id))
        }
        MemberState::Dead => Some(f64::INFINITY),
        MemberState::Left => None,
    }
}

/// [`phi`] of a live member that this node observes, or that others voted on.
pub(crate) fn phi_of_live(view: View<'_>, id: MemberId) -> f64 {
    Growing::new(view, id).phi(view.now)
}

/// [`phi`] of each live member that has one: those observed, and those that others voted on.
pub(crate) fn phis(view: View<'_>) -> BTreeMap<MemberId, f64> {
    let mut ids = view.subjects();
    ids.extend(view.cases.subjects());
    ids.retain(|&id| view.list.state(id).is_some_and(MemberState::is_live));
    ids.into_iter().filter_map(|id| Some((id, phi(view, id)?))).collect()
}

/// When [`phi`] of a member will be at least `threshold`: see [`Swim::phi_reaches`](crate::Swim::phi_reaches).
pub(crate) fn phi_reaches(view: View<'_>, id: MemberId, threshold: f64) -> Option<Instant> {
    let now = view.now;
    if phi(view, id)? >= threshold {
        return Some(now);
    }
    let growing = Growing::new(view, id);
    if growing.unanswered.is_none() || growing.phi(now + MAX_WAIT) < threshold {
        return None;
    }
    Some(now + shortest(|wait| growing.phi(now + wait) >= threshold))
}

/// The shortest wait that is enough, where any longer one is too.
fn shortest(is_enough: impl Fn(Duration) -> bool) -> Duration {
    let (mut early, mut late) = (Duration::ZERO, FINEST);
    while !is_enough(late) {
        late *= 2;
    }
    while late - early > FINEST {
        let middle = early + (late - early) / 2;
        if is_enough(middle) { late = middle } else { early = middle }
    }
    late
}

/// The precision of the moment that is found. Timers are no more precise.
const FINEST: Duration = Duration::from_micros(100);
