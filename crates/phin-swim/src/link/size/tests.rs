use super::*;
use crate::testing::at;

const PATIENCE: Duration = Duration::from_millis(100);

#[test]
fn only_a_short_answer_without_the_long_one_speaks_against_the_link() {
    // The answers, each whether it is the one of full size; the share of lost ones then.
    let cases: [(&[bool], Option<f64>); 5] = [
        (&[], None),
        (&[false], Some(1.0)),
        (&[true], Some(0.0)),
        (&[false, true], Some(0.0)),
        (&[true, false], Some(0.0)),
    ];
    for (answers, expected) in cases {
        let mut size = Size::default();
        size.start(at(0), Sequence(1));
        answers.iter().for_each(|&is_full| _ = size.record_answer(Sequence(1), is_full));
        assert!(!size.record_answer(Sequence(2), true), "another check");
        size.end_check(at(99), PATIENCE);
        assert!(!size.is_lost(), "{answers:?}");
        size.end_check(at(100), PATIENCE);
        assert_eq!(size.share_lost(), expected, "{answers:?}");
    }
}

#[test]
fn a_link_is_checked_each_hour_and_sooner_if_there_is_a_reason() {
    use Need::{Nothing, Now, Overdue};
    let mut size = Size::default();
    // When it is looked at, whether it is flawed then, whether packets are lost on any link; what it needs.
    let steps = [
        (1_000, false, false, Nothing),
        (2_000, false, true, Now),
        (3_600_999, false, false, Nothing),
        (3_601_000, false, false, Overdue(Duration::ZERO)),
        (3_603_000, false, false, Overdue(Duration::from_secs(2))),
        (61_000, true, false, Overdue(Duration::ZERO)),
    ];
    for (millis, is_flawed, is_lost_on_any, expected) in steps {
        assert_eq!(size.need(at(millis), is_flawed, is_lost_on_any), expected, "{millis}");
    }
    size.start(at(700_000), Sequence(1));
    size.want(at(729_999));
    size.end_check(at(729_999), PATIENCE);
    assert_eq!(size.need(at(729_999), false, false), Nothing);
    size.start(at(700_000), Sequence(2));
    size.want(at(730_000));
    assert_eq!(size.need(at(730_000), false, false), Nothing, "a check is under way");
    size.end_check(at(730_000), PATIENCE);
    assert_eq!(size.need(at(730_000), false, false), Now);
    assert_eq!(size.share_lost(), None, "neither probe was answered");
}
