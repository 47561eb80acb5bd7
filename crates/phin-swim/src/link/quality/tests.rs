use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::{
    testing::{at, ms},
    wire::Sequence,
};

/// The shares of lost probes and of late replies on the other links, on which packets of full size pass.
const fn usual(lost: f64, late: f64) -> Usual {
    Usual { lost, late, large: 0.1 }
}

/// A link with these outcomes, `x` for each lost probe, and its review where the others lose this share.
fn reviewed(outcomes: &str, usual_loss: f64) -> (Quality, Certainty) {
    let mut quality = Quality::default();
    for (sent_at, outcome) in (0..).zip(outcomes.chars()) {
        match outcome {
            'x' => quality.record_lost(at(sent_at)),
            _ => quality.record_answered(),
        }
    }
    let certainty = quality.review(usual(usual_loss, 0.1));
    (quality, certainty)
}

#[test]
fn a_link_is_flawed_if_it_loses_far_more_than_the_others() {
    use Certainty::{Sure, Unsure};
    // The outcomes, the usual loss; whether the link is flawed, and whether that is sure.
    let cases = [
        ("", 0.1, false, Sure),
        ("........", 0.1, false, Sure),
        ("x", 0.1, false, Unsure),
        ("x.", 0.1, false, Sure),
        ("xxxx", 0.1, false, Unsure),
        ("xxxxx", 0.1, true, Sure),
        ("x.xx.xxx.x", 0.1, true, Sure),
        ("x...x..x....x...x", 0.1, false, Unsure),
        ("x", 0.25, false, Sure),
        ("xxxxxxxx", 0.25, false, Unsure),
        ("xxxxxxxxx", 0.25, true, Sure),
        ("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", 0.9, false, Unsure),
    ];
    for (outcomes, usual, is_flawed, certainty) in cases {
        let (quality, found) = reviewed(outcomes, usual);
        let flaws = if is_flawed { Flaw::Loss.into() } else { Flaws::NONE };
        assert_eq!((quality.flaws, found), (flaws, certainty), "{outcomes} {usual}");
    }
}

#[test]
fn a_single_lost_probe_says_nothing_of_its_size() {
    for (outcomes, several) in
        [("..x", false), ("x..x", false), ("x.x", true), ("xx", true), ("xx...", false)]
    {
        assert_eq!(reviewed(outcomes, 0.1).0.loses_several, several, "{outcomes}");
    }
}

#[test]
fn a_flawed_link_recovers_after_six_answers_and_is_probed_more_meanwhile() {
    let (mut quality, _) = reviewed("xxxxxxxxxxxxxxxxxxxxxxxx", 0.1);
    for answers in 1..=12 {
        quality.record_answered();
        let certainty = quality.review(usual(0.1, 0.1));
        assert_eq!(quality.flaws.contains(Flaw::Loss), answers < 6, "{answers}");
        assert_eq!(certainty == Certainty::Unsure, answers < 10, "{answers}");
    }
}

#[test]
fn a_probe_that_is_answered_late_was_not_lost() {
    let (mut quality, _) = reviewed("xxxx.x", 0.1);
    quality.retract_lost(at(2));
    assert_eq!((quality.lost.bad, quality.lost.count), (0b1_1101, 5));
    quality.retract_lost(at(2));
    quality.retract_lost(at(0));
    assert_eq!(quality.lost.count, 5, "it was taken back, or is not remembered");
    quality.retract_lost(at(5));
    assert_eq!((quality.lost.bad, quality.lost.count), (0b1110, 4));
}

#[test]
fn a_reply_is_slow_if_it_took_far_longer_than_before_and_than_those_of_others() {
    // How long replies took before, the floor, how long those of others take, how long this one took; whether that is slow.
    let cases = [
        (2, 125, 2, 500, true),
        (2, 125, 2, 125, false),
        (2, 125, 2, 126, true),
        (200, 125, 2, 500, false),
        (100, 125, 2, 500, true),
        (2, 125, 150, 500, false),
        (2, 1_000, 2, 500, false),
    ];
    for (before, floor, others, took, is_slow) in cases {
        let mut quality = Quality::default();
        (0..20).for_each(|_| quality.record_delay(ms(before), ms(floor), Some(ms(others))));
        (0..5).for_each(|_| quality.record_delay(ms(took), ms(floor), Some(ms(others))));
        quality.review(usual(0.1, 0.5));
        assert!(quality.flaws.is_empty(), "if half of the replies of others are late");
        quality.review(usual(0.1, 0.1));
        assert_eq!(quality.flaws.contains(Flaw::Latency), is_slow, "{before} {took}");
    }
}

#[test]
fn a_link_that_stays_slow_is_usual_after_some_hundred_replies() {
    let mut quality = Quality::default();
    quality.record_delay(ms(100), ms(125), Some(ms(2)));
    let mut is_flawed = |replies: usize| {
        (0..replies).for_each(|_| quality.record_delay(ms(500), ms(125), Some(ms(2))));
        quality.review(usual(0.1, 0.1));
        !quality.flaws.is_empty()
    };
    assert_eq!(
        [is_flawed(4), is_flawed(1), is_flawed(60), is_flawed(60)],
        [false, true, true, false]
    );
}

