use super::*;

#[test]
fn a_miss_that_is_taken_back_leaves_the_loss_as_it_was() {
    let mut link = LinkEstimator::new(Duration::from_millis(1));
    link.retract_miss();
    assert_eq!(link, LinkEstimator::new(Duration::from_millis(1)), "there is none");
    for replies in [0, 1, 10, 1_000] {
        (0..replies).for_each(|_| link.record_answered());
        let before = link.loss();
        link.record_miss();
        assert!(link.loss() > before);
        link.retract_miss();
        assert!((link.loss() - before).abs() < 1e-9, "{replies}: {} {before}", link.loss());
    }
    // With replies in between it is lower at most.
    let mut other = link.clone();
    link.record_miss();
    for link in [&mut link, &mut other] {
        (0..5).for_each(|_| link.record_answered());
    }
    link.retract_miss();
    assert!(link.loss() <= other.loss());
}
use crate::lcg::Lcg;

const MILLISECOND: Duration = Duration::from_millis(1);
const PRIOR: Duration = Duration::from_millis(50);
const EXTREMES: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_nanos(1),
    MILLISECOND,
    Duration::from_secs(1),
    MAX_WAIT,
    Duration::MAX,
];

/// A link after many replies of `round_trip` with log-normal jitter.
fn measured(round_trip: Duration, jitter: f64, lcg: &mut Lcg) -> LinkEstimator {
    let mut link = LinkEstimator::new(PRIOR);
    for _ in 0..200 {
        link.record_reply(jittered(round_trip, jitter, lcg));
    }
    link
}

fn jittered(round_trip: Duration, jitter: f64, lcg: &mut Lcg) -> Duration {
    round_trip.mul_f64((jitter * lcg.normal()).exp())
}

/// Links of all kinds: new, clean, lossy, steady, erratic, fed with nonsense.
fn random_link(lcg: &mut Lcg) -> LinkEstimator {
    let mut link = LinkEstimator::new(Duration::from_nanos(1 << lcg.below(50)));
    let typical = Duration::from_nanos(1 << (10 + lcg.below(26)));
    let jitter = 3.0 * lcg.uniform() * lcg.uniform();
    let loss = lcg.uniform() * lcg.uniform();
    for _ in 0..lcg.below(300) {
        if lcg.uniform() < loss {
            link.record_miss();
        } else if lcg.uniform() < 0.1 {
            link.record_answered();
        } else {
            link.record_reply(jittered(typical, jitter, lcg));
        }
    }
    link
}

#[test]
fn a_new_link_is_trusted_little() {
    let link = LinkEstimator::new(PRIOR);
    assert_eq!((link.samples(), link.round_trip(), link.loss()), (0, None, PRIOR_LOSS));
    assert_eq!(link.log_deviation(), PRIOR_LOG_DEVIATION);
    assert!(link.weight(MAX_WAIT) <= 1.0);
    assert_eq!(link.deadline(1.5), None);
    // Ten times the prior round trip is one in a hundred: e^2.33.
    assert!((400 * MILLISECOND..600 * MILLISECOND).contains(&link.late_after(0.99)));
}

#[test]
fn quantiles_are_those_of_the_samples() {
    let mut lcg = Lcg::new(7);
    let link = measured(10 * MILLISECOND, 0.1, &mut lcg);
    let at = |quantile| link.round_trip_quantile(quantile).unwrap().as_secs_f64() * 1e3;
    let median = link.round_trip().unwrap().as_secs_f64() * 1e3;
    assert!((at(0.5) / median - 1.0).abs() < 1e-6, "{} {median}", at(0.5));
    // One in a hundred is 2.33 deviations above the typical one. A link that is steadier than `late_after` assumes is
    // shown as steady as it is.
    assert!((11.5..14.0).contains(&at(0.99)), "{}", at(0.99));
    assert!(link.late_after(0.99) > 18 * MILLISECOND);
    assert_eq!((at(-1.0), at(0.0)), (0.0, 0.0));
    for quantile in [1.0, 2.0, f64::NAN] {
        assert_eq!(link.round_trip_quantile(quantile), Some(MAX_ROUND_TRIP));
    }
    assert_eq!(LinkEstimator::new(PRIOR).round_trip_quantile(0.5), None);
}

