//! [`ListBudget`]: what this node spends on sending its list, to nodes that join and in exchanges of records.

use std::{sync::Arc, time::Duration};

use crate::{
    Instant, Member,
    ctx::Ctx,
    wire::{Entry, Part, Payload},
};

/// What was spent on sending the list of late.
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
        if now - self.answers_counted_since >= ctx.params.protocol_period {
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

/// Adds the records of these members to a message, until a page is full.
pub(crate) fn fill_page<'m>(
    payload: &mut Payload,
    members: impl IntoIterator<Item = &'m Arc<Member>>,
) {
    for member in members {
        let (state, record) = (member.state, member.record().clone());
        if !payload.push_within(&Part::Entry(Entry { state, record }), MAX_PAGE_BYTES) {
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
mod tests {
    use super::*;
    use crate::{
        MemberState,
        testing::{Rooms, member, ms},
    };

    #[test]
    fn a_second_of_the_budget_is_spent_at_once_and_comes_back_in_time() {
        // What is spent, in parts of a second's budget; after how many milliseconds; whether there is room then.
        let cases = [
            (0.0, 0, true),
            (0.99, 0, true),
            (1.0, 0, false),
            (1.0, 1, true),
            (1.5, 499, false),
            (1.5, 501, true),
        ];
        for (spent, after, expected) in cases {
            // Time in which nothing was sent is not saved up.
            let mut budget = ListBudget::new(Instant::START);
            let now = Instant::START + ms(5_000);
            budget.spend(now, (LIST_BYTES_PER_SECOND * spent) as usize);
            assert_eq!(budget.has_room(now + ms(after)), expected, "{spent} after {after} ms");
        }
    }

    #[test]
    fn so_many_requests_are_answered_in_a_period_and_none_beyond_the_budget() {
        let mut rooms = Rooms::new(1);
        let period = rooms.ctx.params.protocol_period;
        let mut budget = ListBudget::new(rooms.ctx.now);
        for _ in 0..2 {
            let answered = (0..100).filter(|_| budget.may_answer(&mut rooms.ctx)).count();
            assert_eq!(answered, 64);
            rooms.ctx.now = rooms.ctx.now + period;
        }
        assert_eq!(rooms.ctx.stats.exchanges_refused, 72);
        budget.spend(rooms.ctx.now, LIST_BYTES_PER_SECOND as usize);
        assert!(!budget.may_answer(&mut rooms.ctx));
        assert_eq!(rooms.ctx.stats.exchanges_refused, 73);
    }

    #[test]
    fn a_page_has_no_more_than_its_limit() {
        let known = Arc::new(member(1, MemberState::Alive, 0));
        let mut payload = Payload::new();
        fill_page(&mut payload, std::iter::repeat_n(&known, 200_000));
        let one = {
            // What one record takes.
            let mut payload = Payload::new();
            fill_page(&mut payload, [&known]);
            payload.len()
        };
        assert!(payload.len() <= MAX_PAGE_BYTES, "{}", payload.len());
        assert!(payload.len() + one > MAX_PAGE_BYTES, "{}", payload.len());
    }
}
