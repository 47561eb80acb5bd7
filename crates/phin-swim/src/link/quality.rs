//! [`Quality`]: whether a link loses, or delays, clearly more than the other links of this node.
//!
//! Each answer and each loss of a probe multiplies the odds that the link has a flaw (a cumulative sum with a floor and a cap:
//! Page, Biometrika 1954). So a link is judged by as few probes as its loss allows, and at a rate of false alarms that follows from
//! the threshold. Loss on all links at once is the network's or this node's own, and no flaw of any of them.

use std::{iter, time::Duration};

use phin_accrual::LinkEstimator;

use crate::{
    Flaw, Flaws, Instant,
    link::outcomes::{ALARM, Outcomes},
    link::size::{Need, Size},
};

/// The latest probes on a link, and what they show.
#[derive(Clone, Debug, Default)]
pub(crate) struct Quality {
    lost: Outcomes,
    slow: Outcomes,
    /// Whether packets of full size pass.
    pub(crate) size: Size,
    /// When the latest of the lost probes were sent, whose replies may still come.
    lost_lately: Vec<Instant>,
    /// How long a reply usually takes. It falls quickly and rises slowly, so that a link that became slow counts as slow for long.
    usual_delay: Option<Duration>,
    /// As last reviewed.
    pub(crate) flaws: Flaws,
    /// Whether, by the same review, several probes in a row may have been too long for the path.
    pub(crate) loses_several: bool,
    /// When the flaws were last reported to others; `None` if they know of none.
    pub(crate) told_at: Option<Instant>,
}

/// The shares of bad outcomes on the other links that are no flaw.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usual {
    /// Probes without a reply.
    pub(crate) lost: f64,
    /// Late replies.
    pub(crate) late: f64,
    /// Packets of full size that were lost, where short ones were not.
    pub(crate) large: f64,
}

/// How sure it is whether a link has a flaw.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Certainty {
    Sure,
    /// More probes are wanted.
    Unsure,
}

/// The share of probes without a reply, or with a late one, that is no flaw, where the other links have these shares: half of them
/// have no less.
/// `None` without any.
pub(crate) fn usual_share(mut shares: Vec<f64>) -> Option<f64> {
    let middle = shares.len().checked_sub(1)? / 2;
    let (_, &mut median, _) = shares.select_nth_unstable_by(middle, f64::total_cmp);
    Some((median * MARGIN).clamp(MIN_USUAL, MAX_USUAL))
}

/// How long replies take on the other links, by the lower median of these times; `None` without any.
pub(crate) fn usual_delay(mut delays: Vec<Duration>) -> Option<Duration> {
    let middle = delays.len().checked_sub(1)? / 2;
    Some(*delays.select_nth_unstable(middle).1)
}

impl Quality {
    pub(crate) fn record_answered(&mut self) {
        self.lost.push(false);
    }

    pub(crate) fn record_lost(&mut self, sent_at: Instant) {
        self.lost.push(true);
        self.lost_lately.truncate(MAX_LOST_LATELY - 1);
        self.lost_lately.insert(0, sent_at);
    }

    /// The probe of that moment counts as lost, if it is known any more, and is answered all the same.
    pub(crate) fn retract_lost(&mut self, sent_at: Instant) {
        if let Some(later) = self.lost_lately.iter().position(|&at| at == sent_at) {
            self.lost_lately.remove(later);
            self.lost.retract(later);
        }
    }

    /// A reply took so long, where that is the link's own. It is slow if that is longer than `floor`, and several times as long
    /// as on this link before and on the others.
    pub(crate) fn record_delay(
        &mut self,
        took: Duration,
        floor: Duration,
        others: Option<Duration>,
    ) {
        let usual = *self.usual_delay.get_or_insert(took);
        let longest = floor.max(usual * SLOWER).max(others.unwrap_or(took) * SLOWER);
        self.slow.push(took > longest);
        self.usual_delay = Some(match took < usual {
            true => usual - (usual - took) / 4,
            false => took.min(usual.mul_f64(RISE)),
        });
    }

