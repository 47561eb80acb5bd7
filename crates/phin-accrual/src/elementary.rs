//! Logarithm and exponential from basic IEEE 754 operations.
//!
//! The standard library uses the platform's mathematical library, whose last bits differ between platforms and
//! releases. A deadline that differs by a nanosecond changes a whole simulated run. These functions give the same
//! result everywhere, within a few units in the last place.

use std::f64::consts::{LOG2_E, SQRT_2};

/// The natural logarithm, with the same bits on every platform. Returns −∞ for 0, and NaN for negative numbers.
pub fn ln(x: f64) -> f64 {
    if x.is_nan() || x < 0.0 {
        return f64::NAN;
    }
    if x == 0.0 {
        return f64::NEG_INFINITY;
    }
    if x.is_infinite() {
        return x;
    }
    let (mut mantissa, mut exponent) = split(x);
    if mantissa > SQRT_2 {
        mantissa /= 2.0;
        exponent += 1.0;
    }
    let fraction = twice_atanh((mantissa - 1.0) / (mantissa + 1.0));
    exponent * LN_2_HIGH + (fraction + exponent * LN_2_LOW)
}

/// `ln(1 + x)`, also accurate for small `x`.
pub(crate) fn ln_1p(x: f64) -> f64 {
    if x.abs() < 0.25 { twice_atanh(x / (2.0 + x)) } else { ln(1.0 + x) }
}

/// The exponential `e^x`, with the same bits on every platform. Returns 0 for results below the smallest normal number.
pub fn exp(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    if x > MAX_EXPONENT {
        return f64::INFINITY;
    }
    if x < MIN_EXPONENT {
        return 0.0;
    }
    let twos = (x * LOG2_E).round();
    let rest = (x - twos * LN_2_HIGH) - twos * LN_2_LOW;
    // In two steps, because 2^1024 overflows although the product may be finite.
    let half = (twos / 2.0).floor();
    exp_near_zero(rest) * power_of_two(half) * power_of_two(twos - half)
}

/// The mantissa in 1..2 and the exponent of a positive, finite number.
fn split(x: f64) -> (f64, f64) {
    if x < f64::MIN_POSITIVE {
        let (mantissa, exponent) = split(x * power_of_two(64.0));
        return (mantissa, exponent - 64.0);
    }
    let bits = x.to_bits();
    let biased =
        u16::try_from(bits >> MANTISSA_BITS).expect("the sign bit of a positive number is 0");
    let mantissa = f64::from_bits((bits & ((1 << MANTISSA_BITS) - 1)) | 1.0_f64.to_bits());
    (mantissa, f64::from(biased) - EXPONENT_BIAS)
}

/// 2 to an integer power whose result is a normal number.
fn power_of_two(exponent: f64) -> f64 {
    // In range by the bounds of the callers; otherwise the cast saturates.
    f64::from_bits(((exponent + EXPONENT_BIAS) as u64) << MANTISSA_BITS)
}

/// `ln((1 + s) / (1 − s))` by its series in odd powers, with enough terms for |s| ≤ 0.172, which is (√2 − 1) / (√2 +
/// 1).
fn twice_atanh(s: f64) -> f64 {
    let square = s * s;
    let series = (1..=10).rev().fold(0.0, |sum, k| (sum + 1.0 / f64::from(2 * k + 1)) * square);
    2.0 * s + 2.0 * s * series
}

/// `e^x` by its series, with enough terms for |x| ≤ ln 2 / 2.
fn exp_near_zero(x: f64) -> f64 {
    1.0 + (1..=15).rev().fold(0.0, |sum, k| (1.0 + sum) * x / f64::from(k))
}

const MANTISSA_BITS: u32 = 52;
const EXPONENT_BIAS: f64 = 1023.0;
/// Above this, `e^x` is not finite.
const MAX_EXPONENT: f64 = 709.782712893384;
/// Below this, `e^x` is not a normal number.
const MIN_EXPONENT: f64 = -708.396418532264;
/// ln 2 in two parts. The first has trailing zeros, so that its product with an exponent is exact.
const LN_2_HIGH: f64 = 6.931_471_803_691_238e-1;
const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lcg::Lcg;

    #[test]
    fn agree_with_the_standard_library_to_the_last_places() {
        let mut lcg = Lcg::new(1);
        for _ in 0..200_000 {
            let x = (lcg.uniform() - 0.5) * 1416.0;
            assert_close(exp(x), x.exp());
            assert_close(ln(x.exp()), x.exp().ln());
            let small = (lcg.uniform() - 0.5) * 10_f64.powi(-(lcg.below(18) as i32));
            assert_close(ln_1p(small), small.ln_1p());
            assert_close(ln(1.0 + small), (1.0 + small).ln());
        }
    }

    #[test]
    fn have_the_right_edges() {
        assert_eq!(ln(0.0), f64::NEG_INFINITY);
        assert_eq!(ln(1.0), 0.0);
        assert_eq!(ln(f64::INFINITY), f64::INFINITY);
        assert!(ln(-1.0).is_nan() && ln(f64::NAN).is_nan());
        assert_close(ln(f64::MAX), f64::MAX.ln());
        assert_close(ln(5e-324), 5e-324_f64.ln());
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f64::NEG_INFINITY), 0.0);
        assert_eq!(exp(f64::INFINITY), f64::INFINITY);
        assert!(exp(f64::NAN).is_nan());
        assert!(exp(MAX_EXPONENT).is_finite() && exp(MIN_EXPONENT) > 0.0);
        assert_eq!(ln_1p(-1.0), f64::NEG_INFINITY);
    }

    fn assert_close(actual: f64, expected: f64) {
        let error = (actual - expected).abs();
        assert!(error <= 1e-15 * expected.abs(), "{actual:e} instead of {expected:e}");
    }
}