#[test]
fn the_first_sample_replaces_the_guess() {
    let mut link = LinkEstimator::new(PRIOR);
    link.record_reply(3 * MILLISECOND);
    assert_about(link.round_trip().expect("there is a sample"), 3 * MILLISECOND, 1e-9);
    assert_eq!((link.samples(), link.log_deviation()), (1, PRIOR_LOG_DEVIATION));
    assert_eq!(link.loss(), PRIOR_LOSS / 2.0);
}

#[test]
fn the_first_samples_count_alike() {
    let mut link = LinkEstimator::new(PRIOR);
    for exponent in [1.0, 2.0, 4.0, 5.0] {
        link.record_reply(MILLISECOND.mul_f64(f64::exp(exponent)));
    }
    // Mean 3, sum of squared differences 10, and one sample's worth of the prior's variance.
    assert_about(
        link.round_trip().expect("there are samples"),
        MILLISECOND.mul_f64(f64::exp(3.0)),
        1e-6,
    );
    assert!((link.variance - (10.0 + PRIOR_LOG_DEVIATION.powi(2)) / 4.0).abs() < 1e-6);
}

#[test]
fn a_slow_beginning_is_no_scatter() {
    for (round_trips, at_most, at_least) in [
        // Began while the machine was busy: late is soon what it is for a link of a typical 4 ms.
        ([100.0, 0.5, 0.5, 0.5], 30.0, 0.5),
        // The link takes that long now and then, or by now.
        ([0.5, 0.5, 0.5, 100.0], f64::INFINITY, 100.0),
    ] {
        let mut link = LinkEstimator::new(PRIOR);
        for trip in round_trips {
            link.record_reply(MILLISECOND.mul_f64(trip));
        }
        let late = link.late_after(0.99).as_secs_f64() * 1e3;
        assert!((at_least..=at_most).contains(&late), "{late} ms after {round_trips:?}");
    }
}

#[test]
fn the_scatter_of_a_steady_link_is_its_own() {
    let (mut lcg, mut sum) = (Lcg::new(24), 0.0);
    for _ in 0..500 {
        sum += measured(MILLISECOND, 0.8, &mut lcg).variance;
    }
    let ratio = sum / 500.0 / 0.8_f64.powi(2);
    assert!((0.9..1.1).contains(&ratio), "{ratio}");
}

#[test]
fn the_weight_follows_its_formula() {
    let mut link = LinkEstimator::new(PRIOR);
    (link.mean, link.variance) = (f64::ln(0.01), 0.25);
    (link.loss, link.long_loss) = (0.03, 0.04);
    // 10 ms · e^(0.5 z) and Q(z) of z = −2, 0, 1, 3.
    for (deviations, tail) in [
        (-2.0, 0.977_249_868_051_820_8),
        (0.0, 0.5),
        (1.0, 0.158_655_253_931_457_05),
        (3.0, 1.349_898_031_630_094_6e-3),
    ] {
        let waited = Duration::from_secs_f64(0.01 * f64::exp(0.5 * deviations)) + TIMER_JITTER;
        let expected = -f64::log10(0.04 + 0.96 * tail);
        let actual = link.weight(waited);
        assert!((actual / expected - 1.0).abs() < 1e-6, "{actual} instead of {expected}");
    }
}

#[test]
fn the_weight_rises_from_nothing_to_what_the_loss_allows() {
    let mut lcg = Lcg::new(4);
    for _ in 0..500 {
        let link = random_link(&mut lcg);
        assert_eq!(link.weight(Duration::ZERO), 0.0);
        let mut before = 0.0;
        for step in 0..640 {
            let weight =
                link.weight(Duration::from_secs_f64(f64::exp2(f64::from(step) / 10.0) / 1e9));
            assert!(weight >= before && weight <= MAX_WEIGHT, "{weight} after {before}");
            before = weight;
        }
        assert!(link.weight(Duration::MAX) <= -link.loss().min(MAX_LOSS).log10() + 1e-12);
    }
}

