use super::*;
use crate::{
    Config,
    member::record::tests::id,
    testing::{Rooms, at, ms},
};

const PERIOD: u64 = 1_000;

/// A node in round 5 since 10 s, that received others' rounds before.
fn rooms(pace: u32) -> Rooms {
    let config = Config { max_period: Some(ms(4_000)), ..Config::lan() };
    let mut rooms = Rooms::with(6, config);
    let rounds = &mut rooms.senses.rounds;
    (rounds.round, rounds.is_aligned, rounds.pace) = (Round(5), true, pace);
    rooms
}

/// Hears that another is in this round since so long ago; says by how much this node's round began earlier.
fn hear(rooms: &mut Rooms, round: u16, age: u32) -> u64 {
    let before = rooms.senses.rounds.began_at;
    let pulse = rooms.probe().pulse(crate::wire::Sequence(1));
    let pulse = Pulse { round: Round(round), round_age_ms: age, ..pulse };
    rooms.senses.rounds.hear(&mut rooms.ctx, &rooms.list, &pulse);
    (before - rooms.senses.rounds.began_at).as_millis() as u64
}

fn timers(rooms: &mut Rooms) -> Vec<Timer> {
    std::iter::from_fn(|| rooms.ctx.timers.pop_due(at(1_000_000))).collect()
}

#[test]
fn a_round_begins_where_the_one_before_ended_unless_that_was_long_ago() {
    // When the round is advanced, and when the next has begun.
    for (now, began) in
        [(11_000, 11_000), (11_400, 11_000), (12_000, 11_000), (12_001, 12_001), (10_500, 10_500)]
    {
        let mut rooms = rooms(0);
        assert!(rooms.senses.rounds.advance(at(now), &rooms.ctx.params), "each round has a period");
        assert_eq!(
            (rooms.senses.rounds.round, rooms.senses.rounds.began_at),
            (Round(6), at(began)),
            "{now}"
        );
    }
}

#[test]
fn a_longer_period_begins_in_a_round_whose_number_it_divides() {
    let mut rooms = rooms(2);
    let begins = (6..=12).map(|_| rooms.senses.rounds.advance(at(20_000), &rooms.ctx.params));
    assert_eq!(begins.collect::<Vec<_>>(), [false, false, true, false, false, false, true]);
    rooms.senses.rounds.round = Round(u16::MAX);
    assert!(rooms.senses.rounds.advance(at(20_000), &rooms.ctx.params), "numbers begin anew");
    assert_eq!(rooms.senses.rounds.round, Round(0));
}

#[test]
fn the_first_round_of_another_is_taken_whole() {
    let mut rooms = rooms(0);
    rooms.senses.rounds.is_aligned = false;
    hear(&mut rooms, 900, 400);
    assert_eq!((rooms.senses.rounds.round, rooms.senses.rounds.began_at), (Round(900), at(9_600)));
    assert!(timers(&mut rooms).contains(&Timer::Period(900)));
    // A member whose point has passed is another's to ping; a round began no more than a period ago.
    for (age, began, is_planned) in
        [(0, 10_000, true), (1_000, 9_000, false), (70_000, 9_000, false)]
    {
        let mut rooms = self::rooms(0);
        rooms.senses.rounds.is_aligned = false;
        hear(&mut rooms, 900, age);
        assert_eq!(rooms.senses.rounds.began_at, at(began), "{age}");
        assert_eq!(rooms.senses.rounds.planned.is_some(), is_planned, "{age}");
    }
}

#[test]
fn a_node_moves_forward_to_others_by_an_eighth_of_a_period_once_in_a_round() {
    // How far this node is into its round; the round of another and its age; by how much this one moves.
    let cases = [
        (0, 5, 100, 100),
        (0, 5, 125, 125),
        (0, 5, 900, 125),
        (0, 5, 1, 1),
        (100, 5, 100, 0),
        (100, 5, 50, 0),
        (900, 6, 0, 100),
        (500, 6, 500, 125),
        (900, 4, 900, 0),
    ];
    for (into, round, age, moved) in cases {
        let mut rooms = rooms(0);
        rooms.at(10_000 + into);
        assert_eq!(hear(&mut rooms, round, age), moved, "{into} {round} {age}");
        assert_eq!(rooms.senses.rounds.round, Round(5), "the timer ends the round");
        assert_eq!(timers(&mut rooms).contains(&Timer::Period(5)), moved > 0);
        assert_eq!(hear(&mut rooms, 5, 999), if moved > 0 { 0 } else { 125.min(999 - into) });
    }
}

#[test]
fn the_number_of_a_round_far_ahead_is_taken_with_the_plan() {
    // The round of another, and the round then.
    for (round, then) in [(7, 7), (30_000, 30_000), (4, 5), (5_u16.wrapping_sub(30_000), 5)] {
        let mut rooms = rooms(0);
        rooms.senses.rounds.plan_period(&mut rooms.ctx, &rooms.list);
        let planned = rooms.senses.rounds.planned.unwrap().target;
        hear(&mut rooms, round, 0);
        assert_eq!(rooms.senses.rounds.round, Round(then), "{round}");
        assert_eq!(rooms.senses.rounds.began_at, at(10_000), "its time is approached");
        assert_eq!(rooms.senses.rounds.take_due(Round(then)), Some(planned), "nobody is left out");
    }
}

