//! [`Size`]: whether packets of full size pass on a link. [`Narrow`]: the members to which they do not.
//!
//! A check sends two probes at once, a short one and one of full size, and the answer to each is as long as the probe. If only
//! the short one is answered, packets of full size are lost in one direction at least. If neither is, the check says nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{Instant, MemberId, link::outcomes::Outcomes, wire::Sequence};

/// The latest checks of a link, and what they show.
#[derive(Clone, Debug, Default)]
pub(crate) struct Size {
    pub(super) outcomes: Outcomes,
    /// The same of short packets: what the link loses whatever the size.
    short: Outcomes,
    under_way: Option<Check>,
    /// When the last check began, or when the link was first looked at.
    checked_at: Option<Instant>,
    /// Whether a check is to begin as soon as possible.
    is_wanted: bool,
}

/// Two probes that wait for their answers.
#[derive(Clone, Copy, Debug)]
struct Check {
    sequence: Sequence,
    sent_at: Instant,
    /// Whether the short one is answered.
    is_answered: bool,
}

/// Whether the size that a link passes is to be checked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Need {
    Nothing,
    /// For so long a regular check is due.
    Overdue(Duration),
    Now,
}

impl Size {
    /// Whether packets of full size did not pass when that was last checked.
    pub(crate) const fn is_lost(&self) -> bool {
        self.outcomes.is_last_bad()
    }

    /// The share of lost probes of full size; `None` while none was checked.
    pub(super) fn share_lost(&self) -> Option<f64> {
        self.outcomes.share()
    }

    /// The share of lost probes that were short.
    pub(super) fn short_lost(&self) -> f64 {
        self.short.share().unwrap_or(0.0)
    }

    /// Has the link checked, as another observer found it lost packets, unless that was done just now.
    pub(crate) fn want_to_compare(&mut self, now: Instant) {
        self.is_wanted |= self.checked_at.is_none_or(|at| now - at >= COMPARE_INTERVAL);
    }

    /// Has the link checked, unless that was done lately.
    pub(crate) fn want(&mut self, now: Instant) {
        self.is_wanted |= self.may_check(now);
    }

    /// Whether no check began just now.
    fn may_check(&self, now: Instant) -> bool {
        let was_checked = self.under_way.is_some() || !self.short.is_empty();
        !was_checked || self.checked_at.is_none_or(|at| now - at >= MIN_INTERVAL)
    }

    /// Has the link checked once more.
    pub(super) const fn want_again(&mut self) {
        self.is_wanted = true;
    }

    /// Whether a check is to begin now.
    pub(super) fn need(&mut self, now: Instant, is_flawed: bool, is_lost_on_any: bool) -> Need {
        let interval = if is_flawed { FLAWED_INTERVAL } else { INTERVAL };
        let since = now - *self.checked_at.get_or_insert(now);
        // This link shows whether others pass what that one loses.
        let is_unknown = self.outcomes.is_empty() && self.may_check(now);
        let is_wanted = self.is_wanted || (is_lost_on_any && is_unknown);
        match since.checked_sub(interval) {
            _ if self.under_way.is_some() => Need::Nothing,
            _ if is_wanted => Need::Now,
            None => Need::Nothing,
            Some(overdue) => Need::Overdue(overdue),
        }
    }

    pub(crate) const fn start(&mut self, now: Instant, sequence: Sequence) {
        self.checked_at = Some(now);
        self.is_wanted = false;
        self.under_way = Some(Check { sequence, sent_at: now, is_answered: false });
    }

    /// A probe was answered. Says whether that tells anything.
    pub(crate) fn record_answer(&mut self, sequence: Sequence, is_full: bool) -> bool {
        let check = self.under_way.as_mut().filter(|check| check.sequence == sequence);
        match (check, is_full) {
            (None, _) => return false,
            (Some(check), false) => check.is_answered = true,
            (Some(_), true) => {
                self.under_way = None;
                self.outcomes.push(false);
                self.short.push(false);
            }
        }
        true
    }

    /// The check under way says nothing: this node itself may be at fault.
    pub(crate) const fn abandon(&mut self) {
        self.under_way = None;
    }

    /// Ends the check that began so long ago, if there is one. Says whether the packet of full size was lost.
    pub(crate) fn end_check(&mut self, now: Instant, patience: Duration) -> Option<bool> {
        let ended = self.under_way.take_if(|check| now - check.sent_at >= patience)?;
        self.short.push(!ended.is_answered);
        if ended.is_answered {
            // The next check, at once, informs the member, which may be sending packets of full size.
            self.is_wanted |= !self.is_lost();
            self.outcomes.push(true);
        }
        Some(ended.is_answered)
    }
}

/// The members to which packets of full size do not pass, as far as this node knows: they are sent shorter ones.
#[derive(Debug, Default)]
pub(crate) struct Narrow {
    members: BTreeSet<MemberId>,
    /// Those that said so of their link to this node, and when; at most [`MAX_TOLD`].
    told: BTreeMap<MemberId, Instant>,
    /// Whether none pass from this node.
    pub(crate) is_everywhere: bool,
}

impl Narrow {
    pub(crate) fn contains(&self, id: MemberId) -> bool {
        self.is_everywhere || self.members.contains(&id)
    }

    pub(crate) fn set(&mut self, id: MemberId, is_narrow: bool) {
        match is_narrow {
            true => _ = self.members.insert(id),
            false => _ = self.members.remove(&id),
        }
    }

    /// A member says whether packets of full size are lost between it and this node. Beyond the limit it is sent those.
    pub(crate) fn record_told(&mut self, now: Instant, by: MemberId, is_lost: bool) {
        self.told.retain(|_, told_at| now - *told_at < TOLD_FOR);
        if !is_lost {
            self.told.remove(&by);
        } else if self.told.len() < MAX_TOLD || self.told.contains_key(&by) {
            self.told.insert(by, now);
        }
    }

    /// Whether a member said so lately.
    pub(crate) fn is_told(&self, now: Instant, by: MemberId) -> bool {
        self.told.get(&by).is_some_and(|&told_at| now - told_at < TOLD_FOR)
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = MemberId> {
        self.members.iter().copied()
    }
}

/// The longest payload to a member to which longer ones do not pass. Two of them do not fit into one QUIC packet, which would be
/// as long as those that are lost; and the fingerprints of all buckets fit.
pub(crate) const NARROW_BYTES: usize = 640;
/// How much of a list is sent to such a member at once, in payloads of that length.
pub(crate) const NARROW_PAGE_BYTES: usize = 32 * NARROW_BYTES;
/// How often a link is checked.
const INTERVAL: Duration = Duration::from_secs(3_600);
/// How often one is that has the flaw.
const FLAWED_INTERVAL: Duration = Duration::from_secs(60);
/// The flaw that another observer reports has a link checked no sooner than this after its last check.
const COMPARE_INTERVAL: Duration = Duration::from_secs(5);
/// A missing answer has a link checked no sooner than this after its last check.
const MIN_INTERVAL: Duration = Duration::from_secs(30);
/// For how long the word of a member counts that packets of full size are lost: it says so again with each check.
const TOLD_FOR: Duration = Duration::from_secs(150);
/// How many members are believed at a time: many more than observe this one.
const MAX_TOLD: usize = 256;

#[cfg(test)]
mod tests;
