//! [`ListBudget`]: what this node spends on sending its list, to nodes that join and in exchanges of records.

use std::{sync::Arc, time::Duration};

use crate::{Ctx, Entry, Instant, Member, MemberId, Part, Payload, link::size::NARROW_PAGE_BYTES};

/// The recent cost of sending the list.
#[derive(Debug)]
pub(crate) struct ListBudget {
    /// Up to when the budget is spent.
    spent_until: Instant,
    /// How many requests of others were answered in the present period.
    answered: u32,
    answers_counted_since: Instant,
}

impl ListBudget {
    pub(crate) const fn new(now: Instant) -> Self {
        Self { spent_until: now, answered: 0, answers_counted_since: Instant::START }
    }

    /// Whether the budget allows for another page.
    pub(crate) fn has_room(&self, now: Instant) -> bool {
        self.spent_until < now + BUDGET_WINDOW
    }

    /// Charges so many bytes of the list.
    pub(crate) fn spend(&mut self, now: Instant, bytes: usize) {
        let time = BUDGET_WINDOW.mul_f64(bytes as f64 / LIST_BYTES_PER_SECOND);
        self.spent_until = self.spent_until.max(now) + time;
    }

    /// Whether another request of others is answered in this period.
    pub(crate) fn may_answer(&mut self, ctx: &mut Ctx) -> bool {
        let now = ctx.now;
        if now - self.answers_counted_since >= ctx.params.period {
            self.answers_counted_since = now;
            self.answered = 0;
        }
        if self.answered == MAX_ANSWERS_PER_PERIOD || !self.has_room(now) {
            ctx.stats.exchanges_refused += 1;
            return false;
        }
        self.answered += 1;
        true
    }
}

/// How long a page of a list to this member is: short, where each packet holds few records.
pub(crate) fn max_page_bytes(ctx: &Ctx, to: MemberId) -> usize {
    if ctx.narrow.contains(to) { NARROW_PAGE_BYTES } else { MAX_PAGE_BYTES }
}

/// Adds the records of these members to a message, until a page of this length is full.
pub(crate) fn fill_page<'m>(
    payload: &mut Payload,
    max_bytes: usize,
    members: impl IntoIterator<Item = &'m Arc<Member>>,
) {
    for member in members {
        if !payload.push_within(&Part::Entry(Entry::of(member)), max_bytes) {
            return;
        }
    }
}

/// The longest page of a list: half of what the transport allows in a stream by default.
pub(crate) const MAX_PAGE_BYTES: usize = 8 * 1024 * 1024;
/// How much of the list is sent in a second, to joining nodes and in exchanges; further requests are answered with a
/// request to come back. A thousand nodes that join one member at once need some 100 MB.
pub(crate) const LIST_BYTES_PER_SECOND: f64 = 64.0 * 1024.0 * 1024.0;
/// A second of it may be spent at once.
pub(crate) const BUDGET_WINDOW: Duration = Duration::from_secs(1);
/// How many requests of others are answered in a protocol period; the rest come back later.
const MAX_ANSWERS_PER_PERIOD: u32 = 64;

#[cfg(test)]
mod tests;