#[test]
fn a_clean_link_reaches_the_most_and_no_more() {
    let link = measured(MILLISECOND, 0.1, &mut Lcg::new(5));
    assert_eq!(link.loss(), MIN_LOSS);
    assert!((link.weight(Duration::from_secs(1)) - MAX_WEIGHT).abs() < 1e-9);
    assert!(link.weight(Duration::MAX) <= MAX_WEIGHT);
    // Phi 8 takes three.
    const { assert!(2.0 * MAX_WEIGHT < 8.0 && 3.0 * MAX_WEIGHT >= 8.0) };
    assert!((MAX_WEIGHT + MIN_LOSS.log10()).abs() < 1e-12);
}

#[test]
fn the_deadline_is_the_smallest_wait_worth_it() {
    let mut lcg = Lcg::new(6);
    let mut found = 0;
    for _ in 0..20_000 {
        let link = random_link(&mut lcg);
        let phi = 3.1 * lcg.uniform() * 10_f64.powi(-(lcg.below(4) as i32));
        let Some(deadline) = link.deadline(phi) else {
            assert!(link.weight(MAX_WAIT) < phi);
            continue;
        };
        found += 1;
        assert!(deadline <= MAX_WAIT && link.weight(deadline) >= phi);
        let earlier = deadline.mul_f64(1.0 - 1e-7).saturating_sub(Duration::from_nanos(2));
        assert!(link.weight(earlier) < phi, "{phi} was reached before {deadline:?} on {link:?}");
    }
    assert!(found > 2_000, "{found}");
}

#[test]
fn the_deadline_exists_where_the_weight_levels_off() {
    let mut lcg = Lcg::new(7);
    for _ in 0..2_000 {
        let link = random_link(&mut lcg);
        let most = link.weight(MAX_WAIT);
        let deadline = link.deadline(most).expect("the longest wait is worth it");
        assert!(link.weight(deadline) >= most);
        assert!(deadline <= link.wait_of(8.6), "{deadline:?} on {link:?}");
        assert_eq!(link.deadline(most.next_up()), None);
    }
}

#[test]
fn the_fraction_of_late_replies_is_as_promised() {
    let mut lcg = Lcg::new(8);
    for (jitter, quantile) in [(0.5, 0.5), (0.5, 0.9), (1.0, 0.9), (0.5, 0.99), (1.0, 0.99)] {
        let mut link = measured(100 * MILLISECOND, jitter, &mut lcg);
        let mut late = 0.0;
        for _ in 0..20_000 {
            let round_trip = jittered(100 * MILLISECOND, jitter, &mut lcg);
            late += f64::from(u8::from(round_trip + TIMER_JITTER > link.late_after(quantile)));
            link.record_reply(round_trip);
        }
        let rate = late / 20_000.0 / (1.0 - quantile);
        assert!((0.7..1.6).contains(&rate), "{rate} times the promised fraction beyond {quantile}");
    }
}

#[test]
fn a_weight_is_the_rate_of_mistakes_at_any_loss() {
    let mut lcg = Lcg::new(9);
    const MESSAGES: u32 = 400_000;
    for loss in [0.0005, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25] {
        let mut link = measured(5 * MILLISECOND, 0.4, &mut lcg);
        let most = |link: &LinkEstimator| -link.loss().log10();
        assert!((link.weight(Duration::from_secs(1)) - most(&link)).abs() < 1e-6);
        let thresholds = [1.0, 2.0, 2.9];
        let mut mistakes = [0.0; 3];
        for _ in 0..MESSAGES {
            if lcg.uniform() >= loss {
                link.record_answered();
                continue;
            }
            for (count, threshold) in mistakes.iter_mut().zip(thresholds) {
                *count += f64::from(u8::from(most(&link) >= threshold));
            }
            link.record_miss();
        }
        for (count, threshold) in mistakes.iter().zip(thresholds) {
            let excess = count / f64::from(MESSAGES) * 10_f64.powf(threshold);
            assert!(excess < 1.3, "{excess} times too many of weight {threshold} at loss {loss}");
        }
    }
}