#[test]
fn eight_calm_periods_double_the_period_up_to_the_longest() {
    let mut rooms = rooms(0);
    let mut slow_down = |times| {
        (0..times).for_each(|_| rooms.senses.rounds.slow_down(&rooms.ctx.params));
        rooms.senses.rounds.period(&rooms.ctx.params)
    };
    let periods = [7, 1, 7, 1, 100].map(&mut slow_down);
    assert_eq!(periods, [1_000, 2_000, 2_000, 4_000, 4_000].map(ms));
    let mut rooms = Rooms::of(6);
    (0..100).for_each(|_| rooms.senses.rounds.slow_down(&rooms.ctx.params));
    assert_eq!(
        rooms.senses.rounds.period(&rooms.ctx.params),
        ms(PERIOD),
        "not unless it is allowed"
    );
}

#[test]
fn when_something_happens_the_period_is_short_at_once_and_calm_counts_anew() {
    let mut rooms = rooms(2);
    rooms.senses.rounds.round = Round(8);
    rooms.senses.rounds.plan_period(&mut rooms.ctx, &rooms.list);
    let planned = rooms.senses.rounds.planned.unwrap().target;
    rooms.at(12_345);
    rooms.senses.rounds.quicken(&mut rooms.ctx);
    assert_eq!(rooms.senses.rounds.period(&rooms.ctx.params), ms(PERIOD));
    assert_eq!(rooms.senses.rounds.quickened_at, at(12_345));
    assert!(timers(&mut rooms).contains(&Timer::Probe(8)), "it is pinged in this round");
    assert_eq!(rooms.senses.rounds.take_due(Round(8)), Some(planned));
    // A period that is short already has only its calm ended.
    (0..7).for_each(|_| rooms.senses.rounds.slow_down(&rooms.ctx.params));
    rooms.at(20_000);
    rooms.senses.rounds.quicken(&mut rooms.ctx);
    assert_eq!(rooms.senses.rounds.quickened_at, at(12_345));
    assert!(timers(&mut rooms).is_empty());
    (0..7).for_each(|_| rooms.senses.rounds.slow_down(&rooms.ctx.params));
    assert_eq!(rooms.senses.rounds.period(&rooms.ctx.params), ms(PERIOD));
}

#[test]
fn the_member_of_a_period_is_pinged_in_its_round_and_at_its_point_of_it() {
    // Rounds of periods; one period is four rounds long.
    let mut rooms = rooms(2);
    rooms.senses.rounds.round = Round(8);
    rooms.senses.rounds.plan_period(&mut rooms.ctx, &rooms.list);
    let Planned { target, round, point } = rooms.senses.rounds.planned.unwrap();
    let of_period = point_of(target, ms(4 * PERIOD));
    assert_eq!(point + ms(PERIOD) * u32::from(round.0 - 8), of_period);
    assert!((8..12).contains(&round.0) && point < ms(PERIOD));
    // It is due in its round alone, and overdue at the end of that.
    for at_round in 8..12 {
        rooms.senses.rounds.round = Round(at_round);
        let mut probe = clone(&rooms.senses.rounds);
        let is_due = at_round == round.0;
        assert_eq!(probe.take_due(Round(at_round)), is_due.then_some(target));
        let mut probe = clone(&rooms.senses.rounds);
        assert_eq!(probe.take_due(Round(at_round + 1)), None, "a timer of another round");
        assert_eq!(probe.take_overdue(), (at_round >= round.0).then_some(target));
        assert_eq!(probe.take_overdue(), None, "once");
    }
}

const fn clone(rounds: &Rounds) -> Rounds {
    Rounds { ..*rounds }
}

#[test]
fn all_members_are_pinged_in_turn_and_random_ones_only_where_not_everyone_is_observed() {
    let mut rooms = Rooms::of(6);
    let mut targets: Vec<_> = (0..5)
        .map(|round| choose_target(&mut rooms.ctx, &rooms.list, Round(round)).unwrap())
        .collect();
    targets.sort_unstable();
    let mut others = [1, 2, 3, 4, 5].map(id);
    others.sort_unstable();
    assert_eq!(targets, others);
    let mut rooms = Rooms::with(60, Config { rings: 2, ..Config::lan() });
    let subjects = rooms.list.rings().subjects(id(0));
    let targets = (0..12_800)
        .filter_map(|round| choose_target(&mut rooms.ctx, &rooms.list, Round(round)))
        .filter(|target| !subjects.contains(target));
    let random = targets.count();
    assert!((50..150).contains(&random), "one in 128: {random}");
}

#[test]
fn the_point_of_a_member_is_its_own_and_within_the_period() {
    let period = ms(PERIOD);
    for (share, point) in [(0, 0), (u32::MAX, PERIOD), (u32::MAX / 2, PERIOD / 2)] {
        let target = MemberId::from_u128(u128::from(share));
        let found = point_of(target, period);
        assert!(found.abs_diff(ms(point)) < Duration::from_micros(1), "{found:?}");
    }
}