#[test]
fn loss_on_all_links_is_a_flaw_of_none() {
    let usual =
        |losses: &[f64]| usual_share(losses.to_vec()).map(|usual| (usual * 1_000.0).round() / 10.0);
    assert_eq!(usual(&[]), None);
    assert_eq!(usual(&[0.0]), Some(10.0), "at least");
    assert_eq!(usual(&[0.0, 0.5]), Some(10.0), "the lower of two");
    assert_eq!(usual(&[0.5, 0.5, 0.0]), Some(62.5));
    assert_eq!(usual(&[0.9, 0.9]), Some(90.0), "at most");
    // The estimate does not show yet what the latest probes do.
    let mut estimate = LinkEstimator::new(ms(2));
    (0..200).for_each(|_| estimate.record_reply(ms(2)));
    for (outcomes, lost) in [("xxxx", 0.0), ("....xxxx", 0.5), ("xxxxxxxx........", 0.0)] {
        let found = reviewed(outcomes, 0.1).0.loss(&estimate);
        assert_eq!(found, estimate.loss().max(lost), "{outcomes}");
    }
}

#[test]
fn half_of_the_other_links_are_no_slower_than_usual() {
    let delays = |millis: &[u64]| usual_delay(millis.iter().map(|&delay| ms(delay)).collect());
    assert_eq!(delays(&[]), None);
    assert_eq!([delays(&[9, 2]), delays(&[9, 2, 4])], [Some(ms(2)), Some(ms(4))]);
}

/// With a tenth of all packets lost, a fifth of the probes have no answer, on all links alike. The links of an observer are then
/// flawed for less than a thousandth of the time, each on its own: so half of the observers of a member hardly ever agree.
#[test]
fn links_that_all_lose_a_tenth_of_the_packets_are_flawed_for_less_than_a_thousandth_of_the_time() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut links = vec![(LinkEstimator::new(ms(2)), Quality::default()); 8];
    let (mut flawed, mut reviews) = (0, 0);
    for turn in 0..40_000 {
        for (link, quality) in &mut links {
            match rng.random_bool(0.19) {
                true => {
                    link.record_miss();
                    quality.record_lost(at(turn));
                }
                false => {
                    link.record_reply(ms(2));
                    quality.record_answered();
                }
            }
        }
        for place in 0..links.len() {
            let others = (0..links.len()).filter(|&other| other != place);
            let losses = others.map(|other| links[other].1.loss(&links[other].0));
            let share = usual_share(losses.collect()).unwrap();
            links[place].1.review(usual(share, 0.1));
            flawed += u32::from(!links[place].1.flaws.is_empty());
            reviews += 1;
        }
    }
    assert!(flawed * 1_000 < reviews, "{flawed} of {reviews}");
}

#[test]
fn packets_of_full_size_are_lost_if_they_are_on_this_link_and_not_on_others() {
    // The checks of this link, `-` for one without any answer, the share of lost ones on others; whether it is flawed, and whether
    // its member is sent short packets only.
    let cases = [
        ("", 0.1, false, false),
        ("--------", 0.1, false, false),
        ("x", 0.1, false, true),
        ("x.", 0.1, false, false),
        ("xxxx", 0.1, false, true),
        ("xxxxx", 0.1, true, true),
        ("xxxxx.", 0.1, false, false),
        ("xxxxxxxxxxxxxxxxxxxx", MAX_USUAL, false, true),
        ("x--xx---x--x-x--x--x", 0.1, false, true),
        ("xxxxx-", 0.1, false, true),
        ("xxxxxxx-", 0.1, true, true),
    ];
    for (checks, large, is_flawed, is_narrow) in cases {
        let mut quality = Quality::default();
        for (check, outcome) in (0..).zip(checks.chars()) {
            let size = &mut quality.size;
            size.start(at(0), Sequence(check));
            _ = outcome != '-' && size.record_answer(Sequence(check), outcome == '.');
            _ = size.end_check(at(1), ms(1));
        }
        quality.review(Usual { large, ..usual(0.1, 0.1) });
        let flaws = if is_flawed { Flaw::LargePackets.into() } else { Flaws::NONE };
        assert_eq!((quality.flaws, quality.is_narrow()), (flaws, is_narrow), "{checks}");
    }
}

#[test]
fn a_link_keeps_the_flaw_until_six_packets_of_full_size_have_passed() {
    let mut quality = Quality::default();
    (0..9).for_each(|_| quality.size.outcomes.push(true));
    for passed in 0..=6 {
        quality.review(usual(0.1, 0.1));
        assert_eq!(quality.is_narrow(), passed < 6, "{passed}");
        quality.size.outcomes.push(false);
    }
}
