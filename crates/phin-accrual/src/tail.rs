//! The upper tail of the normal distribution, accurate at any distance.
//!
//! `1 − cdf` loses all its digits beyond 8 deviations and is 0 beyond 38. These functions use the Mills ratio `Q(z) /
//! φ(z)` (tail over density), which never underflows or overflows. The sum of its logarithm and that of the density
//! is accurate at any distance.

use crate::elementary::{exp, ln, ln_1p};
use std::f64::consts::{FRAC_2_SQRT_PI, LOG10_E, SQRT_2};

/// `Q(z)`: the probability that a standard normal variable exceeds `z`. Accurate for positive `z`; for negative `z`,
/// use the complement `survival(-z)`.
pub(crate) fn survival(z: f64) -> f64 {
    if z < 0.0 { 1.0 - survival(-z) } else { exp(ln_upper_tail(z)) }
}

/// `log10 Q(z)`, to a relative 1e-12 wherever the result is a normal number.
pub(crate) fn log10_survival(z: f64) -> f64 {
    let natural = if z < 0.0 { ln_1p(-survival(-z)) } else { ln_upper_tail(z) };
    natural * LOG10_E
}

/// The `z` with `survival(z) = probability`, which is clamped to the open interval (0, 1).
pub(crate) fn upper_quantile(probability: f64) -> f64 {
    if probability > 0.5 {
        return -upper_quantile(1.0 - probability);
    }
    let ln_probability = ln(probability.max(f64::MIN_POSITIVE));
    let t = (-2.0 * ln_probability).sqrt();
    // Abramowitz and Stegun 26.2.23: within 4.5e-4. Each Newton step on ln Q, which is almost straight, squares the
    // error.
    let guess = t
        - (2.515517 + t * (0.802853 + t * 0.010328))
            / (1.0 + t * (1.432788 + t * (0.189269 + t * 0.001308)));
    (0..2).fold(guess.max(0.0), |z, _| {
        (z + (ln_upper_tail(z) - ln_probability) * mills_ratio(z)).max(0.0)
    })
}

/// `ln Q(z)` for `z ≥ 0`.
fn ln_upper_tail(z: f64) -> f64 {
    ln(mills_ratio(z)) - LN_SQRT_TAU - z * z / 2.0
}

/// `Q(z) / φ(z)` for `z ≥ 0`.
fn mills_ratio(z: f64) -> f64 {
    if z < SERIES_END { mills_ratio_by_series(z) } else { mills_ratio_by_fraction(z) }
}

/// `√(π/2) e^(z²/2) − (z + z³/3 + z⁵/15 + …)` (Abramowitz and Stegun 26.2.11). All terms have one sign, so only the one
/// subtraction cancels digits, by a factor of 370 at worst.
fn mills_ratio_by_series(z: f64) -> f64 {
    let square = z * z;
    let mut term = z;
    let mut sum = z;
    let mut odd = 1.0;
    while term > sum * f64::EPSILON / 4.0 {
        odd += 2.0;
        term *= square / odd;
        sum += term;
    }
    exp(square / 2.0) * SQRT_HALF_PI - sum
}

/// Laplace's continued fraction `1 / (z + 1 / (z + 2 / (z + 3 / …)))` (Abramowitz and Stegun 26.2.14), evaluated from
/// its last term.
fn mills_ratio_by_fraction(z: f64) -> f64 {
    // Enough for 1e-17 from SERIES_END on. The remainder after the last term is replaced by its limit.
    let terms = (8.0 + 330.0 / (z * z)).floor();
    let mut fraction = z / 2.0 + (z * z / 4.0 + terms + 1.0).sqrt();
    let mut k = terms;
    while k > 0.0 {
        fraction = z + k / fraction;
        k -= 1.0;
    }
    1.0 / fraction
}

/// The switch from the series, which loses three digits here, to the continued fraction, which needs 44 terms.
const SERIES_END: f64 = 3.0;
/// `√(π/2)`.
const SQRT_HALF_PI: f64 = SQRT_2 / FRAC_2_SQRT_PI;
/// `ln √(2π)`.
const LN_SQRT_TAU: f64 = 0.918_938_533_204_672_8;

#[cfg(test)]
mod tests;
