use super::*;
use crate::testing::{Rooms, at, ms};

const WINDOW: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_millis(250);

#[test]
fn short_stalls_within_a_period_add_up() {
    let ms = Duration::from_millis;
    // When each timer fired, how late, and what that amounts to.
    let cases: &[&[(u64, u64, u64)]] = &[
        &[(0, 100, 0), (300, 100, 0), (600, 100, 300), (700, 100, 0)],
        // The window ends in between.
        &[(0, 100, 0), (600, 100, 0), (1_000, 100, 0), (1_900, 100, 0), (2_100, 100, 0)],
        &[(0, 300, 300), (10, 20, 0)],
    ];
    for case in cases {
        let mut lateness = Lateness { sum: Duration::ZERO, since: Instant::START };
        for &(at, lag, expected) in *case {
            let found = lateness.add(Instant::START + ms(at), ms(lag), WINDOW, LIMIT);
            assert_eq!(found, ms(expected), "{at} ms of {case:?}");
        }
    }
}

#[test]
fn a_stall_impairs_for_half_of_it_and_has_everything_asked_anew() {
    // How late a timer fired; for how long the node is impaired; since when missing answers say nothing, if it is a stall.
    for (lag, impaired_for, since) in [
        (249, 0, None),
        (250, 125, Some("9.6875s")),
        (600, 300, Some("9.3375s")),
        (1_000, 500, Some("8.9375s")),
        // More than the pause tolerance counts no further.
        (60_000, 500, Some("0ns")),
    ] {
        let mut rooms = Rooms::of(5);
        rooms.lag(lag);
        let end = (0..2_000).find(|&after| !rooms.senses.health.is_impaired(at(10_000 + after)));
        assert_eq!(end, Some(impaired_for), "{lag}");
        let asked_for = since.map(|since| format!("AskAnew {{ since: Instant({since}) }}"));
        assert_eq!(rooms.effects(), asked_for.as_slice());
        let is_stall = since.is_some();
        assert_eq!(rooms.ctx.stats.stalls, u64::from(is_stall));
        assert_eq!(rooms.senses.health.longest_stall(), ms(lag));
        assert_eq!(rooms.senses.health.is_starved(&rooms.ctx.params), is_stall);
    }
}

#[test]
fn what_is_late_by_ordinary_scheduling_is_no_stall() {
    let mut rooms = Rooms::of(5);
    (0..100).for_each(|n| rooms.at(10_000 + n).lag(19));
    assert_eq!((rooms.senses.health.longest_stall(), rooms.ctx.stats.stalls), (ms(0), 0));
    (0..13).for_each(|n| rooms.at(10_200 + n).lag(20));
    assert_eq!((rooms.senses.health.longest_stall(), rooms.ctx.stats.stalls), (ms(20), 1));
}

#[test]
fn helpers_that_send_nothing_make_a_node_doubt_itself_until_others_answer() {
    // How many helpers were silent, how many members answered since; whether the node is impaired.
    for (silent, answers, is_impaired) in
        [(0, 0, false), (4, 0, false), (5, 0, true), (5, 1, false), (100, 3, true), (100, 4, false)]
    {
        let mut health = LocalHealth::new(at(0));
        health.record_silent_helpers(silent);
        (0..answers).for_each(|_| health.forgive_silent_helper());
        assert_eq!(health.is_impaired(at(1)), is_impaired, "{silent} {answers}");
    }
}

#[test]
fn a_node_that_hears_little_judges_what_a_host_says_and_one_that_stalled_judges_nothing() {
    use Silence::{Gone, Hung, Silent, Unknown};
    let kinds = [Gone, Hung, Silent, Unknown];
    let cannot_judge = |health: &LocalHealth, millis: u64, live: usize| {
        kinds.map(|silence| health.cannot_judge(at(millis), silence, live))
    };
    let mut health = LocalHealth::new(at(0));
    assert_eq!(cannot_judge(&health, 1, 9), [false; 4]);
    health.record_silent_helpers(5);
    assert_eq!(cannot_judge(&health, 1, 4), [false, true, true, true]);
    assert_eq!(cannot_judge(&health, 1, 3), [false, false, true, true], "in a cluster of few");
    let mut rooms = Rooms::of(5);
    rooms.lag(1_000);
    assert_eq!(cannot_judge(&rooms.senses.health, 10_499, 3), [true; 4]);
    assert_eq!(cannot_judge(&rooms.senses.health, 10_500, 3), [false; 4]);
}