#[test]
fn loss_follows_a_change_within_tens_of_messages() {
    let mut lcg = Lcg::new(10);
    let (mut risen, mut falling, mut fallen) = (0.0, 0.0, 0.0);
    const LINKS: u32 = 200;
    for _ in 0..LINKS {
        let mut link = measured(MILLISECOND, 0.3, &mut lcg);
        for _ in 0..40 {
            if lcg.uniform() < 0.25 { link.record_miss() } else { link.record_answered() }
        }
        risen += link.loss() / f64::from(LINKS);
        for _ in 0..100 {
            link.record_answered();
        }
        falling += link.loss() / f64::from(LINKS);
        for _ in 0..400 {
            link.record_answered();
        }
        fallen += link.loss() / f64::from(LINKS);
    }
    assert!((0.18..0.25).contains(&risen), "{risen}");
    assert!(falling < 0.025, "{falling}");
    assert!(fallen < 0.003, "{fallen}");
}

#[test]
fn a_new_link_that_answers_soon_counts_fully() {
    let mut link = LinkEstimator::new(PRIOR);
    for _ in 0..10 {
        link.record_answered();
    }
    assert!(link.weight(MAX_WAIT) > 2.0);
    for _ in 0..50 {
        link.record_answered();
    }
    assert_eq!(link.loss(), MIN_LOSS);
    assert_eq!(link.samples(), 0);
}

#[test]
fn a_link_that_only_loses_says_little_but_never_nothing_until_it_answers() {
    let mut link = LinkEstimator::new(PRIOR);
    for _ in 0..100_000 {
        link.record_miss();
    }
    assert!(link.loss() > 0.99 && link.loss() <= 1.0);
    assert!((0.124..0.125).contains(&link.weight(MAX_WAIT)), "{}", link.weight(MAX_WAIT));
    assert!(link.deadline(0.1).is_some_and(|wait| link.weight(wait) >= 0.1));
    assert_eq!(link.deadline(0.2), None);
    for _ in 0..100 {
        link.record_answered();
    }
    assert!(link.loss() < 0.025);
}

#[test]
fn round_trips_follow_a_jump_within_tens_of_samples() {
    let mut lcg = Lcg::new(11);
    let mut link = measured(MILLISECOND, 0.2, &mut lcg);
    let mut late = 0;
    for _ in 0..40 {
        let round_trip = jittered(100 * MILLISECOND, 0.2, &mut lcg);
        late += u32::from(round_trip > link.late_after(0.99));
        link.record_reply(round_trip);
    }
    assert_about(link.round_trip().expect("there are samples"), 100 * MILLISECOND, 0.4);
    // The deviation widens at once, so that few replies look late while the mean is under way.
    assert!(late <= 5, "{late}");
    for _ in 0..60 {
        link.record_reply(jittered(100 * MILLISECOND, 0.2, &mut lcg));
    }
    assert_about(link.round_trip().expect("there are samples"), 100 * MILLISECOND, 0.2);
    assert!(link.late_after(0.99) < 600 * MILLISECOND, "{:?}", link.late_after(0.99));
}

#[test]
fn ordinary_jitter_is_no_alarm_on_the_steadiest_link() {
    for round_trip in [Duration::from_micros(30), 20 * MILLISECOND] {
        let mut link = LinkEstimator::new(PRIOR);
        for _ in 0..10_000 {
            link.record_reply(round_trip);
        }
        assert_eq!(link.log_deviation(), MIN_LOG_DEVIATION);
        assert!(link.weight(round_trip * 3 / 2 + TIMER_JITTER) < 1.5);
        assert!(link.late_after(0.99) >= round_trip * 2 + TIMER_JITTER);
        assert_eq!(link.weight(TIMER_JITTER), 0.0);
    }
}

