//! Questions to the core that its owner can ask at any moment: links, phi, reports, its own health.

use std::collections::BTreeMap;

use crate::{
    Instant, Link, MemberId, MemberState, Neighbours, Outcome, Report, Swim, Unreached,
    detect::{
        case::Stage,
        degraded::unreached,
        phi::{phi, phi_of_live, phi_reaches, phis},
        view::View,
        weigh::valid_votes,
    },
    sync::convergence::max_age,
};

impl Swim {
    /// The links to the members that this node observes.
    pub fn links(&self, now: Instant) -> Vec<Link> {
        let view = self.core.view(now);
        let links = view.subjects().into_iter().filter_map(|id| Some((id, view.links.get(id)?)));
        links
            .map(|(id, link)| Link {
                id,
                phi: phi_of_live(view, id),
                round_trip: link.estimator.round_trip(),
                round_trip_p99: link.estimator.round_trip_quantile(0.99),
                samples: link.estimator.samples(),
                loss: link.estimator.loss(),
            })
            .collect()
    }

    /// The members that observe a live member, and those that it observes, by this node's list. Empty for a member that is not
    /// live or unknown: it is on no ring.
    pub fn neighbours(&self, id: MemberId) -> Neighbours {
        let list = &self.core.list;
        list.live(id).map(|_| list.rings().neighbours_of(id)).unwrap_or_default()
    }

    /// The last suspicion of a member, from its first missed reply to its end, and the votes that led to a verdict.
    pub fn why(&self, now: Instant, id: MemberId) -> Option<Report> {
        open_report(self.core.view(now), id).or_else(|| self.core.detector.reports.get(id).cloned())
    }

    /// How surprising a member's silence is: −log10 of the probability that a live member would be silent for as long.
    ///
    /// For a live member that this node observes, phi is what its unanswered pings are worth by now, overdue or not, plus the
    /// evidence that other observers have sent. It is 0 while no ping waits for a reply. It rises steadily between pings, and
    /// any sign of life sets it to 0.
    ///
    /// For a live member that this node does not observe, only the evidence of others is known, for instance from a pending
    /// verdict. Most of the time there is none, and the result is `None`.
    ///
    /// For a dead member phi is infinite. For one that has left, for this node, and for an unknown id it is `None`.
    pub fn phi(&self, now: Instant, id: MemberId) -> Option<f64> {
        phi(self.core.view(now), id)
    }

    /// [`Swim::phi`] of each live member for which it is known.
    pub fn phis(&self, now: Instant) -> BTreeMap<MemberId, f64> {
        phis(self.core.view(now))
    }

    /// When [`Swim::phi`] of a member will reach `threshold` if no input and no timer comes first. Returns `now` if it has,
    /// and `None` if it never will or needs more than an hour.
    pub fn phi_reaches(&self, now: Instant, id: MemberId, threshold: f64) -> Option<Instant> {
        phi_reaches(self.core.view(now), id, threshold)
    }

    /// The live members to which links fail. Known are the members that this node observes, and this node itself.
    pub fn unreached(&self, now: Instant) -> Vec<Unreached> {
        unreached(self.core.view(now))
    }

    /// Whether the members that this node exchanges pings with list the same live members in the same versions.
    ///
    /// Counted are the members from which a ping or an ack came since the own list last changed, in the last two periods. There
    /// must be at least one, and the last fingerprint of each must equal the own one. So the result is `false` from each
    /// change until others are known to share it, and while nobody is heard. A node alone in its list is converged; one that
    /// has left is not.
    pub fn is_converged(&self, now: Instant) -> bool {
        let has_left = self.core.list.me().state() == MemberState::Left;
        let is_alone = self.core.list.snapshot().live_len() == 1;
        let max_age = max_age(self.core.senses.rounds.period(&self.core.ctx.params));
        !has_left && (is_alone || self.core.convergence.is_shared(now, self.fingerprint(), max_age))
    }

    /// The current flap penalty of a member (RFC 2439): each death adds one, and it halves in each half-life.
    pub fn flap_penalty(&self, now: Instant, id: MemberId) -> f64 {
        self.core.flaps.penalty(now, id, self.core.ctx.params.flap_half_life)
    }

    /// Whether this node receives nothing from any member. Until it does, it declares nobody dead.
    pub const fn is_isolated(&self) -> bool {
        self.core.senses.health.is_isolated()
    }
}

/// The suspicion of a member that has not ended, if others were asked about it already.
fn open_report(view: View<'_>, id: MemberId) -> Option<Report> {
    let case = view.case(id).filter(|case| case.stage >= Stage::Asked)?;
    let (version, began_at) = (case.version, case.silent_since()?);
    let votes = valid_votes(view, id, view.own_phi(id)).into();
    Some(Report { version, began_at, ended_at: view.now, outcome: Outcome::Open { votes } })
}
