use super::*;
use crate::lcg::Lcg;

#[test]
fn log10_survival_agrees_with_the_table() {
    for (z, expected) in LOG10_SURVIVAL {
        assert_close(log10_survival(z), expected, z);
    }
}

#[test]
fn survival_agrees_with_the_table() {
    for (z, expected) in LOG10_SURVIVAL {
        // Beyond, 10^expected is no normal number, or has lost its digits to the power.
        if (-30.0..30.0).contains(&z) {
            let actual = survival(z);
            assert!((actual / 10_f64.powf(expected) - 1.0).abs() < 1e-12, "{actual:e} at {z}");
        }
    }
}

#[test]
fn the_far_tail_is_a_number_to_the_end() {
    assert_eq!(log10_survival(f64::NEG_INFINITY), 0.0);
    assert_eq!(log10_survival(f64::INFINITY), f64::NEG_INFINITY);
    assert!(log10_survival(f64::NAN).is_nan());
    assert_eq!((survival(f64::NEG_INFINITY), survival(f64::INFINITY)), (1.0, 0.0));
    assert!(log10_survival(1e150).is_finite());
}

#[test]
fn the_tail_never_rises() {
    let mut before = log10_survival(-40.0);
    for step in -39_999..40_000 {
        let now = log10_survival(f64::from(step) / 1000.0);
        assert!(now <= before, "{now:e} after {before:e} at step {step}");
        before = now;
    }
}

#[test]
fn the_two_ways_to_the_mills_ratio_agree_where_they_meet() {
    for step in 0..1000 {
        let z = SERIES_END + f64::from(step - 500) / 10_000.0;
        let ratio = mills_ratio_by_series(z) / mills_ratio_by_fraction(z);
        assert!((ratio - 1.0).abs() < 1e-12, "{ratio} at {z}");
    }
}

#[test]
fn upper_quantile_is_the_inverse() {
    let mut lcg = Lcg::new(15);
    for _ in 0..100_000 {
        let z = 37.0 * lcg.uniform();
        assert!((upper_quantile(survival(z)) - z).abs() < 1e-12 * z.max(1.0), "at {z}");
    }
    for z in [-5.0, -2.5, -0.1, -1e-3, 0.0] {
        assert!((upper_quantile(survival(z)) - z).abs() < 1e-9, "at {z}");
    }
    assert!(upper_quantile(0.0) > 37.0 && upper_quantile(1.0) < -37.0);
}

fn assert_close(actual: f64, expected: f64, z: f64) {
    let error = ((actual - expected) / expected).abs();
    assert!(error < 1e-12, "{actual:e} instead of {expected:e} at {z}: off by {error:e}");
}

/// `z` and `log10 Q(z)`. Computed with mpmath 1.3.0 at `mp.dps = 60`, in Python, `z` being the
/// exact value of the float:
///
/// ```text
/// def q(z): return erfc(z / sqrt(mpf(2))) / 2
/// log1p(-q(-z)) / log(10)                 # z < 0
/// log10(q(z))                             # 0 ≤ z ≤ 1e4
/// (-z*z/2 - log(z*sqrt(2*pi)) + log(s)) / log(10)   # z > 1e4
/// # where s = 1 - 1/z² + 3/z⁴ - 15/z⁶ + …, 12 terms
/// ```
#[rustfmt::skip]
const LOG10_SURVIVAL: [(f64, f64); 64] = [
    (-37.0, -2.486_583_987_686_479_3e-300),
    (-30.0, -2.130_958_782_838_292e-198),
    (-20.0, -1.195_883_759_946_392_8e-89),
    (-12.0, -7.715_163_784_751_701e-34),
    (-8.0, -2.701_728_849_543_921_4e-16),
    (-6.0, -4.284_695_703_651_578e-10),
    (-4.0, -1.375_486_338_109_944_7e-5),
    (-3.0, -0.000_586_649_313_790_066_7),
    (-2.5, -0.002_705_231_396_143_721_3),
    (-2.0, -0.009_994_379_534_108_708),
    (-1.0, -0.075_026_012_957_818_02),
    (-0.5, -0.160_231_392_277_849_02),
    (-0.1, -0.267_744_723_958_664_4),
    (-0.001, -0.300_683_617_026_473_4),
    (-1e-9, -0.301_029_995_317_464_3),
    (0.0, -std::f64::consts::LOG10_2),
    (1e-9, -0.301_029_996_010_498_07),
    (0.001, -0.301_376_650_781_939_04),
    (0.1, -0.337_079_656_726_623_5),
    (0.25, -0.396_537_686_094_320_66),
    (0.5, -0.510_691_989_265_240_7),
    (0.75, -0.644_687_674_925_156_3),
    (1.0, -0.799_545_541_491_970_5),
    (1.25, -0.976_131_428_998_237_8),
    (1.5, -1.175_176_721_614_816_3),
    (2.0, -1.643_016_080_140_937),
    (2.5, -2.206_931_805_795_301),
    (2.9, -2.729_131_815_396_352_4),
    (2.99999, -2.869_684_777_633_257_7),
    (3.0, -2.869_699_035_929_369),
    (3.00001, -2.869_713_294_265_845_4),
    (3.25, -3.238_805_338_428_114_6),
    (3.5, -3.633_335_998_656_066_5),
    (4.0, -4.499_334_907_556_479),
    (4.5, -5.468_818_405_029_795),
    (5.0, -6.542_645_672_390_654_5),
    (5.5, -7.721_485_041_626_314),
    (6.0, -9.005_864_327_476_704),
    (7.0, -11.892_853_637_475_49),
    (8.0, -15.206_142_551_017_155),
    (8.25, -16.101_289_826_250_692),
    (9.0, -18.947_464_415_572_387),
    (10.0, -23.118_053_405_486_076),
    (12.5, -35.427_992_702_181_03),
    (15.0, -50.435_219_614_275_51),
    (20.0, -88.560_095_343_075_59),
    (25.0, -137.514_747_650_995_53),
    (30.0, -197.309_209_261_660_95),
    (37.0, -299.242_181_178_609_94),
    (37.5, -307.336_737_074_644_65),
    (38.0, -315.539_789_703_962_5),
    (38.5, -323.851_341_068_479_4),
    (39.0, -332.271_393_093_030_84),
    (40.0, -349.437_006_459_345_87),
    (50.0, -544.966_335_861_996_6),
    (75.0, -1_223.727_458_724_09),
    (100.0, -2_173.871_542_869_034_3),
    (300.0, -19_546.127_901_660_59),
    (1000.0, -217_150.640_041_994_4),
    (1e4, -21_714_728.494_252_53),
    (1e5, -2_171_472_414.915_349),
    (1e6, -217_147_240_958.025),
    (1e7, -21_714_724_095_169.992),
    (1e8, -2_171_472_409_516_267.5),
];