#[test]
fn one_absurd_sample_is_forgotten() {
    let mut link = measured(MILLISECOND, 0.2, &mut Lcg::new(12));
    let before = link.late_after(0.99);
    link.record_reply(Duration::MAX);
    assert!(link.late_after(0.99) < Duration::from_secs(2));
    for _ in 0..60 {
        link.record_reply(MILLISECOND);
    }
    assert!(link.late_after(0.99) < before * 2, "{:?}", link.late_after(0.99));
}

#[test]
fn late_after_has_the_right_edges() {
    let link = measured(MILLISECOND, 0.2, &mut Lcg::new(13));
    for (quantile, wait) in [
        (f64::NAN, MAX_WAIT),
        (1.0, MAX_WAIT),
        (f64::INFINITY, MAX_WAIT),
        (0.0, Duration::ZERO),
        (f64::NEG_INFINITY, Duration::ZERO),
    ] {
        assert_eq!(link.late_after(quantile), wait, "at {quantile}");
    }
    let typical = link.round_trip().expect("there are samples") + TIMER_JITTER;
    assert_about(link.late_after(0.5), typical, 1e-6);
    assert!(link.late_after(0.1) < link.late_after(0.9));
    assert!(link.late_after(1.0_f64.next_down()) < MAX_WAIT);
}

#[test]
fn any_input_has_a_defined_result() {
    let phis = [f64::NAN, f64::NEG_INFINITY, -1.0, 0.0, 5e-324, 1e-9, 3.0, 8.0, f64::INFINITY];
    for prior in EXTREMES {
        for sample in EXTREMES {
            let mut link = LinkEstimator::new(prior);
            for _ in 0..50 {
                for waited in EXTREMES {
                    assert!((0.0..=MAX_WEIGHT).contains(&link.weight(waited)));
                }
                assert!(link.late_after(1.0_f64.next_down()) <= MAX_WAIT);
                for phi in phis {
                    assert!(link.deadline(phi).is_none_or(|wait| wait <= MAX_WAIT));
                    assert!(link.late_after(phi) <= MAX_WAIT);
                }
                assert_eq!(link.deadline(f64::NAN), None);
                assert_eq!(link.deadline(f64::INFINITY), None);
                assert_eq!(link.deadline(-1.0), Some(Duration::ZERO));
                assert!(link.round_trip().is_none_or(|rtt| rtt < MAX_ROUND_TRIP * 2));
                link.record_reply(sample);
                link.record_reply(prior);
            }
        }
    }
}

#[test]
fn counters_stop_at_their_ends() {
    let mut link = LinkEstimator::new(PRIOR);
    (link.samples, link.outcomes) = (u32::MAX, u32::MAX);
    link.record_reply(MILLISECOND);
    assert_eq!((link.samples(), link.outcomes), (u32::MAX, u32::MAX));
}

#[test]
fn millions_of_samples_leave_no_drift() {
    let mut lcg = Lcg::new(14);
    let mut link = LinkEstimator::new(PRIOR);
    for _ in 0..2_000_000 {
        link.record_reply(Duration::from_nanos(1 << (10 + lcg.below(26))));
    }
    // Samples before the last few hundred have no effect.
    let mut fresh = LinkEstimator::new(PRIOR);
    for _ in 0..2_000 {
        let sample = Duration::from_nanos(1 << (10 + lcg.below(26)));
        link.record_reply(sample);
        fresh.record_reply(sample);
    }
    assert!((link.mean - fresh.mean).abs() < 1e-12);
    assert!((link.variance - fresh.variance).abs() < 1e-10);
}

#[test]
fn a_link_is_small() {
    assert!(size_of::<LinkEstimator>() <= 40);
}

fn assert_about(actual: Duration, expected: Duration, tolerance: f64) {
    let ratio = actual.as_secs_f64() / expected.as_secs_f64();
    assert!((ratio - 1.0).abs() <= tolerance, "{actual:?} instead of {expected:?}");
}
