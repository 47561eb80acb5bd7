//! What a node may ask the core at any moment: links, phi, reports, its own health.

use std::collections::BTreeMap;

use crate::{
    Instant, Link, MemberId, MemberState, Outcome, Report, Swim, Unreached,
    detect::{
        case::Stage,
        degraded::unreached,
        phi::{phi, phi_reaches, phis},
        view::View,
        weigh::valid_votes,
    },
    sync::convergence::max_age,
};

impl Swim {
    /// The links to the members this one observes.
    pub fn links(&self, now: Instant) -> Vec<Link> {
        let view = self.core.view(now);
        let links = view.subjects().into_iter().filter_map(|id| Some((id, view.links.get(id)?)));
        links
            .map(|(id, link)| Link {
                id,
                phi: phi(view, id).unwrap_or_default(),
                round_trip: link.estimator.round_trip(),
                loss: link.estimator.loss(),
            })
            .collect()
    }

    /// The last suspicion of a member, from its first missed reply to its end, and the votes that led to a verdict.
    pub fn why(&self, now: Instant, id: MemberId) -> Option<Report> {
        open_report(self.core.view(now), id).or_else(|| self.core.detector.reports.get(id).cloned())
    }

    /// How surprising a member's silence is, as −log10 of the probability that a live member would be as silent.
    ///
    /// Of a live member that this one observes: what its own unanswered pings are worth by now, overdue or not, and
    /// what other observers told of theirs; 0 while nothing waits. It rises steadily between pings, and any sign of
    /// life sets it to 0. Of a member that this one does not observe nothing is known but what others told, for
    /// instance in a verdict that was not accepted as it came: `None` where they told nothing, as most of the time.
    /// Infinite for a dead member, whose verdict has been given; `None` for one that has left, for this one itself,
    /// and for one that is not in the list.
    pub fn phi(&self, now: Instant, id: MemberId) -> Option<f64> {
        phi(self.core.view(now), id)
    }

    /// [`Swim::phi`] of each live member of which it is known: those observed, and those that others told of.
    pub fn phis(&self, now: Instant) -> BTreeMap<MemberId, f64> {
        phis(self.core.view(now))
    }

    /// When [`Swim::phi`] of a member will be at least `threshold`, if nothing happens before: no input, no timer.
    /// `now` where it is already, `None` where it will not be, or only more than an hour from now.
    pub fn phi_reaches(&self, now: Instant, id: MemberId, threshold: f64) -> Option<Instant> {
        phi_reaches(self.core.view(now), id, threshold)
    }

    /// The live members to which links fail, by what this member finds as an observer, was told as one, or was told of
    /// itself. Of members that it does not observe it knows nothing.
    pub fn unreached(&self, now: Instant) -> Vec<Unreached> {
        unreached(self.core.view(now))
    }

    /// Whether this member abstains from judging others for now, because it stalled itself, is isolated, or asked
    /// helpers that sent not even nacks.
    pub fn is_impaired(&self, now: Instant) -> bool {
        self.core.health.is_impaired(now)
    }

    /// Whether the members that this one exchanges pings with hold the same live members in the same versions: of all
    /// from whom a ping or an ack came since our own list last changed, but in the last two periods, each one's last
    /// fingerprint is ours, and there is at least one. So it is false from each change until it is known to be shared,
    /// and where nobody is heard. A member alone in its list is converged, one that has left is not.
    pub fn is_converged(&self, now: Instant) -> bool {
        let has_left = self.core.list.me().state() == MemberState::Left;
        let is_alone = self.core.list.snapshot().live_len() == 1;
        let max_age = max_age(self.core.rounds.period(&self.core.ctx.params));
        !has_left && (is_alone || self.core.convergence.is_shared(now, self.fingerprint(), max_age))
    }

    /// The penalty of a member as it is now: one for each death, halved in each half-life; zero of a steady one.
    pub fn flap_penalty(&self, now: Instant, id: MemberId) -> f64 {
        self.core.flaps.penalty(now, id, self.core.ctx.params.flap_half_life)
    }

    /// Whether this member hears nobody at all: it declares nobody dead until it does.
    pub const fn is_isolated(&self) -> bool {
        self.core.health.is_isolated()
    }
}

/// The suspicion of a member that has not ended, if others were asked about it already.
fn open_report(view: View<'_>, id: MemberId) -> Option<Report> {
    let case = view.case(id).filter(|case| case.stage >= Stage::Asked)?;
    let (version, began_at) = (case.version, case.silent_since()?);
    let votes = valid_votes(view, id, view.own_phi(id)).into();
    Some(Report { version, began_at, ended_at: view.now, outcome: Outcome::Open { votes } })
}