    /// The share of probes that the link loses. Its estimate follows a network that begins to lose more slowly than a link is
    /// judged, so the latest probes count too.
    pub(crate) fn loss(&self, estimate: &LinkEstimator) -> f64 {
        estimate.loss().max(self.lost.lately())
    }

    /// The share of late replies.
    pub(crate) fn late(&self) -> f64 {
        self.slow.lately()
    }

    /// Whether no probe was bad lately, and no flaw is known.
    pub(crate) fn is_clean(&self) -> bool {
        let is_size_clean = self.size.share_lost().is_none_or(|share| share <= 0.0);
        self.lost.bad == 0 && self.slow.bad == 0 && is_size_clean && self.flaws.is_empty()
    }

    /// Whether the member is to be sent short packets only: from the first lost one of full size until one passes, and as long
    /// as the link has the flaw.
    pub(crate) const fn is_narrow(&self) -> bool {
        self.size.is_lost() || self.flaws.contains(Flaw::LargePackets)
    }

    /// Whether the size that the link passes is to be checked; if packets of full size are lost on any link, sooner.
    pub(crate) fn need(&mut self, now: Instant, is_lost_on_any: bool) -> Need {
        let is_narrow = self.is_narrow();
        self.size.need(now, is_narrow, is_lost_on_any)
    }

    /// Finds the flaws anew, where these shares of outcomes are bad on the other links. The share of short packets that this link
    /// loses is no flaw in those of full size either.
    pub(crate) fn review(&mut self, usual: Usual) -> Certainty {
        let usual_large = usual.large.max(self.size.short_lost() * MARGIN).min(MAX_USUAL);
        let large = self.size.outcomes.excess(usual_large);
        let kinds = [
            (Flaw::Loss, self.lost.excess(usual.lost)),
            (Flaw::Latency, self.slow.excess(usual.late)),
        ];
        self.loses_several = self.lost.excess(usual.lost) >= SEVERAL;
        let before = self.flaws;
        let is_found = |&(flaw, excess): &(Flaw, f64)| {
            excess >= ALARM || (excess >= CLEAR && before.contains(flaw))
        };
        let all = kinds.into_iter().chain(iter::once((Flaw::LargePackets, large)));
        self.flaws = all.filter(is_found).map(|kind| kind.0).collect();
        let is_unsure = |excess: f64| (UNSURE..ALARM).contains(&excess);
        if is_unsure(large) {
            self.size.want_again();
        }
        if kinds.iter().any(|&(_, excess)| is_unsure(excess)) {
            Certainty::Unsure
        } else {
            Certainty::Sure
        }
    }
}

/// It has the flaw no longer below these odds, 55 to 1: after six answers more than what outweighs the losses among them.
const CLEAR: f64 = 4.0;
/// From these odds on the link is probed once in each period until it is sure: after one loss if the other links lose little.
const UNSURE: f64 = 1.5;
/// From these odds on, more than one probe was lost in a row, or nearly.
const SEVERAL: f64 = 2.5;
/// A share of bad probes up to this many times that of the other links is no flaw.
const MARGIN: f64 = 1.25;
/// With fewer bad probes than this, no link is flawed, however good the others are.
const MIN_USUAL: f64 = 0.1;
/// Where the other links have more than this, or there is none, none can be worse.
pub(super) const MAX_USUAL: f64 = 0.9;
/// A reply is slow if it takes this many times as long as usual.
const SLOWER: u32 = 4;
/// How much the usual delay rises with each longer one: a link four times as slow is the usual one after 460 replies, which is
/// about an hour.
const RISE: f64 = 1.003;
/// So many lost probes may still be answered.
const MAX_LOST_LATELY: usize = 4;

#[cfg(test)]
mod tests;