#[test]
fn a_node_is_isolated_that_hears_nobody_for_two_periods_and_tolerances() {
    // For how long nobody was heard, whether the node is alone; whether it is isolated.
    for (silent_for, is_alone, is_isolated) in
        [(3_999, false, false), (4_000, false, true), (4_000, true, false)]
    {
        let mut rooms = Rooms::of(5);
        rooms.hear_anyone();
        rooms.at(10_000 + silent_for);
        for _ in 0..2 {
            rooms.senses.health.check_isolation(&mut rooms.ctx, &mut rooms.senses.rounds, is_alone);
        }
        assert_eq!(rooms.senses.health.is_isolated(), is_isolated, "{silent_for} {is_alone}");
        assert_eq!(rooms.senses.health.is_impaired(at(60_000)), is_isolated);
        let told: &[&str] = if is_isolated { &["Isolated(true)"] } else { &[] };
        assert_eq!(rooms.effects(), told, "once");
        rooms.hear_anyone();
        assert!(!rooms.senses.health.is_isolated());
        let told: &[&str] =
            if is_isolated { &["Isolated(false)", "AskAnew { since: Instant(0ns) }"] } else { &[] };
        assert_eq!(rooms.effects(), told, "what was missed is asked again");
    }
}

#[test]
fn isolation_counts_from_when_the_period_was_cut_short() {
    let config = crate::Config { max_period: Some(ms(4_000)), ..crate::Config::lan() };
    let mut rooms = Rooms::with(5, config);
    (0..8).for_each(|_| rooms.senses.rounds.slow_down(&rooms.ctx.params));
    rooms.at(15_000);
    rooms.senses.rounds.quicken(&mut rooms.ctx);
    for (millis, is_isolated) in [(18_999, false), (19_000, true)] {
        rooms.at(millis);
        rooms.senses.health.check_isolation(&mut rooms.ctx, &mut rooms.senses.rounds, false);
        assert_eq!(rooms.senses.health.is_isolated(), is_isolated, "{millis}");
    }
}

#[test]
fn hearing_somebody_after_half_a_tolerance_is_a_new_beginning() {
    let mut rooms = Rooms::of(5);
    for (millis, resumed_at) in [(10_000, 10_000), (10_499, 10_000), (10_999, 10_999)] {
        rooms.at(millis).hear_anyone();
        assert_eq!(rooms.senses.health.resumed_at, at(resumed_at), "{millis}");
    }
}

#[test]
fn stalls_of_a_node_and_of_its_subject_lengthen_what_a_silence_is_given() {
    // The longest stall here, the one that the member measured; the pause tolerance and the hang tolerance.
    for (here, there, pause, hang) in [
        (0, 0, 1_000, 10_000),
        (0, 500, 1_000, 10_000),
        (0, 700, 1_400, 10_000),
        (249, 0, 1_000, 10_000),
        (250, 0, 1_000, 11_000),
        (2_000, 700, 4_000, 18_000),
        (0, 30_000, 10_000, 10_000),
    ] {
        let mut rooms = Rooms::of(5);
        rooms.lag(here);
        let (health, params) = (&rooms.senses.health, &rooms.ctx.params);
        let found = (health.pause_tolerance(params, ms(there)), health.hang_tolerance(params));
        assert_eq!(found, (ms(pause), ms(hang)), "{here} {there}");
    }
}

#[test]
fn a_stall_is_remembered_for_one_window_more() {
    let mut rooms = Rooms::of(5);
    // When a timer fires, and how late; the longest stall then.
    for (millis, lag, longest) in [
        (10_000, 100, 100),
        (29_999, 40, 100),
        (30_000, 40, 100),
        (59_999, 40, 100),
        (60_000, 40, 40),
    ] {
        rooms.at(millis).lag(lag);
        assert_eq!(rooms.senses.health.longest_stall(), ms(longest), "{millis}");
    }
}
