use super::*;
use crate::{
    MemberState,
    testing::{Rooms, member, ms},
};

#[test]
fn a_second_of_the_budget_is_spent_at_once_and_comes_back_in_time() {
    // The cost, in parts of a second's budget; after how many milliseconds; whether there is room then.
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
    let mut rooms = Rooms::of(1);
    let period = rooms.ctx.params.period;
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
    fill_page(&mut payload, MAX_PAGE_BYTES, std::iter::repeat_n(&known, 200_000));
    let one = {
        // The size of one record.
        let mut payload = Payload::new();
        fill_page(&mut payload, MAX_PAGE_BYTES, [&known]);
        payload.len()
    };
    assert!(payload.len() <= MAX_PAGE_BYTES, "{}", payload.len());
    assert!(payload.len() + one > MAX_PAGE_BYTES, "{}", payload.len());
}
