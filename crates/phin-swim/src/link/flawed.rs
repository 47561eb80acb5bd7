//! The flaws of links: each is judged by what the others of this node show.

use std::time::Duration;

use crate::{
    Instant, MemberId,
    link::{
        LinkState, Links,
        quality::{Certainty, MAX_USUAL, Usual, usual_delay, usual_share},
    },
};

/// A reply of a member took so long. It is late only if it took longer than `floor`.
pub(crate) fn record_delay(links: &mut Links, id: MemberId, took: Duration, floor: Duration) {
    // Only where it is needed: the usual delay takes an exponential for each link.
    let others = (took > floor).then(|| {
        let delays = others(links, id).filter_map(|link| link.estimator.round_trip());
        usual_delay(delays.collect())
    });
    if let Some(link) = links.get_mut(id) {
        link.quality.record_delay(took, floor, others.flatten());
    }
}

/// Reviews what is wrong with the link to a member. Returns how sure that is. Nothing is, while there is no other link.
pub(crate) fn review(links: &mut Links, id: MemberId) -> Certainty {
    let is_clean = links.get(id).is_none_or(|link| link.quality.is_clean());
    if is_clean {
        return Certainty::Sure;
    }
    let losses = others(links, id).map(|link| link.quality.loss(&link.estimator));
    let late = others(links, id).map(|link| link.quality.late());
    let large = others(links, id).filter_map(|link| link.quality.size.share_lost());
    let large = usual_share(large.collect()).unwrap_or(MAX_USUAL);
    let usual = usual_share(losses.collect()).zip(usual_share(late.collect()));
    match links.get_mut(id).zip(usual) {
        Some((link, (lost, late))) => link.quality.review(Usual { lost, late, large }),
        None => Certainty::Sure,
    }
}

/// Whether the flaws of the link to a member are to be reported: once in each interval while there are any, and once when
/// there are none any more.
pub(crate) fn is_report_due(
    links: &mut Links,
    now: Instant,
    id: MemberId,
    interval: Duration,
) -> bool {
    let quality = links.get_mut(id).map(|link| &mut link.quality);
    quality.is_some_and(|quality| match quality.flaws.is_empty() {
        true => quality.told_at.take().is_some(),
        false => now.mark_if_due(&mut quality.told_at, interval),
    })
}

/// The measured links to other members than this one.
fn others(links: &Links, except: MemberId) -> impl Iterator<Item = &LinkState> {
    let others = links.links.iter().filter(move |(id, _)| **id != except);
    others.map(|(_, link)| link).filter(|link| link.estimator.samples() > 0)
}
