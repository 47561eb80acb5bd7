use super::*;
use crate::lcg::Lcg;

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

/// Intervals of mean 1 s and deviation exactly 0.1 s, nothing left of the first estimate.
fn regular() -> PhiAccrual {
    let mut detector = PhiAccrual::new(100, MILLISECOND, SECOND);
    for beat in 0..100 {
        detector.record(if beat % 2 == 0 { 900 } else { 1100 } * MILLISECOND);
    }
    detector
}

#[test]
fn phi_is_the_normal_tail_of_the_intervals() {
    let detector = regular();
    assert_eq!((detector.mean(), detector.deviation()), (SECOND, 100 * MILLISECOND));
    // −log10 Q(z) of z = 0, 1, 2, 5 and 10, from the table in tail/tests.rs.
    for (elapsed_ms, phi) in [
        (1000, std::f64::consts::LOG10_2),
        (1100, 0.799_545_541_491_970_5),
        (1200, 1.643_016_080_140_937),
        (1500, 6.542_645_672_390_654),
        (2000, 23.118_053_405_486_076),
    ] {
        let actual = detector.phi(elapsed_ms * MILLISECOND);
        assert!((actual / phi - 1.0).abs() < 1e-12, "{actual} instead of {phi} at {elapsed_ms} ms");
    }
}

#[test]
fn phi_of_hundreds_is_a_number_and_still_rises() {
    let detector = regular();
    // Q(40) is 10^−349.4, which no f64 holds.
    let phi = detector.phi(5 * SECOND);
    assert!(phi > 349.0 && phi < 350.0, "{phi}");
    let mut before = 0.0;
    for power in 0..64 {
        let phi = detector.phi(Duration::from_nanos(1 << power));
        assert!(phi.is_finite() && phi >= before, "{phi} after {before}");
        before = phi;
    }
    assert!(detector.phi(Duration::MAX).is_finite());
}

#[test]
fn the_deviation_has_a_floor() {
    let mut detector = PhiAccrual::new(10, 50 * MILLISECOND, SECOND);
    for _ in 0..20 {
        detector.record(SECOND);
    }
    assert_eq!(detector.deviation(), 50 * MILLISECOND);
    assert!(detector.phi(SECOND + 50 * MILLISECOND) < 1.0);

    let unfloored = PhiAccrual::new(2, Duration::ZERO, Duration::ZERO);
    assert_eq!(unfloored.deviation(), MIN_INTERVAL_DEVIATION);
    assert!(unfloored.phi(Duration::MAX).is_finite());
}

#[test]
fn the_first_estimate_stands_until_it_has_left_the_window() {
    let mut detector = PhiAccrual::new(4, MILLISECOND, SECOND);
    assert_eq!((detector.mean(), detector.deviation()), (SECOND, 250 * MILLISECOND));
    for _ in 0..3 {
        detector.record(2 * SECOND);
    }
    assert!(detector.deviation() > 100 * MILLISECOND);
    detector.record(2 * SECOND);
    assert_eq!((detector.mean(), detector.deviation()), (2 * SECOND, MILLISECOND));
}

#[test]
fn phi_is_the_rate_of_mistakes() {
    // Paper §4.1: acting at phi is a mistake with probability 10^−phi.
    let mut lcg = Lcg::new(3);
    let mut detector = PhiAccrual::new(1000, MILLISECOND, SECOND);
    let mut later_than = [0.0; 3];
    const BEATS: u32 = 200_000;
    for beat in 0..BEATS + 1000 {
        let interval = SECOND.mul_f64(1.0 + 0.1 * lcg.normal());
        if beat >= 1000 {
            let phi = detector.phi(interval);
            for (count, threshold) in later_than.iter_mut().zip([1.0, 2.0, 3.0]) {
                *count += f64::from(u8::from(phi >= threshold));
            }
        }
        detector.record(interval);
    }
    for (count, expected) in later_than.iter().zip([1e-1, 1e-2, 1e-3]) {
        let rate = count / f64::from(BEATS);
        assert!((0.7..1.4).contains(&(rate / expected)), "{rate} instead of {expected}");
    }
}

#[test]
fn any_input_has_a_defined_result() {
    let extremes = [Duration::ZERO, Duration::from_nanos(1), SECOND, MAX_INTERVAL, Duration::MAX];
    for capacity in [0, 1, 3, usize::MAX] {
        for min_deviation in extremes {
            for first_interval in extremes {
                let mut detector = PhiAccrual::new(capacity, min_deviation, first_interval);
                for sample in extremes {
                    let phi = detector.phi(sample);
                    assert!(phi.is_finite() && phi.is_sign_positive(), "{phi}");
                    detector.record(sample);
                    assert!(detector.mean() <= MAX_INTERVAL.mul_f64(1.000_001));
                    assert!(detector.deviation() >= MIN_INTERVAL_DEVIATION);
                }
            }
        }
    }
}
